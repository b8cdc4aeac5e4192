"""Mean intersection over union of class maps (Pascal VOC's segmentation challenge, Everingham et al. 2010).

Pixels are counted over all pictures together: IoU of a class = tp / (tp + fp + fn). Pixels whose true class is
unknown count nowhere; a prediction without a class is missed, and no false alarm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

UNKNOWN = -1
"""The class of pixels that nobody knows."""


@dataclass(frozen=True, slots=True, eq=False)
class SemanticReport:
    """What class maps are worth.

    Args:
        pictures: How many were compared.
        classes: Name of every class (K of them).
        counts: (K, K + 1) int64, pixels. Row: the true class; column: the predicted one, the last: none.
    """

    pictures: int
    classes: tuple[str, ...]
    counts: NDArray[np.int64]

    @property
    def iou(self) -> NDArray[np.float64]:
        """(K,) float64, intersection over union; nan for classes that are neither true nor predicted anywhere."""
        hits = np.diagonal(self.counts).astype(np.float64)
        union = self.counts.sum(1) + self.counts[:, : len(self.classes)].sum(0) - hits
        return np.where(union > 0, hits / np.maximum(union, 1), np.nan)

    @property
    def mean_iou(self) -> float:
        """The mean over the classes that have one; nan if none has."""
        values = self.iou[~np.isnan(self.iou)]
        return float(values.mean()) if len(values) else math.nan

    @property
    def accuracy(self) -> float:
        """The share of known pixels whose class is right; nan without any."""
        total = int(self.counts.sum())
        return float(np.trace(self.counts)) / total if total else math.nan

    def as_dict(self) -> dict[str, Any]:
        """All numbers as plain JSON values; None where one is undefined."""
        return {
            "pictures": self.pictures,
            "mean_iou": _plain(self.mean_iou),
            "accuracy": _plain(self.accuracy),
            "per_class": [
                {"name": name, "iou": _plain(iou), "pixels": pixels}
                for name, iou, pixels in zip(
                    self.classes, self.iou.tolist(), self.counts.sum(1).tolist(), strict=True
                )
            ],
        }


class Tally:
    """Counts pixels, picture after picture; memory does not grow with them.

    Args:
        classes: Name of every class.

    >>> tally = Tally(["road", "sky"])
    >>> tally.add([[0, 0, 1, -1]], [[0, 1, 1, 0]])
    >>> tally.report().iou
    array([0.5, 0.5])
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = tuple(classes)
        self._pictures = 0
        self._counts = np.zeros((len(self._classes), len(self._classes) + 1), np.int64)

    def add(self, truth: ArrayLike, found: ArrayLike) -> None:
        """Count one picture.

        Args:
            truth: (H, W) ints, the class of every pixel, or `UNKNOWN`.
            found: (H, W) ints, likewise; `UNKNOWN` where nothing is predicted.

        Raises:
            ValueError: Shapes differ, or a class is out of range.
        """
        true, ours = np.asarray(truth), np.asarray(found)
        count = len(self._classes)
        if true.shape != ours.shape or true.ndim != 2:
            raise ValueError(f"Tally.add: found must have the truth's (H, W) {true.shape}, got {ours.shape}")
        for name, given in (("truth", true), ("found", ours)):
            if given.dtype.kind not in "iu" or (given.size and not -1 <= given.min() <= given.max() < count):
                raise ValueError(f"Tally.add: {name} must be ints from -1 to {count - 1}, got others")
        known = true >= 0
        ours = np.where(ours[known] < 0, count, ours[known]).astype(np.int64)
        keys = true[known].astype(np.int64) * (count + 1) + ours
        self._counts += np.bincount(keys, minlength=self._counts.size).reshape(self._counts.shape)
        self._pictures += 1

    def report(self) -> SemanticReport:
        """What was counted so far."""
        return SemanticReport(self._pictures, self._classes, self._counts.copy())


def _plain(value: float) -> float | None:
    """None for nan, which JSON cannot say."""
    return None if math.isnan(value) else value
