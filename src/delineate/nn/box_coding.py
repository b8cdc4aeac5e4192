"""Boxes as offsets from other boxes: what R-CNN heads predict (Girshick et al. 2014, arXiv:1311.2524, appendix C)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LARGEST_LOG = math.log(1000 / 16)  # a side grows at most 62.5-fold, so that exp cannot overflow


def encode(boxes: Tensor, anchors: Tensor, weights: tuple[float, float, float, float]) -> Tensor:
    """Offsets that lead from anchors to boxes.

    Args:
        boxes: (N, 4) xyxy, with positive sides.
        anchors: (N, 4) xyxy, with positive sides.
        weights: Factors on the offsets of x, y, log width and log height.

    Returns:
        (N, 4): shift of the centre in anchor sides, logarithm of the ratio of the sides; each times its weight.

    >>> box, anchor = torch.tensor([[0.0, 0.0, 4.0, 2.0]]), torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    >>> encode(box, anchor, (10.0, 10.0, 5.0, 5.0))
    tensor([[5.0000, 0.0000, 3.4657, 0.0000]])
    """
    sides, anchor_sides = boxes[:, 2:] - boxes[:, :2], anchors[:, 2:] - anchors[:, :2]
    centres, anchor_centres = boxes[:, :2] + 0.5 * sides, anchors[:, :2] + 0.5 * anchor_sides
    offsets = torch.cat(((centres - anchor_centres) / anchor_sides, (sides / anchor_sides).log()), 1)
    return offsets * offsets.new_tensor(weights)


def decode(
    offsets: Tensor, anchors: Tensor, weights: tuple[float, float, float, float], *, floored: bool = False
) -> Tensor:
    """Boxes that offsets lead to: the inverse of `encode`, but for the cap on the sides' growth.

    Args:
        offsets: (..., 4) as `encode` gives them; log ratios above `LARGEST_LOG` are capped.
        anchors: (..., 4) xyxy, of a shape that broadcasts with `offsets`.
        weights: Those of `encode`.
        floored: Log ratios below minus `LARGEST_LOG` are raised to it (mmdetection).

    Returns:
        (..., 4) xyxy.

    >>> decode(torch.tensor([[5.0, 0.0, 0.0, 100.0]]), torch.tensor([[0.0, 0.0, 2.0, 2.0]]), (10.0, 10.0, 5.0, 5.0))
    tensor([[  1.0000, -61.5000,   3.0000,  63.5000]])
    """
    sides = anchors[..., 2:] - anchors[..., :2]
    centres = anchors[..., :2] + 0.5 * sides
    offsets = offsets / offsets.new_tensor(weights)
    centres = offsets[..., :2] * sides + centres
    ratios = offsets[..., 2:].clamp(min=-LARGEST_LOG if floored else None, max=LARGEST_LOG)
    halves = 0.5 * (ratios.exp() * sides)
    return torch.cat((centres - halves, centres + halves), -1)


def clip(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Boxes cut at the borders of their pictures.

    Args:
        boxes: (..., 4) xyxy.
        sizes: (..., 2) height and width, of a shape that broadcasts with the boxes.

    >>> clip(torch.tensor([-3.0, 2.0, 9.0, 5.0]), torch.tensor([4, 8]))
    tensor([0., 2., 8., 4.])
    """
    limits = sizes.to(boxes).flip(-1)
    low = torch.minimum(boxes[..., :2].clamp(min=0), limits)
    return torch.cat((low, torch.minimum(boxes[..., 2:].clamp(min=0), limits)), -1)


def pairwise_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of every box with every other.

    Args:
        boxes: (N, 4) xyxy.
        others: (M, 4) xyxy.

    Returns:
        (N, M) in [0, 1]; not a number where both are empty.

    >>> pairwise_iou(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 0.0, 3.0, 2.0], [5.0, 5.0, 6.0, 6.0]]))
    tensor([[0.3333, 0.0000]])
    """
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    other_area = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    width = torch.minimum(boxes[:, None, 2], others[:, 2]) - torch.maximum(boxes[:, None, 0], others[:, 0])
    height = torch.minimum(boxes[:, None, 3], others[:, 3]) - torch.maximum(boxes[:, None, 1], others[:, 1])
    shared = width.clamp_(min=0).mul_(height.clamp_(min=0))
    return shared / (area[:, None] + other_area - shared)
