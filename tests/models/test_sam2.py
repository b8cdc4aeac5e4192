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
from delineate.everything import Options, segment_everything
from delineate.masks import Masks
from delineate.models import sam2

GOLDEN = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))

import sam_scene

NAMES = {
    "points_per_side": "points",
    "pred_iou_thresh": "iou",
    "stability_score_thresh": "stability",
    "box_nms_thresh": "overlap",
    "crop_nms_thresh": "crop_nms",
    "crop_n_layers": "layers",
    "crop_n_points_downscale_factor": "crop_points",
    "crop_overlap_ratio": "crop_overlap",
    "min_mask_region_area": "least_area",
}
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


@pytest.fixture(scope="module")
def fainter(official):
    """The model of the pinned records of everything mode: fine features are a fifth, and masks smaller."""
    tensors = {name: value / 5 if "conv_s0" in name else value for name, value in official.items()}
    model = models.build("sam2-test").eval()
    model.load_state_dict(sam2.official(model, tensors))
    return model


@pytest.mark.parametrize("case", CONTENT["everything"], ids=lambda case: f"{case['name']}-{case['size']}")
def test_everything_mode_equals_the_reference(fainter, case):
    given = CONTENT["options"][case["name"]]
    options = Options(**{ours: given[theirs] for theirs, ours in NAMES.items() if theirs in given})
    found = segment_everything(sam2.predictor(fainter), sam_scene.picture(case["size"]), options)
    records = case["records"]
    assert len(found) == len(records) >= 1
    np.testing.assert_allclose(found.extras["point"], [record["point"] for record in records])
    np.testing.assert_allclose(found.scores, [record["iou"] for record in records], atol=1e-4)
    stability = [record["stability"] for record in records]
    np.testing.assert_allclose(found.extras["stability"], stability, atol=5e-3)
    runs = [{"size": case["size"], "counts": record["mask"]} for record in records]
    apart = found.masks.to_dense() != Masks.from_rle(runs, tuple(case["size"])).to_dense()
    assert apart.sum((1, 2)).max() <= 3  # pixels whose logit is zero to within rounding


def test_everything_mode_asks_for_what_the_reference_asks_for():
    theirs = CONTENT["defaults"]
    assert (sam2.CONVENTIONS.iou, sam2.CONVENTIONS.stability) == (
        theirs["pred_iou_thresh"],
        theirs["stability_score_thresh"],
    )
    assert theirs["stability_score_offset"] == 1  # the default of `upsample`
    fields = {ours: getattr(Options(), ours) for ours in NAMES.values()}
    assert {ours: theirs[name] for name, ours in NAMES.items()} == {
        **fields,
        "iou": sam2.CONVENTIONS.iou,
        "stability": sam2.CONVENTIONS.stability,
    }


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
