"""Low-rank changes to frozen layers (Hu et al. 2021, arXiv:2106.09685).

W becomes W + up @ down, of which only the two thin matrices learn. `up` begins as zeros, so that the model is the
same before the first step; afterwards `merged` gives plain weights, and nothing of this is left in a file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_INSIDE = ".parametrizations.weight."


class LowRank(nn.Module):
    """The change of one weight (rows, columns)."""

    def __init__(self, rows: int, columns: int, rank: int) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.zeros(rows, rank))
        self.down = nn.Parameter(torch.empty(rank, columns))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """(rows, columns) to the same shape."""
        return weight + self.up @ self.down


def add(model: nn.Module, rank: int, name: str = "qkv") -> int:
    """Give every linear layer of that name a low-rank change, in place.

    Args:
        model: Its other parameters are left as they are; what shall not learn is frozen by the caller.
        rank: At least 1.
        name: Last part of the layers' names.

    Returns:
        How many layers have one now.

    Raises:
        ValueError: If there is no such layer.

    >>> attention = nn.ModuleDict({"qkv": nn.Linear(8, 24)})
    >>> add(attention, 2), list(merged(attention.state_dict()))
    (1, ['qkv.bias', 'qkv.weight'])
    """
    layers = [
        layer
        for path, layer in model.named_modules()
        if path.rpartition(".")[2] == name and isinstance(layer, nn.Linear)
    ]
    if not layers:
        raise ValueError(f"lora: the encoder must have linear layers named {name!r}, got none. Use lora=0.")
    for layer in layers:
        change = LowRank(layer.out_features, layer.in_features, rank).to(layer.weight.device)
        parametrize.register_parametrization(layer, "weight", change)
    return len(layers)


def merged(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict as if the changes had always been part of the weights; without any, the same tensors."""
    found = {name: value for name, value in tensors.items() if _INSIDE not in name}
    for name, value in tensors.items():
        layer, inside, part = name.partition(_INSIDE)
        if inside and part == "original":
            up, down = (tensors[f"{layer}{inside}0.{side}"] for side in ("up", "down"))
            found[f"{layer}.weight"] = value + up @ down
    return found
