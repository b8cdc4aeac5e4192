"""The model families: one file each, and this folder is the registry.

``build("yolo_seg-11n")`` takes the module ``yolo_seg`` of this folder and the entry ``11n`` of its
``VARIANTS``. A module whose name begins with an underscore is a part that families share. Nothing registers
itself, and no string from outside is imported.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import pkgutil
from types import ModuleType
from typing import Any, NamedTuple

import torch

from delineate.masks import Masks


class Target(NamedTuple):
    """The objects of one picture, on the canvas that the network sees.

    Attributes:
        boxes: (N, 4) float32, xyxy input pixels, half-open.
        labels: (N,) int64 class indices.
        masks: N masks on the input canvas, or None when the picture has boxes only.
    """

    boxes: torch.Tensor
    labels: torch.Tensor
    masks: Masks | None


class Weights(NamedTuple):
    """One published checkpoint of a family.

    Attributes:
        url: Where its publisher offers it.
        sha256: Checksum in hexadecimal, or None when the publisher states none.
        licence: SPDX identifier of the weights' own licence.
        classes: Number of classes that it predicts.
        box_ap: Published box AP (percent, COCO val2017), or None.
        mask_ap: Published mask AP (percent, COCO val2017), or None.
    """

    url: str
    sha256: str | None
    licence: str
    classes: int
    box_ap: float | None
    mask_ap: float | None


def families() -> list[str]:
    """The model families, in alphabetical order.

    >>> "yolo_seg" in families()
    True
    """
    return sorted(entry.name for entry in pkgutil.iter_modules(__path__) if not entry.name.startswith("_"))


def family(name: str | torch.nn.Module) -> ModuleType:
    """The module of one family.

    Args:
        name: Name of the family, or a model of it.

    Raises:
        ValueError: If there is no such family.

    >>> family("yolo_seg") is family(build("yolo_seg-test"))
    True
    """
    if isinstance(name, torch.nn.Module):
        name = type(name).__module__.rpartition(".")[2]
    if name not in families():
        raise ValueError(f"models: family must be one of {_choices(name, families())}")
    return importlib.import_module(f"{__name__}.{name}")


def names() -> list[str]:
    """Every model that `build` accepts, "family-variant", in alphabetical order.

    >>> "yolo_seg-11n" in names()
    True
    """
    return sorted(f"{name}-{variant}" for name in families() for variant in family(name).VARIANTS)


def build(name: str, **changes: Any) -> torch.nn.Module:
    """A freshly initialised model.

    Args:
        name: "family-variant", as `names` lists them.
        **changes: Fields of the family's `Config` that differ from the variant, such as ``classes=3``.

    Raises:
        ValueError: If there is no such model, no such field, or a value out of range.

    >>> build("yolo_seg-test", classes=3).config.classes
    3
    """
    prefix, _, variant = name.partition("-")
    if prefix not in families() or variant not in family(prefix).VARIANTS:
        raise ValueError(f"models.build: name must be one of {_choices(name, names())}")
    module = family(prefix)
    known = [field.name for field in dataclasses.fields(module.Config)]
    for field in changes:
        if field not in known:
            raise ValueError(f"models.build: options of {prefix!r} must be among {_choices(field, known)}")
    model: torch.nn.Module = module.build(dataclasses.replace(module.VARIANTS[variant], **changes))
    return model


def largest_stride(model: torch.nn.Module) -> int:
    """Input sides must be multiples of this many pixels.

    >>> largest_stride(build("yolo_seg-test"))
    16
    """
    config: Any = model.config
    return int(max(config.strides))


def to_device(target: Target, device: torch.device) -> Target:
    """The same target with its tensors on `device`; masks stay where they are."""
    return Target(
        target.boxes.to(device, non_blocking=True), target.labels.to(device, non_blocking=True), target.masks
    )


def _choices(got: str, known: list[str]) -> str:
    """The tail of a message: what is allowed, what came, and the closest match."""
    close = difflib.get_close_matches(got, known, n=1)
    return f"{', '.join(known)}, got {got!r}." + (f" Did you mean {close[0]!r}?" if close else "")


__all__ = ["Target", "Weights", "build", "families", "family", "largest_stride", "names", "to_device"]
