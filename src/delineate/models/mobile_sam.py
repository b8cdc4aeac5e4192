"""MobileSAM: Segment Anything with TinyViT as encoder; prompts and decoder are SAM's.

Zhang et al. 2023, arXiv:2306.14289. Tensor names and numbers are those of the official checkpoint (Apache-2.0,
code and weights); its classification head (``norm_head``, ``head``), which segments nothing, is dropped.
Variant of our own: `test`.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from delineate.models import Weights
from delineate.models import sam as _sam
from delineate.models._sam_blocks import layer_of
from delineate.models._tiny_vit import TinyViT
from delineate.models.sam import CONVENTIONS, Outputs, Prompts, check_contents, depends_on_classes, networks

PROMPTS = True  # a family of `models.takes_prompts`

_UNUSED = ("image_encoder.norm_head.", "image_encoder.head.")


@dataclass(frozen=True)
class Config(_sam.Config):
    """Every number of the architecture; `width` to `window` say nothing here, the four stages have their own."""

    stage_widths: tuple[int, ...] = (64, 128, 160, 320)
    stage_depths: tuple[int, ...] = (2, 2, 6, 2)
    stage_heads: tuple[int, ...] = (0, 4, 5, 10)  # the first stage is made of convolutions
    stage_windows: tuple[int, ...] = (0, 7, 14, 7)  # cells per side

    def __post_init__(self) -> None:
        """Check the ranges; they may come from a file."""
        super().__post_init__()
        if self.pyramid or self.patch != 16:
            raise ValueError(
                f"mobile_sam.Config: patch must be 16, without pyramid, got {self.patch}, {self.pyramid}"
            )
        for name in ("stage_widths", "stage_depths", "stage_heads", "stage_windows"):
            value = tuple(getattr(self, name))
            object.__setattr__(self, name, value)
            free = 0 if name in ("stage_heads", "stage_windows") else 1
            if len(value) != 4 or any(type(v) is not int or not 0 < v <= 4096 for v in value[1:]):
                raise ValueError(f"mobile_sam.Config: {name} must be four numbers up to 4096, got {value}")
            if type(value[0]) is not int or not free <= value[0] <= 4096 * free:
                raise ValueError(f"mobile_sam.Config: {name} must begin with {free or 0}, got {value}")
        if any(w % h for w, h in zip(self.stage_widths[1:], self.stage_heads[1:], strict=True)):
            raise ValueError(
                f"mobile_sam.Config: stage_widths must be multiples of stage_heads, got {self.stage_widths} "
                f"for {self.stage_heads}"
            )


class MobileSam(_sam.Sam):
    """The encoder of pictures, and the two light parts that run per prompt."""

    config: Config

    def __init__(self, config: Config) -> None:
        encoder = TinyViT(
            config.stage_widths,
            config.stage_depths,
            config.stage_heads,
            config.stage_windows,
            config.embedding,
        )
        super().__init__(config, encoder)


def build(config: Config) -> MobileSam:
    """The model of a configuration, freshly initialised."""
    return MobileSam(config)


def official(model: MobileSam, tensors: dict[str, Tensor]) -> dict[str, Tensor]:  # noqa: ARG001
    """A file's tensors without those that segment nothing.

    >>> official(None, {"image_encoder.head.weight": None, "mask_decoder.iou_token.weight": None})
    {'mask_decoder.iou_token.weight': None}
    """
    return {name: value for name, value in tensors.items() if not name.startswith(_UNUSED)}


VARIANTS: dict[str, Config] = {
    "vit_t": Config(),
    "test": Config(
        side=128,
        embedding=32,
        decoder_heads=4,
        decoder_hidden=48,
        mask_channels=8,
        stage_widths=(16, 24, 32, 48),
        stage_depths=(1, 1, 2, 1),
        stage_heads=(0, 2, 2, 3),
        stage_windows=(0, 7, 3, 8),
    ),
}

WEIGHTS: dict[str, Weights] = {
    "vit_t": Weights(
        "https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt",
        None,
        "Apache-2.0",
        0,
        None,
        None,
        40_700_000,
    ),
}

__all__ = [
    "CONVENTIONS",
    "PROMPTS",
    "VARIANTS",
    "WEIGHTS",
    "Config",
    "MobileSam",
    "Outputs",
    "Prompts",
    "build",
    "check_contents",
    "depends_on_classes",
    "layer_of",
    "networks",
    "official",
]
