"""Precision, recall and F1 at every confidence threshold, per class and pooled, and where F1 is best.

Each detection, best score first (of equal scores in input order), takes the free truth of its class that it covers
most, by at least the IoU threshold: COCO's matching, without a limit on the number of detections. What a detection
finds does not depend on those with lower scores, so one matching serves every confidence threshold: a cut at ``c``
counts the detections with ``score >= c``. Crowds are no objects; a detection that takes no object and lies in a
crowd of its class (by at least the threshold) is not counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from delineate.dataset import Dataset
from delineate.metrics.columns import FIELDS, Fields, Flags, Floats, Ints, Kind
from delineate.metrics.verdicts import Verdicts, judge, pair


@dataclass(frozen=True, slots=True)
class Point:
    """One class (or all pooled) cut at one confidence. Ratios of nothing to nothing are nan.

    Args:
        confidence: Detections with at least this score count.
        true_positives: Detections that take an object.
        false_positives: Detections that take none.
        false_negatives: Objects that no detection takes.
    """

    confidence: float
    true_positives: int
    false_positives: int
    false_negatives: int

    @property
    def precision(self) -> float:
        """Share tp / (tp + fp); nan without detections."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """Share tp / (tp + fn); nan without objects."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        """2 tp / (2 tp + fp + fn); nan without both."""
        return _share(
            2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives
        )

    def as_dict(self) -> dict[str, float | None]:
        """Counts and ratios as plain values, ready for JSON; None where one is not defined."""
        ratios = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return {
            "confidence": self.confidence,
            "true_positives": self.true_positives,
            "false_positives": self.false_positives,
            "false_negatives": self.false_negatives,
            **{name: None if np.isnan(value) else value for name, value in ratios.items()},
        }


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Curve:
    """One class, or all pooled, at P falling confidences. Ratios of nothing to nothing are nan.

    Args:
        name: The class; "all" for the pooled curve.
        objects: Number of truth objects, crowds not counted.
        confidences: (P) float64, strictly falling.
        true_positives: (P) int64, detections with at least that score that take an object.
        false_positives: (P) int64, those that take none.
    """

    name: str
    objects: int
    confidences: Floats
    true_positives: Ints
    false_positives: Ints

    @property
    def false_negatives(self) -> Ints:
        """(P) int64, objects that no detection with at least that score takes."""
        return np.asarray(self.objects - self.true_positives)

    @property
    def precision(self) -> Floats:
        """(P) float64 tp / (tp + fp)."""
        return _shares(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> Floats:
        """(P) float64 tp / objects."""
        return _shares(self.true_positives, np.full(len(self.confidences), self.objects))

    @property
    def f1(self) -> Floats:
        """(P) float64 2 tp / (2 tp + fp + fn)."""
        return _shares(
            2 * self.true_positives, self.true_positives + self.false_positives + np.int64(self.objects)
        )

    @property
    def best(self) -> Point | None:
        """Where F1 is greatest, of equals at the highest confidence; None where it is nowhere above 0."""
        f1 = np.nan_to_num(self.f1)
        place = int(np.argmax(f1)) if len(f1) else 0
        return self._point(place) if len(f1) and f1[place] > 0 else None

    def at(self, confidence: float) -> Point:
        """The counts of all detections with at least this score.

        Args:
            confidence: Any number.
        """
        return self.sampled([confidence])._point(0)

    def sampled(self, confidences: ArrayLike) -> Curve:
        """The same curve at other confidences; what lies between them is lost to the result.

        Args:
            confidences: Numbers in any order; each is taken once.
        """
        steps = np.unique(np.asarray(confidences, np.float64))[::-1]
        # How many of the curve's own confidences are at least as high: its counts stand still in between.
        passed = np.searchsorted(-self.confidences, -steps, side="right")
        counts = (np.concatenate([[0], line])[passed] for line in (self.true_positives, self.false_positives))
        return Curve(self.name, self.objects, steps, *counts)

    def as_dict(self) -> dict[str, object]:
        """The curve as plain values, ready for JSON; None where a number is not defined."""
        lines = {
            "confidence": self.confidences,
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
        }
        return {
            "name": self.name,
            "objects": self.objects,
            "best": None if self.best is None else self.best.as_dict(),
            **{
                name: [None if np.isnan(value) else value for value in line.tolist()]
                for name, line in lines.items()
            },
        }

    def __repr__(self) -> str:
        best = self.best
        text = "no match" if best is None else f"F1 {best.f1:.4f} at {best.confidence:.4g}"
        return f"Curve({self.name!r}, {self.objects} objects, {text})"

    def _point(self, place: int) -> Point:
        counts = (self.true_positives, self.false_positives, self.false_negatives)
        return Point(float(self.confidences[place]), *(int(line[place]) for line in counts))


@dataclass(frozen=True, slots=True, eq=False)
class OperatingCurves:
    """What `operating_curves` found.

    Args:
        iou: What overlaps.
        threshold: IoU from which a detection may take an object.
        overall: All classes pooled: one confidence for all of them, every object and detection counts the same.
        classes: One curve per class, in the order of the truth. ``confidences`` are the scores of the class
            that occur.
        notices: What a reader of the numbers must know, in words; empty if there is nothing.
    """

    iou: Kind
    threshold: float
    overall: Curve
    classes: tuple[Curve, ...]
    notices: tuple[str, ...]

    @classmethod
    def of(cls, verdicts: Verdicts, place: int = 0) -> Self:
        """The curves behind verdicts that exist already; what they did not count or ignored is left out.

        Args:
            verdicts: Judged with the rule "score" (with others a cut would change the matches), and without
                a limit on detections unless that is meant.
            place: Which of their thresholds.
        """
        names, truths, found = verdicts.paired.classes, verdicts.paired.truths, verdicts.paired.detections
        hit = verdicts.right(place)
        counted = hit | verdicts.wrong(place)
        labels, scores, hit = found.labels[counted], found.scores[counted], hit[counted]
        objects = np.bincount(truths.labels[verdicts.positive], minlength=len(names))
        order = np.argsort(labels, kind="stable")
        bounds = np.searchsorted(labels[order], np.arange(len(names) + 1))
        parts = (order[low:high] for low, high in itertools.pairwise(bounds))
        return cls(
            iou=verdicts.paired.iou,
            threshold=float(verdicts.thresholds[place]),
            overall=_curve("all", int(objects.sum()), scores, hit),
            classes=tuple(
                _curve(name, int(total), scores[part], hit[part])
                for name, total, part in zip(names, objects, parts, strict=True)
            ),
            notices=verdicts.paired.notices,
        )

    def as_dict(self, confidences: Sequence[float] | None = None) -> dict[str, object]:
        """All curves as plain values, ready for JSON; None where a number is not defined.

        Args:
            confidences: Where to sample the curves; 0, 0.01 ... 1 by default. "best" is found among all
                scores.
        """
        steps = np.arange(101) / 100 if confidences is None else confidences

        def plain(curve: Curve) -> dict[str, object]:
            best = None if curve.best is None else curve.best.as_dict()
            return {**curve.sampled(steps).as_dict(), "best": best}

        return {
            "iou": self.iou,
            "threshold": self.threshold,
            "overall": plain(self.overall),
            "classes": [plain(curve) for curve in self.classes],
            "notices": list(self.notices),
        }


def operating_curves(
    truth: Dataset,
    predictions: Dataset,
    *,
    threshold: float = 0.5,
    iou: Kind = "mask",
    fields: Fields = FIELDS,
) -> OperatingCurves:
    """Precision, recall and F1 of each class and of all pooled, at every score that occurs.

    Records are matched by id, classes by name. Order of ties: see the module.

    Args:
        truth: What is right. A class without objects has a precision, but no recall.
        predictions: What was found, with scores. A class without detections has an empty curve.
        threshold: IoU threshold in (0, 1].
        iou: What overlaps: "mask", "box" or "boundary".
        fields: Names of the extras to use, see `Fields`.

    Raises:
        ValueError: The datasets do not belong together, masks or scores are missing, the threshold is off.

    >>> from delineate import Dataset, Instances, Masks, Record
    >>> drawn = np.zeros((2, 4, 4), bool)
    >>> drawn[0, :2, :2] = drawn[1, 2:, 1:] = True
    >>> there = Instances.of(Masks.from_dense(drawn))
    >>> seen = Instances.of(Masks.from_dense(drawn[[0, 0]]), scores=[0.75, 0.25])
    >>> truth, predictions = (Dataset([Record(None, (4, 4), one, id=1)], ["cell"]) for one in (there, seen))
    >>> curves = operating_curves(truth, predictions)
    >>> curves.overall
    Curve('all', 2 objects, F1 0.6667 at 0.75)
    >>> curves.overall.at(0.2).precision
    0.5
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"operating_curves: threshold must lie in (0, 1], got {threshold}")
    fields = replace(fields, area=None, id=None)  # they decide nothing here
    paired = pair("operating_curves", truth, predictions, iou=iou, fields=fields, floor=threshold)
    return OperatingCurves.of(judge(paired, [threshold], max_detections=None, area=(0.0, np.inf)))


def _curve(name: str, objects: int, scores: Floats, hit: Flags) -> Curve:
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(hit[order], dtype=np.int64)
    last = np.flatnonzero(np.diff(scores, append=-np.inf))  # the last of each run of equal scores
    return Curve(name, objects, scores[last], hits[last], last + 1 - hits[last])


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _shares(part: Ints, whole: Ints) -> Floats:
    unknown: Floats = np.full(whole.shape, np.nan)
    return np.divide(part, whole, out=unknown, where=whole > 0)
