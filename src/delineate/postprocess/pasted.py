"""What the exports of torchvision's detectors put out, as `Instances`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from delineate._native import _core
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.postprocess.decode import Placement, Thresholds, chosen, crops

_BELOW_HALF = np.nextafter(np.float32(0.5), np.float32(0))  # "at least one half" is "above" this
_NEARLY = np.float32(1e-7)  # how near a probability may be to 0 or 1 for its logit to stay finite


def pasted(
    outputs: Sequence[NDArray[Any]],
    *,
    placement: Placement,
    size: Sequence[int],
    input_size: Sequence[int],
    thresholds: Thresholds,
    classes: int,
    threads: int = 0,
) -> Instances:
    """Decode what torchvision's Mask R-CNN and Faster R-CNN put out to the instances of one picture.

    Masks come pasted into the input, as probabilities: a pixel belongs to a mask whose probability there is at
    least one half. Where the input has not the picture's size, probabilities are interpolated bilinearly between
    pixel centres first. Masks of another size, such as 28 x 28, are those of the boxes, and go the way of
    `decode.crops`.

    Args:
        outputs: In any order: boxes (D, 4) xyxy in input pixels, scores (D,), integer labels (D,) that count from 1
            as 0 is the background, and, unless boxes alone are found, mask probabilities (D, 1, h, w).
        placement: Where the picture lies in the input.
        size: (height, width) of the picture.
        input_size: (height, width) of the network's input.
        thresholds: Which detections count. The network has suppressed duplicates: its iou is not used.
        classes: Number of classes, without the background.
        threads: Threads for the masks; 0 = as many as the process may use.

    Returns:
        By falling score, ties in the order of the rows. Boxes are clipped to the picture; what is empty or not
        finite then is dropped, and so is a detection without a single mask pixel.

    Raises:
        ValueError: The shapes are not those, or a label that counts is above `classes`.

    >>> found = np.zeros((1, 1, 8, 8), np.float32)
    >>> found[0, 0, 2:6, 3:5] = 0.8
    >>> outputs = [np.float32([[3, 2, 5, 6]]), np.array([2]), np.float32([0.9]), found]
    >>> where = {"placement": Placement(1.0, 1.0, 0, 0), "size": (8, 8), "input_size": (8, 8)}
    >>> instances = pasted(outputs, **where, thresholds=Thresholds(), classes=2)
    >>> instances.labels, instances.masks.areas
    (array([1]), array([8]))
    """
    boxes, scores, labels, planes = _in_order(outputs)
    counted = labels[scores > thresholds.score]
    if len(counted) and counted.max() >= classes:
        raise ValueError(
            f"pasted: labels must be within 1..{classes}, the number of classes, got {int(counted.max()) + 1}. "
            "Name all classes of the model"
        )
    shared: dict[str, Any] = {"placement": placement, "size": size, "thresholds": thresholds}
    if planes is None or planes.shape[1:] != tuple(input_size):
        rest = []
        if planes is not None:
            sure = np.clip(planes, _NEARLY, 1 - _NEARLY)
            rest.append(np.log(sure / (1 - sure)))
        return crops([boxes, scores, labels, *rest], **shared, classes=classes, threads=threads)
    order, placed = chosen((boxes, scores, labels), **shared, classes=classes)
    canvas = int(size[0]), int(size[1])
    if placement == Placement(1.0, 1.0, 0.0, 0.0) and planes.shape[1:] == canvas:
        masks = Masks.from_dense(planes[order] > _BELOW_HALF) if len(order) else Masks.empty(canvas)
    else:
        masks = _resized(boxes[order], planes[order], placement, canvas, threads)
    seen = masks.areas > 0
    return Instances(
        canvas, placed[seen], labels[order][seen].astype(np.int64), scores[order][seen], masks[seen]
    )


def _resized(
    boxes: NDArray[np.float32],
    planes: NDArray[np.float32],
    placement: Placement,
    size: tuple[int, int],
    threads: int,
) -> Masks:
    """Masks at picture size from probabilities at input size, plane by plane: no two of them are mixed."""
    side = boxes[:, 2:] - boxes[:, :2]
    reach = side / 14 + 2  # torchvision pastes a ring of one 28th around the box, rounded to whole pixels
    around = placement.to_picture(np.concatenate((boxes[:, :2] - reach, boxes[:, 2:] + reach), 1))
    around = np.clip(around, 0, np.array([size[1], size[0]] * 2)).astype(np.float32)
    step = placement.scale_y, placement.scale_x
    offset = placement.top - 0.5, placement.left - 0.5
    one = np.ones((1, 1), np.float32)
    found = [
        Masks(
            _core.masks_from_prototypes(
                box[None], one, (plane - _BELOW_HALF)[None], size, step, offset, threads
            )
        )
        for box, plane in zip(around, planes, strict=True)
    ]
    return Masks.concat(found) if found else Masks.empty(size)


def _in_order(
    outputs: Sequence[NDArray[Any]],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64], NDArray[np.float32] | None]:
    """Boxes, scores, labels from 0, and mask probabilities (D, h, w), known by their shapes and types."""
    arrays = [np.asarray(array) for array in outputs]
    boxes = [a for a in arrays if a.ndim == 2 and a.shape[1] == 4]
    scores = [a for a in arrays if a.ndim == 1 and a.dtype.kind == "f"]
    labels = [a for a in arrays if a.ndim == 1 and a.dtype.kind in "iu"]
    planes = [a for a in arrays if a.ndim == 4 and a.shape[1] == 1 and a.shape[2] and a.shape[3]]
    counts = {len(array) for array in arrays}
    if (
        [len(boxes), len(scores), len(labels)] != [1, 1, 1]
        or len(planes) != len(arrays) - 3
        or len(counts) > 1
    ):
        raise ValueError(
            "pasted: outputs must be boxes (D, 4), scores (D,), integer labels (D,) and masks (D, 1, h, w), "
            f"got {', '.join(f'{a.shape} {a.dtype}' for a in arrays) or 'nothing'}"
        )
    return (
        np.ascontiguousarray(boxes[0], np.float32),
        np.ascontiguousarray(scores[0], np.float32),
        labels[0].astype(np.int64) - 1,
        np.ascontiguousarray(planes[0][:, 0], np.float32) if planes else None,
    )
