"""Why average precision is lost: the error types of TIDE (Bolya, Foley, Hays, Hoffman: TIDE, ECCV 2020).

Every wrong detection gets one type, by the truths that it overlaps: it has a bad outline (localisation), a wrong
class (classification), both, doubles a detection (duplicate), or there is nothing (background); a truth that no
mended detection could find is missed. What a type costs is measured by an oracle: mend all errors of the type, and see
how much AP rises. The gains do not add up to what is missing, since mending one type hides or uncovers others.

Departures from the authors' tidecv 1.0.1: classes without truth have no AP here (there 0, which pulls the mean);
ignored detections (in crowds) have no error (there they are counted, and mended where they could be); the limit on
detections is per class and picture as in COCO (there per picture); the 101 recall levels are pycocotools' (there
x / 100, which differ in the last bit). Otherwise the numbers are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from delineate.metrics.ap import RECALLS
from delineate.metrics.columns import Flags, Floats, Ints
from delineate.metrics.verdicts import Paired, Verdicts

KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
"""Types of errors; all but the last are types of wrong detections."""
_CLASS, _PLACE, _BOTH, _DUPLICATE, _BACKGROUND = range(5)


@dataclass(frozen=True, eq=False, repr=False)
class Errors:
    """Errors of D detections and G truths at one IoU threshold.

    Args:
        classes: (K) names.
        threshold: IoU from which a detection is right.
        background: IoU up to which there is nothing.
        ap: AP at the threshold, mean over the classes with truth; nan without any.
        gains: Type -> by how much AP would rise if there were no such errors (at least 0). Beside `KINDS`:
            "false positive" (no detection is wrong) and "false negative" (nothing is left unfound).
        counts: (K, 6) int64, errors of each class (of the detection, or of the missed truth) by `KINDS`.
        detections: (D,) int64 index into `KINDS`, -1 where the detection is right or does not count.
        missed: (G,) bool truths that are found by nothing, and would not be if classes and outlines were right.
    """

    classes: tuple[str, ...]
    threshold: float
    background: float
    ap: float
    gains: Mapping[str, float]
    counts: Ints
    detections: Ints
    missed: Flags

    def as_dict(self) -> dict[str, object]:
        """The numbers as plain values, ready for JSON; None where one is not defined."""
        per_class = zip(self.classes, self.counts.tolist(), strict=True)
        return {
            "threshold": self.threshold,
            "background": self.background,
            "ap": None if np.isnan(self.ap) else self.ap,
            "gains": {name: None if np.isnan(gain) else gain for name, gain in self.gains.items()},
            "counts": dict(zip(KINDS, self.counts.sum(axis=0).tolist(), strict=True)),
            "classes": [{"name": name, **dict(zip(KINDS, row, strict=True))} for name, row in per_class],
        }

    def __repr__(self) -> str:
        counts = self.counts.sum(axis=0).tolist()
        return f"Errors({', '.join(f'{count} {kind}' for kind, count in zip(KINDS, counts, strict=True))})"


def errors(judged: Verdicts, *, place: int = 0, background: float = 0.1) -> Errors:
    """Sorts out what is wrong at one IoU threshold, and what each type of error costs.

    Args:
        judged: What became of each detection.
        place: Which threshold of `judged` decides; TIDE takes IoU 0.5.
        background: Detections that overlap nothing by more are background; at least the floor of the pairs.

    Raises:
        ValueError: ``background`` does not lie between the floor and the threshold.

    >>> from delineate import Dataset, Instances, Masks, Record
    >>> from delineate.metrics.verdicts import verdicts
    >>> drawn = np.zeros((2, 4, 4), bool)
    >>> drawn[0, :2, :2] = drawn[1, 2:, 1:] = True
    >>> there = Instances.of(Masks.from_dense(drawn))
    >>> seen = Instances.of(Masks.from_dense(drawn[[0, 0]]), scores=[0.9, 0.8])
    >>> truth, predictions = (Dataset([Record(None, (4, 4), one, id=1)], ["cell"]) for one in (there, seen))
    >>> errors(verdicts(truth, predictions, [0.5]))
    Errors(0 classification, 0 localisation, 0 both, 1 duplicate, 0 background, 1 missed)
    """
    paired, threshold = judged.paired, float(judged.thresholds[place])
    if not paired.floor <= background <= threshold:
        raise ValueError(
            f"errors: background must lie between {paired.floor:g} and the threshold {threshold:g}, "
            f"got {background:g}"
        )
    kinds, target = _sort_out(judged, place, background)
    found = judged.found(place)
    candidates = np.flatnonzero(target >= 0)
    candidates = candidates[~found[target[candidates]]]
    mended = _mended(paired, candidates, target)
    usable = np.zeros(len(found), bool)
    usable[target[candidates]] = True
    missed = judged.positive & ~found & ~usable
    truths, detections = paired.truths.labels, paired.detections.labels
    count = len(paired.classes)
    table = np.zeros((count, len(KINDS)), np.int64)
    np.add.at(table, (detections[kinds >= 0], kinds[kinds >= 0]), 1)
    table[:, -1] += np.bincount(truths[missed], minlength=count)
    labels = np.where(target >= 0, truths[target], detections) if len(truths) else detections
    ap, gains = _gains(judged, place, kinds, labels, mended, np.bincount(truths[missed], minlength=count))
    return Errors(paired.classes, threshold, background, ap, gains, table, kinds, missed)


def _sort_out(judged: Verdicts, place: int, background: float) -> tuple[Ints, Ints]:
    """(D,) type of each detection; (D,) the truth that it should have been, for wrong outlines and classes."""
    paired = judged.paired
    real = judged.positive[paired.partners]
    owners, partners, ious = paired.owners[real], paired.partners[real], paired.ious[real]
    same = paired.detections.labels[owners] == paired.truths.labels[partners]
    size = len(judged.counted)
    best_same, truth_same = _best(owners[same], partners[same], ious[same], size)
    best_other, truth_other = _best(owners[~same], partners[~same], ious[~same], size)
    used = same & judged.found(place)[partners]
    best_used, _ = _best(owners[used], partners[used], ious[used], size)
    threshold = judged.thresholds[place]
    wrong = judged.wrong(place)
    kinds = np.select(
        [
            ~wrong,
            (best_same >= background) & (best_same <= threshold),
            best_other >= threshold,
            best_used >= threshold,
            np.maximum(best_same, best_other) <= background,
        ],
        [-1, _PLACE, _CLASS, _DUPLICATE, _BACKGROUND],
        _BOTH,
    )
    target = np.select([kinds == _PLACE, kinds == _CLASS], [truth_same, truth_other], -1)
    return kinds, target


def _best(owners: Ints, partners: Ints, ious: Floats, size: int) -> tuple[Floats, Ints]:
    """Per detection the greatest IoU (0: none) and its truth; of equals the first one."""
    best, truth = np.zeros(size), np.full(size, -1)
    order = np.argsort(-ious, kind="stable")[::-1]  # what is written last stays
    best[owners[order]], truth[owners[order]] = ious[order], partners[order]
    return best, truth


def _mended(paired: Paired, candidates: Ints, target: Ints) -> Flags:
    """(D,) bool: the best candidate for each truth; mending makes it right, other candidates vanish."""
    scores, pictures = paired.detections.scores, paired.detection_pictures
    # Best score first; of equals the first one of its picture.
    candidates = candidates[np.lexsort((candidates, -scores[candidates], pictures[candidates]))]
    _, first = np.unique(target[candidates], return_index=True)
    mended = np.zeros(len(target), bool)
    mended[candidates[first]] = True
    return mended


def _gains(
    judged: Verdicts, place: int, kinds: Ints, labels: Ints, mended: Flags, missed: Ints
) -> tuple[float, dict[str, float]]:
    """AP, and what it gains by each oracle. `labels`: the class that each detection should have had."""
    paired, right = judged.paired, judged.right(place)
    kept, own = right | judged.wrong(place), paired.detections.labels
    classes = len(paired.classes)
    positives = np.bincount(paired.truths.labels[judged.positive], minlength=classes)
    unfound = positives - np.bincount(own[right], minlength=classes)
    there = np.flatnonzero(positives > 0)

    def mean(kept: Flags, right: Flags, labels: Ints, positives: Ints) -> float:
        values = [
            _precision(paired.detections.scores[mine], right[mine], positives[label])
            for label in there
            if (mine := kept & (labels == label)).any() or positives[label]
        ]
        return float(np.mean(values)) if values else float("nan")

    before = mean(kept, right, own, positives)
    gains = {}
    for kind, name in enumerate(KINDS[:-1]):
        ours = kinds == kind
        after = mean(
            kept & ~(ours & ~mended), right | (ours & mended), np.where(ours, labels, own), positives
        )
        gains[name] = max(0.0, after - before)
    gains["missed"] = max(0.0, mean(kept, right, own, positives - missed) - before)
    gains["false positive"] = mean(right, right, own, positives) - before
    gains["false negative"] = mean(kept, right, own, positives - unfound) - before
    return before, gains


def _precision(scores: Floats, right: Flags, positives: int) -> float:
    """AP over 101 recall levels; 0 without truth."""
    if not positives:
        return 0.0
    tp = np.cumsum(right[np.argsort(-scores, kind="stable")])
    precision = np.maximum.accumulate((tp / np.arange(1, len(tp) + 1))[::-1])[::-1]
    places = np.searchsorted(tp / positives, RECALLS, side="left")
    return float(np.concatenate([precision, np.zeros(1)])[places].mean())
