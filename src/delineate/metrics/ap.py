"""Average precision as COCO defines it, equal to pycocotools to the last bit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from delineate._native import _core
from delineate.dataset import Dataset
from delineate.metrics._protocol import Protocol, protocol
from delineate.metrics.columns import FIELDS, Columns, Fields, Floats, Ints, Kind, columns

# The very expressions of pycocotools: np.arange would give neighbours of these numbers.
THRESHOLDS: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""IoU thresholds 0.50, 0.55 ... 0.95."""
RECALLS: tuple[float, ...] = tuple(np.linspace(0.0, 1.0, 101).tolist())
"""Recall levels 0.00, 0.01 ... 1.00 at which precision is read."""
AREA_RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"all": (0.0, 1e10), "small": (0.0, 1024.0), "medium": (1024.0, 9216.0), "large": (9216.0, 1e10)}
)
"""Object areas in pixels, both ends included; 32 x 32 and 96 x 96 are the borders."""


@dataclass(frozen=True)
class Row:
    """One line of the summary.

    Args:
        name: Name of the `Report` property.
        precise: True for average precision, False for average recall.
        threshold: One IoU threshold, or None for the mean over all.
        area: Name of the area range.
        place: Index into ``max_detections``.
    """

    name: str
    precise: bool
    threshold: float | None
    area: str
    place: int


_ROWS = (
    Row("ap", True, None, "all", -1),
    Row("ap50", True, 0.5, "all", -1),
    Row("ap75", True, 0.75, "all", -1),
    Row("ap_small", True, None, "small", -1),
    Row("ap_medium", True, None, "medium", -1),
    Row("ap_large", True, None, "large", -1),
    Row("ar_1", False, None, "all", 0),
    Row("ar_10", False, None, "all", 1),
    Row("ar_100", False, None, "all", -1),
    Row("ar_small", False, None, "small", -1),
    Row("ar_medium", False, None, "medium", -1),
    Row("ar_large", False, None, "large", -1),
)


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """What `evaluate` found. Without truth, ``stats`` and the arrays hold -1, the named properties nan.

    T thresholds, R recall levels, K classes, A area ranges, M limits on detections.

    Args:
        iou: "mask", "box" or "boundary".
        classes: (K) names, in the order of the truth.
        thresholds: (T) IoU thresholds.
        recalls: (R) recall levels.
        area_ranges: (A) name -> (least, greatest) area in pixels.
        max_detections: (M) limits on the detections of one class in one picture, ascending.
        precision: (T, R, K, A, M) float64, precision at each recall level, 0 where it is not reached.
        recall: (T, K, A, M) float64, recall of all detections.
        scores: (T, R, K, A, M) float64, the score at which each recall level is reached.
        pictures: Number of records of the truth (of videos in `evaluate_videos`).
        objects: Number of truth objects, crowds not counted.
        detections: Number of detections of known classes, before any limit.
        notices: What a reader of the numbers must know, in words; empty if there is nothing.
    """

    iou: Kind
    classes: tuple[str, ...]
    thresholds: Floats
    recalls: Floats
    area_ranges: Mapping[str, tuple[float, float]]
    max_detections: tuple[int, ...]
    precision: Floats
    recall: Floats
    scores: Floats
    pictures: int
    objects: int
    detections: int
    notices: tuple[str, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """The 12 lines of the summary, in the order of ``stats``."""
        return _ROWS

    @property
    def stats(self) -> Floats:
        """(12,) float64, pycocotools' summary: AP, AP50, AP75, AP by size, AR 1, 10, 100, AR by size.

        With the default limits it equals pycocotools' to the last bit, -1 where nothing is defined. With
        other limits the rows of AP and of sizes use the last one (pycocotools insists on 100 for the first
        row, and gives -1 where 100 is not among the limits).
        """
        return np.array([self._mean(row) for row in _ROWS])

    @property
    def ap(self) -> float:
        """Mean average precision over all thresholds and classes."""
        return self._named("ap")

    @property
    def ap50(self) -> float:
        """AP at IoU 0.5."""
        return self._named("ap50")

    @property
    def ap75(self) -> float:
        """AP at IoU 0.75."""
        return self._named("ap75")

    @property
    def ap_small(self) -> float:
        """AP of the area range "small"."""
        return self._named("ap_small")

    @property
    def ap_medium(self) -> float:
        """AP of the area range "medium"."""
        return self._named("ap_medium")

    @property
    def ap_large(self) -> float:
        """AP of the area range "large"."""
        return self._named("ap_large")

    @property
    def ar_1(self) -> float:
        """Average recall with the first limit on detections (1)."""
        return self._named("ar_1")

    @property
    def ar_10(self) -> float:
        """Average recall with the second limit on detections (10)."""
        return self._named("ar_10")

    @property
    def ar_100(self) -> float:
        """Average recall with the last limit on detections (100)."""
        return self._named("ar_100")

    @property
    def ar_small(self) -> float:
        """Average recall of small objects."""
        return self._named("ar_small")

    @property
    def ar_medium(self) -> float:
        """Average recall of medium objects."""
        return self._named("ar_medium")

    @property
    def ar_large(self) -> float:
        """Average recall of large objects."""
        return self._named("ar_large")

    def limit(self, row: Row) -> int | None:
        """The limit on detections behind a line of the summary; None where there are too few limits for it.

        Args:
            row: One of `rows`.
        """
        # With fewer than three limits the second one is the last, or absent.
        return None if row.place == 1 and len(self.max_detections) < 3 else self.max_detections[row.place]

    def class_ap(self, threshold: float | None = None) -> Floats:
        """(K,) float64 AP of each class over all areas with the last limit; nan for a class without truth.

        Args:
            threshold: One of the thresholds, or None for the mean over all.
        """
        row = Row("", True, threshold, next(iter(self.area_ranges)), -1)
        means = [self._mean(row, label) for label in range(len(self.classes))]
        return np.array([np.nan if value == -1 else value for value in means])

    def as_dict(self) -> dict[str, object]:
        """The summary as plain values, ready for JSON; None where a number is not defined."""
        per_class = zip(self.classes, self.class_ap(), self.class_ap(0.5), strict=True)
        return {
            "iou": self.iou,
            "pictures": self.pictures,
            "objects": self.objects,
            "detections": self.detections,
            "max_detections": list(self.max_detections),
            "thresholds": self.thresholds.tolist(),
            "area_ranges": {name: list(ends) for name, ends in self.area_ranges.items()},
            "stats": {row.name: _json(self._named(row.name)) for row in _ROWS},
            "classes": [{"name": name, "ap": _json(ap), "ap50": _json(half)} for name, ap, half in per_class],
            "notices": list(self.notices),
        }

    def __repr__(self) -> str:
        return f"Report({self.iou} AP {self.ap:.4f}, AP50 {self.ap50:.4f}, {self.pictures} pictures)"

    def _named(self, name: str) -> float:
        value = self._mean(next(row for row in _ROWS if row.name == name))
        return float("nan") if value == -1 else value

    def _mean(self, row: Row, label: int | None = None) -> float:
        # The selection keeps pycocotools' order of values: the pairwise sum in np.mean depends on it.
        areas = [a for a, name in enumerate(self.area_ranges) if name == row.area]
        if self.limit(row) is None:
            return -1.0
        values = self.precision if row.precise else self.recall
        if row.threshold is not None:
            values = values[np.flatnonzero(self.thresholds == row.threshold)]
        if label is not None:
            values = values[..., label : label + 1, :, :]
        values = values[..., areas, [row.place] * len(areas)]
        values = values[values > -1]
        return float(np.mean(values)) if len(values) else -1.0


def evaluate(
    truth: Dataset,
    predictions: Dataset,
    *,
    iou: Kind = "mask",
    fields: Fields = FIELDS,
    max_detections: Sequence[int] = (1, 10, 100),
    thresholds: Iterable[float] = THRESHOLDS,
    recalls: Iterable[float] = RECALLS,
    area_ranges: Mapping[str, tuple[float, float]] = AREA_RANGES,
) -> Report:
    """COCO's average precision and recall, equal to pycocotools' ``COCOeval`` to the last bit.

    Records are matched by id and classes by name. A picture without a prediction record has no detections.
    Equal scores keep the order of the predictions inside a picture, and of record ids between pictures.
    Detections on a crowd are ignored. COCO's ``ignore`` key has no effect, as it has none in pycocotools.
    Whether an object is small, medium or large is decided by ``fields.area`` (annotated area; for results
    read from a file the area that pycocotools takes), or else by its mask, or else (detections with
    ``iou="box"`` too) by its box.

    Args:
        truth: What is right. N = 0 everywhere gives an undefined report (-1).
        predictions: What was found, with scores.
        iou: What overlaps: "mask", "box", or "boundary": the smaller of mask IoU and the IoU of the bands
            along the contours (Cheng et al., Boundary IoU, CVPR 2021; bands of 2 % of the picture's
            diagonal). Crowds overlap by their masks then.
        fields: Names of the extras to use, see `Fields`.
        max_detections: Limits on the detections of one class in one picture, at least 1 each; the best are
            kept. The summary uses the last one, except that ``ar_1`` and ``ar_10`` use the first two of
            three. Pictures with more objects than that need a greater one, such as ``(1, 10, 1000)``;
            `Report.notices` says so.
        thresholds: IoU thresholds in (0, 1].
        recalls: Recall levels in [0, 1], ascending.
        area_ranges: Name -> (least, greatest) area in pixels, both included; `Report.class_ap` uses the
            first.

    Raises:
        ValueError: The datasets do not belong together, masks or scores are missing, an argument is out of
            range.

    >>> import numpy as np
    >>> from delineate import Dataset, Instances, Masks, Record
    >>> drawn = np.zeros((2, 4, 4), bool)
    >>> drawn[0, :2, :2] = drawn[1, 2:, 1:] = True
    >>> there = Instances.of(Masks.from_dense(drawn))
    >>> seen = Instances.of(Masks.from_dense(drawn[:1]), scores=[0.9])
    >>> truth, predictions = (Dataset([Record(None, (4, 4), one, id=1)], ["cell"]) for one in (there, seen))
    >>> report = evaluate(truth, predictions)
    >>> round(report.ap50, 3), report.ar_100
    (0.505, 0.5)
    """
    rules = protocol(thresholds, recalls, area_ranges, max_detections)
    table = columns("evaluate", truth, predictions, iou=iou, fields=fields)
    return report(table, rules, iou=iou, classes=truth.classes)


def report(
    table: Columns, rules: Protocol, *, iou: Kind, classes: Sequence[str], unit: str = "pictures"
) -> Report:
    """Average precision of flat columns, whatever an "image" of theirs is.

    Args:
        table: Truths and detections, and how much they overlap.
        rules: The settings.
        iou: What overlaps.
        classes: (K) names of the labels.
        unit: What an image is called in the notices.
    """
    precision, recall, scores = _core.average_precision(
        table.truths,
        table.detections,
        table.overlap,
        len(classes),
        rules.thresholds,
        rules.recalls,
        np.array(list(rules.area_ranges.values()), np.float64).reshape(-1, 2),
        np.array(rules.max_detections, np.int64),
    )
    return Report(
        iou=iou,
        classes=tuple(classes),
        thresholds=rules.thresholds,
        recalls=rules.recalls,
        area_ranges=rules.area_ranges,
        max_detections=rules.max_detections,
        precision=precision,
        recall=recall,
        scores=scores,
        pictures=len(table.ids),
        objects=len(table.truth_cells),
        detections=len(table.detection_cells),
        notices=(*table.notices, *_limit_notices(table, rules.max_detections[-1], len(classes), unit)),
    )


def _json(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _limit_notices(table: Columns, limit: int, classes: int, unit: str) -> list[str]:
    notices = []
    pictures, _, most = _beyond(table.truth_cells, limit, classes)
    if pictures:
        notices.append(
            f"In {pictures} {unit} there are more than {limit} objects of one class (up to {most}), so "
            "recall cannot reach 1. Raise max_detections."
        )
    pictures, excess, _ = _beyond(table.detection_cells, limit, classes)
    if pictures:
        notices.append(
            f"In {pictures} {unit} there are more than {limit} detections of one class; {excess} of lowest "
            "score were not counted. Raise max_detections to count them."
        )
    return notices


def _beyond(cells: Ints, limit: int, classes: int) -> tuple[int, int, int]:
    """Pictures where a class has more than `limit` objects, how many are too many, the greatest number."""
    if cells.max(initial=-1) < 2**22:  # few enough to count in all of them
        counts = np.bincount(cells)
        places = np.flatnonzero(counts > limit)
        over = counts[places]
    else:  # not with np.unique: its first call imports numpy.ma, which takes longer than all of this
        ordered = np.sort(cells)
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        counts = np.diff(starts, append=len(ordered))
        places, over = ordered[starts[counts > limit]], counts[counts > limit]
    pictures = int(np.count_nonzero(np.diff(places // max(1, classes), prepend=-1)))
    return pictures, int((over - limit).sum()), int(counts.max(initial=0))
