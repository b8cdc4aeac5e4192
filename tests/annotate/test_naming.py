"""Texts name objects of a picture: described once, asked often."""

import colours
import numpy as np
import pytest

from delineate.annotate.naming import MAX_TEXT, Namer
from delineate.annotate.prompts import Prompt, Sessions
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.predict import Predictor
from delineate.text import find

PICTURE, TRUTH = colours.scene(colours.DISCS)


class Fixed(Predictor):
    """Sees the discs, an object without pixels, and no colours."""

    def __init__(self, truth=TRUTH):
        hollow = Masks.from_dense(np.zeros((1, *truth.size), bool))
        self.found = Instances.of(Masks.concat([truth.masks, hollow]), scores=np.ones(len(truth) + 1))

    def predict(self, pictures):
        return self.found


def counting():
    asked = {"texts": 0, "pictures": 0}

    def count(name, encode):
        def call(given):
            asked[name] += 1
            return encode(given)

        return call

    plain = colours.encoder()
    changed = {name: count(name, getattr(plain, name)) for name in asked}
    return plain._replace(**changed), asked


def test_a_picture_is_described_once_and_each_text_encoded_once():
    encoder, asked = counting()
    namer = Namer(Fixed(), encoder)
    described = namer.encode(PICTURE)
    assert len(described.found) == len(described.vectors) == len(TRUTH)
    seen = asked["pictures"]
    for text in ("red", "blue", " red ", "red"):
        named = namer.find(described, text)
        own = find(Fixed(), colours.encoder(), PICTURE, [text])
        assert named == own
        assert len(named)
    assert asked == {"texts": 4, "pictures": seen}  # two texts, each with what it is compared to


def test_a_picture_without_objects():
    namer = Namer(Fixed(TRUTH[:0]), colours.encoder())
    assert len(namer.find(namer.encode(PICTURE), "red")) == 0


@pytest.mark.parametrize("text", ["", "  ", "x" * (MAX_TEXT + 1)])
def test_texts_are_bounded(text):
    namer = Namer(Fixed(), colours.encoder())
    with pytest.raises(ValueError, match="text must have 1 to 200 characters"):
        namer.find(namer.encode(PICTURE), text)


def test_remembered_texts_are_bounded(monkeypatch):
    monkeypatch.setattr("delineate.annotate.naming._REMEMBERED", 2)
    encoder, asked = counting()
    namer = Namer(Fixed(), encoder)
    described = namer.encode(PICTURE)
    for text in ("red", "blue", "green", "red"):
        namer.find(described, text)
    assert asked["texts"] == 8


def test_it_waits_in_the_background_and_answers_no_clicks():
    sessions = Sessions(Namer(Fixed(), colours.encoder()), lambda _: PICTURE)
    described = sessions.encoded(0, "v")
    assert len(sessions.ask(0, "v", Prompt(np.array([[24.0, 20.0]]), np.array([1])))) == 0
    assert sessions.encoded(0, "v") is described
    sessions.close(5)
