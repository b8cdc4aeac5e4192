"""Two datasets side by side as flat columns: what the native core matches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from delineate._native import _core
from delineate.dataset import Dataset, Record
from delineate.instances import Instances
from delineate.masks import Masks

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]
Kind: TypeAlias = Literal["mask", "box"]


@dataclass(frozen=True)
class Fields:
    """Names of the ``extras`` arrays that evaluation reads; None switches one off, an absent array too.

    Files hold 64-bit numbers, `Instances` holds boxes and scores in 32 bits. Where a reader keeps the file's
    own numbers in extras, evaluation uses them, so that its result equals pycocotools' to the last bit. A
    stale number does no harm: ``box`` and ``score`` count only where they round to the instance's own.

    Args:
        area: (N,) area in pixels that decides the area range: as annotated for truth, as pycocotools sorts
            results for predictions. Without it the mask's area counts, or the box's.
        box: (N, 4) float64 x, y, width, height.
        score: Predictions: (N,) float64.
        id: Truth: (N,) int64 annotation ids. Only the id 0 matters, and that only to `evaluate`: pycocotools
            counts a detection matched to annotation 0 as unmatched, and so does `evaluate`, with a notice.

    >>> Fields().area
    'area'
    """

    area: str | None = "area"
    box: str | None = "bbox"
    score: str | None = "score"
    id: str | None = "annotation_id"


FIELDS = Fields()
"""The names that the readers of this package use."""


@dataclass(frozen=True)
class Columns:
    """All objects of two datasets, picture after picture.

    Args:
        ids: (I,) record ids in the order of evaluation.
        truths: Truth columns for the core.
        detections: Detection columns for the core; label -1 marks a class that the truth does not know.
        overlap: Where the core gets IoU from.
        truth_cells: int64, picture * classes + label of every truth that is no crowd.
        detection_cells: int64, the same of every detection of a known class.
        notices: What a reader of the numbers must know, in words.
    """

    ids: tuple[int | str, ...]
    truths: _core.Truths
    detections: _core.Detections
    overlap: _core.Overlap
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
    scored: bool = True,
    min_score: float | None = None,
) -> Columns:
    """Lines up two datasets by record id and class name.

    Pictures are visited in the order of their ids (numbers before names), as pycocotools does: ties in score
    between pictures are broken by that order. A picture without a prediction record has no detections.

    Args:
        where: Name of the caller, for messages.
        truth: What is right.
        predictions: What was found.
        iou: What overlaps: "mask" or "box".
        fields: Names of the extras to use.
        scored: False if predictions without scores will do.
        min_score: Leave out detections below this score.

    Raises:
        ValueError: The two do not belong together, or masks or scores are missing.
    """
    if iou not in ("mask", "box"):
        raise ValueError(f'{where}: iou must be "mask" or "box", got {iou!r}')
    lookup, notices = _class_lookup(where, truth.classes, predictions.classes)
    records, found = _paired(where, truth, predictions)
    known = [record.instances for record in records]
    if scored or min_score is not None:
        _need_scores(where, found)
    if min_score is not None:
        found = [item[_scores(item, fields) >= min_score] for item in found]
    if iou == "mask":
        _need_masks(where, known, found)
    labels = lookup[_ints([item.labels for item in found])]
    truth_labels = _ints([item.labels for item in known])
    crowd = np.concatenate([np.zeros(0, bool), *map(_crowd, known)])
    lost = _floats([_numbers(item, fields.id, np.ones(len(item))) for item in known]) == 0
    areas = [_floats([_areas(item, fields, "mask") for item in known])]
    areas.append(_floats([_areas(item, fields, iou) for item in found]))
    notices += _oddities(lost & ~crowd, found if iou == "mask" else [], fields)
    counts = [np.array([len(item) for item in side], np.int64) for side in (known, found)]
    offsets = [np.concatenate([np.zeros(1, np.int64), np.cumsum(count)]) for count in counts]
    places = [np.repeat(np.arange(len(records)) * max(1, len(truth.classes)), count) for count in counts]
    scores = _floats([_scores(item, fields) for item in found])
    return Columns(
        ids=tuple(record.id for record in records),
        truths=_core.Truths(
            offsets[0], truth_labels, areas[0], crowd.astype(np.uint8), lost.astype(np.uint8)
        ),
        detections=_core.Detections(offsets[1], labels, scores, areas[1]),
        overlap=_box_overlap(known, found, fields) if iou == "box" else _mask_overlap(known, found),
        truth_cells=(places[0] + truth_labels)[~crowd],
        detection_cells=(places[1] + labels)[labels >= 0],
        notices=tuple(notices),
    )


def _paired(where: str, truth: Dataset, predictions: Dataset) -> tuple[list[Record], list[Instances]]:
    """Truth records in the order of evaluation, and the predicted instances of each."""

    def order(identity: int | str) -> tuple[bool, int, str]:
        return (False, identity, "") if isinstance(identity, int) else (True, 0, identity)

    records = sorted(truth, key=lambda record: order(record.id))
    found = {record.id: record.instances for record in predictions}
    unknown = found.keys() - {record.id for record in records}
    if unknown:
        raise ValueError(
            f"{where}: predictions must be about records of truth, "
            f"got {len(unknown)} unknown ids, such as {min(unknown, key=order)!r}"
        )
    for record in records:
        size = found[record.id].size if record.id in found else record.size
        if size != record.size:
            raise ValueError(
                f"{where}: predictions of record {record.id!r} must have the size of its truth "
                f"{record.size}, got {size}"
            )
    return records, [found.get(record.id) or Instances.empty(record.size, scored=True) for record in records]


def _class_lookup(where: str, truth: Sequence[str], predictions: Sequence[str]) -> tuple[Ints, list[str]]:
    """(classes of the predictions,) label in the truth, -1 for a class that the truth does not have."""
    if tuple(truth) == tuple(predictions):
        return np.arange(len(predictions)), []
    for name, classes in (("truth", truth), ("predictions", predictions)):
        twice = [one for place, one in enumerate(classes) if one in classes[:place]]
        if twice:
            raise ValueError(
                f"{where}: classes of {name} must be unique where the two datasets differ, "
                f"got {twice[0]!r} twice"
            )
    missing = [name for name in predictions if name not in truth]
    if missing and len(missing) == len(predictions):
        raise ValueError(
            f"{where}: predictions must share classes with truth ({', '.join(truth[:5])}), "
            f"got {', '.join(predictions[:5])}. Rename the classes of one side"
        )
    notices = []
    if missing:
        names = ", ".join(missing[:5]) + (" and more" if len(missing) > 5 else "")
        notices.append(
            f"The truth does not know {len(missing)} predicted classes; they were left out: {names}."
        )
    place = {name: label for label, name in enumerate(truth)}
    return np.array([place.get(name, -1) for name in predictions], np.int64), notices


def _need_scores(where: str, found: Sequence[Instances]) -> None:
    if any(item.scores is None and len(item) for item in found):
        raise ValueError(
            f"{where}: predictions must have scores, got None. Pass truth first, predictions second"
        )


def _need_masks(where: str, known: Sequence[Instances], found: Sequence[Instances]) -> None:
    for name, side in (("truth", known), ("predictions", found)):
        if any(item.masks is None and len(item) for item in side):
            raise ValueError(f'{where}: {name} must have masks, got boxes only. Pass iou="box"')


def _oddities(lost: Flags, found: Sequence[Instances], fields: Fields) -> list[str]:
    notices = []
    if lost.any():
        notices.append(
            f"{int(lost.sum())} truth objects have the annotation id 0; a detection matched to one of them "
            "counts as false, as in pycocotools. Number annotations from 1."
        )
    odd = sum(int((_areas(item, fields, "mask") != item.masks.areas).sum()) for item in found if item.masks)
    if odd:
        notices.append(
            f"{odd} predictions come with an area other than their mask's (pycocotools takes the box's where "
            "the results list has a bbox); the rows for small, medium and large go by it."
        )
    return notices


def _ints(parts: Sequence[Ints]) -> Ints:
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _floats(parts: Sequence[Floats]) -> Floats:
    return np.concatenate([np.zeros(0), *parts])


def _crowd(item: Instances) -> Flags:
    return np.zeros(len(item), bool) if item.crowd is None else item.crowd


def _numbers(item: Instances, name: str | None, otherwise: Floats) -> Floats:
    """The extras array of that name if there is a fitting one."""
    values = item.extras.get(name) if name is not None else None
    return (
        otherwise
        if values is None or values.shape != otherwise.shape
        else values.astype(np.float64, copy=False)
    )


def _scores(item: Instances, fields: Fields) -> Floats:
    if item.scores is None:
        return np.zeros(len(item))
    own = item.scores.astype(np.float64)
    kept = _numbers(item, fields.score, own)
    return own if kept is own else np.where(kept.astype(np.float32) == item.scores, kept, own)


def _boxes(item: Instances, fields: Fields) -> Floats:
    """(N, 4) float64 x, y, width, height."""
    own = item.boxes.astype(np.float64)
    own[:, 2:] -= own[:, :2]
    kept = _numbers(item, fields.box, own)
    if kept is own:
        return own
    corners = np.concatenate([kept[:, :2], kept[:, :2] + kept[:, 2:]], axis=1).astype(np.float32)
    return np.where((corners == item.boxes).all(axis=1, keepdims=True), kept, own)


def _areas(item: Instances, fields: Fields, kind: Kind) -> Floats:
    if kind == "mask" and item.masks is not None:
        own = item.masks.areas.astype(np.float64)
    else:
        boxes = _boxes(item, fields)
        own = boxes[:, 2] * boxes[:, 3]
    return _numbers(item, fields.area, own)


def _box_overlap(known: Sequence[Instances], found: Sequence[Instances], fields: Fields) -> _core.Overlap:
    sides = ([np.zeros((0, 4)), *(_boxes(item, fields) for item in side)] for side in (known, found))
    return _core.box_overlap(*map(np.concatenate, sides))


def _mask_overlap(known: Sequence[Instances], found: Sequence[Instances]) -> _core.Overlap:
    def runs(item: Instances) -> _core.Runs:
        return (Masks.empty(item.size) if item.masks is None else item.masks).runs

    return _core.mask_overlap(tuple(map(runs, known)), tuple(map(runs, found)))
