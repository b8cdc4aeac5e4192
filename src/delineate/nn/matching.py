"""Which object a box shall learn, and which boxes are drawn (Ren et al. 2015, arXiv:1506.01497, section 3.1.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from delineate.nn.box_coding import pairwise_iou

BACKGROUND, IGNORED = -1, -2

_CELLS = 1 << 18  # overlaps in memory at a time: 1 MB, which stays in a core's cache


@torch.no_grad()
def match(
    objects: Tensor, boxes: Tensor, *, high: float, low: float, rescue: bool, taken_from: float | None = None
) -> Tensor:
    """The object that each box overlaps most, if that is enough.

    Memory does not grow with objects x boxes.

    Args:
        objects: (M, 4) xyxy.
        boxes: (N, 4) xyxy, anchors or proposals, with positive areas.
        high: IoU from which a box belongs to its object.
        low: IoU below which it is background; in between it is ignored.
        rescue: Boxes that overlap some object more than all others do (ties included, an overlap of nothing
            excluded) belong to their own best object, however low the overlap. Departure from torchvision and
            detectron2, where one object that no box overlaps (of no area, or outside of the picture) makes
            every box that does not overlap it an object's box, all over the picture. It never shows where
            anchors cover the picture, as those of every published network do.
        taken_from: With `rescue`: such boxes belong to the object that they were the best for (the last such
            object), if the overlap is at least this (mmdetection).

    Returns:
        (N,) int64: row of `objects`, `BACKGROUND` or `IGNORED`. Without objects all are background.

    >>> objects = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
    >>> boxes = torch.tensor([[0.0, 0.0, 4.0, 3.0], [0.0, 0.0, 4.0, 1.5], [8.0, 8.0, 9.0, 9.0]])
    >>> match(objects, boxes, high=0.7, low=0.3, rescue=True)
    tensor([ 0, -2, -1])
    """
    if not len(objects) or not len(boxes):
        return torch.full((len(boxes),), BACKGROUND, device=boxes.device)
    step = max(_CELLS // len(objects), 1)
    parts = [boxes[begin : begin + step] for begin in range(0, len(boxes), step)]
    best, owners, highest = [], [], torch.zeros(len(objects), device=boxes.device, dtype=boxes.dtype)
    for part in parts:
        overlap = pairwise_iou(objects, part)
        value, owner = overlap.max(0)
        best.append(value)
        owners.append(owner)
        highest = torch.maximum(highest, overlap.amax(1))
    value, owner = torch.cat(best), torch.cat(owners)
    result = torch.where(value < high, torch.where(value < low, BACKGROUND, IGNORED), owner)
    if not rescue:
        return result
    enough = (highest > 0) & (highest >= (taken_from or 0.0))
    wanted = torch.where(enough, highest, torch.inf)[:, None]
    candidates = (value >= wanted.min()).nonzero()[
        :, 0
    ]  # the others overlap nothing as much as any object's best
    for begin in range(0, len(candidates), step):
        rows = candidates[begin : begin + step]
        best_for = pairwise_iou(objects, boxes[rows]) == wanted
        saved = best_for.any(0)
        last = len(objects) - 1 - best_for.flip(0).int().argmax(0)
        result[rows[saved]] = (owner[rows] if taken_from is None else last)[saved]
    return result


def sample(matches: Tensor, count: int, share: float) -> tuple[Tensor, Tensor]:
    """Draw boxes that belong to objects, and background, at random.

    Args:
        matches: (N,) int64, what `match` returned.
        count: Boxes to draw; fewer when there are not as many.
        share: Of them that belong to objects, at most; background fills up.

    Returns:
        Two int64 tensors of indices, in random order: objects' boxes, background.

    >>> positive, negative = sample(torch.tensor([-1, 0, -2, 1, -1, -1]), 4, 0.25)
    >>> len(positive), len(negative), bool((negative != 2).all())
    (1, 3, True)
    """
    positive = (matches >= 0).nonzero()[:, 0]
    negative = (matches == BACKGROUND).nonzero()[:, 0]
    positives = min(len(positive), int(count * share))
    negatives = min(len(negative), count - positives)
    positive = positive[torch.randperm(len(positive), device=matches.device)[:positives]]
    return positive, negative[torch.randperm(len(negative), device=matches.device)[:negatives]]
