"""``delineate eval``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.progress import Progress

from delineate import atomic
from delineate.cli import _eval_inputs as inputs
from delineate.cli import _eval_tables as tables
from delineate.cli import _lvis as lvis_table
from delineate.cli import _panoptic as panoptic
from delineate.cli import _semantic as semantic
from delineate.cli import _video as video
from delineate.errors import DelineateError
from delineate.formats import class_maps, coco_panoptic, lvis
from delineate.metrics.ap import THRESHOLDS
from delineate.metrics.columns import Kind
from delineate.metrics.compare import Comparison, compare
from delineate.metrics.explain import explain as explained
from delineate.metrics.matching import matching
from delineate.metrics.slices import Slice, slices
from delineate.metrics.verdicts import verdicts
from delineate.report import Analysis, analyse, write_html


def eval_command(
    truth: Path,
    predictions: Path,
    *,
    json: Annotated[Path | None, Parameter(help="Write all numbers to this file.")] = None,
    html: Annotated[
        Path | None, Parameter(help="Write a report with charts and pictures to this file.")
    ] = None,
    against: Annotated[
        Path | None, Parameter(help="Predictions of another run; says whether the difference is chance.")
    ] = None,
    by: Annotated[
        list[str] | None,
        Parameter(
            help="Slice by this attribute of the pictures, or by split, video, size, objects or density.",
            negative="",
        ),
    ] = None,
    explain: Annotated[
        bool, Parameter(negative="", help="Show what each convention by which tools differ does to AP.")
    ] = False,
    target: Annotated[
        float | None, Parameter(help="The AP that somebody else reports (0 to 1): which conventions give it?")
    ] = None,
    iou: Annotated[Kind, Parameter(help="What overlaps.")] = "mask",
    max_detections: Annotated[
        int | None,
        Parameter(help="Per class and picture, the best count; 100 by default. LVIS: per picture, 300."),
    ] = None,
    match: Annotated[
        bool, Parameter(name="--matching", negative="", help="Count matched objects too.")
    ] = False,
    min_score: Annotated[
        float | None, Parameter(help="Predictions below it are left out of --matching.")
    ] = None,
) -> int:
    """Compare predictions with the truth: COCO's average precision, equal to pycocotools, and what is behind it.

    Examples:
        delineate eval val.json predictions.json

        delineate eval panoptic_val.json panoptic_found.json

        delineate eval youtube_vis_val.json results.json

        delineate eval mots_truth mots_found

        delineate eval val.json results.json --max-detections 1000 --matching --json report.json

        delineate eval val.json new.json --against old.json --by stain --html report.html

        delineate eval val.json results.json --target 0.371

    Args:
        truth: A COCO file with the true objects, or a COCO panoptic file: then panoptic quality is printed, and
            only --json applies; likewise a folder of class maps, for which mean IoU is printed. For an LVIS file LVIS'
            average precision is printed, for a YouTube-VIS file average precision of tracks, for MOTS files HOTA, CLEAR
            and identity measures.
        predictions: A COCO file with scores (as `delineate predict` writes it), or a bare COCO results list.
        json: Where to write all numbers as JSON.
        html: Where to write one self-contained HTML file: curves, tables, errors, the worst pictures.
        against: Predictions of another run on the same truth. AP of both, with bootstrap intervals of the difference.
        by: AP of parts of the truth; may be given several times.
        explain: Also evaluate under the conventions by which tools differ, one at a time.
        target: Also look for the few conventions that together give this AP. Means --explain.
        iou: Compare masks, boxes, or masks with a close look at their contours (boundary IoU).
        max_detections: The greatest number of detections of one class in one picture that counts: 100 by default.
            For LVIS of all classes of a picture together: 300 by default.
        match: Also print how many objects are matched one to one at IoU 0.5 to 0.9, and tp / (tp + fp + fn),
            which microscopy papers call AP (StarDist's way of counting).
        min_score: Predictions with a lower score are left out of --matching.
    """
    if max_detections is not None and max_detections < 1:
        raise DelineateError(f"--max-detections must be at least 1, got {max_detections}.")
    apart = {
        "--html": html is not None,
        "--against": against is not None,
        "--by": bool(by),
        "--explain": explain or target is not None,
        "--matching": match,
        "--min-score": min_score is not None,
    }
    if coco_panoptic.sniff(truth):
        apart = {"--iou": iou != "mask", "--max-detections": max_detections is not None, **apart}
        return _eval_panoptic(truth, predictions, json, apart)
    if class_maps.sniff(truth):
        apart = {"--iou": iou != "mask", "--max-detections": max_detections is not None, **apart}
        return _eval_semantic(truth, predictions, json, apart)
    other = _eval_video if video.sniff(truth) else _eval_lvis if lvis.sniff(truth) else None
    if other is not None:
        return other(truth, predictions, json, apart, iou=iou, max_detections=max_detections)
    limit = 100 if max_detections is None else max_detections
    with _bar("Evaluating"):
        known = inputs.truth_of(truth)
        found, notices = inputs.predictions_of(predictions, truth, known)
        inputs.check_masks(iou, {truth: known, predictions: found})
        try:
            analysis = analyse(known, found, iou=iou, max_detections=limit)
            counts = matching(known, found, iou=iou, min_score=min_score) if match else None
        except ValueError as error:
            raise DelineateError(f"{predictions}: {error}") from error
        parts = {name: _slices(analysis, name, iou) for name in by or ()}
        analysis = replace(analysis, matching=counts, slices=parts)
    try:
        if against is not None:
            comparison, others = _compare(analysis, against, truth, limit)
            analysis, notices = replace(analysis, comparison=comparison), notices + others
        if explain or target is not None:
            with _bar("Explaining") as tell:
                explanation = explained(known, found, target, iou=iou, max_detections=limit, progress=tell)
            analysis = replace(analysis, explanation=explanation)
    except ValueError as error:
        raise DelineateError(f"{predictions}: {error}") from error
    notices += tables.worded(analysis.notices)
    names = {"truth": truth.as_posix(), "predictions": predictions.as_posix()}
    if against is not None:
        names["against"] = against.as_posix()
    analysis = replace(analysis, notices=tuple(notices), settings={**names, **analysis.settings})
    _show(analysis, against)
    if json is not None:
        content = names | analysis.as_dict()
        if counts is not None:
            content["matching"] = {"min_score": min_score, **counts.as_dict()}
        _write(json, content)
    if html is not None:
        with _bar("Drawing") as tell:
            _written(
                html, lambda: write_html(analysis, html, f"{predictions.name} on {truth.name}", progress=tell)
            )
    return 0


def _show(analysis: Analysis, against: Path | None) -> None:
    console = Console(highlight=False)
    tables.show_report(console, analysis.evaluation)
    tables.show_errors(console, analysis.errors, analysis.calibration, analysis.curves)
    if analysis.matching is not None:
        tables.show_matching(console, analysis.matching)
    for name, parts in analysis.slices.items():
        tables.show_slices(console, name, parts)
    if analysis.comparison is not None and against is not None:
        tables.show_comparison(console, analysis.comparison, against.name)
    if analysis.explanation is not None:
        tables.show_explanation(console, analysis.explanation)
    tables.show_notices(console, analysis.notices)


def _slices(analysis: Analysis, by: str, iou: Kind) -> tuple[Slice, ...]:
    limits = analysis.evaluation.max_detections
    try:
        return slices(analysis.truth, analysis.predictions, by, iou=iou, max_detections=limits)
    except ValueError as error:
        raise DelineateError(str(error).replace("slices: by", "--by")) from error


def _compare(
    analysis: Analysis, other: Path, truth: Path, max_detections: int
) -> tuple[Comparison, list[str]]:
    """This run minus the other one, and what to say about the other one's file."""
    found, notices = inputs.predictions_of(other, truth, analysis.truth)
    iou = analysis.evaluation.iou
    inputs.check_masks(iou, {other: found})
    try:
        first = verdicts(analysis.truth, found, THRESHOLDS, iou=iou, max_detections=max_detections)
    except ValueError as error:
        raise DelineateError(f"{other}: {error}") from error
    with _bar("Drawing pictures again") as tell:
        return compare(first, analysis.judged, progress=tell), notices


def _eval_panoptic(truth: Path, predictions: Path, json: Path | None, apart: dict[str, bool]) -> int:
    report = panoptic.compare(truth, predictions)
    panoptic.show(Console(highlight=False), report)
    named = {"truth": truth, "predictions": predictions}
    return _end(json, named, {"panoptic": report.as_dict()}, tables.left_out(apart, "panoptic files"))


def _eval_semantic(truth: Path, predictions: Path, json: Path | None, apart: dict[str, bool]) -> int:
    report = semantic.compare(truth, predictions)
    semantic.show(Console(highlight=False), report)
    named = {"truth": truth, "predictions": predictions}
    return _end(json, named, {"semantic": report.as_dict()}, tables.left_out(apart, "class maps"))


def _eval_video(
    truth: Path,
    predictions: Path,
    json: Path | None,
    apart: dict[str, bool],
    *,
    iou: Kind,
    max_detections: int | None,
) -> int:
    content = video.run(truth, predictions, apart, iou=iou, max_detections=max_detections)
    if json is not None:
        _write(json, content)
    return 0


def _eval_lvis(
    truth: Path,
    predictions: Path,
    json: Path | None,
    apart: dict[str, bool],
    *,
    iou: Kind,
    max_detections: int | None,
) -> int:
    report, notices = lvis_table.compare(truth, predictions, iou, max_detections)
    lvis_table.show(Console(highlight=False), report)
    notices = [*notices, *tables.worded(report.notices), *tables.left_out(apart, "LVIS files")]
    return _end(json, {"truth": truth, "predictions": predictions}, {"lvis": report.as_dict()}, notices)


def _end(
    json: Path | None, named: Mapping[str, Path], content: Mapping[str, object], notices: Sequence[str]
) -> int:
    """Prints what a reader must know, and writes the JSON file; the exit code."""
    tables.show_notices(Console(highlight=False), notices)
    if json is not None:
        paths = {name: path.as_posix() for name, path in named.items()}
        _write(json, {**paths, **content, "notices": list(notices)})
    return 0


@contextmanager
def _bar(text: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal; what it gives is told (done, all)."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(text, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _write(path: Path, content: dict[str, object]) -> None:
    _written(
        path, lambda: atomic.write_bytes(path, msgspec.json.format(msgspec.json.encode(content)) + b"\n")
    )


def _written(path: Path, write: Callable[[], None]) -> None:
    try:
        write()
    except OSError as error:
        raise DelineateError(f"{path}: cannot be written: {error.strerror}.") from error
