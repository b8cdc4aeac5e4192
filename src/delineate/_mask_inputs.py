"""Checks and flattening of what people pass to `Masks`: the native core never sees unchecked input."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from delineate._native import _core

LARGEST_SIDE = 1 << 24  # keeps height * width far inside 64 bits, and coordinates exact in float32
LARGEST_COORDINATE = 1e8  # five times that fits a C int, as the COCO rule of filling polygons needs


def check_size(size: object, where: str = "size") -> tuple[int, int]:
    """Returns (height, width) as ints; ValueError when it is anything else."""
    try:
        height, width = (operator.index(side) for side in size)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise ValueError(f"{where} must be two whole numbers (height, width), got {size!r:.80}.") from None
    if not (0 <= height <= LARGEST_SIDE and 0 <= width <= LARGEST_SIDE):
        raise ValueError(f"{where} must have sides of 0 to {LARGEST_SIDE} pixels, got ({height}, {width}).")
    return height, width


def check_dense(dense: object) -> NDArray[np.uint8]:
    """Returns (N, H, W) uint8; bool is viewed, nothing is copied."""
    if not isinstance(dense, np.ndarray) or dense.ndim != 3 or dense.dtype not in (np.bool_, np.uint8):
        got = f"{dense.dtype} {dense.shape}" if isinstance(dense, np.ndarray) else type(dense).__name__
        raise ValueError(
            f"dense must be a bool or uint8 array of shape (N, H, W), got {got}. Threshold soft masks first."
        )
    check_size(dense.shape[1:])
    return dense.view(np.uint8)


def check_index(index: object, length: int) -> NDArray[np.int64]:
    """Returns the chosen positions, 0 <= position < length, for a slice, a bool array or an int array."""
    if isinstance(index, slice):
        return np.ascontiguousarray(np.arange(length, dtype=np.int64)[index])
    if isinstance(index, int | np.integer) or np.ndim(index) != 1:  # type: ignore[arg-type]
        raise TypeError(
            f"index must be a slice, an int array or a bool array, got {index!r:.60}. "
            "For one mask write masks[i : i + 1]."
        )
    array = np.asarray(index)
    if array.size == 0 and array.dtype != np.bool_:
        return np.empty(0, np.int64)
    if array.dtype == np.bool_:
        if len(array) != length:
            raise IndexError(f"index must have {length} entries, one for each mask, got {len(array)}.")
        return np.flatnonzero(array)
    if array.dtype.kind not in "iu":
        raise TypeError(f"index must be a slice, an int array or a bool array, got {array.dtype}.")
    positions = np.where(array < 0, array + length, array).astype(np.int64)
    if positions.min() < 0 or positions.max() >= length:
        raise IndexError(
            f"index must be within {-length} to {length - 1} for {length} masks, "
            f"got {array.min()} to {array.max()}."
        )
    return positions


def runs_from_counts(counts: object, offsets: object, size: tuple[int, int]) -> _core.Runs:
    """Counts and offsets of all masks, checked and made canonical."""
    flat = _whole_numbers(counts, "counts")
    bounds = _whole_numbers(offsets, "offsets").astype(np.int64)
    if len(bounds) == 0 or bounds[0] != 0 or bounds[-1] != len(flat) or (np.diff(bounds) < 0).any():
        raise ValueError(
            f"offsets must rise from 0 to the number of counts ({len(flat)}), got {_ends(bounds)}. "
            "Mask i owns counts[offsets[i]:offsets[i + 1]]."
        )
    if len(flat) and (flat.min() < 0 or flat.max() > 0xFFFFFFFF):
        at = int(np.flatnonzero((flat < 0) | (flat > 0xFFFFFFFF))[0])
        mask = int(np.searchsorted(bounds, at, side="right")) - 1
        raise ValueError(f"masks[{mask}]: counts must be within 0 to 4294967295, got {flat[at]}.")
    return _core.Runs(*size, np.ascontiguousarray(flat, np.uint32), np.ascontiguousarray(bounds))


def _whole_numbers(values: object, name: str) -> NDArray[Any]:
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError):
        array = np.array(None)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"{name} must be whole numbers in one row, got {values!r:.60}.")
    return array if array.size else np.empty(0, np.int64)


def _ends(array: NDArray[Any]) -> str:
    return f"{array[0]} to {array[-1]}" if len(array) else "none"


def runs_from_rle(items: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> _core.Runs:
    """COCO dicts, compressed (str or bytes) and uncompressed (list of counts) mixed."""
    strings: list[str | bytes] = []
    lists: list[Any] = []
    order: tuple[list[int], list[int]] = ([], [])
    usual = list(size)
    for i, item in enumerate(items):
        counts = _counts_of(i, item, usual)
        if isinstance(counts, str | bytes):
            strings.append(counts)
            order[0].append(i)
        else:
            lists.append(counts)
            order[1].append(i)
    if not lists:
        return _core.masks_from_strings(*size, strings)
    return _merge(
        order, lambda: _core.masks_from_strings(*size, strings), lambda: _runs_from_lists(lists, size)
    )


def _counts_of(i: int, item: Mapping[str, Any], size: list[int]) -> Any:  # noqa: ANN401
    try:
        counts, own_size = item["counts"], item["size"]
    except (TypeError, KeyError, IndexError):
        raise ValueError(
            f"masks[{i}]: a run-length mask must be a dict with size and counts, got {item!r:.60}."
        ) from None
    if own_size != size and list(check_size(own_size, f"masks[{i}]: size")) != size:
        raise ValueError(f"masks[{i}]: size must be {size} like the others, got {list(own_size)}.")
    if isinstance(counts, str | bytes | Sequence | np.ndarray):
        return counts
    raise ValueError(f"masks[{i}]: counts must be a string or a list of counts, got {type(counts).__name__}.")


def _runs_from_lists(lists: Sequence[Any], size: tuple[int, int]) -> _core.Runs:
    arrays = []
    for k, counts in enumerate(lists):
        array = _whole_numbers(counts, f"masks[{k}]: counts")
        if len(array) and (array.min() < 0 or array.max() > 0xFFFFFFFF):
            raise ValueError(
                f"masks[{k}]: counts must be within 0 to 4294967295, got {array.min()} to {array.max()}."
            )
        arrays.append(array.astype(np.uint32))
    offsets = np.concatenate([[0], np.cumsum([len(array) for array in arrays], dtype=np.int64)])
    flat = np.concatenate(arrays) if arrays else np.empty(0, np.uint32)
    return _core.Runs(*size, flat, offsets.astype(np.int64))


def _merge(
    order: tuple[list[int], list[int]], first: Callable[[], _core.Runs], second: Callable[[], _core.Runs]
) -> _core.Runs:
    """Builds two kinds of masks apart and puts them back into one order; errors name the original mask."""
    parts = []
    for positions, make in zip(order, (first, second), strict=True):
        try:
            parts.append(make())
        except ValueError as error:
            place = re.match(r"masks\[(\d+)\]", str(error))
            if place is None:
                raise
            raise ValueError(f"masks[{positions[int(place[1])]}]{str(error)[place.end() :]}") from None
    both = _core.masks_concat(parts)
    return _core.masks_take(both, np.argsort(order[0] + order[1]).astype(np.int64))


def runs_from_polygons(instances: Sequence[Sequence[Any]], size: tuple[int, int]) -> _core.Runs:
    """A list of polygons for each mask; the parts of one mask are united."""
    xy, points, parts = _core.flatten_polygons(instances) or flatten_polygons(instances)
    return _core.masks_from_polygons(*size, xy, points, parts)


def flatten_polygons(
    instances: Sequence[Sequence[Any]],
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """All coordinates, where each polygon starts (in points), where each mask starts (in polygons)."""
    flat: list[NDArray[np.float64]] = []
    parts = [0]
    for i, polygons in enumerate(instances):
        if isinstance(polygons, str | bytes | Mapping) or not isinstance(polygons, Sequence | np.ndarray):
            raise ValueError(f"masks[{i}]: polygons must be a list of polygons, got {polygons!r:.60}.")
        for p, polygon in enumerate(polygons):
            flat.append(_polygon(i, p, polygon))
        parts.append(len(flat))
    points = np.zeros(len(flat) + 1, np.int64)
    np.cumsum([len(polygon) // 2 for polygon in flat], out=points[1:])
    xy = np.concatenate(flat) if flat else np.empty(0)
    return xy, points, np.asarray(parts, np.int64)


def _polygon(i: int, p: int, polygon: object) -> NDArray[np.float64]:
    try:
        array = np.asarray(polygon)
    except ValueError:
        array = np.array(None)
    if array.dtype.kind not in "iuf" or not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 2)):
        raise ValueError(
            f"masks[{i}]: polygon {p} must be numbers x, y, x, y, ... or an array of shape (K, 2), "
            f"got {polygon!r:.60}."
        )
    if array.size < 6 or array.size % 2:
        raise ValueError(
            f"masks[{i}]: polygon {p} must have an even count of at least 6 numbers, got {array.size}."
        )
    xy = array.astype(np.float64).ravel()
    outside = xy[~(np.abs(xy) <= LARGEST_COORDINATE)]
    if len(outside):
        raise ValueError(
            f"masks[{i}]: polygon {p} must have coordinates of at most 1e8 in size, got {outside[0]}."
        )
    return xy


def runs_from_coco(segmentations: Sequence[Any], size: tuple[int, int]) -> _core.Runs:
    """COCO's `segmentation` values: lists of polygons and run-length dicts mixed."""
    order: tuple[list[int], list[int]] = ([], [])
    for i, segmentation in enumerate(segmentations):
        order[isinstance(segmentation, Mapping)].append(i)
    if not order[1]:
        return runs_from_polygons(segmentations, size)
    return _merge(
        order,
        lambda: runs_from_polygons([segmentations[i] for i in order[0]], size),
        lambda: runs_from_rle([segmentations[i] for i in order[1]], size),
    )


def check_shift(shift: SupportsIndex) -> int:
    """A whole number of pixels; beyond the largest canvas all shifts are the same."""
    return max(-2 * LARGEST_SIDE, min(2 * LARGEST_SIDE, operator.index(shift)))
