"""SAM 2.1 against the package sam2: pinned outputs (golden/make_sam2.py)."""

# ruff: noqa: E402  (torch is optional)

import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from delineate import models
from delineate._embedding_files import EmbeddingFiles
from delineate.errors import WeightsError
from delineate.export_prompts import export_promptable
from delineate.masks import Masks
from delineate.models import sam2

GOLDEN = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))

import sam_scene

CONTENT = json.loads((GOLDEN / "sam2.json").read_text("utf-8"))
PUBLISHED = {"tiny": 38_962_498, "small": 46_060_354, "base_plus": 80_850_178, "large": 224_446_642}
KEYS = {"tiny": 471, "small": 519, "base_plus": 615, "large": 903}
VIDEO = 7_521_777, 160
"""Numbers and tensors of a published file that only videos need; the same for every variant."""


@pytest.fixture(scope="module")
def official():
    """A file of the reference, also with what only videos need."""
    drawn = sam_scene.weights(CONTENT["shapes"])
    return {name: torch.from_numpy(value) for name, value in drawn.items()}


@pytest.fixture(scope="module")
def model(official, tmp_path_factory):
    path = tmp_path_factory.mktemp("sam2") / "official.pt"
    torch.save({"model": official}, path)
    model = models.build("sam2-test").eval()
    assert models.load_weights(model, path) == []
    return model


@pytest.mark.parametrize(
    "case", CONTENT["predictions"], ids=lambda case: f"{case['size']}-{case['prompt']}-{case['multimask']}"
)
def test_the_predictor_equals_the_reference(model, case):
    predictor = sam2.predictor(model)
    predictor.set_image(sam_scene.picture(case["size"]))
    asked = sam_scene.prompts(case["size"])[case["prompt"]]
    found = predictor.predict(
        asked.get("points"),
        asked.get("labels"),
        asked.get("box"),
        asked.get("mask"),
        multimask=case["multimask"],
        keep_logits=True,
    )
    low = found.extras["logits"].reshape(len(found), -1)[:, ::97]
    np.testing.assert_allclose(found.scores, case["ious"], rtol=1e-4, atol=1e-4)
    assert np.abs(low - case["low"]).max() < 1e-4 * np.abs(case["low"]).max()
    expected = [{"size": case["size"], "counts": counts} for counts in case["masks"]]
    theirs = Masks.from_rle(expected, tuple(case["size"]))
    apart = (found.masks.to_dense() != theirs.to_dense()).sum()
    assert apart <= 1e-4 * found.masks.to_dense().size  # logits beside 0 round to either side


def test_what_is_kept_on_disk_answers_alike(model, tmp_path):
    picture = sam_scene.picture((96, 128))
    made, kept = sam2.predictor(model), sam2.predictor(model)
    made._files = kept._files = EmbeddingFiles(tmp_path, "model", 2**20)
    made.set_image(picture)
    kept._encoder = None  # not needed
    found = kept.set_image(picture)
    assert found.content == (128, 128)
    assert sorted(found.finer) == ["high_res_feats_0", "high_res_feats_1"]
    assert kept.predict(boxes=[10, 10, 60, 70]) == made.predict(boxes=[10, 10, 60, 70])


@pytest.mark.parametrize("variant", PUBLISHED)
def test_published_parameters(variant):
    with torch.device("meta"):
        model = models.build(f"sam2-{variant}")
    assert sum(value.numel() for value in model.parameters()) == PUBLISHED[variant] - VIDEO[0]
    assert len(model.state_dict()) == KEYS[variant] - VIDEO[1]


def test_foreign_tensors_are_refused(official, tmp_path):
    torch.save({"model": official | {"memory": torch.ones(1)}}, tmp_path / "foreign.pt")
    with pytest.raises(WeightsError, match="1 unknown"):
        models.load_weights(models.build("sam2-test"), tmp_path / "foreign.pt")


def test_stable_single_masks_stay():
    logits = torch.cat((torch.full((1, 1, 2, 2), 3.0), torch.zeros(1, 3, 2, 2)), 1)
    outputs = sam2.Outputs(logits, torch.tensor([[0.1, 0.5, 0.9, 0.2]]), torch.zeros(1, 1))
    assert torch.equal(sam2.settled(outputs).logits, logits)
    shaky = outputs._replace(logits=logits.flip(1))
    assert sam2.settled(shaky).ious[0, 0] == 0.9


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("depths", (1, 2), "four numbers"),
        ("windows", (7, 4, 6, 3), "multiple of 32 and of four windows"),
        ("background", 0, r"in 1\.\.1024"),
        ("patch", 8, "patch must be 16"),
    ],
)
def test_configurations_that_cannot_be_are_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        models.build("sam2-test", **{field: value})


def test_the_export_of_another_signature_is_refused(model, tmp_path):
    with pytest.raises(TypeError, match="family sam or mobile_sam, got sam2"):
        export_promptable(model, tmp_path / "encoder.onnx", tmp_path / "decoder.onnx")
