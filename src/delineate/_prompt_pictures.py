"""How promptable models take pictures and prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from delineate.masks import Masks

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # grey levels of red, green, blue


class Conventions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a family of promptable models makes of pictures and prompts; the defaults are Segment Anything's.

    Attributes:
        resize: How a picture fills the network's input: "longest" (see `prepare`), "square" or "sampled" (see
            `prepare_square`, with and without antialiasing).
        ending: When a point of label -1 must end the points: "unboxed" (where there is no box), or "never".
        points: The decoder takes so many points at most, corners of boxes among them; None = any number.
        negative: Whether points outside of the object are understood.
        masks: Whether masks are understood as prompts.
        limit: Logits are given out within -limit and limit; None = as they are.
        iou: Everything mode keeps masks whose predicted IoU is above this,
        stability: and whose stability is at least this.

    >>> Conventions(resize="sampled", points=6).points
    6
    """

    resize: Literal["longest", "square", "sampled"] = "longest"
    ending: Literal["unboxed", "never"] = "unboxed"
    points: int | None = None
    negative: bool = True
    masks: bool = True
    limit: float | None = None
    iou: float = 0.88
    stability: float = 0.95

    def __post_init__(self) -> None:
        if self.points is not None and self.points < 2:
            raise ValueError(f"Conventions: points must be at least 2, as a box has two, got {self.points}")

    @property
    def whole(self) -> bool:
        """Whether a picture takes the whole input, whatever its shape."""
        return self.resize != "longest"

    def prepare(self, image: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
        """(H, W, 3) uint8 RGB as the encoder's input, (1, 3, side, side)."""
        if self.resize == "longest":
            return prepare(image, side)[0]
        return prepare_square(image, side, antialias=self.resize == "square")

    def content(self, size: Sequence[int], side: int) -> tuple[int, int]:
        """(height, width) that a picture takes in the encoder's input.

        >>> Conventions().content((50, 100), 64), Conventions(resize="square").content((50, 100), 64)
        ((32, 64), (64, 64))
        """
        return (side, side) if self.whole else fitted(size, side)


SAM2 = Conventions(resize="square", ending="never", limit=32, iou=0.8)
"""SAM 2's; whoever takes finer features of a picture is taken for one of its kind."""


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


def prepare_square(image: NDArray[np.uint8], side: int, *, antialias: bool = True) -> NDArray[np.float32]:
    """A picture as the encoder's input: resized to the whole square, bilinear, without rounding, normalised.

    Args:
        image: (H, W, 3) uint8 RGB.
        side: Pixels per side of the input.
        antialias: Whether pixels of the input are means over those that they cover, as Pillow does it; else each
            is interpolated between the four around its centre, as torch does it when not asked for more.

    Returns:
        (1, 3, side, side) float32.

    >>> prepare_square(np.zeros((50, 100, 3), np.uint8), 64).shape
    (1, 3, 64, 64)
    """
    pixels = np.empty((1, 3, side, side), np.float32)
    for channel in range(3):
        plane = image[..., channel].astype(np.float32)
        if antialias:
            resized = np.asarray(Image.fromarray(plane).resize((side, side), Image.Resampling.BILINEAR))
        else:
            resized = _sampled(plane, side)
        pixels[0, channel] = (resized - np.float32(MEAN[channel])) / np.float32(STD[channel])
    return pixels


def _sampled(plane: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """A plane interpolated at the centres of side x side cells, constant beyond the outermost pixels' centres."""
    lows, highs, shares = [], [], []
    for length in plane.shape:
        places = np.maximum((np.arange(side) + 0.5) * (length / side) - 0.5, 0)
        low = places.astype(np.int64)
        lows.append(low)
        highs.append(np.minimum(low + 1, length - 1))
        shares.append((places - low).astype(np.float32))
    (top, left), (bottom, right), (down, across) = lows, highs, shares
    rows = [
        plane[row[:, None], left] * (1 - across) + plane[row[:, None], right] * across
        for row in (top, bottom)
    ]
    sampled: NDArray[np.float32] = rows[0] * (1 - down[:, None]) + rows[1] * down[:, None]
    return sampled


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
