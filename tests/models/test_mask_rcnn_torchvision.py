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

import msgspec
import numpy as np
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops.misc import FrozenBatchNorm2d

from delineate import models
from delineate.image import read_image
from delineate.masks import Masks
from delineate.models import mask_rcnn
from delineate.postprocess.decode import Placement, Thresholds, crops

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
        last = network.roi_heads.box_predictor.cls_score.weight
        last.sub_(last.mean(1, keepdim=True))  # what all regions have in common decides nothing
        for name, value in network.named_parameters():
            factor = {"cls_score": 10.0, "rpn.head.cls_logits": 3.0, "mask_fcn_logits": 2.0}
            for part, times in factor.items():
                if part in name and name.endswith("weight"):
                    value.mul_(times)
    return network.eval()


def pair(variant, **limits):
    """Ours and theirs with the same weights and no threshold on the score."""
    options = {"weights": None, "num_classes": 7, "weights_backbone": None, "box_score_thresh": 0.0, **limits}
    torch.manual_seed(0)
    theirs = spread(getattr(detection, TWINS[variant])(**options))
    config = mask_rcnn.VARIANTS[variant]
    heads = dataclasses.replace(config.heads, choice=config.heads.choice._replace(score=0.0))
    backbone = dataclasses.replace(config.backbone, norm="batch", eps=1e-5)
    ours = models.build(f"mask_rcnn-{variant}", classes=6, heads=heads, backbone=backbone)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours.eval(), theirs


def pictures(shared, count):
    files = sorted((shared / "data" / "coco128_seg").rglob("*.jpg"))[:count]
    return [read_image(path) for path in files]


@pytest.mark.parametrize("sides", [(800, 1333), (224, 300)])
def test_pictures_are_prepared_alike(shared, sides):
    given = msgspec.structs.replace(mask_rcnn.VARIANTS["r50_fpn"].preprocess, size=sides)
    transform = GeneralizedRCNNTransform(*sides, given.mean, given.std).eval()
    for image in [*pictures(shared, 6), np.arange(300, dtype=np.uint8).reshape(1, 100, 3)]:
        theirs, _ = transform([torch.from_numpy(image).permute(2, 0, 1) / 255])
        ours, _ = given.apply(image)
        assert given.place(image.shape[:2])[1] == theirs.image_sizes[0]
        # Their positions are float32: 1e-5 of a pixel, times a slope of at most 4.4 a pixel.
        torch.testing.assert_close(torch.from_numpy(ours), theirs.tensors, rtol=1e-4, atol=3e-4)


@torch.no_grad()
@pytest.mark.parametrize("variant", TWINS)
def test_batches_give_the_same(shared, variant):
    ours, theirs = pair(variant, min_size=128, max_size=176)
    images, _ = theirs.transform(
        [torch.from_numpy(image).permute(2, 0, 1) / 255 for image in pictures(shared, 3)]
    )
    assert len(set(images.image_sizes)) > 1
    proposals, _ = theirs.rpn(images, features := theirs.backbone(images.tensors))
    expected, _ = theirs.roi_heads(features, proposals, images.image_sizes)
    outputs = ours(images.tensors, torch.tensor(images.image_sizes))
    for index, (want, first) in enumerate(zip(expected, proposals, strict=True)):
        assert len(want["boxes"]) == 100
        paired(outputs.proposals[index][: len(first)], first)
        assert not outputs.proposals[index][len(first) :].any()
        rows = paired(
            torch.cat((outputs.boxes[index], outputs.labels[index][:, None] + 1), 1),
            torch.cat((want["boxes"], want["labels"][:, None]), 1),
        )
        close(outputs.scores[index][rows], want["scores"])
        if "masks" in want:
            close(outputs.masks[index][rows].sigmoid(), want["masks"][:, 0])


def paired(ours, theirs):
    """The row of ours that is each row of theirs; both have the same rows, and neighbours whose scores tie may swap."""
    rank = torch.arange(len(ours))
    apart = (theirs[:, None] - ours).abs().amax(2) > 1e-3  # of coordinates up to 176
    steps = (rank[:, None] - rank).abs()
    rows = (apart * len(ours) + steps).argmin(1)
    assert sorted(rows.tolist()) == rank.tolist()
    assert (rows - rank).abs().max() <= 2
    assert not apart[rank, rows].any()
    return rows


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_instances_are_the_same(shared):
    ours, theirs = pair("r50_fpn", min_size=128, max_size=176)
    given = msgspec.structs.replace(ours.config.preprocess, size=(128, 176))
    for image in pictures(shared, 3):
        want = theirs([torch.from_numpy(image).permute(2, 0, 1) / 255])[0]
        found = models.segment(ours, image, given, Thresholds(score=0.0))
        distance = torch.cdist(torch.tensor(found.boxes), want["boxes"], p=float("inf"))
        assert distance.min(1).values.max() < 1e-2
        assert len(found) > 50
        sides = want["boxes"][:, 2:] - want["boxes"][:, :2]
        large = (sides > 8).all(1).nonzero()[:, 0]
        mine = distance[:, large].argmin(0)
        assert (distance[mine, large] < 1e-2).all()  # smaller ones may have no pixel here or there
        close(torch.tensor(found.scores)[mine], want["scores"][large])
        overlap = found.masks.iou(Masks.from_dense((want["masks"][large, 0] >= 0.5).numpy()))
        pairs = overlap[mine, np.arange(len(large))]
        assert len(pairs) > 20
        assert pairs.mean() > 0.75  # of masks of noise, which are outline all over


def test_masks_are_pasted_within_two_pixels():
    torch.manual_seed(0)
    low = torch.rand(20, 2) * 150
    boxes = torch.cat((low, low + 10 + torch.rand(20, 2) * 100), 1)
    cells = torch.nn.functional.interpolate(torch.randn(20, 1, 7, 7), 28, mode="bicubic") * 4
    size = (240, 280)
    theirs = paste_masks_in_image(cells.sigmoid(), boxes, size)[:, 0] >= 0.5
    outputs = [boxes.numpy(), np.linspace(1, 0.5, 20), np.zeros(20), cells[:, 0].numpy()]
    ours = crops(outputs, placement=Placement(1.0, 1.0, 0, 0), size=size, thresholds=Thresholds(), classes=1)
    for mask, dense in zip(ours.masks.to_dense(), theirs.numpy(), strict=True):
        grown = torch.nn.functional.max_pool2d(torch.from_numpy(mask)[None, None].float(), 5, 1, 2)[0, 0] > 0
        shrunk = (
            torch.nn.functional.max_pool2d(1 - torch.from_numpy(mask)[None, None].float(), 5, 1, 2)[0, 0] == 0
        )
        assert not (dense & ~grown.numpy()).any()
        assert not (shrunk.numpy() & ~dense).any()
