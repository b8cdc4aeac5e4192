"""Parts of SAM: a ViT with windows and relative positions, and the transformer between prompts and picture.

The ViT is that of "Exploring Plain Vision Transformer Backbones for Object Detection" (Li et al. 2022,
arXiv:2203.16527) with the decomposed relative positions of MViTv2 (Li et al. 2021, arXiv:2112.01526). Tokens
of the picture are kept as (B, rows, columns, channels).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that everybody knows)


def layer_of(name: str) -> tuple[int, ...] | None:
    """The layer of a picture encoder that a parameter belongs to, in rising order; None above the encoder.

    >>> [layer_of(f"image_encoder.{name}") for name in ("pos_embed", "trunk.blocks.3.norm1.bias", "neck.0.weight")]
    [(0,), (4,), None]
    >>> [layer_of(f"image_encoder.layers.1.{name}") for name in ("blocks.0.mlp.fc1.bias", "downsample.conv1.c.weight")]
    [(2, 0), (3, 0)]
    """
    if re.match(r"image_encoder\.(trunk\.)?(patch_embed|pos_embed)", name):
        return (0,)
    if found := re.match(r"image_encoder\.(?:trunk\.)?blocks\.(\d+)\.", name):
        return (int(found[1]) + 1,)
    if found := re.match(r"image_encoder\.layers\.(\d+)\.blocks\.(\d+)\.", name):
        return int(found[1]) + 1, int(found[2])
    if found := re.match(r"image_encoder\.layers\.(\d+)\.downsample\.", name):
        return int(found[1]) + 2, 0  # learns with the first block of the next stage
    return None


class ChannelNorm(nn.Module):
    """Layer norm over the channels of (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each cell by its own mean and variance."""
        rows = x.permute(0, 2, 3, 1)
        return F.layer_norm(rows, self.weight.shape, self.weight, self.bias, 1e-6).permute(0, 3, 1, 2)


class Mlp(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, width: int, hidden: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, hidden)
        self.lin2 = nn.Linear(hidden, width)
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to (..., width)."""
        out: Tensor = self.lin2(self.act(self.lin1(x)))
        return out


def neck(width: int, embedding: int) -> nn.Sequential:
    """From the channels of an encoder to those of embeddings."""
    return nn.Sequential(
        nn.Conv2d(width, embedding, 1, bias=False),
        ChannelNorm(embedding),
        nn.Conv2d(embedding, embedding, 3, padding=1, bias=False),
        ChannelNorm(embedding),
    )


class Waves(nn.Module):
    """Positions as sines and cosines of random directions (Tancik et al. 2020, arXiv:2006.10739)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, channels // 2))

    def forward(self, xy: Tensor) -> Tensor:
        """(..., 2) x, y in [0, 1] to (..., channels)."""
        matrix = self.get_buffer("positional_encoding_gaussian_matrix")
        angles = 2 * math.pi * ((2 * xy - 1) @ matrix)
        return torch.cat((angles.sin(), angles.cos()), -1)

    def grid(self, shape: Sequence[int], cells: int, corner: tuple[int, int] = (0, 0)) -> Tensor:
        """Positions of h x w cells, (1, h * w, channels), where `cells` make the whole side.

        `corner` is the place of the first one, row and column.
        """
        y, x = (
            (
                torch.arange(start, start + length).to(self.get_buffer("positional_encoding_gaussian_matrix"))
                + 0.5
            )
            / cells
            for start, length in zip(corner, shape, strict=True)
        )
        y, x = torch.meshgrid(y, x, indexing="ij")
        waves: Tensor = self(torch.stack((x, y), -1))
        return waves.flatten(0, 1)[None]


class Perceptron(nn.Module):
    """Linear layers with an activation between them."""

    def __init__(self, *widths: int, activation: Callable[[Tensor], Tensor] = F.relu) -> None:
        super().__init__()
        self.activation = activation
        self.layers = nn.ModuleList(nn.Linear(cin, cout) for cin, cout in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """(..., first width) to (..., last width)."""
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        out: Tensor = self.layers[-1](x)
        return out


class GridAttention(nn.Module):
    """Self-attention on a square grid; the logits also depend on how far apart two cells are.

    The bias of query i and key j is q_i . R_h[row difference] + q_i . R_w[column difference], with q before it
    is scaled. It is a product of queries with one-hot keys, so it joins the ordinary product as further
    channels: the matrix of all pairs need not exist, and fused attention kernels apply.
    """

    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads, self.side = heads, side
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        cells = torch.arange(side)
        place = torch.eye(side)
        rows = place[:, None, :].expand(side, side, side)
        columns = place[None, :, :].expand(side, side, side)
        keys = torch.cat((rows, columns), 2).reshape(side * side, 2 * side)
        self.register_buffer("distance", cells[:, None] - cells + side - 1, persistent=False)
        self.register_buffer("place", keys, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, side, side, C) to the same shape."""
        count, side = x.shape[0], self.side
        qkv = self.qkv(x).reshape(count, side * side, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)  # (B, heads, side * side, head width)
        head = q.shape[-1]
        grid = q.reshape(count, self.heads, side, side, head)
        distance = self.get_buffer("distance")
        rows = torch.einsum("bnhwc,hkc->bnhwk", grid, self.rel_pos_h[distance]).flatten(2, 3)
        columns = torch.einsum("bnhwc,wkc->bnhwk", grid, self.rel_pos_w[distance]).flatten(2, 3)
        q = torch.cat((q * head**-0.5, rows, columns), 3)
        place = self.get_buffer("place").to(k.dtype).expand(count, self.heads, -1, -1)
        k = torch.cat((k, place), 3)
        v = F.pad(v, (0, 2 * side))  # fused kernels want equal widths
        out = F.scaled_dot_product_attention(q, k, v, scale=1.0)[..., :head]
        out = out.transpose(1, 2).reshape(count, side, side, -1)
        result: Tensor = self.proj(out)
        return result


class GridBlock(nn.Module):
    """One layer of the ViT: attention, in windows or over the whole grid, then an MLP.

    Args:
        width: Channels.
        heads: Attention heads.
        side: Cells per side of the grid.
        window: Cells per side of a window; 0 = attention over the whole grid. Windows that reach beyond the
            grid are filled with zeros, which take part in the attention.
    """

    def __init__(self, width: int, heads: int, side: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = GridAttention(width, heads, window or side)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, 4 * width, nn.GELU)

    def forward(self, x: Tensor) -> Tensor:
        """(B, side, side, C) to the same shape."""
        inner = self.norm1(x)
        x = x + (self._windowed(inner) if self.window else self.attn(inner))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def _windowed(self, x: Tensor) -> Tensor:
        count, side, _, channels = x.shape
        window, lack = self.window, -side % self.window
        across = (side + lack) // window
        x = F.pad(x, (0, 0, 0, lack, 0, lack))
        x = x.view(count, across, window, across, window, channels).transpose(2, 3)
        x = self.attn(x.reshape(-1, window, window, channels))
        x = x.view(count, across, across, window, window, channels).transpose(2, 3)
        return x.reshape(count, side + lack, side + lack, channels)[:, :side, :side]


class TokenAttention(nn.Module):
    """Attention between two sets of tokens, inside at `inner` channels."""

    def __init__(self, width: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(width, inner)
        self.v_proj = nn.Linear(width, inner)
        self.out_proj = nn.Linear(inner, width)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Queries (B, N, C), keys and values (B, M, C) to (B, N, C)."""
        q, k, v = (
            projection(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for projection, tokens in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        out: Tensor = self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out


class TwoWayBlock(nn.Module):
    """Tokens look at each other, then at the picture, and the picture looks back at them."""

    activation: type[nn.Module] = nn.ReLU

    def __init__(self, width: int, heads: int, hidden: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = TokenAttention(width, width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.cross_attn_token_to_image = TokenAttention(width, width // 2, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, hidden, self.activation)
        self.norm3 = nn.LayerNorm(width)
        self.norm4 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = TokenAttention(width, width // 2, heads)

    def forward(
        self, tokens: Tensor, picture: Tensor, token_place: Tensor, place: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, N, C) and picture (B, M, C) with their positions to both anew."""
        tokens = self.norm1(self.among(tokens, token_place))
        tokens = tokens + self.cross_attn_token_to_image(tokens + token_place, picture + place, picture)
        tokens = self.norm2(tokens)
        tokens = self.norm3(tokens + self.mlp(tokens))
        seen = self.cross_attn_image_to_token(picture + place, tokens + token_place, tokens)
        return tokens, self.norm4(picture + seen)

    def among(self, tokens: Tensor, place: Tensor) -> Tensor:
        """Tokens after they looked at each other."""
        if self.first:  # positions and tokens are still the same thing
            alone: Tensor = self.self_attn(tokens, tokens, tokens)
            return alone
        placed = tokens + place
        out: Tensor = tokens + self.self_attn(placed, placed, tokens)
        return out


class TwoWayTransformer(nn.Module):
    """Two blocks, and a last look of the tokens at the picture."""

    def __init__(self, width: int, heads: int, hidden: int, block: type[TwoWayBlock] = TwoWayBlock) -> None:
        super().__init__()
        self.layers = nn.ModuleList(block(width, heads, hidden, first=first) for first in (True, False))
        self.final_attn_token_to_image = TokenAttention(width, width // 2, heads)
        self.norm_final_attn = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, picture: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, N, C) and picture (B, M, C) with its positions (1, M, C) to both anew."""
        token_place = tokens
        for layer in self.layers:
            tokens, picture = layer(tokens, picture, token_place, place)
        seen = self.final_attn_token_to_image(tokens + token_place, picture + place, picture)
        return self.norm_final_attn(tokens + seen), picture
