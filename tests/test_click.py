"""The embedded promptable model: its card, and answers on a picture that it never saw."""

import importlib.resources

import numpy as np
import pytest
from synthetic import nuclei

from delineate.masks import Masks
from delineate.prompt import PromptPredictor, embedded


@pytest.fixture(scope="module")
def predictor():
    return PromptPredictor.load("click")


@pytest.fixture(scope="module")
def scene():
    """Nuclei of 24 to 40 pixels across, and where each is thickest to within a pixel or two."""
    image, truth = nuclei(5, (256, 256), 10, radius=(12.0, 20.0), touching=0.0)
    boxes = truth.boxes
    return image, truth.masks, boxes, (boxes[:, :2] + boxes[:, 2:] - 1) / 2


def overlaps(found, truth):
    return np.diagonal(found.masks.iou(truth))


def test_the_card_says_what_it_is(predictor):
    assert "click" in embedded()
    assert predictor.card.licence == "CC-BY-4.0"
    assert not predictor.card.candidates
    assert {"data", "recipe", "attribution", "iou"} <= predictor.card.provenance.keys()


def test_the_pair_is_small():
    folder = importlib.resources.files("delineate") / "weights"
    assert sum(len((folder / f"click_{part}.onnx").read_bytes()) for part in ("encoder", "decoder")) <= 12e6


def test_clicks_and_boxes_find_what_they_point_at(predictor, scene):
    image, truth, boxes, centres = scene
    predictor.set_image(image)
    clicked = predictor.predict(centres[:, None], np.ones((len(centres), 1)), multimask=False)
    assert overlaps(clicked, truth).mean() > 0.7
    boxed = predictor.predict(boxes=boxes - 0.5, multimask=False)
    assert overlaps(boxed, truth).mean() > 0.75


def test_brightness_hardly_matters(predictor, scene):
    image, _, _, centres = scene
    answers = []
    for picture in (image, (image // 6).astype(np.uint8)):
        predictor.set_image(picture)
        answers.append(predictor.predict(centres[:, None], np.ones((len(centres), 1)), multimask=False).masks)
    assert np.mean(np.diagonal(answers[0].iou(answers[1])) > 0.7) > 0.8


def test_a_mask_is_refined(predictor, scene):
    image, truth, boxes, centres = scene
    predictor.set_image(image)
    rough = Masks.from_boxes(np.round(boxes + np.array([-6, -6, 6, 6])).clip(0, 256), image.shape[:2])
    found = predictor.predict(centres[:, None], np.ones((len(centres), 1)), mask=rough, multimask=False)
    assert overlaps(found, truth).mean() > np.diagonal(rough.iou(truth)).mean()
