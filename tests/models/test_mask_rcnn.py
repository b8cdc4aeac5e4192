"""Faster R-CNN and Mask R-CNN: published sizes, conventions, and what the parts do."""

# ruff: noqa: E402  (torch is optional)

import dataclasses

import msgspec
import pytest

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from delineate import models
from delineate.models import mask_rcnn

PUBLISHED = {
    "r50_fpn": 44_401_393,
    "r50_fpn_v2": 46_359_409,
    "faster_r50_fpn": 41_755_286,
    "faster_r50_fpn_v2": 43_712_278,
    "r50_fpn_d2": 44_343_216,
    "x101_32x8d_fpn": 107_427_760,
}
"""Parameters, without the values of frozen normalisations."""


@pytest.mark.parametrize("variant", PUBLISHED)
def test_parameters_are_the_published_ones(variant):
    with torch.device("meta"):
        model = models.build(f"mask_rcnn-{variant}")
    assert sum(value.numel() for value in model.parameters()) == PUBLISHED[variant]


@pytest.mark.parametrize("variant", mask_rcnn.VARIANTS)
def test_a_configuration_survives_a_file(variant):
    config = mask_rcnn.VARIANTS[variant]
    text = msgspec.json.encode(dataclasses.asdict(config))
    assert mask_rcnn.Config(**msgspec.json.decode(text)) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 0}, r"classes must be in 1\.\.65536, got 0"),
        ({"backbone": {"stem": "wide"}}, "backbone must be a Backbone"),
        ({"proposals": mask_rcnn.Proposals(sizes=((8.0,),))}, "sizes must be 5, one per level, got 1"),
    ],
)
def test_configurations_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        mask_rcnn.Config(**changes)


def test_coco_ids_leave_gaps():
    published = mask_rcnn.Config(coco_ids=True)
    assert len(published.class_channels) == 80
    assert published.class_channels[:12] == (*range(1, 12), 13)
    assert published.class_channels[-1] == 90
    assert dataclasses.replace(published, classes=3).class_channels == (1, 2, 3)
    assert mask_rcnn.VARIANTS["r50_fpn_d2"].class_channels == tuple(range(80))


def test_padding_is_no_picture():
    torch.manual_seed(0)
    model = models.build("mask_rcnn-test").eval()
    images = torch.zeros(1, 3, 64, 96)
    images[..., :50, :70] = torch.rand(3, 50, 70)
    with torch.no_grad():
        outputs = model(images, torch.tensor([[50, 70]]))
    assert outputs.boxes[..., 2].max() <= 70
    assert outputs.boxes[..., 3].max() <= 50


def test_sizes_are_checked():
    model = models.build("mask_rcnn-test").eval()
    with pytest.raises(ValueError, match=r"sizes must have shape \(1, 2\), got \(2, 2\)"):
        model(torch.zeros(1, 3, 64, 64), torch.zeros(2, 2))


def test_without_masks_there_are_boxes():
    model = models.build("mask_rcnn-test", masks=False).eval()
    outputs = model(torch.rand(2, 3, 64, 64))
    assert outputs.masks.shape == (2, 20, 0, 0)
    assert not any("mask" in name for name in model.state_dict())
