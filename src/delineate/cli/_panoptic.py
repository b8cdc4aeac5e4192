"""Panoptic quality on the command line. Serves `eval`."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console
from rich.table import Table

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


def show(console: Console, report: PanopticReport, most_classes: int) -> None:
    """Print the averages, and the classes that count unless there are too many of them."""
    console.print(f"{report.pictures} pictures, {len(report.classes)} classes")
    table = Table(title="panoptic quality", title_justify="left")
    table.add_column("")
    for heading in ("PQ", "SQ", "RQ", "classes"):
        table.add_column(heading, justify="right")
    for name, mean in (("all", report.all), ("things", report.thing), ("stuff", report.stuff)):
        table.add_row(name, _number(mean.pq), _number(mean.sq), _number(mean.rq), str(mean.classes))
    console.print(table)
    if not 1 < report.counted.sum() <= most_classes:
        return
    table = Table(title="per class", title_justify="left")
    table.add_column("class")
    for heading in ("PQ", "SQ", "RQ", "tp", "fp", "fn"):
        table.add_column(heading, justify="right")
    qualities = (report.pq, report.sq, report.rq)
    counts = (report.true_positives, report.false_positives, report.false_negatives)
    for k in report.counted.nonzero()[0]:
        values = [*(_number(column[k]) for column in qualities), *(str(column[k]) for column in counts)]
        table.add_row(report.classes[k], *values)
    console.print(table)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
