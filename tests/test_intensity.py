"""Statistics under masks against numpy on the pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_masks import stacks

from delineate.algebra import from_label_map
from delineate.intensity import intensities
from delineate.masks import Masks

DTYPES = [np.uint8, np.uint16, np.int16, np.float32, np.float64, ">u2", ">f4", bool]


@settings(max_examples=100, deadline=None)
@given(
    stacks(max_side=40), st.sampled_from(DTYPES), st.sampled_from([None, 1, 2, 5]), st.integers(0, 2**32 - 1)
)
def test_equal_to_numpy(dense, dtype, channels, seed):
    shape = dense.shape[1:] if channels is None else (*dense.shape[1:], channels)
    image = (np.random.default_rng(seed).random(shape) * 60_000).astype(np.uint16).astype(dtype)
    found = intensities(Masks.from_dense(dense), image)
    for column in found:
        assert column.shape == ((len(dense),) if channels is None else (len(dense), channels))
        assert column.dtype == np.float64
    values = image.astype(np.float64)
    for n, mask in enumerate(dense):
        if not mask.any():
            assert np.all(found.sum[n] == 0)
            assert np.isnan([found.mean[n], found.min[n], found.max[n], found.std[n], found.median[n]]).all()
            continue
        under = values[mask]
        for name in ("mean", "min", "max", "std", "sum", "median"):
            expected = getattr(np, name)(under, axis=0)
            np.testing.assert_allclose(getattr(found, name)[n], expected, rtol=1e-9, atol=1e-9, err_msg=name)


def test_views_are_read_as_they_are():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (2, 20, 30), np.uint8)
    masks = Masks.from_dense(rng.random((3, 30, 20)) < 0.5)
    expected = intensities(masks, np.ascontiguousarray(image.transpose(2, 1, 0)))
    for ours, theirs in zip(intensities(masks, image.transpose(2, 1, 0)), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_not_a_number_spreads_and_infinity_is_a_number():
    masks = Masks.from_dense(np.array([[[1, 1, 0, 0]], [[0, 1, 1, 0]], [[0, 0, 1, 1]]], bool))
    found = intensities(masks, np.array([[np.nan, 1, np.inf, 2]]))
    assert np.isnan([column[0] for column in found]).all()
    assert (found.min[1], found.max[1], found.sum[1], found.median[1]) == (1, np.inf, np.inf, np.inf)
    assert found.min.tolist()[1:] == [1, 2]


def test_ten_thousand_objects():
    cells = np.kron(np.arange(1, 10_001).reshape(100, 100), np.ones((4, 4), int))
    masks, values = from_label_map(cells.astype(np.uint32))
    found = intensities(masks, cells.astype(np.float32))
    assert (found.median == values).all()
    assert not found.std.any()


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 6)), np.zeros((4, 5, 1, 1)), np.zeros((4, 5), complex), np.array([["a"]]), np.zeros(20)],
)
def test_wrong_pictures_are_named(image):
    masks = Masks.from_dense(np.ones((1, 4, 5), bool))
    with pytest.raises(ValueError, match=r"image must be numbers of shape \(4, 5\)"):
        intensities(masks, image)
    assert intensities(masks[:0], np.zeros((4, 5, 0))).mean.shape == (0, 0)
