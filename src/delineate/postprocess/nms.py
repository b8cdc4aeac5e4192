"""Greedy non-maximum suppression: of objects that overlap too much, the one with the highest score stays."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from delineate._native import _core
from delineate.masks import Masks


def nms(
    boxes: ArrayLike, scores: ArrayLike, threshold: float, labels: ArrayLike | None = None
) -> NDArray[np.int64]:
    """The boxes that stay, by falling score; of equal scores the lower index comes first.

    Args:
        boxes: (N, 4) x0, y0, x1, y1, finite; used as float32. A box without area overlaps nothing.
        scores: (N,) without NaN.
        threshold: 0 to 1; a box goes when its IoU (float32) with one that stays is above it.
        labels: (N,) whole numbers; boxes of different labels leave each other alone.

    Returns:
        (K,) indices into `boxes`.

    >>> nms([[0, 0, 4, 4], [0, 0, 4, 5], [6, 0, 9, 4]], [0.5, 0.9, 0.7], threshold=0.5)
    array([1, 2])
    """
    corners = np.ascontiguousarray(boxes, np.float32)
    if corners.size == 0:
        corners = corners.reshape(0, 4)
    if corners.ndim != 2 or corners.shape[1] != 4:
        raise ValueError(f"nms: boxes must have shape (N, 4), got {corners.shape}.")
    if not np.isfinite(corners).all():
        raise ValueError(f"nms: boxes must be finite, got {corners[~np.isfinite(corners)][0]}.")
    order = _best_first(scores, len(corners), threshold)
    if labels is None:
        return _core.boxes_nms(corners.ravel(), order, threshold).view(np.int64)
    classes = np.asarray(labels)
    if classes.shape != (len(corners),) or (classes.size and classes.dtype.kind not in "iu"):
        raise ValueError(
            f"nms: labels must be {len(corners)} whole numbers, got {classes.dtype} {classes.shape}."
        )
    kept = np.zeros(len(corners), np.bool_)
    by_label = order[np.argsort(classes[order], kind="stable")]
    for group in np.split(by_label, np.flatnonzero(np.diff(classes[by_label])) + 1):
        kept[_core.boxes_nms(corners.ravel(), np.ascontiguousarray(group), threshold)] = True
    return order[kept[order]]


def mask_nms(masks: Masks, scores: ArrayLike, threshold: float) -> NDArray[np.int64]:
    """The masks that stay, by falling score; of equal scores the lower index comes first.

    Args:
        masks: N masks; one without pixels overlaps nothing.
        scores: (N,) without NaN.
        threshold: 0 to 1; a mask goes when its IoU with one that stays is above it.

    Returns:
        (K,) indices into `masks`.

    >>> masks = Masks.from_counts([0, 4, 4, 0, 5, 3, 6, 2], [0, 3, 6, 8], (2, 4))
    >>> mask_nms(masks, [0.5, 0.9, 0.7], threshold=0.5)
    array([1, 2])
    """
    order = _best_first(scores, len(masks), threshold)
    return _core.masks_nms(masks.runs, order, threshold).view(np.int64)


def _best_first(scores: ArrayLike, n: int, threshold: float) -> NDArray[np.int64]:
    values = np.asarray(scores)
    if values.size == 0:
        values = values.reshape(-1).astype(np.float32)
    if values.shape != (n,) or values.dtype.kind not in "iuf":
        raise ValueError(f"nms: scores must be {n} numbers, got {values.dtype} {values.shape}.")
    if np.isnan(values).any():
        at = int(np.flatnonzero(np.isnan(values))[0])
        raise ValueError(f"nms: scores must be numbers, got NaN at index {at}.")
    if not 0 <= threshold <= 1:
        raise ValueError(f"nms: threshold must be within 0 to 1, got {threshold}.")
    return np.argsort(-values.astype(np.float64), kind="stable").astype(np.int64)
