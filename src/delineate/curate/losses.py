"""What of a dataset a format cannot hold, found before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from delineate import algebra
from delineate.dataset import Dataset, Record
from delineate.formats import KEEPABLE
from delineate.instances import Instances
from delineate.masks import Masks

BOOKKEEPING = frozenset(
    {"picture ids", "annotation_id", "area", "boxes", "instance order", "class order", "info"}
    | {"picture attributes"}
)
"""What may change without changing which object is where and what: numbering, order, what can be recomputed."""


@dataclass(frozen=True)
class Loss:
    """One kind of thing that would be lost.

    Args:
        kind: A word of ``formats.KEEPABLE``.
        count: How many objects, pictures or classes lose it.
        where: The first place that does.
    """

    kind: str
    count: int
    where: str

    @property
    def grave(self) -> bool:
        """Whether more than bookkeeping is lost.

        >>> Loss("holes", 3, "a.png, object 1").grave, Loss("picture ids", 3, "a.png").grave
        (True, False)
        """
        return self.kind not in BOOKKEEPING

    def __str__(self) -> str:
        return f"{KEEPABLE[self.kind]}: {self.count} (first: {self.where})"


def losses(dataset: Dataset, keeps: Iterable[str]) -> list[Loss]:
    """What is lost when a dataset is written in a format that keeps only some things.

    Args:
        dataset: What would be written.
        keeps: ``KEEPS`` of the format.

    Returns:
        One entry per kind of loss, in the order of ``formats.KEEPABLE``; none if all is kept.

    >>> from delineate.masks import Masks
    >>> ring = np.ones((1, 5, 5), bool)
    >>> ring[0, 2, 2] = False
    >>> record = Record(None, (5, 5), Instances.of(Masks.from_dense(ring)), id=1)
    >>> [str(loss) for loss in losses(Dataset([record], ["ring"]), {"masks", "picture ids"})]
    ['holes in masks: 1 (first: 1, object 1)']
    """
    kept = set(keeps)
    unknown = kept - KEEPABLE.keys()
    if unknown:
        raise ValueError(f"losses: keeps must be words of formats.KEEPABLE, got {min(unknown)!r}")
    shape_free = {"holes", "parts", "overlaps", "empty masks"} if "masks" not in kept else set()
    kinds = [kind for kind in KEEPABLE if kind not in kept and kind not in shape_free]
    counts, places = dict.fromkeys(kinds, 0), dict.fromkeys(kinds, "")
    used: set[int] = set()
    for record in dataset:  # once: the instances of a large file are made as they are asked for
        found = record.instances
        used.update(np.unique(found.labels).tolist())
        for kind in kinds:
            if kind in _AFFECTED:
                total, where = _count(record, _AFFECTED[kind](record, found))
                counts[kind] += total
                places[kind] = places[kind] or where
    said = [name for name, value in dataset.attributes.items() if value]
    unused = [name for label, name in enumerate(dataset.classes) if label not in used]
    for kind, names in (("info", said), ("class order", unused)):
        if kind in counts and names:
            counts[kind], places[kind] = len(names), names[0]
    return [Loss(kind, counts[kind], places[kind]) for kind in kinds if counts[kind]]


def _count(record: Record, here: bool | NDArray[np.bool_]) -> tuple[int, str]:
    """How many are affected, and the first of them."""
    if isinstance(here, bool):
        return int(here), record.name if here else ""
    affected = np.flatnonzero(here)
    return len(affected), f"{record.name}, object {affected[0] + 1}" if len(affected) else ""


Affected = Callable[[Record, Instances], "bool | NDArray[np.bool_]"]


def _nobody(instances: Instances) -> NDArray[np.bool_]:
    return np.zeros(len(instances), bool)


def _masks(pick: Callable[[Masks], NDArray[np.bool_]]) -> Affected:
    return lambda _, found: _nobody(found) if found.masks is None else pick(found.masks)


def _boxes(_: Record, found: Instances) -> NDArray[np.bool_]:
    other: NDArray[np.bool_] = (
        _nobody(found) if found.masks is None else (found.boxes != found.masks.boxes).any(axis=1)
    )
    return other


def _extra(name: str, nothing: object) -> Affected:
    def affected(_: Record, found: Instances) -> NDArray[np.bool_]:
        values = found.extras.get(name)
        return _nobody(found) if values is None else np.asarray(values != nothing)

    return affected


def _area(_: Record, found: Instances) -> NDArray[np.bool_]:
    areas = found.extras.get("area")
    if areas is None or found.masks is None:
        return _nobody(found)
    return np.asarray(areas != found.masks.areas)


_AFFECTED: MappingProxyType[str, Affected] = MappingProxyType(
    {
        "masks": _masks(lambda masks: np.ones(len(masks), bool)),
        "holes": _masks(lambda masks: algebra.fill_holes(masks).areas != masks.areas),
        "parts": _masks(lambda masks: algebra.largest_component(masks).areas != masks.areas),
        "overlaps": _masks(lambda masks: algebra.resolve_overlaps(masks).areas != masks.areas),
        "empty masks": _masks(lambda masks: masks.areas == 0),
        "boxes": _boxes,
        "scores": lambda _, found: np.full(len(found), found.scores is not None),
        "crowd": lambda _, found: _nobody(found) if found.crowd is None else found.crowd,
        "ids": lambda _, found: np.full(len(found), found.ids is not None),
        "instance order": lambda _, found: len(found) > 1,
        "empty pictures": lambda _, found: len(found) == 0,
        "picture ids": lambda record, _: record.path is not None,
        "picture attributes": lambda record, _: bool(record.attributes),
        "videos": lambda record, _: record.video is not None,
        "splits": lambda record, _: record.split is not None,
        "area": _area,
        "annotation_id": _extra("annotation_id", None),
        "group": _extra("group", -1),
        "z_order": _extra("z_order", 0),
        "attributes": _extra("attributes", "{}"),
    }
)
