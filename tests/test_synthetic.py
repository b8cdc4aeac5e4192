import numpy as np
import pytest
import synthetic


@pytest.mark.parametrize("style", synthetic.STYLES)
def test_pictures_show_their_masks(style):
    image, truth = synthetic.nuclei(seed=3, style=style)
    assert image.shape == (128, 160, 3)
    assert image.dtype == np.uint8
    assert 6 <= len(truth) <= 12
    covered = truth.masks.union().to_dense()[0]
    assert abs(image[covered].mean() - image[~covered].mean()) > 40


def test_a_seed_is_a_picture():
    first, again, other = (synthetic.nuclei(seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first[0], again[0])
    assert first[1] == again[1]
    assert first[1] != other[1]


def test_masks_share_no_pixel_and_some_touch():
    _, truth = synthetic.nuclei(seed=5, size=(200, 200), count=40)
    dense = truth.masks.to_dense()
    assert dense.sum(axis=0).max() == 1
    assert truth.masks.areas.min() >= 12
    labels = (dense * np.arange(1, len(truth) + 1)[:, None, None]).sum(axis=0)
    beside = (labels[:, 1:] != labels[:, :-1]) & (labels[:, 1:] > 0) & (labels[:, :-1] > 0)
    assert beside.any()


def test_no_nuclei_is_an_empty_picture():
    image, truth = synthetic.nuclei(count=0, size=(20, 30))
    assert image.shape == (20, 30, 3)
    assert len(truth) == 0
    assert truth.size == (20, 30)
