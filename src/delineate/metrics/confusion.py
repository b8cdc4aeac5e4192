"""Which classes are taken for which: a confusion matrix over objects.

Matching looks at overlap alone, across classes: each prediction, best score first (of equal scores in input
order), takes the free object that it covers most, by at least the IoU threshold; of equal overlaps
one of its own class goes first, then the later one. So of several predictions of one object the most confident one
says what the object was taken for, and the others are false alarms; raising ``min_score`` never changes what the
remaining predictions take. (Tools that walk over pairs by falling IoU let a prediction of low confidence decide.)

Crowds are no objects: a prediction that takes no object and lies in a crowd of its class (by at least the threshold)
is not counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from delineate.dataset import Dataset
from delineate.metrics.columns import FIELDS, Fields, Floats, Ints, Kind
from delineate.metrics.verdicts import Paired, judge, pair


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ConfusionMatrix:
    """What `confusion_matrix` counted, for K classes.

    Args:
        iou: What overlaps.
        threshold: IoU from which a prediction may take an object.
        min_score: Predictions below it were left out; None for all.
        classes: (K) names, in the order of the truth.
        counts: (K + 1, K + 1) int64. Row: class of the object; column: class of the prediction that takes it.
            The last row counts predictions that take no object, the last column objects that are not taken;
            their corner is 0.
        notices: What a reader of the numbers must know, in words; empty if there is nothing.
    """

    iou: Kind
    threshold: float
    min_score: float | None
    classes: tuple[str, ...]
    counts: Ints
    notices: tuple[str, ...]

    @classmethod
    def of(cls, paired: Paired, threshold: float = 0.5, min_score: float | None = None) -> Self:
        """The matrix of overlaps that are known already.

        Args:
            paired: What overlaps.
            threshold: IoU threshold, not below the floor of the pairs.
            min_score: Count only predictions with at least this score.
        """
        if min_score is not None:
            paired = paired.cut(min_score)
        known, labels, count = paired.truths, paired.detections.labels, len(paired.classes)
        judged = judge(_own_class_last(paired).merged(), [threshold], max_detections=None, area=(0.0, np.inf))
        taken = judged.matches[0]
        in_crowd = np.zeros(len(taken), bool)
        in_crowd[taken >= 0] = known.crowd[taken[taken >= 0]] != 0
        rows = np.full(len(taken), count)
        rows[taken >= 0] = known.labels[taken[taken >= 0]]
        counted = judged.counted & ~in_crowd
        cells = rows[counted] * (count + 1) + labels[counted]
        counts = np.bincount(cells, minlength=(count + 1) ** 2).reshape(count + 1, -1)
        objects = np.bincount(known.labels[known.crowd == 0], minlength=count)
        counts[:count, count] = objects - counts[:count].sum(axis=1)
        return cls(paired.iou, float(threshold), min_score, paired.classes, counts, paired.notices)

    @property
    def true_positives(self) -> Ints:
        """(K) objects taken by a prediction of their class."""
        return np.asarray(self.counts.diagonal()[:-1])

    @property
    def false_positives(self) -> Ints:
        """(K) predictions that take an object of another class, or none."""
        return np.asarray(self.counts[:, :-1].sum(axis=0) - self.true_positives)

    @property
    def false_negatives(self) -> Ints:
        """(K) objects taken by a prediction of another class, or by none."""
        return np.asarray(self.counts[:-1].sum(axis=1) - self.true_positives)

    @property
    def shares(self) -> Floats:
        """(K + 1, K + 1) float64: each row divided by its sum, so the diagonal is recall; nan for empty rows."""
        sums = self.counts.sum(axis=1, keepdims=True)
        unknown: Floats = np.full(self.counts.shape, np.nan)
        np.divide(self.counts, sums, out=unknown, where=sums > 0)
        return unknown

    def worst(self, count: int = 10) -> list[tuple[str, str, int]]:
        """The most frequent confusions of two classes: (class of the object, of the prediction, how often).

        Args:
            count: The greatest number of them. Ties are in the order of rows, then columns.
        """
        mixed = self.counts[:-1, :-1].copy()
        np.fill_diagonal(mixed, 0)
        rows, columns_ = np.nonzero(mixed)
        order = np.argsort(-mixed[rows, columns_], kind="stable")[:count]
        return [
            (self.classes[r], self.classes[c], int(mixed[r, c]))
            for r, c in zip(rows[order], columns_[order], strict=True)
        ]

    def as_dict(self) -> dict[str, object]:
        """The matrix as plain values, ready for JSON: [row, column, count] of every cell that is not 0.

        Rows and columns are positions in "classes"; the one after the last class is the background.
        """
        return {
            "iou": self.iou,
            "threshold": self.threshold,
            "min_score": self.min_score,
            "classes": list(self.classes),
            "cells": [[*cell, int(self.counts[tuple(cell)])] for cell in np.argwhere(self.counts).tolist()],
            "notices": list(self.notices),
        }

    def __repr__(self) -> str:
        right, mixed = int(self.true_positives.sum()), int(self.counts[:-1, :-1].sum())
        return (
            f"ConfusionMatrix({len(self.classes)} classes, {right} right, {mixed - right} confused, "
            f"{self.counts[:, -1].sum()} missed, {self.counts[-1].sum()} false alarms)"
        )


def confusion_matrix(
    truth: Dataset,
    predictions: Dataset,
    *,
    threshold: float = 0.5,
    min_score: float | None = None,
    iou: Kind = "mask",
    fields: Fields = FIELDS,
) -> ConfusionMatrix:
    """Counts which classes objects were taken for, with a row and a column for the background.

    Records are matched by id, classes by name. Which prediction takes which object: see the module.

    Args:
        truth: What is right.
        predictions: What was found; of classes that the truth does not know, nothing counts.
        threshold: IoU threshold in (0, 1].
        min_score: Count only predictions with at least this score; the confidence at which the model is used.
        iou: What overlaps: "mask", "box" or "boundary".
        fields: Names of the extras to use, see `Fields`.

    Raises:
        ValueError: The datasets do not belong together, masks or scores are missing, the threshold is off.

    >>> from delineate import Dataset, Instances, Masks, Record
    >>> drawn = np.zeros((2, 4, 4), bool)
    >>> drawn[0, :2, :2] = drawn[1, 2:, 1:] = True
    >>> there = Instances.of(Masks.from_dense(drawn), labels=[0, 1])
    >>> seen = Instances.of(Masks.from_dense(drawn[:1]), labels=[1], scores=[0.75])
    >>> truth, found = (Dataset([Record(None, (4, 4), one, id=1)], ["cat", "dog"]) for one in (there, seen))
    >>> confusion_matrix(truth, found).counts
    array([[0, 1, 0],
           [0, 0, 1],
           [0, 0, 0]])
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"confusion_matrix: threshold must lie in (0, 1], got {threshold}")
    fields = replace(fields, area=None, id=None)  # they decide nothing here
    paired = pair("confusion_matrix", truth, predictions, iou=iou, fields=fields, floor=threshold)
    return ConfusionMatrix.of(paired, threshold, min_score)


def _own_class_last(paired: Paired) -> Paired:
    """Without crowds of other classes, and so that of equal overlaps, where the last one wins, it is the own class."""
    owners, partners = paired.owners, paired.partners
    own = paired.truths.labels[partners] == paired.detections.labels[owners]
    kept = np.flatnonzero(own | (paired.truths.crowd[partners] == 0))
    kept = kept[np.lexsort((own[kept], owners[kept]))]
    offsets = np.searchsorted(owners[kept], np.arange(len(paired.offsets)))
    return replace(paired, offsets=offsets, partners=partners[kept], ious=paired.ious[kept])
