"""Swin transformers as backbones: attention within windows that shift from block to block.

Version 1: Liu et al. 2021, arXiv:2103.14030. Version 2: Liu et al. 2022, arXiv:2111.09883 (cosine attention,
positions by a small network on log-spaced distances, normalisation after each branch). Tensor names are those
of the official checkpoints (MIT), but for tables of indices, which follow from the window and are not kept.

Pictures of any size: maps are padded to whole windows with zeros, which take part in the attention, as in the
official detectors. Departure: version 2 never shrinks a window to the map, and its norms start as the identity,
not at zero, because a detector does not start from scratch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that everybody knows)

_APART = -100.0  # added to logits of cells that are neighbours only because the map was rolled
_LARGEST_SCALE = math.log(100.0)  # of the cosine, as a logarithm
_LOG_SPAN = 8.0  # distances run from -8 to 8 before their logarithm


class SwinSize(NamedTuple):
    """The numbers of a variant.

    Attributes:
        width: Channels of the first stage; each further one has twice as many.
        depths: Blocks per stage.
        heads: Attention heads per stage.
        window: Cells per side of a window.
        version: 1 or 2.
        pretrained_windows: Version 2: windows per stage of the weights that this network starts from, if they
            were others; 0 = `window`. Distances are measured against them.
    """

    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int = 7
    version: int = 1
    pretrained_windows: tuple[int, ...] = (0, 0, 0, 0)


SIZES: dict[str, SwinSize] = {
    "t": SwinSize(96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "s": SwinSize(96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "b": SwinSize(128, (2, 2, 18, 2), (4, 8, 16, 32)),
    "l": SwinSize(192, (2, 2, 18, 2), (6, 12, 24, 48)),
    "v2_t": SwinSize(96, (2, 2, 6, 2), (3, 6, 12, 24), 8, 2),
    "v2_s": SwinSize(96, (2, 2, 18, 2), (3, 6, 12, 24), 8, 2),
    "v2_b": SwinSize(128, (2, 2, 18, 2), (4, 8, 16, 32), 8, 2),
    "v2_l": SwinSize(192, (2, 2, 18, 2), (6, 12, 24, 48), 16, 2, (12, 12, 12, 6)),
}


class Swin(nn.Module):
    """The four stages of a Swin transformer, without its classifier.

    Args:
        size: The variant.
        drop_path: Probability that the last block's branches are left out of a picture in training; it grows
            evenly from 0 at the first block.
        outputs: Indices of the stages whose features are given, ascending; each has a norm of its own.

    >>> model = Swin(SwinSize(8, (1, 2), (1, 2), window=3))
    >>> [tuple(part.shape) for part in model(torch.zeros(1, 3, 33, 50))]
    [(1, 8, 9, 13), (1, 16, 5, 7)]
    """

    def __init__(
        self, size: SwinSize, *, drop_path: float = 0.0, outputs: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.outputs = tuple(range(len(size.depths)) if outputs is None else outputs)
        widths = [size.width * 2**stage for stage in range(len(size.depths))]
        self.channels = tuple(widths[stage] for stage in self.outputs)
        last = max(sum(size.depths) - 1, 1)
        rates = iter(drop_path * index / last for index in range(sum(size.depths)))
        self.patch_embed = PatchEmbed(size.width)
        self.layers = nn.ModuleList(
            Stage(size, stage, [next(rates) for _ in range(depth)]) for stage, depth in enumerate(size.depths)
        )
        for stage in self.outputs:
            self.add_module(f"norm{stage}", nn.LayerNorm(widths[stage]))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to the features of `outputs`: (B, width * 2**i, H / 4 / 2**i, W / 4 / 2**i), rounded up."""
        x = self.patch_embed(images)
        features = []
        for index, stage in enumerate(self.layers):
            x, coarse = stage(x)
            if index in self.outputs:
                features.append(self.get_submodule(f"norm{index}")(x).permute(0, 3, 1, 2))
            x = coarse
        return features

    def freeze(self, parts: int) -> None:
        """Keep the patch embedding and the stages after it from learning.

        Args:
            parts: How many of (patch embedding, stage 1, stage 2, ...) stay as they are.
        """
        for module in [self.patch_embed, *self.layers][:parts]:
            module.requires_grad_(False)


class PatchEmbed(nn.Module):
    """Squares of 4 x 4 pixels to tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, 4, 4)
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, H / 4, W / 4, width), rounded up."""
        padded = F.pad(images, (0, -images.shape[3] % 4, 0, -images.shape[2] % 4))
        out: Tensor = self.norm(self.proj(padded).permute(0, 2, 3, 1))
        return out


class Stage(nn.Module):
    """Blocks at one resolution, every second one with shifted windows, and the way to the next stage."""

    def __init__(self, size: SwinSize, stage: int, rates: Sequence[float]) -> None:
        super().__init__()
        width = size.width * 2**stage
        pretrained = size.pretrained_windows[stage] or size.window
        self.blocks = nn.ModuleList()
        for index, rate in enumerate(rates):
            attention: WindowAttention | CosineAttention
            if size.version == 1:
                attention = WindowAttention(width, size.heads[stage], size.window)
            else:
                attention = CosineAttention(width, size.heads[stage], size.window, pretrained)
            self.blocks.append(Block(width, attention, size.window // 2 * (index % 2), rate))
        self.downsample = None if stage == len(size.depths) - 1 else PatchMerging(width, size.version)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, h, w, C) to the same, and to (B, h / 2, w / 2, 2 C) for the next stage (after the last: the same)."""
        for block in self.blocks:
            x = block(x)
        return x, x if self.downsample is None else self.downsample(x)


class Block(nn.Module):
    """Attention in windows and a two-layer network, each beside a shortcut.

    Version 1 normalises what enters a branch, version 2 what leaves it.
    """

    def __init__(
        self, width: int, attention: WindowAttention | CosineAttention, shift: int, drop_path: float
    ) -> None:
        super().__init__()
        self.shift, self.drop_path, self.after = shift, drop_path, isinstance(attention, CosineAttention)
        self.norm1 = nn.LayerNorm(width)
        self.attn = attention
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C) to the same shape."""
        if self.after:
            x = x + self._sometimes(self.norm1(self._attend(x)))
            return x + self._sometimes(self.norm2(self._think(x)))
        x = x + self._sometimes(self._attend(self.norm1(x)))
        return x + self._sometimes(self._think(self.norm2(x)))

    def _think(self, x: Tensor) -> Tensor:
        out: Tensor = self.mlp["fc2"](F.gelu(self.mlp["fc1"](x)))
        return out

    def _attend(self, x: Tensor) -> Tensor:
        """Attention within windows of the padded, rolled map."""
        count, height, width, channels = x.shape
        window, shift = self.attn.window, self.shift
        x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
        rows, columns = x.shape[1] // window, x.shape[2] // window
        apart = None
        if shift:
            x = x.roll((-shift, -shift), (1, 2))
            apart = separations((x.shape[1], x.shape[2]), window, shift, x.device)
        x = x.view(count, rows, window, columns, window, channels).transpose(2, 3)
        x = self.attn(x.reshape(count * rows * columns, window * window, channels), apart)
        x = x.view(count, rows, columns, window, window, channels).transpose(2, 3)
        x = x.reshape(count, rows * window, columns * window, channels)
        if shift:
            x = x.roll((shift, shift), (1, 2))
        return x[:, :height, :width]

    def _sometimes(self, branch: Tensor) -> Tensor:
        """Stochastic depth (Huang et al. 2016, arXiv:1603.09382), by picture."""
        if not self.training or not self.drop_path:
            return branch
        keep = 1 - self.drop_path
        return branch * (torch.rand((len(branch), 1, 1, 1), device=branch.device) < keep) / keep


class WindowAttention(nn.Module):
    """Self-attention of version 1: a learned bias for every distance between two cells."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, apart: Tensor | None) -> Tensor:
        """(windows, cells, C) to the same shape; `apart` as `separations` gives it, or None."""
        q, k, v = _split(self.qkv(x), self.heads)
        bias = _spread(self.relative_position_bias_table, self.window)
        out = F.scaled_dot_product_attention(q, k, v, _mask(bias, apart, len(x)).to(v.dtype))
        mixed: Tensor = self.proj(_joined(out))
        return mixed


class CosineAttention(nn.Module):
    """Self-attention of version 2: scaled cosines, and a bias that a small network makes of distances."""

    def __init__(self, width: int, heads: int, window: int, pretrained: int) -> None:
        super().__init__()
        self.heads, self.window, self.pretrained = heads, window, pretrained
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        self.cpb_mlp = nn.Sequential(
            nn.Linear(2, 512), nn.ReLU(inplace=True), nn.Linear(512, heads, bias=False)
        )
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, apart: Tensor | None) -> Tensor:
        """(windows, cells, C) to the same shape; `apart` as `separations` gives it, or None."""
        shift = torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))
        q, k, v = _split(F.linear(x, self.qkv.weight, shift), self.heads)
        q = F.normalize(q, dim=-1) * self.logit_scale.clamp(max=_LARGEST_SCALE).exp()
        far = distances(self.window, self.pretrained, x.device).to(x.dtype)
        bias = 16 * _spread(self.cpb_mlp(far).flatten(0, 1), self.window).sigmoid()
        out = F.scaled_dot_product_attention(
            q.to(v.dtype), F.normalize(k, dim=-1), v, _mask(bias, apart, len(x)).to(v.dtype), scale=1.0
        )
        mixed: Tensor = self.proj(_joined(out))
        return mixed


class PatchMerging(nn.Module):
    """Squares of 2 x 2 cells to one cell with twice the channels; version 2 normalises afterwards."""

    def __init__(self, width: int, version: int) -> None:
        super().__init__()
        self.after = version == 2
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm((2 if self.after else 4) * width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C) to (B, h / 2, w / 2, 2 C), rounded up."""
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        x = torch.cat((x[:, ::2, ::2], x[:, 1::2, ::2], x[:, ::2, 1::2], x[:, 1::2, 1::2]), -1)
        out: Tensor = self.norm(self.reduction(x)) if self.after else self.reduction(self.norm(x))
        return out


def separations(size: tuple[int, int], window: int, shift: int, device: torch.device) -> Tensor:
    """What keeps cells apart that share a window only because a map was rolled.

    Args:
        size: Height and width of the map, multiples of the window.
        window: Cells per side of a window.
        shift: Cells that the map was rolled by, up and to the left, below `window`.
        device: Where the result is wanted.

    Returns:
        (windows, window**2, window**2) float32, row by row: 0, or -100 for cells from different sides.

    >>> separations((2, 4), 2, 1, torch.device("cpu"))[0, 0]
    tensor([   0.,    0., -100., -100.])
    """
    labels = []
    for side in size:
        at = torch.arange(side, device=device)
        labels.append((at >= side - window).int() + (at >= side - shift).int())
    region = 3 * labels[0][:, None] + labels[1]
    region = region.view(size[0] // window, window, size[1] // window, window).transpose(1, 2)
    region = region.reshape(-1, window * window)
    apart = region[:, :, None] != region[:, None]
    return torch.zeros(apart.shape, device=device).masked_fill(apart, _APART)


def distances(window: int, pretrained: int, device: torch.device) -> Tensor:
    """Signed distances between cells of a window on a logarithmic scale, as version 2 sees them.

    Args:
        window: Cells per side.
        pretrained: Cells per side of the windows that the weights were trained with.
        device: Where the result is wanted; (2 * window - 1, 2 * window - 1, 2) float32, down and across.

    >>> distances(2, 2, torch.device("cpu"))[:, 2, 0]
    tensor([-1.0566,  0.0000,  1.0566])
    """
    steps = torch.arange(1 - window, window, device=device, dtype=torch.float32) / max(pretrained - 1, 1)
    steps = steps * _LOG_SPAN
    steps = steps.sign() * (steps.abs() + 1).log2() / math.log2(_LOG_SPAN)
    return torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1)


def from_official(tensors: Mapping[str, Tensor], size: SwinSize) -> dict[str, Tensor]:
    """The tensors of an official backbone file under the names and in the shapes of `Swin`.

    Left out are the classifier (``head``, the final ``norm``) and tables that follow from the window; the
    norms of the outputs are missing then and start anew. Bias tables of another window are resized.

    Args:
        tensors: The file's tensors, without a prefix. Names of mmdetection are understood too; its patch
            merging orders channels differently, which is undone.
        size: The variant that they are for.

    Returns:
        What `Swin.load_state_dict` takes.

    >>> sorted(from_official({"head.bias": torch.zeros(9), "norm0.bias": torch.zeros(8)}, SIZES["t"]))
    ['norm0.bias']
    """
    found = {}
    for name, value in tensors.items():
        if name.startswith(("head.", "norm.")) or name.rpartition(".")[2] in _DERIVED:
            continue
        foreign = name.startswith(("stages.", "patch_embed.projection."))
        for theirs, ours in _MMDET if foreign else ():
            name = name.replace(theirs, ours)
        if foreign and ".downsample." in name:
            cells = value.reshape(*value.shape[:-1], -1, 4)[..., [0, 2, 1, 3]]
            value = cells.transpose(-1, -2).flatten(-2)
        if name.endswith(".relative_position_bias_table"):
            value = _resized(value, 2 * size.window - 1)
        found[name] = value
    return found


_DERIVED = frozenset({"relative_position_index", "relative_coords_table", "attn_mask"})
_MMDET = (
    ("patch_embed.projection.", "patch_embed.proj."),
    ("stages.", "layers."),
    (".attn.w_msa.", ".attn."),
    (".ffn.layers.0.0.", ".mlp.fc1."),
    (".ffn.layers.1.", ".mlp.fc2."),
)


def _resized(table: Tensor, side: int) -> Tensor:
    old = math.isqrt(len(table))
    if old == side:
        return table
    grid = table.T.reshape(1, -1, old, old)
    return F.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)[0].flatten(1).T


def _split(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    parts = qkv.view(*qkv.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4)
    return cast("tuple[Tensor, Tensor, Tensor]", parts.unbind(0))


def _joined(heads: Tensor) -> Tensor:
    cells = heads.transpose(1, 2)
    if torch.compiler.is_compiling():  # kernels differ in their layout, on which no graph must rely
        cells = cells.clone(memory_format=torch.contiguous_format)
    return cells.flatten(2)


def _pairs(window: int, device: torch.device) -> Tensor:
    """(cells * cells,) place in the bias table of every pair of cells of a window."""
    at = torch.arange(window, device=device)
    y, x = (part.flatten() for part in torch.meshgrid(at, at, indexing="ij"))
    down, across = y[:, None] - y + window - 1, x[:, None] - x + window - 1
    return (down * (2 * window - 1) + across).flatten()


def _spread(table: Tensor, window: int) -> Tensor:
    """A table of one bias per distance, ((2 w - 1)**2, heads), for all pairs of cells: (heads, cells, cells)."""
    cells = window * window
    return table[_pairs(window, table.device)].view(cells, cells, -1).permute(2, 0, 1)


def _mask(bias: Tensor, apart: Tensor | None, windows: int) -> Tensor:
    """What is added to the logits: (1 or windows, heads, cells, cells)."""
    if apart is None:
        return bias[None]
    mask = bias + apart[:, None].to(bias.dtype)
    return mask.repeat(windows // len(apart), 1, 1, 1) if windows > len(apart) else mask
