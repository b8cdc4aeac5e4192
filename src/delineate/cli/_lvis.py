"""LVIS' average precision on the command line. Serves `eval`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from delineate.cli import _eval_inputs as inputs
from delineate.cli import _eval_tables as tables
from delineate.errors import DelineateError
from delineate.formats import lvis
from delineate.metrics.columns import Kind
from delineate.metrics.lvis import LvisReport, evaluate_lvis

_BINS = {"r": "rare", "c": "common", "f": "frequent"}
_AREAS = {"s": "small", "m": "medium", "l": "large"}


def compare(
    truth: Path, predictions: Path, iou: Kind, max_detections: int | None
) -> tuple[LvisReport, list[str]]:
    """LVIS' average precision of a results list or of a COCO file with scores, and what to say about that file."""
    known = lvis.read(truth)
    found, notices = inputs.predictions_of(predictions, truth, known)
    inputs.check_masks(iou, {truth: known, predictions: found})
    limit = 300 if max_detections is None else max_detections
    try:
        return evaluate_lvis(known, found, iou=iou, max_detections=limit), notices
    except ValueError as error:
        raise DelineateError(f"{predictions}: {error}") from error


def show(console: Console, report: LvisReport) -> None:
    """Print the 13 numbers."""
    console.print(
        f"{report.pictures} pictures, {report.objects} objects, {report.detections} detections "
        f"({report.judged} of them judged), {len(report.classes)} classes"
    )
    rows = []
    span = f"{report.thresholds[0]:.2f}:{report.thresholds[-1]:.2f}"
    for name, value in report.results.items():
        what, rest = name[:2], name[2:].partition("@")[0]
        threshold = f"0.{rest}" if rest.isdigit() else span
        area, bins = _AREAS.get(rest, "all"), _BINS.get(rest, "all")
        rows.append((what, threshold, area, bins, str(report.max_detections), tables.number(value)))
    headings = ("", "IoU", "area", "classes", "detections", "value")
    tables.show_table(console, f"LVIS, {report.iou} IoU", headings, rows, words=5)
