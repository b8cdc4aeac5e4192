"""Region proposals (Ren et al. 2015, arXiv:1506.01497). Tensor names are those of torchvision's models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from delineate.nn.box_coding import clip, decode
from delineate.nn.nms import nms

WEIGHTS = (1.0, 1.0, 1.0, 1.0)  # of the box coding


class RPNHead(nn.Module):
    """Says of every anchor whether it holds an object, and where that object's box is.

    Args:
        channels: Of the features.
        anchors: Per cell.
        convolutions: Of 3 x 3 before the two outputs.

    >>> logits, offsets = RPNHead(8, 3, 1)([torch.zeros(2, 8, 4, 5), torch.zeros(2, 8, 2, 3)])
    >>> [tuple(level.shape) for level in (*logits, *offsets)]
    [(2, 60), (2, 18), (2, 60, 4), (2, 18, 4)]
    """

    def __init__(self, channels: int, anchors: int, convolutions: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True))
                for _ in range(convolutions)
            )
        )
        self.cls_logits = nn.Conv2d(channels, anchors, 1)
        self.bbox_pred = nn.Conv2d(channels, 4 * anchors, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Logits (B, h * w * A) and offsets (B, h * w * A, 4) of every level, anchors of a cell together."""
        logits, offsets = [], []
        for level in features:
            hidden = self.conv(level)
            logits.append(self.cls_logits(hidden).permute(0, 2, 3, 1).flatten(1))
            found = self.bbox_pred(hidden).permute(0, 2, 3, 1)
            offsets.append(found.reshape(len(level), -1, 4))
        return logits, offsets


class Limits(NamedTuple):
    """How many proposals there are.

    Attributes:
        before: Best anchors of every level that are looked at.
        after: Proposals of a picture that are kept.
        iou: Overlap above which the lesser of two proposals of a level is dropped.
        smallest: Proposals with a shorter side are dropped, pixels.
    """

    before: int
    after: int
    iou: float = 0.7
    smallest: float = 1e-3


@torch.no_grad()
def propose(
    logits: Sequence[Tensor],
    offsets: Sequence[Tensor],
    anchors: Sequence[Tensor],
    sizes: Tensor,
    limits: Limits,
    *,
    floored: bool = False,
) -> list[tuple[Tensor, Tensor]]:
    """Proposals of every picture.

    Args:
        logits: One (B, n) per level.
        offsets: One (B, n, 4) per level.
        anchors: One (n, 4) per level, xyxy.
        sizes: (B, 2) height and width of the pictures, without padding.
        limits: How many are wanted.
        floored: See `box_coding.decode`.

    Returns:
        Per picture boxes (K, 4) xyxy, clipped to it, and their logits (K,), by falling probability.
    """
    boxes, scores, levels = [], [], []
    for index, (logit, offset, anchor) in enumerate(zip(logits, offsets, anchors, strict=True)):
        best, places = logit.float().topk(min(limits.before, logit.shape[1]), 1)
        chosen = offset.float().gather(1, places[..., None].expand(-1, -1, 4))
        boxes.append(clip(decode(chosen, anchor[places], WEIGHTS, floored=floored), sizes[:, None]))
        scores.append(best)
        levels.append(torch.full_like(places[0], index))
    level = torch.cat(levels)
    found = []
    for box, score in zip(torch.cat(boxes, 1), torch.cat(scores, 1), strict=True):
        large = ((box[:, 2:] - box[:, :2]) >= limits.smallest).all(1).nonzero()[:, 0]
        kept = large[nms(box[large], score[large].sigmoid(), level[large], limits.iou)[: limits.after]]
        found.append((box[kept], score[kept]))
    return found
