"""Task-aligned assignment (Feng et al. 2021, arXiv:2108.07755) of objects to anchors, without dense tables.

Every object competes only for the anchors whose centres lie inside its box. These (object, anchor) pairs are
enumerated by index arithmetic, so the cost grows with the area of the objects and not with objects x anchors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from delineate.models import Target


class Objects(NamedTuple):
    """All objects of a batch in one list.

    Attributes:
        boxes: (M, 4) float32, xyxy input pixels.
        labels: (M,) int64 class indices.
        images: (M,) int64, the picture of each object.
    """

    boxes: Tensor
    labels: Tensor
    images: Tensor


class Positives(NamedTuple):
    """The anchors that learn an object; no anchor appears twice.

    Attributes:
        images: (P,) int64, picture.
        anchors: (P,) int64, anchor within the picture.
        objects: (P,) int64, row of `Objects`.
        scores: (P,) float32 in [0, 1], the soft target of the object's class.
    """

    images: Tensor
    anchors: Tensor
    objects: Tensor
    scores: Tensor


def gather_objects(
    targets: Sequence[Target], images: int, classes: int, canvas: tuple[int, int], device: torch.device
) -> Objects:
    """All objects of a batch in one list, checked.

    Args:
        targets: One per picture.
        images: Pictures in the batch.
        classes: Number of classes.
        canvas: Height and width of the input, pixels.
        device: Where the result shall be.

    Raises:
        ValueError: If the number of targets, a shape, a label or a canvas does not fit.
    """
    if len(targets) != images:
        raise ValueError(f"losses: targets must have {images} entries, one per picture, got {len(targets)}")
    for index, (boxes, labels, masks, *_) in enumerate(targets):
        where = f"losses: target {index}"
        if boxes.shape != (len(labels), 4):
            raise ValueError(f"{where}: boxes must have shape ({len(labels)}, 4), got {tuple(boxes.shape)}")
        if masks is None:
            continue
        if len(masks) != len(labels):
            raise ValueError(f"{where}: masks must be {len(labels)}, one per label, got {len(masks)}")
        if tuple(masks.size) != canvas:
            raise ValueError(f"{where}: masks must be on the input canvas {canvas}, got {tuple(masks.size)}")
    flat = torch.cat([target.labels for target in targets])
    if len(flat) and not 0 <= int(flat.min()) <= int(flat.max()) < classes:
        got = f"{int(flat.min())}..{int(flat.max())}"
        raise ValueError(f"losses: labels must be in 0..{classes - 1}, got {got}")
    counts = torch.tensor([len(target.labels) for target in targets])
    boxes = torch.cat([target.boxes for target in targets]).float()
    return Objects(boxes.to(device), flat.to(device), torch.repeat_interleave(counts).to(device))


def ragged_cells(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The cells of many boxes in one flat list, box after box and row by row.

    Args:
        boxes: (K, 4) int64, xyxy in cells, half-open. A box without cells adds nothing.

    Returns:
        Three (T,) int64 tensors: the box that a cell belongs to, its row and its column.

    >>> ragged_cells(torch.tensor([[0, 0, 2, 1], [5, 5, 5, 9], [3, 4, 4, 6]]))
    (tensor([0, 0, 2, 2]), tensor([0, 0, 4, 5]), tensor([0, 1, 3, 3]))
    """
    widths = (boxes[:, 2] - boxes[:, 0]).clamp(min=0)
    counts = widths * (boxes[:, 3] - boxes[:, 1]).clamp(min=0)
    owners = torch.repeat_interleave(counts)
    local = torch.arange(len(owners), device=boxes.device) - (counts.cumsum(0) - counts)[owners]
    rows = local.div(widths[owners], rounding_mode="floor")
    columns = local - rows * widths[owners] + boxes[owners, 0]
    return owners, rows + boxes[owners, 1], columns


def candidates(
    boxes: Tensor, sizes: list[tuple[int, int]], strides: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """The (object, anchor) pairs whose anchor centre lies inside the object's box.

    A box thinner than the finest stride is widened to it, so that every object has at least one candidate.

    Args:
        boxes: (M, 4) float32, xyxy input pixels.
        sizes: Height and width of every level, in cells.
        strides: Pixels per cell of every level, rising.

    Returns:
        Two (T,) int64 tensors: object and anchor (level-major, then rows).
    """
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    halves = ((boxes[:, 2:] - boxes[:, :2]) / 2).clamp(min=strides[0] / 2)
    low, high = middles - halves, middles + halves
    objects, anchors, offset = [], [], 0
    for level, ((height, width), stride) in enumerate(zip(sizes, strides, strict=True)):
        limits = torch.tensor([width, height], device=boxes.device)
        first = (low / stride - 0.5).ceil().long().clamp(min=0)
        last = torch.minimum((high / stride - 0.5).ceil().long(), limits)
        if level == 0:  # rounding must not take the only candidate of a tiny object away
            first = torch.minimum(first, limits - 1)
            last = torch.maximum(last, first + 1)
        owners, rows, columns = ragged_cells(torch.cat((first, last), 1))
        objects.append(owners)
        anchors.append(offset + rows * width + columns)
        offset += height * width
    return torch.cat(objects), torch.cat(anchors)


def box_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of row i with row i.

    Args:
        boxes: (P, 4) xyxy.
        others: (P, 4) xyxy.

    Returns:
        (P,) in [0, 1]; 0 where both are empty.

    >>> box_iou(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 0.0, 3.0, 2.0]]))
    tensor([0.3333])
    """
    sides = (torch.minimum(boxes[:, 2:], others[:, 2:]) - torch.maximum(boxes[:, :2], others[:, :2])).clamp(
        min=0
    )
    shared = sides.prod(1)
    union = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (others[:, 2:] - others[:, :2]).prod(1) - shared
    return shared / union.clamp(min=1e-9)


@torch.no_grad()
def assign(
    boxes: Tensor,
    logits: Tensor,
    objects: Objects,
    pairs: tuple[Tensor, Tensor],
    *,
    top: int,
    exponents: tuple[float, float],
) -> Positives:
    """Give every object its best anchors: those with the highest score^alpha * iou^beta.

    An anchor wanted by several objects goes to the one that its predicted box overlaps most (ties: the first
    object). The soft targets of an object are its anchors' metrics, scaled so that the best equals the
    best IoU.

    Args:
        boxes: (B, A, 4) predicted boxes, xyxy input pixels.
        logits: (B, A, C) class logits.
        objects: The truth.
        pairs: What `candidates` returned for `objects.boxes`.
        top: Anchors per object at most.
        exponents: alpha of the score and beta of the IoU.
    """
    owners, anchors = pairs
    alpha, beta = exponents
    images = objects.images[owners]
    scores = logits[images, anchors, objects.labels[owners]].float().sigmoid()
    ious = box_iou(boxes[images, anchors], objects.boxes[owners]).clamp(
        min=1e-4
    )  # 1e-4 ** 6 is still a float32
    metrics = scores.clamp(min=1e-8).pow(alpha) * ious.pow(beta)

    order = _order(owners, metrics)
    counts = torch.bincount(owners, minlength=len(objects.labels))
    ranks = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[owners[order]]
    kept = order[ranks < top]

    places = images[kept] * logits.shape[1] + anchors[kept]
    order = _order(places, ious[kept])
    places = places[order]
    first = torch.ones_like(places, dtype=torch.bool)
    first[1:] = places[1:] != places[:-1]
    kept = kept[order[first]]

    owners, metrics, ious = owners[kept], metrics[kept], ious[kept]
    nothing = metrics.new_zeros(len(objects.labels))
    best = nothing.scatter_reduce(0, owners, metrics, "amax")
    best_iou = nothing.scatter_reduce(0, owners, ious, "amax")
    return Positives(images[kept], anchors[kept], owners, metrics / best[owners] * best_iou[owners])


def _order(groups: Tensor, values: Tensor) -> Tensor:
    """Indices that sort by group, within a group by falling value, and keep the order of ties."""
    order = values.argsort(descending=True, stable=True)
    return order[groups[order].argsort(stable=True)]
