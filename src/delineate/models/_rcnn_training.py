"""How the parts of a two-stage detector learn together; the losses themselves are in `_rcnn_losses`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from delineate.models import Target
from delineate.models._assign import Objects, gather_objects
from delineate.models._rcnn_heads import Regions
from delineate.models._rcnn_losses import (
    Drawn,
    box_losses,
    draw,
    mask_loss,
    mask_targets,
    proposal_losses,
    rematch,
    winners,
    with_truth,
)
from delineate.nn.box_coding import clip, decode
from delineate.nn.rpn import propose

if TYPE_CHECKING:
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
    drawn = draw(with_truth(proposals, objects), objects, model.config.training.proposals)
    losses |= _boxes(model, features, drawn, sizes, objects)
    if model.config.masks:
        losses["mask"] = _masks(model, features, drawn.positive(), targets, objects)
    return losses


def _proposals(
    model: MaskRCNN, features: Sequence[Tensor], images: Tensor, sizes: Tensor, objects: Objects
) -> tuple[dict[str, Tensor], list[Tensor]]:
    config, training = model.config, model.config.training
    anchored = model.anchored(features, images)
    with torch.autocast(images.device.type, enabled=False):
        logits, offsets = (torch.cat([level.float() for level in part], 1) for part in anchored[:2])
        anchors = torch.cat(anchored.anchors)
        drawn = draw([anchors] * len(images), objects, training.anchors)
        per_image = training.anchors.boxes if training.fixed_divisor else None
        objectness, boxes = proposal_losses(
            logits, offsets, drawn, objects, beta=training.beta, per_image=per_image
        )
    found = propose(*anchored, sizes, config.proposals.training_limits)
    return {"objectness": objectness, "proposal": boxes}, [own for own, _ in found]


def _boxes(
    model: MaskRCNN, features: Sequence[Tensor], drawn: Drawn, sizes: Tensor, objects: Objects
) -> dict[str, Tensor]:
    heads, training = model.config.heads, model.config.training
    stages = len(heads.box_weights)
    channels = torch.tensor(model.config.class_channels, device=sizes.device)
    # Each stage of a cascade would pull at the features as hard as a single one.
    features = [part / stages + part.detach() * (1 - 1 / stages) if stages > 1 else part for part in features]
    labels, boxes = [], []
    for stage, weights in enumerate(heads.box_weights):
        logits, offsets = model.box_outputs(features, Regions(drawn.boxes, drawn.images), stage)
        with torch.autocast(sizes.device.type, enabled=False):
            logits, offsets = logits.float(), offsets.float()
            background = 0 if heads.background == "first" else logits.shape[1] - 1
            wanted = winners(drawn, objects, channels, background)
            label, box = box_losses(
                logits, offsets, drawn, objects, wanted, weights=weights, beta=training.beta
            )
        labels.append(label)
        boxes.append(box)
        if stage + 1 < stages:
            refined = clip(decode(offsets.detach()[:, 0], drawn.boxes, weights), sizes[drawn.images])
            large = ((refined[:, 2:] - refined[:, :2]) > 0).all(1)
            threshold = training.cascade[stage]
            drawn = rematch(refined[large], drawn.images[large], objects, threshold)
    return {"class": torch.stack(labels).sum(), "box": torch.stack(boxes).sum()}


def _masks(
    model: MaskRCNN,
    features: Sequence[Tensor],
    positive: Drawn,
    targets: Sequence[Target],
    objects: Objects,
) -> Tensor:
    labels = objects.labels[positive.objects]
    logits = model.mask_logits(features, Regions(positive.boxes, positive.images), labels)
    with torch.autocast(logits.device.type, enabled=False):
        binary = model.config.training.binary_masks
        wanted = mask_targets(targets, positive, objects, side=logits.shape[-1], binary=binary)
        return mask_loss(logits.float(), wanted)
