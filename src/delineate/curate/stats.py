"""What is in a dataset: counts, sizes, densities and overlaps, over all, by class and by split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

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
    seen = [
        _look(record) for record in dataset
    ]  # once: the instances of a large file are made as they are asked for
    counts = np.array([int(one.single.sum()) for one in seen], np.int64)
    splits: dict[str, tuple[int, int]] = {}
    for record, count in zip(dataset, counts, strict=True):
        before = splits.get(record.split or "", (0, 0))
        splits[record.split or ""] = (before[0] + 1, before[1] + int(count))
    return Stats(
        pictures=len(dataset),
        empty=sum(len(one.labels) == 0 for one in seen),
        objects=int(counts.sum()),
        crowds=sum(len(one.labels) for one in seen) - int(counts.sum()),
        parts=sum(one.parts for one in seen),
        holes=sum(one.holes for one in seen),
        overlapping=sum(one.overlapping for one in seen),
        density=Spread.of(counts),
        covered=Spread.of(np.array([one.covered for one in seen], np.float64)),
        height=Spread.of(np.array([record.size[0] for record in dataset], np.int64)),
        width=Spread.of(np.array([record.size[1] for record in dataset], np.int64)),
        classes=_classes(dataset.classes, seen),
        splits=dict(sorted(splits.items())),
    )


class _Seen(NamedTuple):
    """What is counted of one picture."""

    labels: NDArray[np.int64]
    single: NDArray[np.bool_]  # no crowd
    areas: NDArray[np.float64]
    parts: int = 0
    holes: int = 0
    overlapping: int = 0
    covered: float = 0.0


def _look(record: Record) -> _Seen:
    found, masks = record.instances, record.instances.masks
    single = np.ones(len(found), bool) if found.crowd is None else ~found.crowd
    if masks is None:
        sides = (found.boxes[:, 2:] - found.boxes[:, :2]).astype(np.float64)
        return _Seen(found.labels, single, sides[:, 0] * sides[:, 1])
    near = pairs.overlaps(masks)
    return _Seen(
        labels=found.labels,
        single=single,
        areas=masks.areas.astype(np.float64),
        parts=int((algebra.largest_component(masks).areas < masks.areas).sum()),
        holes=int((algebra.fill_holes(masks).areas > masks.areas).sum()),
        overlapping=len(np.union1d(near.first, near.second)),
        covered=float(masks.union().areas[0]) / (record.size[0] * record.size[1]),
    )


def _classes(names: Sequence[str], seen: Sequence[_Seen]) -> dict[str, ClassStats]:
    offsets = np.cumsum([0, *(len(one.labels) for one in seen)])
    labels = np.concatenate([np.zeros(0, np.int64), *(one.labels for one in seen)])
    single = np.concatenate([np.zeros(0, bool), *(one.single for one in seen)])
    areas = np.concatenate([np.zeros(0), *(one.areas for one in seen)])
    pictures = np.repeat(np.arange(len(seen)), np.diff(offsets))
    found = {}
    for name in dict.fromkeys(names):
        mine = np.isin(labels, [label for label, other in enumerate(names) if other == name])
        own = areas[mine & single]
        small, large = int((own < SMALL).sum()), int((own >= LARGE).sum())
        found[name] = ClassStats(
            objects=len(own),
            crowds=int(mine.sum()) - len(own),
            pictures=len(np.unique(pictures[mine])),
            area=Spread.of(own),
            small=small,
            medium=len(own) - small - large,
            large=large,
        )
    return found
