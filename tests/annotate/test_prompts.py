import threading
import time

import numpy as np
import pytest
from synthetic import nuclei

from delineate.annotate import prompts as module
from delineate.annotate.prompts import MAX_POINTS, Chooser, Prompt, Promptable, Sessions
from delineate.errors import DelineateError
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.prompt import Conventions, PromptCard, PromptPredictor


def prompt(*points, labels=None, box=None, mask=None):
    given = np.array(points, np.float64).reshape(-1, 2)
    signs = np.ones(len(given), np.int64) if labels is None else np.array(labels)
    return Prompt(given, signs, None if box is None else np.array(box, float), mask)


@pytest.fixture(scope="module")
def chooser():
    return Chooser.load("nuclei")


@pytest.fixture(scope="module")
def scene(chooser):
    image, truth = nuclei(seed=3, size=(96, 128))
    return truth, chooser.encode(image)


def centre(masks, n):
    area, y, x = masks.moments()[n, :3]
    return x / area + 0.5, y / area + 0.5


def test_a_click_takes_the_object_under_it(chooser, scene):
    _, encoded = scene
    point = centre(encoded.masks, 0)
    found = chooser.answer(encoded, prompt(point))
    assert found.masks[:1] == encoded.masks[:1]
    covers = encoded.masks.to_dense().any(axis=0)
    y, x = np.argwhere(~covers)[0]
    assert len(chooser.answer(encoded, prompt((x + 0.5, y + 0.5)))) == 0


def test_a_box_takes_the_object_that_fills_it(chooser, scene):
    _, encoded = scene
    found = chooser.answer(encoded, prompt(box=encoded.boxes[1] + [-1, -1, 1, 1]))
    assert found.masks == encoded.masks[1:2]
    assert len(chooser.answer(encoded, prompt(box=[0, 0, 128, 96]))) == 0


def test_clicks_join_objects_and_take_them_out(chooser, scene):
    _, encoded = scene
    dense = encoded.masks.to_dense()
    free = [n for n in range(len(dense)) if not (dense[n] & np.delete(dense, n, 0).any(axis=0)).any()][:2]
    points = [centre(encoded.masks, n) for n in free]
    both = chooser.answer(encoded, prompt(*points))
    assert (both.masks.to_dense()[0] == dense[free].any(axis=0)).all()
    less = chooser.answer(encoded, prompt(points[1], labels=[0], mask=both.masks))
    assert less.masks == encoded.masks[free[:1]]
    more = chooser.answer(encoded, prompt(points[1], mask=less.masks))
    assert more.masks == both.masks
    hole = np.argwhere(~dense.any(axis=0))[0][::-1] + 0.5
    assert len(chooser.answer(encoded, prompt(hole, mask=both.masks))) == 0


def test_nothing_found_is_nothing_to_choose(chooser):
    encoded = Instances.empty((50, 50), scored=True)
    assert len(chooser.answer(encoded, prompt((3, 3), box=[0, 0, 9, 9]))) == 0


def stub_pair():
    """Networks whose mask is positive left of the first point; the third candidate is the best one."""
    seen = []

    def encoder(inputs):
        return {"image_embeddings": np.zeros((1, 4, 4, 4), np.float32)}

    def decoder(inputs):
        seen.append(inputs)
        columns = np.arange(16)[None, None, None]
        logits = np.where(columns < inputs["point_coords"][:, 0, 0][:, None, None, None] / 4, 9.0, -9.0)
        logits = np.broadcast_to(logits, (1, 4, 16, 16)).astype(np.float32)
        return {"low_res_masks": logits, "iou_predictions": np.array([[0.5, 0.1, 0.7, 0.9]], np.float32)}

    return PromptPredictor(encoder, decoder, side=64), seen


def test_promptable_pairs():
    predictor, seen = stub_pair()
    engine = Promptable(predictor, "tiny")
    encoded = engine.encode(np.zeros((32, 64, 3), np.uint8))
    found = engine.answer(encoded, prompt((32.5, 16)))
    assert found.scores.tolist() == [pytest.approx(0.9), pytest.approx(0.7), pytest.approx(0.1)]
    assert found.masks.boxes[0].tolist()[2] == pytest.approx(32, abs=2)
    assert seen[-1]["point_coords"][0, 0].tolist() == [32, 15.5]  # there, whole numbers are centres
    assert len(engine.answer(encoded, prompt((32.5, 16), (3, 3), labels=[1, 0]))) == 1
    assert len(engine.answer(encoded, prompt(box=[4, 4, 40, 30]))) == 1
    refined = engine.answer(encoded, prompt((32.5, 16), mask=Masks.from_boxes([[4, 4, 9, 9]], (32, 64))))
    assert (len(refined), seen[-1]["has_mask_input"].tolist()) == (1, [1])
    assert len(engine.answer(encoded, prompt((0.5, 16)))) == 0  # empty masks are no answers


def test_a_card_may_ask_for_the_single_mask():
    predictor, _ = stub_pair()
    predictor.card = PromptCard(name="tiny", candidates=False)
    engine = Promptable(predictor, "tiny")
    found = engine.answer(engine.encode(np.zeros((32, 64, 3), np.uint8)), prompt((32.5, 16)))
    assert found.scores.tolist() == [pytest.approx(0.5)]


def test_a_model_without_mask_prompts_is_shown_the_box_of_what_is_refined():
    predictor, seen = stub_pair()
    predictor.conventions = Conventions(masks=False, negative=False)
    engine = Promptable(predictor, "tiny")
    encoded, mask = engine.encode(np.zeros((32, 64, 3), np.uint8)), Masks.from_boxes([[4, 4, 9, 9]], (32, 64))
    assert len(engine.answer(encoded, prompt((32.5, 16), mask=mask))) == 1
    assert seen[-1]["has_mask_input"].tolist() == [0]
    assert seen[-1]["point_coords"].tolist() == [[[32, 15.5], [3.5, 3.5], [8.5, 8.5]]]
    engine.answer(encoded, prompt((32.5, 16), box=[1, 2, 3, 4], mask=mask))
    assert seen[-1]["point_coords"][0, 1:].tolist() == [[0.5, 1.5], [2.5, 3.5]]
    with pytest.raises(ValueError, match="knows no points outside of the object"):
        engine.answer(encoded, prompt((32.5, 16), labels=[0], mask=mask))


class Counting:
    name, kind = "counting", "promptable"

    def __init__(self, gate=None):
        self.encoded, self.gate = [], gate
        self.began = threading.Event()

    def encode(self, image):
        self.began.set()
        if self.gate:
            self.gate.wait(5)
        if image[0, 0, 0] == 13:
            raise DelineateError("no luck")
        self.encoded.append(int(image[0, 0, 0]))
        return image

    def answer(self, encoded, prompt):
        return Instances.empty(encoded.shape[:2], scored=True)


def picture(number):
    return np.full((4, 4, 3), number, np.uint8)


def test_pictures_are_encoded_once_and_few_are_remembered():
    engine = Counting()
    sessions = Sessions(engine, picture, remembered=2)
    for number in (1, 1, 2, 1, 3, 1, 2):
        sessions.ask(number, "v", prompt((1, 1)))
    assert engine.encoded == [1, 2, 3, 2]
    assert (sessions.state(1, "v"), sessions.state(3, "v"), sessions.state(1, "other")) == (
        "ready",
        "none",
        "none",
    )
    sessions.close()


def test_pictures_that_nobody_looks_at_any_more_are_not_encoded():
    gate = threading.Event()
    engine = Counting(gate)
    sessions = Sessions(engine, picture)
    sessions.prepare(0, "v")
    engine.began.wait(5)
    for number in range(5):
        sessions.prepare(number, "v")
    assert (sessions.state(0, "v"), sessions.state(2, "v")) == ("encoding", "none")
    assert sessions.busy
    gate.set()
    sessions.ask(2, "v", prompt((1, 1)))
    assert not sessions.busy
    assert engine.encoded[-1] == 2
    assert 1 not in engine.encoded
    sessions.close()


def test_two_pages_that_wait_for_two_pictures_both_get_theirs():
    gate = threading.Event()
    engine = Counting(gate)
    sessions = Sessions(engine, picture)
    sessions.prepare(0, "v")
    engine.began.wait(5)
    threads = [threading.Thread(target=sessions.encoded, args=(number, "v")) for number in (1, 2)]
    for thread in threads:
        thread.start()
    while sessions.state(1, "v") == "none" or sessions.state(2, "v") == "none":
        time.sleep(0.005)
    sessions.prepare(3, "v")  # a third page that only looks: those that wait keep their place
    sessions.prepare(4, "v")
    assert (sessions.state(1, "v"), sessions.state(2, "v")) == ("encoding", "encoding")
    gate.set()
    for thread in threads:
        thread.join(5)
    sessions.encoded(4, "v")
    assert engine.encoded == [0, 1, 2, 4]
    sessions.close()


def test_the_end_and_a_model_that_takes_too_long_are_told(monkeypatch):
    gate = threading.Event()
    engine = Counting(gate)
    sessions = Sessions(engine, picture)
    sessions.prepare(0, "v")
    engine.began.wait(5)
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    with pytest.raises(DelineateError, match="takes too long"):
        sessions.encoded(0, "v")
    monkeypatch.setattr(module, "_PATIENCE", 5)
    told = []

    def wait():
        try:
            sessions.encoded(1, "v")
        except DelineateError as error:
            told.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    while sessions.state(1, "v") == "none":
        time.sleep(0.005)
    sessions.close(patience=0)
    thread.join(5)
    gate.set()
    assert told == ["prompt: the server is being stopped."]
    with pytest.raises(DelineateError, match="stopped"):
        sessions.prepare(2, "v")


def test_what_fails_says_so_and_is_tried_again():
    engine = Counting()
    sessions = Sessions(engine, picture)
    for _ in range(2):
        with pytest.raises(DelineateError, match="no luck"):
            sessions.ask(13, "v", prompt((1, 1)))
    assert sessions.state(13, "v") == "failed"
    sessions.close()


def test_prompts_are_bounded():
    sessions = Sessions(Counting(), picture)
    with pytest.raises(ValueError, match="at most"):
        sessions.ask(1, "v", prompt(*[(1, 1)] * (MAX_POINTS + 1)))
    with pytest.raises(ValueError, match="points or a box"):
        sessions.ask(1, "v", prompt())
    sessions.close()
