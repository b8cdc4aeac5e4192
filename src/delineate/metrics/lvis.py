"""Average precision as LVIS defines it (Gupta et al., CVPR 2019), equal to the package lvis 0.5.3 to the last bit.

It is COCO's, on truth that is federated: a picture is annotated for some classes only. A detection counts where its
class is annotated in the picture or known to be absent from it; where the annotation of the class is not exhaustive,
a detection that takes no object is ignored. The best 300 detections of a picture count, over all classes together.
There are no crowds. Objects and detections of area 0 are left out. AP is given for rare, common and frequent classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from delineate._native import _core
from delineate.dataset import Dataset, Record
from delineate.metrics._protocol import protocol
from delineate.metrics.ap import AREA_RANGES, RECALLS, THRESHOLDS
from delineate.metrics.columns import FIELDS, Columns, Fields, Flags, Floats, Ints, Kind, columns

FREQUENCIES = ("r", "c", "f")
"""Rare, common and frequent: classes that occur in up to 10, up to 100, and more training pictures."""

_AREAS = {"s": "small", "m": "medium", "l": "large"}


@dataclass(frozen=True, eq=False, repr=False)
class LvisReport:
    """What `evaluate_lvis` found. Where nothing is defined the arrays and ``results`` hold -1, the properties nan.

    T thresholds, R recall levels, K classes, A area ranges.

    Args:
        iou: "mask", "box" or "boundary".
        classes: (K) names, in the order of the truth.
        frequencies: (K) "r", "c", "f", or "" where the truth does not say.
        thresholds: (T) IoU thresholds.
        recalls: (R) recall levels.
        area_ranges: (A) name -> (least, greatest) area in pixels.
        max_detections: How many detections of a picture count.
        precision: (T, R, K, A) float64, precision at each recall level, 0 where it is not reached.
        recall: (T, K, A) float64, recall of all detections.
        pictures: Number of records of the truth.
        objects: Number of truth objects.
        detections: Number of detections of known classes, before any limit.
        judged: Number of those whose class is annotated in their picture or known to be absent from it.
        notices: What a reader of the numbers must know, in words; empty if there is nothing.
    """

    iou: Kind
    classes: tuple[str, ...]
    frequencies: tuple[str, ...]
    thresholds: Floats
    recalls: Floats
    area_ranges: Mapping[str, tuple[float, float]]
    max_detections: int
    precision: Floats
    recall: Floats
    pictures: int
    objects: int
    detections: int
    judged: int
    notices: tuple[str, ...]

    @property
    def results(self) -> dict[str, float]:
        """The 13 numbers under the names and in the order of the package lvis; -1 where nothing is defined."""
        limit = self.max_detections
        return {
            "AP": self._precision(),
            "AP50": self._precision(threshold=0.5),
            "AP75": self._precision(threshold=0.75),
            **{f"AP{letter}": self._precision(area=area) for letter, area in _AREAS.items()},
            **{f"AP{letter}": self._precision(frequency=letter) for letter in FREQUENCIES},
            f"AR@{limit}": self._recall(),
            **{f"AR{letter}@{limit}": self._recall(area) for letter, area in _AREAS.items()},
        }

    @property
    def ap(self) -> float:
        """Mean average precision over all thresholds and classes."""
        return _defined(self._precision())

    @property
    def ap_rare(self) -> float:
        """AP of rare classes."""
        return _defined(self._precision(frequency="r"))

    @property
    def ap_common(self) -> float:
        """AP of common classes."""
        return _defined(self._precision(frequency="c"))

    @property
    def ap_frequent(self) -> float:
        """AP of frequent classes."""
        return _defined(self._precision(frequency="f"))

    @property
    def ar(self) -> float:
        """Average recall of all detections that count."""
        return _defined(self._recall())

    def class_ap(self) -> Floats:
        """(K,) float64 AP of each class over all thresholds and areas; nan for a class without truth."""
        return np.array(
            [_defined(_mean(self.precision[:, :, k : k + 1, 0])) for k in range(len(self.classes))]
        )

    def as_dict(self) -> dict[str, object]:
        """The summary as plain values, ready for JSON; None where a number is not defined."""
        rows = zip(self.classes, self.frequencies, self.class_ap().tolist(), strict=True)
        return {
            "iou": self.iou,
            "pictures": self.pictures,
            "objects": self.objects,
            "detections": self.detections,
            "judged": self.judged,
            "max_detections": self.max_detections,
            "thresholds": self.thresholds.tolist(),
            "area_ranges": {name: list(ends) for name, ends in self.area_ranges.items()},
            "results": {name: None if value == -1 else value for name, value in self.results.items()},
            "classes": [
                {"name": name, "frequency": frequency, "ap": None if np.isnan(ap) else ap}
                for name, frequency, ap in rows
            ],
            "notices": list(self.notices),
        }

    def __repr__(self) -> str:
        bins = ", ".join(f"AP{f} {_defined(self._precision(frequency=f)):.4f}" for f in FREQUENCIES)
        return f"LvisReport({self.iou} AP {self.ap:.4f}, {bins}, {self.pictures} pictures)"

    def _precision(
        self, *, threshold: float | None = None, area: str = "all", frequency: str | None = None
    ) -> float:
        # The selections keep the order of values in lvis: the pairwise sum in np.mean depends on it.
        values = self.precision
        if threshold is not None:
            values = values[np.flatnonzero(self.thresholds == threshold)]
        if frequency is not None:
            values = values[:, :, [k for k, one in enumerate(self.frequencies) if one == frequency]]
        return _mean(values[..., self._area(area)])

    def _recall(self, area: str = "all") -> float:
        return _mean(self.recall[..., self._area(area)])

    def _area(self, name: str) -> list[int]:
        return [a for a, one in enumerate(self.area_ranges) if one == name]


def evaluate_lvis(
    truth: Dataset,
    predictions: Dataset,
    *,
    iou: Kind = "mask",
    fields: Fields = FIELDS,
    max_detections: int = 300,
    thresholds: Iterable[float] = THRESHOLDS,
    recalls: Iterable[float] = RECALLS,
    area_ranges: Mapping[str, tuple[float, float]] = AREA_RANGES,
) -> LvisReport:
    """LVIS' average precision and recall, equal to the package ``lvis`` to the last bit.

    Records are matched by id and classes by name; ties are ordered as in `evaluate`. What is known of the
    classes of a picture is in ``Record.attributes``: "negative_classes" (nothing of them is there) and
    "not_exhaustive_classes" (there may be more than is annotated), lists of names as `formats.lvis` reads them;
    a record without a list has an empty one. Frequencies are in ``Dataset.attributes["categories"]``.

    Args:
        truth: What is right. Crowds count as objects, as LVIS has none; a notice says so.
        predictions: What was found, with scores.
        iou: What overlaps: "mask", "box" or "boundary", as in `evaluate`.
        fields: Names of the extras to use, see `Fields`.
        max_detections: How many detections of a picture count, of all classes together; the best are kept, of
            equal scores the first. `LvisReport.notices` says where that cuts something off.
        thresholds: IoU thresholds in (0, 1].
        recalls: Recall levels in [0, 1], ascending.
        area_ranges: Name -> (least, greatest) area in pixels, both included; `LvisReport.class_ap` uses the
            first.

    Raises:
        ValueError: No record of the truth says anything of absent or partly annotated classes (then it is no
            federated truth: use `evaluate`), the datasets do not belong together, masks or scores are missing,
            an argument is out of range.

    >>> from delineate import Dataset, Instances, Masks, Record
    >>> drawn = np.zeros((2, 4, 4), bool)
    >>> drawn[0, :2, :2] = drawn[1, 2:, 1:] = True
    >>> there = Instances.of(Masks.from_dense(drawn[:1]))
    >>> seen = Instances.of(Masks.from_dense(drawn[[0, 1, 1]]), labels=[0, 1, 2], scores=[0.5, 0.9, 0.9])
    >>> names, known = ["cat", "dog", "cow"], {"negative_classes": ["dog"]}
    >>> truth = Dataset([Record(None, (4, 4), there, id=1, attributes=known)], names)
    >>> report = evaluate_lvis(truth, Dataset([Record(None, (4, 4), seen, id=1)], names))
    >>> round(report.ap, 3), report.judged  # nothing is known of cows
    (1.0, 2)
    """
    rules = protocol(thresholds, recalls, area_ranges, [max_detections])
    table = columns("evaluate_lvis", truth, predictions, iou=iou, fields=fields)
    known = _Known(truth, table.ids)
    truths, detections, judged, notices = _federated(table, known, max_detections, len(truth.classes))
    precision, recall, _ = _core.average_precision(
        truths,
        detections,
        table.overlap,
        len(truth.classes),
        rules.thresholds,
        rules.recalls,
        np.array(list(rules.area_ranges.values()), np.float64).reshape(-1, 2),
        np.array(rules.max_detections, np.int64),
    )
    return LvisReport(
        iou=iou,
        classes=truth.classes,
        frequencies=_frequencies(truth),
        thresholds=rules.thresholds,
        recalls=rules.recalls,
        area_ranges=rules.area_ranges,
        max_detections=int(max_detections),
        precision=precision[..., 0],
        recall=recall[..., 0],
        pictures=len(truth),
        objects=len(table.truths.labels),
        detections=len(table.detection_cells),
        judged=judged,
        notices=(*table.notices, *notices),
    )


class _Known:
    """What the truth says of classes in pictures, as picture * classes + label."""

    def __init__(self, truth: Dataset, ids: tuple[int | str, ...]) -> None:
        labels = {name: label for label, name in enumerate(truth.classes)}
        records = {record.id: record for record in truth}
        lists = {
            key: [_labels(records[id_], key, labels) for id_ in ids]
            for key in ("negative_classes", "not_exhaustive_classes")
        }
        if ids and not any(map(any, lists.values())):
            raise ValueError(
                "evaluate_lvis: some record of truth must have negative_classes or not_exhaustive_classes among "
                "its attributes, got none. Read the file with formats.lvis, or use evaluate"
            )
        self.negative, self.not_exhaustive = (
            np.array(
                [place * len(labels) + label for place, row in enumerate(rows) for label in row], np.int64
            )
            for rows in lists.values()
        )


def _labels(record: Record, key: str, labels: Mapping[str, int]) -> list[int]:
    names: Any = record.attributes.get(key, ())
    unknown = [name for name in names if name not in labels]
    if unknown:
        raise ValueError(
            f"evaluate_lvis: {key} of record {record.id!r} must be classes of truth, got {unknown[0]!r}"
        )
    return [labels[name] for name in names]


def _federated(
    table: Columns, known: _Known, limit: int, classes: int
) -> tuple[_core.Truths, _core.Detections, int, list[str]]:
    """The columns with what does not count taken out of its class, and what can only be ignored out of its range."""
    truths, found = table.truths, table.detections
    there = _present(truths.areas)
    truth_labels = np.where(there, truths.labels, -1)
    here = _pictures(truths.offsets)[there] * classes + truths.labels[there]

    pictures = _pictures(found.offsets)
    order = np.lexsort((-found.scores, pictures))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - found.offsets[pictures]
    kept = (rank < limit) & (found.labels >= 0) & _present(found.areas)
    cells = pictures * classes + found.labels
    kept &= np.isin(cells, np.concatenate([here, known.negative]))
    # No range reaches there: such a detection is ignored unless it takes an object.
    areas = np.where(np.isin(cells, known.not_exhaustive), -np.inf, found.areas)
    notices = []
    over = rank >= limit
    if over.any():
        notices.append(
            f"In {len(np.unique(pictures[over]))} pictures there are more than {limit} detections; "
            f"{int(over.sum())} of lowest score were not counted. Raise max_detections to count them."
        )
    if truths.crowd.any():
        notices.append(f"{int(truths.crowd.sum())} crowds count as objects: LVIS has no crowds.")
    return (
        _core.Truths(truths.offsets, truth_labels, truths.areas, np.zeros_like(truths.crowd), truths.lost),
        _core.Detections(found.offsets, np.where(kept, found.labels, -1), found.scores, areas),
        int(kept.sum()),
        notices,
    )


def _present(areas: Floats) -> Flags:
    present: Flags = (areas > 0) & (areas < np.inf)
    return present


def _pictures(offsets: Ints) -> Ints:
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def _frequencies(truth: Dataset) -> tuple[str, ...]:
    more: Any = truth.attributes.get("categories") or [{}] * len(truth.classes)
    return tuple(str(one.get("frequency", "")) for one in more)


def _mean(values: Floats) -> float:
    values = values[values > -1]
    return float(np.mean(values)) if len(values) else -1.0


def _defined(value: float) -> float:
    return float("nan") if value == -1 else value
