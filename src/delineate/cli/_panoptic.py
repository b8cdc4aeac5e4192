"""Panoptic quality on the command line. Serves `eval`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from delineate.cli import _eval_tables as tables
from delineate.errors import DelineateError
from delineate.formats import coco_panoptic
from delineate.metrics.panoptic import PanopticReport, evaluate_panoptic


def compare(truth: Path, predictions: Path) -> PanopticReport:
    """Panoptic quality of one COCO panoptic file against another."""
    known = coco_panoptic.read(truth)
    found = coco_panoptic.read_predictions(predictions, truth)
    try:
        return evaluate_panoptic(known, found)
    except ValueError as error:
        raise DelineateError(f"{predictions}: {error}") from error


def show(console: Console, report: PanopticReport) -> None:
    """Print the averages, and the classes that count unless there are too many of them."""
    console.print(f"{report.pictures} pictures, {len(report.classes)} classes")
    rows = [
        (name, *map(tables.number, (mean.pq, mean.sq, mean.rq)), str(mean.classes))
        for name, mean in (("all", report.all), ("things", report.thing), ("stuff", report.stuff))
    ]
    tables.show_table(console, "panoptic quality", ("", "PQ", "SQ", "RQ", "classes"), rows)
    if not 1 < report.counted.sum() <= tables.FEW_CLASSES:
        return
    qualities = (report.pq, report.sq, report.rq)
    counts = (report.true_positives, report.false_positives, report.false_negatives)
    rows = [
        (
            report.classes[k],
            *(tables.number(column[k]) for column in qualities),
            *(str(column[k]) for column in counts),
        )
        for k in report.counted.nonzero()[0]
    ]
    tables.show_table(console, "per class", ("class", "PQ", "SQ", "RQ", "tp", "fp", "fn"), rows)
