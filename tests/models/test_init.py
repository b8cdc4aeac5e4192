"""The registry of model families, and loading weights into them."""

# ruff: noqa: E402  (torch is optional)

import dataclasses

import pytest

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

import msgspec
from safetensors.torch import save_file

from delineate import models
from delineate.errors import WeightsError
from delineate.masks import Masks
from delineate.models import Target


def written(path, network, prefix="", **header):
    """A checkpoint as training runs write them."""
    tensors = {prefix + name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(tensors, path, metadata={"delineate": msgspec.json.encode(header).decode()})
    return path


def test_names_are_families_and_variants():
    assert "yolo_seg-11n" in models.names()
    assert models.names() == sorted(models.names())
    assert not any(name.startswith("_") for name in models.families())


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("yolo_seg-11m2", "Did you mean 'yolo_seg-11m'"),
        ("os", "name must be one of"),
        ("_assign-x", "name must be"),
    ],
)
def test_unknown_names_are_refused(name, hint):
    with pytest.raises(ValueError, match=hint):
        models.build(name)


def test_unknown_options_are_refused():
    with pytest.raises(ValueError, match="Did you mean 'classes'"):
        models.build("yolo_seg-test", clases=3)


def test_unknown_family_is_refused():
    with pytest.raises(ValueError, match="family must be one of"):
        models.family("yolo")


def test_family_of_a_model():
    model = models.build("yolo_seg-test", classes=5)
    assert models.family(model) is models.family("yolo_seg")
    assert models.largest_stride(model) == 16
    assert model.head.cv3[0][2].out_channels == 5


def test_target_moves_with_its_masks():
    target = Target(torch.zeros(1, 4), torch.zeros(1, dtype=torch.int64), Masks.empty((4, 4)))
    moved = models.to_device(target, torch.device("meta"))
    assert moved.boxes.device.type == moved.labels.device.type == "meta"
    assert moved.masks is target.masks


@pytest.mark.parametrize("prefix", ["", "ema/", "model/"])
def test_load_gives_the_same_model(tmp_path, prefix):
    model = models.build("yolo_seg-test", classes=3)
    path = written(tmp_path / "a.safetensors", model, prefix, model="yolo_seg-test", classes=["a", "b", "c"])
    loaded = models.load(path)
    assert (loaded.name, loaded.classes) == ("yolo_seg-test", ("a", "b", "c"))
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded.model(images).logits, model.eval()(images).logits)
    assert [p.requires_grad for p in loaded.model.parameters()] == [
        p.requires_grad for p in model.parameters()
    ]


def test_load_keeps_a_changed_architecture(tmp_path):
    model = models.build("yolo_seg-test", classes=1, prototypes=4)
    path = written(
        tmp_path / "a.safetensors",
        model,
        model="yolo_seg-test",
        classes=["a"],
        architecture=dataclasses.asdict(model.config),
    )
    assert models.load(path).model.config == model.config


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"model": "os-system", "classes": ["a"]}, "header must name a model"),
        (
            {"model": "yolo_seg-test", "classes": ["a"], "architecture": {"width": "wide"}},
            "header must name a model",
        ),
        (
            {"model": "yolo_seg-test", "classes": ["a"], "architecture": {"hack": 1}},
            "header must name a model",
        ),
        ({"model": "yolo_seg-test", "classes": ["a"], "architecture": [1]}, "header must name a model"),
        ({"model": "yolo_seg-test", "classes": ["a", "b", "c"]}, "names or shapes differ"),
        ({"model": "yolo_seg-test", "classes": 7}, "must be a checkpoint"),
        ({}, "must name its classes"),
    ],
)
def test_load_refuses_what_does_not_fit(tmp_path, header, message):
    path = written(tmp_path / "a.safetensors", models.build("yolo_seg-test", classes=1), **header)
    with pytest.raises(WeightsError, match=message):
        models.load(path)


def test_load_weights_fits_silently(tmp_path):
    source, model = models.build("yolo_seg-test"), models.build("yolo_seg-test")
    assert models.load_weights(model, written(tmp_path / "a.safetensors", source)) == []
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), model.parameters(), strict=True))


def test_load_weights_with_another_number_of_classes(tmp_path):
    source, model = models.build("yolo_seg-test", classes=7), models.build("yolo_seg-test", classes=2)
    fresh = model.head.cv3[0][2].weight.clone()
    report = models.load_weights(model, written(tmp_path / "a.safetensors", source))
    assert len(report) == 1
    assert "6 depend on the number of classes" in report[0]
    assert torch.equal(model.head.cv3[0][2].weight, fresh)
    assert torch.equal(model.head.cv2[0][2].weight, source.head.cv2[0][2].weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prototypes": 4}, r"must have shape"),
        ({"generation": 8}, r"missing \(such as model\..* unknown"),
    ],
)
def test_load_weights_of_another_architecture_changes_nothing(tmp_path, options, message):
    source, model = models.build("yolo_seg-test", **options), models.build("yolo_seg-test")
    before = [value.clone() for value in model.parameters()]
    with pytest.raises(WeightsError, match=message):
        models.load_weights(model, written(tmp_path / "a.safetensors", source))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
