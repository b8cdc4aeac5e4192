"""Losses on matched boxes and masks: CIoU, distribution focal loss, and masks on ragged cells."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the name that everybody knows)

from delineate.models import Target
from delineate.models._assign import box_iou, ragged_cells


def complete_iou(boxes: Tensor, truth: Tensor) -> Tensor:
    """Complete IoU (Zheng et al. 2020, arXiv:1911.08287) of row i with row i.

    Args:
        boxes: (P, 4) xyxy, predicted.
        truth: (P, 4) xyxy.

    Returns:
        (P,) at most 1: IoU, less the distance of the centres and the difference of the aspect ratios.

    >>> complete_iou(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[0.0, 0.0, 2.0, 2.0]]))
    tensor([1.])
    """
    iou = box_iou(boxes, truth)
    sides, true_sides = boxes[:, 2:] - boxes[:, :2], truth[:, 2:] - truth[:, :2]
    hull = torch.maximum(boxes[:, 2:], truth[:, 2:]) - torch.minimum(boxes[:, :2], truth[:, :2])
    diagonal = hull.square().sum(1).clamp(min=1e-9)
    distance = (boxes[:, :2] + boxes[:, 2:] - truth[:, :2] - truth[:, 2:]).square().sum(1) / 4
    angle = torch.atan(true_sides[:, 0] / true_sides[:, 1].clamp(min=1e-9)) - torch.atan(
        sides[:, 0] / sides[:, 1].clamp(min=1e-9)
    )
    aspect = (4 / math.pi**2) * angle.square()
    with torch.no_grad():
        weight = aspect / (1 - iou + aspect).clamp(min=1e-9)
    return iou - distance / diagonal - weight * aspect


def distribution_focal(logits: Tensor, distances: Tensor) -> Tensor:
    """Distribution focal loss (Li et al. 2020, arXiv:2006.04388), mean over the four sides.

    Args:
        logits: (P, 4, K) one logit per whole distance 0..K-1.
        distances: (P, 4) true distances in cells; clamped into [0, K-1).

    Returns:
        (P,) cross entropy with the two bins beside the distance, weighted linearly.
    """
    last = logits.shape[-1] - 1
    distances = distances.clamp(0, last - 0.01)
    left = distances.floor()
    logs = logits.log_softmax(-1)
    low = logs.gather(-1, left.long().unsqueeze(-1)).squeeze(-1)
    high = logs.gather(-1, left.long().unsqueeze(-1) + 1).squeeze(-1)
    share = distances - left
    return -(low * (1 - share) + high * share).mean(-1)


class Cells(NamedTuple):
    """Mask truth at prototype resolution, only around each object.

    Attributes:
        values: (S,) float32 covered fraction of every cell, object after object, row by row.
        offsets: (M + 1,) int64, where each object begins in `values`; an object without a mask has no cells.
        boxes: (M, 4) int64, xyxy in cells, half-open.
    """

    values: Tensor
    offsets: Tensor
    boxes: Tensor


def gather_cells(targets: Sequence[Target], stride: int, device: torch.device) -> Cells:
    """The cells of all masks of a batch.

    Args:
        targets: One per picture.
        stride: Pixels per cell.
        device: Where the result shall be.
    """
    values, counts, boxes = [torch.zeros(0)], [torch.zeros(1, dtype=torch.int64)], []
    for target in targets:
        objects = len(target.labels)
        if target.masks is None:
            counts.append(torch.zeros(objects, dtype=torch.int64))
            boxes.append(torch.zeros((objects, 4), dtype=torch.int64))
            continue
        covered, offsets, places = target.masks.cells(stride)
        values.append(torch.from_numpy(covered))
        counts.append(torch.from_numpy(offsets).diff())
        boxes.append(torch.from_numpy(places).long())
    starts = torch.cat(counts).cumsum(0)
    return Cells(torch.cat(values).to(device), starts.to(device), torch.cat(boxes).to(device))


class _SampledProduct(torch.autograd.Function):
    """Chosen entries of `left @ right.T`: (i, j) for every column j listed in row i of a sparse pattern.

    With plain indexing the backward pass scatters T x K numbers one by one and takes longer than the whole
    network on a CPU; as sparse matrix products the three passes are twenty times faster.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  (torch gives it no type)
        left: Tensor,
        right: Tensor,
        starts: Tensor,
        columns: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(left, right, starts, columns)
        pattern = _sparse(starts, columns, left.new_zeros(len(columns)), (len(left), len(right)))
        product: Tensor = torch.sparse.sampled_addmm(pattern, left, right.t(), beta=0.0)
        return product.values()

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401
        *gradients: Tensor,
    ) -> tuple[Tensor, Tensor, None, None]:
        left, right, starts, columns = ctx.saved_tensors
        pattern = _sparse(starts, columns, gradients[0].contiguous(), (len(left), len(right)))
        return pattern @ right, pattern.t() @ left, None, None


def _sparse(starts: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():  # "Sparse CSR tensor support is in beta state"
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(starts, columns, values, size, check_invariants=False)


def ragged_masks(
    coefficients: Tensor, prototypes: Tensor, images: Tensor, objects: Tensor, cells: Cells
) -> Tensor:
    """Binary cross entropy of masks, evaluated only at the cells around each object.

    Args:
        coefficients: (P, K) float32 of the positive anchors.
        prototypes: (B, K, h, w) float32.
        images: (P,) int64, picture of each positive.
        objects: (P,) int64, object of each positive.
        cells: The truth of all objects.

    Returns:
        (P,) mean over the object's cells; 0 for an object without cells.
    """
    height, width = prototypes.shape[-2:]
    owners, rows, columns = ragged_cells(cells.boxes[objects])
    counts = cells.offsets.diff()[objects]
    starts = F.pad(counts.cumsum(0), (1, 0))
    shifts = cells.offsets[objects] - starts[:-1]
    truth = cells.values[shifts[owners] + torch.arange(len(owners), device=owners.device)]
    places = (images[owners] * height + rows) * width + columns
    flat = prototypes.permute(0, 2, 3, 1).reshape(-1, prototypes.shape[1])
    # The sparse products of a CPU come from MKL, which torch has on x86 alone; GPUs scatter fast enough.
    logits: Tensor
    if flat.device.type == "cpu" and torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        logits = _SampledProduct.apply(coefficients, flat, starts, places)  # type: ignore[no-untyped-call]
    else:
        logits = (coefficients[owners] * flat[places]).sum(1)
    losses = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    sums = losses.new_zeros(len(objects)).index_add(0, owners, losses)
    return sums / counts.clamp(min=1)
