"""Counts of matched objects, as StarDist's ``matching`` has them: no scores, no curves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from delineate._native import _core
from delineate.dataset import Dataset
from delineate.metrics.columns import FIELDS, Fields, Floats, Ints, Kind, columns

THRESHOLDS: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9)
"""IoU thresholds of the usual table."""


@dataclass(frozen=True, eq=False, repr=False)
class Matching:
    """What `matching` counted, for T thresholds over I pictures.

    The arrays are counts per picture; all properties without ``picture`` in their name pool them. A ratio of
    nothing to nothing is 0, as in StarDist.

    Args:
        iou: "mask", "box" or "boundary".
        thresholds: (T) IoU thresholds.
        ids: (I) record ids, sorted.
        picture_matched: (I, T) int64 matched pairs.
        picture_truths: (I,) int64 objects of the truth, crowds not counted.
        picture_predictions: (I, T) int64 predictions, those in crowds not counted.
        picture_overlap: (I, T) float64 sum of the IoU of the matched pairs.
        notices: What a reader of the numbers must know, in words; empty if there is nothing.
    """

    iou: Kind
    thresholds: Floats
    ids: tuple[int | str, ...]
    picture_matched: Ints
    picture_truths: Ints
    picture_predictions: Ints
    picture_overlap: Floats
    notices: tuple[str, ...]

    @property
    def true_positives(self) -> Ints:
        """(T,) matched pairs."""
        return np.asarray(self.picture_matched.sum(axis=0))

    @property
    def false_positives(self) -> Ints:
        """(T,) predictions without a match."""
        return np.asarray(self.picture_predictions.sum(axis=0) - self.true_positives)

    @property
    def false_negatives(self) -> Ints:
        """(T,) objects without a match."""
        return np.asarray(self.picture_truths.sum() - self.true_positives)

    @property
    def precision(self) -> Floats:
        """(T,) tp / (tp + fp)."""
        return _ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> Floats:
        """(T,) tp / (tp + fn)."""
        return _ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def accuracy(self) -> Floats:
        """(T,) tp / (tp + fp + fn): what microscopy papers call AP."""
        return _ratio(self.true_positives, self.true_positives + self.false_positives + self.false_negatives)

    @property
    def f1(self) -> Floats:
        """(T,) 2 tp / (2 tp + fp + fn)."""
        return _ratio(
            2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives
        )

    @property
    def mean_matched_iou(self) -> Floats:
        """(T,) mean IoU of the matched pairs (StarDist: mean_matched_score)."""
        return _ratio(self.picture_overlap.sum(axis=0), self.true_positives)

    @property
    def picture_accuracy(self) -> Floats:
        """(I, T) accuracy of each picture; its mean is what StarDist reports with ``by_image=True``."""
        return _ratio(
            self.picture_matched,
            self.picture_truths[:, None] + self.picture_predictions - self.picture_matched,
        )

    def as_dict(self) -> dict[str, object]:
        """The pooled numbers as plain values, ready for JSON: one entry per threshold, and the notices."""
        counts = ("true_positives", "false_positives", "false_negatives")
        ratios = ("precision", "recall", "accuracy", "f1", "mean_matched_iou")
        values = {name: getattr(self, name).tolist() for name in (*counts, *ratios)}
        rows = [
            {"threshold": threshold, **{name: column[place] for name, column in values.items()}}
            for place, threshold in enumerate(self.thresholds.tolist())
        ]
        return {
            "iou": self.iou,
            "thresholds": rows,
            "mean_accuracy": float(self.accuracy.mean()),
            "notices": list(self.notices),
        }

    def __repr__(self) -> str:
        pairs = zip(self.thresholds, self.accuracy, strict=True)
        return f"Matching({self.iou} accuracy {', '.join(f'{a:.4f} at {t:g}' for t, a in pairs)})"


def matching(
    truth: Dataset,
    predictions: Dataset,
    thresholds: Iterable[float] = THRESHOLDS,
    *,
    iou: Kind = "mask",
    min_score: float | None = None,
    fields: Fields = FIELDS,
) -> Matching:
    """Matches predictions with the truth one to one, class by class, and counts.

    In each picture the matching has as many pairs with an IoU of at least the threshold as possible, and of
    those the greatest sum of IoU, as in StarDist (where the masks of one side do not overlap and the
    threshold is at least 0.5, an object has only one candidate). Crowds are no objects: a prediction that is
    not matched and lies in a crowd (by at least the threshold) is not counted. Records are matched by id,
    classes by name.

    Args:
        truth: What is right.
        predictions: What was found; scores are needed only for ``min_score``.
        thresholds: IoU thresholds in (0, 1].
        iou: What overlaps: "mask", "box" or "boundary".
        min_score: Count only predictions with at least this score.
        fields: Names of the extras to use, see `Fields`.

    Raises:
        ValueError: The datasets do not belong together, masks or scores are missing, thresholds are off.

    >>> from delineate import Dataset, Instances, Masks, Record
    >>> drawn = np.zeros((2, 4, 4), bool)
    >>> drawn[0, :2, :2] = drawn[1, 2:, 1:] = True
    >>> there, seen = (Instances.of(Masks.from_dense(masks)) for masks in (drawn, drawn[:1]))
    >>> truth, predictions = (Dataset([Record(None, (4, 4), one, id=1)], ["cell"]) for one in (there, seen))
    >>> matching(truth, predictions, [0.5])
    Matching(mask accuracy 0.5000 at 0.5)
    """
    levels = np.array(list(thresholds), np.float64)
    if not len(levels) or not ((levels > 0) & (levels <= 1)).all():
        raise ValueError(f"matching: thresholds must lie in (0, 1], got {levels.tolist()}")
    fields = replace(fields, area=None, id=None)  # they decide nothing here
    table = columns("matching", truth, predictions, iou=iou, fields=fields, scored=False, min_score=min_score)
    matched, ignored, overlap = _core.count_matches(table.truths, table.detections, table.overlap, levels)
    classes = max(1, len(truth.classes))
    truths, found = (
        np.bincount(cells // classes, minlength=len(truth))
        for cells in (table.truth_cells, table.detection_cells)
    )
    return Matching(
        iou=iou,
        thresholds=levels,
        ids=table.ids,
        picture_matched=matched,
        picture_truths=truths,
        picture_predictions=found[:, None] - ignored,
        picture_overlap=overlap,
        notices=table.notices,
    )


def _ratio(part: NDArray[np.int64] | Floats, whole: Ints) -> Floats:
    zeros: Floats = np.zeros(whole.shape)
    return np.divide(part, whole, out=zeros, where=whole > 0)
