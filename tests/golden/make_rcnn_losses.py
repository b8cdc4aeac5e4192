"""Writes rcnn_losses.json: what torchvision (BSD-3-Clause) makes of the scene of `rcnn_scene`.

Everything is drawn (512 boxes and more are allowed, all of them may be positive), so that nothing is random.
Run once where torch and torchvision are installed: python make_rcnn_losses.py
"""

import json
from pathlib import Path

import numpy as np
import rcnn_scene as scene
import torch
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss, maskrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork


def targets():
    """What torchvision takes: classes count from 1."""
    return [
        {
            "boxes": torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
            "labels": torch.tensor(labels, dtype=torch.int64) + 1,
            "masks": torch.from_numpy(scene.masks(picture)),
        }
        for picture, (boxes, labels) in enumerate(zip(scene.OBJECTS, scene.LABELS, strict=True))
    ]


def proposal_losses():
    """Objectness and box loss of the region proposal network."""
    limits = {"training": 1, "testing": 1}
    network = RegionProposalNetwork(None, None, 0.7, 0.3, 1 << 20, 1.0, limits, limits, 0.7)
    anchors = [torch.from_numpy(scene.anchors())] * 3
    labels, matched = network.assign_targets_to_anchors(anchors, targets())
    count = len(anchors[0])
    logits = torch.from_numpy(scene.wave(3 * count, 1, seed=1.0, scale=3))
    offsets = torch.from_numpy(scene.wave(3 * count, 4, seed=2.0, scale=0.5))
    losses = network.compute_loss(logits, offsets, labels, network.box_coder.encode(matched, anchors))
    return [float(loss) for loss in losses]


def head_losses():
    """Class and box loss, mask loss, and how many boxes are positive."""
    heads = RoIHeads(None, None, None, 0.5, 0.5, 1 << 20, 1.0, None, 0.05, 0.5, 100)
    heads.has_mask = lambda: True
    given = [torch.from_numpy(scene.proposals(picture)) for picture in range(3)]
    boxes, owners, labels, wanted = heads.select_training_samples(given, targets())
    count, columns = sum(map(len, boxes)), scene.CLASSES + 1
    logits = torch.from_numpy(scene.wave(count, columns, seed=3.0, scale=3))
    offsets = torch.from_numpy(scene.wave(count, 4 * columns, seed=4.0, scale=2))
    losses = fastrcnn_loss(logits, offsets, labels, wanted)
    positive = [(label > 0).nonzero()[:, 0] for label in labels]
    chosen = [own[rows] for own, rows in zip(owners, positive, strict=True)]
    shown = [own[rows] for own, rows in zip(boxes, positive, strict=True)]
    objects = sum(map(len, chosen))
    masks = torch.from_numpy(scene.wave(objects, columns, 28, 28, seed=5.0, scale=4))
    bitmaps, classes = ([target[name] for target in targets()] for name in ("masks", "labels"))
    return [*map(float, losses), float(maskrcnn_loss(masks, shown, bitmaps, classes, chosen)), count, objects]


if __name__ == "__main__":
    names = ("objectness", "rpn_box", "classes", "box", "mask", "drawn", "positive")
    values = dict(zip(names, [*proposal_losses(), *head_losses()], strict=True))
    assert all(np.isfinite(value) for value in values.values())
    path = Path(__file__).with_name("rcnn_losses.json")
    path.write_text(json.dumps({"source": "torchvision", **values}, indent=1) + "\n", "utf-8")
