"""SpineNet: a backbone whose blocks change scale back and forth, found by search (Du et al. 2020, arXiv:1912.05027).

It gives a pyramid of strides 8 to 128 by itself. Numbers, padding and pooling are those of the TPU code that
trained the published detectors (tensorflow/tpu, Apache-2.0): convolutions pad on both sides, pools only below
and to the right. There is no official torch version, so tensor names are our own.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that everybody knows)

from delineate.nn.resnet import Norm

MULTIPLE = 128
"""Sides of the input must be multiples of this many pixels."""

_CHANNELS = {2: 64, 3: 128, 4: 256, 5: 256, 6: 256, 7: 256}  # per level, before scaling
_STEM = 64
_NORM: Norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)


class SpineNetSize(NamedTuple):
    """The numbers of a variant.

    Attributes:
        endpoint: Channels of every level that comes out.
        scale: Factor on the channels inside.
        alpha: Factor on the channels while a map is resampled.
        repeats: Blocks in a row at every place of the permuted network.
        swish: Whether the activation is x * sigmoid(x), not ReLU.
    """

    endpoint: int
    scale: float
    alpha: float
    repeats: int
    swish: bool = False

    def channels(self, level: int) -> int:
        """Channels inside the blocks of a level."""
        return int(_CHANNELS[level] * self.scale)


SIZES: dict[str, SpineNetSize] = {
    "49s": SpineNetSize(128, 0.65, 0.5, 1),
    "49": SpineNetSize(256, 1.0, 0.5, 1),
    "96": SpineNetSize(256, 1.0, 0.5, 2),
    "143": SpineNetSize(256, 1.0, 1.0, 3),
    "190": SpineNetSize(512, 1.3, 1.0, 4, swish=True),
}


class _Row(NamedTuple):
    """One place of the permuted network."""

    level: int  # stride 2 ** level
    wide: bool  # bottlenecks, which give four times the channels, or residual blocks
    sources: tuple[int, int]  # places of the inputs; 0 and 1 are the stem's
    orphan: int | None = None  # place of a map that nothing else uses: it joins here as it is


_TABLE = (
    *(_Row(2, True, (0, 1)), _Row(4, False, (0, 1)), _Row(3, True, (2, 3)), _Row(4, True, (2, 4))),  # 2..5
    *(_Row(6, False, (3, 5)), _Row(4, True, (3, 5)), _Row(5, False, (6, 7)), _Row(7, False, (6, 8))),  # 6..9
    *(
        _Row(5, True, (8, 9)),
        _Row(5, True, (8, 10)),
        _Row(4, True, (5, 10)),
        _Row(3, True, (4, 10)),
    ),  # 10..13
    *(_Row(5, True, (7, 12), orphan=11), _Row(7, True, (5, 14)), _Row(6, True, (12, 14))),  # 14..16
)
_OUTPUTS = (13, 12, 14, 16, 15)  # places of levels 3 to 7


class SpineNet(nn.Module):
    """The stem, the permuted network and its five outputs.

    Args:
        size: The variant.
        norm: Makes the normalisation of so many channels.
        drop_path: Probability that the last place's blocks are left out of a picture in training; it grows
            evenly from the first place on.

    >>> model = SpineNet(SpineNetSize(8, 0.0625, 0.5, 1)).eval()
    >>> [tuple(level.shape[1:]) for level in model(torch.zeros(1, 3, 128, 256))]
    [(8, 16, 32), (8, 8, 16), (8, 4, 8), (8, 2, 4), (8, 1, 2)]
    """

    def __init__(self, size: SpineNetSize, norm: Norm = _NORM, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.channels = (size.endpoint,) * 5
        self.act = nn.SiLU(inplace=True) if size.swish else nn.ReLU(inplace=True)
        make = _Maker(size, norm, self.act)
        first = size.channels(2)
        self.stem = _conv(3, _STEM, 7, 2, norm, self.act)
        self.stem_blocks = nn.ModuleList(
            make.group(inside, first, wide=True, drop_path=0.0) for inside in (_STEM, 4 * first)
        )
        depths, widths = [4 * first, 4 * first], [True, True]
        levels = [2, 2]
        self.resamples, self.blocks = nn.ModuleList(), nn.ModuleList()
        for index, row in enumerate(_TABLE):
            outside = size.channels(row.level) * (4 if row.wide else 1)
            self.resamples.append(
                nn.ModuleList(
                    make.resample(depths[source], outside, levels[source] - row.level, wide=widths[source])
                    for source in row.sources
                )
            )
            rate = drop_path * (index + 1) / len(_TABLE)
            self.blocks.append(make.group(outside, size.channels(row.level), wide=row.wide, drop_path=rate))
            depths.append(outside)
            widths.append(row.wide)
            levels.append(row.level)
        self.endpoints = nn.ModuleList(
            _conv(depths[place], size.endpoint, 1, 1, norm, self.act) for place in _OUTPUTS
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to five levels (B, endpoint, h, w), at strides 8, 16, 32, 64 and 128.

        Raises:
            ValueError: If H or W is no multiple of `MULTIPLE`.
        """
        if images.shape[2] % MULTIPLE or images.shape[3] % MULTIPLE:
            raise ValueError(
                f"SpineNet: images must have sides that are multiples of {MULTIPLE}, got {tuple(images.shape)}"
            )
        x = pool(self.stem(images), 2)
        maps = []
        for block in self.stem_blocks:
            x = block(x)
            maps.append(x)
        for row, block, resamples in zip(_TABLE, self.blocks, self.resamples, strict=True):
            ways = zip(row.sources, cast("nn.ModuleList", resamples), strict=True)
            x = sum((way(maps[source]) for source, way in ways), torch.zeros((), device=images.device))
            if row.orphan is not None:
                x = x + maps[row.orphan]
            maps.append(block(self.act(x)))
        return [end(maps[place]) for place, end in zip(_OUTPUTS, self.endpoints, strict=True)]

    def freeze(self, parts: int) -> None:
        """Keep the stem, or everything but the endpoints, from learning.

        Args:
            parts: 0 = nothing, 1 = the stem, 2 = also the permuted network.
        """
        for module in [self.stem, self.stem_blocks, self.resamples, self.blocks][: 2 * parts]:
            module.requires_grad_(False)


class Block(nn.Module):
    """A bottleneck (1 x 1, 3 x 3, 1 x 1) or a residual block (3 x 3, 3 x 3) beside a shortcut."""

    def __init__(
        self, branch: nn.Sequential, shortcut: nn.Module | None, act: nn.Module, drop_path: float
    ) -> None:
        super().__init__()
        self.branch, self.shortcut, self.act, self.drop_path = branch, shortcut, act, drop_path

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, h, w) to (B, outside, h, w)."""
        branch = self.branch(x)
        if self.training and self.drop_path:
            keep = 1 - self.drop_path
            kept = torch.rand((len(x), 1, 1, 1), device=x.device) < keep
            branch = branch * (kept.to(branch.dtype) / keep)
        out: Tensor = self.act(branch + (x if self.shortcut is None else self.shortcut(x)))
        return out


class Resample(nn.Module):
    """A map to another scale and depth: through few channels, strided and pooled, or repeated."""

    def __init__(self, squeeze: nn.Sequential, expand: nn.Sequential, levels: int) -> None:
        super().__init__()
        self.squeeze, self.expand, self.levels = squeeze, expand, levels

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, h, w) to (B, outside, h * 2**levels, w * 2**levels)."""
        x = self.squeeze(x)
        if self.levels < -1:
            x = pool(x, 2 ** (-self.levels - 1))
        if self.levels > 0:
            x = F.interpolate(x, scale_factor=float(2**self.levels), mode="nearest")
        out: Tensor = self.expand(x)
        return out


class _Maker(NamedTuple):
    """What the parts of one network have in common."""

    size: SpineNetSize
    norm: Norm
    act: nn.Module

    def group(self, inside: int, planes: int, *, wide: bool, drop_path: float) -> nn.Sequential:
        """Blocks in a row."""
        norm, act = self.norm, self.act
        outside = planes * (4 if wide else 1)
        chain = []
        for _ in range(self.size.repeats):
            first = _conv(inside, planes, 1 if wide else 3, 1, norm, act)
            last = _conv(planes, outside, 1 if wide else 3, 1, norm, None)
            middle = [_conv(planes, planes, 3, 1, norm, act)] if wide else []
            shortcut = None if inside == outside else _conv(inside, outside, 1, 1, norm, None)
            chain.append(Block(nn.Sequential(first, *middle, last), shortcut, act, drop_path))
            inside = outside
        return nn.Sequential(*chain)

    def resample(self, inside: int, outside: int, levels: int, *, wide: bool) -> Resample:
        """From a map of `inside` channels, given by bottlenecks or not, to `levels` finer (below 0: coarser)."""
        few = int(inside / (4 if wide else 1) * self.size.alpha)
        squeeze = [_conv(inside, few, 1, 1, self.norm, self.act)]
        if levels < 0:
            squeeze.append(_conv(few, few, 3, 2, self.norm, self.act))
        return Resample(nn.Sequential(*squeeze), _conv(few, outside, 1, 1, self.norm, None), levels)


def pool(x: Tensor, factor: int) -> Tensor:
    """The greatest value of every neighbourhood: 3 x 3 cells, or 5 x 5 where the map shrinks 4-fold.

    Args:
        x: (B, C, h, w), sides multiples of `factor`.
        factor: 2 or 4.

    Returns:
        (B, C, h / factor, w / factor); neighbourhoods begin at every `factor`-th cell and end at the border.

    >>> pool(torch.arange(16.0).view(1, 1, 4, 4), 2)[0, 0]
    tensor([[10., 11.],
            [14., 15.]])
    """
    return F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-torch.inf), factor + 1, factor)


def _conv(
    inside: int, outside: int, kernel: int, stride: int, norm: Norm, act: nn.Module | None
) -> nn.Sequential:
    conv = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, norm(outside), *([] if act is None else [act]))
