"""RoIAlign (He et al. 2017, arXiv:1703.06870): features of boxes on a fixed grid, from one map or from a pyramid.

Every output is a weighted sum of a few cells, and the weights factor into rows and columns. So the taps are
computed by index arithmetic for all boxes at once, and one `embedding_bag` gathers and sums them: no
intermediate is larger than the result, on any device, and features get their gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the name that everybody knows)


def roi_align(
    features: Tensor,
    boxes: Tensor,
    images: Tensor,
    size: tuple[int, int],
    *,
    scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Pool boxes from one feature map.

    Args:
        features: (B, C, h, w).
        boxes: (R, 4) xyxy, input pixels.
        images: (R,) int64, the picture of each box.
        size: Height and width of the result in bins.
        scale: Cells per input pixel.
        sampling_ratio: Samples per bin and axis; 0 = as many as the bin has cells, rounded up.
        aligned: Pixel (0, 0) has its centre at (0.5, 0.5). Without, boxes are shifted by half a cell and at
            least one cell wide and high, as in the first implementations.

    Returns:
        (R, C, *size) float32 (float64 for float64 features).

    >>> ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    >>> box, first = torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([0])
    >>> roi_align(ramp, box, first, (2, 2), scale=1.0, sampling_ratio=2, aligned=True)[0, 0]
    tensor([[0.5000, 2.5000],
            [0.5000, 2.5000]])
    """
    return pyramid_roi_align(
        [features],
        boxes,
        images,
        torch.zeros_like(images),
        size,
        scales=[scale],
        sampling_ratio=sampling_ratio,
        aligned=aligned,
    )


def pyramid_roi_align(
    features: Sequence[Tensor],
    boxes: Tensor,
    images: Tensor,
    levels: Tensor,
    size: tuple[int, int],
    *,
    scales: Sequence[float],
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Pool boxes, each from its own level of a pyramid.

    Args:
        features: One (B, C, h, w) per level.
        boxes: (R, 4) xyxy, input pixels.
        images: (R,) int64, the picture of each box.
        levels: (R,) int64, index into `features`.
        size: Height and width of the result in bins.
        scales: Cells per input pixel of every level.
        sampling_ratio: As in `roi_align`.
        aligned: As in `roi_align`.

    Returns:
        (R, C, *size) float32 (float64 for float64 features).
    """
    channels = features[0].shape[1]
    dtype = torch.float64 if features[0].dtype == torch.float64 else torch.float32
    table = torch.cat([level.permute(0, 2, 3, 1).reshape(-1, channels) for level in features]).to(dtype)
    sides = torch.tensor([level.shape[2:] for level in features], device=boxes.device)
    counts = torch.tensor([level[:, 0].numel() for level in features], device=boxes.device)
    planes = sides.prod(1)
    first = (counts.cumsum(0) - counts)[levels] + images * planes[levels]

    corners = boxes.to(dtype) * torch.tensor(scales, dtype=dtype, device=boxes.device)[levels, None]
    if aligned:
        corners = corners - 0.5
    low, extent = corners[:, :2], corners[:, 2:] - corners[:, :2]
    if not aligned:
        extent = extent.clamp(min=1.0)
    bins = torch.tensor((size[1], size[0]), dtype=dtype, device=boxes.device)
    if sampling_ratio > 0:
        samples = torch.full_like(images[:, None].expand(-1, 2), sampling_ratio)
    else:
        samples = (extent / bins).ceil().long()

    if not len(boxes):
        return table.new_zeros((0, channels, *size)) + table.sum() * 0
    kinds, owners = torch.unique(samples, dim=0, return_inverse=True)
    pooled, places = [], []
    for kind, (across, down) in enumerate(kinds.tolist()):
        chosen = (owners == kind).nonzero()[:, 0]
        height, width = sides[levels[chosen]].unbind(1)
        rows, row_weights = _taps(low[chosen, 1], extent[chosen, 1], size[0], down, height)
        columns, column_weights = _taps(low[chosen, 0], extent[chosen, 0], size[1], across, width)
        cells = rows[:, :, None, :, None] * width.view(-1, 1, 1, 1, 1) + columns[:, None, :, None, :]
        cells = cells + first[chosen].view(-1, 1, 1, 1, 1)
        weights = row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]
        taps = rows.shape[2] * columns.shape[2]
        sums = F.embedding_bag(
            cells.reshape(-1, taps), table, mode="sum", per_sample_weights=weights.reshape(-1, taps)
        )
        pooled.append(sums.view(-1, *size, channels))
        places.append(chosen)
    result = pooled[0] if len(kinds) == 1 else torch.cat(pooled)[torch.cat(places).argsort()]
    return result.permute(0, 3, 1, 2)


def _taps(low: Tensor, extent: Tensor, bins: int, samples: int, limit: Tensor) -> tuple[Tensor, Tensor]:
    """Cells along one axis and their weights, (R, bins, 2 * samples) each.

    A sample up to one cell outside of the map takes the border's value; farther ones are zero.
    """
    count = max(samples, 1)
    steps = torch.arange(bins * count, device=low.device, dtype=low.dtype)
    bin_of, part = steps.div(count, rounding_mode="floor"), steps.remainder(count) + 0.5
    side = (extent / bins)[:, None]
    at = low[:, None] + bin_of * side + part * side / count
    limit = limit[:, None]
    inside = (at >= -1) & (at <= limit)
    last = (limit - 1).to(low.dtype)
    at = at.clamp(min=0)
    left = torch.minimum(at.floor(), last)
    share = torch.where(left >= last, torch.zeros_like(at), at - left)
    right = torch.minimum(left + 1, last)
    weight = inside.to(low.dtype) / count if samples > 0 else torch.zeros_like(at)
    cells = torch.stack((left, right), -1).nan_to_num(0).long()
    weights = torch.stack(((1 - share) * weight, share * weight), -1)
    return cells.view(len(low), bins, -1), weights.view(len(low), bins, -1)
