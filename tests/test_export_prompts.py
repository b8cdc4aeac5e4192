"""Promptable models as ONNX pairs: the signature, and answers equal to the torch model's and the reference's."""

# ruff: noqa: E402  (torch is optional)

import copy
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="export needs the extra [torch]")
pytest.importorskip("onnxscript", reason="export needs the extra [torch]")

from delineate import models, predict
from delineate.errors import RuntimeFailure, WeightsError
from delineate.export_prompts import _content, _drift, _simplify, export_promptable
from delineate.modelfile import Preprocess
from delineate.models import sam
from delineate.prompt import Conventions, PromptCard, PromptPredictor, embedded
from delineate.runtimes import load

GOLDEN = Path(__file__).parent / "golden"
sys.path.insert(0, str(GOLDEN))

import sam_scene

PINNED = json.loads((GOLDEN / "sam.json").read_text("utf-8"))["predictions"]


CARD = PromptCard(
    name="dots", licence="CC0-1.0", conventions=Conventions(iou=0.5), provenance={"data": "none"}
)


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
    files = folder / "dots_encoder.onnx", folder / "dots_decoder.onnx"
    assert 0 <= max(export_promptable(model, *files, card=CARD)) < 1e-3
    return files


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


def test_both_files_carry_the_card_and_the_predictor_follows_it(pair, predictor):
    onnx = pytest.importorskip("onnx")
    assert [PromptCard.from_json(load("onnx", file).metadata["delineate.prompts"]) for file in pair] == [
        CARD
    ] * 2
    assert predictor.card == CARD
    encoder, stretch = onnx.load(pair[0]), (1.0, 99.0)
    encoder.metadata_props[0].value = PromptCard(name="dots", stretch=stretch).to_json()
    stretching = PromptPredictor.load(encoder.SerializeToString(), pair[1])
    picture = sam_scene.picture((48, 64)) // 4 + 100
    scene = stretching.set_image(picture)
    by_hand = predictor.set_image(Preprocess(stretch=stretch).stretched(picture))
    np.testing.assert_array_equal(scene.embedding, by_hand.embedding)
    assert np.abs(predictor.set_image(picture).embedding - scene.embedding).max() > 0


def test_halved_files_are_smaller_and_weights_can_be_rounded_alike(model, pair):
    onnx = pytest.importorskip("onnx")
    for file in pair:
        network, kinds = onnx.load(file), {1: "float32", 10: "float16"}
        large = [one for one in network.graph.initializer if one.data_type == 1 and np.prod(one.dims) >= 64]
        for tensor in large[1:]:  # the first one is as what the exporter computes: no float16
            array = onnx.numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
        array = np.full(tuple(large[0].dims), 1 / 3, np.float32)
        large[0].CopyFrom(onnx.numpy_helper.from_array(array, large[0].name))
        names = {one.name: "float32" if one is large[0] else "float16" for one in large}
        content = _content(network, None, half=True)
        stored = {
            one.name: kinds.get(one.data_type) for one in onnx.load_from_string(content).graph.initializer
        }
        assert {name: stored.get(name) or stored[f"{name}.half"] for name in names} == names
        assert len(content) < 0.8 * file.stat().st_size
    coarse = copy.deepcopy(model)
    _simplify(coarse, half=False)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), coarse.parameters(), strict=True))
    _simplify(coarse, half=True)
    name = "image_encoder.neck.2.weight"
    rounded = model.get_parameter(name).half().float()
    assert torch.equal(coarse.get_parameter(name), rounded)
    assert not torch.equal(model.get_parameter(name), rounded)


def test_a_damaged_card_is_refused():
    with pytest.raises(WeightsError, match="card must be readable"):
        PromptCard.from_json('{"format": 1}')
    with pytest.raises(WeightsError, match="must have format 1, got 2"):
        PromptCard.from_json('{"format": 2, "name": "later"}')
    with pytest.raises(ValueError, match="stretch must be two rising percentiles"):
        PromptCard(name="odd", stretch=(99, 1))


def test_an_embedded_pair_is_found_by_its_name(pair, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path)
    assert embedded() == ()
    with pytest.raises(WeightsError, match="none in this build"):
        PromptPredictor.load("dots")
    (tmp_path / "weights").mkdir()
    for file in pair:
        (tmp_path / "weights" / file.name).write_bytes(file.read_bytes())
    assert embedded() == ("dots",)
    assert predict.embedded() == ()
    assert PromptPredictor.load("dots").card == CARD
    with pytest.raises(WeightsError, match="Did you mean 'dots'"):
        PromptPredictor.load("dost")


def test_embeddings_are_kept_in_a_folder(pair, tmp_path, caplog):
    picture, folder = sam_scene.picture((48, 64)), tmp_path / "kept"
    made = PromptPredictor.load(*pair, folder=folder).set_image(picture)
    (file,) = folder.iterdir()
    other = PromptPredictor.load(*pair, folder=folder)
    other._encoder = None  # not needed
    found = other.set_image(picture)
    np.testing.assert_array_equal(found.embedding, made.embedding)
    assert found[1:] == made[1:]
    for content in (file.read_bytes()[:-9], b"", b"\x93NUMPY nonsense"):
        file.write_bytes(content)
        again = PromptPredictor.load(*pair, folder=folder).set_image(picture)
        np.testing.assert_array_equal(again.embedding, made.embedding)
    assert caplog.text.count("is made anew") == 3


def test_the_folder_is_bounded_and_the_longest_unused_goes_first(pair, tmp_path):
    first, second, third = (sam_scene.picture(size) for size in ((48, 64), (64, 48), (64, 64)))
    predictor = PromptPredictor.load(*pair, folder=tmp_path)
    predictor.set_image(first)
    (one,) = tmp_path.iterdir()
    size = one.stat().st_size
    predictor = PromptPredictor.load(*pair, folder=tmp_path, folder_bytes=2 * size)
    predictor.set_image(second)
    (two,) = set(tmp_path.iterdir()) - {one}
    os.utime(one, (1, 1))
    os.utime(two, (2, 2))
    predictor.set_image(first)  # out of the folder: used now
    predictor.set_image(third)
    assert one.exists()
    assert not two.exists()
    assert len(list(tmp_path.iterdir())) == 2
    small = PromptPredictor.load(*pair, folder=tmp_path / "small", folder_bytes=size - 1)
    small.set_image(first)
    assert not (tmp_path / "small").exists()
    with pytest.raises(ValueError, match="most must be at least 1 byte"):
        PromptPredictor.load(*pair, folder=tmp_path, folder_bytes=0)
