"""The panel beside a picture: where it stands, that nothing lies outside of it, and that colours are those given."""

import numpy as np
import pytest

from delineate.legend import Entry, with_legend

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.mark.parametrize(
    ("size", "below"), [((40, 40), False), ((400, 300), False), ((300, 400), True), ((1, 1), False)]
)
def test_the_picture_stays_and_the_panel_stands_beside_it(size, below):
    picture = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    kept = picture.copy()
    found = with_legend(picture, [Entry(RED, "car", "2"), Entry(BLUE, "sky", "12.5 %")])
    assert np.array_equal(found[: size[0], : size[1]], kept)
    assert np.array_equal(picture, kept)
    assert (found.shape[0] > size[0]) == below or size[0] < 60
    for colour in (RED, BLUE):
        places = np.argwhere((found == colour).all(2))
        outside = places[(places[:, 0] >= size[0]) | (places[:, 1] >= size[1])]
        assert len(outside) > 20
        assert (outside.max(0) < np.array(found.shape[:2]) - 3).all()


def test_many_entries_end_with_how_many_more():
    entries = [Entry(RED, f"class {n}", "1") for n in range(200)]
    portrait = with_legend(np.zeros((200, 100, 3), np.uint8), entries)
    assert portrait.shape[0] == 200
    wide = with_legend(np.zeros((100, 200, 3), np.uint8), entries)
    assert wide.shape[0] > 500  # below there is room for all


def test_long_names_are_cut_and_not_drawn_over_the_amount():
    entry = Entry(RED, "a very long name of a class that nobody can read " * 3, "12")
    found = with_legend(np.zeros((200, 200, 3), np.uint8), [entry])
    assert found.shape[1] < 450
