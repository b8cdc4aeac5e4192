"""Pictures, and masks as prompts, the way promptable models take them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from delineate.masks import Masks

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # grey levels of red, green, blue


def prepare(image: NDArray[np.uint8], side: int) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """A picture as the encoder's input: longest side to `side`, normalised, zeros below and to the right.

    Resizing is Pillow's bilinear filter (antialiased), in whole grey levels: what segment-anything does.

    Args:
        image: (H, W, 3) uint8 RGB.
        side: Pixels per side of the input.

    Returns:
        (1, 3, side, side) float32, and (height, width) of the picture in it.

    >>> prepare(np.zeros((50, 100, 3), np.uint8), 64)[1]
    (32, 64)
    """
    content = fitted(image.shape[:2], side)
    resized = Image.fromarray(image).resize(content[::-1], Image.Resampling.BILINEAR)
    pixels = np.zeros((1, 3, side, side), np.float32)
    for channel in range(3):
        plane = np.asarray(resized.getchannel(channel), np.float32)
        pixels[0, channel, : content[0], : content[1]] = (plane - np.float32(MEAN[channel])) / np.float32(
            STD[channel]
        )
    return pixels, content


def prepare_square(image: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """A picture as the encoder's input: resized to the whole square, antialiased, without rounding, normalised.

    Args:
        image: (H, W, 3) uint8 RGB.
        side: Pixels per side of the input.

    Returns:
        (1, 3, side, side) float32.

    >>> prepare_square(np.zeros((50, 100, 3), np.uint8), 64).shape
    (1, 3, 64, 64)
    """
    pixels = np.empty((1, 3, side, side), np.float32)
    for channel in range(3):
        plane = Image.fromarray(image[..., channel].astype(np.float32))
        resized = np.asarray(plane.resize((side, side), Image.Resampling.BILINEAR))
        pixels[0, channel] = (resized - np.float32(MEAN[channel])) / np.float32(STD[channel])
    return pixels


def fitted(size: Sequence[int], side: int) -> tuple[int, int]:
    """(height, width) of a picture whose longest side is scaled to `side`.

    >>> fitted((50, 100), 64)
    (32, 64)
    """
    scale = side / max(size)
    height, width = (max(int(length * scale + 0.5), 1) for length in size)
    return height, width


def mask_logits(masks: Masks, content: tuple[int, int], side: int, cells: int) -> NDArray[np.float32]:
    """Any masks as mask prompts: the covered share of each cell, from -10 (none) to 10 (all).

    Args:
        masks: P masks at picture size.
        content: (height, width) of the picture in the network's input.
        side: Pixels per side of the input.
        cells: Cells per side of a mask prompt.

    Returns:
        (P, cells, cells) float32.

    >>> mask_logits(Masks.from_boxes([[0, 0, 8, 4]], (8, 8)), (8, 8), 8, 2)
    array([[[ 10.,  10.],
            [-10., -10.]]], dtype=float32)
    """
    height, width = (max(round(length * cells / side), 1) for length in content)
    logits = np.full((len(masks), cells, cells), -10, np.float32)
    for index in range(len(masks)):
        y0, x0, crop = masks.crop(index)
        if not crop.size:
            continue
        dense = np.zeros(masks.size, np.uint8)
        dense[y0 : y0 + crop.shape[0], x0 : x0 + crop.shape[1]] = crop * np.uint8(255)
        share = Image.fromarray(dense).resize((width, height), Image.Resampling.BOX)
        logits[index, :height, :width] = np.asarray(share, np.float32) / np.float32(255) * 20 - 10
    return logits
