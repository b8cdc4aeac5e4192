"""Two datasets compared object by object: the certificate of a conversion."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from delineate import algebra
from delineate.dataset import Dataset, Record
from delineate.formats import KEEPABLE
from delineate.formats._coco_write import extras
from delineate.formats._pictures import names as names_in_folders
from delineate.instances import Instances
from delineate.masks import Masks

EXAMPLES = 100
_CLOSE = 1e-3  # pixels: what decimals in files may cost a box


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was.

    Args:
        kind: "picture", "object", "label", or a word of ``formats.KEEPABLE``.
        where: Picture and object.
        was: What it was.
        became: What it became.
    """

    kind: str
    where: str
    was: str
    became: str

    def __str__(self) -> str:
        return f"{self.where}: {self.kind}: was {self.was}, became {self.became}"


@dataclass(frozen=True)
class Certificate:
    """What a comparison found.

    Args:
        pictures: Pictures compared.
        objects: Objects compared.
        exact: Objects whose masks have the very same pixels (boxes, where there are no masks).
        explained: Objects that have fewer pixels, or are gone, for a reason that `kinds` leaves room for: others
            cover them, they are crowd regions, or they never had pixels.
        least_iou: The smallest mask IoU of an object with what became of it; 1 where all are exact.
        counts: Kind of difference -> how many there are.
        examples: The first differences, at most `EXAMPLES`.
    """

    pictures: int
    objects: int
    exact: int
    explained: int
    least_iou: float
    counts: dict[str, int]
    examples: tuple[Difference, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing differs."""
        return not self.counts

    def as_dict(self) -> dict[str, object]:
        """All of it as JSON values."""
        return {
            "pictures": self.pictures,
            "objects": self.objects,
            "exact": self.exact,
            "explained": self.explained,
            "least_iou": self.least_iou,
            "differences": dict(self.counts),
            "examples": [str(one) for one in self.examples],
        }


def compare(was: Dataset, became: Dataset, kinds: Collection[str] = KEEPABLE) -> Certificate:
    """Compare a dataset with what became of it.

    Pictures are the same by video and frame, by split and file name (without a path: id), or by what folders of
    pictures call them; those of one name in their order. Frames that a format fills in between others are no
    difference as long as nothing is on them. Objects are the same by position if "instance order" is among the kinds
    and none is missing, otherwise by what overlaps most within the same label.

    What the dataset before did not say is no difference: areas and track ids that a format fills in, classes after
    its last, and ids of annotations unless all objects had one and no two the same. Without "overlaps" among the
    kinds an object may lose pixels, as long as others have them; without "empty masks" it may be gone if it has none
    left, without "crowd" if it is a crowd region.

    Args:
        was: The dataset before.
        became: The dataset after.
        kinds: What to compare: words of ``formats.KEEPABLE``. Labels, the number of objects and, where there
            are none of them, boxes are compared always.

    >>> from delineate.masks import Masks
    >>> record = Record(None, (4, 6), Instances.of(Masks.from_counts([4, 2, 18], [0, 3], (4, 6))), id=1)
    >>> compare(Dataset([record], ["cell"]), Dataset([record], ["cell"])).clean
    True
    """
    kinds = set(kinds)
    if not _numbered(was):
        kinds.discard("annotation_id")
    differences: list[Difference] = []
    counts: Counter[str] = Counter()
    objects = exact = explained = 0
    least = 1.0
    if "class order" in kinds and was.classes != became.classes[: len(was.classes)]:
        counts["class order"] += 1
        differences.append(Difference("class order", "dataset", str(was.classes), str(became.classes)))
    pairs = list(_pictures(was, became, kinds))
    for left, right in pairs:
        if left is None or right is None:
            found = _alone(left, right, kinds)
        else:
            result = _compare_records(left, right, (was.classes, became.classes), kinds)
            objects += left.count
            exact += result.exact
            explained += result.explained
            least = min(least, result.least)
            found = result.found
        counts.update(one.kind for one in found)
        differences += found[: max(0, EXAMPLES - len(differences))]
    pictures = sum(left is not None and right is not None for left, right in pairs)
    return Certificate(pictures, objects, exact, explained, least, dict(counts), tuple(differences))


def _numbered(dataset: Dataset) -> bool:
    """Whether the ids of annotations tell all objects apart; a format has to number them anew otherwise."""
    given = [extras(record).get("annotation_id") for record in dataset if record.count]
    known = {int(id_) for ids in given if ids is not None for id_ in ids}
    return len(known) == sum(record.count for record in dataset)


def _alone(left: Record | None, right: Record | None, kinds: set[str]) -> list[Difference]:
    """A picture that only one side has."""
    if right is not None:
        return [Difference("picture", right.name, "absent", "present")]
    if left is None or (not len(left.instances) and "empty pictures" not in kinds):
        return []
    return [Difference("picture", left.name, "present", "absent")]


def _pictures(
    was: Dataset, became: Dataset, kinds: set[str]
) -> Iterator[tuple[Record | None, Record | None]]:
    partners: list[Record | None] = [None] * len(was)
    free = dict(enumerate(became))
    for mine, theirs in zip(_names(was, kinds), _names(became, kinds), strict=True):
        waiting: dict[object, list[int]] = defaultdict(list)
        for place in reversed(free):
            waiting[theirs[place]].append(place)
        for n, key in enumerate(mine):
            if partners[n] is None and key is not None and waiting[key]:
                partners[n] = free.pop(waiting[key].pop())
    yield from zip(was, partners, strict=True)
    videos = {str(record.video) for record in was if "videos" in kinds and record.video is not None}
    for record in free.values():
        if record.count or str(record.video) not in videos:  # frames between frames may be filled in, empty
            yield None, record


def _names(dataset: Dataset, kinds: set[str]) -> Iterator[list[object]]:
    """What may identify each picture, the surest first: lists of keys, None for no key."""
    frames: list[object] = [None if r.frame is None else (str(r.video), r.frame) for r in dataset]
    if "videos" in kinds:
        yield frames
    by_split = "splits" in kinds
    if by_split:
        yield [(record.split, record.name) for record in dataset]
    yield [record.name for record in dataset]
    # Pictures without a file, and those that are not placed, are called by what folder formats call them.
    stems = [Path(name).stem for name in names_in_folders(dataset, by_split=by_split)]
    yield [(record.split if by_split else None, stem) for record, stem in zip(dataset, stems, strict=True)]
    yield [Path(record.name).stem for record in dataset]
    if "videos" not in kinds:
        yield frames


@dataclass
class _Compared:
    """What came out for one picture."""

    name: str
    exact: int = 0
    explained: int = 0
    least: float = 1.0
    found: list[Difference] = field(default_factory=list)

    def note(self, kind: str, place: int | None, was: object, became: object) -> None:
        where = self.name if place is None else f"{self.name}, object {place + 1}"
        self.found.append(Difference(kind, where, str(was), str(became)))


def _compare_records(
    left: Record, right: Record, classes: tuple[tuple[str, ...], tuple[str, ...]], kinds: set[str]
) -> _Compared:
    done = _Compared(left.name)
    for kind, name in _OF_RECORDS:
        one, other = getattr(left, name), getattr(right, name)
        if name == "video" and None not in (one, other):
            one, other = str(one), str(other)  # folders have texts only
        if kind in kinds and one != other:
            done.note(kind, None, one, other)
    if left.size != right.size:
        done.note("picture", None, f"{left.size} pixels", f"{right.size} pixels")
        done.least = 0.0
        return done
    was, became = left.instances, right.instances
    room = _room(was, became, kinds)
    if "crowd" not in kinds and became.crowd is not None:
        became = became[~became.crowd]
    labels = [[names[n] for n in side.labels] for names, side in zip(classes, (was, became), strict=True)]
    partners = _partners(was, became, labels, kinds)
    for place, partner in enumerate(partners):
        if partner < 0:
            _compare_gone(done, was, place, labels[0][place], room, kinds)
            continue
        _compare_pixels(done, was, became, place, partner, room, kinds)
        if labels[0][place] != labels[1][partner]:
            done.note("label", place, labels[0][place], labels[1][partner])
        for kind in sorted(kinds & _OF_OBJECTS.keys()):
            one, other = (_value(side, kind, n) for side, n in ((was, place), (became, partner)))
            if one != other and not (one is None and kind in ("area", "ids")):
                done.note(kind, place, one, other)
    for place in sorted(set(range(len(became))) - set(partners)):
        done.note("object", None, "nothing", f"{labels[1][place]} (object {place + 1} of the copy)")
    return done


def _room(was: Instances, became: Instances, kinds: set[str]) -> Masks | None:
    """One mask: where an object may have lost pixels to others; None where it may not."""
    if "overlaps" in kinds or was.masks is None or became.masks is None:
        return None
    crowd = was.masks[[] if was.crowd is None or "crowd" in kinds else was.crowd]
    return Masks.concat([became.masks, crowd]).union()


def _compare_gone(
    done: _Compared, was: Instances, place: int, label: str, room: Masks | None, kinds: set[str]
) -> None:
    """An object of which nothing became."""
    crowd = "crowd" not in kinds and was.crowd is not None and bool(was.crowd[place])
    empty = hidden = False
    if was.masks is not None and "empty masks" not in kinds:
        mask = was.masks[[place]]
        empty = mask.areas[0] == 0
        hidden = room is not None and algebra.difference(mask, room).areas[0] == 0
    done.least = done.least if empty else 0.0
    if crowd or empty or hidden:
        done.explained += 1
    else:
        done.note("object", place, label, "nothing")


def _compare_pixels(
    done: _Compared, was: Instances, became: Instances, a: int, b: int, room: Masks | None, kinds: set[str]
) -> None:
    iou = _iou(was, became, a, b)
    done.exact += iou == 1
    done.least = min(done.least, iou)
    if iou == 1 or ("masks" not in kinds and was.masks is not None):
        return
    if room is not None and was.masks is not None and became.masks is not None:
        one, other = was.masks[[a]], became.masks[[b]]
        new, lost = algebra.difference(other, one), algebra.difference(one, other)
        if new.areas[0] == 0 and algebra.difference(lost, room).areas[0] == 0:
            done.explained += 1
            return
    done.note("masks", a, "its pixels", f"others (IoU {iou:.4f})")


_OF_RECORDS = (
    ("picture ids", "id"),
    ("picture attributes", "attributes"),
    ("videos", "video"),
    ("videos", "frame"),
    ("splits", "split"),
)
_OF_OBJECTS: dict[str, object] = {
    "scores": None,
    "crowd": False,
    "ids": None,
    "area": None,
    "annotation_id": None,
    "group": -1,
    "z_order": 0,
    "attributes": {},
}
"""Kind -> the value of an object where its column is absent."""


def _value(instances: Instances, kind: str, place: int) -> object:
    column = getattr(instances, kind) if kind in ("scores", "crowd", "ids") else instances.extras.get(kind)
    if column is None:
        return _OF_OBJECTS[kind]
    value = column[place].item()
    return json.loads(value) if kind == "attributes" else value


def _partners(was: Instances, became: Instances, labels: list[list[str]], kinds: set[str]) -> list[int]:
    """For each object its partner in the copy, or -1: by position where the order is kept and none is missing."""
    if "instance order" in kinds and len(was) == len(became):
        return list(range(len(was)))
    if "overlaps" not in kinds and was.masks is not None:
        was = was.replace(masks=algebra.resolve_overlaps(was.masks))
    partners = _alike(was, became, labels)
    if "instance order" not in kinds:
        return partners
    last = -1  # of partners that come too early, none is left: the order is kept, so they are others
    for place, partner in enumerate(partners):
        partners[place] = partner if partner > last else -1
        last = max(last, partner)
    return partners


def _alike(left: Instances, right: Instances, labels: list[list[str]]) -> list[int]:
    """Partners by equal pixels and label, and then by what overlaps most, of the same label first."""
    keys = [_keys(side, names) for side, names in zip((left, right), labels, strict=True)]
    waiting: dict[object, list[int]] = defaultdict(list)
    for place, key in enumerate(keys[1]):
        waiting[key].append(place)
    partners = [waiting[key].pop(0) if waiting[key] else -1 for key in keys[0]]
    free = set(range(len(right))) - set(partners)
    open_ = [place for place, partner in enumerate(partners) if partner < 0]
    if open_ and free:
        rest = sorted(free)
        table = _ious(left[open_], right[rest])
        equal = np.array([[labels[0][a] == labels[1][b] for b in rest] for a in open_])
        table = table + equal  # the same label comes first
        for flat in np.argsort(-table, axis=None, kind="stable"):
            a, b = divmod(int(flat), len(rest))
            if table[a, b] > 0 and partners[open_[a]] < 0 and rest[b] in free:
                partners[open_[a]] = rest[b]
                free.remove(rest[b])
    return partners


def _keys(instances: Instances, names: list[str]) -> list[object]:
    if instances.masks is None:
        return [(name, *box) for name, box in zip(names, instances.boxes.tolist(), strict=True)]
    return [(name, rle["counts"]) for name, rle in zip(names, instances.masks.to_rle(), strict=True)]


def _ious(left: Instances, right: Instances) -> NDArray[np.float64]:
    if left.masks is None or right.masks is None:
        return np.array([[_box_iou(a, b) for b in right.boxes] for a in left.boxes], np.float64)
    return left.masks.iou(right.masks)


def _iou(left: Instances, right: Instances, a: int, b: int) -> float:
    if left.masks is None or right.masks is None:
        return _box_iou(left.boxes[a], right.boxes[b])
    one, other = left.masks[[a]], right.masks[[b]]
    return 1.0 if one == other else float(one.iou(other)[0, 0])


def _box_iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    if np.abs(a - b).max() <= _CLOSE:
        return 1.0
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    total = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared
    return shared / total if total else 0.0
