"""Class maps against torch's interpolation, their parts against scipy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from delineate.postprocess import semantic as module
from delineate.postprocess.decode import Placement, Thresholds, instances
from delineate.postprocess.semantic import ClassMap, class_map, parts


@pytest.mark.parametrize(
    ("picture", "content", "canvas", "stride"),
    [((37, 50), (74, 100), (96, 128), 4), ((120, 90), (60, 45), (64, 64), 8), ((9, 9), (9, 9), (9, 9), 1)],
)
@pytest.mark.parametrize("band", [1 << 22, 600])
def test_class_maps_are_those_of_two_interpolations(monkeypatch, picture, content, canvas, stride, band):
    torch = pytest.importorskip("torch", reason="the oracle is torch")
    monkeypatch.setattr(module, "_CELLS", band)
    torch.manual_seed(0)
    cells = -(-canvas[0] // stride), -(-canvas[1] // stride)
    logits = torch.randn(1, 5, *cells)

    def stretched(x, size):
        return torch.nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=False)

    want = stretched(stretched(logits, canvas)[:, :, : content[0], : content[1]], picture)[0].softmax(0)
    placement = Placement(content[0] / picture[0], content[1] / picture[1], 0, 0)
    found = class_map(logits.numpy(), placement=placement, input_size=canvas, size=picture)
    best = want.topk(2, 0).values
    clear = (best[0] - best[1]).numpy() > 1e-5
    assert clear.mean() > 0.99
    assert (found.classes == want.argmax(0).numpy())[clear].all()
    np.testing.assert_allclose(found.scores, best[0].numpy(), rtol=1e-4)


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (np.full((2, 4, 4), np.nan, np.float32), "must be finite"),
        (np.zeros((2, 4, 4), np.int64), "floats, got int64"),
        (np.zeros((4, 4), np.float32), r"\(C, h, w\)"),
        (np.zeros((3, 2, 4, 4), np.float32), r"\(C, h, w\)"),
    ],
)
def test_logits_that_do_not_fit_are_refused(logits, message):
    with pytest.raises(ValueError, match=message):
        class_map(logits, placement=Placement(1.0, 1.0, 0, 0), input_size=(16, 16), size=(16, 16))


def test_a_picture_outside_of_the_input_is_refused():
    with pytest.raises(ValueError, match="20 pixels must lie in the input's 16, got 20 from 0 on"):
        class_map(
            np.zeros((2, 4, 4), np.float32),
            placement=Placement(1.0, 1.0, 0, 0),
            input_size=(16, 16),
            size=(20, 8),
        )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_parts_are_those_of_scipy(seed):
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(1, 16, 2))
    found = ClassMap(rng.integers(0, 3, size).astype(np.int32), rng.random(size).astype(np.float32))
    pieces = parts(found)
    want = []
    for label in (1, 2):
        numbers, count = ndimage.label(found.classes == label, np.ones((3, 3)))
        want += [(label, numbers == n, found.scores[numbers == n].mean()) for n in range(1, count + 1)]
    want.sort(key=lambda row: -row[2])
    assert pieces.labels.tolist() == [row[0] for row in want]
    np.testing.assert_allclose(pieces.scores, [row[2] for row in want], rtol=1e-5)
    dense = pieces.masks.to_dense()
    assert all((mask == row[1]).all() for mask, row in zip(dense, want, strict=True))


def test_every_class_counts_without_a_background():
    found = flat([[0, 0, 1]])
    assert parts(found, background=None).labels.tolist() == [0, 1]
    assert len(parts(flat([[0, 0, 0]]))) == 0


def flat(classes):
    classes = np.asarray(classes, np.int32)
    return ClassMap(classes, np.full(classes.shape, 0.5, np.float32))


def test_decode_keeps_the_best_parts_that_score_enough():
    logits = np.zeros((1, 3, 2, 4), np.float32)
    logits[0, 1, :, 0] = 4
    logits[0, 2, 0, 2:] = 2
    shared = {"placement": Placement(1.0, 1.0, 0, 0), "size": (2, 4), "input_size": (2, 4), "classes": 2}
    found = instances("semantic", [logits], **shared, thresholds=Thresholds(score=0.5))
    assert found.labels.tolist() == [0, 1]
    assert found.masks.areas.tolist() == [2, 2]
    certain = instances("semantic", [logits], **shared, thresholds=Thresholds(score=0.9))
    assert certain.labels.tolist() == [0]
    one = instances("semantic", [logits], **shared, thresholds=Thresholds(score=0.0, max_detections=1))
    assert one.labels.tolist() == [0]
    with pytest.raises(
        ValueError, match=r"4 channels for 3 classes and the background, got \[\(1, 3, 2, 4\)\]"
    ):
        instances("semantic", [logits], **{**shared, "classes": 3}, thresholds=Thresholds())
