"""Two runs on the same truth: which one is better, and whether that could be chance.

The pictures are drawn again with replacement, as often as there are pictures, and both runs are evaluated on the same
draw (the paired bootstrap over pictures; Efron: Bootstrap Methods, 1979). What each detection is, is decided once;
a draw only weights the pictures and accumulates again, which is exact but for equal scores inside one picture: copies
of a detection follow one another, where a repeated picture would take turns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from delineate.metrics.columns import Floats
from delineate.metrics.verdicts import Verdicts

_CHUNK = 200  # resamples between two reports of progress


@dataclass(frozen=True)
class Difference:
    """One number of both runs, and how far apart they are.

    Args:
        first: The number of the first run; nan where nothing defines it.
        second: The number of the second run.
        low: Lower end of the interval of ``difference``.
        high: Upper end.
        above: Share of resamples in which the second run is strictly better, ties counting half.
    """

    first: float
    second: float
    low: float
    high: float
    above: float

    @property
    def difference(self) -> float:
        """Second minus first."""
        return self.second - self.first

    @property
    def decided(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0

    def as_dict(self) -> dict[str, object]:
        """The numbers as plain values; None where one is not defined."""
        names = ("first", "second", "difference", "low", "high", "above")
        values = {name: getattr(self, name) for name in names}
        return {name: None if math.isnan(value) else value for name, value in values.items()} | {
            "decided": self.decided
        }


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Second run minus first.

    Args:
        pictures: How many pictures were drawn each time.
        resamples: How often.
        seed: Of the draws.
        level: Share of resamples that lie inside the intervals.
        overall: "AP" (mean over all thresholds), "AP50", "AP75" (where they are among the thresholds).
        classes: Class name -> AP of the class, in the order of the truth. Its interval is over the resamples in
            which the class has truth.
    """

    pictures: int
    resamples: int
    seed: int
    level: float
    overall: Mapping[str, Difference]
    classes: tuple[tuple[str, Difference], ...]

    def as_dict(self) -> dict[str, object]:
        """The numbers as plain values, ready for JSON."""
        return {
            "pictures": self.pictures,
            "resamples": self.resamples,
            "seed": self.seed,
            "level": self.level,
            **{name.lower(): one.as_dict() for name, one in self.overall.items()},
            "classes": [{"name": name, "ap": one.as_dict()} for name, one in self.classes],
        }

    def __repr__(self) -> str:
        ap = self.overall["AP"]
        return f"Comparison(AP {ap.difference:+.4f}, {self.level:.0%} [{ap.low:+.4f}, {ap.high:+.4f}])"


def compare(
    first: Verdicts,
    second: Verdicts,
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Compares two runs on the same truth by a paired bootstrap over pictures.

    Args:
        first: What became of the detections of one run.
        second: The same of the other run, judged at the same thresholds.
        resamples: How often pictures are drawn again, at least 1.
        seed: Of the draws; the same seed gives the same intervals.
        level: Share of resamples inside the interval, in (0, 1); ends are percentiles.
        progress: Called with (done, resamples) now and then.

    Raises:
        ValueError: The runs are about different truths or thresholds, or an argument is out of range.

    >>> from delineate import Dataset, Instances, Masks, Record
    >>> from delineate.metrics.verdicts import verdicts
    >>> drawn = np.zeros((2, 4, 4), bool)
    >>> drawn[0, :2, :2] = drawn[1, 2:, 1:] = True
    >>> there = Instances.of(Masks.from_dense(drawn))
    >>> truth, half, full = (
    ...     Dataset([Record(None, (4, 4), one, id=1)], ["cell"])
    ...     for one in (there, there[:1].replace(scores=[0.9]), there.replace(scores=[0.9, 0.8]))
    ... )
    >>> compare(verdicts(truth, half), verdicts(truth, full), resamples=20)
    Comparison(AP +0.4950, 95% [+0.4950, +0.4950])
    """
    _check(first, second, resamples, level)
    pictures = len(first.paired.ids)
    rng = np.random.default_rng(seed)
    once = [run.average_precision()[0] for run in (first, second)]
    tables: tuple[list[Floats], list[Floats]] = ([], [])
    for done in range(0, resamples, _CHUNK):
        weights = _draws(rng, min(_CHUNK, resamples - done), pictures)
        for run, drawn in zip((first, second), tables, strict=True):
            drawn.append(_summaries(run.average_precision(weights), first.thresholds))
        if progress is not None:
            progress(min(done + _CHUNK, resamples), resamples)
    names, values = _names(first.thresholds), [_summaries(run[None], first.thresholds)[0] for run in once]
    drawn_first, drawn_second = (np.concatenate(drawn) for drawn in tables)
    rows = [
        _difference(float(a), float(b), column, level)
        for a, b, column in zip(*values, (drawn_second - drawn_first).T, strict=True)
    ]
    return Comparison(
        pictures=pictures,
        resamples=resamples,
        seed=seed,
        level=level,
        overall=dict(zip(names, rows, strict=False)),
        classes=tuple(zip(first.paired.classes, rows[len(names) :], strict=True)),
    )


def _check(first: Verdicts, second: Verdicts, resamples: int, level: float) -> None:
    if first.paired.ids != second.paired.ids or not np.array_equal(first.positive, second.positive):
        raise ValueError("compare: both runs must be judged by the same truth, got different ones")
    if not np.array_equal(first.thresholds, second.thresholds):
        raise ValueError(
            f"compare: both runs must be judged at the same thresholds, "
            f"got {first.thresholds.tolist()} and {second.thresholds.tolist()}"
        )
    if resamples < 1:
        raise ValueError(f"compare: resamples must be at least 1, got {resamples}")
    if not 0 < level < 1:
        raise ValueError(f"compare: level must lie in (0, 1), got {level}")


def _draws(rng: np.random.Generator, count: int, pictures: int) -> NDArray[np.int32]:
    """(count, I) how often each picture is drawn."""
    if not pictures:
        return np.zeros((count, 0), np.int32)
    drawn = rng.integers(0, pictures, (count, pictures)) + np.arange(count)[:, None] * pictures
    return np.bincount(drawn.ravel(), minlength=count * pictures).reshape(count, pictures).astype(np.int32)


def _names(thresholds: Floats) -> list[str]:
    levels = thresholds.tolist()
    return ["AP", *(f"AP{level * 100:.0f}" for level in (0.5, 0.75) if level in levels)]


def _summaries(precision: Floats, thresholds: Floats) -> Floats:
    """(B, S + K): the overall numbers, then AP of each class; nan where nothing defines one."""
    levels = thresholds.tolist()
    places = [levels.index(level) for level in (0.5, 0.75) if level in levels]
    columns = [precision.mean(axis=2), *(precision[..., place] for place in places)]
    return np.concatenate([*(_mean(column)[:, None] for column in columns), columns[0]], axis=1)


def _mean(columns: Floats) -> Floats:
    """(B,) mean over the classes that have truth."""
    there = ~np.isnan(columns)
    total = np.where(there, columns, 0.0).sum(axis=1)
    count = there.sum(axis=1)
    mean: Floats = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
    return mean


def _difference(first: float, second: float, drawn: Floats, level: float) -> Difference:
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return Difference(first, second, math.nan, math.nan, math.nan)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]).tolist()
    above = float((drawn > 0).mean() + (drawn == 0).mean() / 2)
    return Difference(first, second, low, high, above)
