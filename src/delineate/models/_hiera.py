"""Hiera with SAM 2's changes, and the pyramid on top of it.

Ryali et al. 2023, arXiv:2306.00989; positions as in Bolya et al. 2023, arXiv:2311.05613; the pyramid is that of
SAM 2 (Ravi et al. 2024, arXiv:2408.00714). Tensor names are those of SAM 2's checkpoints; tokens are kept as
(B, rows, columns, channels).
"""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that everybody knows)


def _pooled(x: Tensor) -> Tensor:
    """The largest of each two by two cells."""
    return F.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


class PooledAttention(nn.Module):
    """Attention of the cells of a window; with `pool`, from windows of half the side."""

    def __init__(self, cin: int, cout: int, heads: int, *, pool: bool) -> None:
        super().__init__()
        self.heads, self.pool = heads, pool
        self.qkv = nn.Linear(cin, 3 * cout)
        self.proj = nn.Linear(cout, cout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, rows, columns, C) to the same with C', or to half the rows and columns."""
        q, k, v = self.qkv(x).chunk(3, -1)
        q = _pooled(q) if self.pool else q
        q, k, v, shape = *(part.flatten(1, 2) for part in (q, k, v)), q.shape
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(shape)
        result: Tensor = self.proj(out)
        return result


class HieraBlock(nn.Module):
    """Attention in windows of `window` cells per side (0 = the whole grid), then an MLP; `pool` halves the grid."""

    def __init__(self, cin: int, cout: int, heads: int, window: int, *, pool: bool) -> None:
        super().__init__()
        self.window, self.pool = window, pool
        self.norm1 = nn.LayerNorm(cin, eps=1e-6)
        self.attn = PooledAttention(cin, cout, heads, pool=pool)
        self.norm2 = nn.LayerNorm(cout, eps=1e-6)
        self.mlp = nn.ModuleDict(
            {"layers": nn.Sequential(nn.Linear(cout, 4 * cout), nn.Linear(4 * cout, cout))}
        )
        self.proj = nn.Linear(cin, cout) if cin != cout else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, rows, columns, C) to (B, rows', columns', C')."""
        inner = self.norm1(x)
        if self.proj is not None:
            x = self.proj(inner)
            x = _pooled(x) if self.pool else x
        x = x + (self._windowed(inner) if self.window else self.attn(inner))
        first, second = self.mlp["layers"].children()
        out: Tensor = x + second(F.gelu(first(self.norm2(x))))
        return out

    def _windowed(self, x: Tensor) -> Tensor:
        """Attention in windows; zeros beyond the grid take part in it."""
        count, height, width, channels = x.shape
        side = self.window
        x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        rows, columns = x.shape[1] // side, x.shape[2] // side
        x = x.view(count, rows, side, columns, side, channels).transpose(2, 3)
        x = self.attn(x.reshape(-1, side, side, channels))
        if self.pool:
            side, height, width = side // 2, height // 2, width // 2
        x = x.view(count, rows, columns, side, side, -1).transpose(2, 3)
        return x.reshape(count, rows * side, columns * side, -1)[:, :height, :width]


class Hiera(nn.Module):
    """Pictures to the last cells of four stages, at 4, 8, 16 and 32 pixels per cell.

    Args:
        width: Channels of the first stage; each stage has twice as many as the one before.
        heads: Attention heads of the first stage, likewise.
        depths: Blocks of each stage.
        windows: Cells per side of the windows of each stage; the first block of a stage has its predecessor's.
        global_blocks: Blocks that attend over the whole grid.
        background: Cells per side of the learned positions, interpolated to the grid.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        depths: tuple[int, ...],
        windows: tuple[int, ...],
        global_blocks: tuple[int, ...],
        background: int,
    ) -> None:
        super().__init__()
        self.ends = [end - 1 for end in accumulate(depths)]
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, 7, 4, 3)})
        self.pos_embed = nn.Parameter(torch.zeros(1, width, background, background))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, width, windows[0], windows[0]))
        blocks: list[HieraBlock] = []
        for stage, depth in enumerate(depths):
            for place in range(depth):
                start = stage > 0 and place == 0
                window = 0 if len(blocks) in global_blocks else windows[stage - 1 if start else stage]
                cout = width << stage
                blocks.append(
                    HieraBlock(cout // 2 if start else cout, cout, heads << stage, window, pool=start)
                )
        self.blocks = nn.ModuleList(blocks)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to four maps (B, C, h, w), the finest first."""
        x = self.patch_embed["proj"](images)
        tile = self.pos_embed_window
        tiled = tile.repeat(1, 1, x.shape[2] // tile.shape[2], x.shape[3] // tile.shape[3])
        x = x + F.interpolate(self.pos_embed, x.shape[2:], mode="bicubic") + tiled
        x, found = x.permute(0, 2, 3, 1), []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.ends:
                found.append(x.permute(0, 3, 1, 2))
        return found


class Neck(nn.Module):
    """One width for all stages; the deepest is added to the one at 16 pixels per cell, the finer ones stay alone."""

    def __init__(self, widths: tuple[int, ...], embedding: int) -> None:
        super().__init__()
        deepest_first = [nn.ModuleDict({"conv": nn.Conv2d(width, embedding, 1)}) for width in widths[::-1]]
        self.convs = nn.ModuleList(deepest_first)

    def forward(self, stages: list[Tensor]) -> list[Tensor]:
        """Four maps, the finest first, to three."""
        deep, middle, *fine = (
            conv.get_submodule("conv")(x) for conv, x in zip(self.convs, stages[::-1], strict=True)
        )
        return [*fine[::-1], middle + F.interpolate(deep, scale_factor=2.0, mode="nearest")]
