"""Prompts against segment-anything's SamPredictor: pinned answers (golden/make_sam.py)."""

# ruff: noqa: E402  (torch is optional)

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from networks import network

torch = pytest.importorskip("torch", reason="the tiny model needs the extra [torch]")

from delineate import models
from delineate.errors import RuntimeFailure, WeightsError
from delineate.masks import Masks
from delineate.models import sam
from delineate.prompt import (
    Conventions,
    PromptCard,
    PromptPredictor,
    mask_logits,
    prepare,
    prepare_square,
)

GOLDEN = Path(__file__).parent / "golden"
sys.path.insert(0, str(GOLDEN))

import sam_scene

PINNED = json.loads((GOLDEN / "sam.json").read_text("utf-8"))["predictions"]
SIZE = sam_scene.SIZES[0]


@pytest.fixture(scope="module")
def networks():
    model = models.build("sam-test").eval()
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    drawn = sam_scene.weights(shapes)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in drawn.items()})
    return sam.networks(model)


@pytest.fixture
def predictor(networks):
    predictor = PromptPredictor(*networks, side=128, batch=3)
    predictor.set_image(sam_scene.picture(SIZE))
    return predictor


def asked(prompt):
    return {
        "points": prompt.get("points"),
        "labels": prompt.get("labels"),
        "boxes": prompt.get("box"),
        "mask": prompt.get("mask"),
    }


@pytest.mark.parametrize(
    "case", PINNED, ids=lambda case: f"{case['size']}-{case['prompt']}-{case['multimask']}"
)
def test_answers_equal_those_of_the_reference(predictor, case):
    predictor.set_image(sam_scene.picture(case["size"]))
    prompt = asked(sam_scene.prompts(case["size"])[case["prompt"]])
    found = predictor.predict(**prompt, multimask=case["multimask"], keep_logits=True)
    expected = Masks.from_coco(
        [{"size": case["size"], "counts": counts} for counts in case["masks"]], tuple(case["size"])
    )
    np.testing.assert_allclose(found.scores, case["ious"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.extras["stability"], case["stability"], atol=2e-3)
    low = found.extras["logits"].reshape(len(found), -1)[:, ::97]
    assert np.abs(low - case["low"]).max() < 1e-4 * np.abs(case["low"]).max()
    unlike = found.masks.to_dense() != expected.to_dense()
    logits = torch.tensor(found.extras["logits"])[None]
    content = prepare(sam_scene.picture(case["size"]), 128)[1]
    resize = torch.nn.functional.interpolate
    canvas = resize(logits, (128, 128), mode="bilinear")[..., : content[0], : content[1]]
    full = resize(canvas, case["size"], mode="bilinear")[0].numpy()
    assert np.abs(full[unlike]).max(initial=0) < 1e-4 * np.abs(case["low"]).max()  # zero to within rounding


def test_a_batch_equals_its_prompts(predictor):
    random = np.random.default_rng(0)
    points, boxes = random.uniform(0, 96, (7, 2, 2)), np.sort(random.uniform(0, 96, (7, 2, 2)), 1)
    labels = random.integers(0, 2, (7, 2))
    together = predictor.predict(points, labels, boxes.reshape(7, 4))
    assert together.extras["prompt"].tolist() == np.repeat(np.arange(7), 3).tolist()
    for index in range(7):
        alone = predictor.predict(points[index], labels[index], boxes[index].ravel())
        part = together[together.extras["prompt"] == index]
        np.testing.assert_allclose(part.scores, alone.scores, atol=1e-5)
        assert (part.masks.to_dense() != alone.masks.to_dense()).mean() < 1e-4


def test_no_prompts_give_no_instances(predictor):
    found = predictor.predict(np.zeros((0, 1, 2)), np.zeros((0, 1)))
    assert len(found) == 0
    assert found.size == SIZE
    assert len(predictor.predict(boxes=np.zeros((0, 4)))) == 0


def test_a_picture_is_encoded_once(networks):
    calls = []
    predictor = PromptPredictor(
        lambda arrays: calls.append(1) or networks[0](arrays), networks[1], side=128, remember=2
    )
    first, second, third = (sam_scene.picture(size) for size in sam_scene.SIZES[:3])
    assert predictor.set_image(first) is predictor.set_image(first.copy())
    predictor.set_image(second)
    predictor.set_image(first)
    assert len(calls) == 2
    predictor.set_image(third)  # the second is forgotten: the first was used later
    predictor.set_image(first)
    assert len(calls) == 3
    predictor.set_image(second)
    assert len(calls) == 4
    predictor.set_image(second.reshape(second.shape[1], second.shape[0], 3)[::-1])
    assert len(calls) == 5


def test_pictures_of_one_content_and_another_shape_are_told_apart(predictor):
    flat = np.zeros((8, 18, 3), np.uint8)
    assert predictor.set_image(flat).size == (8, 18)
    assert predictor.set_image(flat.reshape(18, 8, 3)).size == (18, 8)


def test_a_mask_of_the_picture_is_a_prompt(predictor):
    drawn = Masks.from_boxes([[20, 10, 60, 70], [0, 0, 128, 96]], SIZE)
    scene = predictor.set_image(sam_scene.picture(SIZE))
    by_masks = predictor.predict(mask=drawn, multimask=False)
    by_logits = predictor.predict(mask=mask_logits(drawn, scene.content, 128, 32), multimask=False)
    assert by_masks == by_logits
    assert len(by_masks) == 2
    assert abs(by_masks.scores[0] - by_masks.scores[1]) > 1e-3


def test_answers_below_a_predicted_iou_are_left_out(predictor):
    whole = predictor.predict([[[30, 40]], [[80, 60]]], [[1], [1]])
    least = float(np.median(whole.scores))
    some = predictor.predict([[[30, 40]], [[80, 60]]], [[1], [1]], least_iou=least)
    assert 0 < len(some) < len(whole)
    assert some == whole[whole.scores > least]


def test_an_encoding_can_be_used_again(predictor):
    first = predictor.encode(sam_scene.picture(SIZE))
    second = predictor.set_image(sam_scene.picture((61, 300)))
    assert predictor.predict(boxes=[0, 0, 30, 30]).size == second.size == (61, 300)
    predictor.use(first)
    assert predictor.predict(boxes=[0, 0, 30, 30]).size == SIZE


def test_an_answer_is_refined_by_its_own_logits(predictor):
    first = predictor.predict([[30, 40]], [1], keep_logits=True)
    second = predictor.predict([[30, 40], [80, 60]], [1, 0], mask=first.extras["logits"][1], multimask=False)
    assert len(second) == 1


def test_mask_logits_are_the_covered_share():
    masks = Masks.from_boxes([[0, 0, 3, 4], [2, 2, 3, 3], [0, 0, 0, 0]], (4, 8))
    logits = mask_logits(masks, (64, 128), 128, 32)
    assert logits.shape == (3, 32, 32)
    np.testing.assert_allclose(logits[0, :16, :12], 10)
    np.testing.assert_allclose(logits[0, :, 12:], -10)
    assert (logits[1] > 0).sum() == 16
    assert (logits[2] == -10).all()
    half = mask_logits(Masks.from_boxes([[0, 0, 1, 4]], (4, 4)), (64, 64), 64, 2)
    np.testing.assert_allclose(half[0], [[0, -10], [0, -10]], atol=0.1)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (128, 128), (129, 128)])
def test_the_longest_side_fills_the_input(size):
    pixels, content = prepare(np.full((*size, 3), 255, np.uint8), 128)
    assert max(content) == 128
    assert min(content) >= 1
    white = (255 - np.array([123.675, 116.28, 103.53])) / [58.395, 57.12, 57.375]
    np.testing.assert_allclose(pixels[0, :, content[0] - 1, content[1] - 1], white, rtol=1e-5)
    assert not pixels[0, :, content[0] :].any()
    assert not pixels[0, :, :, content[1] :].any()


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({}, "points, boxes or mask must be given"),
        ({"points": [[1, 2]]}, "points and labels must come together"),
        ({"points": [[1, 2]], "labels": [1, 1]}, "points must have shape"),
        ({"points": [[1, 2]], "labels": [2]}, "labels must be 1, 0 or -1"),
        ({"points": [[1, np.nan]], "labels": [1]}, "must be finite"),
        ({"boxes": [1, 2, 3]}, "boxes must have shape"),
        (
            {"boxes": [[1, 2, 3, 4]] * 2, "points": [[1, 2]], "labels": [1]},
            "must be of as many prompts, got 1 and 2",
        ),
        ({"mask": np.zeros((31, 32))}, r"mask must be Masks or logits \(32, 32\)"),
        ({"mask": np.zeros((2, 32, 32)), "boxes": [1, 2, 3, 4]}, "one mask per prompt, got 2 for 1"),
        ({"mask": Masks.empty((3, 3))}, "mask must be on the picture's canvas"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(predictor, prompt, message):
    with pytest.raises(ValueError, match=message):
        predictor.predict(**prompt)


def test_a_picture_comes_first(networks):
    with pytest.raises(ValueError, match="a picture must be set first"):
        PromptPredictor(*networks, side=128).predict(boxes=[0, 0, 3, 3])


@pytest.mark.parametrize("option", ["side", "batch", "remember"])
def test_options_are_at_least_one(networks, option):
    with pytest.raises(ValueError, match=f"{option} must be at least 1, got 0"):
        PromptPredictor(*networks, **{option: 0})


def test_files_of_another_kind_are_refused():
    content = network({"output0": np.zeros(3, np.float32)})
    with pytest.raises(RuntimeFailure, match="the encoder must give an embedding"):
        PromptPredictor.load(content, content)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (200, 90), (128, 128), (61, 300)])
@pytest.mark.parametrize("antialias", [True, False])
def test_a_square_is_what_torch_interpolates(size, antialias):
    picture = sam_scene.picture(size)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    planes = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    resize = torch.nn.functional.interpolate
    expected = resize(planes, (128, 128), mode="bilinear", antialias=antialias)[0].permute(1, 2, 0).numpy()
    found = prepare_square(picture, 128, antialias=antialias)[0].transpose(1, 2, 0)
    np.testing.assert_allclose(found, (expected - mean) / std, atol=2e-5)


def asking(conventions):
    """A predictor of those conventions, and what its decoder is asked."""
    asked = []

    def decode(arrays):
        asked.append((arrays["point_coords"].tolist(), arrays["point_labels"].tolist()))
        count = len(arrays["point_coords"])
        return {"low_res_masks": np.full((count, 4, 8, 8), 40.0), "iou_predictions": np.ones((count, 4))}

    predictor = PromptPredictor(
        lambda _: {"image_embeddings": np.zeros((1, 8, 2, 2))}, decode, side=32, conventions=conventions
    )
    predictor.set_image(np.zeros((16, 64, 3), np.uint8))
    return predictor, asked


@pytest.mark.parametrize(
    ("conventions", "coords", "labels"),
    [
        (Conventions(), [[4, 3], [0, 0]], [1, -1]),
        (Conventions(resize="square"), [[4, 12], [0, 0]], [1, -1]),
        (Conventions(resize="sampled", ending="never"), [[4, 12]], [1]),
    ],
)
def test_points_are_placed_and_ended_by_the_models_conventions(conventions, coords, labels):
    predictor, asked = asking(conventions)
    predictor.predict([[8, 6]], [1])
    assert asked.pop() == ([coords], [labels])
    predictor.predict(boxes=[8, 6, 8, 6])
    assert asked.pop() == ([[coords[0]] * 2], [[2, 3]])


def test_no_more_points_than_a_model_takes():
    predictor, asked = asking(Conventions(points=3))
    predictor.predict([[[0, 0], [2, 2], [4, 4]], [[6, 6], [0, 0], [8, 8]]], [[1, 0, 1], [-1, -1, 1]])
    coords, labels = asked.pop()
    assert labels == [[1, 0, 1], [1, -1, -1]]
    assert (coords[0], coords[1][0]) == ([[0, 0], [1, 1], [2, 2]], [4, 4])
    with pytest.raises(ValueError, match="at most 3 for this model, where a box counts as two, got 4"):
        predictor.predict([[0, 0], [2, 2]], [1, 1], [0, 0, 4, 4])


def test_what_a_model_does_not_understand_is_refused():
    predictor, asked = asking(Conventions(negative=False, masks=False))
    with pytest.raises(ValueError, match="knows no points outside of the object, got 0. Draw a box"):
        predictor.predict([[0, 0]], [0])
    with pytest.raises(ValueError, match="knows no masks as prompts. Ask with the mask's box"):
        predictor.predict(mask=Masks.empty((16, 64)))
    assert asked == []


def test_logits_are_bounded_where_the_model_says_so():
    predictor, _ = asking(Conventions(limit=32))
    assert predictor.predict([[0, 0]], [1], keep_logits=True).extras["logits"].max() == 32


def test_a_card_holds_the_conventions():
    card = PromptCard(name="some", conventions=Conventions(resize="sampled", points=6, masks=False))
    assert PromptCard.from_json(card.to_json()) == card
    with pytest.raises(WeightsError, match="must be readable"):
        PromptCard.from_json(card.to_json().replace("sampled", "other"))
    with pytest.raises(WeightsError, match="must be readable"):
        PromptCard.from_json(card.to_json().replace("6", "1"))
    with pytest.raises(ValueError, match="points must be at least 2"):
        Conventions(points=1)
