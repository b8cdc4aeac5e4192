"""What the colours of a drawn picture mean: a panel beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_PAPER, _INK, _EDGE = (252, 252, 250), (30, 30, 34), (120, 120, 120)
_WIDE = 1.25  # pictures wider than this have their panel below


class Entry(NamedTuple):
    """One line of a legend."""

    colour: tuple[int, int, int]
    name: str
    amount: str = ""  # such as "12" or "34.5 %"; set to the right


def with_legend(picture: NDArray[np.uint8], entries: Sequence[Entry]) -> NDArray[np.uint8]:
    """A picture with a panel: to its right, or below it where it is wide. Names that are too long are cut.

    Args:
        picture: (H, W, 3) uint8; it is not changed in its place.
        entries: From the first line to the last, as many as the panel has room for; the last line says how many more
            there are. None: the picture itself.

    Returns:
        (H', W', 3) uint8, the picture in its upper left corner.

    >>> with_legend(np.zeros((40, 50, 3), np.uint8), [Entry((255, 0, 0), "car", "2")]).shape[1] > 50
    True
    >>> with_legend(np.zeros((40, 50, 3), np.uint8), []).shape
    (40, 50, 3)
    """
    if not entries:
        return picture
    height, width = picture.shape[:2]
    size = min(max(11, round(max(height, width) / 48)), 40)
    font = ImageFont.load_default(size)
    step, margin, gap = round(size * 1.6), round(size * 0.8), round(size * 1.8)
    below = width > _WIDE * height
    limit = max(width, 14 * size) if below else max(12 * size, round(0.6 * width))
    column = min(max(_length(font, entry) for entry in entries) + 2 * step + margin, limit - margin)
    if below:
        across = max(1, (limit - margin) // (column + gap))
        rows = math.ceil(len(entries) / across)
        panel = Image.new("RGB", (max(width, column + 2 * margin), rows * step + 2 * margin), _PAPER)
    else:
        rows = max(1, (height - 2 * margin) // step)
        across = min(math.ceil(len(entries) / rows), 2)
        if len(entries) > rows * across:
            left = len(entries) - rows * across + 1
            entries = [*entries[: rows * across - 1], Entry(_PAPER, f"and {left} more")]
        panel = Image.new("RGB", (across * (column + gap), max(height, step + 2 * margin)), _PAPER)
    pen = ImageDraw.Draw(panel)
    for n, entry in enumerate(entries):
        place = n // across if below else n % rows
        left = margin + (n % across if below else n // rows) * (column + gap)
        _line(pen, font, entry, (left, margin + place * step, column, step))
    return _beside(picture, np.asarray(panel), below=below)


def _length(font: ImageFont.FreeTypeFont | ImageFont.ImageFont, entry: Entry) -> int:
    return math.ceil(font.getlength(f"{entry.name}  {entry.amount}"))


def _line(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    entry: Entry,
    place: tuple[int, int, int, int],
) -> None:
    """A swatch, the name, and the amount at the right end of `place` (left, top, width, height)."""
    left, top, width, step = place
    swatch = round(step * 0.62)
    inset = (step - swatch) // 2
    if entry.colour != _PAPER:
        box = left, top + inset, left + swatch, top + inset + swatch
        pen.rounded_rectangle(box, radius=max(1, swatch // 5), fill=entry.colour, outline=_EDGE)
    start, end = left + swatch + step // 3, left + width
    room = end - start - math.ceil(font.getlength(entry.amount)) - step // 3 * bool(entry.amount)
    name = entry.name
    while name and font.getlength(name) > room:
        name = name[:-2].rstrip() + "…" if len(name) > 2 else ""
    middle = top + step // 2
    pen.text((start, middle), name, font=font, fill=_INK, anchor="lm")
    pen.text((end, middle), entry.amount, font=font, fill=_EDGE, anchor="rm")


def _beside(picture: NDArray[np.uint8], panel: NDArray[np.uint8], *, below: bool) -> NDArray[np.uint8]:
    """Both on one canvas of the panel's colour."""
    (height, width), (rows, columns) = picture.shape[:2], panel.shape[:2]
    shape = (height + rows, max(width, columns)) if below else (max(height, rows), width + columns)
    canvas = np.empty((*shape, 3), np.uint8)
    canvas[:] = _PAPER
    canvas[:height, :width] = picture
    if below:
        canvas[height:, :columns] = panel
    else:
        canvas[:rows, width:] = panel
    return canvas
