"""SAM 2.1 as a pair of ONNX files: the names of public exports, and answers equal to the reference's."""

# ruff: noqa: E402  (torch is optional)

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from file_server import serving

torch = pytest.importorskip("torch", reason="export needs the extra [torch]")
pytest.importorskip("onnxscript", reason="export needs the extra [torch]")
onnx = pytest.importorskip("onnx", reason="export needs the extra [torch]")

from delineate import download, models
from delineate.annotate.prompts import Prompt
from delineate.cli.annotate import _promptable
from delineate.cli.models import models_command
from delineate.masks import Masks
from delineate.models import sam2
from delineate.prompt import SAM2, PromptPredictor
from delineate.runtimes import load

GOLDEN = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))

import sam_scene

CONTENT = json.loads((GOLDEN / "sam2.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def model():
    drawn = sam_scene.weights(CONTENT["shapes"])
    model = models.build("sam2-test").eval()
    tensors = {name: torch.from_numpy(value) for name, value in drawn.items()}
    model.load_state_dict(sam2.official(model, tensors))
    return model


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Made of an official file by the command that downloads models, from a server on this machine."""
    stream = io.BytesIO()
    drawn = sam_scene.weights(CONTENT["shapes"])
    torch.save({"model": {name: torch.from_numpy(value) for name, value in drawn.items()}}, stream)
    with pytest.MonkeyPatch.context() as patch, serving() as server:
        server.content = stream.getvalue()
        patch.setenv("DELINEATE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("DELINEATE_OFFLINE", raising=False)
        weights = sam2.WEIGHTS["tiny"]._replace(
            url=server.address("good", "sam2.1_tiny.pt"), size=len(server.content)
        )
        patch.setitem(sam2.WEIGHTS, "tiny", weights)
        patch.setitem(sam2.VARIANTS, "tiny", sam2.VARIANTS["test"])
        assert models_command("download", ("sam2-tiny",)) == 0
        yield tuple(download.model_location(f"sam2-tiny_{part}") for part in ("encoder", "decoder"))


@pytest.fixture(scope="module")
def predictor(pair):
    return PromptPredictor.load(*pair)


@pytest.fixture(scope="module")
def foreign(pair):
    """The same networks as others write them: without a word about themselves."""
    contents = []
    for path in pair:
        network = onnx.load(path)
        del network.metadata_props[:]
        contents.append(network.SerializeToString())
    return contents


def arrays(pair, size=(96, 128), points=((30.0, 40.0),), labels=(1.0,)):
    """What a client feeds the decoder, in the order of its inputs."""
    picture = sam2.CONVENTIONS.prepare(sam_scene.picture(size), 128)
    fine, middle, embedding = load("onnx", pair[0])({"image": picture}).values()
    kinds, mask = np.float32([labels]), np.zeros((1, 1, 32, 32), np.float32)
    return [embedding, fine, middle, np.float32([points]), kinds, mask, np.zeros(1, np.float32)]


def test_names_and_their_order_are_those_of_public_exports(pair):
    encoder, decoder = (load("onnx", path) for path in pair)
    assert [port.name for port in encoder.inputs] == ["image"]
    assert [port.name for port in encoder.outputs] == ["high_res_feats_0", "high_res_feats_1", "image_embed"]
    assert [port.name for port in decoder.inputs] == [
        "image_embed",
        "high_res_feats_0",
        "high_res_feats_1",
        "point_coords",
        "point_labels",
        "mask_input",
        "has_mask_input",
    ]
    assert [port.name for port in decoder.outputs] == [
        "masks",
        "iou_predictions",
        "low_res_masks",
        "object_score_logits",
    ]


def test_a_client_by_position_gets_masks_at_the_decoders_size(pair, model):
    decoder, given = load("onnx", pair[1]), arrays(pair)
    names = [port.name for port in decoder.inputs]
    masks, ious, low, presence = decoder(dict(zip(names, given, strict=True))).values()
    assert masks.shape == low.shape == (1, 4, 32, 32)
    assert ious.shape == (1, 4)
    np.testing.assert_array_equal(low, masks.clip(-32, 32))
    assert np.abs(masks).max() > 32
    features = sam2.Features(*(torch.from_numpy(one) for one in given[:3]))
    prompts = sam2.Prompts(torch.from_numpy(given[3]), torch.from_numpy(given[4]))
    with torch.no_grad():
        expected = model.decode(features, prompts).presence
    np.testing.assert_allclose(presence, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [(60, 80), (300, 111), (1, 1)])
def test_masks_at_picture_size_equal_the_runs(pair, predictor, size):
    picture = sam_scene.picture(size)
    predictor.set_image(picture)
    point = np.array([0.3 * size[1], 0.6 * size[0]])
    given = arrays(pair, size, [point * (128 / size[1], 128 / size[0])])
    decoder = load("onnx", pair[1])
    feed = dict(zip([port.name for port in decoder.inputs], given, strict=True))
    masks = decoder({**feed, "orig_im_size": np.float32(size)})["masks"]
    found = predictor.predict([point], [1])
    assert masks.shape == (1, 4, *size)
    unlike = (masks[0, 1:] > 0) != found.masks.to_dense()
    assert np.abs(masks[0, 1:][unlike]).max(initial=0) < 1e-4 * np.abs(masks).max()


@pytest.mark.parametrize("known", [True, False], ids=["own", "foreign"])
@pytest.mark.parametrize(
    "case", CONTENT["predictions"][:14], ids=lambda case: f"{case['prompt']}-{case['multimask']}"
)
def test_answers_equal_those_of_the_reference(predictor, foreign, case, known):
    one = predictor if known else PromptPredictor.load(*foreign)
    assert one.conventions == SAM2 == sam2.CONVENTIONS
    assert (one.card is not None) is known
    one.set_image(sam_scene.picture(case["size"]))
    asked = sam_scene.prompts(case["size"])[case["prompt"]]
    found = one.predict(
        *(asked.get(name) for name in ("points", "labels", "box", "mask")),
        multimask=case["multimask"],
        keep_logits=True,
    )
    np.testing.assert_allclose(found.scores, case["ious"], rtol=1e-3, atol=1e-3)
    low = found.extras["logits"].reshape(len(found), -1)[:, ::97]
    assert np.abs(low - case["low"]).max() < 1e-3 * np.abs(case["low"]).max()
    runs = [{"size": case["size"], "counts": counts} for counts in case["masks"]]
    apart = found.masks.to_dense() != Masks.from_rle(runs, tuple(case["size"])).to_dense()
    assert apart.mean() < 1e-3


def test_the_page_of_annotations_takes_it_by_name(pair, predictor):
    engine = _promptable(("sam2-tiny",))
    assert (engine.name, predictor.card.licence) == ("sam2-tiny", "Apache-2.0")
    assert predictor.card.provenance["model"] == "sam2-tiny"
    encoded = engine.encode(sam_scene.picture((96, 128)))
    found = engine.answer(encoded, Prompt(np.array([[30.5, 40.5]]), np.array([1])))
    predictor.set_image(sam_scene.picture((96, 128)))
    expected = predictor.predict([[30, 40]], [1])
    assert found.scores.tolist() == sorted(expected.scores[expected.masks.areas > 0].tolist(), reverse=True)


def test_batches_equal_their_prompts(predictor):
    random = np.random.default_rng(0)
    predictor.set_image(sam_scene.picture((96, 128)))
    points = random.uniform(0, 96, (6, 3, 2))
    together = predictor.predict(points, np.ones((6, 3)))
    for index in range(6):
        alone = predictor.predict(points[index], np.ones(3))
        np.testing.assert_allclose(together.scores[3 * index : 3 * index + 3], alone.scores, rtol=1e-3)


def test_finer_features_are_kept_in_a_folder(pair, predictor, tmp_path):
    picture = sam_scene.picture((48, 64))
    PromptPredictor.load(*pair, folder=tmp_path).set_image(picture)
    assert len(list(tmp_path.iterdir())) == 1
    other = PromptPredictor.load(*pair, folder=tmp_path)
    other._encoder = None  # not needed
    other.set_image(picture)
    predictor.set_image(picture)
    assert other.predict([[20, 30]], [1]) == predictor.predict([[20, 30]], [1])
