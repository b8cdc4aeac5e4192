"""Two datasets side by side as flat columns: what the native core matches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from delineate._native import _core
from delineate.algebra import boundary_width
from delineate.dataset import Dataset, Record
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.table import Table

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]
Kind: TypeAlias = Literal["mask", "box", "boundary"]
"""What overlaps: masks; boxes; or masks and the bands along their contours, whichever overlap less (boundary IoU)."""
Side: TypeAlias = Sequence[Instances] | Sequence[Table]
"""What one side has found: the instances of each picture, or one table of all pictures."""


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
        iou: What overlaps.
        fields: Names of the extras to use.
        scored: False if predictions without scores will do.
        min_score: Leave out detections below this score.

    Raises:
        ValueError: The two do not belong together, or masks or scores are missing.
    """
    if iou not in ("mask", "box", "boundary"):
        raise ValueError(f'{where}: iou must be "mask", "box" or "boundary", got {iou!r}')
    lookup, notices = class_lookup(where, truth.classes, predictions.classes)
    records, partners = _paired(where, truth, predictions)
    sizes = [record.size for record in records]
    known, found = _side(records, sizes), _side(partners, sizes)
    if scored or min_score is not None:
        _need_scores(where, found)
    if min_score is not None:
        found = _above(found, min_score, fields)
    if iou != "box":
        _need_masks(where, known, found)
    labels = lookup[_ints([item.labels for item in found])]
    truth_labels = _ints([item.labels for item in known])
    crowd = np.concatenate([np.zeros(0, bool), *(_crowd(item) for item in known)])
    lost = _floats([_ids(item, fields) for item in known]) == 0
    areas = [_floats([_areas(item, fields, "mask") for item in known])]
    areas.append(_floats([_areas(item, fields, iou) for item in found]))
    notices += _oddities(lost & ~crowd, found if iou != "box" else [], fields)
    offsets = [_offsets(known), _offsets(found)]
    firsts = np.arange(len(records)) * max(1, len(truth.classes))
    places = [np.repeat(firsts, np.diff(one)) for one in offsets]
    scores = _floats([_scores(item, fields) for item in found])
    return Columns(
        ids=tuple(record.id for record in records),
        truths=_core.Truths(
            offsets[0], truth_labels, areas[0], crowd.astype(np.uint8), lost.astype(np.uint8)
        ),
        detections=_core.Detections(offsets[1], labels, scores, areas[1]),
        overlap=_overlap(known, found, iou, fields, sizes),
        truth_cells=(places[0] + truth_labels)[~crowd],
        detection_cells=(places[1] + labels)[labels >= 0],
        notices=tuple(notices),
    )


def _paired(where: str, truth: Dataset, predictions: Dataset) -> tuple[list[Record], list[Record | None]]:
    """Truth records in the order of evaluation, and the record of predictions for each."""

    def order(identity: int | str) -> tuple[bool, int, str]:
        return (False, identity, "") if isinstance(identity, int) else (True, 0, identity)

    records = sorted(truth, key=lambda record: order(record.id))
    found = {record.id: record for record in predictions}
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
    return records, [found.get(record.id) for record in records]


def _side(records: Sequence[Record | None], sizes: Sequence[tuple[int, int]]) -> Side:
    """The columns of records that share a table, else the instances of each; None: a picture without any."""
    rows = [None if record is None else record.rows for record in records]
    table = next((one.table for one in rows if one is not None), None)
    alike = all(
        record is None if one is None else one.table is table
        for one, record in zip(rows, records, strict=True)
    )
    if table is not None and alike:
        return [table.select(np.array([-1 if one is None else one.picture for one in rows], np.int64))]
    return [
        Instances.empty(sizes[n], scored=True) if one is None else one.instances
        for n, one in enumerate(records)
    ]


def _above(found: Side, least: float, fields: Fields) -> Side:
    """Without the detections of lower scores."""
    kept = [_scores(item, fields) >= least for item in found]
    if found and isinstance(found[0], Table):
        return [item.keep(flags) for item, flags in zip(found, kept, strict=True) if isinstance(item, Table)]
    pairs = zip(found, kept, strict=True)
    return [item[flags] for item, flags in pairs if isinstance(item, Instances)]


def _offsets(side: Side) -> Ints:
    """(I + 1,) where each picture begins."""
    if side and isinstance(side[0], Table):
        return side[0].offsets
    return np.concatenate([np.zeros(1, np.int64), np.cumsum([len(item) for item in side], dtype=np.int64)])


def class_lookup(where: str, truth: Sequence[str], predictions: Sequence[str]) -> tuple[Ints, list[str]]:
    """Classes of two datasets matched by name.

    Args:
        where: Name of the caller, for messages.
        truth: Class names of the truth.
        predictions: Class names of the predictions.

    Returns:
        (classes of the predictions,) label in the truth, -1 for a class that the truth does not have; and what to
        say about it.

    Raises:
        ValueError: A name is there twice where the two differ, or they share none.
    """
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


def _need_scores(where: str, found: Side) -> None:
    if any(item.scores is None and len(item) for item in found):
        raise ValueError(
            f"{where}: predictions must have scores, got None. Pass truth first, predictions second"
        )


def _need_masks(where: str, known: Side, found: Side) -> None:
    for name, side in (("truth", known), ("predictions", found)):
        if any(not _shaped(item) and len(item) for item in side):
            raise ValueError(f'{where}: {name} must have masks, got boxes only. Pass iou="box"')


def _oddities(lost: Flags, found: Side, fields: Fields) -> list[str]:
    notices = []
    if lost.any():
        notices.append(
            f"{int(lost.sum())} truth objects have the annotation id 0; a detection matched to one of them "
            "counts as false, as in pycocotools. Number annotations from 1."
        )
    odd = 0
    for item in found:
        stated = _numbers(item, fields.area)
        if stated is not None and _shaped(item):
            odd += int((stated != _mask_areas(item)).sum())
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


def _shaped(item: Instances | Table) -> bool:
    return (item.texts if isinstance(item, Table) else item.masks) is not None


def _mask_areas(item: Instances | Table) -> Floats:
    """(N,) areas of the masks of something that has them."""
    if isinstance(item, Instances):
        return np.zeros(0) if item.masks is None else item.masks.areas.astype(np.float64)
    if item.mask_areas is not None:
        return item.mask_areas
    return np.zeros(0) if item.texts is None else item.texts.measure(np.ones(len(item), np.uint8), False)[0]


def _crowd(item: Instances | Table) -> Flags:
    return np.zeros(len(item), bool) if item.crowd is None else item.crowd


def _numbers(item: Instances | Table, name: str | None, tail: tuple[int, ...] = ()) -> Floats | None:
    """The extras array of that name if there is one with that shape for an object."""
    values = item.extras.get(name) if name is not None else None
    if values is None or values.shape != (len(item), *tail):
        return None
    return values.astype(np.float64, copy=False)


def _ids(item: Instances | Table, fields: Fields) -> Floats:
    kept = _numbers(item, fields.id)
    return np.ones(len(item)) if kept is None else kept


def _scores(item: Instances | Table, fields: Fields) -> Floats:
    own = item.scores
    if own is None:
        return np.zeros(len(item))
    kept = _numbers(item, fields.score)
    if kept is not None and isinstance(item, Table):
        return kept  # where both come from
    return own.astype(np.float64) if kept is None else np.where(kept.astype(np.float32) == own, kept, own)


def _boxes(item: Instances | Table, fields: Fields) -> Floats:
    """(N, 4) float64 x, y, width, height."""
    kept = _numbers(item, fields.box, (4,))
    if kept is not None and isinstance(item, Table):
        return kept  # where both come from
    corners = item.boxes
    own = corners.astype(np.float64)
    own[:, 2:] -= own[:, :2]
    if kept is None:
        return own
    ends = np.concatenate([kept[:, :2], kept[:, :2] + kept[:, 2:]], axis=1).astype(np.float32)
    return np.where((ends == corners).all(axis=1, keepdims=True), kept, own)


def _areas(item: Instances | Table, fields: Fields, kind: Kind) -> Floats:
    stated = _numbers(item, fields.area)
    if stated is not None:
        return stated
    if kind != "box" and _shaped(item):
        return _mask_areas(item)
    boxes = _boxes(item, fields)
    areas: Floats = boxes[:, 2] * boxes[:, 3]
    return areas


def _overlap(
    known: Side, found: Side, iou: Kind, fields: Fields, sizes: Sequence[tuple[int, int]]
) -> _core.Overlap:
    if iou == "box":
        sides = ([np.zeros((0, 4)), *(_boxes(item, fields) for item in side)] for side in (known, found))
        return _core.box_overlap(*map(np.concatenate, sides))
    if iou == "mask":
        return _core.mask_overlap(_masks(known), _masks(found))
    widths = np.array([boundary_width(size) for size in sizes], np.int64)
    return _core.boundary_overlap(_masks(known), _masks(found), widths)


def _masks(side: Side) -> tuple[_core.Runs, ...] | _core.MaskTexts:
    """The masks of each picture. A table without any has no instances either."""
    if side and isinstance(side[0], Table) and side[0].texts is not None:
        return side[0].texts
    return tuple(
        Masks.empty((0, 0)).runs
        if isinstance(item, Table)
        else (Masks.empty(item.size) if item.masks is None else item.masks).runs
        for item in side
    )
