"""The settings of an average precision, checked. Serves `ap` and `video`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from delineate.metrics.columns import Floats


@dataclass(frozen=True, eq=False)
class Protocol:
    """Settings of an evaluation, checked by `protocol`; `ap.evaluate` says what they mean."""

    thresholds: Floats
    recalls: Floats
    area_ranges: Mapping[str, tuple[float, float]]
    max_detections: tuple[int, ...]


def protocol(
    thresholds: Iterable[float],
    recalls: Iterable[float],
    area_ranges: Mapping[str, tuple[float, float]],
    max_detections: Sequence[int],
) -> Protocol:
    """The checked settings of an evaluation.

    Args:
        thresholds: IoU thresholds in (0, 1].
        recalls: Recall levels in [0, 1], ascending.
        area_ranges: Name -> (least, greatest) area.
        max_detections: Limits of at least 1.

    Raises:
        ValueError: One is out of its range.
    """
    levels = _checked("thresholds", thresholds, 0.0, 1.0)
    if not len(levels) or (levels <= 0).any():
        raise ValueError(f"evaluate: thresholds must lie in (0, 1], got {levels.tolist()}")
    steps = _checked("recalls", recalls, 0.0, 1.0)
    if (np.diff(steps) < 0).any():
        raise ValueError("evaluate: recalls must be ascending, got a smaller one after a greater one")
    return Protocol(levels, steps, _ranges(area_ranges), _limits(max_detections))


def _checked(name: str, values: Iterable[float], low: float, high: float) -> Floats:
    array = np.array(list(values), np.float64)
    wrong = array[~((array >= low) & (array <= high))]
    if len(wrong):
        raise ValueError(f"evaluate: {name} must lie in [{low:g}, {high:g}], got {wrong[0]}")
    return array


def _limits(values: Sequence[int]) -> tuple[int, ...]:
    limits = tuple(sorted(int(value) for value in values if value == int(value)))
    if not limits or limits[0] < 1 or len(limits) < len(values):
        raise ValueError(f"evaluate: max_detections must be whole numbers of at least 1, got {tuple(values)}")
    return limits


def _ranges(ranges: Mapping[str, tuple[float, float]]) -> Mapping[str, tuple[float, float]]:
    if not ranges:
        raise ValueError("evaluate: area_ranges must name at least one range, got none")
    for name, (low, high) in ranges.items():
        if not low <= high:
            raise ValueError(f"evaluate: area_ranges[{name!r}] must be (least, greatest), got {(low, high)}")
    return MappingProxyType({name: (float(low), float(high)) for name, (low, high) in ranges.items()})
