"""Greedy suppression of overlapping boxes on plain torch, without a loop over boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from delineate.nn.box_coding import pairwise_iou

_BLOCK = 1024  # boxes whose overlaps are in memory at a time


@torch.no_grad()
def nms(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Boxes that no better box of their group overlaps by more than `threshold`.

    Exactly the greedy result: it is the only set in which a box is present if and only if no better member
    suppresses it, and repeating that rule from any start finds it after as many rounds as the longest chain
    of boxes that suppress one another.

    Args:
        boxes: (N, 4) xyxy, finite.
        scores: (N,) of the boxes.
        groups: (N,) int64, such as classes or levels: only boxes of one group suppress each other.
        threshold: IoU above which the lesser box is dropped.

    Returns:
        (K,) int64 indices by falling score; ties in the order of the boxes.

    >>> boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.9], [0.0, 0.0, 2.0, 2.0]])
    >>> nms(boxes, torch.tensor([0.5, 0.9, 0.7]), torch.tensor([0, 0, 1]), 0.5)
    tensor([1, 2])
    """
    order = scores.argsort(descending=True, stable=True)
    order = order[groups[order].argsort(stable=True)]
    boxes, ordered = boxes[order], groups[order]
    alive = torch.ones_like(ordered, dtype=torch.bool)
    for begin, end in _pieces(ordered):
        alive[begin:end] = _survivors(boxes[begin:end], ordered[begin:end], threshold)
    kept = torch.zeros_like(alive)
    kept[order] = alive
    kept = kept.nonzero()[:, 0]
    return kept[scores[kept].argsort(descending=True, stable=True)]


def _pieces(groups: Tensor) -> list[tuple[int, int]]:
    """Ranges of whole groups, of up to `_BLOCK` boxes together where groups are that small."""
    pieces: list[tuple[int, int]] = []
    begin = end = 0
    for count in torch.unique_consecutive(groups, return_counts=True)[1].tolist():
        if end > begin and end + count - begin > _BLOCK:
            pieces.append((begin, end))
            begin = end
        end += count
    return [*pieces, (begin, end)] if end > begin else pieces


def _survivors(boxes: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Mask of the boxes that stay, of boxes by falling score within each group."""
    alive = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    for begin in range(0, len(boxes), _BLOCK):
        here = slice(begin, begin + _BLOCK)
        if begin:
            before = alive[:begin].nonzero()[:, 0]
            alive[here] &= ~_overlapping(boxes, groups, before, here, threshold).any(0)
        places = torch.arange(len(boxes), device=boxes.device)[here]
        suppresses = _overlapping(boxes, groups, places, here, threshold).triu_(1).float()
        candidates = alive[here]
        kept = candidates
        while True:
            better = candidates & ((kept.float() @ suppresses) == 0)
            if torch.equal(better, kept):
                break
            kept = better
        alive[here] = kept
    return alive


def _overlapping(boxes: Tensor, groups: Tensor, rows: Tensor, columns: slice, threshold: float) -> Tensor:
    over = pairwise_iou(boxes[rows], boxes[columns]) > threshold
    return over & (groups[rows, None] == groups[columns])
