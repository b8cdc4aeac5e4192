"""Writes mask_rcnn.json: what torchvision (BSD-3-Clause) finds in the batch of `mask_rcnn_scene`.

Run once where torch and torchvision are installed: python make_mask_rcnn.py
"""

import json
from pathlib import Path

import mask_rcnn_scene as scene
import torch
from torch.nn import BatchNorm2d
from torchvision.models import detection
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.resnet import Bottleneck, ResNet


def network(kind):
    """A Mask R-CNN with one block per stage and small heads, by torchvision's recipe of that kind."""
    second = kind == "v2"
    norm = BatchNorm2d if second else None
    body = ResNet(Bottleneck, [1, 1, 1, 1], norm_layer=BatchNorm2d)
    shape, count = (256, 7, 7), scene.CLASSES + 1
    heads = {
        "rpn_head": RPNHead(256, 3, conv_depth=2 if second else 1),
        "box_head": FastRCNNConvFCHead(shape, [256] * 2, [scene.HIDDEN], norm)
        if second
        else TwoMLPHead(256 * 49, scene.HIDDEN),
        "box_predictor": FastRCNNPredictor(scene.HIDDEN, count),
        "mask_head": MaskRCNNHeads(256, [256] * 2, 1, norm),
        "mask_predictor": MaskRCNNPredictor(256, 256, count),
    }
    limits = {"box_score_thresh": 0.0, "box_detections_per_img": scene.DETECTIONS}
    model = detection.MaskRCNN(_resnet_fpn_extractor(body, 5, norm_layer=norm), **heads, **limits).eval()
    state = model.state_dict()
    values = scene.fill({name: tuple(value.shape) for name, value in state.items()})
    model.load_state_dict({**state, **{name: torch.from_numpy(value) for name, value in values.items()}})
    return model


@torch.no_grad()
def main():
    """Boxes, scores, labels and the mean of every mask's probabilities, picture by picture."""
    found = {}
    for kind in scene.KINDS:
        model = network(kind)
        images = ImageList(torch.from_numpy(scene.images()), scene.SIZES)
        proposals, _ = model.rpn(images, features := model.backbone(images.tensors))
        detections, _ = model.roi_heads(features, proposals, images.image_sizes)
        found[kind] = [
            {
                "proposals": boxes[:5].tolist(),
                "count": len(boxes),
                "boxes": part["boxes"].tolist(),
                "scores": part["scores"].tolist(),
                "labels": (part["labels"] - 1).tolist(),
                "masks": part["masks"].mean((1, 2, 3)).tolist(),
                "spread": part["masks"].std((1, 2, 3)).tolist(),
            }
            for part, boxes in zip(detections, proposals, strict=True)
        ]
    Path(__file__).with_name("mask_rcnn.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
