"""Pictures larger than a network takes: segmented in overlapping tiles, and put together without seams.

An object in the overlap of two tiles is found twice, and may be cut by a tile's border once. Of two finds of one
class that share more than half of the smaller one's pixels the whole one stays, or else the better one. An object
that fits into the overlap is whole in some tile, so its tile does not matter; a larger one may end at a seam.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from delineate.instances import Instances

SAME = 0.5  # part of the smaller mask's area from which two finds are one object


class Tile(NamedTuple):
    """A window of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int


def tiles(size: Sequence[int], side: int, overlap: int) -> list[Tile]:
    """Evenly spaced windows that cover a picture, row by row.

    Args:
        size: (height, width) of the picture.
        side: Largest height and width of a tile, more than `overlap`.
        overlap: Pixels that neighbours share at least.

    >>> tiles((10, 25), side=10, overlap=2)
    [Tile(top=0, left=0, height=10, width=10), Tile(top=0, left=8, height=10, width=10),
     Tile(top=0, left=15, height=10, width=10)]
    """
    if not 0 <= overlap < side:
        raise ValueError(
            f"tiles: side must be more than overlap, and that at least 0, got {side} and {overlap}"
        )
    rows, columns = (_spans(int(length), side, overlap) for length in size)
    return [Tile(top, left, height, width) for top, height in rows for left, width in columns]


def segment_tiled(
    image: NDArray[np.uint8], segment: Callable[[NDArray[np.uint8]], Instances], side: int, overlap: int
) -> Instances:
    """The objects of a picture of any size.

    Args:
        image: (H, W, 3).
        segment: Finds the objects of one tile, with scores and masks.
        side: Largest height and width that `segment` is given.
        overlap: Pixels that neighbouring tiles share at least; at best the size of the largest object.

    Returns:
        The instances by falling score, on the canvas of the picture. A picture of one tile is passed through.
    """
    size = image.shape[0], image.shape[1]
    windows = tiles(size, side, overlap)
    if len(windows) == 1:
        return segment(image)
    kept, whole = Instances.empty(size, scored=True), np.zeros(0, bool)
    for tile in windows:
        pixels = np.ascontiguousarray(
            image[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]
        )
        found = segment(pixels)
        uncut = _is_whole(found, tile, size)
        found = _placed(found, tile, size)
        stay, join = _settle(kept, whole, found, uncut)
        kept = Instances.concat([kept[stay], found[join]])
        whole = np.concatenate([whole[stay], uncut[join]])
    scores = np.zeros(len(kept)) if kept.scores is None else kept.scores
    return kept[np.argsort(-scores, kind="stable")]


def _spans(length: int, side: int, overlap: int) -> list[tuple[int, int]]:
    """Starts and lengths of the windows along one axis."""
    if length <= side:
        return [(0, length)]
    count = -(-(length - overlap) // (side - overlap))
    return [(round(i * (length - side) / (count - 1)), side) for i in range(count)]


def _is_whole(found: Instances, tile: Tile, size: tuple[int, int]) -> NDArray[np.bool_]:
    """True for the objects that no border between tiles can have cut."""
    boxes = found.boxes if found.masks is None else found.masks.boxes
    cut = (
        ((boxes[:, 0] < 1) & (tile.left > 0))
        | ((boxes[:, 1] < 1) & (tile.top > 0))
        | ((boxes[:, 2] > tile.width - 1) & (tile.left + tile.width < size[1]))
        | ((boxes[:, 3] > tile.height - 1) & (tile.top + tile.height < size[0]))
    )
    return np.asarray(~cut)


def _placed(found: Instances, tile: Tile, size: tuple[int, int]) -> Instances:
    """The same instances on the canvas of the whole picture."""
    if found.masks is None:
        raise ValueError("segment_tiled: instances of a tile must have masks, got boxes alone")
    shift = np.array([tile.left, tile.top] * 2, np.float32)
    masks = found.masks.translate(tile.top, tile.left, size)
    return found.replace(size=size, boxes=found.boxes + shift, masks=masks)


def _settle(
    kept: Instances, whole: NDArray[np.bool_], found: Instances, uncut: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which of the objects so far stay, and which of the new ones join."""
    stay: NDArray[np.bool_] = np.ones(len(kept), bool)
    join: NDArray[np.bool_] = np.ones(len(found), bool)
    if not len(kept) or not len(found):
        return stay, join
    reach = np.concatenate([found.boxes[:, :2].min(0), found.boxes[:, 2:].max(0)])
    near = np.flatnonzero((kept.boxes[:, :2] < reach[2:]).all(1) & (kept.boxes[:, 2:] > reach[:2]).all(1))
    if not len(near) or kept.masks is None or found.masks is None:
        return stay, join
    old = kept.masks[near]
    iou = old.iou(found.masks)
    areas, others = old.areas[:, None], found.masks.areas[None]
    shared = iou * (areas + others) / (1 + iou)
    same = (shared > SAME * np.minimum(areas, others)) & (kept.labels[near][:, None] == found.labels[None])
    # A whole object beats a cut one, whatever their scores, which are in [0, 1].
    old_rank = kept.scores[near] + 2.0 * whole[near] if kept.scores is not None else 2.0 * whole[near]
    new_rank = found.scores + 2.0 * uncut if found.scores is not None else 2.0 * uncut
    join[:] = ~(same & (old_rank[:, None] >= new_rank[None])).any(0)
    stay[near] = ~(same & join[None] & (new_rank[None] > old_rank[:, None])).any(1)
    return stay, join
