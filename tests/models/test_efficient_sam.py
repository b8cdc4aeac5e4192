"""EfficientSAM: names, files, refusals, export; pinned outputs are compared in test_prompts_references.py, too."""

# ruff: noqa: E402  (torch is optional)

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from delineate import models
from delineate.errors import WeightsError
from delineate.everything import Options, segment_everything
from delineate.export_prompts import export_promptable
from delineate.models import efficient_sam
from delineate.models.efficient_sam import Prompts
from delineate.prompt import PromptPredictor
from delineate.runtimes import load

GOLDEN = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))

import sam_scene

CONTENT = json.loads((GOLDEN / "efficient_sam.json").read_text("utf-8"))
PUBLISHED = {"ti": 10_223_204, "s": 26_413_028}


@pytest.fixture(scope="module")
def official():
    """A file of the reference."""
    drawn = sam_scene.calm(sam_scene.weights(CONTENT["shapes"]))
    return {name: torch.from_numpy(value) for name, value in drawn.items()}


@pytest.fixture(scope="module")
def model(official, tmp_path_factory):
    path = tmp_path_factory.mktemp("efficient_sam") / "official.pt"
    torch.save({"model": official}, path)
    model = models.build("efficient_sam-test").eval()
    assert models.load_weights(model, path) == []
    return model


@pytest.fixture
def predictor(model):
    return efficient_sam.predictor(model)


def test_the_single_mask_is_the_best_candidate(predictor):
    predictor.set_image(sam_scene.picture((96, 128)))
    found = predictor.predict([[[30, 40]], [[80, 60]]], [[1], [1]])
    single = predictor.predict([[[30, 40]], [[80, 60]]], [[1], [1]], multimask=False)
    best = found.scores.reshape(2, 3).argmax(1) + np.array([0, 3])
    assert np.array_equal(single.scores, found.scores[best])
    assert np.array_equal(single.masks.to_dense(), found.masks.to_dense()[best])


@pytest.mark.parametrize("variant", PUBLISHED)
def test_published_parameters(variant):
    with torch.device("meta"):
        model = models.build(f"efficient_sam-{variant}")
    assert sum(value.numel() for value in model.parameters()) == PUBLISHED[variant]
    assert len(model.state_dict()) == 278


@pytest.mark.parametrize("variant", PUBLISHED)
def test_names_and_shapes_are_those_of_the_reference(variant):
    reference = pytest.importorskip("efficient_sam.efficient_sam", reason="the live oracle is not installed")
    with torch.device("meta"):
        ours = models.build(f"efficient_sam-{variant}")
    theirs = reference.build_efficient_sam(ours.config.width, ours.config.heads).state_dict()
    assert len(theirs) == 278
    assert {name: value.shape for name, value in ours.state_dict().items()} == {
        name: value.shape for name, value in efficient_sam.official(ours, theirs).items()
    }


@pytest.mark.parametrize("variant", PUBLISHED)
def test_the_published_size_equals_the_reference(variant):
    reference = pytest.importorskip("efficient_sam.efficient_sam", reason="the live oracle is not installed")
    ours = models.build(f"efficient_sam-{variant}").eval()
    torch.manual_seed(0)
    theirs = reference.build_efficient_sam(ours.config.width, ours.config.heads).eval()
    torch.nn.init.normal_(theirs.image_encoder.pos_embed, std=0.2)
    ours.load_state_dict(efficient_sam.official(ours, theirs.state_dict()))
    picture = sam_scene.picture((300, 400))
    predictor = efficient_sam.predictor(ours)
    with torch.inference_mode():
        expected = theirs.get_image_embeddings(torch.from_numpy(picture).permute(2, 0, 1)[None] / 255.0)
        assert (
            np.abs(predictor.set_image(picture).embedding - expected.numpy()).max()
            < 1e-4 * expected.abs().max()
        )
        points, labels = torch.tensor([[[[90.0, 80.0], [10.0, 20.0]], [[300.0, 200.0], [9.0, 9.0]]]]), None
        labels = torch.tensor([[[1, 1], [1, -1]]])
        asked = torch.where((labels < 0)[..., None], -1.0, points)
        low, ious = theirs.predict_masks(expected, asked, labels, True, 300, 400, -1, -1)
    found = predictor.predict(points[0], labels[0], keep_logits=True)
    np.testing.assert_allclose(found.scores, ious.ravel(), rtol=1e-4, atol=1e-4)
    apart = np.abs(found.extras["logits"] - low.reshape(6, 256, 256).numpy()).max()
    assert apart < 1e-4 * low.abs().max()


def test_a_zipped_official_file_loads(official, model, tmp_path):
    torch.save({"model": official}, tmp_path / "inner.pt")
    path = tmp_path / "official.pt.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "inner.pt", "efficient_sam_vits.pt")
        archive.writestr("__MACOSX/._efficient_sam_vits.pt", b"a resource fork")
    other = models.build("efficient_sam-test")
    assert models.load_weights(other, path) == []
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in other.state_dict().items())


def test_foreign_tensors_are_refused(official, tmp_path):
    torch.save({"model": official | {"memory": torch.ones(1)}}, tmp_path / "foreign.pt")
    with pytest.raises(WeightsError, match="1 unknown"):
        models.load_weights(models.build("efficient_sam-test"), tmp_path / "foreign.pt")


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({"points": [[1, 2]], "labels": [0]}, "knows no points outside of the object"),
        ({"mask": np.zeros((32, 32))}, "knows no masks as prompts"),
        (
            {"points": [[1, 2]] * 5, "labels": [1] * 5, "boxes": [1, 2, 3, 4]},
            "at most 6 for this model.* got 7",
        ),
    ],
)
def test_prompts_that_nothing_reads_are_refused(predictor, prompt, message):
    predictor.set_image(sam_scene.picture((96, 128)))
    with pytest.raises(ValueError, match=message):
        predictor.predict(**prompt)


def test_the_model_refuses_what_it_would_drop(model):
    embedding = torch.zeros(1, 32, 8, 8)
    points, labels = torch.zeros(2, 7, 2), torch.ones(2, 7)
    with pytest.raises(ValueError, match="points must be at most 6 per prompt, got 7"):
        model.decode(embedding, Prompts(points, labels))
    with pytest.raises(ValueError, match="prompts must have no masks"):
        model.decode(embedding, Prompts(points[:, :1], labels[:, :1], torch.zeros(2, 1, 32, 32)))
    with pytest.raises(ValueError, match="Encode whole canvases"):
        model.decode(embedding, Prompts(points[:, :1], labels[:, :1]), (1, 0))


def test_points_that_are_none_do_not_matter(predictor):
    predictor.set_image(sam_scene.picture((96, 128)))
    plain = predictor.predict([[40, 30]], [1])
    filled = predictor.predict([[40, 30], [7, 7]], [1, -1])
    assert plain == filled


@pytest.fixture(scope="module")
def pair(model, tmp_path_factory):
    pytest.importorskip("onnxscript", reason="torch needs it to export")
    folder = tmp_path_factory.mktemp("pair")
    files = folder / "encoder.onnx", folder / "decoder.onnx"
    assert max(export_promptable(model, *files)) < 1e-3
    return files


@pytest.mark.parametrize(
    "case", CONTENT["predictions"][::2], ids=lambda case: f"{case['size']}-{case['prompt']}"
)
def test_the_exported_pair_equals_the_reference(pair, case):
    predictor = PromptPredictor.load(*pair)  # known by the card, which need not be given
    assert predictor.conventions == efficient_sam.CONVENTIONS
    predictor.set_image(sam_scene.picture(case["size"]))
    asked = sam_scene.positive_prompts(case["size"])[case["prompt"]]
    found = predictor.predict(asked.get("points"), asked.get("labels"), asked.get("box"), keep_logits=True)
    low = found.extras["logits"].reshape(3, -1)[:, ::97]
    np.testing.assert_allclose(found.scores, case["ious"], rtol=1e-3, atol=1e-3)
    assert np.abs(low - case["low"]).max() < 1e-3 * np.abs(case["low"]).max()
    with pytest.raises(ValueError, match="knows no points outside of the object"):
        predictor.predict([[3, 3]], [0])


def test_the_exported_decoder_takes_what_clients_send(pair, predictor):
    size = (96, 128)
    scene = predictor.set_image(sam_scene.picture(size))
    decoder = load("onnx", pair[1])
    names = [
        "image_embeddings",
        "point_coords",
        "point_labels",
        "mask_input",
        "has_mask_input",
        "orig_im_size",
    ]
    assert [port.name for port in decoder.inputs] == names
    assert [port.name for port in decoder.outputs] == ["masks", "iou_predictions", "low_res_masks"]
    random = np.random.default_rng(0)
    points = random.uniform(0, 128, (1, 8, 2)).astype(np.float32)

    def answer(count, mask, given, end=False):
        coords, labels = points[:, :count], np.ones((1, count), np.float32)
        if end:  # as clients do where there is no box
            coords = np.concatenate((coords, np.zeros((1, 1, 2), np.float32)), 1)
            labels = np.concatenate((labels, np.full((1, 1), -1, np.float32)), 1)
        arrays = [scene.embedding, coords, labels, mask, np.float32([given]), np.float32(size)]
        return decoder(dict(zip(names, arrays, strict=True)))

    nothing = np.zeros((1, 1, 32, 32), np.float32)
    expected = answer(6, nothing, 0)
    for got in (answer(8, nothing, 0), answer(6, nothing + 9, 1)):  # more are dropped, masks are not read
        assert all(np.array_equal(got[name], expected[name]) for name in expected)
    ended, alone = answer(2, nothing, 0, end=True), answer(2, nothing, 0)
    np.testing.assert_allclose(ended["low_res_masks"], alone["low_res_masks"], atol=1e-5)
    best = alone["iou_predictions"][0, 1:].argmax() + 1
    assert np.array_equal(alone["masks"][0, 0], alone["masks"][0, best])
    shown = predictor.predict(points[0, :2] * [1, 96 / 128], [1, 1])
    unlike = (alone["masks"][0, 1:] > 0) != shown.masks.to_dense()
    assert np.abs(alone["masks"][0, 1:][unlike]).max(initial=0) < 1e-3


def test_everything_is_found_with_it(predictor):
    objects = segment_everything(
        predictor, sam_scene.picture((96, 128)), Options(points=4, iou=-9.0, stability=0.0, layers=1)
    )
    assert len(objects)
    assert objects.size == (96, 128)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("learned", 0, r"learned must be in 1\.\.1024"),
        ("points", 1, r"points must be in 2\.\.1024"),
        ("mixers", 1, "pyramid and mixers must be off"),
    ],
)
def test_configurations_that_cannot_be_are_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        models.build("efficient_sam-test", **{field: value})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes(2**20), "a zipped checkpoint must be at most 4 times as large as its archive"),
        (b"PK\x03\x04 and nothing else", "must be a zipped torch checkpoint, got a damaged archive"),
    ],
)
def test_zipped_files_that_are_no_checkpoints_are_refused(tmp_path, content, message):
    path = tmp_path / "official.pt.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("efficient_sam_vits.pt", content)
    with pytest.raises(WeightsError, match=message):
        models.load_weights(models.build("efficient_sam-test"), path)
