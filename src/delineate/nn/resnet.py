"""ResNet and ResNeXt with bottlenecks (He et al. 2016, arXiv:1512.03385; Xie et al. 2017, arXiv:1611.05431).

Tensor names are those of torchvision's models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

Norm = Callable[[int], nn.Module]


class FrozenBatchNorm(nn.Module):
    """Batch normalisation with statistics and affine map that never change: one factor and one shift per channel.

    Args:
        channels: Of the input.
        eps: Added to the variance. The published COCO weights of torchvision's first recipe need 0.

    >>> FrozenBatchNorm(2, eps=0.0)(torch.ones(1, 2, 1, 1)).flatten()
    tensor([1., 1.])
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return torch.addcmul(shift.view(-1, 1, 1).to(x.dtype), x, scale.view(-1, 1, 1).to(x.dtype))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolution beside a shortcut; four times as many channels come out."""

    def __init__(
        self,
        inside: int,
        planes: int,
        stride: int,
        *,
        width: int,
        groups: int,
        norm: Norm,
        first_strided: bool = False,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        outside = 4 * planes
        first, second = (stride, 1) if first_strided else (1, stride)
        self.conv1 = nn.Conv2d(inside, width, 1, first, bias=False)
        self.bn1 = norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, second, dilation, dilation, groups, bias=False)
        self.bn2 = norm(width)
        self.conv3 = nn.Conv2d(width, outside, 1, bias=False)
        self.bn3 = norm(outside)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inside != outside:
            self.downsample = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), norm(outside))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, h, w) to (B, 4 * planes, h / stride, w / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return cast("Tensor", self.relu(y + (x if self.downsample is None else self.downsample(x))))


class ResNet(nn.Module):
    """The four stages of a ResNet, without its classifier.

    Args:
        blocks: Bottlenecks per stage: (3, 4, 6, 3) is ResNet-50, (3, 4, 23, 3) ResNet-101.
        norm: Makes the normalisation of so many channels.
        stem: Channels of the stem, and planes of the first stage.
        groups: Groups of the 3 x 3 convolutions; 32 in ResNeXt-32x8d.
        group_width: Channels per group in the first stage, for `stem` 64; 8 in ResNeXt-32x8d.
        first_strided: The stride is in the first 1 x 1 convolution, as in the paper and in detectron2's MSRA
            weights, instead of in the 3 x 3.
        dilated: So many of the last stages keep the resolution and spread their 3 x 3 convolutions instead
            (Yu and Koltun 2016, arXiv:1511.07122).

    >>> [tuple(part.shape) for part in ResNet((1, 1, 1, 1), nn.BatchNorm2d, stem=8)(torch.zeros(1, 3, 64, 64))]
    [(1, 32, 16, 16), (1, 64, 8, 8), (1, 128, 4, 4), (1, 256, 2, 2)]
    """

    def __init__(
        self,
        blocks: tuple[int, int, int, int],
        norm: Norm,
        *,
        stem: int = 64,
        groups: int = 1,
        group_width: int = 64,
        first_strided: bool = False,
        dilated: int = 0,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, stem, 7, 2, 3, bias=False)
        self.bn1 = norm(stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inside, dilation = stem, 1
        for stage, count in enumerate(blocks):
            planes = stem * 2**stage
            width = planes * group_width // 64 * groups
            chain = []
            for index in range(count):
                shrinks = stage > 0 and not index
                stride = 2 if shrinks and stage < 4 - dilated else 1
                shape = {"width": width, "groups": groups, "norm": norm, "first_strided": first_strided}
                chain.append(Bottleneck(inside, planes, stride, **shape, dilation=dilation))
                inside = 4 * planes
                dilation *= 2 if shrinks and stride == 1 else 1  # from the stage's second block on
            self.add_module(f"layer{stage + 1}", nn.Sequential(*chain))
        self.channels = tuple(4 * stem * 2**stage for stage in range(4))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to the features of the stages that there are, at strides 4, 8, 16 and 32 (less if dilated)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        features = []
        for name, stage in self.named_children():
            if name.startswith("layer"):
                x = stage(x)
                features.append(x)
        return features

    def freeze(self, parts: int) -> None:
        """Keep the stem and the stages after it from learning.

        Args:
            parts: How many of (stem, stage 1, ..., stage 4) stay as they are, 0..5.
        """
        frozen = ["conv1", "bn1"][: 2 * min(parts, 1)] + [f"layer{stage}" for stage in range(1, parts)]
        for name in frozen:
            self.get_submodule(name).requires_grad_(False)


@torch.no_grad()
def fold_norms(modules: Iterable[nn.Module]) -> None:
    """Fold every normalisation that follows a convolution into it, in place; for inference only.

    Args:
        modules: Each is searched for children (not grandchildren) where a normalisation comes right after a
            convolution. What is already folded stays.
    """
    for module in modules:
        children = list(module.named_children())
        for (first, conv), (second, norm) in pairwise(children):
            if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d | FrozenBatchNorm):
                continue
            mean, variance = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
            scale = norm.weight * (variance + norm.eps).rsqrt()
            folded = nn.Conv2d(
                conv.in_channels,
                conv.out_channels,
                cast("tuple[int, int]", conv.kernel_size),
                cast("tuple[int, int]", conv.stride),
                cast("tuple[int, int]", conv.padding),
                cast("tuple[int, int]", conv.dilation),
                conv.groups,
            ).to(conv.weight)
            folded.weight.copy_(conv.weight * scale.view(-1, 1, 1, 1))
            shift = norm.bias - mean * scale
            cast("Tensor", folded.bias).copy_(shift if conv.bias is None else shift + conv.bias * scale)
            folded.train(conv.training)
            setattr(module, first, folded)
            setattr(module, second, nn.Identity())
