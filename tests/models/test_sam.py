"""SAM against segment-anything: pinned outputs (golden/make_sam.py), and the library itself where installed."""

# ruff: noqa: E402  (torch is optional)

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from delineate import models
from delineate.models import sam

GOLDEN = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))

import sam_scene

PINNED = json.loads((GOLDEN / "sam.json").read_text("utf-8"))["predictions"]
PARAMETERS = {"vit_b": (93_735_472, 314), "vit_l": (312_342_832, 482), "vit_h": (641_090_608, 594)}


@pytest.fixture(scope="module")
def model():
    model = models.build("sam-test").eval()
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    drawn = sam_scene.weights(shapes)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in drawn.items()})
    return model


def prepared(picture, side):
    """What the reference's predictor gives its encoder, and the scales (x, y) of the picture."""
    height, width = picture.shape[:2]
    new = [int(length * side / max(height, width) + 0.5) for length in (height, width)]
    resized = np.asarray(Image.fromarray(picture).resize(new[::-1], Image.Resampling.BILINEAR), np.float32)
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    canvas = np.zeros((side, side, 3), np.float32)
    canvas[: new[0], : new[1]] = (resized - np.float32(mean)) / np.float32(std)
    return torch.from_numpy(canvas).permute(2, 0, 1)[None], np.array([new[1] / width, new[0] / height])


def asked(prompt, scale):
    """Prompts as the reference orders them: points, padding where there is no box, corners."""
    points, labels = list(prompt.get("points", [])), list(prompt.get("labels", []))
    if "box" in prompt:
        points += [prompt["box"][:2], prompt["box"][2:]]
        labels += [2, 3]
    mask = torch.from_numpy(prompt["mask"])[None, None] if "mask" in prompt else None
    if not points:
        return sam.Prompts(masks=mask)
    points = np.array(points) * scale
    if "box" not in prompt:
        points, labels = np.vstack((points, [[0, 0]])), [*labels, -1]
    return sam.Prompts(torch.tensor(points, dtype=torch.float32)[None], torch.tensor([labels]), mask)


@pytest.mark.parametrize(
    "case", PINNED, ids=lambda case: f"{case['size']}-{case['prompt']}-{case['multimask']}"
)
def test_forward_equals_the_reference(model, case):
    image, scale = prepared(sam_scene.picture(case["size"]), model.config.side)
    with torch.no_grad():
        outputs = model(image, asked(sam_scene.prompts(case["size"])[case["prompt"]], scale))
    chosen = slice(1, None) if case["multimask"] else slice(0, 1)
    low = outputs.logits[0, chosen].flatten(1)[:, ::97].numpy()
    np.testing.assert_allclose(outputs.ious[0, chosen].numpy(), case["ious"], rtol=1e-4, atol=1e-4)
    assert np.abs(low - case["low"]).max() < 1e-4 * np.abs(case["low"]).max()


@pytest.mark.parametrize("variant", PARAMETERS)
def test_official_shapes(variant):
    with torch.device("meta"):
        model = models.build(f"sam-{variant}")
    state = model.state_dict()
    assert (sum(value.numel() for value in model.parameters()), len(state)) == PARAMETERS[variant]
    assert state["image_encoder.blocks.0.attn.rel_pos_h"].shape[0] == 27
    assert state[f"image_encoder.blocks.{model.config.global_blocks[0]}.attn.rel_pos_w"].shape[0] == 127
    assert state["mask_decoder.output_hypernetworks_mlps.3.layers.2.weight"].shape == (32, 256)
    assert state["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"].shape == (2, 128)


@pytest.mark.parametrize("variant", ["vit_b", "vit_l", "vit_h"])
def test_names_and_shapes_are_those_of_the_reference(variant):
    reference = pytest.importorskip("segment_anything", reason="the live oracle is not installed")
    with torch.device("meta"):
        theirs = reference.sam_model_registry[variant]().state_dict()
        ours = models.build(f"sam-{variant}").state_dict()
    assert {name: value.shape for name, value in ours.items()} == {
        name: value.shape for name, value in theirs.items()
    }


def test_vit_b_equals_the_reference():
    reference = pytest.importorskip("segment_anything", reason="the live oracle is not installed")
    theirs = reference.sam_model_registry["vit_b"]()
    shapes = {name: value.shape for name, value in theirs.state_dict().items()}
    state = {name: torch.from_numpy(value) for name, value in sam_scene.weights(shapes).items()}
    theirs.load_state_dict(state)
    ours = models.build("sam-vit_b").eval()
    ours.load_state_dict(state)
    image, _ = prepared(sam_scene.picture((480, 640)), 1024)
    points, labels = torch.tensor([[[500.0, 300.0], [0, 0]]]), torch.tensor([[1, -1]])
    with torch.no_grad():
        embedding, place = theirs.image_encoder(image), theirs.prompt_encoder.get_dense_pe()
        sparse, dense = theirs.prompt_encoder((points[:, :1], labels[:, :1]), None, None)
        assert (ours.encode(image) - embedding).abs().max() < 1e-4 * embedding.abs().max()
        torch.testing.assert_close(ours.prompt_encoder.points(points, labels), sparse)
        torch.testing.assert_close(ours.prompt_encoder.grid((64, 64)).transpose(1, 2), place.flatten(2))
        # Random weights magnify the rounding of a long chain, so the rest is compared in double precision.
        embedding, place, sparse, dense = (x.double() for x in (embedding, place, sparse, dense))
        logits, ious = theirs.mask_decoder.double().predict_masks(embedding, place, sparse, dense)
        outputs = ours.mask_decoder.double()(embedding + dense, place.flatten(2).transpose(1, 2), sparse)
    torch.testing.assert_close(outputs.logits, logits)
    torch.testing.assert_close(outputs.ious, ious)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("side", 1000, "multiple of patch"), ("heads", 5, "multiples of heads"), ("depth", 0, r"in 1\.\.65536")],
)
def test_configurations_that_cannot_be_are_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        models.build("sam-test", **{field: value})
