"""FCN: the class of every pixel, by convolutions on a dilated ResNet.

Long, Shelhamer and Darrell 2015, arXiv:1411.4038, in the form of torchvision's models (BSD-3-Clause): output
stride 8, one 3 x 3 convolution before the classes, and an auxiliary head on the third stage that only helps to
learn. Tensor names are torchvision's.

A semantic network does not tell objects of one class apart. As `Instances` it gives the connected parts of its
class map, so objects that touch are one; `postprocess.semantic.class_map` gives the map itself, and
`postprocess.panoptic.combine` segments of stuff. Departure: logits stay at the stride of the features, and are
interpolated where they are used. Variant of our own: `test`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from delineate import scene
from delineate.modelfile import Preprocess
from delineate.models import Target, Weights
from delineate.models._assign import gather_objects
from delineate.models._checkpoint import Contents
from delineate.models._semantic import class_maps, pixel_loss
from delineate.nn.resnet import ResNet, fold_norms
from delineate.postprocess.semantic import ClassMap

DECODE = "semantic"  # of `postprocess.decode`

_PHOTOGRAPHS = Preprocess(
    rule="shortest",
    size=(520, 2**15),
    rounding="floor",
    antialias=True,
    multiple=1,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)


@dataclass(frozen=True)
class Config:
    """Every number of the architecture and of its losses."""

    classes: int = 20  # without the background, which is the first channel
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)  # bottlenecks per stage
    stem: int = 64  # channels
    dilated: int = 2  # so many of the last stages keep the resolution
    dropout: float = 0.1
    auxiliary: bool = True
    auxiliary_weight: float = 0.5
    preprocess: Preprocess = field(default=_PHOTOGRAPHS)  # what the published weights saw

    def __post_init__(self) -> None:
        """Check the ranges; they may come from a file."""
        object.__setattr__(self, "blocks", tuple(self.blocks))
        if isinstance(value := self.preprocess, dict):
            try:
                object.__setattr__(self, "preprocess", msgspec.convert(value, Preprocess))
            except msgspec.ValidationError as error:
                raise ValueError(f"fcn.Config: preprocess must be a Preprocess: {error}") from error
        for name in ("classes", "stem"):
            if not 1 <= getattr(self, name) <= 65535:
                raise ValueError(f"fcn.Config: {name} must be in 1..65535, got {getattr(self, name)!r}")
        if len(self.blocks) != 4 or not all(1 <= count <= 1024 for count in self.blocks):
            raise ValueError(f"fcn.Config: blocks must be four counts in 1..1024, got {self.blocks!r}")
        if self.dilated not in range(4):
            raise ValueError(f"fcn.Config: dilated must be in 0..3, got {self.dilated!r}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"fcn.Config: dropout must be in [0, 1), got {self.dropout!r}")

    @property
    def strides(self) -> tuple[int]:
        """Input pixels per cell of the logits."""
        return (2 ** (5 - self.dilated),)


class Outputs(NamedTuple):
    """Logits of the background and the classes, the same in train and eval mode."""

    logits: Tensor  # (B, classes + 1, h, w) at the stride, sides rounded up
    auxiliary: Tensor  # (B, classes + 1, h', w') of the third stage; (B, classes + 1, 0, 0) without that head


class FCN(nn.Module):
    """A fully convolutional network on a ResNet.

    Args:
        config: The variant.

    >>> import torch
    >>> FCN(VARIANTS["test"]).eval()(torch.zeros(2, 3, 64, 72)).logits.shape
    torch.Size([2, 3, 16, 18])
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.backbone = ResNet(config.blocks, nn.BatchNorm2d, stem=config.stem, dilated=config.dilated)
        channels = self.backbone.channels
        self.classifier = _head(channels[3], config)
        self.aux_classifier = _head(channels[2], config) if config.auxiliary else None

    def forward(self, images: Tensor) -> Outputs:
        """Logits of a batch.

        Args:
            images: (B, 3, H, W) float, prepared as `Config.preprocess` says; of any size.
        """
        stages = self.backbone(images)
        logits = self.classifier(stages[3])
        if self.aux_classifier is None:
            return Outputs(logits, logits.new_zeros((*logits.shape[:2], 0, 0)))
        return Outputs(logits, self.aux_classifier(stages[2]))

    def losses(self, outputs: Outputs | Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Weighted losses; their sum is what training minimises.

        Args:
            outputs: Images (B, 3, H, W), or what `forward` gave for a size that is a multiple of the stride.
            targets: One per picture; what their pixels are is said in `_semantic.class_maps`.

        Returns:
            Scalars "mask" and, with that head, "auxiliary", float32: mean cross entropy over known pixels.

        Raises:
            ValueError: If the number of targets, a shape, a label or a canvas does not fit.
        """
        if isinstance(outputs, Tensor):
            given, canvas = self(outputs), (int(outputs.shape[-2]), int(outputs.shape[-1]))
        else:
            stride = self.config.strides[0]
            given = outputs
            canvas = given.logits.shape[2] * stride, given.logits.shape[3] * stride
        device = given.logits.device
        gather_objects(targets, len(given.logits), self.config.classes, canvas, device)
        maps = class_maps(targets, canvas, self.config.classes + 1, device)
        losses = {"mask": pixel_loss(given.logits, maps)}
        if self.aux_classifier is not None:
            losses["auxiliary"] = self.config.auxiliary_weight * pixel_loss(given.auxiliary, maps)
        return losses

    def fuse(self) -> FCN:
        """Fold every normalisation into its convolution, in place, for inference; returns the model itself."""
        fold_norms(self.modules())
        return self.eval()

    def export(self, images: Tensor) -> tuple[Tensor]:
        """What an exported model computes: the logits of `Outputs`."""
        return (self.classifier(self.backbone(images)[3]),)


def _head(inside: int, config: Config) -> nn.Sequential:
    """Logits of features, through a quarter of their channels."""
    return nn.Sequential(
        nn.Conv2d(inside, inside // 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(inside // 4),
        nn.ReLU(inplace=True),
        nn.Dropout(config.dropout),
        nn.Conv2d(inside // 4, config.classes + 1, 1),
    )


@torch.inference_mode()
def segment_classes(model: FCN, image: NDArray[np.uint8], preprocess: Preprocess) -> ClassMap:
    """The class of every pixel that a model, in eval mode, sees in a picture: 0 is the background.

    Args:
        model: The model.
        image: (H, W, 3) uint8 RGB.
        preprocess: How the picture becomes the network's input.

    >>> picture, given = np.zeros((40, 50, 3), np.uint8), VARIANTS["test"].preprocess
    >>> segment_classes(build(VARIANTS["test"]).eval(), picture, given).classes.shape
    (40, 50)
    """
    device = next(model.parameters()).device

    def run(tensor: NDArray[np.float32], _: tuple[int, int]) -> list[NDArray[np.float32]]:
        return [output.float().cpu().numpy() for output in model.export(torch.from_numpy(tensor).to(device))]

    return scene.class_map(image, preprocess, run)


def build(config: Config) -> FCN:
    """The model of a configuration, freshly initialised."""
    return FCN(config)


def depends_on_classes(name: str) -> bool:
    """Whether the shape of a tensor of the state dict follows from the number of classes.

    >>> depends_on_classes("classifier.4.bias"), depends_on_classes("classifier.1.bias")
    (True, False)
    """
    return name.startswith(("classifier.4.", "aux_classifier.4."))


def layer_of(name: str) -> tuple[int, ...] | None:
    """The layer of the backbone that a parameter belongs to, in rising order; None above the backbone.

    >>> layer_of("backbone.bn1.weight"), layer_of("backbone.layer2.0.conv1.weight"), layer_of("classifier.0.weight")
    ((0,), (2,), None)
    """
    if name.startswith(("backbone.conv1.", "backbone.bn1.")):
        return (0,)
    found = re.match(r"backbone\.layer(\d+)\.", name)
    return (int(found[1]),) if found else None


def check_contents(model: FCN, contents: Contents) -> None:
    """Nothing to refuse: state dicts say no more than their tensors."""


VARIANTS: dict[str, Config] = {
    "r50": Config(),
    "r101": Config(blocks=(3, 4, 23, 3)),
    # For CPUs and small sets, learnt from scratch, at the pictures' own scale.
    "tiny": Config(blocks=(1, 2, 2, 1), stem=16, preprocess=Preprocess(rule="native", multiple=8)),
    "test": Config(
        classes=2, blocks=(1, 1, 1, 1), stem=4, dilated=3, dropout=0.0, preprocess=Preprocess(rule="native")
    ),
}

_URL = "https://download.pytorch.org/models"
WEIGHTS: dict[str, Weights] = {  # COCO pictures with the classes of Pascal VOC; mean IoU 60.5 and 63.7
    name: Weights(
        f"{_URL}/fcn_{file}.pth", f"sha256:{file[-8:]}", "BSD-3-Clause", 20, None, None, round(size * 2**20)
    )
    for name, file, size in (
        ("r50", "resnet50_coco-1167a1af", 135.009),
        ("r101", "resnet101_coco-7ecb50ca", 207.711),
    )
}
