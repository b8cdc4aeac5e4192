"""Suppression against the plain double loop, in numpy."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delineate.boxes import iou
from delineate.masks import Masks
from delineate.postprocess.nms import mask_nms, nms


def plain(overlap, scores, threshold, labels=None):
    """`overlap` (N, N); walks from the best score down."""
    kept = []
    for i in np.argsort(-np.asarray(scores, float), kind="stable"):
        rivals = [k for k in kept if labels is None or labels[k] == labels[i]]
        if not (overlap[i, rivals] > overlap.dtype.type(threshold)).any():
            kept.append(int(i))
    return kept


@st.composite
def scenes(draw):
    """Boxes on a coarse grid (equal overlaps, no area) or anywhere, few scores (ties), few labels."""
    n = draw(st.integers(0, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    low = rng.uniform(-50, 50, (n, 2))
    boxes = np.concatenate([low, low + rng.uniform(0, draw(st.sampled_from([5, 40, 200])), (n, 2))], axis=1)
    if draw(st.booleans()):
        boxes = np.round(boxes / 10) * 10
    return boxes.astype(np.float32), rng.integers(0, 5, n) / 5, rng.integers(0, 3, n)


@given(scenes(), st.sampled_from([0, 0.1, 0.3, 0.5, 0.7, 0.95, 1]))
def test_boxes_like_the_plain_loop(scene, threshold):
    boxes, scores, labels = scene
    overlap = iou(boxes, boxes)
    assert nms(boxes, scores, threshold).tolist() == plain(overlap, scores, threshold)
    assert nms(boxes, scores, threshold, labels).tolist() == plain(overlap, scores, threshold, labels)


@given(scenes(), st.sampled_from([0, 0.2, 0.5, 0.9, 1]))
def test_masks_like_the_plain_loop(scene, threshold):
    boxes, scores, _ = scene
    dense = np.zeros((len(boxes), 60, 70), bool)
    for mask, (x0, y0, x1, y1) in zip(dense, np.clip(boxes, 0, 70).astype(int), strict=True):
        mask[y0:y1, x0:x1] = True
        mask[::3] = False
    masks = Masks.from_dense(dense)
    assert mask_nms(masks, scores, threshold).tolist() == plain(masks.iou(masks), scores, threshold)


def test_ties_go_to_the_lower_index():
    boxes = [[0, 0, 4, 4]] * 3 + [[9, 9, 12, 12]]
    kept = nms(boxes, [0.5, 0.5, 0.5, 0.5], 0.5)
    assert kept.tolist() == [0, 3]
    assert kept.dtype == np.int64
    assert nms(boxes, [1, 2, 2, 3], 0.5).tolist() == [3, 1]


def test_the_threshold_itself_does_not_suppress():
    boxes = [[0, 0, 2, 2], [0, 0, 2, 1]]
    assert nms(boxes, [1, 0.5], 0.5).tolist() == [0, 1]
    assert nms(boxes, [1, 0.5], 0.49).tolist() == [0]


def test_objects_without_area_stay():
    assert nms([[1, 1, 1, 5]] * 2 + [[3, 3, 2, 2]], [1, 2, 3], 0).tolist() == [2, 1, 0]
    assert mask_nms(Masks.from_dense(np.zeros((2, 3, 3), bool)), [1, 2], 0).tolist() == [1, 0]


@pytest.mark.parametrize("boxes", [[], np.zeros((0, 4), np.float32)])
def test_nothing_gives_nothing(boxes):
    assert nms(boxes, [], 0.5).tolist() == []
    assert nms(boxes, [], 0.5, labels=[]).tolist() == []
    assert mask_nms(Masks.empty((3, 3)), [], 0.5).tolist() == []


def test_infinite_scores_are_ordered():
    assert nms([[0, 0, 1, 1], [5, 5, 6, 6], [8, 8, 9, 9]], [0, np.inf, -np.inf], 0.5).tolist() == [1, 0, 2]


@pytest.mark.parametrize("width", [20, 300])
@pytest.mark.parametrize("threshold", [0.05, 0.5, 0.99])
def test_thirty_thousand_boxes_are_ordinary(width, threshold):
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 1500, (30_000, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, width, low.shape)], axis=1)
    start = time.process_time()
    kept = nms(boxes, rng.random(len(boxes)), threshold)
    assert time.process_time() - start < 2  # all pairs take a minute
    chosen = boxes[kept[:2000]].astype(np.float32)
    assert (iou(chosen, chosen) > threshold).sum() == len(chosen)


ONE = [[0, 0, 1, 1]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[0, 0, 1]], [1], 0.5), r"nms: boxes must have shape \(N, 4\), got \(1, 3\)"),
        (([[0, 0, 1, np.nan]], [1], 0.5), "nms: boxes must be finite, got nan"),
        (([[0, 0, 1, np.inf]], [1], 0.5), "nms: boxes must be finite, got inf"),
        ((ONE, [1, 2], 0.5), r"nms: scores must be 1 numbers, got int64 \(2,\)"),
        ((ONE, [], 0.5), "nms: scores must be 1 numbers, got"),
        ((ONE, ["a"], 0.5), "nms: scores must be 1 numbers, got"),
        ((ONE * 2, [1, np.nan], 0.5), "nms: scores must be numbers, got NaN at index 1"),
        ((ONE, [1], 1.5), "nms: threshold must be within 0 to 1, got 1.5"),
        ((ONE, [1], float("nan")), "nms: threshold must be within 0 to 1, got nan"),
        ((ONE, [1], 0.5, [1, 2]), "nms: labels must be 1 whole numbers, got"),
        ((ONE, [1], 0.5, [0.5]), "nms: labels must be 1 whole numbers, got float64"),
    ],
)
def test_wrong_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        nms(*arguments)


def test_wrong_scores_of_masks_are_named():
    masks = Masks.from_dense(np.ones((2, 3, 3), bool))
    with pytest.raises(ValueError, match="nms: scores must be 2 numbers, got"):
        mask_nms(masks, [1], 0.5)
