"""Videos on the command line: average precision of tracks, and how well objects are followed. Serves `eval`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

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
    show(console, report)
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


def show(console: Console, report: Report | TrackingReport) -> None:
    """Print the summary, and the classes unless there are too many of them."""
    if isinstance(report, TrackingReport):
        _show_tracking(console, report)
    else:
        console.print(
            f"{report.pictures} videos, {report.objects} tracks, {report.detections} predicted tracks"
        )
        tables.show_precision(console, report, "YouTube-VIS, mask IoU over all frames", "tracks")


def _show_tracking(console: Console, report: TrackingReport) -> None:
    rows: dict[str, Tracking] = {"all": report.all}
    if 1 < len(report.classes) <= tables.FEW_CLASSES:
        rows |= report.classes
    console.print(f"{len(report.videos)} videos, {', '.join(report.classes) or 'nothing in them'}")
    numbers = {name: part.as_dict() for name, part in rows.items()}
    measures = [
        (name, *(f"{values[heading.lower()]:.4f}" for heading in _MEASURES))
        for name, values in numbers.items()
    ]
    counts = [(name, *(str(values[key]) for key in _COUNTS)) for name, values in numbers.items()]
    tables.show_table(console, f"tracking, {report.iou} IoU", ("", *_MEASURES), measures)
    tables.show_table(console, "counts at IoU 0.5", ("", *_COUNTS.values()), counts)
