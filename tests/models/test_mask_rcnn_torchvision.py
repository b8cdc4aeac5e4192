"""The same weights give what torchvision gives: proposals, boxes, scores, labels and masks of real pictures.

Runs where torchvision is installed (it needs a build of its own for CPU-only torch, so CI has none). CI sees the
golden outputs of `make_mask_rcnn.py` instead.
"""

# ruff: noqa: E402  (torch is optional)

import dataclasses

import pytest

torch = pytest.importorskip("torch", reason="models need the extra [torch]")
detection = pytest.importorskip(
    "torchvision.models.detection", reason="the oracle is torchvision, which is not installed"
)

from torchvision.ops.misc import FrozenBatchNorm2d

from delineate import models
from delineate.models import mask_rcnn

TWINS = {
    "r50_fpn": "maskrcnn_resnet50_fpn",
    "r50_fpn_v2": "maskrcnn_resnet50_fpn_v2",
    "faster_r50_fpn": "fasterrcnn_resnet50_fpn",
    "faster_r50_fpn_v2": "fasterrcnn_resnet50_fpn_v2",
}


def spread(network, seed=0):
    """Weights whose outputs differ enough that no order hangs on rounding."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, FrozenBatchNorm2d | torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.1, 0.1)
                module.running_var.uniform_(0.8, 1.2)
                module.weight.uniform_(0.7, 1.0)
                module.bias.uniform_(-0.1, 0.1)
            elif isinstance(module, torch.nn.ReLU):
                module.inplace = False
        for name, value in network.named_parameters():
            factor = {"cls_score": 12.0, "rpn.head": 8.0, "mask_fcn_logits": 2.0}
            for part, times in factor.items():
                if part in name and name.endswith("weight"):
                    value.mul_(times)
    return network.eval()


def pair(variant, **limits):
    """Ours and theirs with the same weights, all 90 channels as classes, and no threshold on the score."""
    options = {"weights": None, "weights_backbone": None, "box_score_thresh": 0.0, **limits}
    theirs = getattr(detection, TWINS[variant])(**options)
    theirs = spread(theirs)
    config = mask_rcnn.VARIANTS[variant]
    heads = dataclasses.replace(config.heads, choice=config.heads.choice._replace(score=0.0))
    backbone = dataclasses.replace(config.backbone, norm="batch", eps=1e-5)
    ours = models.build(f"mask_rcnn-{variant}", classes=90, heads=heads, backbone=backbone)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours.eval(), theirs
