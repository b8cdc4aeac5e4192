"""Masks from logits against two interpolations of every pixel by torch, the definition of the reference."""

import numpy as np
import pytest

from delineate.masks import Masks
from delineate.postprocess.upsample import upsample

SHAPES = [  # side, content, size
    (1024, (768, 1024), (480, 640)),
    (1024, (1024, 683), (1500, 1001)),
    (128, (128, 128), (128, 128)),
    (128, (3, 128), (1, 50)),
    (40, (40, 17), (7, 3)),
]


def smooth(count, cells, seed=0):
    """Blobs about as large as those of a network."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:cells, :cells] / cells
    waves = [
        sum(
            random.normal() * np.sin(random.uniform(2, 25) * (x * np.cos(a) + y * np.sin(a)) + a)
            for a in range(6)
        )
        for _ in range(count)
    ]
    return np.float32(waves)


@pytest.mark.parametrize(("side", "content", "size"), SHAPES)
def test_equal_to_interpolated_pixels(side, content, size):
    torch = pytest.importorskip("torch", reason="the oracle needs the extra [torch]")
    logits = smooth(3, 32)
    found = upsample(logits, side=side, content=content, size=size)
    resize = torch.nn.functional.interpolate
    canvas = resize(torch.from_numpy(logits).double()[None], (side, side), mode="bilinear")
    full = resize(canvas[..., : content[0], : content[1]], size, mode="bilinear")[0].numpy()
    sure = np.abs(full) > 1e-5
    assert ((found.masks.to_dense() == (full > 0)) | ~sure).all()
    expected = (full > 1).sum((1, 2)) / np.maximum((full > -1).sum((1, 2)), 1)
    np.testing.assert_allclose(found.stability, expected, atol=1e-4)


def test_no_logits_give_no_masks():
    found = upsample(np.zeros((0, 8, 8), np.float32), side=32, content=(32, 32), size=(5, 6))
    assert found.masks == Masks.empty((5, 6))
    assert found.stability.shape == (0,)


def test_all_inside_and_all_outside():
    logits = np.float32([5, -5])[:, None, None] * np.ones((2, 8, 8), np.float32)
    found = upsample(logits, side=32, content=(32, 20), size=(90, 41))
    assert found.masks.areas.tolist() == [90 * 41, 0]
    assert found.stability.tolist() == [1, 0]


def test_threshold_and_margin_move_the_edge():
    ramp = np.tile(np.linspace(-4, 4, 64, dtype=np.float32), (1, 64, 1))
    areas = [
        upsample(ramp, side=64, content=(64, 64), size=(64, 64), threshold=t).masks.areas[0]
        for t in (-1, 0, 1)
    ]
    assert areas == sorted(areas, reverse=True)
    assert len(set(areas)) == 3
    narrow, wide = (
        upsample(ramp, side=64, content=(64, 64), size=(64, 64), margin=m).stability[0] for m in (0, 2)
    )
    assert narrow == 1 > wide


def test_a_large_picture_needs_no_bitmap():
    found = upsample(smooth(2, 256), side=1024, content=(768, 1024), size=(6000, 8000))
    assert 0 < found.masks.areas.min() < 48_000_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"content": (33, 8)}, "must fit into the side"),
        ({"content": (0, 8)}, "at least 1"),
        ({"size": (0, 8)}, "at least 1"),
        ({"side": 4}, "must fit into the side"),
        ({"margin": -1}, "margin at least 0"),
        ({"threshold": np.nan}, "threshold must be finite"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        upsample(np.zeros((1, 8, 8), np.float32), **{"side": 32, "content": (8, 8), "size": (8, 8), **change})


def test_arrays_of_another_kind_are_refused():
    with pytest.raises(ValueError, match=r"logits must be \(N, h, w\) float32"):
        upsample(np.zeros((1, 8, 8)), side=32, content=(8, 8), size=(8, 8))
