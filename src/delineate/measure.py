"""Sizes, shapes and intensities of objects, as arrays and as a table.

All measures come from the pixels of the masks and equal those of ``skimage.measure.regionprops`` with its
default settings, where it has them. Holes belong to no object: they are left out of the area and their border
counts in the perimeter.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from delineate import atomic
from delineate.instances import Instances
from delineate.intensity import intensities
from delineate.shape import PixelSize, ellipses, hulls, pixel_sides

_UNITS = {
    "area": "2",
    "x0": "1",
    "y0": "1",
    "x1": "1",
    "y1": "1",
    "centroid_x": "1",
    "centroid_y": "1",
    "perimeter": "1",
    "equivalent_diameter": "1",
    "axis_major": "1",
    "axis_minor": "1",
    "eccentricity": "",
    "orientation": "rad",
    "area_convex": "2",
    "solidity": "",
    "convexity": "",
    "feret_max": "1",
    "feret_max_angle": "rad",
    "feret_min": "1",
    "feret_min_angle": "rad",
}
"""Measures in their order, with the power of the unit of length."""


def measure(
    instances: Instances, *, pixel_size: PixelSize | None = None, image: NDArray[Any] | None = None
) -> dict[str, NDArray[Any]]:
    """Measure every instance.

    Args:
        instances: N instances with masks.
        pixel_size: Width (= height) of a pixel in micrometres, or its width and height (x, y); None measures in
            pixels. Pixels that are not square are measured as they are: every coordinate is stretched along its
            own axis before lengths, axes and angles are taken; `Masks.perimeters` says how the perimeter counts.
        image: (H, W) or (H, W, C) numbers, for the columns of intensity.

    Returns:
        Column -> (N,) array. Names end in the unit: "_px", or "_um" and "_um2" with a pixel size.

        - label (int64), score (float32; nan for ground truth)
        - area_px: covered pixels
        - x0_px, y0_px, x1_px, y1_px: the box of the instance (half-open)
        - centroid_x_px, centroid_y_px: mean position, pixel centres counted 0, 1, 2, ...; nan for an empty
        mask
        - perimeter_px: length of the border lines through the outermost pixels, so 0 for a lone pixel
        - equivalent_diameter_px: of the circle of the same area
        - axis_major_px, axis_minor_px: of the ellipse with the same second moments
        - eccentricity: of that ellipse, 0 (circle) to 1 (line); nan for an empty mask
        - orientation_rad: of its longer axis, from the y axis, counter-clockwise
        - area_convex_px: pixels of the convex hull
        - solidity: area over that; nan for an empty mask
        - convexity: perimeter of the convex hull over the perimeter, at most 1; nan for an empty mask
        - feret_max_px, feret_min_px: largest and smallest diameter of the convex hull, each with its direction
        (feret_max_angle_rad, feret_min_angle_rad)
        - with an image intensity_mean, _min, _max, _std, _sum, _median in the image's unit; of an image with C
        channels intensity_mean_0 to intensity_mean_{C - 1}, and so on

    Raises:
        ValueError: The instances have no masks, the pixel size is not above 0, or the image does not fit.

    >>> from delineate.masks import Masks
    >>> square = Instances.of(Masks.from_dense(np.ones((1, 4, 4), np.uint8)))
    >>> measure(square)["area_px"], measure(square, pixel_size=0.5)["area_um2"]
    (array([16]), array([4.]))
    >>> measure(square, pixel_size=(0.5, 2.0))["axis_major_um"].round(3)
    array([8.944])
    >>> measure(square, image=np.arange(16).reshape(4, 4))["intensity_mean"]
    array([7.5])
    """
    masks = instances.masks
    if masks is None:
        raise ValueError("measure: instances must have masks, got boxes only")
    sides = (1.0, 1.0) if pixel_size is None else pixel_sides(pixel_size)
    pixel = sides[0] * sides[1]
    ellipse, hull = ellipses(masks, sides), hulls(masks, sides)
    areas: NDArray[Any] = masks.areas if pixel_size is None else masks.areas * pixel
    boxes = instances.boxes.astype(np.float64) * (*sides, *sides)
    perimeter = masks.perimeters(sides)
    with np.errstate(invalid="ignore", divide="ignore"):
        solidity = masks.areas * pixel / hull.area  # 0 / 0 of an empty mask is nan
    # Border lines that run through single pixels are measured short, or not at all: nothing is more than convex.
    convexity = np.where(masks.areas > 0, 1.0, np.nan)
    np.divide(hull.perimeter, perimeter, out=convexity, where=perimeter > hull.perimeter)
    values = [
        areas,
        *boxes.T,
        ellipse.x,
        ellipse.y,
        perimeter,
        np.sqrt(masks.areas * pixel * 4 / np.pi),
        ellipse.major,
        ellipse.minor,
        ellipse.eccentricity,
        ellipse.orientation,
        hull.area if pixel_size is not None else hull.area.astype(np.int64),
        solidity,
        convexity,
        *hull[2:],
    ]
    unscored = np.full(len(instances), np.nan, np.float32)
    columns: dict[str, NDArray[Any]] = {
        "label": instances.labels,
        "score": unscored if instances.scores is None else instances.scores,
        **dict(zip(_headers(pixel_size), values, strict=True)),
    }
    return columns if image is None else columns | _intensity_columns(instances, image)


def _intensity_columns(instances: Instances, image: NDArray[Any]) -> dict[str, NDArray[Any]]:
    if instances.masks is None:
        return {}
    found = intensities(instances.masks, image)._asdict()
    if np.ndim(image) == 2:
        return {f"intensity_{name}": column for name, column in found.items()}
    return {
        f"intensity_{name}_{c}": column for name, rows in found.items() for c, column in enumerate(rows.T)
    }


def write_csv(
    path: str | Path,
    pictures: Iterable[tuple[str, Instances]],
    classes: Sequence[str],
    *,
    pixel_size: PixelSize | None = None,
) -> int:
    """Write one table for many pictures, a row per object; the file appears in one step, whole.

    The columns are image, object (1, 2, ... within the picture), class, score (empty for ground truth) and
    the measures of `measure`, rounded to four decimals. Pictures without objects have no row.

    Args:
        path: The CSV file (UTF-8, comma-separated).
        pictures: Name and instances of each picture; taken one at a time, so a generator keeps memory flat.
        classes: Name of every label.
        pixel_size: Width of a pixel in micrometres, or width and height; None measures in pixels.

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


def _headers(pixel_size: PixelSize | None) -> list[str]:
    suffixes = {"": "", "rad": "_rad", "1": "_px", "2": "_px"}
    if pixel_size is not None:
        suffixes |= {"1": "_um", "2": "_um2"}
    return [name + suffixes[unit] for name, unit in _UNITS.items()]


def _number(value: float) -> str:
    """Four decimals at most, no exponent; empty for nan."""
    if value != value:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.4f}".rstrip("0").rstrip(".")
