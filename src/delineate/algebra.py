"""Operations on `Masks`: sets of pixels, parts and holes, thinner and thicker, painter's order, label maps.

All work on runs, over many masks at once; a bitmap is made of one tight box at most, by `erode`, `dilate` and
`boundary_band`. What lies outside the canvas counts as background.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from delineate._native import _core
from delineate.masks import Masks

Element = Literal["square", "cross", "disc"]
"""The neighbours of one step: all 8 of the 3 x 3 square, or the 4 of the cross; or one step with a whole disc."""

_ELEMENTS = ("square", "cross", "disc")  # as the core numbers them

_READ_LABELS: dict[str, Callable[[NDArray[Any]], tuple[_core.Runs, NDArray[np.uint32]]]] = {
    "uint8": _core.masks_read_labels8,
    "uint16": _core.masks_read_labels16,
    "uint32": _core.masks_read_labels32,
}
_WRITE_LABELS: dict[str, Callable[[_core.Runs, NDArray[Any], NDArray[Any]], None]] = {
    "uint8": _core.masks_write_labels8,
    "uint16": _core.masks_write_labels16,
    "uint32": _core.masks_write_labels32,
}


def union(a: Masks, b: Masks) -> Masks:
    """Mask i: the pixels of a[i] or b[i] or both.

    Args:
        a: N masks.
        b: N masks of the same size.

    >>> left, right = Masks.from_counts([0, 2, 2], [0, 3], (1, 4)), Masks.from_counts([1, 2, 1], [0, 3], (1, 4))
    >>> union(left, right).to_dense().astype(int)
    array([[[1, 1, 1, 0]]])
    """
    return _pairwise(_core.masks_union, a, b)


def intersection(a: Masks, b: Masks) -> Masks:
    """Mask i: the pixels that a[i] and b[i] share; N masks each, of one size.

    >>> left, right = Masks.from_counts([0, 2, 2], [0, 3], (1, 4)), Masks.from_counts([1, 2, 1], [0, 3], (1, 4))
    >>> intersection(left, right).to_dense().astype(int)
    array([[[0, 1, 0, 0]]])
    """
    return _pairwise(_core.masks_intersection, a, b)


def difference(a: Masks, b: Masks) -> Masks:
    """Mask i: the pixels of a[i] that are not of b[i]; N masks each, of one size.

    >>> left, right = Masks.from_counts([0, 2, 2], [0, 3], (1, 4)), Masks.from_counts([1, 2, 1], [0, 3], (1, 4))
    >>> difference(left, right).to_dense().astype(int)
    array([[[1, 0, 0, 0]]])
    """
    return _pairwise(_core.masks_difference, a, b)


def xor(a: Masks, b: Masks) -> Masks:
    """Mask i: the pixels of exactly one of a[i] and b[i]; N masks each, of one size.

    >>> left, right = Masks.from_counts([0, 2, 2], [0, 3], (1, 4)), Masks.from_counts([1, 2, 1], [0, 3], (1, 4))
    >>> xor(left, right).to_dense().astype(int)
    array([[[1, 0, 1, 0]]])
    """
    return _pairwise(_core.masks_xor, a, b)


def _pairwise(operation: Callable[[_core.Runs, _core.Runs], _core.Runs], a: Masks, b: Masks) -> Masks:
    if (len(a), a.size) != (len(b), b.size):
        raise ValueError(f"b must be {len(a)} masks of size {a.size} like a, got {b!r}. Mask i meets mask i.")
    return Masks(operation(a.runs, b.runs))


def complement(masks: Masks) -> Masks:
    """All pixels of the canvas that each mask does not cover.

    >>> complement(Masks.from_counts([0, 2, 2], [0, 3], (1, 4))).to_dense().astype(int)
    array([[[0, 0, 1, 1]]])
    """
    return Masks(_core.masks_complement(masks.runs))


def merge(masks: Masks, groups: ArrayLike, count: int | None = None) -> Masks:
    """The union of each group of masks.

    Args:
        masks: N masks.
        groups: (N,) whole numbers, the group that each mask belongs to, in any order.
        count: How many groups there are, one more than the highest by default. A group without masks is an
            empty mask.

    >>> merge(Masks.from_dense(np.eye(3, dtype=bool)[:, None]), [1, 0, 1]).to_dense().astype(int)
    array([[[0, 1, 0]],
           [[1, 0, 1]]])
    """
    index = _per_mask(masks, groups, "groups", "iu")
    least = int(index.max()) + 1 if len(index) else 0
    count = least if count is None else operator.index(count)
    if count < 0:
        raise ValueError(f"count must be at least 0 groups, got {count}.")
    if count < least or (index < 0).any():
        raise ValueError(f"groups must be at least 0 and below {count}, got {index.min()} to {index.max()}.")
    order = np.argsort(index, kind="stable").astype(np.int64)
    bounds = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(index.astype(np.int64), minlength=count), out=bounds[1:])
    return Masks(_core.masks_unite_groups(_core.masks_take(masks.runs, order), bounds))


def _per_mask(masks: Masks, values: ArrayLike, name: str, kinds: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.shape != (len(masks),) or (array.size and array.dtype.kind not in kinds):
        kind = "numbers" if "f" in kinds else "whole numbers"
        raise ValueError(
            f"{name} must be ({len(masks)},) {kind}, one for each mask, got {array.dtype} {array.shape}."
        )
    return array if array.size else np.empty(0, np.int64)


def pad(masks: Masks, top: int, bottom: int, left: int, right: int) -> Masks:
    """On a canvas that is larger by so many pixels on each side; at least 0 (`Masks.crop_to` cuts).

    >>> pad(Masks.from_dense(np.ones((1, 2, 2), bool)), 1, 0, 3, 0).boxes
    array([[3., 1., 5., 3.]], dtype=float32)
    """
    sides = top, bottom, left, right
    if min(sides) < 0:
        raise ValueError(
            f"top, bottom, left, right must be at least 0, got {sides}. Use Masks.crop_to to cut."
        )
    height, width = masks.size
    return masks.translate(top, left, (height + top + bottom, width + left + right))


def fill_holes(masks: Masks) -> Masks:
    """With every pixel that no path of 4-neighbours outside the mask joins to the border of the canvas.

    Equal to scipy.ndimage.binary_fill_holes, on each mask.

    >>> ring = np.ones((1, 3, 3), bool)
    >>> ring[0, 1, 1] = False
    >>> fill_holes(Masks.from_dense(ring)).areas
    array([9])
    """
    return Masks(_core.masks_fill_holes(masks.runs))


def components(masks: Masks, connectivity: int = 8) -> tuple[Masks, NDArray[np.int64]]:
    """The connected parts of every mask, each as a mask of its own.

    Args:
        masks: N masks.
        connectivity: 8: pixels that touch at a corner are connected; 4: only those that share an edge.

    Returns:
        P parts, those of one mask in the order of their first pixels, column by column; and (P,) the index of
        the mask that each comes from, rising. A mask without pixels has no part.

    >>> parts, owners = components(Masks.from_dense(np.eye(3, dtype=bool)[None]), connectivity=4)
    >>> parts.areas, owners
    (array([1, 1, 1]), array([0, 0, 0]))
    """
    runs, owners = _core.masks_components(masks.runs, _diagonal(connectivity))
    return Masks(runs), owners.view(np.int64)


def remove_specks(masks: Masks, min_area: int, connectivity: int = 8) -> Masks:
    """Without the connected parts of fewer than `min_area` pixels; as many masks, some perhaps empty.

    >>> remove_specks(Masks.from_counts([0, 2, 1, 1], [0, 4], (1, 4)), 2).to_dense().astype(int)
    array([[[1, 1, 0, 0]]])
    """
    least = max(0, min(operator.index(min_area), (1 << 63) - 1))
    return Masks(_core.masks_remove_specks(masks.runs, least, _diagonal(connectivity)))


def largest_component(masks: Masks, connectivity: int = 8) -> Masks:
    """The connected part with the most pixels of each mask; of equals the first, column by column.

    >>> largest_component(Masks.from_counts([0, 1, 1, 2], [0, 4], (1, 4))).to_dense().astype(int)
    array([[[0, 0, 1, 1]]])
    """
    return Masks(_core.masks_largest_component(masks.runs, _diagonal(connectivity)))


def _diagonal(connectivity: int) -> bool:
    if connectivity not in (4, 8):
        raise ValueError(f"connectivity must be 4 or 8, got {connectivity!r}.")
    return connectivity == 8


def erode(masks: Masks, radius: int, element: Element = "square") -> Masks:
    """Thinner by `radius` steps: each keeps the pixels whose neighbours are all covered.

    The structuring element of one step is 3 x 3: a "square" (all 8 neighbours) or a "cross" (4 neighbours). A
    "disc" is one step: all pixels whose centres are at most `radius` away, as skimage.morphology.disk has them.
    Outside the canvas is background, as in scipy.ndimage.binary_erosion (cv2.erode takes it for covered).

    >>> erode(Masks.from_dense(np.ones((1, 5, 9), bool)), 2).boxes
    array([[2., 2., 7., 3.]], dtype=float32)
    """
    return Masks(_core.masks_erode(masks.runs, *_steps(radius, element)))


def dilate(masks: Masks, radius: int, element: Element = "square") -> Masks:
    """Thicker by `radius` steps: each adds the neighbours of covered pixels; what leaves the canvas is cut.

    The structuring element of one step is 3 x 3: a "square" (all 8 neighbours) or a "cross" (4 neighbours). A
    "disc" is one step: all pixels whose centres are at most `radius` away, as skimage.morphology.disk has them.
    Equal to scipy.ndimage.binary_dilation and cv2.dilate with as many iterations.

    >>> dot = np.zeros((1, 7, 7), bool)
    >>> dot[0, 3, 3] = True
    >>> dilate(Masks.from_dense(dot), 2).areas, dilate(Masks.from_dense(dot), 2, "cross").areas
    (array([25]), array([13]))
    """
    return Masks(_core.masks_dilate(masks.runs, *_steps(radius, element)))


def _steps(radius: int, element: str) -> tuple[int, int]:
    if element not in _ELEMENTS:
        raise ValueError(f'element must be "square", "cross" or "disc", got {element!r}.')
    radius = operator.index(radius)
    if radius < 0:
        raise ValueError(f"radius must be at least 0 pixels, got {radius}.")
    return min(radius, 1 << 30), _ELEMENTS.index(element)


def boundary_band(masks: Masks, width: int | None = None) -> Masks:
    """The pixels of each mask that are close to its contour, as boundary IoU defines it (Cheng et al., 2021).

    That is the mask without its erosion by a 3 x 3 square, `width` times; the border of the canvas counts as
    contour.

    Args:
        masks: N masks.
        width: Pixels, at least 0; 2 % of the diagonal of the canvas by default, rounded, at least 1.

    >>> boundary_band(Masks.from_dense(np.ones((1, 5, 9), bool))).areas
    array([24])
    """
    return difference(masks, erode(masks, boundary_width(masks.size) if width is None else width))


def boundary_width(size: tuple[int, int]) -> int:
    """The usual width of a boundary band in pixels: 2 % of the diagonal of the canvas, rounded, at least 1.

    Args:
        size: (height, width) of the canvas.

    >>> boundary_width((480, 640))
    16
    """
    return max(1, round(0.02 * math.hypot(*size)))


def resolve_overlaps(masks: Masks, order: ArrayLike | None = None) -> Masks:
    """Painter's order: masks that share no pixel, each pixel left to the topmost mask that covers it.

    Args:
        masks: N masks.
        order: (N,) numbers such as scores or depths, the higher is painted later and wins; of equals the later
            mask wins. By default the later mask wins.

    >>> both = Masks.from_counts([0, 3, 1, 1, 3], [0, 3, 5], (1, 4))
    >>> resolve_overlaps(both).areas, resolve_overlaps(both, order=[0.9, 0.2]).areas
    (array([1, 3]), array([3, 1]))
    """
    ranks = np.arange(len(masks), dtype=np.int64)
    if order is not None:
        heights = _per_mask(masks, order, "order", "iuf")
        if np.isnan(heights).any():
            raise ValueError(
                f"order must be numbers, got nan at {int(np.flatnonzero(np.isnan(heights))[0])}."
            )
        ranks[np.argsort(heights, kind="stable")] = np.arange(len(masks))
    return Masks(_core.masks_resolve(masks.runs, ranks))


def touches_border(masks: Masks) -> NDArray[np.bool_]:
    """(N,) whether a mask covers a pixel in the first or last row or column of the canvas.

    >>> touches_border(Masks.from_counts([4, 1, 4, 0, 1, 8], [0, 3, 6], (3, 3)))
    array([False,  True])
    """
    height, width = masks.size
    boxes, covered = masks.boxes, masks.areas > 0
    at_edge: NDArray[np.bool_] = (boxes[:, :2] == 0).any(1) | (boxes[:, 2:] == (width, height)).any(1)
    return at_edge & covered


def to_label_map(
    masks: Masks,
    values: ArrayLike | None = None,
    overlap: Literal["last", "first", "error"] = "last",
    dtype: DTypeLike = np.uint16,
) -> NDArray[Any]:
    """All masks in one picture of numbers, (H, W) in C order; 0 where no mask is.

    Args:
        masks: N masks.
        values: (N,) whole numbers that `dtype` holds; 1 to N by default.
        overlap: Which mask a shared pixel belongs to; "error" refuses masks that share pixels.
        dtype: uint8, uint16 or uint32.

    Raises:
        ValueError: A value does not fit, or masks overlap where they must not; the message names the mask.

    >>> to_label_map(Masks.from_counts([0, 3, 1, 1, 3], [0, 3, 5], (1, 4)), overlap="first")
    array([[1, 1, 1, 2]], dtype=uint16)
    """
    kind = np.dtype(dtype)
    if kind.name not in _WRITE_LABELS or not kind.isnative:
        raise ValueError(f"dtype must be uint8, uint16 or uint32, got {kind}.")
    labels = np.arange(1, len(masks) + 1) if values is None else _per_mask(masks, values, "values", "iu")
    wrong = np.flatnonzero((labels < 0) | (labels > np.iinfo(kind).max))
    if len(wrong):
        raise ValueError(
            f"values must be within 0 to {np.iinfo(kind).max} for {kind}, got {labels[wrong[0]]} for "
            f"masks[{wrong[0]}]. Choose a wider dtype."
        )
    if overlap not in ("last", "first", "error"):
        raise ValueError(f'overlap must be "last", "first" or "error", got {overlap!r}.')
    if overlap == "error":
        _refuse_overlaps(masks)
    step = -1 if overlap == "first" else 1
    out = np.zeros(masks.size, kind)
    painted = np.ascontiguousarray(labels[::step].astype(kind))
    _WRITE_LABELS[kind.name](masks[::step].runs if step < 0 else masks.runs, painted, out)
    return out


def _refuse_overlaps(masks: Masks) -> None:
    if masks.union().areas[0] == masks.areas.sum():
        return
    lost = masks.areas - resolve_overlaps(masks).areas
    i = int(np.flatnonzero(lost)[0])
    raise ValueError(
        f"masks must share no pixel, got masks[{i}] with {lost[i]} pixels under later masks. "
        'Use overlap="last", "first" or resolve_overlaps.'
    )


def from_label_map(labels: NDArray[Any]) -> tuple[Masks, NDArray[np.uint32]]:
    """A mask for every number in a picture of numbers, 0 left out.

    Args:
        labels: (H, W) uint8, uint16 or uint32.

    Returns:
        N masks and (N,) their numbers, rising.

    >>> masks, values = from_label_map(np.array([[0, 7, 7], [3, 0, 7]], np.uint8))
    >>> masks.areas, values
    (array([1, 3]), array([3, 7], dtype=uint32))
    """
    if not isinstance(labels, np.ndarray) or labels.ndim != 2 or labels.dtype.name not in _READ_LABELS:
        got = f"{labels.dtype} {labels.shape}" if isinstance(labels, np.ndarray) else type(labels).__name__
        raise ValueError(f"labels must be a uint8, uint16 or uint32 array of shape (H, W), got {got}.")
    native = np.ascontiguousarray(labels, labels.dtype.newbyteorder("="))
    runs, values = _READ_LABELS[labels.dtype.name](native)
    return Masks(runs), values
