"""Tiles: they cover, they overlap, and what comes out does not depend on them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import nuclei

from delineate.instances import Instances
from delineate.postprocess.tiles import segment_tiled, tiles


@given(st.integers(1, 300), st.integers(1, 300), st.integers(20, 90), st.integers(0, 19))
def test_tiles_cover_the_picture_and_overlap(height, width, side, overlap):
    covered = np.zeros((height, width), int)
    windows = tiles((height, width), side, overlap)
    for tile in windows:
        assert 1 <= tile.height <= side
        assert 1 <= tile.width <= side
        assert 0 <= tile.top <= height - tile.height
        assert 0 <= tile.left <= width - tile.width
        covered[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width] += 1
    assert covered.min() >= 1
    for starts, length in (
        (sorted({t.top for t in windows}), height),
        (sorted({t.left for t in windows}), width),
    ):
        if len(starts) > 1:
            assert max(np.diff(starts)) <= side - overlap
            assert starts[-1] + side == length


def test_a_picture_that_fits_is_one_tile():
    assert len(tiles((50, 40), 50, 10)) == 1


@pytest.mark.parametrize(("side", "overlap"), [(10, 10), (10, 12), (10, -1)])
def test_tiles_that_never_end_are_refused(side, overlap):
    with pytest.raises(ValueError, match="side must be more than overlap"):
        tiles((50, 40), side, overlap)


class Oracle:
    """Finds in a tile exactly what the truth has there, cut by the tile's borders."""

    def __init__(self, truth, image):
        self.truth, self.image = truth, image
        self.calls = 0

    def __call__(self, pixels):
        self.calls += 1
        top, left = self.position(pixels)
        height, width = pixels.shape[:2]
        masks = self.truth.masks.translate(-top, -left, (height, width))
        seen = masks.areas > 0
        # A piece scores higher than the whole, to show that scores do not decide between them.
        part = masks.areas / self.truth.masks.areas
        return Instances.of(masks[seen], scores=(1 - 0.5 * part[seen]), ids=np.flatnonzero(seen))

    def position(self, pixels):
        """The picture holds its own coordinates."""
        return int(pixels[0, 0, 0]) * 256 + int(pixels[0, 0, 1]) & 0xFFFF, int(pixels[0, 0, 2]) * 4


def coordinates(height, width):
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 1] = (
        np.divmod(np.arange(height), 256)[0][:, None],
        (np.arange(height) % 256)[:, None],
    )
    image[..., 2] = (np.arange(width) // 4)[None]
    return image


@pytest.mark.parametrize("seed", range(4))
def test_objects_that_fit_the_overlap_do_not_depend_on_the_tiles(seed):
    _, truth = nuclei(seed=seed, size=(212, 308), count=60, radius=(3.0, 9.0), touching=0.5)
    image = coordinates(212, 308)
    oracle = Oracle(truth, image)
    found = segment_tiled(image, oracle, side=100, overlap=48)
    assert oracle.calls > 4
    order = np.argsort(found.ids)
    assert np.array_equal(found.ids[order], np.arange(len(truth)))
    assert found.masks[order] == truth.masks
    assert (np.diff(found.scores) <= 0).all()
    assert found.size == truth.size


def test_a_small_picture_is_passed_through():
    image = np.zeros((20, 30, 3), np.uint8)
    marker = Instances.empty((20, 30), scored=True)
    assert segment_tiled(image, lambda pixels: marker, 32, 8) is marker


def test_nothing_anywhere():
    image = np.zeros((100, 130, 3), np.uint8)
    found = segment_tiled(image, lambda p: Instances.empty(p.shape[:2], scored=True), 40, 10)
    assert len(found) == 0
    assert found.size == (100, 130)


def test_boxes_alone_are_refused():
    image = np.zeros((50, 50, 3), np.uint8)
    with pytest.raises(ValueError, match="must have masks"):
        segment_tiled(image, lambda p: Instances(p.shape[:2], [[0, 0, 4, 4]], [0], [0.5]), 30, 10)
