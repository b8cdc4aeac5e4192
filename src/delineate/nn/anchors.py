"""Anchors: the boxes of fixed shapes around every cell of a feature map that proposals start from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def base_anchors(size: float, ratios: Sequence[float], *, rounded: bool) -> Tensor:
    """Anchors of one size around the origin.

    Args:
        size: Square root of the area, pixels.
        ratios: Height over width of each.
        rounded: Round corners to whole pixels, ties to even (torchvision), or keep them (detectron2).

    Returns:
        (len(ratios), 4) float32, xyxy.

    >>> base_anchors(32, (0.5, 1, 2), rounded=True)
    tensor([[-23., -11.,  23.,  11.],
            [-16., -16.,  16.,  16.],
            [-11., -23.,  11.,  23.]])
    """
    heights = torch.tensor(ratios, dtype=torch.float32).sqrt()
    halves = torch.stack((1 / heights, heights), 1) * float(size) / 2
    anchors = torch.cat((-halves, halves), 1)
    return anchors.round() if rounded else anchors


def grid_anchors(base: Tensor, cells: tuple[int, int], strides: tuple[int, int]) -> Tensor:
    """Anchors at every cell of a map; those of cell (0, 0) are around the origin.

    Args:
        base: (A, 4) xyxy around the origin.
        cells: Height and width of the map.
        strides: Pixels per cell, down and across.

    Returns:
        (height * width * A, 4) xyxy, row by row, the anchors of a cell together.

    >>> grid_anchors(torch.tensor([[-1.0, -1.0, 1.0, 1.0]]), (1, 2), (4, 4))
    tensor([[-1., -1.,  1.,  1.],
            [ 3., -1.,  5.,  1.]])
    """
    y = torch.arange(cells[0], device=base.device, dtype=base.dtype) * strides[0]
    x = torch.arange(cells[1], device=base.device, dtype=base.dtype) * strides[1]
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    shifts = torch.stack((columns, rows, columns, rows), -1).view(-1, 1, 4)
    return (shifts + base).view(-1, 4)
