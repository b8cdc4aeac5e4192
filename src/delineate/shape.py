"""Shapes of masks: convex hulls and Feret diameters, ellipses of the same moments, skeletons.

Equal to ``skimage.measure.regionprops`` and ``skimage.morphology`` where those have it. Angles are as scikit-image's
`orientation`: radians from the y axis, counter-clockwise as displayed, so a line that runs down has 0, one that
runs up to the right is below 0. A pixel size is one number or (x, y), the width and the height of a pixel; what is
measured follows the geometry of such pixels.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from delineate._native import _core
from delineate.masks import Masks

Numbers: TypeAlias = NDArray[np.float64]
PixelSize: TypeAlias = float | tuple[float, float]
"""Width (= height) of a pixel, or its width and its height."""


class Hulls(NamedTuple):
    """What the convex hulls of N masks measure; 0 for an empty mask, its angles nan."""

    area: Numbers
    """(N,) pixels of the hull, times the area of a pixel."""
    perimeter: Numbers
    """(N,) length around the hull of the pixel centres: as `Masks.perimeters` runs, through the outermost pixels."""
    feret_max: Numbers
    """(N,) largest diameter of the hull, from edge to edge."""
    feret_max_angle: Numbers
    """(N,) its direction; of equal diameters one."""
    feret_min: Numbers
    """(N,) smallest distance of two parallel lines with the hull between them."""
    feret_min_angle: Numbers
    """(N,) the direction across the two; of equal distances one."""


class Ellipses(NamedTuple):
    """Ellipses with the area-weighted second moments of N masks."""

    x: Numbers
    """(N,) mean position; the first pixel's centre is 0; nan for an empty mask."""
    y: Numbers
    """(N,)"""
    major: Numbers
    """(N,) length of the longer axis; 0 for an empty mask."""
    minor: Numbers
    """(N,) length of the shorter axis."""
    eccentricity: Numbers
    """(N,) 0 (circle) to 1 (line); nan for an empty mask."""
    orientation: Numbers
    """(N,) direction of the longer axis, -pi / 2 to pi / 2; nan for an empty mask."""


def pixel_sides(pixel_size: PixelSize) -> tuple[float, float]:
    """(width, height) of a pixel, checked.

    >>> pixel_sides(0.5), pixel_sides((0.5, 2))
    ((0.5, 0.5), (0.5, 2.0))
    """
    sides = np.asarray(pixel_size)
    if (
        sides.shape not in ((), (2,))
        or sides.dtype.kind not in "iuf"
        or not (np.isfinite(sides) & (sides > 0)).all()
    ):
        raise ValueError(f"pixel_size must be above 0, one number or (x, y), got {pixel_size!r}.")
    x, y = np.broadcast_to(sides, 2).tolist()
    return float(x), float(y)


def convex_hull(masks: Masks) -> Masks:
    """The pixels of each mask's convex hull, equal to skimage.morphology.convex_hull_image.

    That is the hull of the middles of all pixel edges; a pixel belongs to it when its centre lies in it or on it.

    >>> convex_hull(Masks.from_dense(np.array([[[1, 1, 1], [1, 0, 0], [1, 0, 0]]], bool))).to_dense().astype(int)
    array([[[1, 1, 1],
            [1, 1, 0],
            [1, 0, 0]]])
    """
    return Masks(_core.masks_convex_hulls(masks.runs))


def hulls(masks: Masks, pixel_size: PixelSize = 1.0) -> Hulls:
    """Area, perimeter and diameters of each mask's convex hull.

    The hull for the diameters is that of the middles of the edges of the hull's pixels, on which scikit-image measures
    feret_diameter_max: a square of n x n pixels is n wide, a lone pixel 1 and, across its corners, half of root 2.

    >>> hulls(Masks.from_dense(np.ones((1, 3, 4), bool))).feret_min
    array([3.])
    """
    x, y = pixel_sides(pixel_size)
    area, *others = _core.masks_hull_measures(masks.runs, y, x).T
    return Hulls(area * (x * y), *others)


def ellipses(masks: Masks, pixel_size: PixelSize = 1.0) -> Ellipses:
    """The ellipse with the same second moments as each mask. Parts of the mask may lie outside: it encloses nothing.

    >>> found = ellipses(Masks.from_dense(np.ones((1, 1, 9), bool)))
    >>> found.x, found.major.round(2), found.minor, found.orientation.round(2)
    (array([4.]), array([10.33]), array([0.]), array([1.57]))
    """
    wide, high = pixel_sides(pixel_size)
    area, sum_y, sum_x, sum_yy, sum_xx, sum_xy = masks.moments().T
    # About each mask's own corner: whole numbers still, so nothing cancels out far from the canvas's corner.
    left, top = masks.boxes[:, 0].astype(np.float64), masks.boxes[:, 1].astype(np.float64)
    sum_yy = sum_yy - top * (2 * sum_y - top * area)
    sum_xx = sum_xx - left * (2 * sum_x - left * area)
    sum_xy = sum_xy - top * sum_x - left * sum_y + top * left * area
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 of an empty mask is the promised nan
        y, x = sum_y / area - top, sum_x / area - left
        # The inertia tensor; its eigenvalues are the squares of a quarter of the axes.
        yy, xx, xy = sum_yy / area - y * y, sum_xx / area - x * x, sum_xy / area - x * y
        yy, xx, xy = yy * high**2, xx * wide**2, xy * wide * high
        middle, spread = (yy + xx) / 2, np.hypot((yy - xx) / 2, xy)
        large, small = np.maximum(middle + spread, 0), np.maximum(middle - spread, 0)
        eccentricity = np.where(large == 0, 0.0, np.sqrt(1 - small / large))
        # Where both axes are of one length scikit-image says a quarter turn's half, to the side of the mixed moment.
        even = np.where(xy > 0, math.pi / 4, -math.pi / 4)
        orientation = np.where(xx == yy, even, np.arctan2(2 * xy, yy - xx) / 2)
    eccentricity[area == 0] = orientation[area == 0] = np.nan
    major, minor = np.nan_to_num(4 * np.sqrt(large)), np.nan_to_num(4 * np.sqrt(small))
    return Ellipses((x + left) * wide, (y + top) * high, major, minor, eccentricity, orientation)


def skeleton(masks: Masks) -> Masks:
    """Each mask thinned to lines one pixel wide, equal to skimage.morphology.thin (Guo and Hall, 1989, algorithm A1).

    Connected parts stay connected and none vanishes.

    >>> skeleton(Masks.from_dense(np.ones((1, 3, 7), bool))).to_dense().astype(int)
    array([[[0, 0, 0, 0, 0, 0, 0],
            [0, 1, 1, 1, 1, 1, 0],
            [0, 0, 0, 0, 0, 0, 0]]])
    """
    return Masks(_core.masks_skeletons(masks.runs))


def skeleton_lengths(masks: Masks, pixel_size: PixelSize = 1.0) -> Numbers:
    """(N,) the length of each mask's skeleton, from pixel centre to pixel centre.

    Every pair of neighbours in the skeleton counts its distance; diagonal neighbours do not where a third pixel of
    the skeleton joins the two by its sides. A lone pixel has no length.

    >>> skeleton_lengths(Masks.from_dense(np.ones((1, 3, 7), bool)), pixel_size=(2.0, 1.0))
    array([8.])
    """
    x, y = pixel_sides(pixel_size)
    across, along, diagonal = _core.masks_links(_core.masks_skeletons(masks.runs)).T
    return np.asarray(across * x + along * y + diagonal * math.hypot(x, y))
