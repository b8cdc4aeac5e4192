"""Checkpoints of a training run: one safetensors file each, its JSON header says what it is and where the run stands.

``last.safetensors`` holds everything that an exact continuation needs (weights, averaged weights, optimiser);
``best.safetensors`` holds the averaged weights of the best epoch alone. Both are written to a temporary name and
renamed, so that a killed run leaves the previous one whole. The same header stands beside each as readable JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from delineate.atomic import write_bytes
from delineate.errors import MissingExtra, WeightsError

MODEL, AVERAGE, OPTIMISER = "model/", "ema/", "optimiser/"


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint says of itself."""

    format: int = 1
    model: str  # name for `models.build`
    architecture: dict[
        str, Any
    ]  # every field of the model's `Config`: a later change of the variant does no harm
    classes: list[str]
    stuff: list[str] = []  # classes without objects, of panoptic models
    epoch: int  # epochs completed
    step: int  # optimiser steps done
    metrics: dict[str, float]  # of this epoch's validation
    best: float  # best figure so far: mask AP, panoptic quality, mean IoU, ...
    config: dict[str, Any]  # the whole configuration of the run


def write(path: Path, tensors: Mapping[str, Tensor], header: Header) -> None:
    """Writes a checkpoint and its JSON, each atomically.

    Raises:
        MissingExtra: safetensors is not installed.
    """
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise MissingExtra("safetensors", "torch") from error
    text = msgspec.json.encode(header)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(plain, metadata={"delineate": text.decode()}))
    write_bytes(path.with_suffix(".json"), msgspec.json.format(text) + b"\n")


def read(path: Path) -> tuple[dict[str, Tensor], Header]:
    """Reads a checkpoint.

    Raises:
        WeightsError: The file is damaged or not one of ours.
        MissingExtra: safetensors is not installed.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise MissingExtra("safetensors", "torch") from error
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("delineate", "")
            header = msgspec.json.decode(text, type=Header)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError, msgspec.DecodeError) as error:
        raise WeightsError(
            f"{path}: a checkpoint must be a safetensors file of this package: {error}."
        ) from error
    return tensors, header


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name starts with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def prefixed(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The same tensors with `prefix` before each name."""
    return {prefix + name: tensor for name, tensor in tensors.items()}


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser as named tensors ("3/exp_avg")."""
    state = optimiser.state_dict()["state"]
    return {
        f"{index}/{name}": torch.as_tensor(value)
        for index, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def load_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Puts back what `optimiser_tensors` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition("/")
        state.setdefault(int(index), {})[name] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


class Average:
    """Exponential moving average of a model's weights and buffers (Polyak and Juditsky 1992).

    The decay rises with the steps, ``decay * (1 - exp(-step / ramp))``, so that the random start is soon forgotten.

    Args:
        model: The model to follow.
        decay: The decay reached in the end, in [0, 1).
        ramp: Steps over which it rises.
    """

    def __init__(self, model: nn.Module, decay: float, ramp: int) -> None:
        self.decay, self.ramp = decay, ramp
        self.tensors = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Moves the average towards the model; `step` counts from 1."""
        decay = self.decay * (1 - 2.718281828 ** (-step / self.ramp))
        floats = [(self.tensors[name], value) for name, value in model.state_dict().items()]
        averages = [average for average, _ in floats if average.is_floating_point()]
        values = [value for average, value in floats if average.is_floating_point()]
        torch._foreach_lerp_(averages, values, 1 - decay)
        for average, value in floats:
            if not average.is_floating_point():
                average.copy_(value)
