"""Matching, sampling and losses of two-stage detectors.

Ren et al. 2015, arXiv:1506.01497 (Faster R-CNN); He et al. 2017, arXiv:1703.06870 (Mask R-CNN).
The two widespread implementations differ in the box loss and in what sums are divided by. Both are parameters:
torchvision takes smooth L1 with beta 1/9 and divides by what was drawn, detectron2 takes plain L1 and divides the
proposal losses by 256 per picture. The stages of Cascade R-CNN (Cai and Vasconcelos 2018, arXiv:1712.00726) are
`rematch` with a higher threshold and the same `box_losses` with other weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the name that everybody knows)

from delineate.models import Target
from delineate.models._assign import Objects
from delineate.nn.box_coding import decode, encode
from delineate.nn.matching import BACKGROUND, match, sample
from delineate.warp import roi_align

Weights = tuple[float, float, float, float]


class Sampling(NamedTuple):
    """How many boxes of a picture learn, and from which overlap on they belong to an object.

    Attributes:
        boxes: Boxes drawn of each picture.
        share: Of them that belong to objects, at most.
        high: IoU from which a box belongs to its object.
        low: IoU below which it is background; in between it is not drawn.
        rescue: Each object's best boxes belong to it, however low the overlap.
        taken_from: Overlap from which they are taken from the object that they overlap more (mmdetection); None =
            such boxes are kept by their own best object.
    """

    boxes: int
    share: float
    high: float
    low: float
    rescue: bool
    taken_from: float | None = None


ANCHORS = Sampling(256, 0.5, 0.7, 0.3, rescue=True)
PROPOSALS = Sampling(512, 0.25, 0.5, 0.5, rescue=False)


class Drawn(NamedTuple):
    """Boxes that learn, picture after picture.

    Attributes:
        boxes: (S, 4) xyxy input pixels, without gradient.
        images: (S,) int64, picture of each.
        places: (S,) int64, its row among the boxes of the picture that it was drawn from.
        objects: (S,) int64 row of `Objects`, or `BACKGROUND`.
    """

    boxes: Tensor
    images: Tensor
    places: Tensor
    objects: Tensor

    def positive(self) -> Drawn:
        """Only those that belong to an object, in the same order."""
        chosen = self.objects >= 0
        return Drawn(*(part[chosen] for part in self))


@torch.no_grad()
def with_truth(proposals: Sequence[Tensor], objects: Objects) -> list[Tensor]:
    """The proposals of every picture and after them the boxes of its objects, so that each object is learnt."""
    return [
        torch.cat((boxes, objects.boxes[objects.images == image].to(boxes)))
        for image, boxes in enumerate(proposals)
    ]


@torch.no_grad()
def draw(boxes: Sequence[Tensor], objects: Objects, sampling: Sampling) -> Drawn:
    """Match the boxes of every picture with its objects, and draw some at random.

    Args:
        boxes: One (n, 4) per picture, xyxy with positive sides: anchors, or what `with_truth` gave.
        objects: The truth of the batch, picture after picture.
        sampling: How many, and what belongs to an object.

    >>> objects = Objects(torch.tensor([[0.0, 0.0, 8.0, 8.0]]), torch.tensor([0]), torch.tensor([1]))
    >>> anchors = torch.tensor([[0.0, 0.0, 8.0, 7.0], [20.0, 20.0, 28.0, 28.0]])
    >>> draw([anchors, anchors], objects, ANCHORS).positive().places
    tensor([0])
    """
    parts = []
    for image, own in enumerate(boxes):
        rows = (objects.images == image).nonzero()[:, 0]
        truth = objects.boxes[rows].to(own)
        matches = match(
            truth,
            own,
            high=sampling.high,
            low=sampling.low,
            rescue=sampling.rescue,
            taken_from=sampling.taken_from,
        )
        positive, negative = sample(matches, sampling.boxes, sampling.share)
        places = torch.cat((positive, negative))
        owners = torch.cat((rows[matches[positive]], torch.full_like(negative, BACKGROUND)))
        parts.append(Drawn(own[places].detach(), torch.full_like(places, image), places, owners))
    return Drawn(*(torch.cat(column) for column in zip(*parts, strict=True)))


@torch.no_grad()
def rematch(boxes: Tensor, images: Tensor, objects: Objects, threshold: float) -> Drawn:
    """All boxes, each with the object of its picture that it overlaps most: the later stages of Cascade R-CNN.

    Args:
        boxes: (R, 4) xyxy with positive sides, in any order.
        images: (R,) int64, picture of each.
        objects: The truth of the batch.
        threshold: IoU from which a box belongs to its object.

    Returns:
        The boxes in their order; `places` counts them through.
    """
    owners = torch.full_like(images, BACKGROUND)
    for image in sorted(set(images.tolist())):
        rows, here = (objects.images == image).nonzero()[:, 0], (images == image).nonzero()[:, 0]
        truth = objects.boxes[rows].to(boxes)
        matches = match(truth, boxes[here].detach(), high=threshold, low=threshold, rescue=False)
        found = matches >= 0
        owners[here[found]] = rows[matches[found]]
    return Drawn(boxes.detach(), images, torch.arange(len(boxes), device=boxes.device), owners)


def proposal_losses(
    logits: Tensor,
    offsets: Tensor,
    drawn: Drawn,
    objects: Objects,
    *,
    beta: float,
    per_image: int | None = None,
    weights: Weights = (1.0, 1.0, 1.0, 1.0),
) -> tuple[Tensor, Tensor]:
    """Losses of the region proposal network on the anchors that were drawn.

    Args:
        logits: (B, A) float32 objectness.
        offsets: (B, A, 4) float32.
        drawn: What `draw` gave for the A anchors.
        objects: The truth of the batch.
        beta: Where the box loss turns from square to linear; 0 = linear all over.
        per_image: Divide by so many per picture, drawn or not; None = by the number of anchors drawn.
        weights: Of the box coding.

    Returns:
        Binary cross entropy of the objectness, and box loss; both scalars.
    """
    total = max(len(drawn.images) if per_image is None else per_image * len(logits), 1)
    truth = (drawn.objects >= 0).to(logits.dtype)
    chosen = logits[drawn.images, drawn.places]
    objectness = F.binary_cross_entropy_with_logits(chosen, truth, reduction="sum")
    positive = drawn.positive()
    wanted = encode(objects.boxes[positive.objects], positive.boxes, weights)
    found = offsets[positive.images, positive.places]
    boxes = F.smooth_l1_loss(found, wanted, beta=beta, reduction="sum")
    return objectness / total, boxes / total


def winners(drawn: Drawn, objects: Objects, channels: Tensor, background: int) -> Tensor:
    """The logit of every box that shall win.

    Args:
        drawn: Boxes that learn.
        objects: The truth of the batch.
        channels: (C,) int64, the logit of each class.
        background: The logit of the background: 0 (torchvision) or the last one (detectron2).

    Returns:
        (S,) int64.
    """
    if not len(objects.labels):
        return torch.full_like(drawn.objects, background)
    own = channels[objects.labels[drawn.objects.clamp(min=0)]]
    return torch.where(drawn.objects >= 0, own, background)


def box_losses(
    logits: Tensor,
    offsets: Tensor,
    drawn: Drawn,
    objects: Objects,
    wanted: Tensor,
    *,
    weights: Weights,
    beta: float,
) -> tuple[Tensor, Tensor]:
    """Losses of a box head on the proposals that were drawn.

    Args:
        logits: (S, K) float32, one of them of the background.
        offsets: (S, k, 4) float32, k = 1 for all classes together; else a class has the same place here as there.
        drawn: The S proposals.
        objects: The truth of the batch.
        wanted: (S,) int64, what `winners` gave.
        weights: Of the box coding.
        beta: Where the box loss turns from square to linear; 0 = linear all over.

    Returns:
        Cross entropy of the classes, and box loss of the boxes of objects; each divided by S.
    """
    total = max(len(wanted), 1)
    labels = F.cross_entropy(logits, wanted, reduction="sum")
    found, positive = _of_objects(offsets, drawn, wanted)
    truth = encode(objects.boxes[positive.objects], positive.boxes, weights)
    boxes = F.smooth_l1_loss(found, truth, beta=beta, reduction="sum")
    return labels / total, boxes / total


def decoded_box_losses(
    logits: Tensor,
    offsets: Tensor,
    drawn: Drawn,
    objects: Objects,
    wanted: Tensor,
    *,
    weights: Weights,
    floored: bool,
) -> tuple[Tensor, Tensor]:
    """As `box_losses`, but boxes are compared as boxes: 1 - generalised IoU of each (Rezatofighi et al. 2019).

    Args:
        logits: As there, and so are `offsets`, `drawn`, `objects`, `wanted` and `weights`.
        offsets: See above.
        drawn: See above.
        objects: See above.
        wanted: See above.
        weights: See above.
        floored: See `box_coding.decode`.
    """
    total = max(len(wanted), 1)
    labels = F.cross_entropy(logits, wanted, reduction="sum")
    found, positive = _of_objects(offsets, drawn, wanted)
    boxes = decode(found, positive.boxes, weights, floored=floored)
    unlike = 1 - generalised_iou(boxes, objects.boxes[positive.objects])
    return labels / total, unlike.sum() / total


def _of_objects(offsets: Tensor, drawn: Drawn, wanted: Tensor) -> tuple[Tensor, Drawn]:
    """Boxes of objects, and the offsets (P, 4) of each for the class of its object."""
    positive = (drawn.objects >= 0).nonzero()[:, 0]
    kinds = wanted[positive] if offsets.shape[1] > 1 else torch.zeros_like(positive)
    return offsets[positive, kinds], drawn.positive()


def generalised_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Generalised IoU of row i with row i (Rezatofighi et al. 2019, arXiv:1902.09630).

    Args:
        boxes: (P, 4) xyxy.
        others: (P, 4) xyxy.

    Returns:
        (P,) in (-1, 1]: the IoU less the part of the hull of both that neither covers.

    >>> generalised_iou(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[3.0, 0.0, 4.0, 1.0]]))
    tensor([-0.5000])
    """
    low, high = torch.maximum(boxes[:, :2], others[:, :2]), torch.minimum(boxes[:, 2:], others[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    union = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (others[:, 2:] - others[:, :2]).prod(1) - shared
    low, high = torch.minimum(boxes[:, :2], others[:, :2]), torch.maximum(boxes[:, 2:], others[:, 2:])
    hull = (high - low).prod(1)
    return shared / union.clamp(min=1e-6) - (hull - union) / hull.clamp(min=1e-6)


def mask_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy of the masks of boxes of objects.

    Args:
        logits: (P, m, m) float32, of the class of each box's object.
        targets: (P, m, m) in [0, 1], what `mask_targets` gave; not a number where an object has no mask.

    Returns:
        The mean over the cells of all boxes whose object has a mask; 0, with a gradient of zeros, without any.
    """
    known = targets.isfinite()
    total = F.binary_cross_entropy_with_logits(logits[known], targets[known], reduction="sum")
    return total / known.sum().clamp(min=1)


@torch.no_grad()
def mask_targets(
    targets: Sequence[Target], drawn: Drawn, objects: Objects, *, side: int, binary: bool
) -> Tensor:
    """What the mask head shall give for boxes of objects, made from runs: no bitmap of a picture exists.

    Args:
        targets: One per picture.
        drawn: P boxes of objects, none of them background.
        objects: The objects of `targets`.
        side: Cells of a mask, down and across.
        binary: False: RoIAlign of the bitmap, 0..1, corners half a pixel off (torchvision). True: aligned RoIAlign,
            and 1 from one half on (detectron2).

    Returns:
        (P, side, side) float32 on the device of the boxes; not a number where a picture has no masks.
    """
    counts = torch.bincount(objects.images, minlength=len(targets))
    first = counts.cumsum(0) - counts
    result = drawn.boxes.new_full((len(drawn.images), side, side), torch.nan, dtype=torch.float32)
    for image, target in enumerate(targets):
        here = (drawn.images == image).nonzero()[:, 0]
        if target.masks is None or not len(here):
            continue
        own = (drawn.objects[here] - first[image]).cpu().numpy()
        boxes = drawn.boxes[here].float().cpu().numpy()
        found = torch.from_numpy(roi_align(target.masks, own, boxes, (side, side), aligned=binary))
        result[here] = ((found >= 0.5).float() if binary else found).to(result.device)
    return result
