"""Panoptic FPN: published sizes and names, the branch by its definition, and what becomes of its outputs."""

# ruff: noqa: E402  (torch is optional)

import dataclasses

import msgspec
import numpy as np
import pytest
from synthetic import nuclei

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from torch.nn import functional as F  # noqa: N812

from delineate import models
from delineate.export import export
from delineate.masks import Masks
from delineate.metrics.semantic import UNKNOWN
from delineate.models import Target, mask_rcnn, panoptic_fpn
from delineate.models._semantic import class_maps
from delineate.models.panoptic_fpn import segment_panoptic
from delineate.postprocess.decode import Placement, Thresholds, crops
from delineate.postprocess.panoptic import Rules, combine, panoptic
from delineate.postprocess.semantic import class_map
from delineate.predict import Predictor

NAMES = ("p2.0", "p3.0", "p4.0", "p4.2", "p5.0", "p5.2", "p5.4")
"""The branch's convolutions in detectron2's files; odd places are upsampling."""


@pytest.fixture
def model():
    torch.manual_seed(0)
    return models.build("panoptic_fpn-test").eval()


def test_parameters_are_the_published_ones():
    with torch.device("meta"):
        model = models.build("panoptic_fpn-r50")
    assert sum(value.numel() for value in model.parameters()) == 45_973_990
    # detectron2 counts 330 tensors; it and we hold the 53 frozen norms as four buffers each
    assert len(model.state_dict()) == 330
    branch = {name for name in model.state_dict() if name.startswith("sem_seg_head.")}
    want = {f"sem_seg_head.{name}.{end}" for name in NAMES for end in ("weight", "norm.weight", "norm.bias")}
    assert branch == want | {"sem_seg_head.predictor.weight", "sem_seg_head.predictor.bias"}


@pytest.mark.parametrize("variant", ["r50", "r101"])
def test_names_of_detectron2_are_understood(variant):
    with torch.device("meta"):
        model = models.build(f"panoptic_fpn-{variant}")
    theirs = {}
    for name, value in model.state_dict().items():
        name = name.removeprefix("detector.")
        for ours, new in (
            ("backbone.body.conv1.", "backbone.bottom_up.stem.conv1."),
            ("backbone.body.bn1.", "backbone.bottom_up.stem.conv1.norm."),
            (".downsample.0.", ".shortcut."),
            (".downsample.1.", ".shortcut.norm."),
            ("rpn.head.conv.0.0.", "proposal_generator.rpn_head.conv."),
            ("rpn.head.cls_logits.", "proposal_generator.rpn_head.objectness_logits."),
            ("rpn.head.bbox_pred.", "proposal_generator.rpn_head.anchor_deltas."),
            ("box_head.fc6.", "box_head.fc1."),
            ("box_head.fc7.", "box_head.fc2."),
            ("mask_predictor.conv5_mask.", "mask_head.deconv."),
            ("mask_predictor.mask_fcn_logits.", "mask_head.predictor."),
        ):
            name = name.replace(ours, new)
        for index in range(4):
            name = name.replace(f"backbone.body.layer{index + 1}.", f"backbone.bottom_up.res{index + 2}.")
            name = name.replace(f"fpn.inner_blocks.{index}.0.", f"fpn_lateral{index + 2}.")
            name = name.replace(f"fpn.layer_blocks.{index}.0.", f"fpn_output{index + 2}.")
            name = name.replace(f"mask_head.{index}.0.", f"mask_head.mask_fcn{index + 1}.")
            name = name.replace(f".bn{index}.", f".conv{index}.norm.")
        theirs[name] = value
    theirs["pixel_mean"] = torch.zeros(3)
    assert not any(name.startswith("detector.") for name in theirs)
    found = panoptic_fpn.official(model, theirs)
    assert {name: value.shape for name, value in found.items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }


def test_our_own_files_load(model, tmp_path):
    torch.save(model.state_dict(), tmp_path / "own.pth")
    other = models.build("panoptic_fpn-test", classes=3, stuff=2)
    (line,) = models.load_weights(other, tmp_path / "own.pth")
    assert "8 depend on the number of classes and start anew" in line


@pytest.mark.parametrize("variant", panoptic_fpn.VARIANTS)
def test_a_configuration_survives_a_file(variant):
    config = panoptic_fpn.VARIANTS[variant]
    text = msgspec.json.encode(dataclasses.asdict(config))
    assert panoptic_fpn.Config(**msgspec.json.decode(text)) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stuff": 0}, r"stuff must be in 1\.\.65536, got 0"),
        ({"hidden": 100}, "hidden must be a multiple of groups 32, got 100"),
        ({"detector": mask_rcnn.VARIANTS["r50_c4"]}, "pyramid from stride 4"),
        ({"detector": mask_rcnn.VARIANTS["spinenet_49"]}, "pyramid from stride 4"),
        ({"detector": mask_rcnn.VARIANTS["faster_r50_fpn"]}, "masks=False"),
        ({"rules": {"stuff_area": "large"}}, "rules must be Rules"),
        ({"detector": {"colour": 1}}, "detector must be a mask_rcnn.Config"),
    ],
)
def test_configurations_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        panoptic_fpn.Config(**changes)


def test_the_branch_by_its_definition(model):
    """Per level log2(stride / 4) times convolution, group norm, ReLU and twice the size; the sum is classified."""
    head, state = model.sem_seg_head, model.sem_seg_head.state_dict()
    features = [torch.randn(2, 16, 32 // 2**level, 48 // 2**level) for level in range(5)]
    total = 0
    for level, feature in enumerate(features[:4]):
        x = feature
        for step in range(max(1, level)):
            name = f"p{level + 2}.{2 * step}"
            x = F.conv2d(x, state[f"{name}.weight"], padding=1)
            x = F.relu(F.group_norm(x, 4, state[f"{name}.norm.weight"], state[f"{name}.norm.bias"]))
            if level:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        total = total + x
    want = F.conv2d(total, state["predictor.weight"], state["predictor.bias"])
    with torch.no_grad():
        torch.testing.assert_close(head(features), want, rtol=1e-4, atol=1e-5)


def test_the_detector_is_mask_rcnn(model):
    """With the same weights the same detections, bit for bit."""
    alone = mask_rcnn.build(model.config.detector).eval()
    alone.load_state_dict(model.detector.state_dict(), strict=True)
    images, sizes = torch.rand(2, 3, 64, 96), torch.tensor([[64, 96], [50, 70]])
    with torch.no_grad():
        found, want = model(images, sizes), alone(images, sizes)
    assert all(torch.equal(a, b) for a, b in zip(found[:7], want, strict=True))


def test_the_panoptic_picture_is_that_of_its_halves(model):
    image = nuclei(3, (50, 70), 4, radius=(4, 9))[0]
    given, thresholds, rules = model.config.preprocess, Thresholds(score=0.0), Rules(score=0.1, stuff_area=3)
    found = segment_panoptic(model, image, given, thresholds, rules)
    tensor, placement = given.apply(image)
    with torch.no_grad():
        outputs = [part.numpy() for part in model.export(torch.from_numpy(tensor), torch.tensor([[50, 70]]))]
    shared = {"placement": placement, "size": (50, 70)}
    things = crops(outputs[:4], **shared, thresholds=thresholds, classes=2)
    semantic = class_map(outputs[4], **shared, input_size=tensor.shape[2:])
    assert found == combine(things, semantic, [-1, 2, 3, 4], rules)
    assert found.labels[~found.things].min(initial=2) >= 2
    assert models.segment(model, image, given, thresholds) == things


def test_outputs_that_do_not_fit_are_refused():
    nothing = [np.zeros((0, 4)), np.zeros(0), np.zeros(0), np.zeros((0, 28, 28))]
    shared = {"placement": Placement(1.0, 1.0, 0, 0), "size": (8, 8), "input_size": (8, 8)}
    with pytest.raises(ValueError, match="and logits of stuff, got"):
        panoptic(nothing, **shared, thresholds=Thresholds(), classes=2)
    stuff = np.zeros((1, 2, 4, 4), np.float32)
    stuff[:, 1] = 1
    found = panoptic(
        [*nothing, stuff], **shared, thresholds=Thresholds(), classes=2, rules=Rules(stuff_area=64)
    )
    assert found.labels.tolist() == [2]
    assert found.areas.tolist() == [64]


def test_masks_alone_teach_where_things_are():
    masks = Masks.from_dense(np.array([[[1, 1, 0, 0]]], bool))
    target = Target(torch.from_numpy(masks.boxes.copy()), torch.tensor([1]), masks, size=(1, 3))
    found = class_maps([target, target._replace(masks=None)], (1, 4), 4, torch.device("cpu"), merged=True)
    assert found.tolist() == [[[0, 0, UNKNOWN, UNKNOWN]], [[UNKNOWN] * 4]]


def test_stuff_is_learned(model):
    """A few steps on one picture whose halves are two kinds of stuff."""
    torch.manual_seed(0)
    model.train()
    truth = torch.ones(64, 64, dtype=torch.int64)
    truth[:, 32:] = 3
    image = torch.rand(1, 3, 64, 64) * 0.1
    image[..., 32:] += 0.8
    target = Target(
        torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), Masks.empty((64, 64)), semantic=truth
    )
    optimiser = torch.optim.AdamW(model.sem_seg_head.parameters(), lr=1e-2)
    for _ in range(12):
        optimiser.zero_grad()
        loss = model.losses(image, [target])["semantic"]
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.1
    with torch.no_grad():
        cells = model(image).semantic[0].argmax(0)
    assert (cells == truth[::4, ::4]).float().mean() > 0.9


@pytest.mark.slow
def test_the_exported_file_agrees(model, tmp_path):
    pytest.importorskip("onnx", reason="export needs the extra [torch]")
    image = nuclei(3, (50, 70), 4, radius=(4, 9))[0]
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("cls_score.weight"):
                value.sub_(value.mean(1, keepdim=True)).mul_(20)
    thresholds, rules = Thresholds(score=0.05, max_detections=20), Rules(score=0.1, stuff_area=3)
    parity = export(
        model,
        tmp_path / "panoptic.onnx",
        preprocess=model.config.preprocess,
        classes=["a", "b"],
        thresholds=thresholds,
        licence="Apache-2.0",
        provenance={},
        samples=[image],
    )
    assert parity.self_test < 1e-4
    assert parity.unmatched == 0
    predictor = Predictor(tmp_path / "panoptic.onnx")
    found = predictor.panoptic(image, rules)
    want = segment_panoptic(model, image, model.config.preprocess, thresholds, rules)
    assert (found.map == want.map).mean() > 0.99
    assert found.labels.tolist() == want.labels.tolist()
    np.testing.assert_allclose(found.scores, want.scores, atol=1e-3)
    assert len(predictor.predict(image)) == parity.instances
