"""What `eval` prints. Serves `eval`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from delineate.metrics.ap import Report
from delineate.metrics.calibration import Calibration
from delineate.metrics.compare import Comparison, Difference
from delineate.metrics.errors import KINDS, Errors
from delineate.metrics.explain import Explanation, Term
from delineate.metrics.matching import Matching
from delineate.metrics.operating import OperatingCurves
from delineate.metrics.slices import Slice

FEW_CLASSES = 20  # more would push the summary off the screen; the JSON file has them all
_WIDE = 110  # columns of a terminal that has room for sizes


def show_report(console: Console, report: Report) -> None:
    """Print COCO's summary, and AP per class unless there are too many."""
    console.print(
        f"{report.pictures} pictures, {report.objects} objects, {report.detections} detections, "
        f"{len(report.classes)} {'class' if len(report.classes) == 1 else 'classes'}"
    )
    show_precision(console, report, f"COCO, {report.iou} IoU", "detections")


def show_precision(console: Console, report: Report, title: str, limited: str) -> None:
    """Print the summary's rows, and AP per class unless there are too many.

    Args:
        console: Where to.
        report: Of pictures or of videos.
        title: Of the summary.
        limited: What `max_detections` counts.
    """
    span = f"{report.thresholds[0]:.2f}:{report.thresholds[-1]:.2f}"
    rows: list[tuple[str, ...]] = []
    for row, value in zip(report.rows, report.stats, strict=True):
        threshold = span if row.threshold is None else f"{row.threshold:.2f}"
        limit = report.limit(row)
        what = "AP" if row.precise else "AR"
        rows.append((what, threshold, row.area, "-" if limit is None else str(limit), number(value)))
    show_table(console, title, ("", "IoU", "area", limited, "value"), rows, words=4)
    if 1 < len(report.classes) <= FEW_CLASSES:
        columns = (report.class_ap(), report.class_ap(0.5), report.class_ap(0.75))
        rows = [(name, *map(number, values)) for name, *values in zip(report.classes, *columns, strict=True)]
        show_table(console, "per class", ("class", "AP", "AP50", "AP75"), rows)


def show_matching(console: Console, counts: Matching) -> None:
    """Print the counts of objects matched one to one."""
    # Narrow enough for counts of five digits on 80 columns.
    headings = ("IoU", "tp", "fp", "fn", "precision", "recall", "f1", "tp/all", "mean IoU")
    numbers = (counts.true_positives, counts.false_positives, counts.false_negatives)
    ratios = (counts.precision, counts.recall, counts.f1, counts.accuracy, counts.mean_matched_iou)
    rows = [
        (
            f"{threshold:.2f}",
            *(str(column[place]) for column in numbers),
            *(number(column[place]) for column in ratios),
        )
        for place, threshold in enumerate(counts.thresholds)
    ]
    show_table(console, f"matched one to one, {counts.iou} IoU", headings, rows)
    console.print(f"tp/all is tp/(tp+fp+fn); mean over thresholds: {number(counts.accuracy.mean())}")


def show_errors(console: Console, errors: Errors, scores: Calibration, curves: OperatingCurves) -> None:
    """Print what goes wrong at IoU 0.5: types of errors, calibration, the best confidence."""
    counts = dict(zip(KINDS, errors.counts.sum(axis=0).tolist(), strict=True))
    rows = [(name, str(counts.get(name, "")), number(gain, sign=True)) for name, gain in errors.gains.items()]
    show_table(console, "errors at IoU 0.5 (TIDE)", ("type", "count", "AP50 gain"), rows)
    if not math.isnan(scores.expected_error):
        tendency = "promise too much" if scores.bias > 0 else "promise too little"
        console.print(
            f"Scores: expected calibration error {number(scores.expected_error)}; on average they {tendency} "
            f"({number(scores.bias, sign=True)})."
        )
    best = curves.overall.best
    if best is not None:
        console.print(
            f"Best F1 {number(best.f1)} at confidence {best.confidence:.3f}: precision {number(best.precision)}, "
            f"recall {number(best.recall)}."
        )


def show_slices(console: Console, by: str, parts: Sequence[Slice]) -> None:
    """Print AP of each slice."""
    rows = [
        (
            one.name,
            str(one.report.pictures),
            str(one.report.objects),
            number(one.report.ap),
            number(one.report.ap50),
        )
        for one in parts
    ]
    show_table(console, f"by {by}", (by, "pictures", "objects", "AP", "AP50"), rows)


def show_comparison(console: Console, comparison: Comparison, other: str) -> None:
    """Print the differences, and the classes that differ for certain."""
    interval = f"{comparison.level:.0%} interval"
    headings = ("", "other", "this", "difference", interval, "share above 0")
    rows = [_difference(name, one) for name, one in comparison.overall.items()]
    show_table(console, f"against {other}", headings, rows)
    decided = [(name, one) for name, one in comparison.classes if one.decided]
    if len(comparison.classes) > 1 and decided:
        decided.sort(key=lambda row: -abs(row[1].difference))
        rows = [_difference(name, one) for name, one in decided[:FEW_CLASSES]]
        title = f"classes whose AP differs ({len(decided)} of {len(comparison.classes)})"
        show_table(console, title, ("class", *headings[1:]), rows)
    console.print(
        f"{comparison.resamples} draws of {comparison.pictures} pictures with replacement, the same for both."
    )


def show_explanation(console: Console, explanation: Explanation) -> None:
    """Print AP under each convention, and the way to the target."""
    sizes = console.width >= _WIDE
    headings = ("convention", "AP", "change", "AP50", *(("small", "medium", "large") if sizes else ()))
    start = explanation.start
    rows = [_term(start, sizes), *(_term(term, sizes) for term in explanation.terms)]
    show_table(console, "each convention alone", headings, rows)
    if explanation.target is None:
        return
    rows = [_term(start, sizes), *(_term(term, sizes) for term in explanation.path)]
    rest = ("not explained", number(explanation.target), number(explanation.rest, sign=True), "")
    show_table(console, f"from the baseline to {explanation.target:g}", headings, [*rows, rest])
    headings = ("conventions that come close", "AP", "distance")
    rows = [
        (
            " + ".join(one.name for one in candidate.conventions) or "none",
            number(candidate.ap),
            number(candidate.distance),
        )
        for candidate in explanation.candidates
    ]
    show_table(console, "sets of conventions, the best first", headings, rows)


def worded(notices: Sequence[str]) -> list[str]:
    """The library's notices with the command's option in place of the function's argument."""
    return [notice.replace("Raise max_detections", "Raise --max-detections") for notice in notices]


def left_out(given: Mapping[str, bool], files: str) -> list[str]:
    """What to say of the options that were given and are not offered for such files; nothing if there are none."""
    names = [name for name, there in given.items() if there]
    return [f"not available for {files}, left out: {', '.join(names)}."] if names else []


def show_notices(console: Console, notices: Sequence[str]) -> None:
    """Print what a reader of the numbers must know."""
    for notice in notices:
        console.print(f"Note: {notice}", style="yellow", markup=False, soft_wrap=True)


def show_table(
    console: Console, title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1
) -> None:
    """Print a table whose first `words` columns are words, and the others numbers."""
    table = Table(title=escape(title), title_justify="left")
    for place, heading in enumerate(headings):
        numeric = place >= words
        table.add_column(escape(heading), justify="right" if numeric else "left", no_wrap=numeric)
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)


def number(value: float, *, sign: bool = False) -> str:
    """Four decimals; a dash for what is not defined."""
    if math.isnan(value) or math.isinf(value) or (value < 0 and not sign):
        return "-"
    shown = f"{value:+.4f}" if sign else f"{value:.4f}"
    return "0.0000" if float(shown) == 0 else shown


def _difference(name: str, one: Difference) -> tuple[str, ...]:
    span = "-" if math.isnan(one.low) else f"{one.low:+.4f} to {one.high:+.4f}"
    share = "-" if math.isnan(one.above) else f"{one.above:.3f}"
    return (name, number(one.first), number(one.second), number(one.difference, sign=True), span, share)


def _term(term: Term, sizes: bool) -> tuple[str, ...]:
    numbers = term.numbers
    parts = (numbers.small, numbers.medium, numbers.large) if sizes else ()
    return (
        term.convention.name,
        number(numbers.ap),
        number(term.change, sign=True),
        number(numbers.ap50),
        *map(number, parts),
    )
