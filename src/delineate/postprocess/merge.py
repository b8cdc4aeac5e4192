"""Non-maximum merging: objects that overlap too much become one, instead of all but the best going.

For pieces of one object, as tiles and proposals leave them.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from delineate import algebra
from delineate._native import _core
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.pairs import overlaps
from delineate.postprocess.nms import best_first, check_labels, check_threshold, neighbours, scored_objects


def leaders(
    objects: Masks | ArrayLike,
    scores: ArrayLike,
    threshold: float,
    labels: ArrayLike | None = None,
    *,
    measure: Literal["iou", "minimum"] = "minimum",
) -> NDArray[np.int64]:
    """(N,) the index of the object that each is merged into; of those that stay, their own.

    Best score first, an object takes all that overlap it and are not taken (greedy non-maximum merging, as SAHI
    and supervision name it). Overlap is measured between the objects as given, not with what was merged already.

    Args:
        objects: N masks, or (N, 4) boxes x0, y0, x1, y1.
        scores: (N,) without NaN; of equal ones the lower index comes first.
        threshold: 0 to 1; objects that overlap at least so much are merged, if they share anything.
        labels: (N,) whole numbers; objects of different labels leave each other alone.
        measure: "minimum": shared area over the smaller area, so pieces join the whole; or "iou".

    >>> leaders([[0, 0, 4, 4], [0, 0, 8, 4], [6, 0, 9, 4]], [0.5, 0.9, 0.7], threshold=0.8)
    array([1, 1, 2])
    """
    if measure not in ("iou", "minimum"):
        raise ValueError(f'leaders: measure must be "iou" or "minimum", got {measure!r}.')
    found = overlaps(objects, measure=measure, min_value=check_threshold(threshold))
    count = len(objects) if isinstance(objects, Masks) else len(np.asarray(objects))
    order, classes = best_first(scores, count), check_labels(labels, count)
    if classes is not None:
        same = classes[found.first] == classes[found.second]
        found = type(found)(*(column[same] for column in found))
    offsets, others, _ = neighbours(found, count)
    return _core.group_greedily(order, offsets, others).view(np.int64)


def merge(
    instances: Instances,
    threshold: float = 0.5,
    *,
    measure: Literal["iou", "minimum"] = "minimum",
    agnostic: bool = False,
) -> Instances:
    """Instances that overlap become one, by falling score.

    It covers what any of them covers: the union of the masks, the box around the boxes. Score, label, ids and
    extras are those of the best. Which are merged is said in `leaders`; overlap is that of the masks, or of the
    boxes where there are no masks.

    Args:
        instances: N scored instances.
        threshold: 0 to 1, the least overlap.
        measure: "minimum" or "iou".
        agnostic: Instances of different labels are merged too.

    >>> found = Instances((10, 10), [[0, 0, 4, 4], [2, 0, 8, 4], [6, 6, 9, 9]], [0, 0, 1], [0.5, 0.9, 0.7])
    >>> merge(found).boxes
    array([[0., 0., 8., 4.],
           [6., 6., 9., 9.]], dtype=float32)
    """
    scores, objects = scored_objects(instances)
    labels = None if agnostic else instances.labels
    found = leaders(objects, scores, threshold, labels, measure=measure)
    order = best_first(scores, len(instances))
    best = order[found[order] == order]
    group = np.empty(len(instances), np.int64)
    group[best] = np.arange(len(best))
    group = group[found]
    boxes = instances.boxes[best]
    np.minimum.at(boxes[:, :2], group, instances.boxes[:, :2])
    np.maximum.at(boxes[:, 2:], group, instances.boxes[:, 2:])
    masks = None if instances.masks is None else algebra.merge(instances.masks, group, len(best))
    return instances[best].replace(boxes=boxes, masks=masks)
