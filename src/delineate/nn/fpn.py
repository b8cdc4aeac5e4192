"""Feature pyramid (Lin et al. 2017, arXiv:1612.03144). Tensor names are those of torchvision's models."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that everybody knows)

from delineate.nn.resnet import Norm


class FPN(nn.Module):
    """Carries the meaning of coarse features down to fine ones.

    Args:
        inside: Channels of the features, finest first.
        channels: Channels of every level that comes out.
        norm: Makes the normalisation after every convolution, which then has no bias; None for none.

    >>> import torch
    >>> features = [torch.zeros(1, 8, 6, 6), torch.zeros(1, 16, 3, 3)]
    >>> [tuple(level.shape) for level in FPN((8, 16), 4, None)(features)]
    [(1, 4, 6, 6), (1, 4, 3, 3), (1, 4, 2, 2)]
    """

    def __init__(self, inside: Sequence[int], channels: int, norm: Norm | None) -> None:
        super().__init__()
        self.inner_blocks = nn.ModuleList(_block(depth, channels, 1, norm) for depth in inside)
        self.layer_blocks = nn.ModuleList(_block(channels, channels, 3, norm) for _ in inside)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Features, finest first, to as many levels and a last one with every second cell of the coarsest."""
        coarse = self.inner_blocks[-1](features[-1])
        levels = [self.layer_blocks[-1](coarse)]
        for index in range(len(features) - 2, -1, -1):
            side = self.inner_blocks[index](features[index])
            coarse = side + F.interpolate(coarse, size=side.shape[-2:], mode="nearest")
            levels.insert(0, self.layer_blocks[index](coarse))
        return [*levels, levels[-1][:, :, ::2, ::2]]


def _block(inside: int, channels: int, kernel: int, norm: Norm | None) -> nn.Sequential:
    conv = nn.Conv2d(inside, channels, kernel, padding=kernel // 2, bias=norm is None)
    return nn.Sequential(conv) if norm is None else nn.Sequential(conv, norm(channels))
