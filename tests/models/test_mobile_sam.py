"""MobileSAM: its names and numbers; pinned outputs are compared in test_prompts_references.py."""

# ruff: noqa: E402  (torch is optional)

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from delineate import models
from delineate.errors import WeightsError
from delineate.export_prompts import export_promptable
from delineate.models import mobile_sam

GOLDEN = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))

import sam_scene

UNUSED = 320 * 2 + 320 * 1000 + 1000  # numbers of the classification head


@pytest.fixture(scope="module")
def model():
    model = models.build("mobile_sam-test").eval()
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    drawn = sam_scene.weights(shapes)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in drawn.items()})
    return model


def test_the_published_parameters_and_names():
    with torch.device("meta"):
        model = models.build("mobile_sam-vit_t")
    assert sum(value.numel() for value in model.parameters()) == 10_130_092 - UNUSED
    assert len(model.state_dict()) == 439 - 4


def test_names_and_shapes_are_those_of_the_reference():
    reference = pytest.importorskip("mobile_sam", reason="the live oracle is not installed")
    with torch.device("meta"):
        ours = models.build("mobile_sam-vit_t")
    theirs = reference.sam_model_registry["vit_t"]().state_dict()
    kept = mobile_sam.official(ours, theirs)
    assert len(theirs) == 439
    assert {name: value.shape for name, value in ours.state_dict().items()} == {
        name: value.shape for name, value in kept.items()
    }


def test_the_published_size_equals_the_reference():
    reference = pytest.importorskip("mobile_sam", reason="the live oracle is not installed")
    theirs = reference.sam_model_registry["vit_t"]()
    ours = models.build("mobile_sam-vit_t").eval()
    shapes = {name: value.shape for name, value in ours.state_dict().items()}
    drawn = {k: torch.from_numpy(v) for k, v in sam_scene.weights(shapes).items()}
    ours.load_state_dict(drawn)
    assert not theirs.load_state_dict(drawn, strict=False).unexpected_keys
    theirs.train().eval()
    images = torch.rand(1, 3, 1024, 1024)
    with torch.no_grad():
        expected = theirs.image_encoder(images)
        assert (ours.encode(images) - expected).abs().max() < 1e-4 * expected.abs().max()


def test_an_official_file_loads_without_its_head(model, tmp_path):
    head = {"image_encoder.norm_head.weight": torch.ones(3), "image_encoder.head.bias": torch.ones(3)}
    torch.save(model.state_dict() | head, tmp_path / "official.pt")
    other = models.build("mobile_sam-test")
    assert models.load_weights(other, tmp_path / "official.pt") == []
    torch.save(model.state_dict() | {"image_encoder.other": torch.ones(3)}, tmp_path / "foreign.pt")
    with pytest.raises(WeightsError, match="1 unknown"):
        models.load_weights(other, tmp_path / "foreign.pt")


def test_biases_are_not_stale():
    model = models.build("mobile_sam-test").eval()
    images = torch.rand(1, 3, 128, 128)
    with torch.no_grad():
        before = model.encode(images)
        model.image_encoder.layers[1].blocks[0].attn.attention_biases.add_(torch.randn(2, 49) * 5)
        assert not torch.equal(model.encode(images), before)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("stage_widths", (8, 16, 16), "four numbers"),
        ("stage_heads", (0, 5, 2, 2), "multiples of stage_heads"),
        ("stage_windows", (3, 7, 3, 8), "begin with 0"),
        ("patch", 8, "patch must be 16"),
    ],
)
def test_configurations_that_cannot_be_are_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        models.build("mobile_sam-test", **{field: value})


def test_the_export_agrees(model, tmp_path):
    pytest.importorskip("onnxscript", reason="torch needs it to export")
    parity = export_promptable(model, tmp_path / "encoder.onnx", tmp_path / "decoder.onnx")
    assert max(parity) < 1e-3
