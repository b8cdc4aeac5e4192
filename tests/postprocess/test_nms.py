"""Suppression against the plain double loop, in numpy."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delineate.boxes import iou
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.postprocess.nms import mask_nms, matrix_nms, nms, soft_nms, suppress


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
    boxes, scores, labels = scene
    dense = np.zeros((len(boxes), 60, 70), bool)
    for mask, (x0, y0, x1, y1) in zip(dense, np.clip(boxes, 0, 70).astype(int), strict=True):
        mask[y0:y1, x0:x1] = True
        mask[::3] = False
    masks = Masks.from_dense(dense)
    overlap = masks.iou(masks)
    assert mask_nms(masks, scores, threshold).tolist() == plain(overlap, scores, threshold)
    assert mask_nms(masks, scores, threshold, labels).tolist() == plain(overlap, scores, threshold, labels)


def plain_soft(overlap, scores, labels, decay, sigma, threshold):
    """Algorithm 1 of Bodla et al., 2017."""
    scores, left = np.array(scores, float), list(range(len(scores)))
    while left:
        best = max(left, key=lambda k: (scores[k], -k))
        left.remove(best)
        for k in left:
            if labels[k] != labels[best]:
                continue
            if decay == "gaussian":
                scores[k] *= np.exp(-(overlap[best, k] ** 2) / sigma)
            elif overlap[best, k] >= threshold:
                scores[k] *= 1 - overlap[best, k]
    return scores


def plain_matrix(overlap, scores, labels, decay, sigma):
    """Equations 4 to 6 of SOLOv2."""
    f = {"linear": lambda v: 1 - v, "gaussian": lambda v: np.exp(-(v**2) / sigma)}[decay]
    order = np.argsort(-np.asarray(scores), kind="stable")
    found = np.array(scores, float)
    for n, j in enumerate(order):
        shares = [1.0]
        for m, i in enumerate(order[:n]):
            most = max([overlap[k, i] for k in order[:m] if labels[k] == labels[i]], default=0)
            if labels[i] == labels[j] and f(most) > 0:
                shares.append(f(overlap[i, j]) / f(most))
        found[j] *= min(shares)
    return found


@settings(max_examples=60, deadline=None)
@given(scenes(), st.sampled_from(["linear", "gaussian"]), st.sampled_from([0.1, 0.5, 2]), st.booleans())
def test_scores_fall_as_in_the_papers(scene, decay, sigma, labelled):
    boxes, scores, labels = scene
    boxes = boxes.astype(np.float64)
    labels = labels if labelled else np.zeros_like(labels)
    overlap = iou(boxes, boxes)
    given_labels = labels if labelled else None
    soft = soft_nms(boxes, scores, given_labels, decay=decay, sigma=sigma, threshold=0.2)
    np.testing.assert_allclose(soft, plain_soft(overlap, scores, labels, decay, sigma, 0.2), rtol=1e-9)
    matrix = matrix_nms(boxes, scores, given_labels, decay=decay, sigma=sigma)
    np.testing.assert_allclose(matrix, plain_matrix(overlap, scores, labels, decay, sigma), rtol=1e-9)


def test_scores_of_masks_fall_as_those_of_equal_boxes():
    masks = Masks.from_counts([0, 4, 4, 0, 5, 3, 6, 2], [0, 3, 6, 8], (2, 4))
    overlap, scores = masks.iou(masks), [0.5, 0.9, 0.7]
    for decay in ("linear", "gaussian"):
        expected = plain_soft(overlap, scores, [0] * 3, decay, 0.5, 0.3)
        np.testing.assert_allclose(soft_nms(masks, scores, decay=decay), expected, rtol=1e-12)
        expected = plain_matrix(overlap, scores, [0] * 3, decay, 0.5)
        np.testing.assert_allclose(matrix_nms(masks, scores, decay=decay), expected, rtol=1e-12)


def test_copies_lose_their_whole_score():
    boxes = [[0, 0, 4, 4]] * 4
    assert soft_nms(boxes, [0.9, 0.8, 0.9, 0.1], decay="linear").tolist() == [0.9, 0, 0, 0]
    assert matrix_nms(boxes, [0.9, 0.8, 0.9, 0.1], decay="linear").tolist() == [0.9, 0, 0, 0]


@pytest.mark.parametrize("masked", [True, False])
def test_instances_are_suppressed(masked):
    rng = np.random.default_rng(0)
    low = rng.integers(0, 30, (60, 2))
    boxes = np.concatenate([low, low + rng.integers(1, 12, (60, 2))], axis=1)
    dense = np.zeros((60, 45, 45), bool)
    for mask, (x0, y0, x1, y1) in zip(dense, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    found = Instances.of(Masks.from_dense(dense), rng.integers(0, 3, 60), rng.random(60), ids=np.arange(60))
    found = found if masked else found.replace(masks=None)
    objects = found.masks if masked else found.boxes
    kept = (
        mask_nms(objects, found.scores, 0.3, found.labels)
        if masked
        else nms(objects, found.scores, 0.3, found.labels)
    )
    assert suppress(found, threshold=0.3) == found[kept]
    assert len(suppress(found, threshold=0.3, agnostic=True)) < len(kept) < 60
    for method, function in [("soft", soft_nms), ("matrix", matrix_nms)]:
        scores = function(objects, found.scores, found.labels).astype(np.float32)
        order = [i for i in np.argsort(-scores, kind="stable") if scores[i] >= np.float32(0.25)]
        expected = found.replace(scores=scores)[np.array(order)]
        assert 0 < len(expected) < 60
        assert suppress(found, method, min_score=np.float32(0.25)) == expected


def test_soft_and_matrix_of_ten_thousand_masks():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 2000, (10_000, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 60, low.shape)], axis=1)
    scores = rng.random(10_000)
    soft, matrix = soft_nms(boxes, scores), matrix_nms(boxes, scores)
    best = scores.argmax()
    assert soft[best] == matrix[best] == scores[best]
    assert (soft <= scores).all()
    assert (matrix <= scores).all()
    assert (soft < scores).mean() > 0.5


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
    assert mask_nms(Masks.empty((3, 3)), [], 0.5, labels=[]).tolist() == []
    assert soft_nms(boxes, []).tolist() == matrix_nms(boxes, []).tolist() == []
    for method in ("greedy", "soft", "matrix"):
        assert len(suppress(Instances.empty((4, 5), scored=True), method)) == 0


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


@pytest.mark.parametrize("function", [soft_nms, matrix_nms])
@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((ONE, [-1]), {}, "scores must be finite and at least 0 where they are multiplied, got -1"),
        ((ONE * 2, [0.5, np.inf]), {}, "scores must be finite and at least 0 .*, got inf"),  # inf * 0 is NaN
        ((ONE, [-np.inf]), {"decay": "linear"}, "scores must be finite and at least 0 .*, got -inf"),
        ((ONE, [np.nan]), {}, "scores must be numbers, got NaN at index 0"),
        ((ONE, [1, 2]), {}, "nms: scores must be 1 numbers, got"),
        ((ONE, [1], [0.5]), {}, "nms: labels must be 1 whole numbers, got"),
        ((ONE, [1]), {"sigma": 0}, "sigma must be above 0, got 0"),
        ((ONE, [1]), {"decay": "cubic"}, 'decay must be "gaussian" or "linear", got \'cubic\''),
    ],
)
def test_wrong_input_of_decays_is_named(function, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments, **options)


def test_wrong_input_of_suppress_is_named():
    one = Instances((4, 5), ONE, [0])
    with pytest.raises(ValueError, match="instances must have scores, got none"):
        suppress(one)
    with pytest.raises(ValueError, match="method must be"):
        suppress(one.replace(scores=[0.5]), "hard")
