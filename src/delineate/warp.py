"""Masks under affine maps, scaled by area, pasted onto larger canvases, and pooled inside boxes, all from runs.

`Masks.resize` (nearest pixel), `translate`, `crop_to`, `flip` and `rotate90` are methods of `Masks`.
"""

from __future__ import annotations

import operator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from delineate import _mask_inputs as inputs
from delineate._native import _core
from delineate.masks import Masks

_MOST_SAMPLES = 64


def affine(masks: Masks, matrix: ArrayLike, size: tuple[int, int], *, samples: int = 1) -> Masks:
    """Every mask under an affine map, by the nearest pixel or by area.

    Coordinates are those of boxes and polygons: pixel column j covers [j, j + 1), its centre is j + 1/2. Target
    pixel (i, j) takes the source pixel that contains the pre-image of its centre, in float64: a point on the
    border of two pixels belongs to the right or lower one. Outside the source is background. So a map that only
    scales by target / source is `Masks.resize`. A matrix for pixel centres at whole numbers, as cv2.warpAffine
    and scipy.ndimage have it, becomes one for this function by adding `(1, 1) / 2 - M[:, :2] @ (1, 1) / 2` to its
    last column (scipy's maps (y, x) and from target to source: invert it).

    A bitmap of one tight box at a time is made, one bit per pixel.

    Args:
        masks: N masks.
        matrix: (2, 3) numbers; a point (x, y) of the source goes to matrix @ (x, y, 1). Must be invertible.
        size: (height, width) of the target.
        samples: A target pixel is looked at in samples x samples evenly spaced points, and covered where at
            least half of them are: with 8, its covered area decides to within 1/64 for edges that are straight.
            1 is the nearest pixel.

    Raises:
        ValueError: The matrix cannot be inverted, or is not made of finite numbers.

    >>> mask = Masks.from_dense(np.ones((1, 2, 3), bool))
    >>> affine(mask, [[0, -1, 2], [1, 0, 0]], (3, 2)) == mask.rotate90(-1)
    True
    """
    try:
        forward = np.asarray(matrix, np.float64)
    except (TypeError, ValueError):
        forward = np.empty(0)
    if forward.shape != (2, 3) or not np.isfinite(forward).all():
        raise ValueError(f"matrix must be 2 x 3 finite numbers, got {matrix!r:.80}.")
    samples = operator.index(samples)
    if not 1 <= samples <= _MOST_SAMPLES:
        raise ValueError(f"samples must be 1 to {_MOST_SAMPLES}, got {samples}.")
    height, width = inputs.check_size(size)
    fine = inputs.check_size((height * samples, width * samples))
    inverse = _inverse(forward * samples)
    found = Masks(_core.masks_affine(masks.runs, inverse.ravel(), *fine))
    return found if samples == 1 else resize_area(found, (height, width))


def _inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    (a, b, x), (c, d, y) = matrix.tolist()
    determinant = a * d - b * c
    # Relative to its terms, not in itself: a map to a millionth of the size is no mistake, one to a line is.
    if not abs(determinant) > 1e-12 * (abs(a * d) + abs(b * c)):
        raise ValueError(f"matrix must be invertible, got determinant {determinant}.")
    with np.errstate(over="ignore"):  # refused below
        inverse: NDArray[np.float64] = (
            np.array([[d, -b, b * y - d * x], [-c, a, c * x - a * y]]) / determinant
        )
    if not np.isfinite(inverse).all():
        raise ValueError(f"matrix must be invertible in float64, got determinant {determinant}.")
    return inverse


def resize_area(masks: Masks, size: tuple[int, int]) -> Masks:
    """Scaled to `size` (height, width) by area: a target pixel is covered where at least half of its area is.

    In exact integer arithmetic. Where `Masks.resize` looks at one point of each target pixel, this looks at all
    of it, so thin objects neither break nor flicker; what covers less than half of every pixel vanishes.

    >>> stripes = Masks.from_dense(np.arange(8).reshape(1, 1, 8) % 4 < 2)
    >>> resize_area(stripes, (1, 4)).to_dense().astype(int), resize_area(stripes, (1, 2)).areas
    (array([[[1, 0, 1, 0]]]), array([2]))
    """
    return Masks(_core.masks_resize_area(masks.runs, *inputs.check_size(size)))


def paste(masks: Masks, size: tuple[int, int], y0: ArrayLike, x0: ArrayLike) -> Masks:
    """Every mask on a canvas of `size`, its upper left corner at its own place; what leaves the canvas is cut.

    Args:
        masks: N masks, such as crops of one size.
        size: (height, width) of the target.
        y0: (N,) whole numbers or one for all, the row where each canvas begins; may be negative.
        x0: (N,) whole numbers or one for all, the column.

    >>> dots = Masks.from_dense(np.ones((2, 1, 1), bool))
    >>> paste(dots, (3, 4), y0=[0, 2], x0=1).boxes
    array([[1., 0., 2., 1.],
           [1., 2., 2., 3.]], dtype=float32)
    """
    down, right = _shifts(masks, y0, "y0"), _shifts(masks, x0, "x0")
    return Masks(_core.masks_shift_each(masks.runs, down, right, *inputs.check_size(size)))


def roi_align(
    masks: Masks, indices: ArrayLike, boxes: ArrayLike, size: tuple[int, int], *, aligned: bool
) -> NDArray[np.float32]:
    """Masks inside boxes on a grid of bins: RoIAlign (He et al. 2017) of their bitmaps, which are never made.

    Every bin is the mean of bilinear samples of zeros and ones, as many per axis as it has pixels, rounded up.
    Positions are those of torchvision's roi_align with sampling_ratio -1, to the bit; only the sums are rounded
    otherwise (in float64).

    Args:
        masks: N masks.
        indices: (R,) whole numbers, the mask of each box.
        boxes: (R, 4) xyxy pixels, anywhere; converted to float32.
        size: (height, width) of the grid in bins.
        aligned: Pixel column j covers [j, j + 1), as everywhere in this package. Without, column j lies at j,
            and boxes are at least one pixel wide and high, as in the first implementations.

    Returns:
        (R, *size) float32 in [0, 1].

    Raises:
        ValueError: A shape does not fit, or a box is not finite or farther away than the largest canvas.
        IndexError: There is no such mask.

    >>> left = Masks.from_dense(np.arange(4).reshape(1, 1, 4).repeat(4, 1) < 2)
    >>> roi_align(left, [0], [[0, 0, 4, 4]], (1, 2), aligned=True)
    array([[[1., 0.]]], dtype=float32)
    """
    chosen = inputs.check_index(np.atleast_1d(np.asarray(indices)), len(masks))
    places = np.ascontiguousarray(boxes, np.float32)
    if not places.size:
        places = places.reshape(-1, 4)
    if places.shape != (len(chosen), 4):
        raise ValueError(f"boxes must have shape ({len(chosen)}, 4), got {places.shape}.")
    if not (np.abs(places) <= inputs.LARGEST_SIDE).all():
        raise ValueError(f"boxes must be within {inputs.LARGEST_SIDE} pixels, got {places[:8]!r:.80}.")
    height, width = inputs.check_size(size)
    if not height or not width:
        raise ValueError(f"size must be at least one bin high and wide, got {(height, width)}.")
    out = np.empty((len(chosen), height, width), np.float32)
    _core.masks_roi_align(masks.runs, chosen, places.ravel(), out, aligned)
    return out


def _shifts(masks: Masks, values: ArrayLike, name: str) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.shape not in ((), (len(masks),)) or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(
            f"{name} must be one whole number or ({len(masks)},), one for each mask, got {array.dtype} {array.shape}."
        )
    if not array.size:
        array = array.astype(np.int64)
    # Beyond the largest canvas all shifts are the same.
    range_ = np.iinfo(array.dtype)
    low, high = max(-2 * inputs.LARGEST_SIDE, int(range_.min)), min(2 * inputs.LARGEST_SIDE, int(range_.max))
    return np.ascontiguousarray(np.broadcast_to(np.clip(array, low, high).astype(np.int64), len(masks)))
