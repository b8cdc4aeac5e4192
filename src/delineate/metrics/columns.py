"""Two datasets side by side as flat columns: what the native core matches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from delineate._native import _core
from delineate.dataset import Dataset
from delineate.instances import Instances
from delineate.masks import Masks

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Kind: TypeAlias = Literal["mask", "box"]


@dataclass(frozen=True)
class Fields:
    """Names of the ``extras`` arrays that evaluation may use; None switches one off, an absent array too.

    Files hold 64-bit numbers, `Instances` holds boxes and scores in 32 bits. Where a reader keeps the file's own
    numbers in extras, evaluation uses them, so that its result equals pycocotools' to the last bit. A stale number
    does no harm: ``box`` and ``score`` count only where they round to the instance's own box and score.

    Args:
        area: Truth: (N,) annotated area in pixels; decides the area range. Else the mask's area, or the box's.
        box: Truth and predictions: (N, 4) float64 x, y, width, height.
        score: Predictions: (N,) float64.
        id: Truth: (N,) int64 annotation ids. Only the id 0 matters, and that only to `evaluate`: pycocotools counts a
            detection that is matched to annotation 0 as unmatched, and so does `evaluate`, with a notice.
        detection_area: Predictions: (N,) area in pixels that decides the area range, instead of the mask's or box's.

    >>> Fields().area
    'area'
    """

    area: str | None = "area"
    box: str | None = "bbox"
    score: str | None = "score"
    id: str | None = "annotation_id"
    detection_area: str | None = None


@dataclass(frozen=True)
class Columns:
    """All objects of two datasets, picture after picture.

    Args:
        ids: Record ids in the order of evaluation.
        truths: Truth columns for the core.
        detections: Detection columns for the core; label -1 marks a class that the truth does not know.
        overlap: Where the core gets IoU from.
        crowd: (G,) bool, parallel to the truths.
        truth_cells: (G,) int64, picture * classes + label.
        detection_cells: (D,) int64, the same, without detections of unknown classes.
        notices: What a reader of the numbers must know, in words.
    """

    ids: tuple[int | str, ...]
    truths: _core.Truths
    detections: _core.Detections
    overlap: _core.Overlap
    crowd: NDArray[np.bool_]
    truth_cells: Ints
    detection_cells: Ints
    notices: tuple[str, ...]


def columns(
    where: str,
    truth: Dataset,
    predictions: Dataset,
    *,
    iou: Kind,
    fields: Fields,
    min_score: float | None = None,
) -> Columns:
    """Lines up two datasets by record id and class name.

    Pictures are visited in the order of their ids (numbers before names), as pycocotools does: ties in score
    between pictures are broken by that order. A picture without a prediction record has no detections.

    Args:
        where: Name of the caller, for messages.
        truth: What is right.
        predictions: What was found, with scores.
        iou: What overlaps: "mask" or "box".
        fields: Names of the extras to use.
        min_score: Leave out detections below this score.

    Raises:
        ValueError: The two do not belong together, or masks or scores are missing.
    """
    if iou not in ("mask", "box"):
        raise ValueError(f'{where}: iou must be "mask" or "box", got {iou!r}')
    known, found = _paired(where, truth, predictions)
    lookup, notices = _class_lookup(where, truth.classes, predictions.classes)
    if min_score is not None:
        found = [_at_least(where, item, min_score, fields) for item in found]
    counts = np.array([len(item) for item in known], np.int64), np.array([len(item) for item in found], np.int64)
    offsets = tuple(np.concatenate([[0], np.cumsum(count)]).astype(np.int64) for count in counts)
    truth_labels = _joined([item.labels for item in known], np.int64)
    labels = lookup[_joined([item.labels for item in found], np.int64)]
    crowd = _joined([_crowd(item) for item in known], np.bool_)
    ids = _joined([_extra(item, fields.id, lambda item: np.ones(len(item))) for item in known], np.float64)
    lost = (ids == 0).astype(np.uint8)
    if lost.any():
        notices.append(
            f"{int(lost.sum())} truth objects have the annotation id 0. A detection matched to one of them counts as "
            "false, as in pycocotools. Number annotations from 1."
        )
    pictures = [np.repeat(np.arange(len(known)), count) for count in counts]
    classes = max(1, len(truth.classes))
    cells = pictures[1] * classes + labels
    return Columns(
        ids=tuple(sorted((record.id for record in truth), key=_order)),
        truths=_core.Truths(offsets[0], truth_labels, _truth_areas(known, fields), crowd.astype(np.uint8), lost),
        detections=_core.Detections(
            offsets[1], labels, _scores(where, found, fields), _detection_areas(found, iou, fields)
        ),
        overlap=_overlap(where, known, found, iou, fields),
        crowd=crowd,
        truth_cells=pictures[0] * classes + truth_labels,
        detection_cells=cells[labels >= 0],
        notices=tuple(notices),
    )


def _order(identity: int | str) -> tuple[bool, int, str]:
    return (False, identity, "") if isinstance(identity, int) else (True, 0, identity)


def _paired(where: str, truth: Dataset, predictions: Dataset) -> tuple[list[Instances], list[Instances]]:
    found = {record.id: record for record in predictions}
    known = sorted(truth, key=lambda record: _order(record.id))
    unknown = found.keys() - {record.id for record in known}
    if unknown:
        example = min(unknown, key=_order)
        raise ValueError(
            f"{where}: predictions must be about records of truth, got {len(unknown)} unknown ids, such as {example!r}"
        )
    pairs: tuple[list[Instances], list[Instances]] = [], []
    for record in known:
        other = found.get(record.id)
        if other is not None and other.size != record.size:
            raise ValueError(
                f"{where}: predictions of record {record.id!r} must have the truth's size {record.size}, "
                f"got {other.size}"
            )
        pairs[0].append(record.instances)
        pairs[1].append(Instances.empty(record.size, scored=True) if other is None else other.instances)
    return pairs


def _class_lookup(where: str, truth: Sequence[str], predictions: Sequence[str]) -> tuple[Ints, list[str]]:
    """(prediction classes,) label in the truth, -1 for a class that the truth does not have."""
    if tuple(truth) == tuple(predictions):
        return np.arange(len(predictions)), []
    for name, classes in (("truth", truth), ("predictions", predictions)):
        if len(set(classes)) < len(classes):
            raise ValueError(f"{where}: classes of {name} must be unique names where the two datasets differ")
    place = {name: label for label, name in enumerate(truth)}
    missing = [name for name in predictions if name not in place]
    if len(missing) == len(predictions) and missing:
        raise ValueError(
            f"{where}: predictions must share classes with truth ({', '.join(truth[:5])}), "
            f"got {', '.join(predictions[:5])}. Rename the classes of one side"
        )
    notices = []
    if missing:
        names = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        notices.append(f"{len(missing)} predicted classes are not in the truth and were left out: {names}.")
    return np.array([place.get(name, -1) for name in predictions], np.int64), notices


def _at_least(where: str, found: Instances, score: float, fields: Fields) -> Instances:
    return found[_scores(where, [found], fields) >= score] if len(found) else found


def _joined(parts: Sequence[NDArray[np.generic]], dtype: type[np.generic]) -> NDArray[np.generic]:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype, copy=False)


def _crowd(item: Instances) -> NDArray[np.bool_]:
    return np.zeros(len(item), bool) if item.crowd is None else item.crowd


def _extra(item: Instances, name: str | None, otherwise: Callable[[Instances], Floats]) -> Floats:
    values = None if name is None else item.extras.get(name)
    return otherwise(item) if values is None else np.asarray(values, np.float64)


def _own_boxes(item: Instances) -> Floats:
    boxes = item.boxes.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    return boxes


def _boxes(item: Instances, fields: Fields) -> Floats:
    """(N, 4) float64 x, y, width, height."""
    own = _own_boxes(item)
    kept = _extra(item, fields.box, lambda _: own)
    if kept is own or kept.shape != own.shape:
        return own
    corners = np.concatenate([kept[:, :2], kept[:, :2] + kept[:, 2:]], axis=1).astype(np.float32)
    return np.where((corners == item.boxes).all(axis=1, keepdims=True), kept, own)


def _box_areas(item: Instances, fields: Fields) -> Floats:
    boxes = _boxes(item, fields)
    areas: Floats = boxes[:, 2] * boxes[:, 3]
    return areas


def _truth_areas(known: Sequence[Instances], fields: Fields) -> Floats:
    def own(item: Instances) -> Floats:
        return _box_areas(item, fields) if item.masks is None else item.masks.areas.astype(np.float64)

    return _joined([_extra(item, fields.area, own) for item in known], np.float64)


def _detection_areas(found: Sequence[Instances], iou: Kind, fields: Fields) -> Floats:
    def own(item: Instances) -> Floats:
        if iou == "box" or item.masks is None:
            return _box_areas(item, fields)
        return item.masks.areas.astype(np.float64)

    return _joined([_extra(item, fields.detection_area, own) for item in found], np.float64)


def _scores(where: str, found: Sequence[Instances], fields: Fields) -> Floats:
    parts = []
    for item in found:
        if item.scores is None:
            if len(item):
                raise ValueError(f"{where}: predictions must have scores, got None. Pass the truth first")
            continue
        own = item.scores.astype(np.float64)
        kept = _extra(item, fields.score, lambda _, own=own: own)
        parts.append(np.where(kept.astype(np.float32) == item.scores, kept, own))
    return _joined(parts, np.float64)


def _overlap(
    where: str, known: Sequence[Instances], found: Sequence[Instances], iou: Kind, fields: Fields
) -> _core.Overlap:
    if iou == "box":
        tables = [
            np.ascontiguousarray(np.concatenate([np.zeros((0, 4)), *(_boxes(item, fields) for item in side)]))
            for side in (known, found)
        ]
        return _core.box_overlap(*tables)
    sides = []
    for name, side in (("truth", known), ("predictions", found)):
        for item in side:
            if item.masks is None and len(item):
                raise ValueError(f'{where}: {name} must have masks, got boxes only. Pass iou="box"')
        sides.append(tuple((item.masks or Masks.empty(item.size))._runs for item in side))
    return _core.mask_overlap(*sides)
