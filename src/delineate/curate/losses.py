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
    found = []
    for kind in KEEPABLE:
        if kind in kept or (kind in ("holes", "parts", "overlaps", "empty masks") and "masks" not in kept):
            continue
        loss = _of_dataset(dataset, kind) if kind in ("info", "class order") else _of_records(dataset, kind)
        if loss is not None:
            found.append(loss)
    return found


def _of_dataset(dataset: Dataset, kind: str) -> Loss | None:
    if kind == "info":
        said = [name for name, value in dataset.attributes.items() if value]
        return Loss(kind, len(said), said[0]) if said else None
    used = {int(label) for record in dataset for label in record.instances.labels}
    unused = [name for label, name in enumerate(dataset.classes) if label not in used]
    return Loss(kind, len(unused), unused[0]) if unused else None


def _of_records(dataset: Dataset, kind: str) -> Loss | None:
    count, where = 0, ""
    for record in dataset:
        here = _AFFECTED[kind](record)
        total = int(here) if isinstance(here, bool | int) else int(here.sum())
        if total and not where:
            where = record.name
            if isinstance(here, np.ndarray):
                where += f", object {int(np.flatnonzero(here)[0]) + 1}"
        count += total
    return Loss(kind, count, where) if count else None


Affected = Callable[[Record], "bool | NDArray[np.bool_]"]


def _nobody(instances: Instances) -> NDArray[np.bool_]:
    return np.zeros(len(instances), bool)


def _masks(pick: Callable[[Masks], NDArray[np.bool_]]) -> Affected:
    def affected(record: Record) -> NDArray[np.bool_]:
        masks = record.instances.masks
        return _nobody(record.instances) if masks is None else pick(masks)

    return affected


def _boxes(record: Record) -> NDArray[np.bool_]:
    found = record.instances
    other: NDArray[np.bool_] = (
        _nobody(found) if found.masks is None else (found.boxes != found.masks.boxes).any(axis=1)
    )
    return other


def _extra(name: str, nothing: object) -> Affected:
    def affected(record: Record) -> NDArray[np.bool_]:
        values = record.instances.extras.get(name)
        return _nobody(record.instances) if values is None else np.asarray(values != nothing)

    return affected


def _all(given: Callable[[Record], object]) -> Affected:
    return lambda record: np.full(len(record.instances), given(record) is not None)


def _area(record: Record) -> NDArray[np.bool_]:
    found, areas = record.instances, record.instances.extras.get("area")
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
        "scores": _all(lambda record: record.instances.scores),
        "crowd": lambda record: (
            _nobody(record.instances) if record.instances.crowd is None else record.instances.crowd
        ),
        "ids": _all(lambda record: record.instances.ids),
        "instance order": lambda record: len(record.instances) > 1,
        "empty pictures": lambda record: len(record.instances) == 0,
        "picture ids": lambda record: record.path is not None,
        "picture attributes": lambda record: bool(record.attributes),
        "videos": lambda record: record.video is not None,
        "splits": lambda record: record.split is not None,
        "area": _area,
        "annotation_id": _extra("annotation_id", None),
        "group": _extra("group", -1),
        "z_order": _extra("z_order", 0),
        "attributes": _extra("attributes", "{}"),
    }
)
