"""SAM 2.1 on pictures: masks from points, boxes and masks, with finer features for sharper edges.

Ravi et al. 2024, arXiv:2408.00714. Numbers are those of the official checkpoints (Apache-2.0, code and weights);
what they hold for videos (`MEMORY`) is left out. Departures: `decode` gives all mask tokens, and the caller
chooses; `settle` replaces an unstable single mask by the best candidate, as the reference does. Pictures are
stretched to a square. Variant of our own: `test`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that everybody knows)

from delineate.models import Weights
from delineate.models import sam as _sam
from delineate.models._hiera import Hiera, Neck
from delineate.models._sam_blocks import Perceptron, layer_of
from delineate.models.sam import Prompts, check_contents, depends_on_classes
from delineate.prompt import SAM2, Network, PromptPredictor

PROMPTS = True  # a family of `models.takes_prompts`
CONVENTIONS = SAM2

MEMORY = (
    "mask_downsample.",
    "maskmem_tpos_enc",
    "memory_attention.",
    "memory_encoder.",
    "no_mem_pos_enc",
    "no_obj_embed_spatial",
    "no_obj_ptr",
    "obj_ptr_proj.",
    "obj_ptr_tpos_proj.",
)
"""How the names of tensors begin that only videos need."""


@dataclass(frozen=True)
class Config(_sam.Config):
    """Every number of the architecture; `width` and `heads` are the first stage's, `depth` and `window` say nothing."""

    width: int = 96
    heads: int = 1
    global_blocks: tuple[int, ...] = (5, 7, 9)
    depths: tuple[int, ...] = (1, 2, 7, 2)  # blocks of each stage
    windows: tuple[int, ...] = (8, 4, 14, 7)  # cells per side, by stage
    background: int = 7  # cells per side of the learned positions

    def __post_init__(self) -> None:
        """Check the ranges; they may come from a file."""
        super().__post_init__()
        for name in ("depths", "windows"):
            value = tuple(getattr(self, name))
            object.__setattr__(self, name, value)
            if len(value) != 4 or any(type(number) is not int or not 0 < number <= 1024 for number in value):
                raise ValueError(f"sam2.Config: {name} must be four numbers in 1..1024, got {value}")
        if self.pyramid or self.patch != 16 or self.side % 32 or (self.side // 4) % self.windows[0]:
            raise ValueError(
                "sam2.Config: patch must be 16, without pyramid, and side a multiple of 32 and of four windows, "
                f"got {self.patch}, {self.pyramid} and {self.side}"
            )
        if not 1 <= self.background <= 1024:
            raise ValueError(f"sam2.Config: background must be in 1..1024, got {self.background}")


class Features(NamedTuple):
    """An encoded picture."""

    embedding: Tensor  # (B, embedding, cells, cells)
    fine: Tensor  # (B, embedding / 8, 4 * cells, 4 * cells)
    middle: Tensor  # (B, embedding / 4, 2 * cells, 2 * cells)


class Outputs(NamedTuple):
    """T masks per prompt: the single one, then the candidates."""

    logits: Tensor  # (P, T, 4 * cells, 4 * cells), above 0 inside
    ious: Tensor  # (P, T) predicted IoU with the object, 0 to 1
    presence: Tensor  # (P, 1) logits of the object being in the picture at all


class MaskDecoder(_sam.MaskDecoder):
    """SAM's, with a token for the presence of the object and finer features of the picture."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        width = config.embedding
        self.obj_score_token = nn.Embedding(1, width)
        self.pred_obj_score_head = Perceptron(width, width, width, 1)
        self.conv_s0 = nn.Conv2d(width, width // 8, 1)
        self.conv_s1 = nn.Conv2d(width, width // 4, 1)

    def masks(self, features: Features, place: Tensor, tokens: Tensor) -> Outputs:
        """Features, with positions (1, h * w, C) and prompt tokens (P, N, C), to masks."""
        embedding = features.embedding
        own = torch.cat((self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight))
        tokens = torch.cat((own.expand(tokens.shape[0], -1, -1), tokens), 1)
        tokens, picture = self.transformer(tokens, embedding.flatten(2).transpose(1, 2), place)
        picture = picture.transpose(1, 2).reshape(embedding.shape)
        first, norm, _, second, _ = self.output_upscaling
        shared = F.gelu(norm(first(picture) + features.middle))
        shared = F.gelu(second(shared) + features.fine)
        kernels = torch.stack(
            [head(tokens[:, index + 2]) for index, head in enumerate(self.output_hypernetworks_mlps)], 1
        )
        return Outputs(
            torch.einsum("ptc,pchw->pthw", kernels, shared),
            self.iou_prediction_head(tokens[:, 1]).sigmoid(),
            self.pred_obj_score_head(tokens[:, 0]),
        )


class Sam2(nn.Module):
    """The encoder of pictures, and the two light parts that run per prompt."""

    ENCODER: ClassVar = ("image_encoder.", "no_mem_embed", "mask_decoder.conv_s0.", "mask_decoder.conv_s1.")
    iou_error = staticmethod(F.l1_loss)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        trunk = Hiera(
            config.width,
            config.heads,
            config.depths,
            config.windows,
            config.global_blocks,
            config.background,
        )
        neck = Neck(tuple(config.width << stage for stage in range(4)), config.embedding)
        self.image_encoder = nn.ModuleDict({"trunk": trunk, "neck": neck})
        self.no_mem_embed = nn.Parameter(torch.randn(1, 1, config.embedding) * 0.02)
        self.prompt_encoder = _sam.PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config)

    def forward(self, images: Tensor, prompts: Prompts) -> Outputs:
        """One picture (1, 3, side, side) with P prompts, or P pictures with one prompt each.

        Raises:
            ValueError: If shapes do not fit.
        """
        return self.decode(self.encode(images), prompts)

    def encode(self, images: Tensor) -> Features:
        """Normalised pictures (B, 3, side, side) to their features.

        Raises:
            ValueError: If the shape does not fit.
        """
        side = self.config.side
        if images.shape[1:] != (3, side, side):
            raise ValueError(
                f"sam2: images must have shape (B, 3, {side}, {side}), got {tuple(images.shape)}"
            )
        fine, middle, embedding = self.image_encoder["neck"](self.image_encoder["trunk"](images))
        embedding = embedding + self.no_mem_embed[..., None].transpose(1, 2)
        return Features(embedding, self.mask_decoder.conv_s0(fine), self.mask_decoder.conv_s1(middle))

    def decode(self, features: Features, prompts: Prompts, corner: tuple[int, int] = (0, 0)) -> Outputs:
        """Masks of P prompts on the features of one picture, or of P. Points are ended with one of label -1 here.

        Raises:
            ValueError: If no prompt is given, or if shapes do not fit.
        """
        if corner != (0, 0):
            raise ValueError(f"sam2: corner must be (0, 0), got {corner}. Encode whole canvases")
        points, labels = prompts.points_for(features.embedding)
        # A point that is none ends them, if there are any.
        points = torch.cat((points, points[:, :1] * 0), 1)
        labels = torch.cat((labels, labels[:, :1] * 0 - 1), 1)
        encoder, masks = self.prompt_encoder, prompts.masks
        return self.answer(
            features, points, labels, encoder.no_mask() if masks is None else encoder.masks(masks)
        )

    def answer(self, features: Features, points: Tensor, labels: Tensor, dense: Tensor) -> Outputs:
        """Masks for ended points (P, N, 2) with labels (P, N) and what stands for masks, as `decode` gives them."""
        tokens = self.prompt_encoder.points(points, labels)
        embedding = (features.embedding + dense).expand(tokens.shape[0], -1, -1, -1)
        place = self.prompt_encoder.grid(embedding.shape[2:])
        return self.mask_decoder.masks(features._replace(embedding=embedding), place, tokens)

    def settle(self, outputs: Outputs) -> Outputs:
        """Outputs whose single mask is the one that users see: in eval mode as `settled` has it, as the reference."""
        return outputs if self.training else settled(outputs)


def settled(outputs: Outputs, delta: float = 0.05, threshold: float = 0.98) -> Outputs:
    """Outputs whose single mask, where it is not stable, is the candidate of the highest predicted IoU.

    Args:
        outputs: What `Sam2.decode` gives.
        delta: Areas above this and above its negative are compared.
        threshold: A mask is stable if the smaller area is at least this share of the larger.

    >>> even = Outputs(torch.zeros(1, 3, 2, 2), torch.tensor([[0.1, 0.2, 0.3]]), torch.zeros(1, 1))
    >>> settled(even).ious
    tensor([[0.3000, 0.2000, 0.3000]])
    """
    logits, ious = outputs.logits, outputs.ious
    inner, outer = ((logits[:, 0] > bound).flatten(1).sum(1) for bound in (delta, -delta))
    stable = (inner >= threshold * outer)[:, None]
    best = ious[:, 1:].argmax(1, keepdim=True) + 1
    best_logits = logits.gather(1, best[..., None, None].expand(-1, 1, *logits.shape[2:]))
    single = torch.where(stable[..., None, None], logits[:, :1], best_logits)
    score = torch.where(stable, ious[:, :1], ious.gather(1, best))
    return outputs._replace(
        logits=torch.cat((single, logits[:, 1:]), 1),
        ious=torch.cat((score, ious[:, 1:]), 1),
    )


def networks(model: Sam2) -> tuple[Network, Network]:
    """Encoder and decoder of a model, in eval mode, for a `PromptPredictor` with `CONVENTIONS`.

    >>> encoder, decoder = networks(build(VARIANTS["test"]).eval())
    >>> sorted(encoder({"images": torch.zeros(1, 3, 128, 128).numpy()}))
    ['high_res_feats_0', 'high_res_feats_1', 'image_embeddings']
    """
    names = ("image_embeddings", "high_res_feats_0", "high_res_feats_1")

    @torch.inference_mode()
    def encode(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        features = model.encode(torch.tensor(arrays["images"], device=model.no_mem_embed.device))
        return {name: value.float().cpu().numpy() for name, value in zip(names, features, strict=True)}

    @torch.inference_mode()
    def decode(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        device = model.no_mem_embed.device
        features = Features(*(torch.tensor(arrays[name], device=device) for name in names))
        points, labels = (
            torch.tensor(arrays[name], device=device) for name in ("point_coords", "point_labels")
        )
        given = bool(arrays["has_mask_input"][0])
        masks = torch.tensor(arrays["mask_input"], device=device) if given else None
        outputs = model.settle(model.decode(features, Prompts(points, labels, masks)))
        return {
            "low_res_masks": outputs.logits.float().cpu().numpy(),
            "iou_predictions": outputs.ious.float().cpu().numpy(),
        }

    return encode, decode


def predictor(model: Sam2, *, batch: int = 64, remember: int = 8) -> PromptPredictor:
    """The predictor of a model in eval mode: see `PromptPredictor`.

    >>> predictor(build(VARIANTS["test"]).eval()).side
    128
    """
    return PromptPredictor(
        *networks(model), side=model.config.side, batch=batch, remember=remember, conventions=CONVENTIONS
    )


def build(config: Config) -> Sam2:
    """The model of a configuration, freshly initialised."""
    return Sam2(config)


def official(model: Sam2, tensors: dict[str, Tensor]) -> dict[str, Tensor]:  # noqa: ARG001
    """A file's tensors under the names of the model, without those that only videos need.

    >>> official(None, {"sam_mask_decoder.transformer.layers.0.mlp.layers.1.bias": 1, "no_obj_ptr": 2})
    {'mask_decoder.transformer.layers.0.mlp.lin2.bias': 1}
    """
    kept = {}
    for name, value in tensors.items():
        if name.startswith(MEMORY):
            continue
        renamed = name.removeprefix("sam_") if name.startswith(("sam_prompt_", "sam_mask_")) else name
        if renamed.startswith("mask_decoder.transformer."):
            renamed = renamed.replace(".mlp.layers.0.", ".mlp.lin1.").replace(".mlp.layers.1.", ".mlp.lin2.")
        kept[renamed] = value
    return kept


VARIANTS: dict[str, Config] = {
    "tiny": Config(),
    "small": Config(depths=(1, 2, 11, 2), global_blocks=(7, 10, 13)),
    "base_plus": Config(width=112, heads=2, depths=(2, 3, 16, 3), global_blocks=(12, 16, 20), background=14),
    "large": Config(
        width=144,
        heads=2,
        depths=(2, 6, 36, 4),
        global_blocks=(23, 33, 43),
        windows=(8, 4, 16, 8),
    ),
    "test": Config(
        width=16,
        depths=(1, 2, 2, 1),
        global_blocks=(4,),
        windows=(8, 4, 6, 3),
        background=3,
        side=128,
        embedding=64,
    ),
}

_PUBLISHED = "https://dl.fbaipublicfiles.com/segment_anything_2/092824"
WEIGHTS: dict[str, Weights] = {
    name: Weights(
        f"{_PUBLISHED}/sam2.1_hiera_{name}.pt", None, "Apache-2.0", 0, None, None, megabytes * 10**6
    )
    for name, megabytes in (("tiny", 156), ("small", 184), ("base_plus", 323), ("large", 898))
}

__all__ = [
    "CONVENTIONS",
    "MEMORY",
    "PROMPTS",
    "VARIANTS",
    "WEIGHTS",
    "Config",
    "Features",
    "MaskDecoder",
    "Outputs",
    "Prompts",
    "Sam2",
    "build",
    "check_contents",
    "depends_on_classes",
    "layer_of",
    "networks",
    "official",
    "predictor",
    "settled",
]
