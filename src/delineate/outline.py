"""Masks as polygons with holes and parts: exact, simplified under a bound, or as single rings without holes.

Coordinates are x, y in pixels on the grid between pixels: pixel column j covers [j, j + 1). An exterior runs
clockwise as displayed, its holes the other way; with y counted downwards this is also what GeoJSON asks for.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from delineate import _mask_inputs as inputs
from delineate._native import _core
from delineate.masks import Masks


@dataclass(frozen=True, slots=True, eq=False)
class Polygon:
    """One part of a mask: an exterior ring and the rings of its holes.

    A ring is (K, 2), x and y, K >= 3; the last corner is joined to the first.
    """

    exterior: NDArray[Any]
    holes: tuple[NDArray[Any], ...] = ()

    @property
    def rings(self) -> tuple[NDArray[Any], ...]:
        """The exterior, then the holes."""
        return self.exterior, *self.holes

    def coordinates(self) -> list[list[list[float]]]:
        """The `coordinates` of a GeoJSON Polygon: plain lists, each ring ends with its first corner again.

        >>> Polygon(np.array([[0, 0], [2, 0], [2, 1]])).coordinates()
        [[[0, 0], [2, 0], [2, 1], [0, 0]]]
        """
        return [np.concatenate([ring, ring[:1]]).tolist() for ring in self.rings]


def polygons(masks: Masks) -> list[list[Polygon]]:
    """The exact outlines along the edges of pixels, each part of a mask with its holes.

    Args:
        masks: N masks.

    Returns:
        For each mask its parts, with int32 corners, in the order of `Masks.to_polygons`; a mask without pixels
        has none. Pixels that touch only at a corner are parts of their own. Rings of one mask may meet at
        corners, and cross nowhere. `fill` gives the same masks back, to the bit.

    >>> ring = np.ones((1, 3, 3), bool)
    >>> ring[0, 1, 1] = False
    >>> [[part]] = polygons(Masks.from_dense(ring))
    >>> part.exterior.tolist(), [hole.tolist() for hole in part.holes]
    ([[0, 3], [0, 0], [3, 0], [3, 3]], [[[1, 1], [1, 2], [2, 2], [2, 1]]])
    """
    return _grouped(*_core.masks_trace(masks.runs))


def _grouped(points: NDArray[Any], rings: NDArray[np.int64], masks: NDArray[np.int64]) -> list[list[Polygon]]:
    """Rings in the order of the tracer, as polygons: an exterior goes round its area in the positive sense."""
    exterior = _doubled_areas(points, rings) > 0
    outlines = [points[begin:end] for begin, end in itertools.pairwise(rings.tolist())]
    starts = np.flatnonzero(exterior)
    parts = [
        Polygon(outlines[begin], tuple(outlines[begin + 1 : end]))
        for begin, end in itertools.pairwise([*starts.tolist(), len(outlines)])
    ]
    bounds = np.searchsorted(starts, masks).tolist()
    return [parts[begin:end] for begin, end in itertools.pairwise(bounds)]


def _doubled_areas(points: NDArray[Any], rings: NDArray[np.int64]) -> NDArray[np.float64]:
    """(R,) twice the signed area of each ring."""
    if len(rings) == 1:
        return np.empty(0)
    following = np.arange(1, len(points) + 1)
    following[rings[1:] - 1] = rings[:-1]
    x, y = points.T.astype(np.float64)
    areas: NDArray[np.float64] = np.add.reduceat(x * y[following] - x[following] * y, rings[:-1])
    return areas


def simplify(
    masks: Masks, *, max_distance: float | None = None, min_iou: float | None = None
) -> list[list[Polygon]]:
    """Polygons with few corners that stay as close to the masks as asked for; exactly one bound is given.

    For a distance, corners are corners of pixels and middles of straight pieces of the outline, and every ring has
    the fewest of them: the shortest closed path over all admissible lines (Imai and Iri, 1988) through one of
    several starts; of equals the one with the least area in between. For an overlap, the distance is searched that
    just keeps it (on long outlines, wide ones only between the corners of a finer polygon), and sides are laid
    along the lines of least squares through what they replace, so that a polygon lies as much inside as outside.
    Where such rings would cross themselves or each other, or leave a hole or a part on the wrong side, corners are
    put back. So the polygons are valid, with the parts and holes of `polygons` in the same order; what the bound
    asks for is measured on the result, not assumed.

    Args:
        masks: N masks.
        max_distance: Pixels, at least 0: the Hausdorff distance between each ring and its exact outline is at
            most that.
        min_iou: 0 to 1: the masks that `fill` makes of the polygons overlap the given ones at least so much.

    Returns:
        For each mask its parts, float64 corners in steps of half a pixel.

    Raises:
        ValueError: Not exactly one bound, or one out of its range.

    >>> y, x = np.mgrid[:60, :60]
    >>> disc = Masks.from_dense(((y - 30) ** 2 + (x - 30) ** 2 < 625)[None])
    >>> exact, near = polygons(disc)[0][0], simplify(disc, min_iou=0.95)[0][0]
    >>> len(exact.exterior) > 100, len(near.exterior) < 12
    (True, True)
    >>> bool(fill([[near]], disc.size).iou(disc) >= 0.95)
    True
    """
    if (max_distance is None) == (min_iou is None):
        raise ValueError(f"one of max_distance and min_iou must be given, got {max_distance} and {min_iou}.")
    if max_distance is not None:
        if not 0 <= max_distance < np.inf:
            raise ValueError(f"max_distance must be at least 0 pixels, got {max_distance}.")
        points, rings, owners = _core.masks_simplify_within(masks.runs, min(float(max_distance), 1e8))
    else:
        if min_iou is None or not 0 <= min_iou <= 1:
            raise ValueError(f"min_iou must be within 0 to 1, got {min_iou}.")
        points, rings, owners = _core.masks_simplify_to_iou(masks.runs, float(min_iou))
    return _grouped(points / 2, rings, owners)


def fill(shapes: Sequence[Sequence[Polygon]], size: tuple[int, int]) -> Masks:
    """Masks from polygons with holes: what an odd number of the rings of one mask cover.

    Every ring is filled by the rule of pycocotools, as in `Masks.from_polygons`; exact outlines come back to the
    bit.

    Args:
        shapes: For each of N masks its parts; no part: an empty mask. Corners may lie beyond the canvas (cut).
        size: (height, width) pixels.

    >>> square, hole = np.array([[0, 0], [4, 0], [4, 4], [0, 4]]), np.array([[1, 1], [1, 3], [3, 3], [3, 1]])
    >>> fill([[Polygon(square, (hole,))], []], (4, 4)).areas
    array([12,  0])
    """
    size = inputs.check_size(size)
    rings = [[ring for part in parts for ring in part.rings] for parts in shapes]
    xy, points, masks = inputs.flatten_polygons(rings)
    return Masks(_core.masks_from_rings(*size, xy, points, masks))


def bridged(shapes: Masks | Sequence[Sequence[Polygon]]) -> list[list[NDArray[Any]]]:
    """One ring for each part, for formats without holes, such as the text files of YOLO.

    A hole is joined to what lies left of it by a cut without width, along the row of its leftmost corner,
    which the ring runs along twice.

    Args:
        shapes: N masks, whose exact outlines are taken, or polygons, such as `simplify` gives.

    Returns:
        For each mask one ring (K, 2) for each part. `Masks.from_polygons` of the rings of exact outlines is
        the same mask, to the bit.

    >>> ring = np.ones((1, 3, 3), bool)
    >>> ring[0, 1, 1] = False
    >>> masks = Masks.from_dense(ring)
    >>> [[outline]] = bridged(masks)
    >>> len(outline), Masks.from_polygons([[outline]], (3, 3)) == masks
    (11, True)
    """
    parts = polygons(shapes) if isinstance(shapes, Masks) else shapes
    return [[_joined(part) for part in mask] for mask in parts]


def _joined(part: Polygon) -> NDArray[Any]:
    ring = part.exterior
    # Left of its leftmost corner a hole sees the exterior, or a hole that starts further left.
    for hole in sorted(part.holes, key=lambda hole: hole[:, 0].min()):
        start = int(np.lexsort((hole[:, 1], hole[:, 0]))[0])
        ring = _cut(ring, np.roll(hole, -start, axis=0))
    return ring


def _cut(ring: NDArray[Any], hole: NDArray[Any]) -> NDArray[Any]:
    """The ring with a detour: along the row of hole[0] to the hole, round it and back."""
    x, y = hole[0].tolist()
    before, after = ring.astype(np.float64), np.roll(ring, -1, axis=0).astype(np.float64)
    low, high = np.minimum(before[:, 1], after[:, 1]), np.maximum(before[:, 1], after[:, 1])
    met = np.flatnonzero((low <= y) & (y <= high) & (low < high))
    share = (y - before[met, 1]) / (after[met, 1] - before[met, 1])
    at = before[met, 0] + share * (after[met, 0] - before[met, 0])
    left = at <= x
    if not left.any():
        raise ValueError(f"shapes: holes must lie inside their exterior, got one that starts at ({x}, {y}).")
    nearest = np.argmax(np.where(left, at, -np.inf))
    k = int(met[nearest])
    point = np.array([[at[nearest], y]])
    if (point % 1 == 0).all():
        point = point.astype(np.result_type(ring, hole))
    return np.concatenate([ring[: k + 1], point, hole, hole[:1], point, ring[k + 1 :]])
