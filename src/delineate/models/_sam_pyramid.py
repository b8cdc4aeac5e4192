"""Parts of a small promptable model: a convolutional encoder of pictures, and prompts that are drawn.

The encoder is the body of `yolo_seg`, fused at stride 16. Its layers have the widths and names of
``yolo_seg-nuclei`` down to the top-down path, so that a network which already sees edges may be the start
(`start_from`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that everybody knows)

from delineate.models._sam_blocks import ChannelNorm
from delineate.models._yolo_blocks import C2PSA, SPPF, Bottleneck, C3k, Chain, Conv
from delineate.prompt import MEAN, STD

STRIDE, COARSEST = 16, 32  # input pixels per cell of the embedding, and of the deepest layer


class PyramidEncoder(nn.Module):
    """Pictures (B, 3, H, W) to embeddings at stride 16; sides are multiples of 32.

    Args:
        embedding: Channels of the result.

    >>> PyramidEncoder(32).eval()(torch.zeros(1, 3, 64, 96)).shape
    torch.Size([1, 32, 4, 6])
    """

    def __init__(self, embedding: int) -> None:
        super().__init__()
        self.body = nn.ModuleDict(
            {
                "0": Conv(3, 8, 3, 2),
                "1": Conv(8, 24, 3, 2),
                "2": Chain(24, 64, 16, [Bottleneck(16, shortcut=True, ratio=0.5)]),
                "3": Conv(64, 64, 3, 2),
                "4": Chain(64, 128, 32, [Bottleneck(32, shortcut=True, ratio=0.5)]),
                "5": Conv(128, 128, 3, 2),
                "6": Chain(128, 128, 64, [C3k(64)]),
                "7": Conv(128, 256, 3, 2),
                "8": Chain(256, 256, 128, [C3k(128)]),
                "9": SPPF(256, 256),
                "10": C2PSA(256, 1),
                "13": Chain(384, 128, 64, [Bottleneck(64, shortcut=True, ratio=0.5)]),
                "16": Chain(256, 64, 32, [Bottleneck(32, shortcut=True, ratio=0.5)]),
            }
        )
        self.fine = nn.Conv2d(64, embedding, 4, 4, bias=False)  # where in a cell the edges are
        self.middle = nn.Conv2d(64, embedding, 2, 2, bias=False)
        self.coarse = nn.Conv2d(128, embedding, 1, bias=False)
        self.neck = nn.Sequential(
            ChannelNorm(embedding),
            nn.Conv2d(embedding, embedding, 3, padding=1, bias=False),
            ChannelNorm(embedding),
        )

        for module in self.body.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def train(self, mode: bool = True) -> PyramidEncoder:
        """Batch norms keep their statistics: batches of a few pictures of different kinds say little."""
        super().train(mode)
        self.body.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, embedding, H / 16, W / 16)."""
        body = self.body
        fine = body["2"](body["1"](body["0"](images)))
        middle = body["4"](body["3"](fine))
        coarse = body["6"](body["5"](middle))
        deep = body["10"](body["9"](body["8"](body["7"](coarse))))
        coarse = body["13"](torch.cat((_double(deep), coarse), 1))
        middle = body["16"](torch.cat((_double(coarse), middle), 1))
        out: Tensor = self.neck(self.fine(fine) + self.middle(middle) + self.coarse(coarse))
        return out


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


@torch.no_grad()
def start_from(encoder: PyramidEncoder, tensors: Mapping[str, Tensor]) -> None:
    """Give the body the weights of a fused `yolo_seg-nuclei`, so that it computes the same at half the resolution.

    Args:
        encoder: Changed in place.
        tensors: ``model.N....conv.weight`` and ``.bias``; others are not looked at.
    """
    for path, module in encoder.body.named_modules():
        if not isinstance(module, Conv) or not isinstance(module.bn, nn.BatchNorm2d):
            continue
        weight, bias = tensors[f"model.{path}.conv.weight"], tensors[f"model.{path}.conv.bias"]
        if path == "0":  # that network takes [0, 1], this one normalised grey levels
            mean, std = torch.tensor(MEAN).view(3, 1, 1) / 255, torch.tensor(STD).view(3, 1, 1) / 255
            weight, bias = weight * std, bias + (weight * mean).sum((1, 2, 3))
        module.conv.weight.copy_(weight)
        module.bn.bias.copy_(bias)


class Drawing(nn.Module):
    """Clicks and boxes drawn on the grid of a mask, as a map that is added to the picture's embedding.

    Without it, a click is a token alone, and a small network takes very long to learn where it points.

    Args:
        width: Channels of the result.
        patch: Input pixels per cell of the embedding; the grid drawn on has a quarter of it.
    """

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.pixel = patch / 4
        self.down = nn.Sequential(
            nn.Conv2d(5, 16, 2, 2),
            ChannelNorm(16),
            nn.GELU(),
            nn.Conv2d(16, 32, 2, 2),
            ChannelNorm(32),
            nn.GELU(),
            nn.Conv2d(32, width, 1),
        )

    def forward(
        self, points: Tensor, labels: Tensor, shape: Sequence[int], corner: tuple[int, int]
    ) -> Tensor:
        """Points (P, N, 2) with labels (P, N) as in `sam.Prompts` to (P, width, *shape).

        Args:
            points: x, y in input pixels.
            labels: 1, 0, 2, 3 or -1.
            shape: Rows and columns of the embedding.
            corner: Place of its first cell on the canvas, row and column.
        """
        dy, dx = (
            (torch.arange(4 * length).to(points) + 0.5 + 4 * start) * self.pixel
            - points[..., axis, None]
            - 0.5
            for axis, length, start in ((1, shape[0], corner[0]), (0, shape[1], corner[1]))
        )  # (P, N, rows) and (P, N, columns)
        planes = []
        for label in (1, 0):
            chosen = (labels == label).to(points)[..., None]
            for sigma in (2 * self.pixel, 8 * self.pixel):
                down, across = (torch.exp(-((d / sigma) ** 2) / 2) for d in (dy, dx))
                planes.append((chosen * down).transpose(1, 2) @ across)
        first, second = ((labels == label).to(points)[..., None] for label in (2, 3))
        rows, columns = (
            (first * torch.sigmoid(d / self.pixel)).sum(1) * (second * torch.sigmoid(-d / self.pixel)).sum(1)
            for d in (dy, dx)
        )
        planes.append(rows[:, :, None] * columns[:, None])
        out: Tensor = self.down(torch.stack(planes, 1))
        return out


class Mixer(nn.Module):
    """Neighbouring cells learn of each other (the block of ConvNeXt, Liu et al. 2022, arXiv:2201.03545)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.around = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = ChannelNorm(width)
        self.first = nn.Conv2d(width, 2 * width, 1)
        self.second = nn.Conv2d(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(P, width, h, w) to the same shape."""
        out: Tensor = x + self.second(F.gelu(self.first(self.norm(self.around(x)))))
        return out
