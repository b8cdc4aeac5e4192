"""The conventions by which evaluations differ, and one evaluation under any of them. Serves `explain`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from delineate.dataset import Dataset, Record
from delineate.instances import Instances
from delineate.metrics.ap import AREA_RANGES, RECALLS, THRESHOLDS
from delineate.metrics.columns import Fields, Floats, Kind
from delineate.metrics.verdicts import Paired, Rule, Verdicts, judge, pair


@dataclass(frozen=True, slots=True)
class Settings:
    """How to evaluate; the defaults are COCO's.

    Args:
        iou: What overlaps.
        grid: Masks as they are, on a quarter of the resolution, or on a grid with 160 cells along the longer side.
        max_detections: Of one class in one picture; None: all.
        min_score: Detections below it are left out.
        interpolation: Precision at 101 or 11 recall levels, or the area under the curve.
        thresholds: IoU thresholds that are averaged.
        rule: How detections are given their truths.
        crowd: Crowds excuse detections; are taken out of the truth; or are objects like others.
        merged: Whether all classes count as one.
        mean: Over the classes with truth; over all (without truth: 0); or over objects, each with the AP of its class.
        area: What decides small, medium and large: the file, or the masks, or the boxes.
    """

    iou: Kind = "mask"
    grid: Literal["full", "quarter", "160"] = "full"
    max_detections: int | None = 100
    min_score: float = -np.inf
    interpolation: Literal["101", "11", "area"] = "101"
    thresholds: tuple[float, ...] = THRESHOLDS
    rule: Rule = "score"
    crowd: Literal["excuse", "drop", "object"] = "excuse"
    merged: bool = False
    mean: Literal["present", "all", "objects"] = "present"
    area: Literal["file", "mask", "box"] = "file"


@dataclass(frozen=True)
class Convention:
    """One way to evaluate differently.

    Args:
        topic: What it is about; of one topic only one convention can hold.
        name: In words.
        changes: Fields of `Settings` that it sets.
    """

    topic: str
    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)

    def apply(self, settings: Settings) -> Settings:
        """The settings with this convention."""
        return replace(settings, **self.changes)


def conventions(iou: Kind, *, masks: bool) -> tuple[Convention, ...]:
    """The conventions to try, beside COCO's own.

    Args:
        iou: What overlaps in the baseline; low resolutions concern masks only.
        masks: Whether both sides have masks.
    """
    made = [
        Convention("detections", "at most 100 detections per class and picture", {"max_detections": 100}),
        Convention("detections", "at most 300 detections per class and picture", {"max_detections": 300}),
        Convention("detections", "no limit on detections", {"max_detections": None}),
        Convention("confidence", "only scores of at least 0.001", {"min_score": 0.001}),
        Convention("confidence", "only scores of at least 0.05", {"min_score": 0.05}),
        Convention("confidence", "only scores of at least 0.25", {"min_score": 0.25}),
        Convention("interpolation", "precision at 11 recall levels (VOC 2007)", {"interpolation": "11"}),
        Convention("interpolation", "area under the curve (VOC 2010)", {"interpolation": "area"}),
        Convention("thresholds", "IoU 0.5 alone (AP50)", {"thresholds": (0.5,)}),
        Convention("matching", "nearest truth only, taken or not (VOC)", {"rule": "nearest"}),
        Convention("matching", "pairs by falling IoU, whatever the scores", {"rule": "overlap"}),
        Convention("crowds", "crowds taken out of the truth", {"crowd": "drop"}),
        Convention("crowds", "crowds are objects", {"crowd": "object"}),
        Convention("classes", "all classes as one", {"merged": True}),
        Convention("mean", "mean over all classes, 0 for those without truth", {"mean": "all"}),
        Convention("mean", "mean over objects, not classes", {"mean": "objects"}),
        Convention("area", "sizes by the box's area", {"area": "box"}),
    ]
    if iou == "mask":
        quarter = Convention("overlap", "masks at a quarter of the resolution", {"grid": "quarter"})
        grid = Convention("overlap", "masks on 160 cells (prototypes of a network)", {"grid": "160"})
        made += [quarter, grid, Convention("overlap", "boxes instead of masks", {"iou": "box"})]
    elif masks:
        what = "boxes" if iou == "box" else "their boundaries"
        made.append(Convention("overlap", f"masks instead of {what}", {"iou": "mask"}))
    if masks:
        made.append(Convention("area", "sizes by the mask's area", {"area": "mask"}))
    return tuple(made)


@dataclass(frozen=True, slots=True)
class Numbers:
    """AP, its parts by size, and at IoU 0.5 (nan where that is not among the thresholds); nan where undefined."""

    ap: float
    ap50: float
    small: float
    medium: float
    large: float


class Bench:
    """Evaluates two datasets under any settings; overlaps are computed once per geometry."""

    def __init__(self, truth: Dataset, predictions: Dataset, fields: Fields) -> None:
        self._sides = truth, predictions
        self._fields = fields
        self._pairs: dict[tuple[str, str, bool], Paired] = {}
        self._judged: dict[tuple[object, ...], Verdicts] = {}

    def ap(self, settings: Settings, area: str = "all") -> float:
        """Average precision of one area range; nan where undefined."""
        return _mean(settings, self._judge(settings, area))[0]

    def numbers(self, settings: Settings) -> Numbers:
        """All that a table shows."""
        ap, half = _mean(settings, self._judge(settings, "all"))
        return Numbers(ap, half, *(self.ap(settings, area) for area in ("small", "medium", "large")))

    def _judge(self, settings: Settings, area: str) -> Verdicts:
        # Neither the curve nor the mean changes what is right: remembering the last judgement serves both.
        neutral = replace(settings, interpolation="101", mean="present")
        if area == "all":
            neutral = replace(neutral, area="file")
        key = (neutral, area)
        if key not in self._judged:
            if len(self._judged) > 3:
                self._judged.clear()
            paired = self._paired(settings, area)
            levels = settings.thresholds
            self._judged[key] = judge(
                paired,
                levels,
                max_detections=settings.max_detections,
                rule=settings.rule,
                area=AREA_RANGES[area],
            )
        return self._judged[key]

    def _paired(self, settings: Settings, area: str) -> Paired:
        paired = self._overlaps(settings.iou, settings.grid, settings.crowd == "object")
        if area != "all":
            paired = paired.with_areas(*self._sizes(settings))
        if np.isfinite(settings.min_score):
            paired = paired.cut(settings.min_score)
        if settings.crowd == "drop":
            paired = paired.without_crowds()
        return paired.merged() if settings.merged else paired

    def _overlaps(self, iou: Kind, grid: str, as_objects: bool) -> Paired:
        key = (iou, grid if iou == "mask" else "full", as_objects)
        if key not in self._pairs:
            truth, predictions = self._sides
            if as_objects:
                truth = truth.with_records(_without_crowd(record) for record in truth)
            if key[1] != "full":
                truth, predictions = (
                    side.with_records(_resized(record, grid) for record in side)
                    for side in (truth, predictions)
                )
            self._pairs[key] = pair("explain", truth, predictions, iou=iou, fields=self._fields)
        return self._pairs[key]

    def _sizes(self, settings: Settings) -> tuple[Floats, Floats]:
        """Area of each truth and detection, whatever their resolution is in this convention."""
        base = self._overlaps(settings.iou, "full", False)
        if settings.area == "file":
            return base.truths.areas, base.detections.areas
        truth, found = (
            {record.id: _areas(record.instances, settings.area) for record in side} for side in self._sides
        )
        none = np.zeros(0)
        sides = ([none, *(side.get(one, none) for one in base.ids)] for side in (truth, found))
        known, seen = map(np.concatenate, sides)
        return known, seen


def _mean(settings: Settings, judged: Verdicts) -> tuple[float, float]:
    """AP and AP50 as one number each."""
    levels = {"101": RECALLS, "11": tuple(np.linspace(0, 1, 11)), "area": ()}[settings.interpolation]
    table = judged.average_precision(recalls=levels)[0]
    columns = [table.mean(axis=1)]
    columns.append(
        table[:, settings.thresholds.index(0.5)] if 0.5 in settings.thresholds else columns[0] * np.nan
    )
    weights = ~np.isnan(columns[0])
    if settings.mean == "all":
        columns = [np.nan_to_num(column) for column in columns]
        weights = np.ones(len(weights)) * weights.any()
    elif settings.mean == "objects":
        labels = judged.paired.truths.labels[judged.positive]
        weights = np.bincount(labels, minlength=len(weights))
    if not weights.any():
        return float("nan"), float("nan")
    ap, half = (float(np.average(np.where(weights > 0, column, 0), weights=weights)) for column in columns)
    return ap, half


def _areas(instances: Instances, kind: str) -> Floats:
    if kind == "mask" and instances.masks is not None:
        return instances.masks.areas.astype(np.float64)
    sides = instances.boxes[:, 2:].astype(np.float64) - instances.boxes[:, :2]
    return np.asarray(sides[:, 0] * sides[:, 1])


def _without_crowd(record: Record) -> Record:
    return record.replace(instances=record.instances.replace(crowd=None))


def _resized(record: Record, grid: str) -> Record:
    """The record with its masks on a coarser grid; sizes and boxes are not asked for there."""
    masks = record.instances.masks
    scale = 4 if grid == "quarter" else max(record.size) / 160
    height, width = (max(1, round(side / scale)) for side in record.size)
    if masks is None:
        return record.replace(instances=Instances.empty((height, width), scored=True))
    smaller = Instances.of(
        masks.resize((height, width)),
        record.instances.labels,
        record.instances.scores,
        crowd=record.instances.crowd,
        extras=record.instances.extras,
    )
    return record.replace(instances=smaller)
