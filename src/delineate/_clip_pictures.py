"""How pictures become the input of CLIP: what the files beside a model say of it, and doing it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from delineate.errors import FormatError

_FILES = "preprocessor_config.json", "preprocess_cfg.json"


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How a picture becomes the input of the picture half.

    >>> Recipe().side
    224
    """

    side: int = 224
    square: bool = False  # resized to the square; otherwise the shorter side is, and the middle cut out
    bicubic: bool = True  # otherwise bilinear
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)

    def __post_init__(self) -> None:
        if not 1 <= self.side <= 4096 or not all(value > 0 for value in self.std):
            raise ValueError(
                f"Recipe: side must be within 1..4096 and std above 0, got {self.side}, {self.std}"
            )


def prepare(pictures: Sequence[NDArray[np.uint8]], recipe: Recipe) -> NDArray[np.float32]:
    """Pictures as CLIP's network takes them.

    Resizing is Pillow's (antialiased, in whole grey levels), as in CLIP's own code.

    Args:
        pictures: N pictures (H, W, 3) uint8 RGB.
        recipe: Size and normalisation.

    Returns:
        (N, 3, side, side) float32.

    >>> prepare([np.zeros((50, 100, 3), np.uint8)], Recipe()).shape
    (1, 3, 224, 224)
    """
    side = recipe.side
    filtered = Image.Resampling.BICUBIC if recipe.bicubic else Image.Resampling.BILINEAR
    mean, std = np.array(recipe.mean, np.float32), np.array(recipe.std, np.float32)
    tensor = np.empty((len(pictures), 3, side, side), np.float32)
    for index, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        size = (side, side)
        if not recipe.square:
            scale = side / min(height, width)
            size = (
                side if width <= height else int(width * scale),
                side if height <= width else int(height * scale),
            )
        resized = Image.fromarray(picture)
        if resized.size != size:
            resized = resized.resize(size, filtered)
        left, top = (size[0] - side) // 2, (size[1] - side) // 2
        cut = np.asarray(resized.crop((left, top, left + side, top + side)), np.float32)
        tensor[index] = ((cut / np.float32(255) - mean) / std).transpose(2, 0, 1)
    return tensor


def read_recipe(places: Sequence[Path]) -> Recipe:
    """Of transformers' ``preprocessor_config.json`` or open_clip's ``preprocess_cfg.json``; CLIP's without either."""
    for place in places:
        path = next((place / name for name in _FILES if (place / name).is_file()), None)
        if path is not None:
            try:
                return _understood(msgspec.json.decode(path.read_bytes(), type=dict[str, Any]))
            except (msgspec.DecodeError, RecursionError, ValueError, TypeError) as error:
                raise FormatError(path, "", f"must say how pictures are prepared, got: {error}.") from error
    return Recipe()


def _understood(given: dict[str, Any]) -> Recipe:
    crop = given.get("crop_size") if given.get("do_center_crop", True) else None
    size = given.get("size", 224)
    sides = [_side(value) for value in (size, crop) if value is not None]
    if len(set(sides)) > 1:
        raise ValueError(f"size and crop_size must be alike, got {size} and {crop}")
    if given.get("resample", given.get("interpolation", 3)) not in (2, 3, "bicubic", "bilinear"):
        raise ValueError("resample must be 2 (bilinear) or 3 (bicubic)")
    if not math.isclose(given.get("rescale_factor", 1 / 255), 1 / 255):
        raise ValueError(f"rescale_factor must be 1/255, got {given['rescale_factor']}")
    named = {
        "mean": given.get("image_mean", given.get("mean")),
        "std": given.get("image_std", given.get("std")),
    }
    settings: dict[str, Any] = {
        "side": sides[0],
        "square": given.get("resize_mode") == "squash"
        or (isinstance(size, dict) and "height" in size and crop is None),
        "bicubic": given.get("resample", given.get("interpolation", 3)) in (3, "bicubic"),
        **{name: value for name, value in named.items() if value is not None},
    }
    return msgspec.convert(settings, Recipe)


def _side(value: Any) -> int:  # noqa: ANN401 - JSON
    """One number of 224, {"shortest_edge": 224}, {"height": 224, "width": 224} or [224, 224]."""
    found = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
    sides = {int(side) for side in found}
    if len(sides) != 1:
        raise ValueError(f"size must be square, got {value}")
    return sides.pop()
