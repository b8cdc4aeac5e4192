"""FCN: published sizes, torchvision's outputs and losses, and what pixels teach."""

# ruff: noqa: E402  (torch is optional)

import dataclasses

import msgspec
import numpy as np
import pytest
from synthetic import nuclei

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from delineate import models
from delineate.errors import WeightsError
from delineate.export import export
from delineate.masks import Masks
from delineate.metrics.semantic import UNKNOWN
from delineate.models import Target, fcn
from delineate.models._semantic import class_maps, pixel_loss
from delineate.postprocess.decode import Placement, Thresholds
from delineate.postprocess.panoptic import Rules, combine
from delineate.postprocess.semantic import class_map
from delineate.predict import Predictor

PUBLISHED = {"r50": 35_322_218, "r101": 54_314_346}
TWINS = {"r50": "fcn_resnet50", "r101": "fcn_resnet101"}


@pytest.mark.parametrize("variant", PUBLISHED)
def test_parameters_are_the_published_ones(variant):
    with torch.device("meta"):
        model = models.build(f"fcn-{variant}")
    assert sum(value.numel() for value in model.parameters()) == PUBLISHED[variant]
    heads = {name for name in model.state_dict() if not name.startswith("backbone.")}
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    want = {f"{head}.1.{end}" for head in ("classifier", "aux_classifier") for end in norm}
    want |= {
        f"{head}.{end}"
        for head in ("classifier", "aux_classifier")
        for end in ("0.weight", "4.weight", "4.bias")
    }
    assert heads == want


@pytest.mark.parametrize("variant", fcn.VARIANTS)
def test_a_configuration_survives_a_file(variant):
    config = fcn.VARIANTS[variant]
    assert fcn.Config(**msgspec.json.decode(msgspec.json.encode(dataclasses.asdict(config)))) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 0}, r"classes must be in 1\.\.65535, got 0"),
        ({"blocks": (1, 1, 1)}, "blocks must be four counts"),
        ({"dilated": 4}, r"dilated must be in 0\.\.3, got 4"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ({"preprocess": {"rule": "none"}}, "preprocess must be a Preprocess"),
    ],
)
def test_configurations_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        fcn.Config(**changes)


def test_without_the_auxiliary_head():
    model = models.build("fcn-test", auxiliary=False)
    assert model(torch.zeros(1, 3, 32, 32)).auxiliary.shape == (1, 3, 0, 0)
    target = Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), None)
    assert list(model.losses(torch.zeros(1, 3, 32, 32), [target])) == ["mask"]


def drawn(masks, labels, **more):
    """A target of masks drawn as rows of 0 and 1."""
    found = Masks.from_dense(np.array(masks, bool))
    return Target(torch.from_numpy(found.boxes.copy()), torch.tensor(labels), found, **more)


def test_pixels_of_masks():
    """The later mask covers the earlier one; the padding is unknown."""
    target = drawn([[[1, 1, 0], [0, 0, 0]], [[0, 1, 0], [0, 1, 0]]], [1, 0], size=(2, 2))
    found = class_maps([target], (2, 3), 3, torch.device("cpu"))
    assert found.tolist() == [[[2, 1, UNKNOWN], [0, 1, UNKNOWN]]]


def test_pixels_that_somebody_named_win():
    given = torch.tensor([[0, 2, UNKNOWN]])
    target = drawn([[[1, 1, 1]]], [0], semantic=given)
    assert torch.equal(class_maps([target], (1, 3), 3, torch.device("cpu"))[0], given)
    with pytest.raises(ValueError, match=r"semantic must be in -1\.\.1, got -1\.\.2"):
        class_maps([target], (1, 3), 2, torch.device("cpu"))
    with pytest.raises(ValueError, match=r"input's size \(2, 3\), got torch.int64 \(1, 3\)"):
        class_maps([target], (2, 3), 3, torch.device("cpu"))


def test_boxes_teach_what_is_outside_of_them():
    target = Target(torch.tensor([[0.5, -2.0, 2.5, 1.0]]), torch.tensor([0]), None)
    assert class_maps([target], (2, 4), 2, torch.device("cpu")).tolist() == [[[-1, -1, -1, 0], [0, 0, 0, 0]]]


def test_unknown_pixels_have_no_loss():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    maps = torch.full((1, 4, 4), UNKNOWN)
    assert float(pixel_loss(logits, maps).detach()) == 0
    maps[0, 1, 2] = 2
    loss = pixel_loss(logits, maps)
    loss.backward()
    torch.testing.assert_close(loss, -logits.log_softmax(1)[0, 2, 1, 2])
    assert (logits.grad != 0).sum() == 3


def test_a_class_map_becomes_a_panoptic_picture_of_stuff():
    torch.manual_seed(0)
    model = models.build("fcn-test").eval()
    with torch.no_grad():
        (logits,) = model.export(torch.rand(1, 3, 40, 56))
    found = class_map(logits.numpy(), placement=Placement(1.0, 1.0, 0, 0), input_size=(40, 56), size=(40, 56))
    nothing = models.segment(model, np.zeros((40, 56, 3), np.uint8), model.config.preprocess, thresholds(1.0))
    picture = combine(nothing, found, stuff=[-1, 0, 1], rules=Rules(stuff_area=0))
    assert not picture.things.any()
    assert ((picture.map > 0) == (found.classes > 0)).all()


def thresholds(score):
    return Thresholds(score=score)


def shaken(variant):
    """torchvision's model and ours with the same random weights and statistics."""
    module = pytest.importorskip("torchvision.models.segmentation", reason="the oracle is torchvision")
    torch.manual_seed(0)
    theirs = getattr(module, TWINS[variant])(weights=None, weights_backbone=None, aux_loss=True).eval()
    for part in theirs.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.uniform_(-0.2, 0.2)
            part.running_var.uniform_(0.5, 2)
    ours = models.build(f"fcn-{variant}").eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


@torch.no_grad()
@pytest.mark.parametrize("variant", TWINS)
@pytest.mark.parametrize("size", [(128, 160), (131, 97)])
def test_torchvision_computes_the_same(variant, size):
    ours, theirs = shaken(variant)
    images = torch.rand(2, 3, *size)
    want, found = theirs(images), ours(images)
    for name, logits in (("out", found.logits), ("aux", found.auxiliary)):
        wide = torch.nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        assert float((wide - want[name]).abs().max()) <= 1e-4 * float(want[name].abs().max())
    mapped = class_map(
        found.logits[:1].numpy(), placement=Placement(1.0, 1.0, 0, 0), input_size=size, size=size
    )
    assert (mapped.classes == want["out"][0].argmax(0).numpy()).mean() > 0.999


def test_losses_are_those_of_torchvisions_recipe():
    ours, theirs = shaken("r50")
    images, maps = torch.rand(1, 3, 64, 64), torch.randint(-1, 21, (1, 64, 64))
    nothing = Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), None, semantic=maps[0])
    with torch.no_grad():
        want, found = theirs(images), ours.losses(images, [nothing])
    for name, part, weight in (("mask", "out", 1), ("auxiliary", "aux", 0.5)):
        loss = torch.nn.functional.cross_entropy(want[part], maps, ignore_index=UNKNOWN)
        torch.testing.assert_close(found[name], weight * loss, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_exported_file_agrees(tmp_path):
    pytest.importorskip("onnx", reason="export needs the extra [torch]")
    torch.manual_seed(0)
    model = models.build("fcn-test").eval()
    torch.nn.init.normal_(model.classifier[4].weight, std=2)
    image = nuclei(2, (61, 83), 6)[0]
    given = model.config.preprocess
    parity = export(
        model,
        tmp_path / "fcn.onnx",
        preprocess=msgspec.structs.replace(given, multiple=1),
        classes=["a", "b"],
        thresholds=thresholds(0.0),
        licence="Apache-2.0",
        provenance={},
        samples=[image],
    )
    assert parity.self_test < 1e-5
    assert parity.instances > 0
    assert parity.unmatched == 0
    assert parity.mask_iou_min > 0.99
    predictor = Predictor(tmp_path / "fcn.onnx")
    assert predictor.decode == "semantic"
    assert len(predictor.predict(image)) == parity.instances
    with pytest.raises(WeightsError, match="must be a panoptic model, got one that gives semantic"):
        predictor.panoptic(image)
