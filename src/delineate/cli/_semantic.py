"""Mean IoU of class maps on the command line. Serves `eval`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from delineate.cli import _eval_tables as tables
from delineate.errors import DelineateError, FormatError
from delineate.formats import class_maps, coco_panoptic
from delineate.metrics.semantic import UNKNOWN, SemanticReport, Tally
from delineate.panoptic import Panoptic, PanopticDataset, PanopticRecord

_BACKGROUND = "background"  # what `delineate predict` leaves void


def compare(truth: Path, predictions: Path) -> SemanticReport:
    """Mean IoU of a COCO panoptic file, as `delineate predict` writes it, against folders of class maps.

    Pictures are known by the names of their files, classes by theirs. Where the truth has a background, void is it.

    Raises:
        FormatError: A class of the predictions is none of the truth, or a picture is missing.
    """
    known, found = class_maps.read(truth), coco_panoptic.read(predictions)
    unknown = [name for name in found.classes if name not in known.classes]
    if unknown:
        text = f"classes must be those of the truth {list(known.classes)[:20]}, got {unknown[0]!r}."
        raise FormatError(predictions, "", text)
    labels = np.array([known.classes.index(name) for name in found.classes], np.int64)
    rest = known.classes.index(_BACKGROUND) if _BACKGROUND in known.classes else UNKNOWN
    by_name = _by_name(found)
    tally = Tally(known.classes)
    for record in known:
        match = None if record.path is None else by_name.get(record.path.name)
        if match is None:
            name = record.id if record.path is None else record.path.name
            raise FormatError(predictions, "", f"must have every picture of the truth, got none of {name}.")
        ours = _classes(match.read(), labels, rest)
        try:
            tally.add(_classes(record.read(), np.arange(len(known.classes)), UNKNOWN), ours)
        except ValueError as error:
            raise DelineateError(f"{predictions}: {record.path}: {error}") from error
    return tally.report()


def show(console: Console, report: SemanticReport) -> None:
    """Print the mean, and the classes unless there are too many of them."""
    console.print(f"{report.pictures} pictures, {len(report.classes)} classes")
    figures = [(tables.number(report.mean_iou), tables.number(report.accuracy))]
    tables.show_table(console, "class maps", ("mean IoU", "right pixels"), figures)
    if len(report.classes) <= tables.FEW_CLASSES:
        pixels = report.counts.sum(1).tolist()
        values = zip(report.classes, report.iou.tolist(), pixels, strict=True)
        rows = [(name, tables.number(iou), str(count)) for name, iou, count in values]
        tables.show_table(console, "per class", ("class", "IoU", "pixels"), rows)


def _by_name(found: PanopticDataset) -> dict[str, PanopticRecord]:
    """Pictures by the names of their files; those that share one are left out."""
    counts = Counter(record.path.name for record in found if record.path is not None)
    return {
        record.path.name: record
        for record in found
        if record.path is not None and counts[record.path.name] == 1
    }


def _classes(picture: Panoptic, labels: NDArray[np.int64], rest: int) -> NDArray[np.int64]:
    """The class of every pixel."""
    table = np.full(int(picture.ids.max(initial=0)) + 1, rest, np.int64)
    table[picture.ids] = labels[picture.labels]
    return table[picture.map]
