"""Which weights move and how far: frozen layers, rates by depth, weight decay, and the schedule."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from delineate import models
from delineate.errors import DelineateError
from delineate.train.config import ModelChoice, Optimiser

_TABLES = ("relative_position_bias_table", "absolute_pos_embed")  # biases in two dimensions


def prepare(model: nn.Module, choice: ModelChoice) -> None:
    """Freeze what the configuration wants frozen.

    Args:
        model: The model to train, in place.
        choice: `freeze` and `norms` of it.

    Raises:
        DelineateError: The family has no layers to count.
    """
    if choice.freeze is not None:
        layers = _layers(model, "model.freeze")
        for name, value in model.named_parameters():
            layer = layers[name]
            if layer is not None:
                value.requires_grad_(layer[0] >= choice.freeze)
    if choice.norms == "fixed":
        for module in _batch_norms(model):
            module.requires_grad_(False)


def train_mode(model: nn.Module, choice: ModelChoice) -> None:
    """Put a model in training mode; batch norms that are fixed keep their statistics."""
    model.train()
    if choice.norms == "fixed":
        for module in _batch_norms(model):
            module.eval()


def _batch_norms(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def _layers(model: nn.Module, field: str) -> dict[str, tuple[int, ...] | None]:
    """The layer of every parameter, None for those above the backbone."""
    module = models.family(model)
    if not hasattr(module, "layer_of"):
        name = module.__name__.rpartition(".")[2]
        raise DelineateError(f"{field}: the family {name} has no layers to count. Leave {field} out.")
    return {name: module.layer_of(name) for name, _ in model.named_parameters()}


def make_optimiser(model: nn.Module, settings: Optimiser) -> torch.optim.Optimizer:
    """The optimiser of the weights that learn.

    Weight decay goes to weights of two and more dimensions; biases, norms and tables of positions have none,
    unless `decay_all`. With `layer_decay` a layer's rate is that much of the rate of the layer above it; what
    is above the backbone has the whole rate. Every group carries its part of the rate as "share".
    """
    layers: dict[str, tuple[int, ...] | None] = {}
    if settings.layer_decay != 1:
        layers = _layers(model, "optimiser.layer_decay")
    order = sorted({layer for layer in layers.values() if layer is not None})
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {(0, False): [], (0, True): []}
    for name, value in model.named_parameters():
        if value.requires_grad:
            layer = layers.get(name)
            below = 0 if layer is None else len(order) - order.index(layer)
            plain = not settings.decay_all and (value.ndim <= 1 or name.endswith(_TABLES))
            groups.setdefault((below, plain), []).append(value)
    listed: list[dict[str, Any]] = [
        {
            "params": values,
            "weight_decay": 0.0 if plain else settings.decay,
            "share": settings.layer_decay**below,
            "lr": settings.rate * settings.layer_decay**below,
        }
        for (below, plain), values in sorted(groups.items(), key=lambda item: item[0])
    ]
    if settings.kind == "sgd":
        return torch.optim.SGD(
            listed, lr=settings.rate, momentum=settings.momentum, nesterov=settings.nesterov
        )
    return torch.optim.AdamW(listed, lr=settings.rate, betas=(settings.momentum, 0.999))


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its share of a learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["share"]


def learning_rate(settings: Optimiser, epoch: float, epochs: int) -> float:
    """Linear rise over `warmup` epochs, then a half cosine down to `final` times the largest rate, or `steps`.

    >>> learning_rate(Optimiser(rate=1.0, final=0.1, warmup=1.0), 11.0, 11)
    0.1
    >>> learning_rate(Optimiser(rate=1.0, steps=(8.0, 10.0)), 9.0, 12)
    0.1
    """
    rise = min(1.0, (epoch + 1e-3) / settings.warmup) if settings.warmup else 1.0
    if settings.steps:
        return float(settings.rate * rise * 0.1 ** sum(epoch >= step for step in settings.steps))
    way = min(1.0, max(0.0, epoch - settings.warmup) / max(epochs - settings.warmup, 1e-9))
    return settings.rate * rise * (settings.final + (1 - settings.final) * (1 + math.cos(math.pi * way)) / 2)
