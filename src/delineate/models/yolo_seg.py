"""YOLOv8-seg and YOLO11-seg: anchor-free boxes, classes, and masks as combinations of shared prototypes.

No paper describes these networks (Ultralytics, 2023 and 2024). This file is an independent implementation
from public facts: layer tables, tensor names and published numbers. The parts come from the literature:
prototypes from YOLACT (Bolya et al. 2019, arXiv:1904.02689), box distributions from generalised focal loss
(Li et al. 2020, arXiv:2006.04388), task-aligned assignment from TOOD (Feng et al. 2021, arXiv:2108.07755),
complete IoU (Zheng et al. 2020, arXiv:1911.08287).

Departures in training: the alignment metric uses the plain IoU as TOOD does; mask targets are the covered
fraction of each prototype cell (soft edges) instead of a subsampled label map, so that overlapping objects
keep their whole masks; the mask loss looks at the object's own cells and one cell around them.

Weights: the official checkpoints in `WEIGHTS` are AGPL-3.0. They are read without running any of their code,
and what is derived from them stays under their licence. Architecture variants of our own: `nuclei`, `test`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that everybody knows)

from delineate.errors import WeightsError
from delineate.models import Target, Weights
from delineate.models._assign import assign, candidates, gather_objects
from delineate.models._checkpoint import Contents
from delineate.models._losses import complete_iou, distribution_focal, gather_cells, ragged_masks
from delineate.models._yolo_blocks import C2PSA, SPPF, Bins, Bottleneck, C3k, Chain, Conv, Proto

DECODE = "prototypes"  # of `postprocess.decode`


@dataclass(frozen=True)
class Config:
    """Every number of the architecture and of its losses.

    The first group scales the layer tables, the second departs from them (None: the rule of the official
    networks), the third belongs to training.
    """

    generation: int = 11  # 8 or 11
    depth: float = 0.5  # factor on the repeats of a block
    width: float = 0.25  # factor on the channels
    max_channels: int = 1024  # cap before the factor
    deep: bool = False  # every C3k2 with C3k units (11 m, l, x)
    classes: int = 80
    reg_max: int = 16  # bins per side of a box: distances 0..reg_max - 1 in cells
    prototypes: int = 32

    stem_strides: tuple[int, int] = (2, 2)  # first two convolutions; (1, 2) or (2, 1) for small objects
    stem_channels: tuple[int, int] | None = None
    box_hidden: int | None = None  # channels inside the heads
    class_hidden: int | None = None
    coefficient_hidden: int | None = None
    prototype_channels: int | None = None

    box_weight: float = 7.5
    class_weight: float = 0.5
    dfl_weight: float = 1.5
    mask_weight: float = 7.5
    top: int = 10  # anchors per object
    alpha: float = 0.5  # exponent of the score in the alignment metric
    beta: float = 6.0  # exponent of the IoU
    expected_objects: float = 5.0  # per 640 x 640 pixels, all classes: sets the initial class bias

    def __post_init__(self) -> None:
        """Check the ranges; they may come from a file."""
        object.__setattr__(self, "stem_strides", tuple(self.stem_strides))
        if self.generation not in _TABLES:
            raise ValueError(f"yolo_seg.Config: generation must be 8 or 11, got {self.generation!r}")
        if self.stem_strides not in ((2, 2), (1, 2), (2, 1)):
            allowed = "(2, 2), (1, 2) or (2, 1)"
            raise ValueError(f"yolo_seg.Config: stem_strides must be {allowed}, got {self.stem_strides!r}")
        sizes = {"classes": 1, "prototypes": 1, "max_channels": 1, "top": 1, "reg_max": 2}
        for name, least in sizes.items():
            if not least <= getattr(self, name) <= 65536:
                raise ValueError(
                    f"yolo_seg.Config: {name} must be in {least}..65536, got {getattr(self, name)!r}"
                )
        for name in ("depth", "width"):
            if not 0 < getattr(self, name) <= 16:
                raise ValueError(f"yolo_seg.Config: {name} must be in (0, 16], got {getattr(self, name)!r}")

    @property
    def strides(self) -> tuple[int, int, int]:
        """Input pixels per cell of the three levels."""
        finest = 2 * self.stem_strides[0] * self.stem_strides[1]
        return finest, 2 * finest, 4 * finest

    @property
    def prototype_stride(self) -> int:
        """Input pixels per prototype cell."""
        return self.strides[0] // 2


class Outputs(NamedTuple):
    """Raw outputs, the same in train and eval mode. A anchors: level after level, each row by row."""

    bins: Tensor  # (B, A, 4 * reg_max) logits of the distances left, top, right, bottom, in cells
    logits: Tensor  # (B, A, C)
    coefficients: Tensor  # (B, A, K)
    prototypes: Tensor  # (B, K, h, w) at the prototype stride


class Segment(nn.Module):
    """The heads of the three levels, with the prototypes on the finest."""

    def __init__(self, config: Config, channels: Sequence[int]) -> None:
        super().__init__()
        first = channels[0]
        box = config.box_hidden or max(16, first // 4, 4 * config.reg_max)
        label = config.class_hidden or max(first, min(config.classes, 100))
        coefficient = config.coefficient_hidden or max(first // 4, config.prototypes)
        depthwise = config.generation == 11
        self.cv2 = nn.ModuleList(_head(c, box, 4 * config.reg_max) for c in channels)
        self.cv3 = nn.ModuleList(_head(c, label, config.classes, depthwise=depthwise) for c in channels)
        self.cv4 = nn.ModuleList(_head(c, coefficient, config.prototypes) for c in channels)
        self.dfl = Bins(config.reg_max)
        self.proto = Proto(first, config.prototype_channels or _scaled(256, config), config.prototypes)
        for stride, boxes, labels in zip(config.strides, self.cv2, self.cv3, strict=True):
            prior = min(config.expected_objects / config.classes * (stride / 640) ** 2, 0.5)
            nn.init.ones_(boxes.get_parameter("2.bias"))
            nn.init.constant_(labels.get_parameter("2.bias"), math.log(prior / (1 - prior)))

    def forward(self, features: Sequence[Tensor]) -> Outputs:
        """Three feature maps (B, C_i, H_i, W_i), finest first."""
        bins, logits, coefficients = (
            torch.cat([head(x).flatten(2) for head, x in zip(heads, features, strict=True)], 2)
            for heads in (self.cv2, self.cv3, self.cv4)
        )
        prototypes = self.proto(features[0])
        return Outputs(bins.transpose(1, 2), logits.transpose(1, 2), coefficients.transpose(1, 2), prototypes)


def _head(cin: int, hidden: int, cout: int, *, depthwise: bool = False) -> nn.Sequential:
    if not depthwise:
        return nn.Sequential(Conv(cin, hidden, 3), Conv(hidden, hidden, 3), nn.Conv2d(hidden, cout, 1))
    return nn.Sequential(
        nn.Sequential(Conv(cin, cin, 3, groups=cin), Conv(cin, hidden)),
        nn.Sequential(Conv(hidden, hidden, 3, groups=hidden), Conv(hidden, hidden)),
        nn.Conv2d(hidden, cout, 1),
    )


class Row(NamedTuple):
    """One layer of a table; its place is its index in the state dict."""

    kind: str
    channels: int = 0  # before scaling
    repeats: int = 1  # before scaling
    flag: bool = False  # c2f: shortcut; c3k2: C3k units
    ratio: float = 0.5  # hidden channels of c3k2
    source: int = -1  # cat: the earlier layer


_TABLES: dict[int, tuple[Row, ...]] = {
    8: (
        *(Row("conv", 64), Row("conv", 128), Row("c2f", 128, 3, True), Row("conv", 256)),  # 0..3
        *(Row("c2f", 256, 6, True), Row("conv", 512), Row("c2f", 512, 6, True), Row("conv", 1024)),  # 4..7
        *(Row("c2f", 1024, 3, True), Row("sppf", 1024)),  # 8, 9
        *(Row("up"), Row("cat", source=6), Row("c2f", 512, 3)),  # 10..12
        *(Row("up"), Row("cat", source=4), Row("c2f", 256, 3)),  # 13..15
        *(Row("conv", 256), Row("cat", source=12), Row("c2f", 512, 3)),  # 16..18
        *(Row("conv", 512), Row("cat", source=9), Row("c2f", 1024, 3)),  # 19..21
    ),
    11: (
        *(Row("conv", 64), Row("conv", 128), Row("c3k2", 256, 2, ratio=0.25), Row("conv", 256)),  # 0..3
        *(Row("c3k2", 512, 2, ratio=0.25), Row("conv", 512), Row("c3k2", 512, 2, True)),  # 4..6
        *(Row("conv", 1024), Row("c3k2", 1024, 2, True), Row("sppf", 1024), Row("c2psa", 1024, 2)),  # 7..10
        *(Row("up"), Row("cat", source=6), Row("c3k2", 512, 2)),  # 11..13
        *(Row("up"), Row("cat", source=4), Row("c3k2", 256, 2)),  # 14..16
        *(Row("conv", 256), Row("cat", source=13), Row("c3k2", 512, 2)),  # 17..19
        *(Row("conv", 512), Row("cat", source=10), Row("c3k2", 1024, 2, True)),  # 20..22
    ),
}
_LEVELS = {8: (15, 18, 21), 11: (16, 19, 22)}


def _scaled(channels: int, config: Config) -> int:
    return math.ceil(min(channels, config.max_channels) * config.width / 8) * 8


def _layer(row: Row, index: int, cin: int, config: Config) -> tuple[nn.Module, int]:
    """The module of one row, and the channels that it gives."""
    cout = _scaled(row.channels, config)
    repeats = range(max(round(row.repeats * config.depth), 1))
    units: list[nn.Module]
    if row.kind == "conv":
        if index < 2 and config.stem_channels:
            cout = config.stem_channels[index]
        return Conv(cin, cout, 3, config.stem_strides[index] if index < 2 else 2), cout
    if row.kind == "c2f":
        hidden = cout // 2
        units = [Bottleneck(hidden, shortcut=row.flag, ratio=1.0) for _ in repeats]
        return Chain(cin, cout, hidden, units), cout
    if row.kind == "c3k2":
        hidden = int(cout * row.ratio)
        if row.flag or config.deep:
            units = [C3k(hidden) for _ in repeats]
        else:
            units = [Bottleneck(hidden, shortcut=True, ratio=0.5) for _ in repeats]
        return Chain(cin, cout, hidden, units), cout
    if row.kind == "sppf":
        return SPPF(cin, cout), cout
    if row.kind == "c2psa":
        return C2PSA(cin, len(repeats)), cin
    return nn.Identity(), cin  # "up" and "cat" have no parameters; `forward` does their work


class YoloSeg(nn.Module):
    """YOLOv8-seg or YOLO11-seg.

    Args:
        config: The variant.

    >>> model = YoloSeg(VARIANTS["test"])
    >>> model(torch.zeros(2, 3, 64, 64)).prototypes.shape
    torch.Size([2, 8, 32, 32])
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self._table = _TABLES[config.generation]
        layers: list[nn.Module] = []
        given: list[int] = []
        cin = 3
        for index, row in enumerate(self._table):
            layer, cin = _layer(row, index, cin, config)
            cin += given[row.source] if row.kind == "cat" else 0
            layers.append(layer)
            given.append(cin)
        head = Segment(config, [given[level] for level in _LEVELS[config.generation]])
        self.model = nn.ModuleList([*layers, head])

    @property
    def head(self) -> Segment:
        """The last layer."""
        return cast("Segment", self.model[-1])

    def forward(self, images: Tensor) -> Outputs:
        """Raw outputs of a batch.

        Args:
            images: (B, 3, H, W) float, RGB in [0, 1]; H and W multiples of the coarsest stride.

        Raises:
            ValueError: If H or W is not.
        """
        coarsest = self.config.strides[-1]
        if images.shape[-2] % coarsest or images.shape[-1] % coarsest:
            raise ValueError(
                f"YoloSeg: images must have sides that are multiples of {coarsest}, got {tuple(images.shape)}"
            )
        x = images
        made: list[Tensor] = []
        for row, layer in zip(self._table, self.model, strict=False):
            if row.kind == "up":
                x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            elif row.kind == "cat":
                x = torch.cat((x, made[row.source]), 1)
            else:
                x = layer(x)
            made.append(x)
        outputs: Outputs = self.head([made[level] for level in _LEVELS[self.config.generation]])
        return outputs

    def fuse(self) -> YoloSeg:
        """Fold every batch norm into its convolution, in place, for inference; returns the model itself."""
        for module in self.modules():
            if isinstance(module, Conv):
                module.fuse()
        return self.eval()

    def boxes(self, outputs: Outputs) -> Tensor:
        """Predicted boxes (B, A, 4) float32, xyxy input pixels."""
        centres, strides = self._anchors(outputs.prototypes)
        return self._boxes(outputs.bins, centres, strides)

    def decoded(self, outputs: Outputs) -> tuple[Tensor, Tensor]:
        """The layout of the ultralytics exports.

        Returns:
            Predictions (B, 4 + C + K, A): centre x, centre y, width, height in input pixels, scores in
            [0, 1], raw coefficients; and the prototypes unchanged.
        """
        boxes = self.boxes(outputs)
        low, high = boxes[..., :2], boxes[..., 2:]
        parts = ((low + high) / 2, high - low, outputs.logits.sigmoid(), outputs.coefficients)
        return torch.cat(parts, -1).transpose(1, 2), outputs.prototypes

    def export(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What an exported model computes: `decoded` of `forward`."""
        return self.decoded(self(images))

    def losses(self, outputs: Outputs | Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Weighted losses; their sum is what training minimises.

        Args:
            outputs: What `forward` gave, or images (B, 3, H, W), which are then passed through it.
            targets: One per picture. A picture without objects is ordinary.

        Returns:
            Scalars "box", "cls", "dfl" and "mask", float32. Box, class and distribution losses are divided by
            the sum of the soft targets, the mask loss by the number of positive anchors with a mask.

        Raises:
            ValueError: If the number of targets, a shape, a label or a canvas does not fit.
        """
        given: Outputs = self(outputs) if isinstance(outputs, Tensor) else outputs
        with torch.autocast(given.bins.device.type, enabled=False):
            return self._losses(given, targets)

    def _losses(self, outputs: Outputs, targets: Sequence[Target]) -> dict[str, Tensor]:
        config = self.config
        bins, logits, coefficients, prototypes = (part.float() for part in outputs)
        stride = config.prototype_stride
        canvas = (prototypes.shape[2] * stride, prototypes.shape[3] * stride)
        objects = gather_objects(targets, len(logits), config.classes, canvas, logits.device)
        centres, strides = self._anchors(prototypes)
        with torch.no_grad():
            boxes = self._boxes(bins, centres, strides)
            pairs = candidates(objects.boxes, self._sizes(prototypes), config.strides)
            found = assign(
                boxes, logits, objects, pairs, top=config.top, exponents=(config.alpha, config.beta)
            )

        soft = torch.zeros_like(logits)
        soft[found.images, found.anchors, objects.labels[found.objects]] = found.scores
        labels = F.binary_cross_entropy_with_logits(logits, soft, reduction="sum")

        chosen, truth = bins[found.images, found.anchors], objects.boxes[found.objects]
        centre, scale = centres[found.anchors], strides[found.anchors]
        overlap = complete_iou(self._boxes(chosen, centre, scale), truth)
        distances = torch.cat((centre - truth[:, :2], truth[:, 2:] - centre), 1) / scale[:, None]
        dfl = distribution_focal(chosen.view(-1, 4, config.reg_max), distances)

        cells = gather_cells(targets, stride, logits.device)
        masked = cells.offsets.diff()[found.objects] > 0
        images, owners = found.images[masked], found.objects[masked]
        masks = ragged_masks(coefficients[images, found.anchors[masked]], prototypes, images, owners, cells)

        total = found.scores.sum().clamp(min=1.0)
        return {
            "box": config.box_weight * ((1 - overlap) * found.scores).sum() / total,
            "cls": config.class_weight * labels / total,
            "dfl": config.dfl_weight * (dfl * found.scores).sum() / total,
            "mask": config.mask_weight * masks.sum() / max(len(masks), 1),
        }

    def _boxes(self, bins: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
        """Boxes (..., 4) of bins (..., 4 * reg_max) at centres (..., 2) with strides (...)."""
        distances = self.head.dfl(bins) * strides[:, None]
        return torch.cat((centres - distances[..., :2], centres + distances[..., 2:]), -1)

    def _sizes(self, prototypes: Tensor) -> list[tuple[int, int]]:
        """Cells of every level."""
        height, width = prototypes.shape[-2:]
        return [(height // factor, width // factor) for factor in (2, 4, 8)]

    def _anchors(self, prototypes: Tensor) -> tuple[Tensor, Tensor]:
        """Centres (A, 2) as x, y in input pixels, and the stride (A,) of each."""
        centres, strides = [], []
        for (height, width), stride in zip(self._sizes(prototypes), self.config.strides, strict=True):
            y = (torch.arange(height, device=prototypes.device, dtype=torch.float32) + 0.5) * stride
            x = (torch.arange(width, device=prototypes.device, dtype=torch.float32) + 0.5) * stride
            rows, columns = torch.meshgrid(y, x, indexing="ij")
            centres.append(torch.stack((columns.flatten(), rows.flatten()), 1))
            strides.append(torch.full_like(rows.flatten(), stride))
        return torch.cat(centres), torch.cat(strides)


def build(config: Config) -> YoloSeg:
    """The model of a configuration, freshly initialised."""
    return YoloSeg(config)


def depends_on_classes(name: str) -> bool:
    """Whether the shape of a tensor of the state dict follows from the number of classes.

    >>> depends_on_classes("model.23.cv3.0.2.bias"), depends_on_classes("model.9.cv1.conv.weight")
    (True, False)
    """
    return re.match(r"model\.\d+\.cv3\.", name) is not None


def layer_of(name: str) -> tuple[int, ...] | None:
    """The row of the table that a parameter belongs to, in rising order; None for the heads.

    >>> layer_of("model.3.conv.weight"), layer_of("model.23.cv3.0.2.bias")
    ((3,), None)
    """
    found = re.match(r"model\.(\d+)\.(?!cv\d\.\d\.|proto\.|dfl\.)", name)
    return (int(found[1]),) if found else None


def check_contents(model: YoloSeg, contents: Contents) -> None:
    """Refuse a checkpoint whose numbers fit but mean something else.

    Some releases of ultralytics built the pooling block without its first activation; such networks have the
    same tensors.

    Raises:
        WeightsError: If an activation or an epsilon differs.
    """
    for path, module in model.named_modules():
        if not isinstance(module, Conv):
            continue
        act = contents.kinds.get(f"{path}.act", type(module.act).__name__)
        if act != type(module.act).__name__:
            raise WeightsError(f"{path}: activation must be {type(module.act).__name__}, the file has {act}.")
        eps = contents.eps.get(f"{path}.bn", 1e-3)
        if not math.isclose(eps, 1e-3, rel_tol=1e-3):
            raise WeightsError(f"{path}.bn: epsilon must be 0.001, the file has {eps}.")


VARIANTS: dict[str, Config] = {
    "v8n": Config(8, 0.33, 0.25, 1024),
    "v8s": Config(8, 0.33, 0.50, 1024),
    "v8m": Config(8, 0.67, 0.75, 768),
    "v8l": Config(8, 1.0, 1.0, 512),
    "v8x": Config(8, 1.0, 1.25, 512),
    "11n": Config(11, 0.5, 0.25, 1024),
    "11s": Config(11, 0.5, 0.50, 1024),
    "11m": Config(11, 0.5, 1.0, 512, deep=True),
    "11l": Config(11, 1.0, 1.0, 512, deep=True),
    "11x": Config(11, 1.0, 1.5, 512, deep=True),
    # Microscopy nuclei, 5 to 100 pixels across, at native resolution: half the strides, narrow heads.
    "nuclei": Config(
        classes=1,
        stem_strides=(1, 2),
        stem_channels=(8, 24),
        box_hidden=32,
        class_hidden=32,
        coefficient_hidden=24,
        prototype_channels=32,
        expected_objects=200.0,
    ),
    "test": Config(
        width=0.0625,
        classes=2,
        prototypes=8,
        stem_strides=(1, 2),
        box_hidden=16,
        class_hidden=16,
        coefficient_hidden=16,
        prototype_channels=16,
        expected_objects=100.0,
    ),
}

_RELEASE = "https://github.com/ultralytics/assets/releases/download/v8.3.0"
_PUBLISHED = {  # box and mask AP, COCO val2017, 640 pixels
    "v8n": (36.7, 30.5),
    "v8s": (44.6, 36.8),
    "v8m": (49.9, 40.8),
    "v8l": (52.3, 42.6),
    "v8x": (53.4, 43.4),
    "11n": (38.9, 32.0),
    "11s": (46.6, 37.8),
    "11m": (51.5, 41.5),
    "11l": (53.4, 42.9),
    "11x": (54.7, 43.8),
}
WEIGHTS: dict[str, Weights] = {
    name: Weights(f"{_RELEASE}/yolo{name}-seg.pt", None, "AGPL-3.0-only", 80, box_ap, mask_ap)
    for name, (box_ap, mask_ap) in _PUBLISHED.items()
}
