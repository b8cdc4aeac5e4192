"""Every number of Faster R-CNN and Mask R-CNN, and what the published networks choose; see `mask_rcnn`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec

from delineate._coco_names import GAPS
from delineate.modelfile import Preprocess
from delineate.models._rcnn_heads import Choice
from delineate.models._rcnn_losses import ANCHORS, PROPOSALS, Sampling
from delineate.nn import spinenet, swin
from delineate.nn.rpn import Limits

_LIMITS, _TRAINING_LIMITS = Limits(1000, 1000), Limits(2000, 2000)
_CHOICE = Choice(score=0.05, iou=0.5, detections=100, smallest=1e-2)
_ANY = 1e-30  # a side that is no longer 0


@dataclass(frozen=True)
class Backbone:
    """The network below the pyramid: a ResNet or ResNeXt, or the `swin` or `spinenet` that is given."""

    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)  # bottlenecks per stage
    stem: int = 64  # channels
    groups: int = 1
    group_width: int = 64
    first_strided: bool = False  # stride in the first 1 x 1 convolution, not in the 3 x 3
    norm: Literal["frozen", "batch"] = "frozen"
    eps: float = 1e-5  # of the normalisation; 0 for torchvision's first COCO weights
    frozen: int = 2  # of (stem, stage 1, ..., stage 4) so many do not learn
    swin: swin.SwinSize | None = None
    spinenet: spinenet.SpineNetSize | None = None  # has a pyramid of its own, of strides 8 to 128
    drop_path: float = 0.0  # swin, spinenet: how often the last block is left out of a picture in training

    def __post_init__(self) -> None:
        """Check what may come from a file."""
        if self.swin is not None and self.spinenet is not None:
            raise ValueError("mask_rcnn.Backbone: swin and spinenet must not both be given")
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"mask_rcnn.Backbone: drop_path must be in [0, 1), got {self.drop_path}")
        if (size := self.swin) is not None and {len(size.depths), len(size.heads)} != {4}:
            raise ValueError(
                f"mask_rcnn.Backbone: swin must have four stages, got {size.depths}, {size.heads}"
            )


@dataclass(frozen=True)
class Proposals:
    """Anchors, and the proposals made from them."""

    sizes: tuple[tuple[float, ...], ...] = (
        (32.0,),
        (64.0,),
        (128.0,),
        (256.0,),
        (512.0,),
    )  # pixels, per level
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)  # height over width
    rounded: bool = True  # anchors have whole corners (torchvision)
    exact_strides: bool = False  # anchors are a level's stride apart (detectron2), not padded side // cells
    convolutions: int = 1
    limits: Limits = _LIMITS
    training_limits: Limits = _TRAINING_LIMITS


@dataclass(frozen=True)
class Heads:
    """What is done with regions."""

    aligned: bool = False  # pixel centres of the pooling at one half
    sampling_ratio: int = 2  # samples per bin and axis of the pooling; 0 = as many as it has cells
    level_eps_inside: bool = False  # see `levels_of`
    norm: bool = False  # batch normalisation after the convolutions of the heads
    mask_norm: bool = True  # with `norm`: in the heads of masks, too
    box_convolutions: int = 0  # 0: two full layers; else so many convolutions and one
    box_hidden: int = 1024
    box_weights: tuple[tuple[float, float, float, float], ...] = ((10.0, 10.0, 5.0, 5.0),)  # one per stage
    mask_convolutions: int = 4
    mask_hidden: int = 256
    background: Literal["first", "last"] = "first"  # first: boxes and masks have a channel of it, too
    agnostic: bool = False  # one box for all classes
    mean: Literal["probabilities", "logits"] = "probabilities"  # of the classes, over the stages of a cascade
    stage_masks: bool = False  # every stage of a cascade draws masks, whose probabilities are averaged
    choice: Choice = _CHOICE


@dataclass(frozen=True)
class Training:
    """What the losses count."""

    anchors: Sampling = ANCHORS
    proposals: Sampling = PROPOSALS
    cascade: tuple[float, ...] = (0.6, 0.7)  # IoU of an object's box in the second stage and later
    beta: float = 1 / 9  # where box losses turn from square to linear; 0 = linear all over (detectron2)
    fixed_divisor: bool = False  # proposal losses are divided by `anchors.boxes`, drawn or not (detectron2)
    binary_masks: bool = False  # mask truth is 0 or 1, on the aligned grid (detectron2)
    inside: bool = False  # anchors that leave the picture do not learn (mmdetection's cascades)
    giou: float = (
        0.0  # weight of the GIoU loss of a region's box, instead of that of its offsets; 0 = of its offsets
    )
    stage_weights: tuple[float, ...] = ()
    """Of the losses of a cascade's stages, each of which draws regions anew (mmdetection); () = every stage learns
    on what became of the first one's regions, and pulls at the features with its share (detectron2)."""


@dataclass(frozen=True)
class Config:
    """Every number of the architecture. `Proposals` and `Heads` hold what differs from stage to stage."""

    classes: int = 80
    coco_ids: bool = False  # 80 classes have the channels of COCO's ids 1..90, ten of which mean nothing
    masks: bool = True  # False: Faster R-CNN
    pyramid: bool = True  # False: "C4", one level of stride 16, and the last stage of the backbone as head
    channels: int = 256  # of the pyramid and of the heads' convolutions
    pyramid_norm: bool = False
    floored: bool = (
        False  # sides of boxes shrink at most as much as they grow (mmdetection), see `box_coding.decode`
    )
    layer_norm: bool = False  # norms of pyramid and heads are over the channels of a cell, not over the batch
    backbone: Backbone = field(default_factory=Backbone)
    proposals: Proposals = field(default_factory=Proposals)
    heads: Heads = field(default_factory=Heads)
    training: Training = field(default_factory=Training)
    preprocess: Preprocess = field(default_factory=Preprocess)  # what the published weights saw

    def __post_init__(self) -> None:
        """Check the ranges; they may come from a file."""
        parts = {
            "backbone": Backbone,
            "proposals": Proposals,
            "heads": Heads,
            "preprocess": Preprocess,
            "training": Training,
        }
        for name, kind in parts.items():
            if isinstance(value := getattr(self, name), dict):
                try:
                    object.__setattr__(self, name, msgspec.convert(value, kind))
                except msgspec.ValidationError as error:
                    raise ValueError(
                        f"mask_rcnn.Config: {name} must be a {kind.__name__}: {error}"
                    ) from error
        sizes = {
            "classes": self.classes,
            "channels": self.channels,
            "heads.box_hidden": self.heads.box_hidden,
            "heads.mask_hidden": self.heads.mask_hidden,
        }
        for name, value in sizes.items():
            if not 1 <= value <= 65536:
                raise ValueError(f"mask_rcnn.Config: {name} must be in 1..65536, got {value!r}")
        if len(self.training.cascade) < len(self.heads.box_weights) - 1:
            raise ValueError(
                f"mask_rcnn.Config: training.cascade must be {len(self.heads.box_weights) - 1}, one per later stage, "
                f"got {len(self.training.cascade)}"
            )
        stages = len(self.heads.box_weights)
        if len(self.training.stage_weights) not in (0, stages):
            raise ValueError(
                f"mask_rcnn.Config: training.stage_weights must be {stages}, one per stage, "
                f"got {len(self.training.stage_weights)}"
            )
        own = self.backbone.spinenet
        levels = len(self.strides) + (self.pyramid and own is None)
        if len(self.proposals.sizes) != levels:
            raise ValueError(
                f"mask_rcnn.Config: proposals.sizes must be {levels}, one per level, "
                f"got {len(self.proposals.sizes)}"
            )
        if not self.pyramid and (own or self.backbone.swin):
            raise ValueError("mask_rcnn.Config: pyramid must be True for swin and spinenet, got False")
        if own is not None and own.endpoint != self.channels:
            raise ValueError(
                f"mask_rcnn.Config: channels must be SpineNet's {own.endpoint}, got {self.channels}"
            )

    @property
    def strides(self) -> tuple[int, ...]:
        """Input pixels per cell of the levels that regions are pooled from."""
        if self.backbone.spinenet is not None:
            return (8, 16, 32, 64, 128)
        return (4, 8, 16, 32) if self.pyramid else (16,)

    @property
    def class_channels(self) -> tuple[int, ...]:
        """The channel of each class in the outputs of the heads."""
        if self.coco_ids and self.classes == 80:
            return tuple(place for place in range(1, 91) if place not in GAPS)
        return tuple(range(1, self.classes + 1) if self.heads.background == "first" else range(self.classes))


_RGB = Preprocess(
    rule="shortest",
    size=(800, 1333),
    rounding="floor",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
_BGR = Preprocess(
    rule="shortest",
    size=(800, 1333),
    antialias=True,
    channels="bgr",
    mean=(103.53 / 255, 116.28 / 255, 123.675 / 255),
    std=(1 / 255, 1 / 255, 1 / 255),
)
_TORCHVISION = Config(coco_ids=True, backbone=Backbone(eps=0.0), preprocess=_RGB)
_TORCHVISION_V2 = Config(
    coco_ids=True,
    preprocess=_RGB,
    pyramid_norm=True,
    backbone=Backbone(norm="batch"),
    proposals=Proposals(convolutions=2),
    heads=Heads(norm=True, box_convolutions=4),
)
_DETECTRON2 = Config(
    preprocess=_BGR,
    backbone=Backbone(first_strided=True),
    proposals=Proposals(
        rounded=False,
        exact_strides=True,
        limits=Limits(1000, 1000, smallest=_ANY),
        training_limits=Limits(2000, 1000, smallest=_ANY),
    ),
    heads=Heads(
        aligned=True,
        sampling_ratio=0,
        level_eps_inside=True,
        background="last",
        choice=Choice(0.05, 0.5, 100, 0.0),
    ),
    training=Training(beta=0.0, fixed_divisor=True, binary_masks=True),
)
_RESCUED = ANCHORS._replace(taken_from=0.3)  # mmdetection's
_SWIN = replace(  # mmdetection's, as Swin's authors have it
    _DETECTRON2,
    floored=True,
    preprocess=msgspec.structs.replace(_RGB, rounding="nearest"),
    backbone=Backbone(swin=swin.SIZES["t"], frozen=0, drop_path=0.2),
    training=Training(anchors=_RESCUED, beta=0.0, binary_masks=True),
)
_CASCADE = replace(
    _DETECTRON2.heads,
    agnostic=True,
    box_weights=((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0)),
)
_SWIN_CASCADE = replace(
    _DETECTRON2,
    preprocess=msgspec.structs.replace(
        _RGB, size=(1024, 1024), rounding="nearest", antialias=True, multiple=1024
    ),
    proposals=replace(_DETECTRON2.proposals, convolutions=2),
    heads=replace(_CASCADE, norm=True, box_convolutions=4),
    pyramid_norm=True,
    layer_norm=True,
)
_SWIN_GIOU = replace(  # the cascade of Swin's authors
    _SWIN,
    heads=replace(
        _DETECTRON2.heads,
        norm=True,
        box_convolutions=4,
        box_weights=tuple((1 / a, 1 / a, 1 / b, 1 / b) for a, b in ((0.1, 0.2), (0.05, 0.1), (0.033, 0.067))),
        mask_norm=False,
        mean="logits",
        stage_masks=True,
    ),
    proposals=replace(_DETECTRON2.proposals, training_limits=Limits(2000, 2000, smallest=_ANY)),
    training=Training(
        anchors=_RESCUED, binary_masks=True, inside=True, giou=10.0, stage_weights=(1.0, 0.5, 0.25)
    ),
)
_SPINENET = replace(
    _DETECTRON2,
    preprocess=msgspec.structs.replace(_RGB, rounding="nearest", size=(640, 640), multiple=128),
    proposals=replace(
        _DETECTRON2.proposals, sizes=tuple((3.0 * 2**level,) for level in range(3, 8)), ratios=(1.0, 0.5, 2.0)
    ),
    heads=replace(_DETECTRON2.heads, norm=True, box_convolutions=4),
)


def _on_swin(config: Config, name: str, drop_path: float = 0.2) -> Config:
    return replace(config, backbone=replace(_SWIN.backbone, swin=swin.SIZES[name], drop_path=drop_path))


def _on_spinenet(name: str, side: int) -> Config:
    size = spinenet.SIZES[name]
    return replace(
        _SPINENET,
        channels=size.endpoint,
        backbone=Backbone(spinenet=size, frozen=0, drop_path=0.2 if name == "190" else 0.0),
        preprocess=msgspec.structs.replace(_SPINENET.preprocess, size=(side, side)),
    )


VARIANTS: dict[str, Config] = {
    "r50_fpn": _TORCHVISION,
    "r50_fpn_v2": _TORCHVISION_V2,
    "faster_r50_fpn": replace(_TORCHVISION, masks=False),
    "faster_r50_fpn_v2": replace(_TORCHVISION_V2, masks=False),
    "r50_fpn_d2": _DETECTRON2,
    "r101_fpn": replace(_DETECTRON2, backbone=Backbone((3, 4, 23, 3), first_strided=True)),
    "x101_32x8d_fpn": replace(
        _DETECTRON2,
        backbone=Backbone((3, 4, 23, 3), groups=32, group_width=8),
        preprocess=msgspec.structs.replace(_BGR, std=(57.375 / 255, 57.12 / 255, 58.395 / 255)),
    ),
    "r50_c4": replace(
        _DETECTRON2,
        pyramid=False,
        preprocess=msgspec.structs.replace(_BGR, multiple=1),
        proposals=replace(
            _DETECTRON2.proposals,
            sizes=((32.0, 64.0, 128.0, 256.0, 512.0),),
            limits=Limits(6000, 1000, smallest=_ANY),
            training_limits=Limits(12000, 2000, smallest=_ANY),
        ),
    ),
    "cascade_r50_fpn": replace(_DETECTRON2, heads=_CASCADE),
    **{f"swin_{name}": _on_swin(_SWIN, name) for name in ("t", "s", "b", "l")},
    **{f"swinv2_{name}": _on_swin(_SWIN, f"v2_{name}") for name in ("t", "s", "b", "l")},
    **{f"cascade_swin_{name}": _on_swin(_SWIN_CASCADE, name, 0.4) for name in ("b", "l")},
    **{
        f"cascade_swin_{name}_giou": _on_swin(_SWIN_GIOU, name, rate)
        for name, rate in (("t", 0.2), ("s", 0.2), ("b", 0.3))
    },
    "spinenet_49s": _on_spinenet("49s", 640),
    "spinenet_49": _on_spinenet("49", 640),
    "spinenet_96": _on_spinenet("96", 1024),
    "spinenet_143": _on_spinenet("143", 1280),
    "spinenet_190": _on_spinenet("190", 1536),
    "r50_fpn_lsj": replace(
        _DETECTRON2,
        pyramid_norm=True,
        backbone=Backbone(first_strided=True, norm="batch", frozen=0),
        proposals=replace(_DETECTRON2.proposals, convolutions=2),
        heads=replace(_DETECTRON2.heads, norm=True, box_convolutions=4),
    ),
    # A quarter of ResNet-18's depth and width for CPUs and small sets, learnt from scratch; objects of 8 to 128 pixels.
    "tiny": Config(
        channels=48,
        pyramid_norm=True,
        backbone=Backbone((1, 2, 2, 1), stem=16, norm="batch", frozen=0),
        proposals=Proposals(
            ((8.0,), (16.0,), (32.0,), (64.0,), (128.0,)),
            limits=Limits(500, 300),
            training_limits=Limits(500, 300),
        ),
        heads=Heads(
            sampling_ratio=1,
            box_hidden=128,
            mask_convolutions=2,
            mask_hidden=48,
            choice=Choice(0.05, 0.5, 200, 1e-2),
        ),
        training=Training(proposals=Sampling(96, 0.33, 0.5, 0.5, rescue=False)),
        preprocess=_RGB,
    ),
    "test": Config(
        classes=2,
        channels=16,
        backbone=Backbone((1, 1, 1, 1), stem=8, norm="batch", frozen=0),
        proposals=Proposals(
            ((8.0,), (12.0,), (16.0,), (24.0,), (32.0,)),
            limits=Limits(100, 50),
            training_limits=Limits(200, 100),
        ),
        preprocess=Preprocess(rule="native"),
        heads=Heads(box_hidden=32, mask_convolutions=2, mask_hidden=16, choice=Choice(0.05, 0.5, 20, 1e-2)),
    ),
}
VARIANTS |= {
    f"faster_{name}": replace(VARIANTS[name], masks=False)
    for name in ("r50_fpn_d2", "x101_32x8d_fpn", "r50_c4")
}
