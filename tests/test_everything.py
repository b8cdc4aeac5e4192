"""Everything mode against segment-anything's SamAutomaticMaskGenerator: pinned records (golden/make_sam.py)."""

# ruff: noqa: E402  (torch is optional)

import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the tiny model needs the extra [torch]")

from delineate import models
from delineate.everything import Options, clean, crops, segment_everything
from delineate.masks import Masks
from delineate.models import sam
from delineate.prompt import PromptCard, PromptPredictor

GOLDEN = Path(__file__).parent / "golden"
sys.path.insert(0, str(GOLDEN))

import sam_scene

PINNED = json.loads((GOLDEN / "sam.json").read_text("utf-8"))
NAMES = {
    "points_per_side": "points",
    "pred_iou_thresh": "iou",
    "stability_score_thresh": "stability",
    "box_nms_thresh": "overlap",
    "crop_nms_thresh": "crop_nms",
    "crop_n_layers": "layers",
    "crop_n_points_downscale_factor": "crop_points",
    "min_mask_region_area": "least_area",
}


@pytest.fixture(scope="module")
def networks():
    model = models.build("sam-test").eval()
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    drawn = sam_scene.weights(shapes)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in drawn.items()})
    return sam.networks(model)


@pytest.fixture
def predictor(networks):
    return PromptPredictor(*networks, side=128, batch=16)


@pytest.mark.parametrize("case", PINNED["everything"], ids=lambda case: f"{case['name']}-{case['size']}")
def test_records_equal_those_of_the_reference(predictor, case):
    given = PINNED["options"][case["name"]]
    options = Options(**{ours: given[theirs] for theirs, ours in NAMES.items() if theirs in given})
    found = segment_everything(predictor, sam_scene.picture(case["size"]), options)
    records = case["records"]
    assert len(found) == len(records) > 1
    crop = np.array([record["crop"] for record in records])
    crop[:, 2:] += crop[:, :2]
    np.testing.assert_array_equal(found.extras["crop"], crop)
    np.testing.assert_allclose(found.extras["point"], [record["point"] for record in records])
    np.testing.assert_allclose(found.scores, [record["iou"] for record in records], atol=1e-4)
    np.testing.assert_allclose(
        found.extras["stability"], [record["stability"] for record in records], atol=5e-3
    )
    expected = Masks.from_coco(
        [{"size": case["size"], "counts": record["mask"]} for record in records], tuple(case["size"])
    )
    unlike = (found.masks.to_dense() != expected.to_dense()).sum((1, 2))
    assert unlike.max() <= 3  # pixels whose logit is zero to within rounding


def test_a_card_may_ask_for_the_single_mask_of_each_point(predictor):
    picture = sam_scene.picture((96, 128))
    options = Options(points=3, iou=-1e9, stability=0.0, overlap=1.0)
    several = segment_everything(predictor, picture, options)
    predictor.card = PromptCard(name="small", candidates=False)
    single = segment_everything(predictor, picture, options)
    assert len(single) <= 9 < len(several)
    answers = predictor.predict(single.extras["point"][:, None], np.ones((len(single), 1)), multimask=False)
    np.testing.assert_allclose(single.scores, answers.scores, atol=1e-5)


def drawn(*rows):
    return np.array([[character == "#" for character in row] for row in rows])


def test_small_holes_are_filled_and_small_islands_go():
    masks = Masks.from_dense(
        np.stack(
            (
                drawn("####..", "#.##.#", "####..", "......"),  # a hole and an island
                drawn("##....", "##....", "......", "......"),
                drawn("#....#", ".....#", "......", "#....."),  # all small
                drawn("......", "......", "......", "......"),
            )
        )
    )
    cleaned, changed = clean(masks, 4)
    expected = (
        drawn("####..", "####..", "####..", "......"),
        drawn("##....", "##....", "......", "......"),
        drawn(".....#", ".....#", "......", "......"),
        drawn("......", "......", "......", "......"),
    )
    np.testing.assert_array_equal(cleaned.to_dense(), np.stack(expected))
    assert changed.tolist() == [True, False, True, False]


def test_cleaning_equals_a_plain_labelling():
    from skimage.measure import label

    dense = np.random.default_rng(0).random((20, 24, 31)) < np.linspace(0.3, 0.95, 20)[:, None, None]
    expected = []
    for mask in dense:
        holes = label(~mask, connectivity=2)
        filled = mask | (np.bincount(holes.ravel()) < 9)[holes] & ~mask
        islands = label(filled, connectivity=2)
        areas = np.bincount(islands.ravel())
        keep = areas >= 9
        keep[0] = False
        expected.append(keep[islands])
    got = clean(Masks.from_dense(dense), 9)[0].to_dense()
    kept = [one.any() for one in expected]
    assert sum(kept) > 10
    np.testing.assert_array_equal(got[kept], np.array(expected)[kept])


def test_the_whole_picture_is_spoken_of_afterwards(predictor):
    picture = sam_scene.picture((96, 128))
    segment_everything(predictor, picture, Options(points=2, layers=1))
    assert predictor.predict([[3, 4]], [1]).size == (96, 128)


def test_nothing_good_enough_gives_no_instances(predictor):
    for layers in (0, 1):
        found = segment_everything(
            predictor, sam_scene.picture((96, 128)), Options(points=3, iou=99, layers=layers)
        )
        assert len(found) == 0
        assert found.size == (96, 128)


def test_a_picture_of_one_pixel(predictor):
    found = segment_everything(
        predictor, np.zeros((1, 1, 3), np.uint8), Options(points=1, layers=1, iou=-99, stability=0)
    )
    assert found.size == (1, 1)


@pytest.mark.parametrize("size", [(480, 640), (61, 300), (7, 5)])
def test_crops_cover_the_picture(size):
    covered = np.zeros((3, *size), bool)
    for x0, y0, x1, y1, layer in crops(size, 2, 512 / 1500):
        covered[layer, y0:y1, x0:x1] = True
    assert covered.all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": 0}, "points must be within 1"),
        ({"layers": 5}, r"layers must be within 0\.\.4"),
        ({"stability": 2}, r"stability must be within \[0, 1\]"),
        ({"iou": float("nan")}, "iou must be finite"),
        ({"least_area": -1}, "least_area must be at least 0"),
    ],
)
def test_options_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Options(**change)
