"""Panoptic quality (Kirillov et al., Panoptic Segmentation, CVPR 2019), counted as panopticapi does.

A predicted and a true segment of one class match if their IoU is over 0.5; pixels of the predicted segment that
are void in the truth do not count in the union. Crowds of the truth match nothing and are not missed. A predicted
segment without a match is a false positive, unless more than half of it lies on void or on the truth's crowd of
its class (of several crowds of one class in one picture, the last one).

::

    PQ = SQ * RQ    SQ = mean IoU of matches    RQ = tp / (tp + fp / 2 + fn / 2)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from delineate.panoptic import VOID, Panoptic, PanopticDataset


@dataclass(frozen=True, slots=True)
class Quality:
    """Panoptic quality averaged over classes.

    Args:
        pq: Panoptic quality, 0 to 1; nan where no class counts.
        sq: Segmentation quality: mean IoU of matched segments.
        rq: Recognition quality: an F1.
        classes: How many classes count: those with any segment in truth or predictions (not ignored).
    """

    pq: float
    sq: float
    rq: float
    classes: int


@dataclass(frozen=True, slots=True, eq=False)
class PanopticReport:
    """Panoptic quality of predictions, per class and averaged.

    The averages are means over classes, so that PQ = SQ * RQ holds per class only.

    Args:
        pictures: How many pictures were compared.
        classes: Name of every class (K of them).
        things: (K,) bool.
        true_positives: (K,) int64, matched segments.
        false_positives: (K,) int64.
        false_negatives: (K,) int64.
        iou_sum: (K,) float64, sum of the IoU of matched segments.
    """

    pictures: int
    classes: tuple[str, ...]
    things: NDArray[np.bool_]
    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]
    false_negatives: NDArray[np.int64]
    iou_sum: NDArray[np.float64]

    @property
    def counted(self) -> NDArray[np.bool_]:
        """(K,) bool, which classes have anything to count; the others are in no average."""
        found: NDArray[np.bool_] = (self.true_positives + self.false_positives + self.false_negatives) > 0
        return found

    @property
    def sq(self) -> NDArray[np.float64]:
        """(K,) float64, mean IoU of matches; 0 without a match, nan for classes that do not count."""
        return np.where(self.counted, self.iou_sum / np.maximum(self.true_positives, 1), np.nan)

    @property
    def rq(self) -> NDArray[np.float64]:
        """(K,) float64, tp / (tp + fp / 2 + fn / 2); nan for classes that do not count."""
        return self._per_object(self.true_positives)

    @property
    def pq(self) -> NDArray[np.float64]:
        """(K,) float64, sum of IoU / (tp + fp / 2 + fn / 2); nan for classes that do not count."""
        return self._per_object(self.iou_sum)

    @property
    def all(self) -> Quality:
        """The mean over all classes that count."""
        return self._mean(np.ones(len(self.classes), bool))

    @property
    def thing(self) -> Quality:
        """The mean over the things that count."""
        return self._mean(self.things)

    @property
    def stuff(self) -> Quality:
        """The mean over the stuff that counts."""
        return self._mean(~self.things)

    def as_dict(self) -> dict[str, Any]:
        """All numbers as plain JSON values; None where one is undefined."""
        means = {"all": self.all, "things": self.thing, "stuff": self.stuff}
        columns = zip(
            self.classes,
            self.things.tolist(),
            self.pq.tolist(),
            self.sq.tolist(),
            self.rq.tolist(),
            self.true_positives.tolist(),
            self.false_positives.tolist(),
            self.false_negatives.tolist(),
            self.iou_sum.tolist(),
            strict=True,
        )
        names = ("name", "thing", "pq", "sq", "rq", "tp", "fp", "fn", "iou_sum")
        return {
            "pictures": self.pictures,
            **{
                name: {"pq": _plain(m.pq), "sq": _plain(m.sq), "rq": _plain(m.rq), "classes": m.classes}
                for name, m in means.items()
            },
            "per_class": [dict(zip(names, map(_plain, row), strict=True)) for row in columns],
        }

    def _per_object(self, amount: NDArray[Any]) -> NDArray[np.float64]:
        objects = self.true_positives + 0.5 * self.false_positives + 0.5 * self.false_negatives
        return np.where(self.counted, amount / np.where(self.counted, objects, 1), np.nan)

    def _mean(self, wanted: NDArray[np.bool_]) -> Quality:
        wanted = wanted & self.counted
        count = int(wanted.sum())
        if not count:
            return Quality(math.nan, math.nan, math.nan, 0)
        pq, sq, rq = (float(values[wanted].sum()) / count for values in (self.pq, self.sq, self.rq))
        return Quality(pq, sq, rq, count)


def evaluate_panoptic(truth: PanopticDataset, predictions: PanopticDataset) -> PanopticReport:
    """Panoptic quality of predictions, equal to panopticapi's. One pair of maps is in memory at a time.

    Areas are counted in the maps. (panopticapi believes the "area" that the truth's JSON states.)

    Args:
        truth: True segments.
        predictions: Predicted segments of at least the same pictures (by record id; more are passed over),
            with the same classes. What is a thing is taken from the truth.

    Returns:
        The counts per class and their averages.

    Raises:
        ValueError: Classes differ, a picture is missing, or sizes or labels do not fit.
        FormatError: A map cannot be read.

    >>> from delineate.panoptic import PanopticRecord
    >>> def one(rows):
    ...     picture = Panoptic(rows, ids=[1, 2], labels=[0, 1], things=[True, False])
    ...     return PanopticDataset([PanopticRecord(None, picture.size, picture, 1)], ["car", "sky"], [True, False])
    >>> evaluate_panoptic(one([[1, 1, 1, 2]]), one([[1, 1, 2, 2]])).pq
    array([0.66666667, 0.        ])
    """
    if predictions.classes != truth.classes:
        raise ValueError(
            f"evaluate_panoptic: predictions must have the classes of the truth {list(truth.classes)[:5]}..., "
            f"got {list(predictions.classes)[:5]}..."
        )
    by_id = {record.id: record for record in predictions}
    missing = [record.id for record in truth if record.id not in by_id]
    if missing:
        raise ValueError(
            f"evaluate_panoptic: predictions must cover every picture of the truth, "
            f"got none for {missing[0]!r} ({len(missing)} of {len(truth)} are missing)"
        )
    tally = _Tally(len(truth.classes))
    for record in truth:
        true, found = record.read(), by_id[record.id].read()
        if true.size != found.size:
            raise ValueError(
                f"evaluate_panoptic: predictions must have the truth's size {true.size} "
                f"in picture {record.id!r}, got {found.size}"
            )
        for picture in (true, found):
            if len(picture) and picture.labels.max() >= len(truth.classes):
                raise ValueError(
                    f"evaluate_panoptic: labels must be below the number of classes {len(truth.classes)}, "
                    f"got {picture.labels.max()} in picture {record.id!r}"
                )
        tally.add(true, found)
    return PanopticReport(
        len(truth), truth.classes, np.array(truth.things, bool), tally.tp, tally.fp, tally.fn, tally.iou
    )


class _Tally:
    """Counts per class, summed over pictures."""

    def __init__(self, classes: int) -> None:
        self.tp = np.zeros(classes, np.int64)
        self.fp = np.zeros(classes, np.int64)
        self.fn = np.zeros(classes, np.int64)
        self.iou = np.zeros(classes, np.float64)

    def add(self, true: Panoptic, found: Panoptic) -> None:
        """Count one picture."""
        rows, columns, pixels = _pairs(true, found)
        on_void = np.zeros(len(found), np.int64)
        void = (rows < 0) & (columns >= 0)
        on_void[columns[void]] = pixels[void]
        both = (rows >= 0) & (columns >= 0)
        rows, columns, pixels = rows[both], columns[both], pixels[both]
        same = true.labels[rows] == found.labels[columns]
        crowd = true.crowd[rows]
        iou = pixels / (true.areas[rows] + found.areas[columns] - on_void[columns] - pixels)
        match = same & ~crowd & (iou > 0.5)
        np.add.at(self.tp, true.labels[rows[match]], 1)
        np.add.at(self.iou, true.labels[rows[match]], iou[match])
        missed = ~true.crowd
        missed[rows[match]] = False
        np.add.at(self.fn, true.labels[missed], 1)
        last = np.full(len(self.tp), -1)  # of several crowds of one class the last one, as in panopticapi
        last[true.labels[true.crowd]] = np.flatnonzero(true.crowd)
        excusing = same & (last[true.labels[rows]] == rows)
        excused = on_void
        np.add.at(excused, columns[excusing], pixels[excusing])
        wrong = excused / found.areas <= 0.5
        wrong[columns[match]] = False
        np.add.at(self.fp, found.labels[wrong], 1)


def _pairs(true: Panoptic, found: Panoptic) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Segments that share pixels: positions in the truth and in the predictions (-1 is void), and how many."""
    ours, theirs = true.map.ravel(), found.map.ravel()
    # Neighbours mostly belong to the same pair: counting runs of pairs spares sorting every pixel.
    change = (ours[1:] != ours[:-1]) | (theirs[1:] != theirs[:-1])
    starts = np.concatenate([[0], np.flatnonzero(change) + 1])
    lengths = np.diff(starts, append=len(ours))
    width = len(found) + 1
    keys = _positions(true, ours[starts]) * width + _positions(found, theirs[starts])
    pairs, places = np.unique(keys, return_inverse=True)
    pixels = np.bincount(places.ravel(), lengths, len(pairs))  # sums of ints stay exact up to 2**53
    return pairs // width - 1, pairs % width - 1, pixels.astype(np.int64)


def _positions(picture: Panoptic, values: NDArray[np.int32]) -> NDArray[np.int64]:
    """Positions in the table, plus one; 0 for void."""
    ids = np.concatenate([[VOID], picture.ids])
    order = np.argsort(ids, kind="stable")
    return order[np.searchsorted(ids, values, sorter=order)]


def _plain(value: object) -> object:
    """None for nan, which JSON cannot say."""
    return None if isinstance(value, float) and math.isnan(value) else value
