"""Promptable models as ONNX pairs: the signature, and answers equal to the torch model's and the reference's."""

# ruff: noqa: E402  (torch is optional)

import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="export needs the extra [torch]")
pytest.importorskip("onnxscript", reason="export needs the extra [torch]")

from delineate import models
from delineate.errors import RuntimeFailure
from delineate.export_prompts import _drift, export_promptable
from delineate.models import sam
from delineate.prompt import PromptPredictor
from delineate.runtimes import load

GOLDEN = Path(__file__).parent / "golden"
sys.path.insert(0, str(GOLDEN))

import sam_scene

PINNED = json.loads((GOLDEN / "sam.json").read_text("utf-8"))["predictions"]


@pytest.fixture(scope="module")
def model():
    model = models.build("sam-test").eval()
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    drawn = sam_scene.weights(shapes)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in drawn.items()})
    return model


@pytest.fixture(scope="module")
def pair(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    parity = export_promptable(model, folder / "encoder.onnx", folder / "decoder.onnx")
    assert 0 <= max(parity) < 1e-3
    return folder / "encoder.onnx", folder / "decoder.onnx"


@pytest.fixture(scope="module")
def predictor(pair):
    return PromptPredictor.load(*pair)


def test_the_signature_is_that_of_segment_anything(pair):
    decoder = load("onnx", pair[1])
    assert {port.name: (len(port.shape), port.dtype) for port in decoder.inputs} == {
        "image_embeddings": (4, "float32"),
        "point_coords": (3, "float32"),
        "point_labels": (2, "float32"),
        "mask_input": (4, "float32"),
        "has_mask_input": (1, "float32"),
        "orig_im_size": (1, "float32"),
    }
    assert [port.name for port in decoder.outputs] == ["masks", "iou_predictions", "low_res_masks"]


@pytest.mark.parametrize("size", [(60, 80), (300, 111), (1, 1)])
def test_masks_at_picture_size_equal_the_runs(pair, predictor, size):
    picture = sam_scene.picture(size)
    scene = predictor.set_image(picture)
    point = np.float32([[[0.3 * scene.content[1], 0.6 * scene.content[0]], [0, 0]]])
    arrays = {
        "image_embeddings": scene.embedding,
        "point_coords": point,
        "point_labels": np.float32([[1, -1]]),
        "mask_input": np.zeros((1, 1, 32, 32), np.float32),
        "has_mask_input": np.zeros(1, np.float32),
        "orig_im_size": np.float32(size),
    }
    masks = load("onnx", pair[1])(arrays)["masks"]
    found = predictor.predict([[0.3 * size[1], 0.6 * size[0]]], [1])
    assert masks.shape == (1, 4, *size)
    unlike = (masks[0, 1:] > 0) != found.masks.to_dense()
    assert np.abs(masks[0, 1:][unlike]).max(initial=0) < 1e-4 * np.abs(masks).max()


@pytest.mark.parametrize("case", PINNED[:14], ids=lambda case: f"{case['prompt']}-{case['multimask']}")
def test_answers_equal_those_of_the_reference(predictor, case):
    predictor.set_image(sam_scene.picture(case["size"]))
    prompt = sam_scene.prompts(case["size"])[case["prompt"]]
    found = predictor.predict(
        *(prompt.get(name) for name in ("points", "labels", "box", "mask")),
        multimask=case["multimask"],
        keep_logits=True,
    )
    np.testing.assert_allclose(found.scores, case["ious"], rtol=1e-3, atol=1e-3)
    low = found.extras["logits"].reshape(len(found), -1)[:, ::97]
    assert np.abs(low - case["low"]).max() < 1e-3 * np.abs(case["low"]).max()


@pytest.mark.parametrize("mask", [False, True])
def test_batches_equal_the_torch_model(model, predictor, mask):
    random = np.random.default_rng(0)
    picture, points = sam_scene.picture((96, 128)), random.uniform(0, 96, (6, 3, 2))
    hints = random.normal(size=(6, 32, 32)) if mask else None
    expected = PromptPredictor(*sam.networks(model), side=128)
    expected.set_image(picture)
    predictor.set_image(picture)
    ours, theirs = (one.predict(points, np.ones((6, 3)), mask=hints) for one in (predictor, expected))
    np.testing.assert_allclose(ours.scores, theirs.scores, rtol=1e-3, atol=1e-3)
    assert ours.extras["prompt"].tolist() == theirs.extras["prompt"].tolist()
    assert (ours.masks.to_dense() != theirs.masks.to_dense()).mean() < 1e-3


def test_no_trace_of_the_machine_that_exported(pair):
    for path in pair:
        content = path.read_bytes()
        assert b"site-packages" not in content
        assert b"sam.py" not in content


def test_numbers_that_drift_are_refused():
    with pytest.raises(RuntimeFailure, match="masks must agree within"):
        _drift("masks", torch.ones(3), np.float32([1, 1, 1.01]))
    with pytest.raises(RuntimeFailure, match="masks must have shape"):
        _drift("masks", torch.ones(3), np.ones(2, np.float32))
