"""Charts as inline SVG that takes its colours from the page. Serves `report`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from delineate._report_page import number, text
from delineate.metrics.calibration import Calibration
from delineate.metrics.columns import Floats

_WIDTH, _HEIGHT = 480, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 10, 42


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Args:
        name: For the key, plain text.
        kind: CSS class that gives its colour.
        x: (P,) in [0, 1].
        y: (P,) in [0, 1]; nan leaves a gap out.
    """

    name: str
    kind: str
    x: Floats
    y: Floats


def lines(title: str, series: Sequence[Line], x: str, y: str, extra: str = "") -> str:
    """Lines over a unit square, with a key above. Title and axis names are plain text."""
    drawn = "".join(
        f'<polyline class="line {line.kind}" points="{_points(line.x, line.y)}"/>' for line in series
    )
    key = "".join(f'<li><i class="{line.kind}"></i>{text(line.name)}</li>' for line in series)
    return f'<ul class="key">{key}</ul>{_square(title, drawn + extra, x, y)}'


def reliability(title: str, scores: Calibration) -> str:
    """Precision of each bin of score as bars, mean score as a line across, the diagonal as the ideal."""
    drawn = f'<line class="ideal" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>'
    most = max(1, int(scores.counts.max(initial=0)))
    for low, high, count, score, precision in zip(
        scores.edges[:-1], scores.edges[1:], scores.counts, scores.scores, scores.precision, strict=True
    ):
        if not count:
            continue
        left, width = _x(low) + 2, _x(high) - _x(low) - 4
        opacity = 0.35 + 0.65 * float(np.sqrt(count / most))
        drawn += (
            f'<rect class="fill right" opacity="{opacity:.2f}" x="{left:.1f}" y="{_y(precision):.1f}" '
            f'width="{width:.1f}" height="{_y(0) - _y(precision):.1f}">'
            f"<title>{low:.1f} to {high:.1f}: {count} detections, mean score {number(score)}, "
            f"right {number(precision)}</title></rect>"
            f'<line class="line wrong" x1="{left:.1f}" x2="{left + width:.1f}" '
            f'y1="{_y(min(max(score, 0), 1)):.1f}" y2="{_y(min(max(score, 0), 1)):.1f}"/>'
        )
    key = (
        '<li><i class="right"></i>share that is right (paler: few detections)</li>'
        '<li><i class="wrong"></i>mean score</li><li><i class="plain"></i>ideal</li>'
    )
    return f'<ul class="key">{key}</ul>{_square(title, drawn, "score", "share that is right")}'


def mark(x: float, y: float, words: str) -> str:
    """A point with words beside it (plain text)."""
    left = x > 0.55
    anchor, shift = ("end", -9) if left else ("start", 9)
    return (
        f'<circle class="fill wrong" cx="{_x(x):.1f}" cy="{_y(y):.1f}" r="4.5"/>'
        f'<text class="name" x="{_x(x) + shift:.1f}" y="{_y(y) - 9:.1f}" text-anchor="{anchor}">{text(words)}</text>'
    )


def _square(title: str, content: str, x: str, y: str) -> str:
    grid = ""
    for step in range(6):
        value = step / 5
        grid += (
            f'<line class="grid" x1="{_x(0)}" x2="{_x(1)}" y1="{_y(value):.1f}" y2="{_y(value):.1f}"/>'
            f'<text x="{_x(0) - 8}" y="{_y(value) + 4:.1f}" text-anchor="end">{value:.1f}</text>'
            f'<text x="{_x(value):.1f}" y="{_y(0) + 18}" text-anchor="middle">{value:.1f}</text>'
        )
    middle = (_y(0) + _y(1)) / 2
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{text(title)}"><title>{text(title)}</title>'
        f'{grid}<line class="axis" x1="{_x(0)}" x2="{_x(1)}" y1="{_y(0)}" y2="{_y(0)}"/>{content}'
        f'<text x="{(_x(0) + _x(1)) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{text(x)}</text>'
        f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">{text(y)}</text></svg>'
    )


def _points(x: Floats, y: Floats) -> str:
    there = ~np.isnan(y)
    columns, rows = (
        _LEFT + x[there] * (_WIDTH - _LEFT - _RIGHT),
        _TOP + (1 - y[there]) * (_HEIGHT - _TOP - _BOTTOM),
    )
    # Points on a straight run say nothing: a long level line is two points.
    kept = np.ones(len(rows), bool)
    if len(rows) > 2:
        kept[1:-1] = ~((rows[1:-1] == rows[:-2]) & (rows[1:-1] == rows[2:]))
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(columns[kept], rows[kept], strict=True))


def _x(value: float) -> float:
    return _LEFT + value * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float) -> float:
    return _TOP + (1 - value) * (_HEIGHT - _TOP - _BOTTOM)
