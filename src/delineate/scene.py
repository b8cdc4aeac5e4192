"""Pictures of any size as class maps and panoptic pictures: contrast, tiles, network, and the parts put together.

Of a picture in tiles the class map of each tile counts up to the middle of what it shares with its neighbours; objects
are joined as `postprocess.tiles` says.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from delineate.instances import Instances
from delineate.masks import Masks
from delineate.modelfile import Preprocess
from delineate.panoptic import Panoptic
from delineate.postprocess import semantic
from delineate.postprocess.decode import Placement, Thresholds
from delineate.postprocess.panoptic import Rules, combine, halves, stuff_labels
from delineate.postprocess.semantic import ClassMap
from delineate.postprocess.tiles import Tile

Run: TypeAlias = Callable[[NDArray[np.float32], tuple[int, int]], Sequence[NDArray[Any]]]
"""A network: its input (1, 3, h, w) and the (height, width) of that without the padding, to its outputs."""


def class_map(image: NDArray[np.uint8], preprocess: Preprocess, run: Run, *, threads: int = 1) -> ClassMap:
    """The class of every pixel, by a semantic network.

    Args:
        image: (H, W, 3) uint8 RGB.
        preprocess: How it becomes the network's input.
        run: The network: one output, logits (1, C, h, w).
        threads: Threads of the preparation; 0 = as many as the process may use.

    Raises:
        ValueError: The outputs are not that.

    >>> def bright(tensor, _):
    ...     return [np.concatenate([0.5 - tensor[:, :1], tensor[:, :1] - 0.5], axis=1)]
    >>> picture = np.array([[[0] * 3, [255] * 3]], np.uint8)
    >>> class_map(picture, Preprocess(rule="native", multiple=1), bright).classes
    array([[0, 1]], dtype=int32)
    """
    parts: list[ClassMap] = []

    def look(tensor: NDArray[np.float32], placement: Placement, size: tuple[int, int]) -> Instances:
        outputs = run(tensor, preprocess.place(size)[1])
        if len(outputs) != 1:
            raise ValueError(f"scene.class_map: outputs must be logits alone, got {len(outputs)} arrays")
        parts.append(
            semantic.class_map(outputs[0], placement=placement, input_size=tensor.shape[2:], size=size)
        )
        return _nothing(size)

    preprocess.segment(image, look, threads=threads)
    return _joined(parts, preprocess.tiles(image.shape[:2]), image.shape[:2])


def panoptic(
    image: NDArray[np.uint8],
    preprocess: Preprocess,
    run: Run,
    *,
    thresholds: Thresholds,
    classes: int,
    rules: Rules | None = None,
    threads: int = 0,
) -> Panoptic:
    """The panoptic picture of a network that finds things and stuff.

    Args:
        image: (H, W, 3) uint8 RGB.
        preprocess: How it becomes the network's input.
        run: The network, with the outputs of `postprocess.panoptic.panoptic`.
        thresholds: Which detections are looked at.
        classes: C, classes of things.
        rules: What becomes a segment; None = `Rules()`.
        threads: Threads for preparation and masks; 0 = as many as the process may use.

    Returns:
        Labels below C are things, C to C + S - 1 the stuff.

    Raises:
        ValueError: The outputs are not those.
    """
    parts: list[ClassMap] = []
    stuff = np.zeros(0, np.int64)

    def look(tensor: NDArray[np.float32], placement: Placement, size: tuple[int, int]) -> Instances:
        nonlocal stuff
        outputs = run(tensor, preprocess.place(size)[1])
        found, part = halves(
            outputs,
            placement=placement,
            size=size,
            input_size=tensor.shape[2:],
            thresholds=thresholds,
            classes=classes,
            threads=threads,
        )
        stuff = stuff_labels(outputs, classes)
        parts.append(part)
        return found

    things = preprocess.segment(image, look, threads=threads)
    return combine(things, _joined(parts, preprocess.tiles(image.shape[:2]), image.shape[:2]), stuff, rules)


def _nothing(size: tuple[int, int]) -> Instances:
    """No objects, as tiles have them."""
    return Instances.of(Masks.empty(size), np.zeros(0, np.int64), np.zeros(0, np.float32))


def _joined(parts: Sequence[ClassMap], windows: Sequence[Tile], size: Sequence[int]) -> ClassMap:
    """One class map of those of the tiles."""
    if len(parts) == 1:
        return parts[0]
    shape = int(size[0]), int(size[1])
    whole = ClassMap(np.empty(shape, np.int32), np.empty(shape, np.float32))
    rows = _seams(sorted({(tile.top, tile.height) for tile in windows}), shape[0])
    columns = _seams(sorted({(tile.left, tile.width) for tile in windows}), shape[1])
    for part, tile in zip(parts, windows, strict=True):
        (top, bottom), (left, right) = rows[tile.top], columns[tile.left]
        inside = slice(top - tile.top, bottom - tile.top), slice(left - tile.left, right - tile.left)
        for canvas, own in zip(whole, part, strict=True):
            canvas[top:bottom, left:right] = own[inside]
    return whole


def _seams(spans: Sequence[tuple[int, int]], length: int) -> dict[int, tuple[int, int]]:
    """Start of each tile along an axis -> the part of the picture that is its own."""
    middles = [(start + length + after) // 2 for (start, length), (after, _) in itertools.pairwise(spans)]
    borders = [0, *middles, length]
    return {start: (borders[n], borders[n + 1]) for n, (start, _) in enumerate(spans)}
