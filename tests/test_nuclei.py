"""The embedded model: its card, pinned outputs, and the accuracy that its documentation claims."""

import importlib.resources
from pathlib import Path

import numpy as np
import pytest

from delineate import Predictor, read_image
from delineate.formats import coco
from delineate.metrics import evaluate

GOLDEN = {"count": 112, "area": 54103, "best": 0.888, "median": 496}
PICTURE = Path(__file__).resolve().parents[1] / "examples" / "pictures" / "nuclei.png"


@pytest.fixture(scope="module")
def predictor():
    return Predictor("nuclei")


def test_the_card_says_what_it_is(predictor):
    card = predictor.card
    assert card.classes == ("nucleus",)
    assert card.licence == "CC0-1.0"
    assert {"data", "recipe", "commit", "config", "metrics"} <= card.provenance.keys()
    assert card.parity["pictures"] > 0
    assert card.parity["unmatched"] == 0


def test_the_file_is_small():
    file = importlib.resources.files("delineate") / "weights" / "nuclei.onnx"
    assert len(file.read_bytes()) <= 12e6


def test_outputs_are_pinned(predictor):
    found = predictor.predict(PICTURE)
    # Tolerances are for the arithmetic of other CPUs: a borderline nucleus may come or go.
    assert abs(len(found) - GOLDEN["count"]) <= 2
    assert found.masks.areas.sum() == pytest.approx(GOLDEN["area"], rel=0.02)
    assert found.scores.max() == pytest.approx(GOLDEN["best"], abs=0.01)
    assert np.median(found.masks.areas) == pytest.approx(GOLDEN["median"], rel=0.03)


def test_brightness_and_depth_hardly_matter(predictor):
    image = read_image(PICTURE)
    bright, dim = predictor.predict(image), predictor.predict((image // 8).astype(np.uint8))
    overlap = bright.masks.iou(dim.masks).max(axis=1)
    assert np.mean(overlap > 0.7) > 0.85


def test_a_turned_picture_gives_turned_nuclei(predictor):
    image = read_image(PICTURE)
    plain, turned = predictor.predict(image), predictor.predict(np.ascontiguousarray(np.rot90(image)))
    overlap = plain.masks.rotate90(1).iou(turned.masks).max(axis=1)
    assert np.mean(overlap > 0.7) > 0.85


def test_empty_pictures_have_no_nuclei(predictor):
    for level in (0, 40, 255):
        assert len(predictor.predict(np.full((200, 300, 3), level, np.uint8))) == 0


@pytest.mark.slow
def test_accuracy_on_the_validation_pictures(shared):
    truth = coco.read(shared / "data" / "dsb2018" / "val.json")
    predictor = Predictor("nuclei", score=0.01)
    found = truth.with_records(r.replace(instances=predictor.predict(r.path)) for r in truth)
    everything = evaluate(truth, found, max_detections=(1, 10, 1000))
    assert everything.ap >= 0.55
    assert everything.ap50 >= 0.80
    bright = truth.filter(lambda record: str(record.attributes["modality"]).startswith("fluorescence"))
    ids = {record.id for record in bright}
    report = evaluate(bright, found.filter(lambda record: record.id in ids), max_detections=(1, 10, 1000))
    assert report.ap50 >= 0.90
