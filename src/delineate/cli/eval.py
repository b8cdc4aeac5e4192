"""``delineate eval``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from delineate import atomic
from delineate.cli import _panoptic as panoptic
from delineate.dataset import Dataset
from delineate.errors import DelineateError, FormatError
from delineate.formats import coco, coco_panoptic
from delineate.instances import Instances
from delineate.metrics.ap import Report, evaluate
from delineate.metrics.matching import Matching, matching

_FEW_CLASSES = 20  # more would push the summary off the screen; the JSON file has them all
_SHOWN = {"ap": "AP", "ar": "AR"}


def eval_command(
    truth: Path,
    predictions: Path,
    *,
    json: Annotated[Path | None, Parameter(help="Write all numbers to this file.")] = None,
    iou: Annotated[Literal["mask", "box"], Parameter(help="What overlaps.")] = "mask",
    max_detections: Annotated[int, Parameter(help="Per class and picture; the best count.")] = 100,
    match: Annotated[
        bool, Parameter(name="--matching", negative="", help="Count matched objects too.")
    ] = False,
    min_score: Annotated[
        float | None, Parameter(help="Predictions below it are left out of --matching.")
    ] = None,
) -> int:
    """Compare predictions with the truth: COCO's average precision, equal to pycocotools.

    Examples:
        delineate eval val.json predictions.json

        delineate eval panoptic_val.json panoptic_found.json

        delineate eval val.json results.json --max-detections 1000 --matching --json report.json

    Args:
        truth: A COCO file with the true objects, or a COCO panoptic file: then panoptic quality is printed, and
            only --json applies.
        predictions: A COCO file with scores (as `delineate predict` writes it), or a bare COCO results list.
        json: Where to write all numbers as JSON.
        iou: Compare masks or boxes.
        max_detections: The greatest number of detections of one class in one picture that counts.
        match: Also print how many objects are matched one to one at IoU 0.5 to 0.9, and tp / (tp + fp + fn),
            which microscopy papers call AP (StarDist's way of counting).
        min_score: Predictions with a lower score are left out of --matching.
    """
    if max_detections < 1:
        raise DelineateError(f"--max-detections must be at least 1, got {max_detections}.")
    if coco_panoptic.sniff(truth):
        ignored = {
            "--iou": iou != "mask",
            "--max-detections": max_detections != 100,
            "--matching": match,
            "--min-score": min_score is not None,
        }
        return _eval_panoptic(truth, predictions, json, [name for name, given in ignored.items() if given])
    known = coco.read(truth)
    found, notices = _predictions(predictions, truth, known)
    _check_masks(iou, {truth: known, predictions: found})
    limits = (*(limit for limit in (1, 10) if limit < max_detections), max_detections)
    try:
        report = evaluate(known, found, iou=iou, max_detections=limits)
        counts = matching(known, found, iou=iou, min_score=min_score) if match else None
    except ValueError as error:
        raise DelineateError(f"{predictions}: {error}") from error
    console = Console(highlight=False)
    _show_report(console, report)
    if counts is not None:
        _show_matching(console, counts)
    notices += [notice.replace("Raise max_detections", "Raise --max-detections") for notice in report.notices]
    for notice in notices:
        console.print(f"Note: {notice}", style="yellow", markup=False, soft_wrap=True)
    if json is not None:
        content: dict[str, object] = {
            "truth": truth.as_posix(),
            "predictions": predictions.as_posix(),
            "ap": report.as_dict(),
        }
        if counts is not None:
            content["matching"] = {"min_score": min_score, **counts.as_dict()}
        _write(json, content | {"notices": notices})
    return 0


def _eval_panoptic(truth: Path, predictions: Path, json: Path | None, ignored: list[str]) -> int:
    report = panoptic.compare(truth, predictions)
    console = Console(highlight=False)
    panoptic.show(console, report, _FEW_CLASSES)
    if ignored:
        console.print(f"Note: {', '.join(ignored)} mean nothing for panoptic files.", style="yellow")
    if json is not None:
        names = {"truth": truth.as_posix(), "predictions": predictions.as_posix()}
        _write(json, names | {"panoptic": report.as_dict()})
    return 0


def _predictions(path: Path, truth: Path, known: Dataset) -> tuple[Dataset, list[str]]:
    """The predictions with the truth's record ids, and what to say about it."""
    try:
        with path.open("rb") as file:
            bare = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    except OSError as error:
        raise FormatError(path, "", f"cannot be read: {error.strerror}.") from error
    if bare:
        return coco.read_results(path, truth), []
    found = _aligned(path, coco.read(path), known)
    unscored = [record for record in found if len(record.instances) and record.instances.scores is None]
    if unscored:
        message = "annotations must have scores, got none. The truth comes first, then the predictions."
        raise FormatError(path, f"image {unscored[0].id}", message)
    missing = len(known) - len(found)
    if not missing:
        return found, []
    return found, [
        f"{missing} of {len(known)} pictures are not in {path.name}; their objects count as missed."
    ]


def _aligned(path: Path, found: Dataset, known: Dataset) -> Dataset:
    """Ids of two files need not agree: pictures are the same if their file names are, or else their ids."""
    names = Counter(record.path.name for record in known if record.path is not None)
    by_name = {record.path.name: record.id for record in known if record.path is not None}
    ids = {record.id for record in known}
    records = []
    for record in found:
        name = None if record.path is None else record.path.name
        match = by_name[name] if name is not None and names[name] == 1 else record.id
        if match not in ids:
            message = f"picture must be one of the truth, got the unknown name {name!r} and id."
            raise FormatError(path, f"image {record.id}", message)
        records.append(record.replace(id=match))
    twice = [match for match, count in Counter(record.id for record in records).items() if count > 1]
    if twice:
        raise FormatError(path, "", f"pictures must be different, got two for {twice[0]!r} of the truth.")
    return found.with_records(records)


def _check_masks(iou: str, sides: dict[Path, Dataset]) -> None:
    for path, dataset in sides.items():
        if iou == "mask" and any(item.masks is None and len(item) for item in _instances(dataset)):
            raise FormatError(path, "", "has boxes only. Compare boxes with --iou box.")


def _instances(dataset: Dataset) -> Iterator[Instances]:
    return (record.instances for record in dataset)


def _show_report(console: Console, report: Report) -> None:
    console.print(
        f"{report.pictures} pictures, {report.objects} objects, {report.detections} detections, "
        f"{len(report.classes)} {'class' if len(report.classes) == 1 else 'classes'}"
    )
    table = Table(title=f"COCO, {report.iou} IoU", title_justify="left")
    for heading in ("", "IoU", "area", "detections"):
        table.add_column(heading)
    table.add_column("value", justify="right")
    span = f"{report.thresholds[0]:.2f}:{report.thresholds[-1]:.2f}"
    for row, value in zip(report.rows, report.stats, strict=True):
        threshold = span if row.threshold is None else f"{row.threshold:.2f}"
        limit = report.limit(row)
        table.add_row(
            _SHOWN[row.name[:2]], threshold, row.area, "-" if limit is None else str(limit), _number(value)
        )
    console.print(table)
    if 1 < len(report.classes) <= _FEW_CLASSES:
        table = Table(title="per class", title_justify="left")
        table.add_column("class")
        for heading in ("AP", "AP50", "AP75"):
            table.add_column(heading, justify="right")
        columns = (report.class_ap(), report.class_ap(0.5), report.class_ap(0.75))
        for name, *values in zip(report.classes, *columns, strict=True):
            table.add_row(name, *map(_number, values))
        console.print(table)


def _show_matching(console: Console, counts: Matching) -> None:
    table = Table(title=f"matched one to one, {counts.iou} IoU", title_justify="left")
    headings = ("IoU", "tp", "fp", "fn", "precision", "recall", "f1", "tp/(tp+fp+fn)", "mean IoU")
    for heading in headings:
        table.add_column(heading, justify="right")
    numbers = (counts.true_positives, counts.false_positives, counts.false_negatives)
    ratios = (counts.precision, counts.recall, counts.f1, counts.accuracy, counts.mean_matched_iou)
    for place, threshold in enumerate(counts.thresholds):
        table.add_row(
            f"{threshold:.2f}",
            *(str(column[place]) for column in numbers),
            *(_number(column[place]) for column in ratios),
        )
    console.print(table)
    console.print(f"tp/(tp+fp+fn), mean over thresholds: {_number(counts.accuracy.mean())}")


def _number(value: float) -> str:
    return "-" if value < 0 or math.isnan(value) else f"{value:.4f}"


def _write(path: Path, content: dict[str, object]) -> None:
    try:
        atomic.write_bytes(path, msgspec.json.format(msgspec.json.encode(content)) + b"\n")
    except OSError as error:
        raise DelineateError(f"{path}: cannot be written: {error.strerror}.") from error
