"""What a picture holds under masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from delineate._native import _core
from delineate.masks import Masks

Values: TypeAlias = NDArray[np.float64]


class Intensities(NamedTuple):
    """Statistics of the values under N masks: (N,), or (N, C) of a picture with channels."""

    mean: Values
    min: Values
    max: Values
    std: Values
    """Standard deviation over all pixels, as numpy.std: divided by their number, not by one less."""
    sum: Values
    median: Values
    """Of an even number of pixels the mean of the two in the middle."""


_READ: dict[str, Callable[[_core.Runs, NDArray[Any]], Values]] = {
    "uint8": _core.masks_statistics8,
    "uint16": _core.masks_statistics16,
    "float32": _core.masks_statistics32f,
    "float64": _core.masks_statistics64f,
}


def intensities(masks: Masks, image: NDArray[Any]) -> Intensities:
    """Statistics of a picture's values under each mask, in float64.

    Args:
        masks: N masks.
        image: (H, W) or (H, W, C) numbers or bools, of the size of the masks. uint8, uint16 and floats are read as
            they are; others become float64 first.

    Returns:
        All nan for an empty mask (its sum is 0), and where a value under the mask is nan.

    >>> masks = Masks.from_dense(np.array([[[1, 1, 0]], [[0, 1, 1]]], bool))
    >>> intensities(masks, np.array([[10, 20, 60]], np.uint8)).median
    array([15., 40.])
    """
    pixels = np.asarray(image)
    if pixels.ndim not in (2, 3) or pixels.shape[:2] != masks.size or pixels.dtype.kind not in "biuf":
        raise ValueError(
            f"image must be numbers of shape {masks.size} or {masks.size} and channels, "
            f"got {pixels.dtype} {pixels.shape}."
        )
    if pixels.dtype.name not in _READ:
        pixels = pixels.astype(np.float64)
    elif not pixels.dtype.isnative:
        pixels = pixels.astype(pixels.dtype.newbyteorder("="))
    cube = np.ascontiguousarray(pixels.reshape(*masks.size, -1) if pixels.ndim == 2 else pixels)
    found = _READ[pixels.dtype.name](masks.runs, cube)
    return Intensities(*np.moveaxis(found[:, 0] if pixels.ndim == 2 else found, -1, 0))
