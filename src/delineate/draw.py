"""Overlays: what was found, painted over the picture."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from delineate._native import _core
from delineate.image import to_rgb8
from delineate.instances import Instances
from delineate.legend import Entry, with_legend
from delineate.panoptic import Panoptic

# Okabe & Ito, "Color Universal Design" (2008): told apart with every common kind of colour vision. Its black
# is left out, which says nothing on a dark picture.
OKABE_ITO = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
_GOLDEN = 0.6180339887498949  # steps of this part of the hue circle never come close to an earlier hue
# Found by search: of the first 40 colours no two are closer than 10 in CIELAB, of the first 100 than 6, and none is
# darker than a lightness of 41, which a black background would swallow.
_FIRST_HUE = 0.48
_SHADES = ((0.62, 0.8), (0.7, 0.92), (0.31, 0.99), (0.59, 0.97), (0.45, 0.95), (0.45, 0.81))
_TURNS = ((0, 0.0), (255, 0.4), (0, 0.35), (255, 0.65), (0, 0.6))  # grey level, and how far towards it
_MOST_LABELS = 60  # more than this many cover the picture


def colours(count: int) -> NDArray[np.uint8]:
    """Colours to tell things apart: seven that everybody can, then hues spread evenly around the circle.

    Args:
        count: How many; the first ones do not depend on it.

    Returns:
        (count, 3) uint8 RGB.

    >>> colours(2)
    array([[230, 159,   0],
           [ 86, 180, 233]], dtype=uint8)
    """
    table = [
        OKABE_ITO[index] if index < len(OKABE_ITO) else _hue(index - len(OKABE_ITO)) for index in range(count)
    ]
    return np.array(table, np.uint8).reshape(count, 3)


def draw(
    image: NDArray[Any],
    instances: Instances | Panoptic,
    classes: Sequence[str] | None = None,
    *,
    alpha: float = 0.45,
    outline: bool = True,
    labels: bool | Literal["auto"] = "auto",
    palette: ArrayLike | None = None,
    legend: bool = False,
) -> NDArray[np.uint8]:
    """Paint instances over their picture: masks filled and outlined, or boxes where there are no masks.

    Colours tell the classes apart, or the objects where all are of one class. Small objects lie on top of
    large ones. In a panoptic picture every class has a colour, of which its objects are shades; void stays as it is.

    Args:
        image: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), any dtype that `image.to_rgb8` takes; not changed.
        instances: What to paint, on a canvas of (H, W): instances, or a panoptic picture.
        classes: Class names for the labels; None = no names, their numbers are shown.
        alpha: Weight of the colour inside a mask: 0 leaves the picture, 1 covers it.
        outline: Whether to draw the borders in full colour: 1 pixel wide, 2 in pictures of 1000 pixels and
            more.
        labels: Whether to write class and score, each where it covers no other label. "auto": if there are at
            most 60 objects and `classes` has more than one name.
        palette: (K, 3) RGB levels, taken in turn; None = `colours`.
        legend: Whether to add a panel (see `legend.with_legend`) that names the colours, how many objects there are of
            each class, and which share of the picture is stuff, largest first. Stuff then has no labels.

    Returns:
        (H, W, 3) uint8; larger with a legend.

    Raises:
        ValueError: Sizes or ranges do not fit.

    >>> from delineate.masks import Masks
    >>> square = np.zeros((1, 4, 4), bool)
    >>> square[:, 1:3, 1:3] = True
    >>> draw(np.zeros((4, 4), np.uint8), Instances.of(Masks.from_dense(square)), alpha=0.5, outline=False)[1]
    array([[  0,   0,   0],
           [115,  80,   0],
           [115,  80,   0],
           [  0,   0,   0]], dtype=uint8)
    """
    stuff = np.zeros(len(instances), bool)
    panoptic = isinstance(instances, Panoptic)
    if isinstance(instances, Panoptic):
        stuff, instances = ~instances.things, instances.to_instances(stuff=True)
    canvas = np.array(to_rgb8(image), order="C")
    if canvas.shape[:2] != instances.size:
        raise ValueError(
            f"draw: image must have the instances' size {instances.size}, got {canvas.shape[:2]}"
        )
    if not 0 <= alpha <= 1:
        raise ValueError(f"draw: alpha must be within [0, 1], got {alpha}")
    if labels not in (True, False, "auto"):
        raise ValueError(f"draw: labels must be True, False or 'auto', got {labels!r}")
    if classes is not None and len(instances) and instances.labels.max() >= len(classes):
        raise ValueError(f"draw: classes must name label {instances.labels.max()}, got {len(classes)} names")
    paints = _paints(instances, palette, by_class=panoptic or legend)
    entries = _entries(instances, classes, paints, stuff) if legend else []
    if panoptic:
        paints = _shades(paints, instances.labels, stuff)
    width = 1 if max(instances.size) < 1000 else 2
    if instances.masks is None:
        for box, paint in zip(instances.boxes, paints, strict=True):
            _frame(canvas, box, paint, width)
    else:
        order = np.argsort(-instances.masks.areas, kind="stable")
        masks = instances.masks[order]
        _core.blend(canvas, masks.runs, paints[order], round(alpha * 256), width if outline else 0)
    if labels == "auto":
        labels = classes is not None and len(classes) > 1 and len(instances) <= _MOST_LABELS
    named = np.flatnonzero(~stuff) if legend else np.arange(len(instances))
    if labels and len(named):
        canvas = _write_labels(canvas, instances[named], classes, paints[named])
    return with_legend(canvas, entries)


def _hue(index: int) -> tuple[int, int, int]:
    """Hues that lie close together (5, 8, 13, 21 or 34 steps apart) differ in saturation and brightness."""
    saturation, level = _SHADES[index % len(_SHADES)]
    red, green, blue = colorsys.hsv_to_rgb((_FIRST_HUE + index * _GOLDEN) % 1, saturation, level)
    return round(red * 255), round(green * 255), round(blue * 255)


def _entries(
    instances: Instances, classes: Sequence[str] | None, paints: NDArray[np.uint8], stuff: NDArray[np.bool_]
) -> list[Entry]:
    """A line for each class: objects first, the most frequent ones on top, then stuff by its area."""
    areas = np.zeros(len(instances)) if instances.masks is None else instances.masks.areas
    rows: list[tuple[bool, float, Entry]] = []
    for label in np.unique(instances.labels).tolist():
        own = instances.labels == label
        first = int(np.flatnonzero(own)[0])
        share = float(areas[own].sum()) / (instances.size[0] * instances.size[1])
        amount = f"{100 * share:.1f} %" if stuff[first] else str(int(own.sum()))
        red, green, blue = paints[first].tolist()
        name = str(label) if classes is None else classes[label]
        rank = share if stuff[first] else float(own.sum())
        rows.append((bool(stuff[first]), -rank, Entry((red, green, blue), name, amount)))
    return [entry for _, _, entry in sorted(rows, key=lambda row: row[:2])]


def _shades(
    paints: NDArray[np.uint8], labels: NDArray[np.int64], stuff: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """The objects of a class lighter and darker in turn, the first in the colour of the class."""
    result = paints.copy()
    for label in np.unique(labels[~stuff]).tolist():
        for n, index in enumerate(np.flatnonzero((labels == label) & ~stuff).tolist()):
            goal, way = _TURNS[n % len(_TURNS)]
            result[index] = np.rint(paints[index] * (1 - way) + goal * way).astype(np.uint8)
    return result


def _paints(instances: Instances, palette: ArrayLike | None, *, by_class: bool) -> NDArray[np.uint8]:
    """(N, 3): one colour per instance."""
    by_class = by_class or len(np.unique(instances.labels)) > 1
    index = instances.labels if by_class else np.arange(len(instances))
    if palette is None:
        used, place = np.unique(index, return_inverse=True)
        return np.ascontiguousarray(_colours_of(used)[place].reshape(-1, 3))
    table = np.asarray(palette)
    if table.ndim != 2 or table.shape[1] != 3 or not len(table) or table.min() < 0 or table.max() > 255:
        raise ValueError(
            f"draw: palette must be (K, 3) levels within 0..255, K >= 1, got shape {table.shape}"
        )
    return np.ascontiguousarray(table.astype(np.uint8)[index % len(table)])


def _colours_of(indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    """`colours` at some places; labels may be large, so the table is not built up to them."""
    known = len(OKABE_ITO)
    rows = [OKABE_ITO[index] if index < known else _hue(index - known) for index in indices.tolist()]
    return np.array(rows, np.uint8).reshape(-1, 3)


def _frame(canvas: NDArray[np.uint8], box: NDArray[np.float32], paint: NDArray[np.uint8], width: int) -> None:
    """The outline of a box, inside it."""
    height_, width_ = canvas.shape[:2]
    x0, x1 = np.clip(np.rint(box[[0, 2]]), 0, width_).astype(int).tolist()
    y0, y1 = np.clip(np.rint(box[[1, 3]]), 0, height_).astype(int).tolist()
    inside = canvas[y0:y1, x0:x1]
    for part in (
        inside[:width],
        inside[max(0, y1 - y0 - width) :],
        inside[:, :width],
        inside[:, max(0, x1 - x0 - width) :],
    ):
        part[:] = paint


def _write_labels(
    canvas: NDArray[np.uint8], instances: Instances, classes: Sequence[str] | None, paints: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Class and score on a plate of the object's colour; the largest objects choose their places first."""
    height, width = instances.size
    font = ImageFont.load_default(min(max(11, round(max(height, width) / 55)), 40))
    picture = Image.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    taken: list[tuple[int, int, int, int]] = []
    areas = np.prod(instances.boxes[:, 2:] - instances.boxes[:, :2], axis=1)
    for index in np.argsort(-areas, kind="stable").tolist():
        label = int(instances.labels[index])
        text = (str(label) if classes is None else classes[label])[:40]
        if instances.scores is not None:
            text += f" {instances.scores[index]:.2f}"
        left, top, right, bottom = (round(edge) for edge in pen.textbbox((0, 0), text, font=font))
        size = right - left + 4, bottom - top + 4
        plate = _place(instances.boxes[index].tolist(), size, (height, width), taken)
        if plate is None:
            continue
        taken.append(plate)
        paint = tuple(paints[index].tolist())
        bright = paint[0] * 0.299 + paint[1] * 0.587 + paint[2] * 0.114 > 128
        pen.rectangle((plate[0], plate[1], plate[2] - 1, plate[3] - 1), fill=paint)
        pen.text(
            (plate[0] + 2 - left, plate[1] + 2 - top),
            text,
            font=font,
            fill=(0, 0, 0) if bright else (255, 255, 255),
        )
    return np.array(picture)


def _place(
    box: list[float], size: tuple[int, int], canvas: tuple[int, int], taken: list[tuple[int, int, int, int]]
) -> tuple[int, int, int, int] | None:
    """Above the box, inside its top, or below it: the first place in the picture and on no other label."""
    x = max(0, min(round(box[0]), canvas[1] - size[0]))
    for y in (round(box[1]) - size[1], round(box[1]), round(box[3])):
        plate = (x, y, x + size[0], y + size[1])
        fits = y >= 0 and plate[2] <= canvas[1] and plate[3] <= canvas[0]
        if fits and not any(
            plate[0] < other[2] and other[0] < plate[2] and plate[1] < other[3] and other[1] < plate[3]
            for other in taken
        ):
            return plate
    return None
