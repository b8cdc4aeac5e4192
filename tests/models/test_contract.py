"""What every model family must do: one suite over the folder, on the tiny variant "test".

Families that take prompts have a suite of their own, test_contract_prompts.py.
"""

# ruff: noqa: E402  (torch is optional)

import copy

import numpy as np
import pytest
from synthetic import nuclei

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from delineate import models
from delineate.algebra import merge
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.models import Target
from delineate.postprocess.decode import Placement, Thresholds, instances

GOLDEN = {
    "yolo_seg": [1.442238, 0.884643, 1.850893, 0.524346],
    "fcn": [0.947550, 2.035527],
    "panoptic_fpn": [33.821796, 0.127782, 0.0, 0.593705, 31.409193, 1.792441, 1.853764, 1.678812],
    "mask_rcnn": [33.821796, 0.127782, 0.0, 0.593705, 31.409193, 1.792441, 1.853764],
}
"""Mean of |output| of the "test" variant with the weights and the picture of `fixed`."""

DECODED = {
    "yolo_seg": lambda model, outputs: model.decoded(outputs),
    "mask_rcnn": lambda model, outputs: outputs[:4],
    "fcn": lambda model, outputs: outputs[:1],
    "panoptic_fpn": lambda model, outputs: outputs[:4],
}
"""From a family's `Outputs` to what its `DECODE` reads."""


def _yolo_shapes(config, height, width):
    anchors = sum((height // stride) * (width // stride) for stride in config.strides)
    cells = height // config.prototype_stride, width // config.prototype_stride
    return {"logits": (anchors, config.classes), "prototypes": (config.prototypes, *cells)}


def _rcnn_shapes(config, height, width):
    strides = *config.strides, 2 * config.strides[-1]
    cells = sum(-(-height // stride) * -(-width // stride) for stride in strides)
    anchors, count = 3 * cells, config.heads.choice.detections
    return {
        "boxes": (count, 4),
        "scores": (count,),
        "labels": (count,),
        "masks": (count, 28, 28),
        "proposals": (config.proposals.limits.after, 4),
        "logits": (anchors,),
        "offsets": (anchors, 4),
    }


def _fcn_shapes(config, height, width):
    (stride,) = config.strides
    return {"logits": (config.classes + 1, -(-height // stride), -(-width // stride))}


def _panoptic_shapes(config, height, width):
    semantic = (1 + config.stuff, height // 4, width // 4)
    return {**_rcnn_shapes(config.detector, height, width), "semantic": semantic}


SHAPES = {
    "yolo_seg": _yolo_shapes,
    "mask_rcnn": _rcnn_shapes,
    "fcn": _fcn_shapes,
    "panoptic_fpn": _panoptic_shapes,
}
"""Shapes of a family's outputs for an input of (height, width), without the batch axis."""

ANY_SIZE = {"fcn"}
"""Families whose input may have sides of any length."""

SEMANTIC = {"fcn"}
"""Families that do not tell touching objects of one class apart."""

ONE_STAGE = {"yolo_seg", "fcn"}
"""Families whose losses need nothing but `Outputs`; the others sample regions and pool their features."""


@pytest.fixture(params=[name for name in models.families() if not models.takes_prompts(name)])
def family(request):
    return request.param


@pytest.fixture
def model(family):
    torch.manual_seed(0)
    return models.build(f"{family}-test")


@pytest.fixture
def trainable(model):
    if not hasattr(model, "losses"):
        pytest.skip("this family has no losses yet")
    return model


def batch(count=2, size=(64, 64), objects=5, classes=2):
    """Pictures and their targets; the label is the parity of the object's place."""
    drawn = [nuclei(seed, size, objects, radius=(4, 12)) for seed in range(count)]
    images = torch.stack([torch.from_numpy(image).permute(2, 0, 1) / 255 for image, _ in drawn])
    targets = [
        Target(torch.from_numpy(truth.boxes.copy()), torch.arange(len(truth)) % classes, truth.masks)
        for _, truth in drawn
    ]
    return images, targets


def nothing(size=(64, 64)):
    return Target(torch.zeros((0, 4)), torch.zeros(0, dtype=torch.int64), Masks.empty(size))


def fixed(model):
    """Weights and a picture that depend on no random generator."""
    with torch.no_grad():
        for number, value in enumerate(model.parameters()):
            if value.requires_grad:
                wave = torch.arange(value.numel(), dtype=torch.float64) * 1.7 + number
                value.copy_((wave.sin() * (2 / value[0].numel()) ** 0.5).view(value.shape))
    picture = (torch.arange(3 * 64 * 64, dtype=torch.float64) * 0.37).sin().view(1, 3, 64, 64) / 2 + 0.5
    return picture.float()


def decode(model, images, index, size):
    """Instances of one picture of a batch."""
    family = type(model).__module__.rpartition(".")[2]
    with torch.no_grad():
        outputs = DECODED[family](model, model(images))
    return instances(
        models.family(model).DECODE,
        [output[index].numpy() for output in outputs],
        placement=Placement(1.0, 1.0, 0, 0),
        size=size,
        input_size=size,
        thresholds=Thresholds(score=0.4),
        classes=model.config.classes,
    )


@pytest.mark.parametrize("family", models.families())
def test_every_variant_has_weights_or_is_ours(family):
    module = models.family(family)
    assert "test" in module.VARIANTS
    assert {weights.variant or name for name, weights in module.WEIGHTS.items()} <= set(module.VARIANTS)
    assert all(weights.licence and weights.url.startswith("https://") for weights in module.WEIGHTS.values())


@pytest.mark.parametrize("size", [(64, 64), (32, 96)])
def test_outputs_follow_the_input_size(model, family, size):
    outputs = model.eval()(torch.rand(2, 3, *size))
    for name, shape in SHAPES[family](model.config, *size).items():
        assert tuple(getattr(outputs, name).shape) == (2, *shape)
    assert all(output.shape[0] == 2 and output.isfinite().all() for output in outputs)


def test_a_size_that_does_not_fit_is_refused(model, family):
    if family in ANY_SIZE:
        model.eval()(torch.rand(1, 3, 61, 65))
        return
    with pytest.raises(ValueError, match="must have sides that are multiples of"):
        model(torch.rand(1, 3, 64, 65))


def test_outputs_are_the_same_type_in_both_modes(model):
    images = torch.rand(2, 3, 64, 64)
    assert type(model.train()(images)) is type(model.eval()(images))


def test_a_batch_equals_its_pictures(model):
    images = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        together = model.eval()(images)
        alone = [model(images[index : index + 1]) for index in range(3)]
    for number, output in enumerate(together):
        torch.testing.assert_close(
            output, torch.cat([single[number] for single in alone]), rtol=1e-4, atol=1e-5
        )


def test_losses_are_finite_and_reach_every_parameter(trainable):
    model = trainable
    images, targets = batch()
    losses = model.losses(images, targets)
    assert all(loss.ndim == 0 and loss.isfinite() and loss.dtype == torch.float32 for loss in losses.values())
    sum(losses.values()).backward()
    trained = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    assert [name for name, value in trained if value.grad is None or not value.grad.isfinite().all()] == []


def test_losses_without_objects_are_finite_and_reach_every_parameter(trainable):
    model = trainable
    losses = model.losses(torch.rand(2, 3, 64, 64), [nothing(), nothing()])
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    trained = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    assert [name for name, value in trained if value.grad is None or not value.grad.isfinite().all()] == []


def test_losses_of_outputs_equal_losses_of_images(model, family):
    if family not in ONE_STAGE:
        pytest.skip("the losses of a two-stage family take images")
    images, targets = batch()
    first = model.losses(images, targets)
    second = model.losses(model(images), targets)
    assert {name: float(value.detach()) for name, value in first.items()} == pytest.approx(
        {name: float(value.detach()) for name, value in second.items()}, rel=1e-4
    )


def test_losses_under_autocast_stay_float32(trainable):
    model = trainable
    images, targets = batch()
    with torch.autocast("cpu", torch.bfloat16):
        losses = model.losses(images, targets)
    exact = model.losses(images, targets)
    for name, loss in losses.items():
        assert loss.dtype == torch.float32
        assert float(loss.detach()) == pytest.approx(float(exact[name].detach()), rel=0.1)


def test_masks_are_optional(trainable):
    model = trainable
    images, targets = batch()
    losses = model.losses(images, [target._replace(masks=None) for target in targets])
    assert all(loss.isfinite() for loss in losses.values())
    mixed = model.losses(images, [targets[0], targets[1]._replace(masks=None)])
    assert mixed["mask"] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda target: target._replace(labels=target.labels + 7), r"labels must be in 0\.\.1, got 0\.\.8"),
        (
            lambda target: target._replace(boxes=target.boxes[:1]),
            r"boxes must have shape \(\d, 4\), got \(1, 4\)",
        ),
        (lambda target: target._replace(masks=target.masks[:1]), r"masks must be \d, one per label, got 1"),
        (
            lambda target: target._replace(masks=target.masks.resize((32, 32))),
            r"masks must be on the input canvas \(64, 64\), got \(32, 32\)",
        ),
    ],
)
def test_targets_that_do_not_fit_are_refused(trainable, change, message):
    model = trainable
    images, targets = batch()
    with pytest.raises(ValueError, match=message):
        model.losses(images, [targets[0], change(targets[1])])


def test_a_target_per_picture(trainable):
    model = trainable
    with pytest.raises(ValueError, match="targets must have 2 entries, one per picture, got 1"):
        model.losses(torch.rand(2, 3, 64, 64), [nothing()])


@pytest.mark.slow
def test_overfits_two_pictures(trainable, family):
    model = trainable
    images, targets = batch()
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=80)
    for _ in range(80):
        optimiser.zero_grad()
        sum(model.losses(images, targets).values()).backward()
        optimiser.step()
        schedule.step()
    for index, target in enumerate(targets):
        found = decode(model, images, index, (64, 64))
        assert isinstance(found, Instances)
        if family in SEMANTIC:
            pixels = merge(found.masks, found.labels, 2)
            truth = merge(target.masks, target.labels.numpy(), 2)
            assert np.diag(pixels.iou(truth)).min() > 0.8
            continue
        count = len(target.labels)
        overlap = found[:count].masks.iou(target.masks)  # a two-stage model is more hesitant about duplicates
        match = overlap.argmax(1)
        assert sorted(match) == list(range(count))
        assert overlap.max(1).min() > (0.8 if family in ONE_STAGE else 0.6)
        assert (found.labels[:count] == target.labels.numpy()[match]).all()


def test_state_dict_round_trip(model, family):
    other = models.build(f"{family}-test")
    other.load_state_dict(copy.deepcopy(model.state_dict()), strict=True)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        pairs = zip(model.eval()(images), other.eval()(images), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_fused_model_computes_the_same(model):
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = model.eval()(images)
        after = model.fuse()(images)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    assert model.fuse() is model  # twice is harmless


def test_output_is_pinned(model, family):
    picture = fixed(model)
    with torch.no_grad():
        means = [float(output.abs().double().mean()) for output in model.eval()(picture)]
    np.testing.assert_allclose(means, GOLDEN[family], rtol=1e-4)
