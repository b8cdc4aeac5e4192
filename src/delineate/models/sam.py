"""Segment Anything: masks from points, boxes and masks; the picture is encoded once.

Kirillov et al. 2023, arXiv:2304.02643. Tensor names and numbers are those of the official checkpoints
(Apache-2.0, code and weights). Departures: `decode` gives all mask tokens, and the caller chooses (token 0
for one mask, the others for several candidates); relative positions enter attention as further channels,
which computes the same without a matrix of all pairs of cells. Variant of our own: `test`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that everybody knows)

from delineate.models import Weights
from delineate.models._checkpoint import Contents
from delineate.models._sam_blocks import ChannelNorm, GridBlock, Perceptron, TwoWayTransformer, Waves, neck
from delineate.models._sam_blocks import layer_of as layer_of
from delineate.models._sam_pyramid import COARSEST, STRIDE, Drawing, Mixer, PyramidEncoder
from delineate.prompt import Conventions, Network

PROMPTS = True  # a family of `models.takes_prompts`
CONVENTIONS = Conventions()


@dataclass(frozen=True)
class Config:
    """Every number of the architecture."""

    width: int = 768  # channels of the picture's tokens
    depth: int = 12
    heads: int = 12
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)  # the others attend within windows
    window: int = 14  # cells per side
    side: int = 1024  # pixels per side of the input
    patch: int = 16  # pixels per side of a token
    embedding: int = 256  # channels of embeddings and of the decoder
    decoder_heads: int = 8
    decoder_hidden: int = 2048
    mask_channels: int = 16  # inside the encoder of mask prompts
    candidates: int = 3  # masks for an ambiguous prompt, beside the single one
    pyramid: bool = False  # a convolutional encoder instead of the ViT; `width` to `window` say nothing then
    mixers: int = 0  # blocks between neighbouring cells, before the decoder; clicks are drawn for them

    def __post_init__(self) -> None:
        """Check the ranges; they may come from a file."""
        object.__setattr__(self, "global_blocks", tuple(self.global_blocks))
        for name in ("width", "depth", "heads", "window", "side", "patch", "embedding", "decoder_heads"):
            if not 1 <= getattr(self, name) <= 65536:
                raise ValueError(f"sam.Config: {name} must be in 1..65536, got {getattr(self, name)!r}")
        if self.side % self.patch:
            raise ValueError(f"sam.Config: side must be a multiple of patch {self.patch}, got {self.side}")
        if self.width % self.heads or self.embedding % (8 * self.decoder_heads):
            raise ValueError(
                "sam.Config: width and embedding must be multiples of heads and 8 * decoder_heads, "
                f"got {self.width}, {self.embedding} for {self.heads}, {self.decoder_heads}"
            )
        if self.pyramid and (self.patch != STRIDE or self.side % COARSEST):
            raise ValueError(
                f"sam.Config: a pyramid must have patch {STRIDE} and a side that is a multiple of {COARSEST}, "
                f"got {self.patch} and {self.side}"
            )

    @property
    def cells(self) -> int:
        """Cells per side of an embedding; a mask of the decoder has four times as many."""
        return self.side // self.patch

    @property
    def strides(self) -> tuple[int, ...]:
        """Input pixels per cell; sides of training samples are multiples of the largest."""
        return (self.patch, COARSEST) if self.pyramid else (self.side,)


class Prompts(NamedTuple):
    """What the user says of P objects, in pixels of the network's input. At least one field is given.

    Attributes:
        points: (P, N, 2) float32 x, y, or None. Pixel centres are at whole numbers, as in the reference.
        labels: (P, N) 1 inside the object, 0 outside, 2 and 3 first and second corner of a box, -1 no point;
            None without points. The reference ends points with a -1 wherever there is no box.
        masks: (P, 1, 4 * cells, 4 * cells) float32 logits of earlier masks, or None.
    """

    points: Tensor | None = None
    labels: Tensor | None = None
    masks: Tensor | None = None

    def points_for(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Points and labels, none on the embedding's device where only masks are given.

        Raises:
            ValueError: If no prompt is given, or if shapes do not fit.
        """
        points, labels, masks = self
        if (points is None) != (labels is None) or (points is None and masks is None):
            raise ValueError("sam: prompts must have points with labels, masks, or both")
        if points is None or labels is None:
            count = 0 if masks is None else len(masks)
            return embedding.new_zeros(count, 0, 2), embedding.new_zeros(count, 0)
        if points.shape != (*labels.shape, 2):
            raise ValueError(
                f"sam: points must have shape (P, N, 2) and labels (P, N), got {tuple(points.shape)} "
                f"and {tuple(labels.shape)}"
            )
        return points, labels


class Outputs(NamedTuple):
    """T masks per prompt: the single one, then the candidates."""

    logits: Tensor  # (P, T, 4 * cells, 4 * cells), above 0 inside
    ious: Tensor  # (P, T) predicted IoU with the object, not bounded


class ImageEncoder(nn.Module):
    """The ViT with its neck."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, config.width, config.patch, config.patch)})
        self.pos_embed = nn.Parameter(torch.zeros(1, config.cells, config.cells, config.width))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.ModuleList(
            GridBlock(
                config.width,
                config.heads,
                config.cells,
                0 if index in config.global_blocks else config.window,
            )
            for index in range(config.depth)
        )
        self.neck = neck(config.width, config.embedding)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, side, side) to (B, embedding, cells, cells)."""
        x = self.patch_embed["proj"](images).permute(0, 2, 3, 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return out


class PromptEncoder(nn.Module):
    """Points as tokens, masks as a map that is added to the picture's embedding."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, channels = config.embedding, config.mask_channels
        self.side, self.cells = config.side, config.cells
        self.pe_layer = Waves(width)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, width)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, channels // 4, 2, 2),
            ChannelNorm(channels // 4),
            nn.GELU(),
            nn.Conv2d(channels // 4, channels, 2, 2),
            ChannelNorm(channels),
            nn.GELU(),
            nn.Conv2d(channels, width, 1),
        )
        self.no_mask_embed = nn.Embedding(1, width)
        self.drawing = Drawing(width, config.patch) if config.mixers else None

    def points(self, points: Tensor, labels: Tensor) -> Tensor:
        """Points (P, N, 2) with labels (P, N) to tokens (P, N, embedding)."""
        waves = self.pe_layer((points + 0.5) / self.side)
        kinds = torch.cat([self.not_a_point_embed.weight, *self.point_embeddings.parameters()])
        index = labels.long() + 1
        tokens: Tensor = waves * (index > 0)[..., None] + kinds[index]
        return tokens

    def drawn(
        self, points: Tensor, labels: Tensor, shape: Sequence[int], corner: tuple[int, int] = (0, 0)
    ) -> Tensor | float:
        """What points add to embeddings of h x w cells, (P, embedding, h, w); nothing in the official variants."""
        return 0.0 if self.drawing is None else self.drawing(points, labels, shape, corner)

    def masks(self, masks: Tensor) -> Tensor:
        """Logits (P, 1, 4 * cells, 4 * cells) to (P, embedding, cells, cells)."""
        out: Tensor = self.mask_downscaling(masks)
        return out

    def no_mask(self) -> Tensor:
        """What stands for a mask where there is none, (1, embedding, 1, 1)."""
        return self.no_mask_embed.weight[:, :, None, None]

    def grid(self, shape: Sequence[int], corner: tuple[int, int] = (0, 0)) -> Tensor:
        """Positions of h x w cells, (1, h * w, embedding); `corner` is the place of the first one, row and column."""
        return self.pe_layer.grid(shape, self.cells, corner)


class MaskDecoder(nn.Module):
    """Prompt tokens and picture to masks, each the product of its own token with a common map."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, count = config.embedding, config.candidates + 1
        self.mixers = nn.Sequential(*(Mixer(width) for _ in range(config.mixers)))
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(count, width)
        self.transformer = TwoWayTransformer(width, config.decoder_heads, config.decoder_hidden)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, 2, 2),
            ChannelNorm(width // 4),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, 2, 2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            Perceptron(width, width, width, width // 8) for _ in range(count)
        )
        self.iou_prediction_head = Perceptron(width, width, width, count)

    def forward(self, embedding: Tensor, place: Tensor, tokens: Tensor) -> Outputs:
        """Embedding (P, C, h, w) with its positions (1, h * w, C) and prompt tokens (P, N, C) to masks."""
        embedding = self.mixers(embedding)
        own = torch.cat((self.iou_token.weight, self.mask_tokens.weight))
        tokens = torch.cat((own.expand(tokens.shape[0], -1, -1), tokens), 1)
        picture = embedding.flatten(2).transpose(1, 2)
        tokens, picture = self.transformer(tokens, picture, place)
        picture = picture.transpose(1, 2).reshape(embedding.shape)
        shared = self.output_upscaling(picture)
        kernels = torch.stack(
            [head(tokens[:, index + 1]) for index, head in enumerate(self.output_hypernetworks_mlps)], 1
        )
        return Outputs(
            torch.einsum("ptc,pchw->pthw", kernels, shared), self.iou_prediction_head(tokens[:, 0])
        )


class Sam(nn.Module):
    """The encoder of pictures, and the two light parts that run per prompt; a sibling brings its own encoder."""

    ENCODER: ClassVar = ("image_encoder.",)  # how the names begin of what runs once per picture
    iou_error = staticmethod(F.mse_loss)  # of the predicted IoU, in training

    def __init__(self, config: Config, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = encoder or (
            PyramidEncoder(config.embedding) if config.pyramid else ImageEncoder(config)
        )
        self.prompt_encoder = PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config)

    def forward(self, images: Tensor, prompts: Prompts) -> Outputs:
        """One picture (1, 3, side, side) with P prompts, or P pictures with one prompt each.

        Raises:
            ValueError: If shapes do not fit.
        """
        return self.decode(self.encode(images), prompts)

    def encode(self, images: Tensor) -> Tensor:
        """Normalised pictures (B, 3, side, side), zeros beyond their content, to (B, embedding, cells, cells).

        A pyramid also takes windows of the canvas, whose sides are multiples of its coarsest stride.

        Raises:
            ValueError: If the shape does not fit.
        """
        side, coarsest = self.config.side, self.config.strides[-1]
        if images.shape[1] != 3 or any(length % coarsest or length > side for length in images.shape[2:]):
            raise ValueError(f"sam: images must have shape (B, 3, {side}, {side}), got {tuple(images.shape)}")
        embedding: Tensor = self.image_encoder(images)
        return embedding

    def decode(self, embedding: Tensor, prompts: Prompts, corner: tuple[int, int] = (0, 0)) -> Outputs:
        """Masks of P prompts on embeddings (P or 1, embedding, cells, cells).

        Embeddings of windows have fewer cells; `corner` is then the window's first cell on the canvas, row and
        column, and points are still in pixels of the canvas.

        Raises:
            ValueError: If no prompt is given, or if shapes do not fit.
        """
        points, labels = prompts.points_for(embedding)
        encoder, shape = self.prompt_encoder, embedding.shape[2:]
        tokens = encoder.points(points, labels)
        dense = encoder.no_mask() if prompts.masks is None else encoder.masks(prompts.masks)
        dense = dense + encoder.drawn(points, labels, shape, corner)
        embedding = (embedding + dense).expand(len(tokens), -1, -1, -1)
        out: Outputs = self.mask_decoder(embedding, encoder.grid(shape, corner), tokens)
        return out

    def settle(self, outputs: Outputs) -> Outputs:
        """Outputs whose single mask is the one that users see; SAM's own is."""
        return outputs


def networks(model: Sam) -> tuple[Network, Network]:
    """Encoder and decoder of a model, in eval mode, as `delineate.prompt.PromptPredictor` takes them.

    >>> encoder, decoder = networks(build(VARIANTS["test"]).eval())
    >>> encoder({"images": torch.zeros(1, 3, 128, 128).numpy()})["image_embeddings"].shape
    (1, 32, 8, 8)
    """

    @torch.inference_mode()
    def encode(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        device = next(model.parameters()).device
        embedding = model.encode(torch.tensor(arrays["images"], device=device))
        return {"image_embeddings": embedding.float().cpu().numpy()}

    @torch.inference_mode()
    def decode(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        device = next(model.parameters()).device
        embedding, points, labels = (
            torch.tensor(arrays[name], device=device)
            for name in ("image_embeddings", "point_coords", "point_labels")
        )
        given = bool(arrays["has_mask_input"][0])
        masks = torch.tensor(arrays["mask_input"], device=device) if given else None
        outputs = model.settle(model.decode(embedding, Prompts(points, labels, masks)))
        return {
            "low_res_masks": outputs.logits.float().cpu().numpy(),
            "iou_predictions": outputs.ious.float().cpu().numpy(),
        }

    return encode, decode


def build(config: Config) -> Sam:
    """The model of a configuration, freshly initialised."""
    return Sam(config)


def depends_on_classes(name: str) -> bool:  # noqa: ARG001  (every family has this function)
    """Whether the shape of a tensor of the state dict follows from the number of classes: never here.

    >>> depends_on_classes("mask_decoder.iou_token.weight")
    False
    """
    return False


def check_contents(model: Sam, contents: Contents) -> None:
    """Official files are bare state dicts: names and shapes say all."""


VARIANTS: dict[str, Config] = {
    "vit_b": Config(),
    "vit_l": Config(width=1024, depth=24, heads=16, global_blocks=(5, 11, 17, 23)),
    "vit_h": Config(width=1280, depth=32, heads=16, global_blocks=(7, 15, 23, 31)),
    # For CPUs: 2.9 million parameters.
    "tiny": Config(
        pyramid=True,
        mixers=3,
        side=512,
        embedding=128,
        decoder_heads=4,
        decoder_hidden=512,
    ),
    "test": Config(
        width=32,
        depth=3,
        heads=2,
        global_blocks=(1,),
        window=3,
        side=128,
        embedding=32,
        decoder_heads=4,
        decoder_hidden=48,
        mask_channels=8,
    ),
}

_PUBLISHED = "https://dl.fbaipublicfiles.com/segment_anything"
WEIGHTS: dict[str, Weights] = {
    name: Weights(
        f"{_PUBLISHED}/sam_{name}_{digits}.pth",
        f"md5:{digits}",
        "Apache-2.0",
        0,
        None,
        None,
        megabytes * 10**6,
    )
    for name, digits, megabytes in (
        ("vit_b", "01ec64", 375),
        ("vit_l", "0b3195", 1250),
        ("vit_h", "4b8939", 2565),
    )
}
