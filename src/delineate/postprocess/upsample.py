"""Masks of low resolution on a padded square canvas, as SAM and its kin give them, to runs at picture size.

The definition is that of Segment Anything (arXiv:2304.02643, code under Apache-2.0): logits are interpolated
bilinearly to the network's canvas, the picture's part of it is cut out and interpolated bilinearly to the
picture; the mask is where that is above the threshold. Both steps together are one sum over at most nine
cells per pixel, and most pixels lie between cells that agree: no mask ever exists as pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from delineate._native import _core
from delineate.masks import Masks


class Upsampled(NamedTuple):
    """Masks at picture size.

    Attributes:
        masks: N masks.
        stability: (N,) float32, pixels above threshold + margin as a share of those above threshold - margin;
            0 where there are none of the latter.
    """

    masks: Masks
    stability: NDArray[np.float32]


def upsample(
    logits: NDArray[np.float32],
    *,
    side: int,
    content: tuple[int, int],
    size: tuple[int, int],
    threshold: float = 0.0,
    margin: float = 1.0,
) -> Upsampled:
    """Masks at picture size from logits at low resolution.

    Args:
        logits: (N, h, w) float32, of the whole canvas.
        side: Pixels per side of the network's canvas, at least h and w.
        content: (height, width) that the resized picture takes in its top left corner.
        size: (height, width) of the picture.
        threshold: A pixel belongs to the mask when its logit is above this.
        margin: Distance of the two thresholds that stability compares; at least 0.

    Raises:
        ValueError: If sizes do not fit together.

    >>> found = upsample(np.float32([[[-8, 8], [-8, 8]]]), side=4, content=(4, 4), size=(4, 4))
    >>> found.masks.areas, found.stability
    (array([8]), array([1.], dtype=float32))
    """
    if logits.ndim != 3 or logits.dtype != np.float32:
        raise ValueError(
            f"upsample: logits must be (N, h, w) float32, got shape {logits.shape} {logits.dtype}"
        )
    longest = max(*logits.shape[1:], *content)
    if not longest <= side or not min(*logits.shape[1:], *content, *size) >= 1:
        raise ValueError(
            f"upsample: logits {logits.shape[1:]} and content {content} must fit into the side {side}, and "
            f"all lengths be at least 1, got size {size}"
        )
    if not np.isfinite(threshold) or not 0 <= margin < np.inf:
        raise ValueError(
            f"upsample: threshold must be finite and margin at least 0, got {threshold}, {margin}"
        )
    runs, inner, outer = _core.masks_from_logits(
        np.ascontiguousarray(logits), side, content, size, threshold, margin, 0
    )
    return Upsampled(Masks(runs), (inner / np.maximum(outer, 1)).astype(np.float32))
