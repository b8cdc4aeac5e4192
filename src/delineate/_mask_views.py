"""What an image-text encoder gets to see of a mask: a square cut out of the picture around it."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from delineate.masks import Masks

Background = Literal["blur", "grey", "keep"]
"""What becomes of the picture outside of a mask."""

GREY = (122, 116, 104)  # CLIP's mean colour, which its normalisation makes almost zero
_LEAST = 16  # pixels of the picture per side of a view: less says nothing about a thing of one pixel
_BLUR = 0.1  # standard deviation, as a share of the side of the view


class Window(NamedTuple):
    """A square of the picture, in pixels; it may reach over the picture's edges."""

    x0: int
    y0: int
    side: int


def window(box: NDArray[np.float32], size: tuple[int, int], margin: float) -> Window:
    """The square around a box, moved into the picture as far as it fits.

    Args:
        box: (4,) x0, y0, x1, y1.
        size: (height, width) of the picture.
        margin: On every side, as a share of the box's longer side.

    >>> window(np.array([0, 10, 20, 20], np.float32), (100, 200), 0.25)
    Window(x0=0, y0=0, side=30)
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    side = max(math.ceil(max(x1 - x0, y1 - y0) * (1 + 2 * margin)), _LEAST)
    corner = []
    for low, high, length in ((x0, x1, size[1]), (y0, y1, size[0])):
        start = math.floor((low + high - side) / 2 + 0.5)
        corner.append(min(max(start, 0), length - side) if side <= length else (length - side) // 2)
    return Window(corner[0], corner[1], side)


class Views:
    """The views of the masks of one picture, one at a time: memory does not follow their number.

    Args:
        picture: (H, W, 3) uint8 RGB.
        masks: Of that picture.
        side: Pixels per side of a view.
        margin: See `window`.
        background: What becomes of the rest of the picture.
    """

    def __init__(
        self, picture: NDArray[np.uint8], masks: Masks, side: int, margin: float, background: Background
    ) -> None:
        self._picture, self._masks, self._boxes = Image.fromarray(picture), masks, masks.boxes
        self._side, self._margin, self._background = side, margin, background

    def __call__(self, index: int) -> NDArray[np.uint8]:
        """(side, side, 3) uint8."""
        where = window(self._boxes[index], self._masks.size, self._margin)
        seen = self._cut(where)
        if self._background != "keep":
            inside = self._inside(index, where)
            rest = (
                Image.new("RGB", seen.size, GREY)
                if self._background == "grey"
                else seen.filter(ImageFilter.GaussianBlur(_BLUR * self._side))
            )
            seen = Image.composite(seen, rest, inside)
        return np.asarray(seen)

    def _cut(self, where: Window) -> Image.Image:
        height, width = self._masks.size
        x0, y0 = max(where.x0, 0), max(where.y0, 0)
        x1, y1 = min(where.x0 + where.side, width), min(where.y0 + where.side, height)
        scale = self._side / where.side
        left, top = round((x0 - where.x0) * scale), round((y0 - where.y0) * scale)
        across = max(round((x1 - where.x0) * scale) - left, 1)
        down = max(round((y1 - where.y0) * scale) - top, 1)
        part = self._picture.resize((across, down), Image.Resampling.BICUBIC, box=(x0, y0, x1, y1))
        if part.size == (self._side, self._side):
            return part
        seen = Image.new("RGB", (self._side, self._side), GREY)
        seen.paste(part, (left, top))
        return seen

    def _inside(self, index: int, where: Window) -> Image.Image:
        """How much of each pixel of the view the mask covers, 0 to 255."""
        y0, x0, crop = self._masks.crop(index)
        covered = np.zeros((where.side, where.side), np.uint8)
        top, left = y0 - where.y0, x0 - where.x0
        covered[top : top + crop.shape[0], left : left + crop.shape[1]] = crop * np.uint8(255)
        return Image.fromarray(covered).resize((self._side, self._side), Image.Resampling.BILINEAR)
