"""Which weights move: frozen layers, fixed norms, rates by depth, decay, schedules."""

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra [torch]")

from torch import nn  # noqa: E402

from delineate import models  # noqa: E402
from delineate.errors import DelineateError  # noqa: E402
from delineate.train.config import ModelChoice, Optimiser  # noqa: E402
from delineate.train.optim import learning_rate, make_optimiser, prepare, set_rate, train_mode  # noqa: E402


def frozen(model):
    return {name.split(".")[2] for name, value in model.named_parameters() if not value.requires_grad}


@pytest.mark.parametrize(
    ("freeze", "names"),
    [(0, set()), (1, {"conv1", "bn1"}), (2, {"conv1", "bn1", "layer1"}), (None, set())],
)
def test_layers_are_frozen_from_below(freeze, names):
    model = models.build("mask_rcnn-test")
    prepare(model, ModelChoice(freeze=freeze))
    assert frozen(model) == names


def test_a_variants_own_freezing_can_be_lifted():
    with torch.device("meta"):
        model = models.build("mask_rcnn-r50_fpn")
    prepare(model, ModelChoice())
    assert frozen(model) == {"conv1", "layer1"}
    prepare(model, ModelChoice(freeze=0))
    assert frozen(model) == set()


def test_a_family_without_layers_says_so(monkeypatch):
    monkeypatch.delattr(models.family("yolo_seg"), "layer_of")
    with pytest.raises(DelineateError, match=r"model\.freeze: the family yolo_seg has no layers to count"):
        prepare(models.build("yolo_seg-test"), ModelChoice(freeze=1))
    with pytest.raises(DelineateError, match=r"optimiser\.layer_decay: the family yolo_seg"):
        make_optimiser(models.build("yolo_seg-test"), Optimiser(layer_decay=0.9))


@pytest.mark.parametrize("family", ["sam", "sam2", "mobile_sam", "efficient_sam"])
def test_encoders_of_promptable_models_have_layers(family):
    """Every parameter of the encoder but those of its neck has a layer, and nothing else has one."""
    with torch.device("meta"):
        model = models.build(f"{family}-test")
    layers = {name: models.family(family).layer_of(name) for name, _ in model.named_parameters()}
    for name, layer in layers.items():
        inside = name.startswith("image_encoder.") and not name.startswith("image_encoder.neck.")
        assert (layer is not None) == inside, name
    groups = make_optimiser(model, Optimiser(rate=1.0, layer_decay=0.5)).param_groups
    depth = len({layer for layer in layers.values() if layer is not None})
    assert {group["share"] for group in groups} == {0.5**below for below in range(depth + 1)}


def test_the_backbone_of_fcn_has_layers():
    model = models.build("fcn-test")
    prepare(model, ModelChoice(freeze=2))
    still = {name.split(".")[1] for name, value in model.named_parameters() if not value.requires_grad}
    assert still == {"conv1", "bn1", "layer1"}
    groups = make_optimiser(model, Optimiser(rate=1.0, layer_decay=0.5)).param_groups
    assert {group["share"] for group in groups} == {1.0, 0.5, 0.25, 0.125}


def test_fixed_norms_do_not_move():
    torch.manual_seed(0)
    model = models.build("mask_rcnn-test")
    choice = ModelChoice(norms="fixed")
    prepare(model, choice)
    train_mode(model, choice)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    before = [value.clone() for norm in norms for value in norm.state_dict().values()]
    model.features(torch.rand(2, 3, 64, 64))[0].sum().backward()
    assert all(value.grad is None for norm in norms for value in norm.parameters())
    assert all(map(torch.equal, before, [v for norm in norms for v in norm.state_dict().values()]))
    train_mode(model, ModelChoice())
    model.features(torch.rand(2, 3, 64, 64))
    assert not torch.equal(before[2], norms[0].running_mean)


def groups_of(model, optimiser):
    names = {id(value): name for name, value in model.named_parameters()}
    return {names[id(p)]: group for group in optimiser.param_groups for p in group["params"]}


def test_every_weight_that_learns_is_in_one_group():
    model = models.build("yolo_seg-test")
    prepare(model, ModelChoice(freeze=2))
    optimiser = make_optimiser(model, Optimiser(layer_decay=0.5))
    listed = [id(p) for group in optimiser.param_groups for p in group["params"]]
    learns = [id(p) for p in model.parameters() if p.requires_grad]
    assert len(set(listed)) == len(listed)
    assert set(listed) == set(learns) < {id(p) for p in model.parameters()}


def test_rates_fall_towards_the_stem():
    model = models.build("mask_rcnn-test")
    optimiser = make_optimiser(model, Optimiser(rate=1.0, layer_decay=0.5))
    groups = groups_of(model, optimiser)
    shares = {name.split(".")[2]: group["share"] for name, group in groups.items() if ".body." in name}
    assert {name: shares[name] for name in ("layer4", "layer3", "layer2", "layer1", "conv1")} == {
        "layer4": 0.5,
        "layer3": 0.25,
        "layer2": 0.125,
        "layer1": 0.0625,
        "conv1": 0.03125,
    }
    assert groups["rpn.head.cls_logits.weight"]["share"] == 1
    set_rate(optimiser, 0.1)
    assert groups["backbone.body.layer4.0.conv1.weight"]["lr"] == pytest.approx(0.05)


def test_biases_norms_and_tables_of_positions_do_not_decay():
    class Tables(nn.Module):
        def __init__(self):
            super().__init__()
            self.relative_position_bias_table = nn.Parameter(torch.zeros(9, 2))
            self.full = nn.Linear(3, 3)
            self.norm = nn.LayerNorm(3)

    model = Tables()
    decays = {
        name: g["weight_decay"] for name, g in groups_of(model, make_optimiser(model, Optimiser())).items()
    }
    assert {name for name, decay in decays.items() if decay} == {"full.weight"}
    optimiser = make_optimiser(model, Optimiser(decay_all=True, kind="sgd", nesterov=False))
    assert all(group["weight_decay"] for group in groups_of(model, optimiser).values())
    assert not any(group["nesterov"] for group in optimiser.param_groups)


def test_rates_fall_in_steps():
    settings = Optimiser(rate=0.02, steps=(16.0, 22.0), warmup=0.5)
    rates = [learning_rate(settings, epoch, 26) for epoch in (0.0, 0.25, 1.0, 15.9, 16.0, 22.0, 25.9)]
    assert rates == pytest.approx([4e-5, 0.01004, 0.02, 0.02, 0.002, 0.0002, 0.0002])
