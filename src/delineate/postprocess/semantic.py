"""From the logits of semantic networks to class maps, and to the connected parts of these as instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from delineate import algebra
from delineate.instances import Instances
from delineate.intensity import intensities

if TYPE_CHECKING:
    from delineate.postprocess.decode import Placement, Thresholds

_CELLS = 1 << 22  # logits at picture size that exist at a time


class ClassMap(NamedTuple):
    """The likeliest class of every pixel.

    Attributes:
        classes: (H, W) int32, index of the class; of equals the first.
        scores: (H, W) float32, its probability.
    """

    classes: NDArray[np.int32]
    scores: NDArray[np.float32]


def class_map(
    logits: NDArray[Any], *, placement: Placement, input_size: Sequence[int], size: Sequence[int]
) -> ClassMap:
    """The likeliest class of every picture pixel, from logits at a stride.

    Logits are interpolated bilinearly to the network's input, the picture's part is cut out and interpolated
    bilinearly to the picture, as the references do. No more than a band of the picture's logits exists at once.

    Args:
        logits: (C, h, w) or (1, C, h, w) floats, of the whole input.
        placement: Where the picture lies in the input.
        input_size: (height, width) of the input.
        size: (height, width) of the picture.

    Raises:
        ValueError: A shape does not fit, or a logit is not finite.

    >>> from delineate.postprocess.decode import Placement
    >>> logits = np.float32([[[9, 0], [0, 0]], [[0, 9], [9, 9]]])
    >>> where = Placement(0.5, 0.5, 0, 0)
    >>> class_map(logits, placement=where, input_size=(2, 2), size=(4, 4)).classes
    array([[0, 0, 1, 1],
           [0, 0, 1, 1],
           [1, 1, 1, 1],
           [1, 1, 1, 1]], dtype=int32)
    """
    cells = np.asarray(logits)
    cells = cells[0] if cells.ndim == 4 and len(cells) == 1 else cells
    if cells.ndim != 3 or not cells.size or cells.dtype.kind != "f" or not np.isfinite(cells).all():
        raise ValueError(
            f"class_map: logits must be finite (C, h, w) floats, got {cells.dtype} {cells.shape}"
        )
    cells = cells.astype(np.float32, copy=False)
    scales = placement.scale_y, placement.scale_x
    starts = int(placement.top), int(placement.left)
    (rows, columns), (height, width) = (
        tuple(
            _stretch(
                cells.shape[1 + axis], int(input_size[axis]), starts[axis], scales[axis], int(size[axis])
            )
            for axis in range(2)
        ),
        (int(size[0]), int(size[1])),
    )
    across = cells @ columns.T  # (C, h, W)
    classes, scores = np.empty((height, width), np.int32), np.empty((height, width), np.float32)
    step = max(1, _CELLS // (len(cells) * width))
    for top in range(0, height, step):
        band = np.tensordot(rows[top : top + step], across, (1, 1))  # (rows, C, W)
        best = band.max(1)
        classes[top : top + step] = band.argmax(1)
        np.exp(band - best[:, None], out=band)
        scores[top : top + step] = 1 / band.sum(1)
    return ClassMap(classes, scores)


def parts(found: ClassMap, *, background: int | None = 0) -> Instances:
    """The connected parts of a class map as instances: what a semantic network can say of objects.

    Objects of one class that touch, even at a corner, are one instance.

    Args:
        found: The class map.
        background: A class that is no object; None = every class counts.

    Returns:
        By falling score, the mean probability under the part; ties by class, then column by column.

    >>> classes = np.array([[0, 2, 0, 2]], np.int32)
    >>> parts(ClassMap(classes, np.array([[1, 0.5, 1, 0.75]], np.float32))).scores
    array([0.75, 0.5 ], dtype=float32)
    """
    masks, values = algebra.from_label_map((found.classes + 1).astype(np.uint32))
    pieces, owners = algebra.components(masks)
    labels = values.astype(np.int64)[owners] - 1
    if background is not None:
        pieces, labels = pieces[labels != background], labels[labels != background]
    scores = intensities(pieces, found.scores).mean.astype(np.float32)
    order = np.argsort(-scores, kind="stable")
    return Instances.of(pieces[order], labels[order], scores[order])


def semantic(
    outputs: Sequence[NDArray[Any]],
    *,
    placement: Placement,
    size: Sequence[int],
    input_size: Sequence[int],
    thresholds: Thresholds,
    classes: int,
) -> Instances:
    """Instances of a network that names the class of every pixel: the connected parts of its class map.

    Args:
        outputs: Logits (1, C + 1, h, w) of the background and the classes, at any stride.
        placement: Where the picture lies in the input.
        size: (height, width) of the picture.
        input_size: (height, width) of the input.
        thresholds: Which parts count; nothing is suppressed.
        classes: C.

    Returns:
        See `parts`; labels do not count the background.

    Raises:
        ValueError: The shapes are not those.
    """
    if len(outputs) != 1 or outputs[0].ndim < 3 or outputs[0].shape[-3] != classes + 1:
        raise ValueError(
            f"semantic: outputs must be logits of {classes + 1} channels for {classes} classes and the "
            f"background, got {[array.shape for array in outputs]}"
        )
    found = parts(class_map(outputs[0], placement=placement, input_size=input_size, size=size))
    scores = found.scores if found.scores is not None else np.zeros(0, np.float32)
    found = found[np.flatnonzero(scores > thresholds.score)[: thresholds.max_detections]]
    return found.replace(labels=found.labels - 1)


def _stretch(cells: int, side: int, start: int, scale: float, length: int) -> NDArray[np.float32]:
    """(length, cells): the weights of cells in picture pixels along one axis.

    Both interpolations in one matrix, which has at most four entries in a row where the picture is no smaller
    than its part of the input.
    """
    content = round(length * scale)
    if cells < 1 or length < 1 or content < 1 or not 0 <= start <= side - content:
        raise ValueError(
            f"class_map: the picture's {length} pixels must lie in the input's {side}, "
            f"got {content} from {start} on"
        )
    return _bilinear(content, length) @ _bilinear(cells, side)[start : start + content]


def _bilinear(source: int, target: int) -> NDArray[np.float32]:
    """(target, source): bilinear interpolation between pixel centres, constant beyond the outermost ones."""
    at = np.clip((np.arange(target) + 0.5) * (source / target) - 0.5, 0, source - 1)
    low = np.minimum(at.astype(np.int64), max(source - 2, 0))
    weights = np.zeros((target, source), np.float32)
    rows = np.arange(target)
    weights[rows, low] = 1 - (at - low)
    weights[rows, np.minimum(low + 1, source - 1)] += at - low
    return weights
