"""What R-CNN does with regions: pool their features, name and refine them, draw their masks, keep the best.

Tensor names are those of torchvision's models.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that everybody knows)

from delineate.nn.box_coding import clip, decode
from delineate.nn.nms import nms
from delineate.nn.resnet import Norm


class Regions(NamedTuple):
    """Boxes of a batch, picture after picture."""

    boxes: Tensor  # (R, 4) xyxy, input pixels
    images: Tensor  # (R,) int64, the picture of each, rising

    @staticmethod
    def gather(boxes: Sequence[Tensor]) -> Regions:
        """Boxes (K, 4) of every picture as the regions of the batch."""
        counts = torch.tensor([len(found) for found in boxes], device=boxes[0].device)
        places = torch.arange(len(boxes), device=boxes[0].device)
        return Regions(torch.cat(list(boxes)), places.repeat_interleave(counts))


class TwoLayers(nn.Module):
    """The box head of the paper: two full layers on the flattened features."""

    def __init__(self, inside: int, hidden: int) -> None:
        super().__init__()
        self.fc6 = nn.Linear(inside, hidden)
        self.fc7 = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(R, C, h, w) to (R, hidden)."""
        return F.relu(self.fc7(F.relu(self.fc6(x.flatten(1)))))


def convolutions(channels: int, count: int, norm: Norm | None) -> list[nn.Module]:
    """So many 3 x 3 convolutions, each with its normalisation (which replaces the bias) and ReLU."""
    layers: list[nn.Module] = []
    for _ in range(count):
        conv = nn.Conv2d(channels, channels, 3, padding=1, bias=norm is None)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
        middle = [] if norm is None else [norm(channels)]
        layers.append(nn.Sequential(conv, *middle, nn.ReLU(inplace=True)))
    return layers


def box_head(channels: int, side: int, hidden: int, count: int, norm: Norm | None) -> nn.Module:
    """Features (R, channels, side, side) to (R, hidden): two full layers, or `count` convolutions and one."""
    inside = channels * side * side
    if not count:
        return TwoLayers(inside, hidden)
    full = (nn.Flatten(), nn.Linear(inside, hidden), nn.ReLU(inplace=True))
    return nn.Sequential(*convolutions(channels, count, norm), *full)


class BoxPredictor(nn.Module):
    """Class logits (R, classes) and box offsets (R, groups, 4) of region features (R, hidden)."""

    def __init__(self, hidden: int, classes: int, groups: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(hidden, classes)
        self.bbox_pred = nn.Linear(hidden, 4 * groups)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(R, hidden)."""
        return self.cls_score(x), self.bbox_pred(x).unflatten(1, (-1, 4))


class MaskPredictor(nn.Sequential):
    """Mask logits of one channel per region, at twice the resolution of the features."""

    def __init__(self, inside: int, hidden: int, channels: int) -> None:
        parts = {
            "conv5_mask": nn.ConvTranspose2d(inside, hidden, 2, 2),
            "relu": nn.ReLU(inplace=True),
            "mask_fcn_logits": nn.Conv2d(hidden, channels, 1),
        }
        super().__init__(OrderedDict(parts))
        for name, value in self.named_parameters():
            if name.endswith("weight"):
                nn.init.kaiming_normal_(value, mode="fan_out", nonlinearity="relu")

    def chosen(self, x: Tensor, channels: Tensor) -> Tensor:
        """(R, inside, h, w) and the channel (R,) of each to logits (R, 2 * h, 2 * w); no other channel is computed."""
        hidden = F.relu(self.get_submodule("conv5_mask")(x))
        last = self.get_submodule("mask_fcn_logits")
        weight, bias = last.get_parameter("weight")[channels], last.get_parameter("bias")[channels]
        masks = torch.baddbmm(bias.view(-1, 1, 1), weight.flatten(1)[:, None], hidden.flatten(2))
        return masks.view(-1, *hidden.shape[2:])


def mean_logits(logits: Sequence[Tensor]) -> Tensor:
    """The logits of the mean of probabilities that are given as logits.

    >>> float(mean_logits([torch.tensor(0.0), torch.tensor(-100.0)]).sigmoid())
    0.25
    """
    if len(logits) == 1:
        return logits[0]
    stacked = torch.stack(list(logits)).float()
    return F.logsigmoid(stacked).logsumexp(0) - F.logsigmoid(-stacked).logsumexp(0)


def refine(
    offsets: Tensor,
    chosen: Tensor,
    regions: Regions,
    sizes: Tensor,
    weights: tuple[float, float, float, float],
    *,
    floored: bool,
) -> Tensor:
    """The boxes (R, 4) that a cascade's next stage sees, without gradient.

    Args:
        offsets: (R, channels, 4), or (R, 1, 4) where all classes share them.
        chosen: (R,) int64 channel of the class whose offsets count.
        regions: What the stage saw.
        sizes: (B, 2) height and width of the pictures.
        weights: Of the box coding.
        floored: See `box_coding.decode`.
    """
    offsets = offsets.detach().float()
    if offsets.shape[1] > 1:
        offsets = offsets.gather(1, chosen[:, None, None].expand(-1, 1, 4))
    boxes = decode(offsets[:, 0], regions.boxes, weights, floored=floored)
    return clip(boxes, sizes[regions.images])


def levels_of(boxes: Tensor, strides: Sequence[int], *, eps_inside: bool) -> Tensor:
    """The level of a feature pyramid that a box is pooled from: a square of 224 pixels from stride 16.

    Args:
        boxes: (R, 4) xyxy.
        strides: Of the levels, rising by a factor of two.
        eps_inside: Where what saves a side of exactly 224 from rounding is added: 1e-8 to the ratio
            (detectron2), or 1e-6 to its logarithm (torchvision).

    Returns:
        (R,) int64 index into `strides`.

    >>> sides = torch.tensor([[0.0, 0.0, side, side] for side in (10.0, 112.0, 224.0, 4000.0)])
    >>> levels_of(sides, (4, 8, 16, 32), eps_inside=False)
    tensor([0, 1, 2, 3])
    """
    ratio = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt() / 224
    height = (ratio + 1e-8).log2() if eps_inside else ratio.log2() + 1e-6
    first = int(math.log2(strides[0]))
    return ((4 + height).floor() - first).clamp(0, len(strides) - 1).long()


class Choice(NamedTuple):
    """Which classified boxes are detections.

    Attributes:
        score: Above this; [0, 1].
        iou: A box that overlaps a better one of its class by more than this is dropped.
        detections: The best so many of a picture.
        smallest: Boxes with a shorter side are dropped, input pixels.
    """

    score: float
    iou: float
    detections: int
    smallest: float


class Found(NamedTuple):
    """Detections of one picture, by falling score."""

    boxes: Tensor  # (D, 4) xyxy, input pixels
    scores: Tensor  # (D,)
    labels: Tensor  # (D,) int64


@torch.no_grad()
def choose(
    scores: Tensor,
    offsets: Tensor,
    boxes: Tensor,
    size: Tensor,
    weights: tuple[float, float, float, float],
    choice: Choice,
    *,
    floored: bool = False,
) -> Found:
    """Detections of one picture.

    Args:
        scores: (R, C) probabilities of the classes, without the background.
        offsets: (R, C, 4) of the boxes, or (R, 1, 4) where all classes share them.
        boxes: (R, 4) the regions, xyxy.
        size: (2,) height and width of the picture, without padding.
        weights: Of the box coding.
        choice: Which boxes count.
        floored: See `box_coding.decode`.
    """
    rows, labels = (scores > choice.score).nonzero().unbind(1)
    chosen = offsets[rows, labels] if offsets.shape[1] > 1 else offsets[rows, 0]
    refined = clip(decode(chosen.float(), boxes[rows], weights, floored=floored), size)
    large = ((refined[:, 2:] - refined[:, :2]) >= choice.smallest).all(1).nonzero()[:, 0]
    refined, labels, best = refined[large], labels[large], scores[rows[large], labels[large]]
    kept = nms(refined, best, labels, choice.iou)[: choice.detections]
    return Found(refined[kept], best[kept], labels[kept])
