"""What is in a dataset: counts, sizes, densities and overlaps, over all, by class and by split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from delineate import algebra, pairs
from delineate.dataset import Dataset, Record

SMALL, LARGE = 32**2, 96**2
"""COCO's borders between small, medium and large objects, in pixels of area."""


@dataclass(frozen=True)
class Spread:
    """How values are spread.

    Args:
        least: The smallest value.
        low: A tenth of the values are lower.
        middle: Half of the values are lower.
        high: A tenth of the values are higher.
        most: The greatest value.
    """

    least: float
    low: float
    middle: float
    high: float
    most: float

    @classmethod
    def of(cls, values: NDArray[np.float64] | NDArray[np.int64]) -> Spread | None:
        """Of at least one value, else None.

        >>> Spread.of(np.array([1, 2, 3])).middle
        2.0
        """
        if not len(values):
            return None
        return cls(*(float(value) for value in np.quantile(values, (0, 0.1, 0.5, 0.9, 1))))


@dataclass(frozen=True)
class ClassStats:
    """One class.

    Args:
        objects: How many there are, without crowds.
        crowds: How many crowd regions there are.
        pictures: How many pictures have at least one.
        area: Pixels of masks, or of boxes where there are no masks.
        small: Objects below 32 x 32 pixels of area.
        medium: Objects between.
        large: Objects of at least 96 x 96 pixels of area.
    """

    objects: int
    crowds: int
    pictures: int
    area: Spread | None
    small: int
    medium: int
    large: int


@dataclass(frozen=True)
class Stats:
    """A dataset in numbers.

    Args:
        pictures: How many there are.
        empty: How many have no objects.
        objects: How many objects, without crowds.
        crowds: How many crowd regions.
        parts: Objects of several parts.
        holes: Objects with holes.
        overlapping: Objects that share pixels with another one.
        density: Objects per picture.
        covered: Share of a picture's pixels that objects cover.
        height: Of pictures, pixels.
        width: Of pictures, pixels.
        classes: Name of the class -> its numbers; a name that two classes share stands for both.
        splits: Name of the split ("" for none) -> pictures and objects.
    """

    pictures: int
    empty: int
    objects: int
    crowds: int
    parts: int
    holes: int
    overlapping: int
    density: Spread | None
    covered: Spread | None
    height: Spread | None
    width: Spread | None
    classes: Mapping[str, ClassStats]
    splits: Mapping[str, tuple[int, int]]

    def as_dict(self) -> dict[str, object]:
        """All of it as JSON values."""
        return asdict(self)


def stats(dataset: Dataset) -> Stats:
    """Count and measure a dataset.

    >>> from delineate.instances import Instances
    >>> record = Record(None, (4, 6), Instances((4, 6), [[0, 0, 2, 2]], [0]), 1)
    >>> stats(Dataset([record], ["cell"])).classes["cell"].area.middle
    4.0
    """
    shapes = np.array([_shapes(record) for record in dataset], np.int64).reshape(-1, 3).sum(axis=0)
    single = [_single(record) for record in dataset]
    counts = np.array([int(flags.sum()) for flags in single], np.int64)
    splits: dict[str, tuple[int, int]] = {}
    for record, count in zip(dataset, counts, strict=True):
        before = splits.get(record.split or "", (0, 0))
        splits[record.split or ""] = (before[0] + 1, before[1] + int(count))
    return Stats(
        pictures=len(dataset),
        empty=sum(len(record.instances) == 0 for record in dataset),
        objects=int(counts.sum()),
        crowds=sum(len(flags) for flags in single) - int(counts.sum()),
        parts=int(shapes[0]),
        holes=int(shapes[1]),
        overlapping=int(shapes[2]),
        density=Spread.of(counts),
        covered=Spread.of(np.array([_covered(record) for record in dataset], np.float64)),
        height=Spread.of(np.array([record.size[0] for record in dataset], np.int64)),
        width=Spread.of(np.array([record.size[1] for record in dataset], np.int64)),
        classes=_classes(dataset, single),
        splits=dict(sorted(splits.items())),
    )


def _single(record: Record) -> NDArray[np.bool_]:
    found = record.instances
    return np.ones(len(found), bool) if found.crowd is None else ~found.crowd


def _areas(record: Record) -> NDArray[np.float64]:
    found = record.instances
    if found.masks is not None:
        return found.masks.areas.astype(np.float64)
    areas: NDArray[np.float64] = np.prod(found.boxes[:, 2:] - found.boxes[:, :2], axis=1, dtype=np.float64)
    return areas


def _shapes(record: Record) -> tuple[int, int, int]:
    """Objects of several parts, with holes, and that overlap."""
    masks = record.instances.masks
    if masks is None:
        return 0, 0, 0
    near = pairs.overlaps(masks)
    several = int((algebra.largest_component(masks).areas < masks.areas).sum())
    hollow = int((algebra.fill_holes(masks).areas > masks.areas).sum())
    return several, hollow, len(np.union1d(near.first, near.second))


def _covered(record: Record) -> float:
    height, width = record.size
    masks = record.instances.masks
    return 0.0 if masks is None else float(masks.union().areas[0]) / (height * width)


def _classes(dataset: Dataset, single: list[NDArray[np.bool_]]) -> dict[str, ClassStats]:
    found = {}
    for name in dict.fromkeys(dataset.classes):
        labels = [label for label, other in enumerate(dataset.classes) if other == name]
        mine = [np.isin(record.instances.labels, labels) for record in dataset]
        objects = [flags & here for flags, here in zip(single, mine, strict=True)]
        areas = np.concatenate(
            [np.zeros(0), *(_areas(record)[flags] for record, flags in zip(dataset, objects, strict=True))]
        )
        small, large = int((areas < SMALL).sum()), int((areas >= LARGE).sum())
        found[name] = ClassStats(
            objects=len(areas),
            crowds=int(sum(here.sum() for here in mine)) - len(areas),
            pictures=sum(bool(here.any()) for here in mine),
            area=Spread.of(areas),
            small=small,
            medium=len(areas) - small - large,
            large=large,
        )
    return found
