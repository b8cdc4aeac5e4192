"""Panoptic FPN: Mask R-CNN, and on the same pyramid a branch that names the stuff of every pixel.

Kirillov, Girshick, He and Dollar 2019, arXiv:1901.02446, with detectron2's numbers (Apache-2.0): all things are
one class of the branch, beside 53 classes of stuff; `postprocess.panoptic` merges both. The branch has
detectron2's tensor names, the detector those of `mask_rcnn`.

As `Instances` (`models.segment`) it gives the objects, as Mask R-CNN does; `segment_panoptic` the whole picture.
Truth of stuff is `Target.semantic`: 0 for things, 1 to S for stuff. Without it, masks teach where things are, and
the other pixels nothing.
Weights: detectron2's, CC BY-SA 3.0. Variant of our own: `test`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that everybody knows)

from delineate import scene
from delineate.modelfile import Preprocess
from delineate.models import Target, Weights, mask_rcnn
from delineate.models._checkpoint import Contents
from delineate.models._rcnn_training import two_stage_losses
from delineate.models._semantic import class_maps, pixel_loss
from delineate.panoptic import Panoptic
from delineate.postprocess.decode import Thresholds
from delineate.postprocess.panoptic import Rules

DECODE = "panoptic"  # of `postprocess.decode`


@dataclass(frozen=True)
class Config:
    """Every number of the architecture and of its losses."""

    classes: int = 80  # things
    stuff: int = 53
    detector: mask_rcnn.Config = field(default=mask_rcnn.VARIANTS["r50_fpn_d2"])  # but for its classes
    hidden: int = 128  # channels of the branch
    groups: int = 32  # of its normalisation
    weight: float = 0.5  # of its loss
    rules: Rules = field(default=Rules())  # what becomes a segment

    def __post_init__(self) -> None:
        """Check the ranges; they may come from a file."""
        detector: Any = self.detector
        if isinstance(detector, dict):
            known = {**detector, "classes": self.classes}
            try:
                detector = mask_rcnn.Config(**known)
            except TypeError as error:
                raise ValueError(
                    f"panoptic_fpn.Config: detector must be a mask_rcnn.Config: {error}"
                ) from error
        object.__setattr__(self, "detector", replace(detector, classes=self.classes))
        try:
            object.__setattr__(self, "rules", msgspec.convert(self.rules, Rules))
        except msgspec.ValidationError as error:
            raise ValueError(f"panoptic_fpn.Config: rules must be Rules: {error}") from error
        for name in ("stuff", "hidden", "groups"):
            if not 1 <= getattr(self, name) <= 65536:
                raise ValueError(
                    f"panoptic_fpn.Config: {name} must be in 1..65536, got {getattr(self, name)!r}"
                )
        if self.hidden % self.groups:
            raise ValueError(
                f"panoptic_fpn.Config: hidden must be a multiple of groups {self.groups}, got {self.hidden}"
            )
        if not self.detector.pyramid or not self.detector.masks or self.detector.strides[0] != 4:
            raise ValueError(
                "panoptic_fpn.Config: detector must have masks and a pyramid from stride 4 on, "
                f"got masks={self.detector.masks}, strides={self.detector.strides}"
            )

    @property
    def strides(self) -> tuple[int, ...]:
        """Input pixels per cell of the levels."""
        return self.detector.strides

    @property
    def preprocess(self) -> Preprocess:
        """How pictures become inputs of the published weights."""
        return self.detector.preprocess


class Outputs(NamedTuple):
    """Those of `mask_rcnn.Outputs`, and the branch's."""

    boxes: Tensor  # (B, D, 4)
    scores: Tensor  # (B, D)
    labels: Tensor  # (B, D) int64
    masks: Tensor  # (B, D, 28, 28) logits
    proposals: Tensor  # (B, P, 4)
    logits: Tensor  # (B, A) of the anchors
    offsets: Tensor  # (B, A, 4)
    semantic: Tensor  # (B, 1 + S, H / 4, W / 4) logits of things, and of every class of stuff


class NormedConv(nn.Conv2d):
    """A 3 x 3 convolution that holds its normalisation, as detectron2's does, with ReLU."""

    def __init__(self, inside: int, outside: int, groups: int) -> None:
        super().__init__(inside, outside, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(groups, outside)
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, h, w) to (B, outside, h, w)."""
        return F.relu(self.norm(super().forward(x)))


class SemanticHead(nn.Module):
    """The branch: every level brought to stride 4, added up, and classified."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.names = tuple(f"p{index}" for index in range(2, 2 + len(config.strides)))
        inside, hidden = config.detector.channels, config.hidden
        for doublings, name in enumerate(self.names):
            layers: list[nn.Module] = []
            for index in range(max(doublings, 1)):
                layers.append(NormedConv(hidden if index else inside, hidden, config.groups))
                if doublings:
                    layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
            self.add_module(name, nn.Sequential(*layers))
        self.predictor = nn.Conv2d(hidden, 1 + config.stuff, 1)
        nn.init.kaiming_normal_(self.predictor.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.predictor.get_parameter("bias"))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Levels (B, C, h, w), finest first, to logits (B, 1 + S, h, w) at the finest."""
        levels = zip(self.names, features, strict=False)  # the coarsest level is for anchors alone
        total = sum(
            (self.get_submodule(name)(level) for name, level in levels),
            start=torch.zeros((), device=features[0].device),
        )
        logits: Tensor = self.predictor(total)
        return logits


class PanopticFPN(nn.Module):
    """Mask R-CNN with a branch for stuff.

    Args:
        config: The variant.

    >>> model = PanopticFPN(VARIANTS["test"]).eval()
    >>> model(torch.zeros(2, 3, 64, 96)).semantic.shape
    torch.Size([2, 4, 16, 24])
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.detector = mask_rcnn.build(config.detector)
        self.sem_seg_head = SemanticHead(config)

    def forward(self, images: Tensor, sizes: Tensor | None = None) -> Outputs:
        """Detections and logits of a batch.

        Args:
            images: As `mask_rcnn.MaskRCNN.forward` takes them.
            sizes: Likewise.

        Raises:
            ValueError: If a shape is not that.
        """
        sizes = self.detector.checked_sizes(images, sizes)
        features = self.detector.features(images)
        found: mask_rcnn.Outputs = self.detector(images, sizes, features)
        return Outputs(*found, semantic=self.sem_seg_head(features))

    def losses(self, images: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Losses of a batch; their sum is what training minimises.

        Args:
            images: As `forward` takes them.
            targets: One per picture; `semantic` is 0 for things, 1 to S for stuff, -1 for unknown pixels.

        Returns:
            Those of `mask_rcnn.MaskRCNN.losses`, and "semantic": weighted mean cross entropy of known pixels.

        Raises:
            ValueError: If the number of targets, a shape, a label, a box or a canvas does not fit.
        """
        self.detector.checked_sizes(images, None)
        features = self.detector.features(images)
        losses = two_stage_losses(self.detector, images, targets, features)
        canvas = int(images.shape[-2]), int(images.shape[-1])
        maps = class_maps(targets, canvas, 1 + self.config.stuff, images.device, merged=True)
        semantic = self.config.weight * pixel_loss(self.sem_seg_head(features), maps)
        return {**losses, "semantic": semantic}

    def fuse(self) -> PanopticFPN:
        """Fold every batch normalisation into its convolution, in place, for inference; returns the model itself."""
        self.detector.fuse()
        return self.eval()

    def export(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """What an exported model computes: boxes, scores, labels, mask logits and logits of stuff, see `Outputs`."""
        outputs: Outputs = self(images, sizes)
        return *outputs[:4], outputs.semantic


@torch.inference_mode()
def segment_panoptic(
    model: PanopticFPN,
    image: NDArray[np.uint8],
    preprocess: Preprocess,
    thresholds: Thresholds,
    rules: Rules | None = None,
) -> Panoptic:
    """The panoptic picture that a model, in eval mode, makes of a picture.

    Args:
        model: The model.
        image: (H, W, 3) uint8 RGB.
        preprocess: How the picture becomes the network's input.
        thresholds: Which detections are looked at.
        rules: What becomes a segment; None = the model's own rules.

    >>> picture, given = np.zeros((40, 50, 3), np.uint8), VARIANTS["test"].preprocess
    >>> segment_panoptic(build(VARIANTS["test"]).eval(), picture, given, Thresholds()).size
    (40, 50)
    """
    device = next(model.parameters()).device

    def run(tensor: NDArray[np.float32], content: tuple[int, int]) -> list[NDArray[np.float32]]:
        sizes = torch.tensor([content], device=device)
        outputs = model.export(torch.from_numpy(tensor).to(device), sizes)
        return [output.float().cpu().numpy() for output in outputs]

    return scene.panoptic(
        image,
        preprocess,
        run,
        thresholds=thresholds,
        classes=model.config.classes,
        rules=rules or model.config.rules,
    )


def build(config: Config) -> PanopticFPN:
    """The model of a configuration, freshly initialised."""
    return PanopticFPN(config)


def depends_on_classes(name: str) -> bool:
    """Whether the shape of a tensor of the state dict follows from the number of classes, of things or stuff.

    >>> depends_on_classes("sem_seg_head.predictor.bias"), depends_on_classes("sem_seg_head.p2.0.weight")
    (True, False)
    """
    if name.startswith("sem_seg_head.predictor."):
        return True
    return mask_rcnn.depends_on_classes(name.removeprefix("detector."))


def layer_of(name: str) -> tuple[int, ...] | None:
    """The layer of the backbone that a parameter belongs to, as `mask_rcnn.layer_of` says it.

    >>> layer_of("detector.backbone.body.layer2.0.conv1.weight"), layer_of("sem_seg_head.predictor.bias")
    ((2,), None)
    """
    return mask_rcnn.layer_of(name.removeprefix("detector."))


def official(model: PanopticFPN, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a checkpoint of detectron2 under our names; our own files stay as they are."""
    if any(name.startswith("detector.") for name in tensors):
        return dict(tensors)
    branch = {name: value for name, value in tensors.items() if name.startswith("sem_seg_head.")}
    rest = {name: value for name, value in tensors.items() if name not in branch}
    found = mask_rcnn.official(model.detector, rest)
    return branch | {f"detector.{name}": value for name, value in found.items()}


def check_contents(model: PanopticFPN, contents: Contents) -> None:
    """Nothing to refuse: state dicts say no more than their tensors."""


VARIANTS: dict[str, Config] = {
    "r50": Config(),
    "r101": Config(detector=mask_rcnn.VARIANTS["r101_fpn"]),
    # For CPUs and small sets, learnt from scratch.
    "tiny": Config(detector=mask_rcnn.VARIANTS["tiny"], hidden=48, groups=12),
    "test": Config(classes=2, stuff=3, detector=mask_rcnn.VARIANTS["test"], hidden=16, groups=4),
}

_URL = "https://dl.fbaipublicfiles.com/detectron2/COCO-PanopticSegmentation"
WEIGHTS: dict[str, Weights] = {  # panoptic quality 41.5 and 43.0, COCO val2017
    name: Weights(f"{_URL}/panoptic_fpn_{file}.pkl", f"md5:{file[-6:]}", "CC-BY-SA-3.0", 80, *published)
    for name, file, published in (
        ("r50", "R_50_3x/139514569/model_final_c10459", (40.0, 36.5)),
        ("r101", "R_101_3x/139514519/model_final_cafdb1", (42.4, 38.5)),
    )
}
