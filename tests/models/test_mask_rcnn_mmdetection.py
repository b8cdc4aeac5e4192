"""The official Swin detectors, plain and cascade: what mmdetection said of small ones with the same weights.

Written by tests/golden/make_mmdetection.py, tensor names and losses included.
"""

# ruff: noqa: E402  (torch is optional)

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

GOLDEN = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))

import mmdetection_scene as scene

from delineate.masks import Masks
from delineate.models import Target, mask_rcnn
from delineate.nn.swin import SwinSize
from delineate.postprocess.decode import Placement, Thresholds, crops

VARIANTS = {"mask_rcnn": "swin_t", "cascade": "cascade_swin_t_giou"}


@pytest.fixture(params=scene.KINDS)
def kind(request):
    return request.param


@pytest.fixture
def golden(kind):
    return json.loads((GOLDEN / "mmdetection.json").read_text())[kind]


@pytest.fixture
def model(kind, golden):
    """The variant with few and narrow layers, filled through the names of mmdetection's files."""
    config, size = mask_rcnn.VARIANTS[VARIANTS[kind]], scene.SWIN
    small = SwinSize(size["embed_dims"], size["depths"], size["num_heads"], size["window_size"])
    choice = config.heads.choice._replace(score=0.0, detections=scene.DETECTIONS)
    training = dataclasses.replace(  # everything is drawn, so that nothing hangs on a random generator
        config.training,
        anchors=config.training.anchors._replace(boxes=100_000, share=1.0),
        proposals=config.training.proposals._replace(boxes=100_000, share=1.0),
    )
    parts = {
        "backbone": dataclasses.replace(config.backbone, swin=small, drop_path=0.0),
        "heads": dataclasses.replace(
            config.heads, box_hidden=scene.HIDDEN, mask_hidden=scene.CHANNELS, choice=choice
        ),
        "training": training,
    }
    model = mask_rcnn.build(
        dataclasses.replace(config, classes=scene.CLASSES, channels=scene.CHANNELS, **parts)
    )
    values = scene.fill({name: tuple(shape) for name, shape in golden["tensors"].items()})
    given = {name: torch.from_numpy(value) for name, value in values.items()}
    for name in [name for name in given if name.endswith("running_var")]:
        given[name.replace("running_var", "num_batches_tracked")] = torch.tensor(0)
    model.load_state_dict(mask_rcnn.official(model, given), strict=True)
    return model


def twins(found, want):
    """Which found box each wanted one is: where scores differ in their last bits, the order may differ."""
    order = (found[:, None] - torch.tensor(want)).abs().amax(2).argmin(0)
    assert (order - torch.arange(len(order))).abs().max() <= 1
    return order


@torch.no_grad()
def test_detections_are_mmdetections(model, golden):
    outputs = model.eval()(torch.from_numpy(scene.images()), torch.tensor(scene.SIZES))
    for index, want in enumerate(golden["pictures"]):
        assert int((outputs.proposals[index].abs().sum(1) > 0).sum()) == want["count"]
        proposals = outputs.proposals[index]
        order = twins(outputs.boxes[index], want["boxes"])
        assert sorted(order.tolist()) == list(range(scene.DETECTIONS))
        boxes, scores, labels, masks = (part[index][order] for part in outputs[:4])
        masks = masks.sigmoid()
        found = {
            "proposals": proposals[twins(proposals, want["proposals"])],
            "boxes": boxes,
            "scores": scores,
            "labels": labels,
            "masks": masks.mean((1, 2)),
            "spread": masks.std((1, 2)),
        }
        for name, value in found.items():
            np.testing.assert_allclose(value.numpy(), want[name], rtol=1e-4, atol=1e-4, err_msg=name)


@torch.no_grad()
def test_masks_have_mmdetections_pixels(model, golden):
    outputs = model.eval()(torch.from_numpy(scene.images()), torch.tensor(scene.SIZES))
    for index, want in enumerate(golden["pictures"]):
        found = crops(
            [part[index].numpy() for part in outputs[:4]],
            placement=Placement(1.0, 1.0, 0, 0),
            size=scene.SIZES[index],
            thresholds=Thresholds(score=0.0),
            classes=scene.CLASSES,
        )
        pixels = [count for count in want["pixels"] if count]  # ours leave out what has no pixel
        assert len(found) == len(pixels) > 20
        assert np.abs(np.sort(found.masks.areas) - np.sort(pixels)).max() <= 2


def test_losses_are_mmdetections(model, golden):
    targets = []
    for number, size in enumerate(scene.SIZES):
        boxes, labels = torch.tensor(scene.BOXES[number]).float(), torch.tensor(scene.LABELS[number])
        targets.append(Target(boxes, labels, Masks.from_dense(scene.masks(number)), size))
    losses = model.train().losses(torch.from_numpy(scene.images()), targets)
    found = {name: float(value.detach()) for name, value in losses.items()}
    assert found == pytest.approx(golden["losses"], rel=1e-4, abs=1e-5)
