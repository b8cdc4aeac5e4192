"""How the parts of a two-stage detector learn together; the losses themselves are in `_rcnn_losses`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from delineate.models import Target
from delineate.models._assign import Objects, gather_objects
from delineate.models._rcnn_heads import Regions, refine
from delineate.models._rcnn_losses import (
    Drawn,
    box_losses,
    decoded_box_losses,
    draw,
    mask_loss,
    mask_targets,
    proposal_losses,
    rematch,
    winners,
    with_truth,
)
from delineate.nn.rpn import propose

if TYPE_CHECKING:
    from delineate.models._rcnn_config import Training
    from delineate.models.mask_rcnn import MaskRCNN


def two_stage_losses(
    model: MaskRCNN, images: Tensor, targets: Sequence[Target], features: Sequence[Tensor] | None = None
) -> dict[str, Tensor]:
    """Losses of the proposals, of every stage's boxes (added up), and of the masks; see `MaskRCNN.losses`."""
    canvas = int(images.shape[-2]), int(images.shape[-1])
    objects = gather_objects(targets, len(images), model.config.classes, canvas, images.device)
    sides = objects.boxes[:, 2:] - objects.boxes[:, :2]
    if not bool((sides > 0).all()):
        raise ValueError("losses: boxes must have positive sides, got one without. Drop empty objects.")
    sizes = torch.tensor([target.size or canvas for target in targets], device=images.device)
    features = model.features(images) if features is None else features
    losses, proposals = _proposals(model, features, images, sizes, objects)
    return losses | _stages(model, features, proposals, targets, sizes, objects)


def _proposals(
    model: MaskRCNN, features: Sequence[Tensor], images: Tensor, sizes: Tensor, objects: Objects
) -> tuple[dict[str, Tensor], list[Tensor]]:
    config, training = model.config, model.config.training
    anchored = model.anchored(features, images)
    with torch.autocast(images.device.type, enabled=False):
        logits, offsets = (torch.cat([level.float() for level in part], 1) for part in anchored[:2])
        anchors = torch.cat(anchored.anchors)
        if training.inside:
            drawn = _draw_inside(anchors, sizes, objects, training)
        else:
            drawn = draw([anchors] * len(images), objects, training.anchors)
        per_image = training.anchors.boxes if training.fixed_divisor else None
        objectness, boxes = proposal_losses(
            logits, offsets, drawn, objects, beta=training.beta, per_image=per_image
        )
    found = propose(*anchored, sizes, config.proposals.training_limits, floored=config.floored)
    return {"objectness": objectness, "proposal": boxes}, [own for own, _ in found]


def _draw_inside(anchors: Tensor, sizes: Tensor, objects: Objects, training: Training) -> Drawn:
    """Anchors that learn, of those that do not leave their picture."""
    rows = [
        ((anchors[:, :2] >= 0) & (anchors[:, 2:] < size.flip(0))).all(1).nonzero()[:, 0] for size in sizes
    ]
    drawn = draw([anchors[own] for own in rows], objects, training.anchors)
    places = [own[drawn.places[drawn.images == image]] for image, own in enumerate(rows)]
    return drawn._replace(places=torch.cat(places))


def _stages(
    model: MaskRCNN,
    features: Sequence[Tensor],
    proposals: Sequence[Tensor],
    targets: Sequence[Target],
    sizes: Tensor,
    objects: Objects,
) -> dict[str, Tensor]:
    """The losses of all stages' boxes and masks, added up."""
    config, training = model.config, model.config.training
    count, own = len(config.heads.box_weights), config.masks and config.heads.stage_masks
    shared = list(features)
    if (
        count > 1 and not training.stage_weights
    ):  # each stage would pull at the features as hard as a single one
        shared = [part / count + part.detach() * (1 - 1 / count) for part in features]
    drawn = first = draw(with_truth(proposals, objects), objects, training.proposals)
    labels, boxes, masks = [], [], []
    for stage, weight in enumerate(training.stage_weights or (1.0,) * count):
        label, box, refined = _boxes(model, shared, drawn, sizes, objects, stage)
        labels.append(weight * label)
        boxes.append(weight * box)
        if own:
            masks.append(weight * _masks(model, features, drawn.positive(), targets, objects, stage))
        if stage + 1 < count:
            drawn, proposals = _next(drawn, refined, proposals, objects, training, stage)
    losses = {"class": torch.stack(labels).sum(), "box": torch.stack(boxes).sum()}
    if own:
        losses["mask"] = torch.stack(masks).sum()
    elif config.masks:
        losses["mask"] = _masks(model, features, first.positive(), targets, objects)
    return losses


def _boxes(
    model: MaskRCNN, features: Sequence[Tensor], drawn: Drawn, sizes: Tensor, objects: Objects, stage: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses of one stage's classes and boxes, and the boxes (S, 4) that its regions become."""
    config, training = model.config, model.config.training
    regions, weights = Regions(drawn.boxes, drawn.images), config.heads.box_weights[stage]
    channels = torch.tensor(config.class_channels, device=sizes.device)
    logits, offsets = model.box_outputs(features, regions, stage)
    with torch.autocast(sizes.device.type, enabled=False):
        logits, offsets = logits.float(), offsets.float()
        background = 0 if config.heads.background == "first" else logits.shape[1] - 1
        wanted = winners(drawn, objects, channels, background)
        given = logits, offsets, drawn, objects, wanted
        if training.giou:
            label, box = decoded_box_losses(*given, weights=weights, floored=config.floored)
            box = training.giou * box
        else:
            label, box = box_losses(*given, weights=weights, beta=training.beta)
        best = channels[logits[:, channels].argmax(1)]
        chosen = torch.where(drawn.objects >= 0, wanted, best)
        refined = refine(offsets, chosen, regions, sizes, weights, floored=config.floored)
    return label, box, refined


def _next(
    drawn: Drawn,
    refined: Tensor,
    proposals: Sequence[Tensor],
    objects: Objects,
    training: Training,
    stage: int,
) -> tuple[Drawn, Sequence[Tensor]]:
    """What the stage after `stage` learns from, and what it was drawn from besides the truth."""
    kept, threshold = ((refined[:, 2:] - refined[:, :2]) > 0).all(1), training.cascade[stage]
    if not training.stage_weights:
        return rematch(refined[kept], drawn.images[kept], objects, threshold), proposals
    counts = torch.tensor([len(part) for part in proposals], device=kept.device)
    kept &= drawn.places < counts[drawn.images]  # the truth itself joins anew
    proposals = [refined[kept & (drawn.images == image)] for image in range(len(proposals))]
    sampling = training.proposals._replace(high=threshold, low=threshold)
    return draw(with_truth(proposals, objects), objects, sampling), proposals


def _masks(
    model: MaskRCNN,
    features: Sequence[Tensor],
    positive: Drawn,
    targets: Sequence[Target],
    objects: Objects,
    stage: int | None = None,
) -> Tensor:
    labels = objects.labels[positive.objects]
    logits = model.mask_logits(features, Regions(positive.boxes, positive.images), labels, stage)
    with torch.autocast(logits.device.type, enabled=False):
        binary = model.config.training.binary_masks
        wanted = mask_targets(targets, positive, objects, side=logits.shape[-1], binary=binary)
        return mask_loss(logits.float(), wanted)
