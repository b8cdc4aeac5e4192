"""Sizes and shapes of objects, as arrays and as a table.

All measures come from the pixels of the masks and equal those of ``skimage.measure.regionprops`` with its
default settings. Holes belong to no object: they are left out of the area and their border counts in the
perimeter.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from delineate import atomic
from delineate.instances import Instances

_AREA, _LENGTH, _PLAIN = 2, 1, 0  # the power of the pixel's size in each measure
_POWERS = {
    "area": _AREA,
    "x0": _LENGTH,
    "y0": _LENGTH,
    "x1": _LENGTH,
    "y1": _LENGTH,
    "centroid_x": _LENGTH,
    "centroid_y": _LENGTH,
    "perimeter": _LENGTH,
    "equivalent_diameter": _LENGTH,
    "axis_major": _LENGTH,
    "axis_minor": _LENGTH,
    "eccentricity": _PLAIN,
}


def measure(instances: Instances, *, pixel_size: float | None = None) -> dict[str, NDArray[Any]]:
    """Measure every instance.

    Args:
        instances: N instances with masks.
        pixel_size: Width (= height) of a pixel in micrometres; None measures in pixels.

    Returns:
        Column -> (N,) array. Names end in the unit: "_px", or "_um" and "_um2" with a pixel size.

        - label (int64), score (float32; nan for ground truth)
        - area_px: covered pixels
        - x0_px, y0_px, x1_px, y1_px: the box of the instance (half-open)
        - centroid_x_px, centroid_y_px: mean position, pixel centres counted 0, 1, 2, ...; nan for an empty
        mask
        - perimeter_px: length of the border lines through the outermost pixels, so 0 for objects one pixel
        wide
        - equivalent_diameter_px: of the circle of the same area
        - axis_major_px, axis_minor_px: of the ellipse with the same second moments
        - eccentricity: of that ellipse, 0 (circle) to 1 (line); nan for an empty mask

    Raises:
        ValueError: The instances have no masks, or the pixel size is not above 0.

    >>> from delineate.masks import Masks
    >>> square = Instances.of(Masks.from_dense(np.ones((1, 4, 4), np.uint8)))
    >>> measure(square)["area_px"], measure(square, pixel_size=0.5)["area_um2"]
    (array([16]), array([4.]))
    """
    if instances.masks is None:
        raise ValueError("measure: instances must have masks, got boxes only")
    if pixel_size is not None and not (math.isfinite(pixel_size) and pixel_size > 0):
        raise ValueError(f"measure: pixel_size must be above 0 micrometres, got {pixel_size}")
    area, sum_y, sum_x, sum_yy, sum_xx, sum_xy = instances.masks.moments().T
    # About each mask's own corner: whole numbers still, so nothing cancels out far from the canvas's corner.
    left, top = instances.masks.boxes[:, 0].astype(np.float64), instances.masks.boxes[:, 1].astype(np.float64)
    sum_yy = sum_yy - top * (2 * sum_y - top * area)
    sum_xx = sum_xx - left * (2 * sum_x - left * area)
    sum_xy = sum_xy - top * sum_x - left * sum_y + top * left * area
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 of an empty mask is the promised nan
        y, x = sum_y / area - top, sum_x / area - left
        # The inertia tensor; its eigenvalues are the squares of a quarter of the axes.
        yy, xx, xy = sum_yy / area - y * y, sum_xx / area - x * x, sum_xy / area - x * y
        middle, spread = (yy + xx) / 2, np.hypot((yy - xx) / 2, xy)
        large, small = np.maximum(middle + spread, 0), np.maximum(middle - spread, 0)
        eccentricity = np.where(large == 0, 0.0, np.sqrt(1 - small / large))
    eccentricity[area == 0] = np.nan
    boxes = instances.boxes.astype(np.float64)
    pixels = {
        "area": instances.masks.areas,
        **{name: boxes[:, side] for side, name in enumerate(("x0", "y0", "x1", "y1"))},
        "centroid_x": x + left,
        "centroid_y": y + top,
        "perimeter": instances.masks.perimeters(),
        "equivalent_diameter": np.sqrt(area * 4 / np.pi),
        "axis_major": np.nan_to_num(4 * np.sqrt(large)),
        "axis_minor": np.nan_to_num(4 * np.sqrt(small)),
        "eccentricity": eccentricity,
    }
    unscored = np.full(len(instances), np.nan, np.float32)
    columns: dict[str, NDArray[Any]] = {
        "label": instances.labels,
        "score": unscored if instances.scores is None else instances.scores,
    }
    for name, header in zip(_POWERS, _headers(pixel_size), strict=True):
        factor = 1 if pixel_size is None else pixel_size ** _POWERS[name]
        columns[header] = pixels[name] * factor
    return columns


def write_csv(
    path: str | Path,
    pictures: Iterable[tuple[str, Instances]],
    classes: Sequence[str],
    *,
    pixel_size: float | None = None,
) -> int:
    """Write one table for many pictures, a row per object; the file appears in one step, whole.

    The columns are image, object (1, 2, ... within the picture), class, score (empty for ground truth) and
    the measures of `measure`, rounded to four decimals. Pictures without objects have no row.

    Args:
        path: The CSV file (UTF-8, comma-separated).
        pictures: Name and instances of each picture; taken one at a time, so a generator keeps memory flat.
        classes: Name of every label.
        pixel_size: Width of a pixel in micrometres; None measures in pixels.

    Returns:
        The number of objects written.
    """
    rows = 0
    with atomic.writing(path) as file:
        text = io.TextIOWrapper(file, "utf-8", errors="backslashreplace", newline="")
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["image", "object", "class", "score", *_headers(pixel_size)])
        for name, instances in pictures:
            if len(instances) and instances.labels.max() >= len(classes):
                raise ValueError(
                    f"write_csv: classes must name every label, got {len(classes)} for label "
                    f"{instances.labels.max()} in {name}"
                )
            columns = measure(instances, pixel_size=pixel_size)
            labels, *values = columns.values()
            texts = [[_number(value) for value in column.tolist()] for column in values]
            for n, (label, *cells) in enumerate(zip(labels.tolist(), *texts, strict=True), 1):
                table.writerow([name, n, classes[label], *cells])
            rows += len(instances)
        text.flush()
        text.detach()  # or closing it would close the file that is still to be flushed and renamed
    return rows


def _headers(pixel_size: float | None) -> list[str]:
    suffixes = ("", "_px", "_px") if pixel_size is None else ("", "_um", "_um2")
    return [name + suffixes[power] for name, power in _POWERS.items()]


def _number(value: float) -> str:
    """Four decimals at most, no exponent; empty for nan."""
    if value != value:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.4f}".rstrip("0").rstrip(".")
