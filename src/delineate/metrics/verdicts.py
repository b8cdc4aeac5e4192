"""What became of each detection: a hit, a false alarm or ignored, and which truth it took.

`evaluate` gives curves; the analyses (error types, calibration, comparison of runs, conventions) ask what is behind
them. They share this: overlaps are computed once (`pair`), judged under any convention (`judge`), and averaged over
any weighting of the pictures (`Verdicts.average_precision`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from delineate._native import _core
from delineate.dataset import Dataset
from delineate.metrics.ap import RECALLS, THRESHOLDS
from delineate.metrics.columns import FIELDS, Fields, Flags, Floats, Ints, Kind, columns

Rule: TypeAlias = Literal["score", "nearest", "overlap"]
_RULES: dict[Rule, int] = {"score": 0, "nearest": 1, "overlap": 2}
FLOOR = 0.1
"""Pairs that overlap less are not kept, unless a lower threshold asks for them."""


@dataclass(frozen=True, eq=False, repr=False)
class Paired:
    """Truths and detections of all pictures (I of them), and which of them overlap, whatever their classes.

    Args:
        iou: "mask", "box" or "boundary".
        ids: (I) record ids in the order of evaluation.
        classes: (K) names of the truth.
        truths: G truths as columns: offsets (I + 1,), labels, areas, crowd, lost.
        detections: D detections as columns: offsets (I + 1,), labels (-1: a class that the truth does not
            have), scores, areas.
        offsets: (D + 1,) int64; detection d owns the pairs [offsets[d], offsets[d + 1]).
        partners: (P,) int64 truth of each pair.
        ious: (P,) float64; over the detection's own area where the truth is a crowd.
        floor: Pairs below it are not listed.
        notices: What a reader of the numbers must know, in words.
    """

    iou: Kind
    ids: tuple[int | str, ...]
    classes: tuple[str, ...]
    truths: _core.Truths
    detections: _core.Detections
    offsets: Ints
    partners: Ints
    ious: Floats
    floor: float
    notices: tuple[str, ...]

    @property
    def owners(self) -> Ints:
        """(P,) int64 detection of each pair."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    @property
    def truth_pictures(self) -> Ints:
        """(G,) int64 picture of each truth."""
        return np.repeat(np.arange(len(self.ids)), np.diff(self.truths.offsets))

    @property
    def detection_pictures(self) -> Ints:
        """(D,) int64 picture of each detection."""
        return np.repeat(np.arange(len(self.ids)), np.diff(self.detections.offsets))

    def merged(self) -> Paired:
        """The same with all classes as one; detections of classes that the truth does not have stay out."""
        truths, found = self.truths, self.detections
        return replace(
            self,
            classes=("any",),
            truths=_core.Truths(
                truths.offsets,
                np.zeros(len(truths.labels), np.int64),
                truths.areas,
                truths.crowd,
                truths.lost,
            ),
            detections=_core.Detections(
                found.offsets, np.minimum(found.labels, 0), found.scores, found.areas
            ),
        )

    def cut(self, min_score: float) -> Paired:
        """The same without the detections of a lower score: their class becomes -1.

        Args:
            min_score: The lowest score that stays.
        """
        found = self.detections
        labels = np.where(found.scores >= min_score, found.labels, -1)
        return replace(self, detections=_core.Detections(found.offsets, labels, found.scores, found.areas))

    def without_crowds(self) -> Paired:
        """The same with crowds taken out of the truth: their class becomes -1."""
        truths = self.truths
        labels = np.where(truths.crowd != 0, -1, truths.labels)
        return replace(
            self, truths=_core.Truths(truths.offsets, labels, truths.areas, truths.crowd, truths.lost)
        )

    def with_areas(self, truths: Floats, detections: Floats) -> Paired:
        """The same with other areas, which decide what is small and large.

        Args:
            truths: (G,) float64 pixels.
            detections: (D,) float64 pixels.
        """
        known, found = self.truths, self.detections
        return replace(
            self,
            truths=_core.Truths(known.offsets, known.labels, truths, known.crowd, known.lost),
            detections=_core.Detections(found.offsets, found.labels, found.scores, detections),
        )


@dataclass(frozen=True, eq=False, repr=False)
class Verdicts:
    """What became of D detections at T thresholds.

    Args:
        paired: What was judged.
        thresholds: (T) IoU thresholds.
        counted: (D,) bool, False beyond the limit per picture and class, or of an unknown class.
        rank: (D,) int64 place among the detections of its class in its picture; -1 where not counted.
        hits: (D,) uint32, bit t is set where it is right at threshold t.
        ignored: (D,) uint32, bit t is set where it is neither right nor wrong.
        matches: (T, D) int64 the truth that it took (crowds and ignored ones too), or -1.
        positive: (G,) bool truths that should be found.
    """

    paired: Paired
    thresholds: Floats
    counted: Flags
    rank: Ints
    hits: NDArray[np.uint32]
    ignored: NDArray[np.uint32]
    matches: Ints
    positive: Flags

    def right(self, place: int = 0) -> Flags:
        """(D,) bool: counted and right.

        Args:
            place: Which threshold.
        """
        found: Flags = (self.hits >> np.uint32(place)) & np.uint32(1) != 0
        return found & self.counted

    def wrong(self, place: int = 0) -> Flags:
        """(D,) bool: counted, neither right nor ignored.

        Args:
            place: Which threshold.
        """
        either: Flags = ((self.hits | self.ignored) >> np.uint32(place)) & np.uint32(1) == 0
        return either & self.counted

    def found(self, place: int = 0) -> Flags:
        """(G,) bool: truths that some detection took rightly.

        Args:
            place: Which threshold.
        """
        taken = np.zeros(len(self.positive), bool)
        taken[self.matches[place][self.right(place)]] = True
        return taken & self.positive

    def average_precision(
        self, weights: NDArray[np.int32] | None = None, recalls: Iterable[float] = RECALLS
    ) -> Floats:
        """(B, K, T) average precision of each class at each threshold; nan for a class without truth.

        Args:
            weights: (B, I) int32, how often each picture counts, at least 0; None: one weighting, all once. It
                equals an evaluation of the repeated pictures, each copy following its original, but for
                equal scores inside one picture.
            recalls: Ascending recall levels at which precision is read; none at all: the area under the
                curve of falling precision.
        """
        if weights is None:
            weights = np.ones((1, len(self.paired.ids)), np.int32)
        values = _core.resampled_precision(
            self.paired.truths,
            self.positive.astype(np.uint8),
            self.paired.detections,
            (self.rank, self.hits, self.ignored),
            len(self.paired.classes),
            len(self.thresholds),
            np.array(list(recalls), np.float64),
            np.ascontiguousarray(weights, np.int32),
        )
        return np.where(values < 0, np.nan, values)


def pair(
    where: str,
    truth: Dataset,
    predictions: Dataset,
    *,
    iou: Kind = "mask",
    fields: Fields = FIELDS,
    floor: float = FLOOR,
) -> Paired:
    """Finds what overlaps in each picture, whatever the classes.

    Args:
        where: Name of the caller, for messages.
        truth: What is right.
        predictions: What was found, with scores. Records are matched by id, classes by name.
        iou: What overlaps: "mask", "box" or "boundary".
        fields: Names of the extras to use, see `Fields`.
        floor: The least IoU that is kept, above 0.

    Raises:
        ValueError: The datasets do not belong together, masks or scores are missing.
    """
    if not 0 < floor <= 1:
        raise ValueError(f"{where}: floor must lie in (0, 1], got {floor}")
    table = columns(where, truth, predictions, iou=iou, fields=fields)
    # Full overlap may come out a rounding below 1.
    offsets, partners, ious = _core.overlapping_pairs(
        table.truths, table.detections, table.overlap, min(floor, 1 - 1e-10)
    )
    return Paired(
        iou,
        table.ids,
        truth.classes,
        table.truths,
        table.detections,
        offsets,
        partners,
        ious,
        floor,
        table.notices,
    )


def judge(
    paired: Paired,
    thresholds: Iterable[float] = THRESHOLDS,
    *,
    max_detections: int | None = 100,
    rule: Rule = "score",
    area: tuple[float, float] = (0.0, 1e10),
) -> Verdicts:
    """Decides what is right.

    Args:
        paired: What overlaps.
        thresholds: At most 32 IoU thresholds, none below the floor of the pairs.
        max_detections: Detections of one class in one picture that count, the best ones; None: all.
        rule: "score", as COCO does: best score first, each takes the free truth that it covers most.
            "nearest", as PASCAL VOC does: each goes to the truth that it covers most, and only the first one
            there is right. "overlap": pairs by falling IoU, whatever the scores.
        area: (least, greatest) area of truths that count, both included; others are ignored, and so are
            detections outside that took nothing.

    Raises:
        ValueError: A threshold is out of range.
    """
    levels = np.array(list(thresholds), np.float64)
    if not 1 <= len(levels) <= 32 or not ((levels >= paired.floor) & (levels <= 1)).all():
        raise ValueError(
            f"judge: thresholds must be 1 to 32 numbers from {paired.floor:g} to 1, got {levels.tolist()}"
        )
    if max_detections is not None and max_detections < 1:
        raise ValueError(f"judge: max_detections must be at least 1, got {max_detections}")
    limit = np.iinfo(np.int64).max if max_detections is None else max_detections
    truths = paired.truths
    rank, hits, ignored, matches = _core.judge(
        truths,
        paired.detections,
        (paired.offsets, paired.partners, paired.ious),
        len(paired.classes),
        levels,
        area,
        int(limit),
        _RULES[rule],
    )
    inside = (truths.areas >= area[0]) & (truths.areas <= area[1])
    positive = (truths.crowd == 0) & inside & (truths.labels >= 0)
    return Verdicts(paired, levels, rank >= 0, rank, hits, ignored, matches, positive)


def verdicts(
    truth: Dataset,
    predictions: Dataset,
    thresholds: Iterable[float] = THRESHOLDS,
    *,
    iou: Kind = "mask",
    fields: Fields = FIELDS,
    max_detections: int | None = 100,
) -> Verdicts:
    """Which detections are right, wrong or ignored under COCO's rules, and which truth each took.

    Args:
        truth: What is right.
        predictions: What was found, with scores.
        thresholds: At most 32 IoU thresholds in (0, 1].
        iou: What overlaps: "mask", "box" or "boundary".
        fields: Names of the extras to use, see `Fields`.
        max_detections: Detections of one class in one picture that count; None: all.

    Raises:
        ValueError: The datasets do not belong together, masks or scores are missing, an argument is out of
            range.

    >>> from delineate import Dataset, Instances, Masks, Record
    >>> drawn = np.zeros((2, 4, 4), bool)
    >>> drawn[0, :2, :2] = drawn[1, 2:, 1:] = True
    >>> there = Instances.of(Masks.from_dense(drawn))
    >>> seen = Instances.of(Masks.from_dense(drawn[:1]), scores=[0.9])
    >>> truth, predictions = (Dataset([Record(None, (4, 4), one, id=1)], ["cell"]) for one in (there, seen))
    >>> verdicts(truth, predictions, [0.5]).found()
    array([ True, False])
    """
    levels = list(thresholds)
    paired = pair("verdicts", truth, predictions, iou=iou, fields=fields, floor=min([*levels, FLOOR]))
    return judge(paired, levels, max_detections=max_detections)
