"""From the arrays of a network to `Instances`: scores first, boxes of the survivors, masks as runs.

No mask ever exists as pixels: per object the logits are evaluated at the prototype cells under its box, and
the borders are solved for between them. What a mask is, exactly: the picture pixels whose centre lies in the
object's box (x0 <= x + 0.5 < x1) and at whose centre the logits - coefficients times prototypes, interpolated
bilinearly between cell centres and constant beyond the outermost ones - are above 0, which is a probability
above one half. Interpolation comes before the threshold and goes from prototype cells to picture pixels in
one step, letterbox included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from delineate._native import _core
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.postprocess.semantic import semantic

Kind: TypeAlias = Literal["prototypes", "crops", "semantic", "panoptic", "pasted"]
"""The functions that read outputs, by name; see `instances`. "panoptic" is `crops` with logits of stuff behind it."""

BINS = 16  # of the distance distribution, per side of a box


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which detections count.

    >>> Thresholds(score=0.5)
    Thresholds(score=0.5, iou=0.7, max_detections=300, agnostic=False)
    """

    score: float = 0.25  # keep what scores above this; [0, 1]
    iou: float = 0.7  # drop a box that overlaps a better one of its class by more than this; 1 keeps all
    max_detections: int = 300  # the best so many of a picture
    agnostic: bool = False  # compare boxes across classes

    def __post_init__(self) -> None:
        for name in ("score", "iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"Thresholds: {name} must be within [0, 1], got {getattr(self, name)}")
        if not 1 <= self.max_detections < 2**31:
            raise ValueError(f"Thresholds: max_detections must be at least 1, got {self.max_detections}")


class Placement(NamedTuple):
    """Where a picture lies in the network's input: input = picture * scale + (left, top), in pixels.

    A pixel's centre is at its index + 0.5. `scale` is per axis, because sizes are rounded to whole pixels.

    >>> Placement(0.5, 0.5, 12, 0).to_picture(np.array([[10.0, 32.0, 20.0, 52.0]]))
    array([[20., 40., 40., 80.]])
    """

    scale_y: float
    scale_x: float
    top: float
    left: float

    def to_picture(self, boxes: NDArray[Any]) -> NDArray[np.float64]:
        """Boxes of the input as boxes of the picture, unclipped.

        Args:
            boxes: (N, 4) xyxy, input pixels.

        Returns:
            (N, 4) float64 xyxy, picture pixels.
        """
        shift = np.array([self.left, self.top] * 2, np.float64)
        return np.asarray((boxes - shift) / np.array([self.scale_x, self.scale_y] * 2, np.float64))


def instances(  # noqa: PLR0913  (what the functions need, together)
    kind: Kind,
    outputs: Sequence[NDArray[Any]],
    *,
    placement: Placement,
    size: Sequence[int],
    input_size: Sequence[int],
    thresholds: Thresholds,
    classes: int,
    strides: Sequence[int] = (8, 16, 32),
    threads: int = 0,
) -> Instances:
    """The instances of one picture, by the function of that name.

    Args:
        kind: Which kind of outputs it is: the name of a function of this module, which says the rest.
        outputs: Of the network.
        placement: Where the picture lies in the input.
        size: (height, width) of the picture.
        input_size: (height, width) of the network's input.
        thresholds: Which detections count.
        classes: Number of classes.
        strides: Input pixels per anchor, level by level.
        threads: Threads for the masks; 0 = as many as the process may use.

    >>> nothing = [np.zeros((0, 4), np.float32), np.zeros(0), np.zeros(0), np.zeros((0, 28, 28))]
    >>> where = Placement(1.0, 1.0, 0, 0)
    >>> sizes = {"placement": where, "size": (9, 8), "input_size": (32, 32)}
    >>> instances("crops", nothing, **sizes, thresholds=Thresholds(), classes=2)
    Instances(0, size=(9, 8), scores, masks)
    """
    shared: dict[str, Any] = {"placement": placement, "size": size, "thresholds": thresholds}
    shared |= {"classes": classes, "threads": threads}
    if kind in ("crops", "panoptic"):
        return crops(outputs[:4] if kind == "panoptic" else outputs, **shared)
    if kind == "semantic":
        del shared["threads"]
        return semantic(outputs, **shared, input_size=input_size)
    if kind == "pasted":
        from delineate.postprocess.pasted import pasted  # it needs `crops`

        return pasted(outputs, **shared, input_size=input_size)
    return prototypes(outputs, **shared, input_size=input_size, strides=strides)


def prototypes(
    outputs: Sequence[NDArray[Any]],
    *,
    placement: Placement,
    size: Sequence[int],
    input_size: Sequence[int],
    thresholds: Thresholds,
    classes: int,
    strides: Sequence[int] = (8, 16, 32),
    threads: int = 0,
) -> Instances:
    """Decode a head with mask prototypes to the instances of one picture.

    That is what YOLOv8-seg, YOLO11-seg and their kin put out. Three layouts are told apart by shape, for K
    classes, M coefficients and A anchors; a batch axis of 1 may lead each array:

    - ``(4 + K + M, A)``: centre x, centre y, width, height in input pixels, class probabilities,
      coefficients; also transposed;
    - ``(A, 64 + K + M)``: 4 x 16 distance bins, class logits, coefficients, one row per anchor;
    - ``(A, 64 + K)`` and ``(A, M)``: the same with the coefficients apart.

    The prototypes are ``(M, h, w)`` or ``(M, h * w)``; their stride follows from the input size. Layouts with
    bins need the anchors of `strides`, level by level, each row by row.

    One class per anchor: the best one. Dropped are anchors whose box is not finite or empty, or outside the
    picture, and detections without a single mask pixel (so fewer than max_detections may come back although
    more anchors passed); a NaN score never passes, NaN coefficients or prototypes give no mask.

    Args:
        outputs: The network's float arrays, in any order.
        placement: Where the picture lies in the input.
        size: (height, width) of the picture.
        input_size: (height, width) of the network's input.
        thresholds: Which detections count; they are applied to the boxes in the input.
        classes: Number of classes K.
        strides: Input pixels per anchor, level by level.
        threads: Threads for the masks; 0 = as many as the process may use.

    Returns:
        By falling score. The boxes are the network's, clipped to the picture; masks never leave them.

    Raises:
        ValueError: The shapes are none of the above.

    >>> head, cells = np.zeros((1, 4 + 1 + 1, 21), np.float32), np.ones((1, 1, 8, 8), np.float32)
    >>> head[0, :, 3] = [16, 16, 8, 4, 0.9, 1.0]  # one anchor: box, score, coefficient
    >>> where = Placement(1.0, 1.0, 0, 0)
    >>> sizes = {"placement": where, "size": (32, 32), "input_size": (32, 32)}
    >>> found = prototypes([head, cells], **sizes, thresholds=Thresholds(), classes=1)
    >>> found.boxes, found.masks.areas
    (array([[12., 14., 20., 18.]], dtype=float32), array([32]))
    """
    height, width = _pair("input_size", input_size)
    canvas = _pair("size", size)
    if classes < 1:
        raise ValueError(f"decode.prototypes: classes must be at least 1, got {classes}")
    if not strides or min(strides) < 1:
        raise ValueError(f"decode.prototypes: strides must be at least 1, got {tuple(strides)}")
    if not all(np.isfinite(placement)) or min(placement[:2]) <= 0:
        raise ValueError(f"decode.prototypes: placement must have positive, finite scales, got {placement}")
    arrays = [_checked(index, array) for index, array in enumerate(outputs)]
    head = _recognise(arrays, int(classes), (height, width), tuple(int(s) for s in strides))
    boxes, scores, labels, coefficients = _core.detect(
        head.numbers,
        head.layout,
        head.separate,
        int(classes),
        len(head.prototypes),
        (height, width),
        [int(stride) for stride in strides],
        thresholds.score,
        thresholds.iou,
        thresholds.max_detections,
        thresholds.agnostic,
    )
    limits = np.array([canvas[1], canvas[0]] * 2, np.float64)
    boxes = np.clip(placement.to_picture(boxes), 0, limits).astype(np.float32)
    seen = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    boxes, scores, labels, coefficients = boxes[seen], scores[seen], labels[seen], coefficients[seen]
    masks = _masks(boxes, coefficients, head.prototypes, placement, canvas, (height, width), threads)
    visible = masks.areas > 0
    return Instances(canvas, boxes[visible], labels[visible], scores[visible], masks[visible])


def crops(
    outputs: Sequence[NDArray[Any]],
    *,
    placement: Placement,
    size: Sequence[int],
    thresholds: Thresholds,
    classes: int,
    threads: int = 0,
) -> Instances:
    """Decode detections that carry a small mask of their own, as Mask R-CNN's do, to the instances of one picture.

    A mask is stretched over its box straight to runs. What it is, exactly: the picture pixels at whose centre
    the probability is at least one half, where probabilities are interpolated bilinearly between the centres
    of the crop's cells and fall to zero at the centres of a ring of cells around them. That is detectron2's
    paste in continuous coordinates. (torchvision's truncates a slightly larger box to whole pixels first: its
    outlines lie within two pixels of these.)

    Args:
        outputs: Float or integer arrays in this order; a batch axis of 1 may lead each: boxes (D, 4) xyxy in input
            pixels, scores (D,), labels (D,), and mask logits (D, h, w) of the labelled class; without these, or
            with (D, 0, 0), the instances have boxes only. Rows beyond the detections have a score of 0. The
            network has suppressed duplicates: the iou of `thresholds` is not used.
        placement: Where the picture lies in the input.
        size: (height, width) of the picture.
        thresholds: Which detections count.
        classes: Number of classes; other labels are dropped.
        threads: Threads for the masks; 0 = as many as the process may use.

    Returns:
        By falling score, ties in the order of the rows. Boxes are clipped to the picture before masks are
        stretched over them; what is not finite or empty then is dropped, and so is a detection without a
        single mask pixel, or with a mask that is not a number somewhere.

    Raises:
        ValueError: The shapes are not those.

    >>> boxes, masks = np.array([[2, 2, 6, 6]], np.float32), np.full((1, 28, 28), 9.0, np.float32)
    >>> found = crops([boxes, np.array([0.9]), np.array([1]), masks], placement=Placement(1.0, 1.0, 0, 0),
    ...     size=(8, 8), thresholds=Thresholds(), classes=2)
    >>> found.labels, found.masks.areas
    (array([1]), array([16]))
    """
    boxes, scores, labels, logits = _detections(outputs)
    order, placed = chosen((boxes, scores, labels), placement, size, thresholds, classes)
    canvas = _pair("size", size)
    if logits.shape[1:] == (0, 0):
        return Instances(canvas, placed, labels[order].astype(np.int64), scores[order])
    masks = Masks(_core.masks_from_crops(placed, logits[order], canvas, threads))
    visible = masks.areas > 0
    order = order[visible]
    return Instances(canvas, placed[visible], labels[order].astype(np.int64), scores[order], masks[visible])


def chosen(
    detections: Sequence[NDArray[Any]],
    placement: Placement,
    size: Sequence[int],
    thresholds: Thresholds,
    classes: int,
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Which rows of boxes, scores and labels count, best first, and their boxes (K, 4) clipped to the picture."""
    boxes, scores, labels = detections
    canvas = _pair("size", size)
    if classes < 1:
        raise ValueError(f"decode.crops: classes must be at least 1, got {classes}")
    if not all(np.isfinite(placement)) or min(placement[:2]) <= 0:
        raise ValueError(f"decode.crops: placement must have positive, finite scales, got {placement}")
    with np.errstate(invalid="ignore"):
        known = np.isfinite(labels) & (labels >= 0) & (labels < classes)
        wanted = known & (scores > thresholds.score) & np.isfinite(boxes).all(1)
    order = np.flatnonzero(wanted)
    order = order[np.argsort(-scores[order], kind="stable")][: thresholds.max_detections]
    limits = np.array([canvas[1], canvas[0]] * 2, np.float64)
    placed = np.clip(placement.to_picture(boxes[order]), 0, limits).astype(np.float32)
    seen = (placed[:, 2] > placed[:, 0]) & (placed[:, 3] > placed[:, 1])
    return order[seen], placed[seen]


def _detections(outputs: Sequence[NDArray[Any]]) -> tuple[NDArray[np.float32], ...]:
    """Boxes, scores, labels and mask logits, checked, float32 in C order, without the batch axis."""
    arrays = [np.asarray(array) for array in outputs]
    if len(arrays) == 3:
        arrays.append(np.zeros((*arrays[1].shape, 0, 0), np.float32))
    axes = (2, 1, 1, 3)
    if len(arrays) == len(axes):
        arrays = [a[0] if a.ndim == n + 1 and len(a) == 1 else a for a, n in zip(arrays, axes, strict=True)]
    shapes = [array.shape for array in arrays]
    count = shapes[0][0] if shapes and shapes[0] else 0
    fitting = [len(shape) for shape in shapes] == list(axes) and all(len(array) == count for array in arrays)
    if not fitting or shapes[0][1] != 4 or (not all(shapes[3][1:]) and any(shapes[3][1:])):
        raise ValueError(
            "decode.crops: outputs must be boxes (D, 4), scores (D,), labels (D,) and mask logits (D, h, w), "
            f"got {', '.join(str(shape) for shape in shapes) or 'nothing'}"
        )
    if any(array.dtype.kind not in "fiu" for array in arrays):
        raise TypeError(
            f"decode.crops: outputs must be numbers, got {[str(array.dtype) for array in arrays]}"
        )
    return tuple(np.ascontiguousarray(array, np.float32) for array in arrays)


def _pair(name: str, value: Sequence[int]) -> tuple[int, int]:
    height, width = (int(length) for length in value)
    if height < 1 or width < 1:
        raise ValueError(
            f"decode.prototypes: {name} must be (height, width) of at least 1, got {(height, width)}"
        )
    return height, width


def _masks(
    boxes: NDArray[np.float32],
    coefficients: NDArray[np.float32],
    cells: NDArray[np.float32],
    placement: Placement,
    size: tuple[int, int],
    input_size: tuple[int, int],
    threads: int,
) -> Masks:
    """The masks of boxes in picture pixels; cell coordinate = (pixel + 0.5) * step + offset."""
    per_input = cells.shape[1] / input_size[0], cells.shape[2] / input_size[1]
    step = placement.scale_y * per_input[0], placement.scale_x * per_input[1]
    offset = placement.top * per_input[0] - 0.5, placement.left * per_input[1] - 0.5
    return Masks(_core.masks_from_prototypes(boxes, coefficients, cells, size, step, offset, threads))


class _Head(NamedTuple):
    layout: str  # "columns", "rows" or "bins"
    numbers: NDArray[np.float32]
    separate: NDArray[np.float32] | None  # (A, M)
    prototypes: NDArray[np.float32]  # (M, h, w)


def _checked(index: int, array: NDArray[Any]) -> NDArray[np.float32]:
    """Float32 in C order without the batch axis: two axes, or three for prototypes."""
    array = np.asarray(array)
    if array.dtype.kind != "f":
        raise TypeError(f"decode.prototypes: outputs[{index}] must be a float array, got {array.dtype}")
    if array.ndim in (3, 4) and array.shape[0] == 1:
        array = array[0]
    if array.ndim not in (2, 3):
        raise ValueError(
            f"decode.prototypes: outputs[{index}] must have 2 or 3 axes after a batch axis of 1, "
            f"got shape {array.shape}"
        )
    return np.ascontiguousarray(array, np.float32)


def _recognise(
    arrays: list[NDArray[np.float32]], classes: int, size: tuple[int, int], strides: tuple[int, ...]
) -> _Head:
    """Try each array as the prototypes: planes before flattened ones, the last output first."""
    anchors = sum((size[0] // stride) * (size[1] // stride) for stride in strides)
    order = sorted(range(len(arrays)), key=lambda index: (arrays[index].ndim, index), reverse=True)
    for index in order:
        cells = arrays[index] if arrays[index].ndim == 3 else _unflattened(arrays[index], size)
        rest = arrays[:index] + arrays[index + 1 :]
        if cells is None or not cells.size or any(array.ndim != 2 for array in rest):
            continue
        depth = len(cells)
        if len(rest) == 1:
            layout = _layout(rest[0].shape, classes, depth, anchors)
            if layout is not None:
                return _Head(layout, rest[0], None, cells)
        elif len(rest) == 2:
            for head, separate in (rest, rest[::-1]):
                if head.shape == (anchors, 4 * BINS + classes) and separate.shape == (anchors, depth):
                    return _Head("bins", head, separate, cells)
    got = ", ".join(str(array.shape) for array in arrays) or "nothing"
    wide = 4 * BINS + classes
    raise ValueError(
        f"decode.prototypes: outputs must be prototypes (M, h, w) and a head for {classes} classes and an "
        f"input of {size[0]} x {size[1]}: ({4 + classes} + M, anchors), ({anchors}, {wide} + M), "
        f"or ({anchors}, {wide}) and ({anchors}, M); "
        f"got {got}. Check classes, input and strides"
    )


def _layout(shape: tuple[int, ...], classes: int, depth: int, anchors: int) -> str | None:
    if shape[0] == 4 + classes + depth:
        return "columns"
    if shape == (anchors, 4 * BINS + classes + depth):
        return "bins"
    return "rows" if shape[1] == 4 + classes + depth else None


def _unflattened(cells: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32] | None:
    """(M, h * w) as (M, h, w): the whole stride that gives this many cells."""
    count = cells.shape[1]
    stride = round((size[0] * size[1] / count) ** 0.5) if count else 0
    if stride < 1 or size[0] % stride or size[1] % stride or size[0] * size[1] != count * stride * stride:
        return None
    return cells.reshape(len(cells), size[0] // stride, size[1] // stride)
