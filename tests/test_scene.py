"""Pictures in tiles give what whole pictures give, where the network looks at single pixels."""

import numpy as np
import pytest

from delineate import scene
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.modelfile import Preprocess
from delineate.postprocess.decode import Thresholds
from delineate.postprocess.panoptic import Rules, combine
from delineate.postprocess.semantic import ClassMap


def levels(tensor, _):
    """Three classes by brightness."""
    grey = tensor[:, :1] * 255
    return [np.concatenate([100 - np.abs(grey - level) for level in (0, 100, 200)], axis=1)]


def picture(size, seed=0):
    rng = np.random.default_rng(seed)
    return rng.choice(np.array([0, 100, 200], np.uint8), size)[..., None].repeat(3, axis=2)


@pytest.mark.parametrize("size", [(1, 1), (40, 30), (100, 33), (130, 170)])
def test_class_maps_of_tiles_are_those_of_the_whole(size):
    image = picture(size)
    tiled = Preprocess(rule="native", multiple=8, tile=64, overlap=16)
    found = scene.class_map(image, tiled, levels)
    assert np.array_equal(found.classes, image[..., 0] // 100)
    assert found.scores.shape == size
    assert (found.scores > 0.9).all()


def test_tiles_are_cut_in_the_middle_of_their_overlap():
    """Each tile says its own number: the seams show."""
    calls = []

    def number(tensor, content):
        calls.append(content)
        logits = np.zeros((1, 4, *tensor.shape[2:]), np.float32)
        logits[:, len(calls) - 1] = 9
        return [logits]

    tiled = Preprocess(rule="native", multiple=8, tile=64, overlap=16)
    found = scene.class_map(np.zeros((64, 112, 3), np.uint8), tiled, number).classes
    assert calls == [(64, 64), (64, 64)]
    assert (found[0, :56] == 0).all()  # tiles 0..64 and 48..112 meet at 56
    assert (found[0, 56:] == 1).all()


def halves_of(tensor, content):
    """One object on every bright pixel's box (a single square), stuff by brightness."""
    bright = tensor[0, 0] > 0.9
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    stuff = np.concatenate(
        [tensor[:, :1] * 0, 100 - np.abs(tensor[:, :1] * 255 - 100), 100 - tensor[:, :1] * 255], axis=1
    ).astype(np.float32)
    if not len(rows):
        return [np.zeros((0, 4), np.float32), np.zeros(0), np.zeros(0), np.zeros((0, 28, 28)), stuff]
    box = np.float32([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]])
    return [box, np.float32([0.9]), np.zeros(1, np.int64), np.full((1, 28, 28), 9, np.float32), stuff]


def test_panoptic_pictures_of_tiles_are_those_of_the_whole():
    image = np.zeros((90, 150, 3), np.uint8)
    image[:, 70:] = 100
    image[30:40, 60:72] = 255  # fits into the overlap
    shared = {"thresholds": Thresholds(score=0.5), "classes": 1, "rules": Rules(stuff_area=1)}
    whole = scene.panoptic(image, Preprocess(rule="native", multiple=2, tile=256), halves_of, **shared)
    tiled = Preprocess(rule="native", multiple=2, tile=64, overlap=24)
    parts = scene.panoptic(image, tiled, halves_of, **shared)
    assert len(tiled.tiles((90, 150))) > 1
    assert np.array_equal(parts.map, whole.map)
    assert parts.labels.tolist() == whole.labels.tolist() == [0, 1, 2]
    masks = Masks.from_boxes(np.float32([[60, 30, 72, 40]]), (90, 150))
    stuff = ClassMap(np.where(image[..., 0] == 0, 2, 1).astype(np.int32), np.ones((90, 150), np.float32))
    want = combine(Instances.of(masks, scores=[0.9]), stuff, [-1, 1, 2], Rules(stuff_area=1))
    assert np.array_equal(whole.map, want.map)


def test_too_many_outputs_are_refused():
    with pytest.raises(ValueError, match="logits alone, got 2"):
        scene.class_map(np.zeros((8, 8, 3), np.uint8), Preprocess(rule="native"), lambda *_: [1, 2])
