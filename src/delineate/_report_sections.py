"""The sections of a report, in the order of the page. Serves `report`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from delineate import _report_charts as charts
from delineate import _report_page as page
from delineate import _report_pictures as worst
from delineate._report_page import Part, number, text
from delineate.metrics.columns import Floats, Ints
from delineate.metrics.compare import Difference
from delineate.metrics.errors import KINDS
from delineate.metrics.explain import Term

if TYPE_CHECKING:
    from delineate.report import Analysis

MOST_CURVES, MOST_CONFUSED = 24, 20
"""Classes with curves of their own, and classes in the confusion matrix: those with most objects."""
_LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9)
_MEANING = {
    "classification": "right outline, wrong class",
    "localisation": "right class, outline too far off",
    "both": "wrong class and outline too far off",
    "duplicate": "an object that was found already",
    "background": "nothing is there",
    "missed": "objects that nothing comes near",
    "false positive": "if no detection were wrong",
    "false negative": "if every object were found",
}


def headline(analysis: Analysis) -> Part:
    """The few numbers that are asked for first."""
    report, best = analysis.evaluation, analysis.curves.overall.best
    limit = report.max_detections[-1]
    shown = [
        ("AP", report.ap, f"IoU 0.50 to 0.95, {limit} detections"),
        ("AP50", report.ap50, "at IoU 0.5"),
        ("AP75", report.ap75, "at IoU 0.75"),
    ]
    if best is not None:
        shown.append(("best F1", best.f1, f"at confidence {best.confidence:.2f}"))
    shown.append(("calibration error", analysis.calibration.expected_error, "of scores, at IoU 0.5"))
    numbers = "".join(
        f"<div><dt>{name}</dt><dd>{number(float(value))}<small>{text(words)}</small></dd></div>"
        for name, value, words in shown
    )
    words = (
        f"{report.pictures} pictures, {report.objects} objects, {report.detections} detections, "
        f"{len(report.classes)} {'class' if len(report.classes) == 1 else 'classes'}. {report.iou.capitalize()} IoU."
    )
    notes = "".join(f'<p class="note">{text(notice)}</p>' for notice in analysis.notices)
    return Part(
        "top",
        "",
        f'<p class="soft">{words}</p><dl class="headline">{numbers}</dl>{notes}<!--nav-->',
        lead=True,
    )


def curves(analysis: Analysis) -> Part:
    """Precision over recall: all classes, and each of those with most objects."""
    report = analysis.evaluation
    values = report.precision[..., 0, -1]
    values = np.where(values < 0, np.nan, values)  # (T, R, K)
    places = [int(np.argmin(np.abs(report.thresholds - level))) for level in _LEVELS]

    def chart(name: str, table: Floats) -> str:
        series = [
            charts.Line(f"IoU {report.thresholds[place]:.2f}", f"s{n}", report.recalls, table[place])
            for n, place in enumerate(places)
        ]
        return charts.lines(f"Precision over recall, {name}", series, "recall", "precision")

    there = ~np.isnan(values).all(axis=(0, 1))
    mean = values[..., there].mean(axis=2) if there.any() else values.mean(axis=2)
    several = len(report.classes) > 1
    words = "Mean over the classes that have objects." if several else ", ".join(report.classes)
    made = page.figure(chart("mean of all classes", mean), words)
    chosen = _most_objects(analysis, MOST_CURVES)
    if several:
        options = "".join(f'<option value="{k}">{text(report.classes[k])}</option>' for k in chosen)
        pick = f'<label class="pick">Class <select>{options}</select></label>'
        pick += "".join(
            page.figure(
                chart(report.classes[k], values[..., k]),
                f"{report.classes[k]}, AP {number(float(report.class_ap()[k]))}",
                attributes=f'data-choice="{k}"',
            )
            for k in chosen
        )
        made = (
            f'<div class="columns"><div><h3 class="pick">All classes</h3>{made}</div><div>{pick}</div></div>'
        )
    rows = [
        (f"{level:.2f}", *(float(v) for v in _at(mean[t], (0, 20, 40, 60, 80, 100))))
        for t, level in enumerate(report.thresholds)
    ]
    headings = ("IoU", *(f"{recall / 100:.1f}" for recall in (0, 20, 40, 60, 80, 100)))
    table = page.table(
        headings,
        rows,
        caption="Precision at recall 0.0 to 1.0" + (", mean of all classes" if several else ""),
    )
    if not several:
        return Part("curves", "Precision and recall", f'<div class="columns">{made}{table}</div>')
    return Part("curves", "Precision and recall", made + page.folded("The numbers", table))


def sizes(analysis: Analysis) -> Part:
    """AP and recall by size, and per class."""
    report = analysis.evaluation
    rows = [
        (name, *(float(value) for value in values))
        for name, *values in (
            ("all", report.ap, report.ar_100),
            ("small, up to 32 × 32", report.ap_small, report.ar_small),
            ("medium, up to 96 × 96", report.ap_medium, report.ar_medium),
            ("large", report.ap_large, report.ar_large),
        )
    ]
    made = page.table(("size", "AP", "recall"), rows, caption="By size of object, in pixels")
    if len(report.classes) > 1:
        counts = _objects(analysis)
        found = np.bincount(
            analysis.judged.paired.detections.labels[analysis.judged.counted], minlength=len(report.classes)
        )
        columns = zip(
            report.classes,
            counts,
            found,
            report.class_ap(),
            report.class_ap(0.5),
            report.class_ap(0.75),
            strict=True,
        )
        points = [curve.best for curve in analysis.curves.classes]
        body = [
            (
                name,
                int(objects),
                int(detections),
                *map(float, values),
                math.nan if best is None else best.f1,
                math.nan if best is None else best.confidence,
            )
            for (name, objects, detections, *values), best in zip(columns, points, strict=True)
        ]
        headings = ("class", "objects", "detections", "AP", "AP50", "AP75", "best F1", "at confidence")
        made += page.table(headings, body, caption="Per class; click a heading to sort")
    return Part("classes", "Sizes and classes" if len(report.classes) > 1 else "Sizes", made)


def mistakes(analysis: Analysis) -> Part:
    """TIDE's types of errors: how many, and what they cost."""
    errors = analysis.errors
    counts = dict(zip(KINDS, errors.counts.sum(axis=0).tolist(), strict=True))
    most = max([gain for gain in errors.gains.values() if not math.isnan(gain)] or [0.0]) or 1.0

    def rows(names: Sequence[str]) -> str:
        return "".join(
            f'<tr><th scope="row">{name}</th><td class="words">{_MEANING[name]}</td>'
            f"{page.cell(counts.get(name, ''))}{page.cell(errors.gains[name], sign=True)}"
            f'<td class="bar"><span style="--w:{_share(errors.gains[name], most):.1f}%"></span></td></tr>'
            for name in names
        )

    headings = ("type", "what it is", "count", "AP50 gain", "")
    made = (
        "<p>What goes wrong at IoU 0.5, and how much AP50 would rise if that alone were mended (TIDE). "
        "The gains do not add up: mending one type hides or uncovers others.</p>"
    )
    # One table, so that all bars have one scale.
    special = [name for name in errors.gains if name not in KINDS]
    made += page.framed(headings, rows([*KINDS, *special]), caption=f"AP50 is {number(errors.ap)}")
    if len(errors.classes) > 1:
        table = page.table(
            ("class", *KINDS),
            [(name, *row) for name, row in zip(errors.classes, errors.counts.tolist(), strict=True)],
        )
        made += page.folded("Counts per class", table)
    return Part("errors", "Errors", made)


def confidence(analysis: Analysis) -> Part:
    """Which confidence to use, and whether scores mean what they say."""
    curve, scores = analysis.curves.overall.sampled(np.linspace(0, 1, 201)), analysis.calibration
    best = analysis.curves.overall.best
    named = (("precision", "s1", curve.precision), ("recall", "s3", curve.recall), ("F1", "wrong", curve.f1))
    series = [charts.Line(name, kind, curve.confidences, values) for name, kind, values in named]
    extra, words = "", "No detection is right."
    if best is not None:
        extra = charts.mark(
            min(max(best.confidence, 0), 1), best.f1, f"F1 {best.f1:.3f} at {best.confidence:.2f}"
        )
        words = (
            f"F1 is best, {number(best.f1)}, if detections below {best.confidence:.3f} are left out: precision "
            f"{number(best.precision)}, recall {number(best.recall)}. IoU 0.5, all classes pooled."
        )
    left = page.figure(
        charts.lines("Precision, recall and F1 over confidence", series, "confidence", "value", extra), words
    )
    tendency = "promise too much" if scores.bias > 0 else "promise too little"
    words = (
        f"Expected calibration error {number(scores.expected_error)}; on average scores {tendency} "
        f"({number(scores.bias, sign=True)})."
    )
    right = page.figure(charts.reliability("Share of right detections over score", scores), words)
    rows = [
        (f"{low:.1f} to {high:.1f}", int(count), float(score), float(precision))
        for low, high, count, score, precision in zip(
            scores.edges[:-1], scores.edges[1:], scores.counts, scores.scores, scores.precision, strict=True
        )
    ]
    table = page.folded("The numbers", page.table(("score", "detections", "mean score", "right"), rows))
    grid = f'<div class="columns"><div><h3>Which confidence to use</h3>{left}</div>'
    return Part(
        "confidence",
        "Confidence",
        f"{grid}<div><h3>Whether scores can be believed</h3>{right}{table}</div></div>",
    )


def confusion(analysis: Analysis) -> Part | None:
    """Which classes are taken for which; nothing for a single class."""
    matrix = analysis.confusion
    if len(matrix.classes) < 2:
        return None
    at = "all detections" if matrix.min_score is None else f"detections of at least {matrix.min_score:.3f}"
    made = (
        f"<p>Each row is a true class, each column what it was taken for at IoU {matrix.threshold:g}, {text(at)} "
        "(where F1 is best). The last column counts missed objects, the last row false alarms.</p>"
    )
    chosen = [*sorted(_most_objects(analysis, MOST_CONFUSED)), len(matrix.classes)]
    names = [*matrix.classes, "nothing"]
    shares = np.nan_to_num(matrix.shares)
    body = ""
    for row in chosen:
        cells = "".join(
            f'<td class="{"deep" if shares[row, column] > 0.6 else ""}" style="--w:{100 * shares[row, column]:.0f}%" '
            f'title="{text(names[row])} taken for {text(names[column])}: {matrix.counts[row, column]}">'
            f"{matrix.counts[row, column] or ''}</td>"
            for column in chosen
        )
        body += f'<tr><th scope="row">{text(names[row])}</th>{cells}</tr>'
    made += page.framed(("", *(names[column] for column in chosen)), body, kind="heat")
    if len(matrix.classes) > MOST_CONFUSED:
        made += f'<p class="soft">The {MOST_CONFUSED} classes with most objects of {len(matrix.classes)}.</p>'
    pairs = matrix.worst(12)
    if pairs:
        made += page.table(
            ("class", "taken for", "times"), pairs, caption="Most frequent confusions, of all classes"
        )
    return Part("confusion", "Confusions", made)


def slices(analysis: Analysis) -> Part | None:
    """AP of parts of the dataset."""
    made = ""
    for by, parts in analysis.slices.items():
        reports = [(one.name, one.report) for one in parts]
        rows = [
            (name, r.pictures, r.objects, float(r.ap), float(r.ap50), float(r.ap75)) for name, r in reports
        ]
        made += page.table((by, "pictures", "objects", "AP", "AP50", "AP75"), rows, caption=f"By {by}")
    return Part("slices", "Slices", made) if made else None


def comparison(analysis: Analysis) -> Part | None:
    """Against another run."""
    found = analysis.comparison
    if found is None:
        return None

    def row(name: str, one: Difference) -> tuple[object, ...]:
        return (name, one.first, one.second, one.difference, one.low, one.high, one.above)

    span = f"{found.level:.0%}"
    headings = ("", "other", "this", "difference", f"{span} from", "to", "share above 0")
    made = (
        f"<p>This run minus the other one. Intervals: the {found.pictures} pictures were drawn with replacement "
        f"{found.resamples} times, the same draws for both runs (seed {found.seed}).</p>"
    )
    made += page.table(headings, [row(*one) for one in found.overall.items()], signed=(3, 4, 5))
    if len(found.classes) > 1:
        rows = [row(*one) for one in found.classes]
        made += page.table(("class", *headings[1:]), rows, caption="AP per class", signed=(3, 4, 5))
    return Part("against", "Against the other run", made)


def explanation(analysis: Analysis) -> Part | None:
    """Under other conventions."""
    found = analysis.explanation
    if found is None:
        return None

    def row(term: Term) -> tuple[object, ...]:
        n = term.numbers
        return (term.convention.name, n.ap, term.change, n.ap50, n.small, n.medium, n.large)

    headings = ("convention", "AP", "change", "AP50", "small", "medium", "large")
    start = row(found.start)
    made = "<p>The same predictions, evaluated as other tools do. Each convention alone, against the first row.</p>"
    made += page.table(headings, [start, *map(row, found.terms)], signed=(2,))
    if found.target is not None:
        made += f"<h3>How {found.target:g} could have come about</h3>"
        rest = ("not explained", found.target, found.rest, *[math.nan] * 4)
        made += page.table(headings, [start, *map(row, found.path), rest], signed=(2,))
        rows = [
            (" + ".join(one.name for one in each.conventions) or "none", each.ap, each.distance)
            for each in found.candidates
        ]
        made += page.table(
            ("conventions", "AP", "distance"), rows, caption="Sets that come close, the best first"
        )
    return Part("explain", "Conventions", made)


TEXT: tuple[Callable[[Analysis], Part | None], ...] = (
    headline,
    curves,
    sizes,
    mistakes,
    confidence,
    confusion,
    slices,
    comparison,
    explanation,
)
"""All sections but pictures and settings."""


def pictures(analysis: Analysis, progress: Callable[[int, int], None] | None) -> Part | None:
    """The pictures with most errors, truth and predictions side by side."""
    confidence = analysis.confusion.min_score
    least = -math.inf if confidence is None else confidence
    chosen = worst.choose(analysis.judged, least)
    if not chosen:
        return None
    made = ""
    for done, picture in enumerate(chosen, 1):
        made += worst.drawn(picture, analysis.truth, analysis.predictions, analysis.judged, least)
        if progress is not None:
            progress(done, len(chosen))
    at = "" if confidence is None else f", detections of at least {confidence:.3f} (where F1 is best)"
    words = (
        f"<p>Left the truth, right the predictions, at IoU 0.5{at}. The {len(chosen)} pictures with most errors "
        "for their number of objects.</p>"
        '<ul class="key"><li><i class="right"></i>found, right</li><li><i class="wrong"></i>missed, wrong</li></ul>'
    )
    return Part("pictures", "Worst pictures", f'{words}<div class="pictures">{made}</div>')


def settings(analysis: Analysis) -> Part:
    """What is needed to repeat the numbers."""
    return Part(
        "settings",
        "Settings",
        page.framed(
            ("", ""),
            "".join(
                f'<tr><th scope="row">{text(name)}</th><td class="words">{text(value)}</td></tr>'
                for name, value in analysis.settings.items()
            ),
        ),
    )


def _objects(analysis: Analysis) -> Ints:
    labels = analysis.judged.paired.truths.labels[analysis.judged.positive]
    return np.bincount(labels, minlength=len(analysis.evaluation.classes))


def _most_objects(analysis: Analysis, most: int) -> list[int]:
    """Labels of the classes with most objects."""
    found: list[int] = np.argsort(-_objects(analysis), kind="stable")[:most].tolist()
    return found


def _at(values: Floats, recalls: Sequence[int]) -> list[float]:
    return [float(values[recall]) for recall in recalls]


def _share(gain: float, most: float) -> float:
    return 0.0 if math.isnan(gain) else 100 * max(0.0, gain) / most
