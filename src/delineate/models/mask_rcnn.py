"""Faster R-CNN and Mask R-CNN: proposals from a feature pyramid, classified, refined, and masked one by one.

Ren et al. 2015, arXiv:1506.01497; He et al. 2017, arXiv:1703.06870; feature pyramid: Lin et al. 2017,
arXiv:1612.03144; heads of the "v2" variants: Li et al. 2021, arXiv:2111.11429; cascade: Cai and Vasconcelos
2018, arXiv:1712.00726. Tensor names and numbers are those of torchvision's models (BSD-3-Clause); where
detectron2 (Apache-2.0) computes something else, a field of `Config` says which.

Backbones: ResNet, ResNeXt, Swin and SwinV2 (as its authors' detectors, which are mmdetection's, Apache-2.0; its
cascades `_giou` likewise, the others as detectron2's), and SpineNet, which brings its own pyramid.

Departures: mask logits are computed for the predicted class alone; the batch is one table of regions. Cells of
the padding have anchors that learn as background. With SpineNet, anchors, box coding and heads are detectron2's,
not those of its TPU code, whose checkpoints do not load.
Weights: torchvision's are under BSD-3-Clause, detectron2's under CC BY-SA 3.0, Swin's under Apache-2.0.
Variant of our own: `test`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that everybody knows)

from delineate.models import Target
from delineate.models._checkpoint import Contents
from delineate.models._rcnn_backbones import body as build_body
from delineate.models._rcnn_config import VARIANTS, Backbone, Config, Heads, Proposals
from delineate.models._rcnn_heads import (
    BoxPredictor,
    Found,
    MaskPredictor,
    Regions,
    box_head,
    choose,
    convolutions,
    levels_of,
    mean_logits,
    refine,
)
from delineate.models._rcnn_keys import own_names
from delineate.models._rcnn_training import two_stage_losses
from delineate.models._rcnn_weights import WEIGHTS
from delineate.models._sam_blocks import ChannelNorm
from delineate.nn.anchors import base_anchors, grid_anchors
from delineate.nn.fpn import FPN
from delineate.nn.resnet import Norm, fold_norms
from delineate.nn.roi_align import pyramid_roi_align
from delineate.nn.rpn import RPNHead, propose
from delineate.nn.swin import from_official

DECODE = "crops"  # of `postprocess.decode`


class Outputs(NamedTuple):
    """The same in train and eval mode. D: `Choice.detections`; P: `Limits.after`; rows beyond are zero."""

    boxes: Tensor  # (B, D, 4) xyxy, input pixels, by falling score
    scores: Tensor  # (B, D) probabilities
    labels: Tensor  # (B, D) int64
    masks: Tensor  # (B, D, 28, 28) logits of the label's mask; (B, D, 0, 0) without masks
    proposals: Tensor  # (B, P, 4) xyxy, input pixels, by falling probability
    logits: Tensor  # (B, A) of the anchors, level after level, each row by row, anchors of a cell together
    offsets: Tensor  # (B, A, 4)


class Anchored(NamedTuple):
    """What the proposal head says of the anchors, one entry per level."""

    logits: list[Tensor]  # (B, n)
    offsets: list[Tensor]  # (B, n, 4)
    anchors: list[Tensor]  # (n, 4) xyxy, input pixels


class MaskRCNN(nn.Module):
    """Faster R-CNN or Mask R-CNN.

    Args:
        config: The variant.

    >>> model = MaskRCNN(VARIANTS["test"]).eval()
    >>> [tuple(part.shape) for part in model(torch.zeros(2, 3, 64, 96))[:4]]
    [(2, 20, 4), (2, 20), (2, 20), (2, 20, 28, 28)]
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        proposals, body = config.proposals, build_body(config.backbone)
        self.backbone = nn.ModuleDict({"body": body})
        self.roi_heads = nn.ModuleDict()
        inside = config.channels
        if config.pyramid and config.backbone.spinenet is None:
            norm = self._norm if config.pyramid_norm else None
            self.backbone["fpn"] = FPN(body.channels, config.channels, norm)
        elif not config.pyramid:
            self.roi_heads["res5"] = body.get_submodule("layer4")
            del body.layer4
            inside = body.channels[2]
        anchors = len(proposals.sizes[0]) * len(proposals.ratios)
        self.rpn = nn.ModuleDict({"head": RPNHead(inside, anchors, proposals.convolutions)})
        self._add_heads(body.channels[3])

    @property
    def _norm(self) -> Norm:
        return ChannelNorm if self.config.layer_norm else nn.BatchNorm2d

    def _add_heads(self, wide: int) -> None:
        config, heads = self.config, self.config.heads
        first = heads.background == "first"
        depth = config.class_channels[-1] + 1  # channels of boxes and masks
        norm = self._norm if heads.norm else None
        hidden = heads.box_hidden if config.pyramid else wide
        stages = len(heads.box_weights)
        box_heads = [
            box_head(config.channels, 7, heads.box_hidden, heads.box_convolutions, norm)
            for _ in range(stages if config.pyramid else 0)
        ]
        predictors = [
            BoxPredictor(hidden, depth if first else depth + 1, 1 if heads.agnostic else depth)
            for _ in range(stages)
        ]
        if box_heads:
            self.roi_heads["box_head"] = box_heads[0] if stages == 1 else nn.ModuleList(box_heads)
        self.roi_heads["box_predictor"] = predictors[0] if stages == 1 else nn.ModuleList(predictors)
        if config.masks:
            inside = config.channels if config.pyramid else wide
            count = heads.mask_convolutions if config.pyramid else 0
            drawers = stages if heads.stage_masks else 1
            norm = norm if heads.mask_norm else None
            mask_heads = [nn.Sequential(*convolutions(config.channels, count, norm)) for _ in range(drawers)]
            masks = [MaskPredictor(inside, heads.mask_hidden, depth) for _ in range(drawers)]
            self.roi_heads["mask_head"] = mask_heads[0] if drawers == 1 else nn.ModuleList(mask_heads)
            self.roi_heads["mask_predictor"] = masks[0] if drawers == 1 else nn.ModuleList(masks)

    def forward(
        self, images: Tensor, sizes: Tensor | None = None, features: Sequence[Tensor] | None = None
    ) -> Outputs:
        """Detections of a batch.

        Args:
            images: (B, 3, H, W) float, prepared as `Config.preprocess` says; H and W multiples of the
                coarsest stride (of 1 without a pyramid).
            sizes: (B, 2) int64 height and width of the pictures, without the padding at the bottom and the
                right; None = there is none.
            features: Of the images, see `features`, where they are known.

        Raises:
            ValueError: If H or W, or the shape of `sizes`, is not that.
        """
        sizes = self.checked_sizes(images, sizes)
        features = self.features(images) if features is None else features
        anchored = self.anchored(features, images)
        found = propose(*anchored, sizes, self.config.proposals.limits, floored=self.config.floored)
        regions = Regions.gather([boxes for boxes, _ in found])
        detections = self.detect(features, regions, sizes)
        kept = Regions.gather([part.boxes for part in detections])
        labels = torch.cat([part.labels for part in detections])
        masks = self.mask_logits(features, kept, labels)
        count, most = self.config.heads.choice.detections, self.config.proposals.limits.after
        counts = [len(part.boxes) for part in detections]
        return Outputs(
            _padded([part.boxes for part in detections], count),
            _padded([part.scores for part in detections], count),
            _padded([part.labels for part in detections], count),
            _padded(torch.split(masks, counts), count),
            _padded([boxes for boxes, _ in found], most),
            torch.cat(anchored.logits, 1),
            torch.cat(anchored.offsets, 1),
        )

    def losses(self, images: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Losses of a batch; their sum is what training minimises.

        Boxes are drawn at random from torch's generator. Truth of masks is made from runs, for the drawn boxes.

        Args:
            images: As `forward` takes them.
            targets: One per picture, with their sizes where they are padded. A picture without objects is ordinary.

        Returns:
            Scalars, float32: "objectness" and "proposal" (boxes) of the anchors, "class" and "box" of the
            regions, added up over the stages, and "mask" where masks are the task.

        Raises:
            ValueError: If the number of targets, a shape, a label, a box or a canvas does not fit.
        """
        return two_stage_losses(self, images, targets)

    def checked_sizes(self, images: Tensor, sizes: Tensor | None) -> Tensor:
        """The pictures' sizes (B, 2), on the device of the pictures."""
        multiple = max(self.config.strides) if self.config.pyramid else 1
        height, width = images.shape[-2:]
        if height % multiple or width % multiple:
            raise ValueError(
                f"MaskRCNN: images must have sides that are multiples of {multiple}, got {tuple(images.shape)}"
            )
        if sizes is None:
            return torch.tensor([[height, width]], device=images.device).expand(len(images), 2)
        if sizes.shape != (len(images), 2):
            raise ValueError(f"MaskRCNN: sizes must have shape ({len(images)}, 2), got {tuple(sizes.shape)}")
        return sizes.to(images.device)

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps, finest first: the levels of `Config.strides`, and of a pyramid one more for anchors."""
        stages: list[Tensor] = self.backbone["body"](images)
        if not self.config.pyramid:
            return stages[-1:]
        return list(self.backbone["fpn"](stages)) if "fpn" in self.backbone else stages

    def anchored(self, features: Sequence[Tensor], images: Tensor) -> Anchored:
        """What the proposal head says of every anchor of a batch of `images`."""
        proposals = self.config.proposals
        logits, offsets = self.rpn["head"](features)
        anchors: list[Tensor] = []
        for level, sizes in zip(features, proposals.sizes, strict=True):
            base = torch.cat(
                [base_anchors(size, proposals.ratios, rounded=proposals.rounded) for size in sizes]
            )
            cells = level.shape[-2], level.shape[-1]
            strides = images.shape[-2] // cells[0], images.shape[-1] // cells[1]
            if proposals.exact_strides:
                stride = self.config.strides[0] * 2 ** len(anchors)
                strides = stride, stride
            anchors.append(grid_anchors(base.to(level.device), cells, strides))
        return Anchored(logits, offsets, anchors)

    def detect(self, features: Sequence[Tensor], regions: Regions, sizes: Tensor) -> list[Found]:
        """Detections of every picture from its proposals."""
        heads = self.config.heads
        scores, offsets, regions = self.classify(features, regions, sizes)
        counts = regions.images.bincount(minlength=len(sizes)).tolist()
        found, end = [], 0
        for size, count in zip(sizes, counts, strict=True):
            rows = slice(end, end := end + count)
            given = scores[rows], offsets[rows], regions.boxes[rows]
            found.append(
                choose(*given, size, heads.box_weights[-1], heads.choice, floored=self.config.floored)
            )
        return found

    def classify(
        self, features: Sequence[Tensor], regions: Regions, sizes: Tensor
    ) -> tuple[Tensor, Tensor, Regions]:
        """Probabilities (R, classes), the last stage's offsets (R, classes or 1, 4), and the regions that it saw."""
        heads = self.config.heads
        last, found = len(heads.box_weights) - 1, []
        for stage, weights in enumerate(heads.box_weights):
            logits, offsets = self.box_outputs(features, regions, stage)
            channels = self._class_channels(logits)
            found.append(logits.float() if heads.mean == "logits" else logits.float().softmax(1))
            if stage < last:
                best = channels[logits[:, channels].argmax(1)]
                boxes = refine(offsets, best, regions, sizes, weights, floored=self.config.floored)
                regions = Regions(boxes, regions.images)
        mean = sum(found[1:], found[0]) / len(found)
        scores = (mean.softmax(1) if heads.mean == "logits" else mean)[:, channels]
        return scores, offsets if heads.agnostic else offsets[:, channels], regions

    def box_outputs(
        self, features: Sequence[Tensor], regions: Regions, stage: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Class logits (R, channels) and box offsets (R, channels or 1, 4) of regions, by one stage's head."""
        if self.config.pyramid:
            hidden = self._stage("box_head", stage)(self.pool(features, regions, 7))
        else:
            hidden = self.roi_heads["res5"](self.pool(features, regions, 14)).mean((2, 3))
        logits, offsets = self._stage("box_predictor", stage)(hidden)
        return logits, offsets

    def mask_logits(
        self, features: Sequence[Tensor], regions: Regions, labels: Tensor, stage: int | None = None
    ) -> Tensor:
        """Logits (R, 28, 28) of the masks of labels (R,) in regions; (R, 0, 0) where masks are not the task.

        Where every stage draws masks, those of one `stage`, or of the mean of all stages' probabilities.
        """
        if not self.config.masks:
            return features[0].new_zeros((len(labels), 0, 0))
        pooled, channels = self.pool(features, regions, 14), self._class_channels(labels)[labels]
        every = range(len(self.config.heads.box_weights) if self.config.heads.stage_masks else 1)
        found = []
        for index in every if stage is None else [stage]:
            head = self._stage("mask_head", index) if self.config.pyramid else self.roi_heads["res5"]
            predictor = cast("MaskPredictor", self._stage("mask_predictor", index))
            found.append(predictor.chosen(head(pooled), channels))
        return mean_logits(found)

    def pool(self, features: Sequence[Tensor], regions: Regions, side: int) -> Tensor:
        """Features (R, C, side, side) of regions."""
        strides, heads = self.config.strides, self.config.heads
        return pyramid_roi_align(
            features[: len(strides)],
            regions.boxes,
            regions.images,
            levels_of(regions.boxes, strides, eps_inside=heads.level_eps_inside),
            (side, side),
            scales=[1 / stride for stride in strides],
            sampling_ratio=heads.sampling_ratio,
            aligned=heads.aligned,
        )

    def _class_channels(self, like: Tensor) -> Tensor:
        return torch.tensor(self.config.class_channels, device=like.device)

    def _stage(self, name: str, stage: int) -> nn.Module:
        part = self.roi_heads[name]
        return part[stage] if isinstance(part, nn.ModuleList) else part

    def fuse(self) -> MaskRCNN:
        """Fold every normalisation into its convolution, in place, for inference; returns the model itself."""
        fold_norms(self.modules())
        return self.eval()

    def export(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """What an exported model computes: boxes, scores, labels and mask logits, see `Outputs`."""
        outputs: Outputs = self(images, sizes)
        return outputs[:4]


def _padded(parts: Sequence[Tensor], count: int) -> Tensor:
    """One tensor (B, count, ...) of the first rows of every part, zero beyond."""
    return torch.stack([F.pad(part, (0, 0) * (part.ndim - 1) + (0, count - len(part))) for part in parts])


def build(config: Config) -> MaskRCNN:
    """The model of a configuration, freshly initialised."""
    return MaskRCNN(config)


def depends_on_classes(name: str) -> bool:
    """Whether the shape of a tensor of the state dict follows from the number of classes.

    >>> depends_on_classes("roi_heads.box_predictor.cls_score.bias"), depends_on_classes("rpn.head.cls_logits.bias")
    (True, False)
    """
    return (
        name.startswith("roi_heads.")
        and re.search(r"\.(cls_score|bbox_pred|mask_fcn_logits)\.", name) is not None
    )


def official(model: MaskRCNN, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an official checkpoint under our names; see `_rcnn_keys.own_names`."""
    found, size = own_names(tensors, model.state_dict()), model.config.backbone.swin
    if size is None:
        return found
    prefix = "backbone.body."
    body = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
    rest = {name: value for name, value in found.items() if not name.startswith(prefix)}
    return rest | {prefix + name: value for name, value in from_official(body, size).items()}


def layer_of(name: str) -> tuple[int, ...] | None:
    """The layer of the backbone that a parameter belongs to, in rising order; None above the backbone.

    >>> [layer_of(f"backbone.{name}") for name in ("body.bn1.weight", "body.layer2.0.conv1.weight", "fpn.x")]
    [(0,), (2,), None]
    >>> [layer_of(f"backbone.body.{name}") for name in ("patch_embed.proj.bias", "layers.0.blocks.1.norm1.bias")]
    [(0,), (1, 1)]
    """
    if name.startswith("roi_heads.res5."):
        return (4,)
    if re.match(r"backbone\.body\.(conv1|bn1|patch_embed)\.", name):
        return (0,)
    if found := re.match(r"backbone\.body\.layer(\d+)\.", name):
        return (int(found[1]),)
    if found := re.match(r"backbone\.body\.layers\.(\d+)\.blocks\.(\d+)\.", name):
        return int(found[1]) + 1, int(found[2])
    if found := re.match(r"backbone\.body\.layers\.(\d+)\.downsample\.", name):
        return int(found[1]) + 2, 0  # learns with the first block of the next stage
    return None


def check_contents(model: MaskRCNN, contents: Contents) -> None:
    """Nothing to refuse: state dicts say no more than their tensors."""


__all__ = [
    "DECODE",
    "VARIANTS",
    "WEIGHTS",
    "Anchored",
    "Backbone",
    "Config",
    "Heads",
    "MaskRCNN",
    "Outputs",
    "Proposals",
    "build",
    "check_contents",
    "depends_on_classes",
    "layer_of",
    "official",
]
