"""EfficientSAM: Segment Anything with a small plain ViT, trained by masked pictures; clicks and boxes only.

Xiong et al. 2024, arXiv:2312.00863. Numbers are those of the official checkpoints (Apache-2.0, code and weights).
It knows no points outside of the object and no masks as prompts. Departures: `decode` gives all mask tokens, and
`settle` makes the best candidate the single mask, as the reference never shows token 0; more points than fit are
refused, where the reference drops them; points that are none are all alike. Variant of our own: `test`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that everybody knows)

from delineate.models import Weights
from delineate.models import sam as _sam
from delineate.models._sam_blocks import (
    Mlp,
    Perceptron,
    TwoWayBlock,
    TwoWayTransformer,
    Waves,
    layer_of,
    neck,
)
from delineate.models.sam import Outputs, Prompts, check_contents, depends_on_classes, networks
from delineate.prompt import Conventions, PromptPredictor

PROMPTS = True  # a family of `models.takes_prompts`
CONVENTIONS = Conventions(
    resize="sampled", ending="never", points=6, negative=False, masks=False, iou=0.7, stability=0.9
)


@dataclass(frozen=True)
class Config(_sam.Config):
    """Every number of the architecture; `global_blocks`, `window` and `mask_channels` say nothing."""

    width: int = 192
    heads: int = 3
    learned: int = 14  # cells per side of the learned positions
    points: int = 6  # of a prompt, corners of boxes among them; fewer are filled up

    def __post_init__(self) -> None:
        """Check the ranges; they may come from a file."""
        super().__post_init__()
        if self.pyramid or self.mixers:
            raise ValueError(
                f"efficient_sam.Config: pyramid and mixers must be off, got {self.pyramid} and {self.mixers}"
            )
        for name, least in (("learned", 1), ("points", 2)):
            if not least <= getattr(self, name) <= 1024:
                raise ValueError(
                    f"efficient_sam.Config: {name} must be in {least}..1024, got {getattr(self, name)!r}"
                )


class Attention(nn.Module):
    """Self-attention of all cells, without relative positions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) to the same shape."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        out: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """One layer of the ViT."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, 4 * width, nn.GELU)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) to the same shape."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class ImageEncoder(nn.Module):
    """The ViT with SAM's neck."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.cells, self.learned = config.cells, config.learned
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, config.width, config.patch, config.patch)})
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.learned**2, config.width))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        self.neck = neck(config.width, config.embedding)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, side, side) to (B, embedding, cells, cells)."""
        learned = self.pos_embed[:, 1:]  # the first is that of the class
        place = learned.transpose(1, 2).reshape(1, -1, self.learned, self.learned)
        if self.learned != self.cells:
            place = F.interpolate(place, (self.cells, self.cells), mode="bicubic")
        x = (self.patch_embed["proj"](images) + place).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.neck(x.transpose(1, 2).unflatten(2, (self.cells, self.cells)))
        return out


class PromptEncoder(nn.Module):
    """Points as tokens, always the same number of them."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.embedding
        self.side, self.cells, self.most = config.side, config.cells, config.points
        self.pe_layer = Waves(width)
        self.invalid_points = nn.Embedding(1, width)
        self.point_embeddings = nn.Embedding(1, width)
        self.bbox_top_left_embeddings = nn.Embedding(1, width)
        self.bbox_bottom_right_embeddings = nn.Embedding(1, width)

    def points(self, points: Tensor, labels: Tensor) -> Tensor:
        """The first of points (P, N, 2) with labels (P, N), filled up, as tokens (P, most, embedding)."""
        count = labels.shape[0]
        labels = torch.cat((labels, labels.new_full((count, self.most), -1)), 1)[:, : self.most]
        points = torch.cat((points, points.new_zeros(count, self.most, 2)), 1)[:, : self.most]
        points = torch.where((labels < 0)[..., None] | (points < 0), -1, points)
        none, inside, first, second = (
            embedding.weight
            for embedding in (
                self.invalid_points,
                self.point_embeddings,
                self.bbox_top_left_embeddings,
                self.bbox_bottom_right_embeddings,
            )
        )
        kinds = torch.cat((none, torch.zeros_like(none), inside, first, second))
        tokens: Tensor = self.pe_layer((points + 0.5) / self.side) + kinds[labels.long() + 1]
        return tokens

    def grid(self, shape: Sequence[int]) -> Tensor:
        """Positions of h x w cells, (1, h * w, embedding)."""
        return self.pe_layer.grid(shape, self.cells)


class Conversation(TwoWayBlock):
    """Whose tokens keep their positions when they looked at each other."""

    activation = nn.GELU

    def among(self, tokens: Tensor, place: Tensor) -> Tensor:
        """Tokens after they looked at each other."""
        tokens = tokens if self.first else tokens + place
        out: Tensor = tokens + self.self_attn(tokens, tokens, tokens)
        return out


class MaskDecoder(_sam.MaskDecoder):
    """SAM's, with other activations and norms."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        width, count = config.embedding, config.candidates + 1
        self.transformer = TwoWayTransformer(width, config.decoder_heads, config.decoder_hidden, Conversation)
        self.output_upscaling[1] = nn.GroupNorm(1, width // 4)
        self.output_hypernetworks_mlps = nn.ModuleList(
            Perceptron(width, width, width, width // 8, activation=F.gelu) for _ in range(count)
        )
        self.iou_prediction_head = Perceptron(width, width, width, count, activation=F.gelu)


class EfficientSam(_sam.Sam):
    """The encoder of pictures, and the two light parts that run per prompt."""

    config: Config
    prompt_encoder: Any  # that of this module

    def __init__(self, config: Config) -> None:
        super().__init__(config, ImageEncoder(config))
        self.prompt_encoder = PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config)

    def decode(self, embedding: Tensor, prompts: Prompts, corner: tuple[int, int] = (0, 0)) -> Outputs:
        """Masks of P prompts on embeddings (P or 1, embedding, cells, cells).

        Labels are 1, 2 and 3, or -1 for no point; a point of label 0 says where something is, but not what.

        Raises:
            ValueError: If no points or too many are given, if masks are given, or if shapes do not fit.
        """
        if corner != (0, 0):
            raise ValueError(f"efficient_sam: corner must be (0, 0), got {corner}. Encode whole canvases")
        points, labels = prompts.points_for(embedding)
        if prompts.masks is not None:
            raise ValueError(
                "efficient_sam: prompts must have no masks, as nothing reads them. Use their boxes"
            )
        if labels.shape[1] > self.config.points:
            raise ValueError(
                f"efficient_sam: points must be at most {self.config.points} per prompt, got {labels.shape[1]}"
            )
        return self.answer(embedding, points, labels)

    def answer(self, embedding: Tensor, points: Tensor, labels: Tensor) -> Outputs:
        """As `decode`, without a look at the prompts: of more points than fit the first ones count."""
        tokens = self.prompt_encoder.points(points, labels)
        embedding = embedding.expand(tokens.shape[0], -1, -1, -1)
        out: Outputs = self.mask_decoder(embedding, self.prompt_encoder.grid(embedding.shape[2:]), tokens)
        return out

    def settle(self, outputs: Outputs) -> Outputs:
        """Outputs whose single mask is the candidate of the highest predicted IoU.

        >>> model = build(VARIANTS["test"])
        >>> model.settle(Outputs(torch.zeros(1, 3, 2, 2), torch.tensor([[0.9, 0.2, 0.3]]))).ious
        tensor([[0.3000, 0.2000, 0.3000]])
        """
        logits, ious = outputs
        best = ious[:, 1:].argmax(1, keepdim=True) + 1
        single = logits.gather(1, best[..., None, None].expand(-1, 1, *logits.shape[2:]))
        return Outputs(
            torch.cat((single, logits[:, 1:]), 1), torch.cat((ious.gather(1, best), ious[:, 1:]), 1)
        )


def predictor(model: EfficientSam, *, batch: int = 64, remember: int = 8) -> PromptPredictor:
    """The predictor of a model in eval mode: see `PromptPredictor`.

    >>> predictor(build(VARIANTS["test"]).eval()).conventions.points
    6
    """
    return PromptPredictor(
        *networks(model), side=model.config.side, batch=batch, remember=remember, conventions=CONVENTIONS
    )


def build(config: Config) -> EfficientSam:
    """The model of a configuration, freshly initialised."""
    return EfficientSam(config)


_RENAMED = (
    (r"\.mlp\.fc([12])\.", r".mlp.lin\1."),
    (r"\.mlp\.layers\.0\.0\.", ".mlp.lin1."),
    (r"\.mlp\.fc\.", ".mlp.lin2."),
    (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.\d+)\.0\.", r"\1."),
    (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.fc\.", r"\1.layers.2."),
    (r"^mask_decoder\.final_output_upscaling_layers\.0\.", "mask_decoder.output_upscaling."),
    (r"^mask_decoder\.final_output_upscaling_layers\.1\.0\.", "mask_decoder.output_upscaling.3."),
)


def official(model: EfficientSam, tensors: dict[str, Tensor]) -> dict[str, Tensor]:  # noqa: ARG001
    """A file's tensors under the names of the model.

    >>> official(None, {"mask_decoder.iou_prediction_head.fc.bias": 1, "image_encoder.blocks.0.mlp.fc1.bias": 2})
    {'mask_decoder.iou_prediction_head.layers.2.bias': 1, 'image_encoder.blocks.0.mlp.lin1.bias': 2}
    """
    renamed = {}
    for name, value in tensors.items():
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed


VARIANTS: dict[str, Config] = {
    "ti": Config(),
    "s": Config(width=384, heads=6),
    "test": Config(
        width=32,
        depth=2,
        heads=2,
        side=128,
        embedding=32,
        decoder_heads=4,
        decoder_hidden=48,
    ),
}

_PUBLISHED = "https://github.com/yformer/EfficientSAM/raw/main/weights"
WEIGHTS: dict[str, Weights] = {
    name: Weights(f"{_PUBLISHED}/{file}", None, "Apache-2.0", 0, None, None)
    for name, file in (("ti", "efficient_sam_vitt.pt"), ("s", "efficient_sam_vits.pt.zip"))
}

__all__ = [
    "CONVENTIONS",
    "PROMPTS",
    "VARIANTS",
    "WEIGHTS",
    "Config",
    "EfficientSam",
    "Outputs",
    "Prompts",
    "build",
    "check_contents",
    "depends_on_classes",
    "layer_of",
    "networks",
    "official",
    "predictor",
]
