"""Boxes by closed forms; the overlap also against pycocotools."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from delineate import boxes


@st.composite
def corners(draw, max_boxes=8):
    """(N, 4) x0, y0, x1, y1 on quarter pixels, so that sums are exact."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    low = rng.integers(-40, 40, (draw(st.integers(0, max_boxes)), 2)) / 4
    return np.concatenate([low, low + rng.integers(0, 60, low.shape) / 4], axis=1)


@given(corners(), corners())
def test_iou_is_that_of_pycocotools(a, b):
    found = boxes.iou(a, b)
    assert found.shape == (len(a), len(b))
    if len(a) and len(b):
        assert (found == coco.iou(boxes.to_xywh(a), boxes.to_xywh(b), [0] * len(b))).all()


@given(corners())
def test_conversions_are_inverses(a):
    assert (boxes.from_xywh(boxes.to_xywh(a)) == a).all()
    middle_and_size = np.concatenate([(a[:, :2] + a[:, 2:]) / 2, a[:, 2:] - a[:, :2]], axis=1)
    assert (boxes.from_cxcywh(middle_and_size) == a).all()
    assert (boxes.area(a) == middle_and_size[:, 2:].prod(axis=1)).all()


@given(corners())
def test_clip_keeps_to_the_canvas(a):
    cut = boxes.clip(a, (5, 7))
    assert (cut >= 0).all()
    assert (cut <= [7, 5, 7, 5]).all()
    whole = np.array([[0.0, 0.0, 7.0, 5.0]])
    shared = np.maximum(np.minimum(a[:, 2:], whole[:, 2:]) - np.maximum(a[:, :2], whole[:, :2]), 0).prod(
        axis=1
    )
    assert (boxes.area(cut) == shared).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_keep_their_dtype(dtype):
    a = np.array([[0, 0, 2, 2]], dtype)
    for found in (
        boxes.area(a),
        boxes.iou(a, a),
        boxes.clip(a, (1, 1)),
        boxes.to_xywh(a),
        boxes.from_cxcywh(a),
    ):
        assert found.dtype == dtype


@pytest.mark.parametrize("nothing", [[], np.zeros((0, 4)), np.zeros(0)])
def test_no_boxes_are_ordinary(nothing):
    assert boxes.area(nothing).shape == (0,)
    assert boxes.iou(nothing, [[0, 0, 1, 1]]).shape == (0, 1)
    for function in (boxes.from_xywh, boxes.to_xywh, boxes.from_cxcywh, lambda b: boxes.clip(b, (1, 1))):
        assert function(nothing).shape == (0, 4)


def test_corners_in_the_wrong_order_have_no_area():
    assert boxes.area([[2, 0, 0, 3], [2, 3, 0, 0]]).tolist() == [0, 0]
    assert boxes.iou([[2, 2, 0, 0]], [[0, 0, 2, 2]]).tolist() == [[0]]


@pytest.mark.parametrize(
    "bad", [[0, 0, 1, 1], [[0, 0, 1]], np.zeros((1, 1, 4)), [["a"] * 4], [[True] * 4], 3]
)
def test_other_shapes_are_refused(bad):
    for function in (
        boxes.area,
        boxes.from_xywh,
        lambda b: boxes.clip(b, (1, 1)),
        lambda b: boxes.iou([[0] * 4], b),
    ):
        with pytest.raises(ValueError, match=r"(boxes|others) must be numbers of shape \(N, 4\), got"):
            function(bad)
