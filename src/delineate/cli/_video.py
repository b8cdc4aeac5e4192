"""Videos on the command line: average precision of tracks, and how well objects are followed. Serves `eval`."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console
from rich.table import Table

from delineate.cli import _eval_inputs as inputs
from delineate.cli import _eval_tables as tables
from delineate.dataset import Dataset
from delineate.errors import DelineateError
from delineate.formats import mots, youtube_vis
from delineate.metrics.ap import Report
from delineate.metrics.columns import Kind
from delineate.metrics.tracking import Tracking, TrackingReport, evaluate_tracking
from delineate.metrics.video import evaluate_videos

_MEASURES = ("HOTA", "DetA", "AssA", "LocA", "MOTA", "sMOTA", "MOTP", "IDF1")
_COUNTS = {"tp": "tp", "fn": "fn", "fp": "fp", "switches": "IDSW", "fragments": "Frag"} | {
    "mostly_tracked": "MT",
    "partly_tracked": "PT",
    "mostly_lost": "ML",
}


def sniff(truth: Path) -> bool:
    """Whether the truth is about videos."""
    return youtube_vis.sniff(truth) or mots.sniff(truth)


def run(
    truth: Path, predictions: Path, apart: dict[str, bool], *, iou: Kind, max_detections: int | None
) -> dict[str, object]:
    """Evaluate and print; what comes back is for the JSON file. Options in `apart` are not offered here."""
    report = compare(truth, predictions, iou, 100 if max_detections is None else max_detections)
    tracking = isinstance(report, TrackingReport)
    console = Console(highlight=False)
    show(console, report, tables.FEW_CLASSES)
    if tracking:
        apart = {"--max-detections": max_detections is not None, **apart}
    files = "MOTS files" if tracking else "YouTube-VIS files"
    notices = [*tables.worded(report.notices), *tables.left_out(apart, files)]
    tables.show_notices(console, notices)
    names = {"truth": truth.as_posix(), "predictions": predictions.as_posix()}
    return {**names, "tracking" if tracking else "videos": report.as_dict(), "notices": notices}


def compare(truth: Path, predictions: Path, iou: Kind, max_detections: int) -> Report | TrackingReport:
    """Average precision for YouTube-VIS files, tracking measures for MOTS."""
    if mots.sniff(truth):
        known, found = mots.read(truth), mots.read_results(predictions, truth)
        try:
            return evaluate_tracking(known, found, iou=iou)
        except ValueError as error:
            raise DelineateError(f"{predictions}: {error}") from error
    if iou != "mask":
        raise DelineateError(f"--iou must be mask for YouTube-VIS files, got {iou}.")
    known, found = youtube_vis.read(truth), _found(predictions, truth)
    limits = (*(limit for limit in (1, 10) if limit < max_detections), max_detections)
    try:
        return evaluate_videos(known, found, max_detections=limits)
    except ValueError as error:
        raise DelineateError(f"{predictions}: {error}") from error


def _found(path: Path, truth: Path) -> Dataset:
    """A results list, or a file of its own with scores."""
    return youtube_vis.read_results(path, truth) if inputs.is_results_list(path) else youtube_vis.read(path)


def show(console: Console, report: Report | TrackingReport, most_classes: int) -> None:
    """Print the summary, and the classes unless there are too many of them."""
    if isinstance(report, TrackingReport):
        _show_tracking(console, report, most_classes)
    else:
        _show_precision(console, report, most_classes)


def _show_precision(console: Console, report: Report, most_classes: int) -> None:
    console.print(f"{report.pictures} videos, {report.objects} tracks, {report.detections} predicted tracks")
    table = Table(title="YouTube-VIS, mask IoU over all frames", title_justify="left")
    for heading in ("", "IoU", "area", "tracks"):
        table.add_column(heading)
    table.add_column("value", justify="right")
    span = f"{report.thresholds[0]:.2f}:{report.thresholds[-1]:.2f}"
    for row, value in zip(report.rows, report.stats, strict=True):
        threshold = span if row.threshold is None else f"{row.threshold:.2f}"
        limit = report.limit(row)
        table.add_row(
            "AP" if row.precise else "AR",
            threshold,
            row.area,
            "-" if limit is None else str(limit),
            _number(value),
        )
    console.print(table)
    if 1 < len(report.classes) <= most_classes:
        table = Table(title="per class", title_justify="left")
        table.add_column("class")
        for heading in ("AP", "AP50", "AP75"):
            table.add_column(heading, justify="right")
        columns = (report.class_ap(), report.class_ap(0.5), report.class_ap(0.75))
        for name, *values in zip(report.classes, *columns, strict=True):
            table.add_row(name, *map(_number, values))
        console.print(table)


def _show_tracking(console: Console, report: TrackingReport, most_classes: int) -> None:
    rows: dict[str, Tracking] = {"all": report.all}
    if 1 < len(report.classes) <= most_classes:
        rows |= report.classes
    console.print(f"{len(report.videos)} videos, {', '.join(report.classes) or 'nothing in them'}")
    numbers = {name: part.as_dict() for name, part in rows.items()}
    measures = Table(title=f"tracking, {report.iou} IoU", title_justify="left")
    counts = Table(title="counts at IoU 0.5", title_justify="left")
    for table, headings in ((measures, _MEASURES), (counts, _COUNTS.values())):
        table.add_column("")
        for heading in headings:
            table.add_column(heading, justify="right")
    for name, values in numbers.items():
        measures.add_row(name, *(f"{values[heading.lower()]:.4f}" for heading in _MEASURES))
        counts.add_row(name, *(str(values[key]) for key in _COUNTS))
    console.print(measures)
    console.print(counts)


def _number(value: float) -> str:
    return "-" if math.isnan(value) or value == -1 else f"{value:.4f}"
