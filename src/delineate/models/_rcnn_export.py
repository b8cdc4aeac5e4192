"""Faster R-CNN and Mask R-CNN as one ONNX graph: RoIAlign and suppression as ONNX's own operators.

The graph takes one picture. What has no rows in the eager model (too few proposals or detections) has rows with a
score of -1 here, so that all shapes but those of the picture are known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that everybody knows)

from delineate.models._rcnn_heads import Regions, levels_of
from delineate.models.mask_rcnn import MaskRCNN
from delineate.models.panoptic_fpn import PanopticFPN
from delineate.nn.box_coding import clip, decode
from delineate.nn.nms import nms
from delineate.nn.roi_align import roi_align
from delineate.nn.rpn import WEIGHTS

_NONE = -1.0  # the score of a row that is none


@torch.library.custom_op("delineate::pool", mutates_args=())
def pool(features: Tensor, boxes: Tensor, side: int, scale: float, ratio: int, aligned: bool) -> Tensor:
    """RoIAlign of boxes (R, 4) from features (1, C, h, w): (R, C, side, side)."""
    images = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    given: dict[str, Any] = {"scale": scale, "sampling_ratio": ratio, "aligned": aligned}
    pooled: Tensor = roi_align(features, boxes, images, (side, side), **given)
    return pooled.contiguous()


@pool.register_fake
def _(features: Tensor, boxes: Tensor, side: int, *_: object) -> Tensor:
    return features.new_empty((boxes.shape[0], features.shape[1], side, side))


@torch.library.custom_op("delineate::suppress", mutates_args=())
def suppress(boxes: Tensor, scores: Tensor, most: int, iou: float, score: float) -> Tensor:
    """Group and place (K, 2) of what stays of boxes (G, N, 4) with scores (G, N): up to `most` above `score` each."""
    groups, places = (scores > score).nonzero().unbind(1)
    kept = nms(boxes[groups, places], scores[groups, places], groups, iou)
    kept = torch.cat([kept[groups[kept] == group][:most] for group in range(len(boxes))])
    return torch.stack((groups[kept], places[kept]), 1)


@suppress.register_fake
def _(boxes: Tensor, *_: object) -> Tensor:
    return boxes.new_empty((torch.library.get_ctx().new_dynamic_size(), 2), dtype=torch.int64)


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """The operators above as ONNX's, for the exporter."""
    from onnxscript import opset18 as op

    def pool_onnx(features: Any, boxes: Any, side: int, scale: float, ratio: int, aligned: bool) -> Any:  # noqa: ANN401
        first = op.Slice(op.Shape(boxes), op.Constant(value_ints=[0]), op.Constant(value_ints=[1]))
        images = op.Expand(op.Constant(value_ints=[0]), first)
        return op.RoiAlign(
            features,
            boxes,
            images,
            coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
            output_height=side,
            output_width=side,
            sampling_ratio=ratio,
            spatial_scale=scale,
        )

    def suppress_onnx(boxes: Any, scores: Any, most: int, iou: float, score: float) -> Any:  # noqa: ANN401
        kept = op.NonMaxSuppression(
            boxes,
            op.Unsqueeze(scores, op.Constant(value_ints=[1])),
            op.Constant(value_ints=[most]),
            op.Constant(value_floats=[iou]),
            op.Constant(value_floats=[score]),
        )
        return op.Gather(kept, op.Constant(value_ints=[0, 2]), axis=1)

    operators: Any = torch.ops.delineate
    return {operators.pool.default: pool_onnx, operators.suppress.default: suppress_onnx}


class Graph(nn.Module):
    """A model for one picture, as the exporter shall see it.

    Args:
        model: The model, whose pooling is replaced by the operator: a copy of the user's.
    """

    def __init__(self, model: MaskRCNN) -> None:
        super().__init__()
        self.model = model.eval()
        self.model.pool = self._pool  # type: ignore[method-assign]

    def forward(
        self, images: Tensor, sizes: Tensor, features: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, ...]:
        """As `MaskRCNN.export`, for images (1, 3, H, W) and sizes (1, 2); without masks there are three outputs."""
        model, heads = self.model, self.model.config.heads
        features = model.features(images) if features is None else features
        boxes, scores = self._propose(features, images, sizes)
        regions = Regions(boxes, torch.zeros_like(scores, dtype=torch.int64))
        found, offsets, regions = model.classify(features, regions, sizes)
        found = torch.where(scores[:, None] > _NONE / 2, found, _NONE)
        refined = decode(offsets, regions.boxes[:, None], heads.box_weights[-1], floored=model.config.floored)
        refined = clip(refined, sizes[0]).expand(-1, found.shape[1], -1).transpose(0, 1).contiguous()
        found = _sized(refined, found.transpose(0, 1), heads.choice.smallest)
        kept = suppress(
            refined, found.contiguous(), heads.choice.detections, heads.choice.iou, heads.choice.score
        )
        places, best = _best(found, kept, heads.choice.detections)
        real = best > _NONE / 2
        boxes = refined.flatten(0, 1)[places] * real[:, None]
        labels = torch.where(real, places // found.shape[1], 0)
        outputs = boxes[None], best.clamp(min=0)[None], labels[None]
        if not model.config.masks:
            return outputs
        masks = model.mask_logits(features, Regions(boxes, torch.zeros_like(labels)), labels)
        return *outputs, (masks * real[:, None, None])[None]

    def _propose(self, features: Sequence[Tensor], images: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Proposals (P, 4) and their probabilities (P,)."""
        limits = self.model.config.proposals.limits
        boxes, scores = [], []
        for logits, offsets, anchors in zip(*self.model.anchored(features, images), strict=True):
            best, places = F.pad(logits[0], (0, limits.before), value=-torch.inf).topk(limits.before)
            chosen = F.pad(offsets[0], (0, 0, 0, limits.before))[places]
            around = F.pad(anchors, (0, 0, 0, limits.before))[places]
            box = clip(decode(chosen, around, WEIGHTS, floored=self.model.config.floored), sizes[0])
            boxes.append(box)
            scores.append(_sized(box, best.sigmoid(), limits.smallest))
        box, score = torch.stack(boxes), torch.stack(scores)
        kept = suppress(box, score, limits.after, limits.iou, _NONE / 2)
        places, best = _best(score, kept, limits.after)
        return box.flatten(0, 1)[places] * (best > _NONE / 2)[:, None], best

    def _pool(self, features: Sequence[Tensor], regions: Regions, side: int) -> Tensor:
        """`MaskRCNN.pool`, level by level."""
        config = self.model.config
        strides, heads = config.strides, config.heads
        levels = levels_of(regions.boxes, strides, eps_inside=heads.level_eps_inside)
        parts = []
        for level, stride in enumerate(strides):
            chosen = regions.boxes[(levels == level).nonzero()[:, 0]]
            parts.append(pool(features[level], chosen, side, 1 / stride, heads.sampling_ratio, heads.aligned))
        pooled = torch.cat(parts)
        count = len(levels)
        keys = levels * count + torch.arange(
            count, device=levels.device
        )  # no ties: their order is not ONNX's
        order = keys.topk(count, largest=False).indices
        return pooled[order.topk(count, largest=False).indices]


class PanopticGraph(nn.Module):
    """`Graph` of a Panoptic FPN's detector, with its branch for stuff."""

    def __init__(self, model: PanopticFPN) -> None:
        super().__init__()
        self.detector, self.branch = Graph(model.detector), model.sem_seg_head.eval()

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """As `PanopticFPN.export`, for images (1, 3, H, W) and sizes (1, 2)."""
        features = self.detector.model.features(images)
        return *self.detector(images, sizes, features), self.branch(features)


def _sized(boxes: Tensor, scores: Tensor, smallest: float) -> Tensor:
    """Scores, and none where a side is too short."""
    return torch.where(((boxes[..., 2:] - boxes[..., :2]) >= smallest).all(-1), scores, _NONE)


def _best(scores: Tensor, kept: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The best `count` of kept (group, place): their places in the flat scores, and their scores."""
    places = kept[:, 0] * scores.shape[1] + kept[:, 1]
    found = torch.cat((scores.flatten()[places], scores.new_full((count,), _NONE)))
    best, where = found.topk(count)
    return torch.cat((places, kept.new_zeros(count)))[where], best
