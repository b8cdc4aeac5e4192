"""The objects of one picture while they are edited: items under stable names, edits, and back to `Instances`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from delineate.errors import DelineateError
from delineate.instances import Instances
from delineate.masks import Masks

MAX_ITEMS = 100_000
"""Objects of a picture."""

# What extras an item may have, and what one has that was drawn here (None: what its mask says).
_EXTRAS: dict[str, tuple[str, Any]] = {
    "area": ("f8", None),
    "bbox": ("f8", None),
    "group": ("i8", -1),
    "z_order": ("i8", 0),
    "attributes": ("U", "{}"),
}
_OF_MASK = ("area", "bbox")
_DRAWN = 0.5  # IoU with an item, from which an object counts as drawn


class EditError(DelineateError):
    """An edit does not fit the picture; nothing was changed."""


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """One object.

    Attributes:
        id: The annotation id, unique in the folder.
        label: Index into the classes.
        counts: The mask as COCO's compressed run lengths on the picture's canvas.
        score: Of a prediction, else None.
        crowd: Whether it stands for a group of objects.
        track: The identity over time, or None.
        extras: What the annotation format knows besides (see `delineate.formats`).
    """

    id: int
    label: int
    counts: str
    score: float | None = None
    crowd: bool = False
    track: int | None = None
    extras: dict[str, Any] = {}


class Put(msgspec.Struct, tag="put", tag_field="op", forbid_unknown_fields=True):
    """Add an object, or change the one of that name.

    Attributes:
        uid: The name that the page gave it.
        label: The class.
        counts: The mask; None keeps it.
        at: Position among the objects; None keeps it, or puts it at the end.
    """

    uid: str
    label: int
    counts: str | None = None
    at: Annotated[int, msgspec.Meta(ge=0, le=MAX_ITEMS)] | None = None


class Drop(msgspec.Struct, tag="drop", tag_field="op", forbid_unknown_fields=True):
    """Take an object away; a `Put` under the same name brings it back with all that was known of it."""

    uid: str


class Order(msgspec.Struct, tag="order", tag_field="op", forbid_unknown_fields=True):
    """Put objects in this order; names that are not given keep their order, after these."""

    uids: list[str]


Edit: TypeAlias = Put | Drop | Order


class Sheet:
    """The items of one picture by name, in their order.

    Args:
        size: (height, width) of the picture.
        items: The items; their names are their ids as text.
    """

    def __init__(self, size: tuple[int, int], items: Iterable[Item] = ()) -> None:
        self.size = size
        self.items = {str(item.id): item for item in items}
        self.revision = 0
        self.buried: dict[str, Item] = {}  # dropped ones, for undo
        self.last_key = ""  # of the last edit: one that is sent twice counts once

    def apply(self, edits: Sequence[Edit], classes: int, following: int) -> int:
        """Do all edits, or none.

        Args:
            edits: What to do, in this order.
            classes: Number of classes.
            following: The id of the next new item.

        Returns:
            The id that is next now.

        Raises:
            EditError: A mask, a class or a name does not fit.
        """
        self._check(edits, classes)
        items, buried = dict(self.items), {}
        for edit in edits:
            if isinstance(edit, Drop):
                gone = items.pop(edit.uid, None)
                if gone is not None:
                    buried[edit.uid] = gone
            elif isinstance(edit, Order):
                named = {uid: items[uid] for uid in edit.uids if uid in items}
                items = named | items
            else:
                known = items.get(edit.uid) or buried.get(edit.uid) or self.buried.get(edit.uid)
                if known is None:
                    if edit.counts is None:
                        raise EditError(f"put: object must exist or come with a mask, got {edit.uid!r}.")
                    known, following = Item(following, edit.label, edit.counts), following + 1
                items[edit.uid] = _changed(known, edit)
                if edit.at is not None:
                    items = _moved(items, edit.uid, edit.at)
        if len(items) > MAX_ITEMS:
            raise EditError(f"put: a picture must have at most {MAX_ITEMS} objects, got {len(items)}.")
        self.items = items
        self.buried |= buried
        return following

    def _check(self, edits: Sequence[Edit], classes: int) -> None:
        puts = [edit for edit in edits if isinstance(edit, Put)]
        for put in puts:
            if not 0 <= put.label < classes:
                raise EditError(f"put: label must be below {classes}, got {put.label}.")
            if not 0 < len(put.uid) <= 40:
                raise EditError("put: uid must have 1 to 40 characters.")
        try:
            masks([put.counts for put in puts if put.counts is not None], self.size)
        except ValueError as error:
            raise EditError(f"put: {error}") from error


def masks(counts: Sequence[str], size: tuple[int, int]) -> Masks:
    """Masks of compressed run lengths.

    Args:
        counts: N texts.
        size: (height, width).

    Raises:
        ValueError: A text is damaged or does not fill the canvas.

    >>> masks(["426"], (3, 4)).areas
    array([2])
    """
    return Masks.from_rle([{"size": list(size), "counts": text} for text in counts], size)


def counts(shapes: Masks) -> list[str]:
    """The compressed run lengths of masks.

    >>> counts(masks(["426"], (3, 4)))
    ['426']
    """
    return [str(rle["counts"]) for rle in shapes.to_rle()]


def items(found: Instances, following: int) -> tuple[list[Item], int]:
    """Instances as items. Where only boxes are known, masks are empty and the boxes stand in the extra "bbox".

    Args:
        found: N instances.
        following: The id of the first item that has none ("annotation_id") so far.

    Returns:
        The items in their order, and the id that is next.
    """
    count = len(found)
    shapes = Masks.from_boxes(np.zeros((count, 4)), found.size) if found.masks is None else found.masks
    ids = found.extras.get("annotation_id")
    columns = {name: found.extras[name].tolist() for name in _EXTRAS if name in found.extras}
    if "bbox" not in columns and (found.masks is None or (found.boxes != shapes.boxes).any()):
        corners = found.boxes.astype(np.float64)
        columns["bbox"] = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]).tolist()
    scores = found.extras.get("score", found.scores)
    made = []
    for n, text in enumerate(counts(shapes)):
        made.append(
            Item(
                following if ids is None else int(ids[n]),
                int(found.labels[n]),
                text,
                None if found.scores is None or scores is None else float(scores[n]),
                found.crowd is not None and bool(found.crowd[n]),
                None if found.ids is None else int(found.ids[n]),
                {name: column[n] for name, column in columns.items()},
            )
        )
        following += ids is None
    return made, following


def undrawn(found: Instances, given: Sequence[Item]) -> Instances:
    """Those of some objects that no item covers by half of their union.

    Args:
        found: N objects with masks.
        given: M items of the same picture.
    """
    here = masks([item.counts for item in given], found.size)
    if found.masks is None or not len(found) or not len(here):
        return found
    return found[found.masks.iou(here).max(axis=1) < _DRAWN]


def instances(given: Sequence[Item], size: tuple[int, int], *, scored: bool = False) -> Instances:
    """Items as instances.

    Args:
        given: N items.
        size: (height, width) of the picture.
        scored: Whether there are scores; objects that were drawn here get 1.
    """
    shapes = masks([item.counts for item in given], size)
    tight = shapes.boxes.astype(np.float64)
    of_mask: dict[str, Any] = {
        "area": shapes.areas.astype(np.float64),
        "bbox": np.hstack([tight[:, :2], tight[:, 2:] - tight[:, :2]]),
    }
    extras: dict[str, NDArray[Any]] = {}
    for name, (kind, default) in _EXTRAS.items():
        if any(name in item.extras for item in given):
            values = [
                item.extras.get(name, of_mask[name][n] if name in of_mask else default)
                for n, item in enumerate(given)
            ]
            extras[name] = np.array(values, kind)
    extras["annotation_id"] = np.array([item.id for item in given], np.int64)
    spans = extras.get("bbox", of_mask["bbox"]).reshape(-1, 4)
    scores = [1.0 if item.score is None else item.score for item in given]
    if scored:
        extras["score"] = np.array(scores, np.float64)
    tracks = [item.track for item in given]
    taken = [track for track in tracks if track is not None]
    following = iter(range(max(taken, default=0) + 1, max(taken, default=0) + 1 + len(given)))
    return Instances(
        size,
        np.hstack([spans[:, :2], spans[:, :2] + spans[:, 2:]]),
        np.array([item.label for item in given], np.int64),
        np.array(scores, np.float32) if scored else None,
        shapes,
        np.array([item.crowd for item in given], bool) if any(item.crowd for item in given) else None,
        np.array([next(following) if track is None else track for track in tracks], np.int64)
        if taken
        else None,
        extras,
    )


def _changed(item: Item, put: Put) -> Item:
    """The item with the edit's class and mask; what was said of the former mask goes."""
    if put.counts is None or put.counts == item.counts:
        return msgspec.structs.replace(item, label=put.label)
    extras = {name: value for name, value in item.extras.items() if name not in _OF_MASK}
    return msgspec.structs.replace(item, label=put.label, counts=put.counts, score=None, extras=extras)


def _moved(given: dict[str, Item], uid: str, at: int) -> dict[str, Item]:
    names = [name for name in given if name != uid]
    names.insert(at, uid)
    return {name: given[name] for name in names}
