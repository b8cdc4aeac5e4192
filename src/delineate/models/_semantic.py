"""What networks that name the class of every pixel have in common: their truth and its loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the name that everybody knows)

from delineate.algebra import to_label_map
from delineate.metrics.semantic import UNKNOWN
from delineate.models import Target


def class_maps(
    targets: Sequence[Target],
    canvas: tuple[int, int],
    classes: int,
    device: torch.device,
    *,
    merged: bool = False,
) -> Tensor:
    """The class of every pixel of a batch.

    Where a target does not say it (`Target.semantic`), its masks are painted in their order, the later ones over
    the earlier ones, as classes 1 to C on background, class 0. Of a picture with boxes alone, their insides are
    unknown, as is the padding of every picture.

    Args:
        targets: Checked ones, see `_assign.gather_objects`.
        canvas: Height and width of the input.
        classes: How many there are, the background included.
        device: Where the result is wanted.
        merged: All objects are of class 0, and what no mask covers is unknown (stuff, of which masks say nothing).

    Returns:
        (B, H, W) int64: 0 to `classes` - 1, or `UNKNOWN`.

    Raises:
        ValueError: `Target.semantic` has another size or other values.

    >>> boxes = Target(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([4]), None)
    >>> class_maps([boxes], (1, 3), 6, torch.device("cpu"))
    tensor([[[-1,  0,  0]]])
    """
    found = torch.empty((len(targets), *canvas), dtype=torch.int64)
    for own, target in zip(found, targets, strict=True):
        if target.semantic is not None:
            own.copy_(_checked(target.semantic, canvas, classes))
        elif merged:
            own.fill_(UNKNOWN)
            if target.masks is not None and len(target.masks):
                own[torch.from_numpy(target.masks.union().to_dense()[0])] = 0
        elif target.masks is not None and len(target.masks):
            values = target.labels.cpu().numpy().astype(np.int64) + 1
            own.copy_(torch.from_numpy(to_label_map(target.masks, values, dtype=np.uint32).astype(np.int64)))
        else:
            own.zero_()
            for left, top, right, bottom in target.boxes.tolist():
                rows, columns = (
                    slice(max(int(top), 0), -int(-bottom // 1)),
                    slice(max(int(left), 0), -int(-right // 1)),
                )
                own[rows, columns] = UNKNOWN
        if target.size is not None:
            own[target.size[0] :] = UNKNOWN
            own[:, target.size[1] :] = UNKNOWN
    return found.to(device)


def pixel_loss(logits: Tensor, maps: Tensor) -> Tensor:
    """Mean cross entropy over the known pixels, at the resolution of the truth; 0 where none is known.

    Args:
        logits: (B, C, h, w), interpolated bilinearly to the truth's size.
        maps: (B, H, W), see `class_maps`.

    >>> round(float(pixel_loss(torch.zeros(1, 2, 2, 2), torch.zeros(1, 4, 4, dtype=torch.int64))), 4)
    0.6931
    """
    with torch.autocast(logits.device.type, enabled=False):
        wide = F.interpolate(logits.float(), size=maps.shape[1:], mode="bilinear", align_corners=False)
        total = F.cross_entropy(wide, maps, ignore_index=UNKNOWN, reduction="sum")
        return total / (maps != UNKNOWN).sum().clamp(min=1)


def _checked(given: Tensor, canvas: tuple[int, int], classes: int) -> Tensor:
    if tuple(given.shape) != canvas or given.is_floating_point():
        raise ValueError(
            f"losses: semantic must be whole numbers of the input's size {canvas}, "
            f"got {given.dtype} {tuple(given.shape)}."
        )
    low, high = int(given.min()), int(given.max())
    if low < UNKNOWN or high >= classes:
        raise ValueError(f"losses: semantic must be in {UNKNOWN}..{classes - 1}, got {low}..{high}.")
    return given
