"""How much objects cover each other: every pair as a matrix, or only the pairs that overlap.

A matrix takes N * M numbers. `overlaps` finds the pairs by their boxes and keeps those that share something, so
that its memory and time follow the overlaps: tens of thousands of objects on one canvas are ordinary.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from delineate import algebra
from delineate._native import _core
from delineate.masks import Masks

Measure = Literal["iou", "minimum", "boundary_iou", "shared"]
"""Intersection over union, over the smaller area, of the boundary bands over their union, or by itself."""


class Pairs(NamedTuple):
    """Pairs of objects, sorted by `first`, then by `second`."""

    first: NDArray[np.int64]
    """(P,) index into the first set."""
    second: NDArray[np.int64]
    """(P,) index into the second set."""
    value: NDArray[np.float64]
    """(P,) how much they overlap, above 0."""


def overlaps(
    a: Masks | ArrayLike,
    b: Masks | ArrayLike | None = None,
    *,
    measure: Measure = "iou",
    min_value: float = 0.0,
    crowd: ArrayLike | None = None,
) -> Pairs:
    """The pairs that overlap, without looking at all N * M of them.

    Args:
        a: N masks, or (N, 4) boxes x0, y0, x1, y1, finite.
        b: M masks of the same size, or (M, 4) boxes. None pairs `a` with itself: each pair once, first <
            second, no object with itself.
        measure: "iou"; "minimum", the intersection over the smaller of the two areas; "boundary_iou" as
            `boundary_iou` has it (masks only); "shared", the pixels (or the area of boxes) in common.
        min_value: Pairs with a lower value are left out. 0 keeps every pair that shares something.
        crowd: (M,) bool, for "iou" and "boundary_iou" with `b`: divide by the area of the object of `a` where
            True.

    >>> masks = Masks.from_dense(np.array([[[1, 1, 0]], [[0, 1, 1]], [[0, 0, 1]]], bool))
    >>> overlaps(masks)
    Pairs(first=array([0, 1]), second=array([1, 2]), value=array([0.33333333, 0.5       ]))
    >>> overlaps([[0, 0, 2, 2]], [[1, 0, 3, 2], [5, 5, 6, 6]], measure="minimum")
    Pairs(first=array([0]), second=array([0]), value=array([0.5]))
    """
    if measure not in ("iou", "minimum", "boundary_iou", "shared"):
        raise ValueError(f'measure must be "iou", "minimum", "boundary_iou" or "shared", got {measure!r}.')
    if crowd is not None and (b is None or measure not in ("iou", "boundary_iou")):
        raise ValueError(f'crowd must come with b and "iou" or "boundary_iou", got measure={measure!r}.')
    if isinstance(a, Masks):
        if b is not None and not isinstance(b, Masks):
            raise TypeError(f"b must be Masks like a, got {type(b).__name__}.")
        if measure == "boundary_iou":
            a, b = algebra.boundary_band(a), None if b is None else algebra.boundary_band(b)
        own = a.areas.astype(np.float64)
        others = own if b is None else _same_size(a, b).areas.astype(np.float64)
        found = _pairs(*_core.masks_pairs(a.runs, None if b is None else b.runs))
    else:
        if isinstance(b, Masks) or measure == "boundary_iou":
            raise TypeError(
                f'boxes must meet boxes by "iou", "minimum" or "shared", got measure={measure!r}.'
            )
        boxes, rest = _boxes("a", a), None if b is None else _boxes("b", b)
        own = _box_areas(boxes)
        others = own if rest is None else _box_areas(rest)
        found = _pairs(*_core.boxes_pairs(boxes.ravel(), None if rest is None else rest.ravel()))
    flags = None if crowd is None else _crowd(crowd, len(others))
    value = found.value
    if measure != "shared":
        over = own[found.first], others[found.second]
        value = value / (np.minimum(*over) if measure == "minimum" else over[0] + over[1] - value)
        if flags is not None:
            value = np.where(flags[found.second], found.value / over[0], value)
    if not min_value > 0:
        return found._replace(value=value)
    keep = value >= min_value
    return Pairs(found.first[keep], found.second[keep], value[keep])


def intersections(a: Masks, b: Masks) -> NDArray[np.int64]:
    """(N, M) pixels that every mask of `a` shares with every mask of `b`, of the same size.

    >>> masks = Masks.from_dense(np.array([[[1, 1, 0]], [[0, 1, 1]]], bool))
    >>> intersections(masks, masks)
    array([[2, 1],
           [1, 2]])
    """
    return _dense(overlaps(a, b, measure="shared"), a, b).astype(np.int64)


def intersection_over_minimum(a: Masks, b: Masks) -> NDArray[np.float64]:
    """(N, M) pixels shared over the pixels of the smaller mask; 0 where nothing is shared.

    It is 1 where one mask lies in the other, which IoU does not show when their sizes differ.

    >>> masks = Masks.from_dense(np.array([[[1, 1, 0]], [[0, 1, 0]]], bool))
    >>> intersection_over_minimum(masks, masks)
    array([[1., 1.],
           [1., 1.]])
    """
    return _dense(overlaps(a, b, measure="minimum"), a, b)


def boundary_iou(
    a: Masks,
    b: Masks,
    *,
    crowd: ArrayLike | None = None,
    width: int | None = None,
    at_most_iou: bool = False,
) -> NDArray[np.float64]:
    """(N, M) IoU of the boundary bands (Cheng et al., 2021, "Boundary IoU").

    It falls when a contour is off by a few pixels, which the IoU of large masks hardly shows.

    Args:
        a: N masks.
        b: M masks of the same size.
        crowd: (M,) bool; where True, the intersection is divided by the area of the band of `a` instead.
        width: Of the band in pixels; 2 % of the diagonal of the canvas by default, rounded, at least 1.
        at_most_iou: The smaller of boundary IoU and mask IoU, which the boundary AP of COCO and LVIS uses: by
            itself, boundary IoU is 1 for two objects whose insides differ. For crowds it is the mask's then.

    >>> ring = np.pad(np.zeros((1, 3, 3), bool), ((0, 0), (1, 1), (1, 1)), constant_values=True)
    >>> ring, full = Masks.from_dense(ring), Masks.from_dense(np.ones((1, 5, 5), bool))
    >>> boundary_iou(full, ring), boundary_iou(full, ring, at_most_iou=True)
    (array([[1.]]), array([[0.64]]))
    """
    _same_size(a, b)
    bands = algebra.boundary_band(a, width), algebra.boundary_band(b, width)
    found = bands[0].iou(bands[1], crowd)
    if not at_most_iou:
        return found
    whole = a.iou(b, crowd)
    return np.where(False if crowd is None else np.asarray(crowd, bool), whole, np.minimum(found, whole))


def _pairs(first: NDArray[np.int64], second: NDArray[np.int64], shared: NDArray[np.float64]) -> Pairs:
    return Pairs(first.view(np.int64), second.view(np.int64), shared)  # numpy has two names for 64 bits


def _dense(pairs: Pairs, a: Masks, b: Masks) -> NDArray[np.float64]:
    out = np.zeros((len(a), len(b)))
    out[pairs.first, pairs.second] = pairs.value
    return out


def _same_size(a: Masks, b: Masks) -> Masks:
    if a.size != b.size:
        raise ValueError(f"b must have the size {a.size} of a, got {b.size}. Resize one of them first.")
    return b


def _boxes(name: str, boxes: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(boxes)
    if array.size == 0 and array.ndim < 2:
        array = np.empty((0, 4))
    if array.ndim != 2 or array.shape[1] != 4 or array.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be Masks or boxes of shape (N, 4), got {array.dtype} {array.shape}.")
    corners = np.ascontiguousarray(array, np.float64)
    if not np.isfinite(corners).all():
        raise ValueError(f"{name} must be finite, got {corners[~np.isfinite(corners)][0]}.")
    return corners


def _box_areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return np.asarray(sides[:, 0] * sides[:, 1])


def _crowd(crowd: ArrayLike, count: int) -> NDArray[np.bool_]:
    flags = np.asarray(crowd, np.bool_)
    if flags.shape != (count,):
        raise ValueError(f"crowd must have shape ({count},), got {flags.shape}. It is about b.")
    return flags
