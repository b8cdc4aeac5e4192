"""Augmentation: pure functions from (picture, instances, generator) to (picture, instances).

Masks stay run-length coded throughout; a picture is uint8 RGB (H, W, 3). Crowds are regions that teach the class of
their pixels and are no objects (stuff, groups of objects): they move with the picture, and what a window leaves too
little of becomes one. Where ``crowd`` is None there are no regions, and such objects are dropped.

Every random number comes from the `numpy.random.Generator` that the caller passes, so a sample is reproducible from
its seed alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from delineate.instances import Instances
from delineate.masks import Masks

Picture: TypeAlias = NDArray[np.uint8]
Sample: TypeAlias = tuple[Picture, Instances]

FILL = 114  # grey of the area outside a picture; the same value that `Preprocess` pads with


class Augment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `augment` does to a training sample. Probabilities are in [0, 1]; 0 turns a step off.

    >>> Augment(mosaic=0.0).scale
    (0.5, 2.0)
    """

    mosaic: float = 0.5  # probability of a canvas put together from four pictures
    copy_paste: float = 0.3  # probability of pasting objects of another picture
    pasted: int = 10  # at most this many objects a sample
    scale: tuple[float, float] = (0.5, 2.0)  # magnification, drawn log-uniformly
    flip: float = 0.5  # left-right; up-down likewise where rotate90 is on
    rotate90: bool = True  # off for scenes that have an up
    brightness: float = 0.2  # largest shift, as a part of the full range
    contrast: float = 0.4  # gain is drawn from [1 / (1 + c), 1 + c]
    gamma: float = 0.4  # likewise
    colour: float = 0.1  # largest relative gain of one channel
    saturation: float = 0.4  # largest relative change
    hue: float = 0.03  # largest turn of the hue circle
    invert: float = 0.0  # probability of the negative
    grey: float = 0.0  # probability of dropping the colour
    blur: float = 0.15  # probability of a Gaussian blur of up to 1.5 pixels
    noise: float = 0.2  # probability of Gaussian noise of up to 5 % of the range
    min_visible: float = 0.2  # an object cut below this part of its area is dropped
    min_area: int = 4  # as is one smaller than this, pixels


def window(sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
    """Cuts a window out of a sample; what lies outside the picture is filled with grey.

    Args:
        sample: The picture and its instances (with masks).
        top: First row of the window; may be negative.
        left: First column of the window; may be negative.
        height: Rows of the result, >= 1.
        width: Columns of the result, >= 1.

    Returns:
        The window, and all instances with their masks cut to it (also those that are now empty).
    """
    image, instances = sample
    rows, columns = image.shape[:2]
    out = np.full((height, width, 3), FILL, np.uint8)
    y0, y1 = max(top, 0), min(top + height, rows)
    x0, x1 = max(left, 0), min(left + width, columns)
    if y0 < y1 and x0 < x1:
        out[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    return out, _with_masks(instances, _masks(instances).translate(-top, -left, (height, width)))


def resize(sample: Sample, size: tuple[int, int]) -> Sample:
    """Scales a sample to `size` (height, width): bilinear with antialiasing for pixels, nearest for masks."""
    image, instances = sample
    if image.shape[:2] == size:
        return sample
    pixels = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(pixels), _with_masks(instances, _masks(instances).resize(size))


def flip(sample: Sample, *, horizontal: bool = True) -> Sample:
    """Mirrors a sample left-right, or up-down where `horizontal` is False."""
    image, instances = sample
    mirrored = np.ascontiguousarray(image[:, ::-1] if horizontal else image[::-1])
    return mirrored, _with_masks(instances, _masks(instances).flip(horizontal))


def rotate90(sample: Sample, k: int) -> Sample:
    """Turns a sample by k quarter turns, counter-clockwise as `numpy.rot90` does."""
    image, instances = sample
    return np.ascontiguousarray(np.rot90(image, k)), _with_masks(instances, _masks(instances).rotate90(k))


def random_window(sample: Sample, size: tuple[int, int], config: Augment, rng: np.random.Generator) -> Sample:
    """A window of `size` (height, width) pixels, drawn anywhere on the picture magnified by a random scale.

    A picture smaller than the window is placed at random inside it. Objects of which the window leaves less than
    `config.min_visible` of their area, or less than `config.min_area` pixels, are dropped (see `without`).
    """
    low, high = np.log(config.scale)
    scale = np.exp(rng.uniform(low, high))
    rows, columns = sample[0].shape[:2]
    height, width = (max(1, round(length / scale)) for length in size)
    top = _draw_offset(rows - height, rng)
    left = _draw_offset(columns - width, rng)
    image, instances = resize(window(sample, top, left, height, width), size)
    whole = _masks(sample[1]).areas * (size[0] * size[1] / (height * width))
    areas = _masks(instances).areas
    return image, without(instances, (areas < config.min_area) | (areas < config.min_visible * whole))


def without(instances: Instances, lost: NDArray[np.bool_]) -> Instances:
    """Instances without some of them, of which the pixels remain where there are crowds.

    Args:
        instances: N instances with masks.
        lost: (N,) bool, those that are to be objects no longer.

    Returns:
        The others if `instances.crowd` is None; else all that have pixels, the lost ones as crowds.

    >>> masks = Masks.from_dense(np.array([[[1, 0]], [[0, 1]]], bool))
    >>> len(without(Instances.of(masks), np.array([True, False])))
    1
    >>> without(Instances.of(masks, crowd=[False, False]), np.array([True, False])).crowd
    array([ True, False])
    """
    if instances.crowd is None:
        return instances[~lost]
    return instances.replace(crowd=instances.crowd | lost)[_masks(instances).areas > 0]


def mosaic(
    samples: Sequence[Sample], size: tuple[int, int], config: Augment, rng: np.random.Generator
) -> Sample:
    """Four windows around a random centre, one of each of four samples (Bochkovskiy et al. 2020, YOLOv4).

    Args:
        samples: Four samples; their order is the reading order of the quadrants.
        size: Height and width of the result, >= 4 each.
        config: Scale range and the least visible part of an object, as in `random_window`.
        rng: Draws the centre and the windows.

    Returns:
        The canvas, and the instances of the four windows, all on the canvas.
    """
    if len(samples) != 4:
        raise ValueError(f"mosaic: samples must have 4 entries, got {len(samples)}.")
    cy, cx = (int(rng.integers(length // 4, length - length // 4 + 1)) for length in size)
    spans = [(0, cy, 0, cx), (0, cy, cx, size[1]), (cy, size[0], 0, cx), (cy, size[0], cx, size[1])]
    canvas = np.empty((*size, 3), np.uint8)
    parts = []
    for sample, (y0, y1, x0, x1) in zip(samples, spans, strict=True):
        image, instances = random_window(sample, (y1 - y0, x1 - x0), config, rng)
        canvas[y0:y1, x0:x1] = image
        parts.append(_with_masks(instances, _masks(instances).translate(y0, x0, size)))
    return canvas, Instances.concat(parts)


def copy_paste(sample: Sample, source: Sample, count: int, rng: np.random.Generator) -> Sample:
    """Pastes up to `count` objects of `source` where they touch no object of `sample`.

    Objects are drawn at random and tried at one random place each (Ghiasi et al. 2021, Simple Copy-Paste; unlike there,
    an object is left out rather than put over another, so that no truth becomes partly hidden). Crowds are neither
    pasted nor in the way: what is pasted comes behind them in the list, and lies on top.
    """
    image, instances = sample
    height, width = image.shape[:2]
    chosen = rng.permutation(_objects(source[1]))[:count]
    if not len(chosen):
        return sample
    image = image.copy()
    for index in chosen:
        one = source[1][int(index) : int(index) + 1]
        y0, x0, bitmap = _masks(one).crop(0)
        rows, columns = bitmap.shape
        if not bitmap.any() or rows > height or columns > width:
            continue
        y, x = int(rng.integers(0, height - rows + 1)), int(rng.integers(0, width - columns + 1))
        moved = _with_masks(one, _masks(one).translate(y - y0, x - x0, (height, width)))
        if _masks(instances)[_objects(instances)].iou(_masks(moved)).any():
            continue
        target = image[y : y + rows, x : x + columns]
        target[bitmap] = source[0][y0 : y0 + rows, x0 : x0 + columns][bitmap]
        instances = Instances.concat([instances, moved])
    return image, instances


def photometric(image: Picture, config: Augment, rng: np.random.Generator) -> Picture:
    """Changes colours and sharpness: gain, shift, gamma, channel gains, saturation, hue, negative, blur, noise."""
    curve = np.linspace(0.0, 1.0, 256, dtype=np.float32)[:, None]
    curve = curve ** _draw_gain(config.gamma, rng) * _draw_gain(config.contrast, rng)
    curve = curve + rng.uniform(-config.brightness, config.brightness) * rng.random()
    curve = curve * (1 + rng.uniform(-config.colour, config.colour, 3)).astype(np.float32)
    if rng.random() < config.invert:
        curve = 1 - curve
    pixels = np.take_along_axis(
        np.clip(curve, 0, 1).astype(np.float32), image.reshape(-1, 3).astype(np.intp), axis=0
    )
    colour = _colour_matrix(config, rng)
    if colour is not None:
        pixels = pixels @ colour
    out = (np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8).reshape(image.shape)
    if rng.random() < config.blur:
        out = np.asarray(Image.fromarray(out).filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.5))))
    if rng.random() < config.noise:
        sigma = rng.uniform(0, 0.05 * 255)
        shape = out.shape if rng.random() < 0.5 else (*out.shape[:2], 1)
        out = np.clip(out + sigma * rng.standard_normal(shape, np.float32), 0, 255).astype(np.uint8)
    return out


def augment(
    samples: Sequence[Sample], size: tuple[int, int], config: Augment, rng: np.random.Generator
) -> Sample:
    """One training sample of `size` from one sample, or from four (see `samples_needed`).

    Args:
        samples: The sample itself, then three others where a mosaic or pasted objects were drawn.
        size: Height and width of the result.
        config: What to do, how often, how much.
        rng: Draws everything.
    """
    sample = (
        mosaic(samples, size, config, rng)
        if len(samples) == 4
        else random_window(samples[0], size, config, rng)
    )
    if len(samples) == 2 or (len(samples) == 4 and rng.random() < config.copy_paste):
        sample = copy_paste(sample, samples[-1], int(rng.integers(0, config.pasted + 1)), rng)
    return augment_whole(sample, config, rng)


def augment_whole(sample: Sample, config: Augment, rng: np.random.Generator) -> Sample:
    """A sample mirrored, turned (where it is square) and recoloured at random; its size stays."""
    if rng.random() < config.flip:
        sample = flip(sample)
    if config.rotate90:
        square = sample[0].shape[0] == sample[0].shape[1]
        sample = rotate90(sample, int(rng.integers(4))) if square else sample
    image, instances = sample
    return photometric(image, config, rng), instances


def samples_needed(config: Augment, rng: np.random.Generator) -> int:
    """How many samples `augment` is to be given: 4 for a mosaic, 2 to paste objects, else 1."""
    if rng.random() < config.mosaic:
        return 4
    return 2 if rng.random() < config.copy_paste else 1


def _masks(instances: Instances) -> Masks:
    if instances.masks is None:
        raise ValueError(
            "transforms: instances must have masks, got boxes alone. Convert them to masks first."
        )
    return instances.masks


def _objects(instances: Instances) -> NDArray[np.int64]:
    """Positions of what is no crowd."""
    return np.arange(len(instances)) if instances.crowd is None else np.flatnonzero(~instances.crowd)


def _with_masks(instances: Instances, masks: Masks) -> Instances:
    return instances.replace(size=masks.size, masks=masks, boxes=masks.boxes)


def _draw_offset(slack: int, rng: np.random.Generator) -> int:
    return int(rng.integers(min(slack, 0), max(slack, 0) + 1))


def _draw_gain(largest: float, rng: np.random.Generator) -> float:
    limit = np.log1p(largest)
    return float(np.exp(rng.uniform(-limit, limit)))


def _colour_matrix(config: Augment, rng: np.random.Generator) -> NDArray[np.float32] | None:
    """The 3 x 3 matrix (RGB rows to RGB columns) that turns the hue and scales the saturation; None for identity."""
    grey = rng.random() < config.grey
    if not grey and not config.saturation and not config.hue:
        return None
    angle = 2 * np.pi * rng.uniform(-config.hue, config.hue)
    gain = 0.0 if grey else 1 + rng.uniform(-config.saturation, config.saturation)
    # YIQ: row vectors, luma first; hue turns the (I, Q) plane, saturation scales it.
    to_yiq = np.array([[0.299, 0.596, 0.211], [0.587, -0.274, -0.523], [0.114, -0.322, 0.312]])
    turn = np.eye(3)
    turn[1:, 1:] = gain * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return (to_yiq @ turn @ np.linalg.inv(to_yiq)).astype(np.float32)
