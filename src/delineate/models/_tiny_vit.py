"""TinyViT as MobileSAM uses it: convolutions first, then attention in windows, and 16 pixels per cell at the end.

Wu et al. 2022, arXiv:2207.10666; MobileSAM (Zhang et al. 2023, arXiv:2306.14289) keeps the resolution at the
last merging and puts SAM's neck on top. Tensor names are those of MobileSAM's checkpoint.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that everybody knows)

from delineate.models._sam_blocks import neck


class Conv(nn.Sequential):
    """Convolution and batch norm, without an activation."""

    def __init__(self, cin: int, cout: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.c = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(cout)


class Inverted(nn.Module):
    """Wider, each channel by itself, narrower; the activation comes after the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = Conv(width, 4 * width)
        self.conv2 = Conv(4 * width, 4 * width, 3, groups=4 * width)
        self.conv3 = Conv(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return F.gelu(x + self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x))))))


class Merging(nn.Module):
    """From one stage to the next: other channels, cells of `stride` times the side."""

    def __init__(self, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Conv(cin, cout)
        self.conv2 = Conv(cout, cout, 3, stride, groups=cout)
        self.conv3 = Conv(cout, cout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H / stride, W / stride)."""
        out: Tensor = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))
        return out


class WindowAttention(nn.Module):
    """Attention in a square window, with a learned bias per head and distance in rows and columns.

    The biases are looked up at every call; the reference keeps a copy from its last `eval`, which is stale
    when weights are loaded afterwards.
    """

    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, side * side))
        cells = torch.cartesian_prod(torch.arange(side), torch.arange(side))
        apart = (cells[:, None] - cells).abs()
        self.register_buffer("index", apart[..., 0] * side + apart[..., 1], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, side * side, C) to the same shape."""
        qkv = self.qkv(self.norm(x)).unflatten(2, (self.heads, -1)).transpose(1, 2)
        q, k, v = qkv.chunk(3, -1)
        bias = self.attention_biases[:, self.get_buffer("index")]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        result: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return result


class Mlp(nn.Module):
    """Two linear layers after a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to the same shape."""
        out: Tensor = self.fc2(F.gelu(self.fc1(self.norm(x))))
        return out


class Block(nn.Module):
    """Attention in windows, a look at the neighbours, an MLP. Zeros beyond the grid take part in the attention."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(width, heads, window)
        self.mlp = Mlp(width)
        self.local_conv = Conv(width, width, 3, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        count, channels, height, width = x.shape
        side = self.window
        rows, columns = -(-height // side), -(-width // side)
        padded = F.pad(x, (0, columns * side - width, 0, rows * side - height))
        windows = padded.view(count, channels, rows, side, columns, side).permute(0, 2, 4, 3, 5, 1)
        seen = self.attn(windows.reshape(-1, side * side, channels))
        seen = seen.view(count, rows, columns, side, side, channels).permute(0, 5, 1, 3, 2, 4)
        x = x + seen.reshape(padded.shape)[..., :height, :width]
        x = self.local_conv(x)
        out: Tensor = x + self.mlp(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out


class Stage(nn.Module):
    """Blocks of one resolution, and the way to the next; `window` 0 = convolutions only."""

    def __init__(self, width: int, depth: int, heads: int, window: int, downsample: Merging | None) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(Block(width, heads, window) if window else Inverted(width) for _ in range(depth))
        )
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to what the next stage takes."""
        x = self.blocks(x)
        return x if self.downsample is None else self.downsample(x)


class TinyViT(nn.Module):
    """Pictures (B, 3, H, W) to embeddings (B, embedding, H / 16, W / 16); sides are multiples of 16.

    Args:
        widths: Channels of the four stages.
        depths: Blocks of each stage.
        heads: Attention heads of each stage; the first has none.
        windows: Cells per side of the windows of each stage; 0 = convolutions.
        embedding: Channels of the result.

    >>> TinyViT((8, 16, 16, 24), (1, 1, 1, 1), (0, 2, 2, 2), (0, 4, 4, 4), 32)(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 32, 4, 4])
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        depths: tuple[int, ...],
        heads: tuple[int, ...],
        windows: tuple[int, ...],
        embedding: int,
    ) -> None:
        super().__init__()
        first = Conv(3, widths[0] // 2, 3, 2), nn.GELU(), Conv(widths[0] // 2, widths[0], 3, 2)
        self.patch_embed = nn.ModuleDict({"seq": nn.Sequential(*first)})
        ways = [Merging(widths[i], widths[i + 1], stride) for i, stride in enumerate((2, 2, 1))]
        self.layers = nn.Sequential(*map(Stage, widths, depths, heads, windows, [*ways, None]))
        self.neck = neck(widths[-1], embedding)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, embedding, H / 16, W / 16)."""
        out: Tensor = self.neck(self.layers(self.patch_embed["seq"](images)))
        return out
