"""Functions on boxes: (N, 4) arrays of x0, y0, x1, y1 in pixels, half-open, so that width = x1 - x0.

Floating-point input keeps its dtype, whole numbers become float64; N = 0 is ordinary. A box whose corners are
in the wrong order has no area.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def area(boxes: ArrayLike) -> NDArray[Any]:
    """(N,) width times height.

    >>> area([[0, 0, 2, 3], [1, 1, 1, 5]])
    array([6., 0.])
    """
    boxes = _checked(boxes)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return np.asarray(sides[:, 0] * sides[:, 1])


def iou(boxes: ArrayLike, others: ArrayLike) -> NDArray[Any]:
    """(N, M) intersection over union of every box with every other; 0 where nothing is shared.

    >>> iou([[0, 0, 2, 2]], [[1, 0, 3, 2], [5, 5, 6, 6]])
    array([[0.33333333, 0.        ]])
    """
    boxes, others = _checked(boxes), _checked(others, "others")
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    union = area(boxes)[:, None] + area(others)[None] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0))


def clip(boxes: ArrayLike, size: tuple[int, int]) -> NDArray[Any]:
    """(N, 4) boxes cut to a canvas of `size` (height, width); one outside ends without area on its border.

    >>> clip([[-1, 2, 9, 9]], (4, 5))
    array([[0., 2., 5., 4.]])
    """
    boxes, (height, width) = _checked(boxes), size
    return np.asarray(np.clip(boxes, 0, np.array([width, height, width, height], boxes.dtype)))


def from_xywh(boxes: ArrayLike) -> NDArray[Any]:
    """(N, 4) from corner and size, as COCO files have them: x0, y0, width, height.

    >>> from_xywh([[1, 2, 3, 4]])
    array([[1., 2., 4., 6.]])
    """
    boxes = _checked(boxes)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def to_xywh(boxes: ArrayLike) -> NDArray[Any]:
    """(N, 4) x0, y0, width, height.

    >>> to_xywh([[1, 2, 4, 6]])
    array([[1., 2., 3., 4.]])
    """
    boxes = _checked(boxes)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def from_cxcywh(boxes: ArrayLike) -> NDArray[Any]:
    """(N, 4) from centre and size, as networks predict them: x, y, width, height.

    >>> from_cxcywh([[2, 3, 4, 2]])
    array([[0., 2., 4., 4.]])
    """
    boxes = _checked(boxes)
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def _checked(boxes: ArrayLike, name: str = "boxes") -> NDArray[Any]:
    array = np.asarray(boxes)
    if array.size == 0 and array.ndim < 2:
        array = array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4 or array.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be numbers of shape (N, 4), got {array.dtype} {array.shape}.")
    return array if array.dtype.kind == "f" else array.astype(np.float64)
