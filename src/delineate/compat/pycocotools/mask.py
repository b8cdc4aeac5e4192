"""``pycocotools.mask``: functions on run-length dicts, with the same arrays in and out.

A mask is a dict of ``size`` [height, width] and ``counts`` (compressed, bytes; str is taken too). Bitmaps are
uint8 of shape (H, W, N) in Fortran order. Boxes are x, y, width, height in pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from delineate._native import _core
from delineate.masks import Masks

Rle: TypeAlias = dict[str, Any]


def encode(bimask: NDArray[Any]) -> Any:  # noqa: ANN401 (a dict or a list of them, as pycocotools)
    """Run-length dicts of bitmaps.

    Args:
        bimask: (H, W, N) uint8 or bool gives a list, (H, W) gives one dict. Fortran order is fastest; other
            orders are taken as well.

    Raises:
        ValueError: The array is neither of that shape nor of that type.

    >>> encode(np.asfortranarray(np.eye(2, dtype=np.uint8)))
    {'size': [2, 2], 'counts': b'0120'}
    """
    if not isinstance(bimask, np.ndarray) or bimask.ndim not in (2, 3):
        raise ValueError(f"bimask must be an array (H, W) or (H, W, N), got {_told(bimask)}.")
    if bimask.ndim == 2:
        rle: Rle = encode(bimask[:, :, None])[0]
        return rle
    return _dicts(Masks.from_dense(bimask.transpose(2, 0, 1)))


def decode(rleObjs: Any) -> NDArray[np.uint8]:  # noqa: ANN401
    """Bitmaps of run-length dicts: (H, W, N) uint8 in Fortran order for a list, (H, W) for one dict.

    No masks at all give (0, 0, 0).
    """
    if not isinstance(rleObjs, list):
        return decode([rleObjs])[:, :, 0]
    masks = _masks(rleObjs)
    # Rows of the transposed canvas are columns of ours: the result is in Fortran order without a copy.
    flipped = Masks(_core.masks_transpose(masks.runs)).to_dense()
    return flipped.view(np.uint8).transpose(2, 1, 0)


def area(rleObjs: Any) -> Any:  # noqa: ANN401
    """Numbers of covered pixels: (N,) uint32 for a list of dicts, one uint32 for one dict."""
    if not isinstance(rleObjs, list):
        return area([rleObjs])[0]
    return np.concatenate([np.zeros(0, np.uint32), *(m.areas.astype(np.uint32) for m in _groups(rleObjs))])


def toBbox(rleObjs: Any) -> NDArray[np.float64]:  # noqa: ANN401
    """Tight boxes x, y, width, height: (N, 4) float64 for a list of dicts, (4,) for one; zeros where empty."""
    if not isinstance(rleObjs, list):
        one: NDArray[np.float64] = toBbox([rleObjs])[0]
        return one
    boxes = np.concatenate([np.zeros((0, 4)), *(m.boxes.astype(np.float64) for m in _groups(rleObjs))])
    boxes[:, 2:] -= boxes[:, :2]
    return boxes


def merge(rleObjs: Sequence[Rle], intersect: bool | int = False) -> Rle:
    """The union of masks, or what all of them share.

    No masks, or masks of different sizes, give an empty mask of size [0, 0], as in pycocotools.
    """
    sizes = {tuple(rle["size"]) for rle in rleObjs}
    if len(sizes) != 1:
        return {"size": [0, 0], "counts": b""}
    masks = _masks(rleObjs)
    if not intersect:
        return _dicts(masks.union())[0]
    # What all share is what no complement covers. A leading run of zeros swaps zeros and ones.
    return _dicts(_complement(_complement(masks).union()))[0]


def iou(dt: Any, gt: Any, pyiscrowd: ArrayLike) -> Any:  # noqa: ANN401
    """Intersection over union of every detection with every truth.

    Args:
        dt: D run-length dicts, or boxes: a list of lists, or (D, 4).
        gt: G of the same kind.
        pyiscrowd: (G,) flags; at a crowd, the intersection is divided by the area of the detection.

    Returns:
        (D, G) float64 in Fortran order, -1 where masks have different sizes; an empty list where D or G is 0.

    Raises:
        ValueError: One side is of boxes, the other of masks; something is neither.
    """
    crowd = np.ascontiguousarray(pyiscrowd, np.uint8)
    if len(crowd) != len(gt):
        raise AssertionError(f"pyiscrowd must have one flag for each of {len(gt)} gt, got {len(crowd)}.")
    found, known = _objects("dt", dt), _objects("gt", gt)
    if len(found) == 0 or len(known) == 0:
        return []
    if isinstance(found, np.ndarray) and isinstance(known, np.ndarray):
        return np.asfortranarray(_box_iou(found, known, crowd))
    if isinstance(found, np.ndarray) or isinstance(known, np.ndarray):
        raise ValueError("dt and gt must be of one kind, got boxes and masks.")
    if len({tuple(rle["size"]) for rle in (*found, *known)}) == 1:
        return np.asfortranarray(_core.masks_iou(_masks(found).runs, _masks(known).runs, crowd))
    return _iou_of_sizes(found, known, crowd)


def frPyObjects(pyobj: Any, h: int, w: int) -> Any:  # noqa: ANN401
    """Run-length dicts of polygons, boxes or uncompressed dicts.

    Args:
        pyobj: A list of polygons [x, y, x, y, ...], a list or (N, 4) array of boxes, or a list of dicts with
            a list of counts: gives a list. One of them alone gives one dict.
        h: Height of the canvas in pixels.
        w: Width of the canvas in pixels.

    Raises:
        ValueError: It is nothing of that.

    >>> frPyObjects([[1, 1, 3, 1, 3, 3, 1, 3]], 4, 5)
    [{'size': [4, 5], 'counts': b'52207'}]
    """
    if isinstance(pyobj, np.ndarray):
        return _from_polygons([_box_polygon(box) for box in pyobj], h, w)
    if isinstance(pyobj, Mapping):
        return _from_counts([pyobj])[0]
    if not isinstance(pyobj, list):
        raise ValueError(f"pyobj must be a list of polygons, boxes or run-length dicts, got {_told(pyobj)}.")
    if isinstance(pyobj[0], Mapping):
        return _from_counts(pyobj)
    if not isinstance(pyobj[0], list | tuple | np.ndarray):
        return frPyObjects([pyobj], h, w)[0]
    if len(pyobj[0]) == 4:
        return _from_polygons([_box_polygon(box) for box in pyobj], h, w)
    return _from_polygons(pyobj, h, w)


def _told(value: object) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def _masks(rles: Sequence[Rle]) -> Masks:
    return Masks.from_rle(rles) if len(rles) else Masks.empty((0, 0))


def _groups(rles: Sequence[Rle]) -> list[Masks]:
    """All masks in order, cut where the size changes."""
    starts = [i for i, rle in enumerate(rles) if i == 0 or list(rle["size"]) != list(rles[i - 1]["size"])]
    return [_masks(rles[a:b]) for a, b in itertools.pairwise([*starts, len(rles)])]


def _dicts(masks: Masks) -> list[Rle]:
    strings = _core.masks_to_strings(masks.runs)
    return [{"size": list(masks.size), "counts": text.encode("ascii")} for text in strings]


def _complement(masks: Masks) -> Masks:
    counts = [masks.counts(i) for i in range(len(masks))]
    turned = [c[1:] if len(c) and c[0] == 0 else np.concatenate([np.zeros(1, np.uint32), c]) for c in counts]
    offsets = np.concatenate([[0], np.cumsum([len(c) for c in turned])])
    return Masks.from_counts(np.concatenate(turned), offsets, masks.size)


def _from_polygons(polygons: Sequence[Any], h: int, w: int) -> list[Rle]:
    # An odd number at the end is dropped, as in pycocotools.
    parts = [[polygon[: len(polygon) // 2 * 2]] for polygon in polygons]
    return _dicts(Masks.from_polygons(parts, (int(h), int(w))))


def _box_polygon(box: Sequence[float]) -> list[float]:
    x, y, right, bottom = box[0], box[1], box[0] + box[2], box[1] + box[3]
    return [x, y, x, bottom, right, bottom, right, y]


def _from_counts(rles: Sequence[Any]) -> list[Rle]:
    return [rle for masks in _groups(rles) for rle in _dicts(masks)]


def _objects(name: str, objects: Any) -> Any:  # noqa: ANN401
    """Boxes as (N, 4) float64, or the list of run-length dicts as it is."""
    if len(objects) == 0:
        return objects
    if isinstance(objects, list) and all(isinstance(one, dict) for one in objects):
        return objects
    listed = isinstance(objects, list) and all(isinstance(one, list | tuple | np.ndarray) for one in objects)
    boxes = np.asarray(objects, np.float64) if listed or isinstance(objects, np.ndarray) else np.zeros(0)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{name} must be a list of run-length dicts or boxes (N, 4), got {_told(objects)}.")
    return boxes


def _box_iou(
    dt: NDArray[np.float64], gt: NDArray[np.float64], crowd: NDArray[np.uint8]
) -> NDArray[np.float64]:
    # The order of the operations is pycocotools' own: the last bit of the ratio depends on it.
    a, b = dt[:, None], gt[None]
    sides = np.minimum(a[..., 2:] + a[..., :2], b[..., 2:] + b[..., :2]) - np.maximum(a[..., :2], b[..., :2])
    common = np.where((sides > 0).all(axis=2), sides[..., 0] * sides[..., 1], 0.0)
    own = np.broadcast_to(a[..., 2] * a[..., 3], common.shape)
    whole = np.where(crowd != 0, own, own + b[..., 2] * b[..., 3] - common)
    return np.divide(common, whole, out=np.zeros(common.shape), where=common > 0)


def _iou_of_sizes(dt: list[Rle], gt: list[Rle], crowd: NDArray[np.uint8]) -> NDArray[np.float64]:
    values = np.full((len(dt), len(gt)), -1.0, order="F")
    sizes = [np.array([tuple(rle["size"]) for rle in side]) for side in (dt, gt)]
    for size in np.unique(sizes[0], axis=0):
        rows, columns = (np.flatnonzero((side == size).all(axis=1)) for side in sizes)
        if len(columns):
            found, known = _masks([dt[i] for i in rows]), _masks([gt[i] for i in columns])
            values[np.ix_(rows, columns)] = found.iou(known, crowd[columns])
    return values
