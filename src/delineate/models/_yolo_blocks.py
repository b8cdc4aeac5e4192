"""The building blocks of the YOLO-seg networks. Attribute names are those of the official state dicts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that everybody knows)


class Conv(nn.Module):
    """Convolution, batch norm, SiLU."""

    def __init__(
        self, cin: int, cout: int, kernel: int = 1, stride: int = 1, *, groups: int = 1, act: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(cout, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, cin, H, W) to (B, cout, H / stride, W / stride)."""
        y: Tensor = self.act(self.bn(self.conv(x)))
        return y

    @torch.no_grad()
    def fuse(self) -> None:
        """Fold the batch norm's running statistics into the convolution, in float64."""
        norm = self.bn
        if isinstance(norm, nn.Identity) or norm.running_mean is None or norm.running_var is None:
            return
        scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        bias = norm.bias.double() - norm.running_mean.double() * scale
        self.conv.weight.copy_(self.conv.weight.double() * scale.view(-1, 1, 1, 1))
        self.conv.bias = nn.Parameter(bias.to(self.conv.weight.dtype))
        self.bn = nn.Identity()


class Bottleneck(nn.Module):
    """Two 3x3 convolutions with an optional shortcut."""

    def __init__(self, channels: int, *, shortcut: bool, ratio: float) -> None:
        super().__init__()
        hidden = int(channels * ratio)
        self.cv1 = Conv(channels, hidden, 3)
        self.cv2 = Conv(hidden, channels, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        y: Tensor = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C3k(nn.Module):
    """A cross-stage partial block of two bottlenecks: the unit of the deeper C3k2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 2
        self.cv1 = Conv(channels, hidden)
        self.cv2 = Conv(channels, hidden)
        self.cv3 = Conv(2 * hidden, channels)
        self.m = nn.Sequential(*(Bottleneck(hidden, shortcut=True, ratio=1.0) for _ in range(2)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        y: Tensor = self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))
        return y


class Chain(nn.Module):
    """C2f and C3k2: units chained on half of the channels, and every step concatenated."""

    def __init__(self, cin: int, cout: int, hidden: int, units: Sequence[nn.Module]) -> None:
        super().__init__()
        self.cv1 = Conv(cin, 2 * hidden)
        self.cv2 = Conv((2 + len(units)) * hidden, cout)
        self.m = nn.ModuleList(units)

    def forward(self, x: Tensor) -> Tensor:
        """(B, cin, H, W) to (B, cout, H, W)."""
        pieces = list(self.cv1(x).chunk(2, 1))
        for unit in self.m:
            pieces.append(unit(pieces[-1]))
        y: Tensor = self.cv2(torch.cat(pieces, 1))
        return y


class SPPF(nn.Module):
    """Spatial pyramid pooling: three 5x5 max pools in a row, all of them concatenated."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.cv1 = Conv(cin, cin // 2)
        self.cv2 = Conv(cin // 2 * 4, cout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, cin, H, W) to (B, cout, H, W)."""
        pieces = [self.cv1(x)]
        for _ in range(3):
            pieces.append(F.max_pool2d(pieces[-1], 5, 1, 2))
        y: Tensor = self.cv2(torch.cat(pieces, 1))
        return y


class Attention(nn.Module):
    """Self-attention over all cells, with a depth-wise convolution as position encoding."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(channels // 64, 1)
        self.value = channels // self.heads
        self.key = self.value // 2
        self.qkv = Conv(channels, channels + 2 * self.heads * self.key, act=False)
        self.proj = Conv(channels, channels, act=False)
        self.pe = Conv(channels, channels, 3, groups=channels, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        b, c, h, w = x.shape
        q, k, v = self.qkv(x).view(b, self.heads, -1, h * w).split((self.key, self.key, self.value), 2)
        weights = ((q * self.key**-0.5).transpose(-2, -1) @ k).softmax(-1)  # (b, heads, queries, keys)
        mixed = (v @ weights.transpose(-2, -1)).reshape(b, c, h, w)
        y: Tensor = self.proj(mixed + self.pe(v.reshape(b, c, h, w)))
        return y


class PSABlock(nn.Module):
    """Attention, then a small perceptron, both with shortcuts."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attn = Attention(channels)
        self.ffn = nn.Sequential(Conv(channels, 2 * channels), Conv(2 * channels, channels, act=False))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        x = x + self.attn(x)
        y: Tensor = x + self.ffn(x)
        return y


class C2PSA(nn.Module):
    """Attention blocks on half of the channels."""

    def __init__(self, channels: int, repeats: int) -> None:
        super().__init__()
        self.cv1 = Conv(channels, channels)
        self.cv2 = Conv(channels, channels)
        self.m = nn.Sequential(*(PSABlock(channels // 2) for _ in range(repeats)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        a, b = self.cv1(x).chunk(2, 1)
        y: Tensor = self.cv2(torch.cat((a, self.m(b)), 1))
        return y


class Proto(nn.Module):
    """The prototypes, at half the stride of the finest level."""

    def __init__(self, cin: int, hidden: int, cout: int) -> None:
        super().__init__()
        self.cv1 = Conv(cin, hidden, 3)
        self.upsample = nn.ConvTranspose2d(hidden, hidden, 2, 2)
        self.cv2 = Conv(hidden, hidden, 3)
        self.cv3 = Conv(hidden, cout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, cin, H, W) to (B, cout, 2H, 2W)."""
        y: Tensor = self.cv3(self.cv2(self.upsample(self.cv1(x))))
        return y


class Bins(nn.Module):
    """Expected distance of a distribution over bins: a fixed 1x1 convolution, as official files store it."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(bins, 1, 1, bias=False).requires_grad_(False)
        self.conv.weight.data.copy_(torch.arange(bins).view(1, bins, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (..., 4 * bins) to float32 distances (..., 4) in cells."""
        weight = self.conv.weight.float().view(-1)
        return x.float().reshape(*x.shape[:-1], 4, len(weight)).softmax(-1) @ weight
