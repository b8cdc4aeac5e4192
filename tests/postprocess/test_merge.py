"""Merging against the greedy loop written on matrices of all pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from postprocess.test_nms import scenes

from delineate import boxes as box_functions
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.pairs import intersection_over_minimum
from delineate.postprocess.merge import leaders, merge


def plain(overlap, scores, threshold, labels):
    """As SAHI's greedy merging and supervision's: the best takes all that are left and overlap it enough."""
    left = list(np.argsort(-np.asarray(scores, float), kind="stable"))
    found = np.full(len(scores), -1)
    while left:
        best = left.pop(0)
        taken = [k for k in left if labels[k] == labels[best] and 0 < overlap[best, k] >= threshold]
        found[[best, *taken]] = best
        left = [k for k in left if k not in taken]
    return found.tolist()


def minimum(boxes):
    low, high = (
        np.maximum(boxes[:, None, :2], boxes[None, :, :2]),
        np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]),
    )
    areas = box_functions.area(boxes)
    least = np.minimum(areas[:, None], areas[None])
    shared = np.maximum(high - low, 0).prod(2)
    return np.divide(shared, least, out=np.zeros_like(shared), where=shared > 0)


@settings(max_examples=100, deadline=None)
@given(scenes(), st.sampled_from([0, 0.3, 0.5, 1]))
def test_boxes_like_the_plain_loop(scene, threshold):
    boxes, scores, labels = scene
    boxes = boxes.astype(np.float64)
    alike = np.zeros(len(boxes), int)
    for measure, overlap in [("iou", box_functions.iou(boxes, boxes)), ("minimum", minimum(boxes))]:
        for classes, given_labels in [(alike, None), (labels, labels)]:
            found = leaders(boxes, scores, threshold, given_labels, measure=measure)
            assert found.tolist() == plain(overlap, scores, threshold, classes)


@settings(max_examples=50, deadline=None)
@given(scenes(), st.sampled_from([0, 0.3, 0.8]), st.booleans())
def test_instances_become_the_union_of_their_groups(scene, threshold, agnostic):
    boxes, scores, labels = scene
    dense = np.zeros((len(boxes), 60, 70), bool)
    for mask, (x0, y0, x1, y1) in zip(dense, np.clip(boxes, 0, 70).astype(int), strict=True):
        mask[y0:y1, x0:x1] = True
    masks = Masks.from_dense(dense)
    given_set = Instances.of(masks, labels, scores, ids=np.arange(len(boxes)), extras={"a": labels * 2})
    found = merge(given_set, threshold, agnostic=agnostic)
    overlap = intersection_over_minimum(masks, masks)
    leader = np.array(plain(overlap, scores, threshold, labels * (not agnostic)), int)
    order = np.argsort(-scores, kind="stable")
    best = [i for i in order if leader[i] == i]
    assert found.ids.tolist() == best
    assert found.labels.tolist() == labels[best].tolist()
    assert found.extras["a"].tolist() == (labels[best] * 2).tolist()
    np.testing.assert_array_equal(found.scores, scores[best].astype(np.float32))
    for n, i in enumerate(best):
        members = leader == i
        assert (found.masks[[n]].to_dense()[0] == dense[members].any(0)).all()
        corners = given_set.boxes[members]
        assert found.boxes[n].tolist() == [*corners[:, :2].min(0), *corners[:, 2:].max(0)]


def test_boxes_alone_are_merged():
    found = Instances((9, 9), [[0, 0, 4, 4], [1, 1, 3, 3], [6, 6, 9, 9]], [0, 1, 1], [0.5, 0.9, 0.7])
    assert len(merge(found)) == 3
    assert merge(found, agnostic=True).boxes.tolist() == [[0, 0, 4, 4], [6, 6, 9, 9]]
    assert merge(found, agnostic=True, measure="iou").boxes.tolist()[0] == [1, 1, 3, 3]


def test_nothing_merges_to_nothing():
    assert len(merge(Instances.empty((4, 5), scored=True))) == 0
    assert leaders([], [], 0.5).tolist() == leaders(Masks.empty((4, 5)), [], 0.5).tolist() == []


def test_empty_masks_stay_apart():
    found = Instances.of(Masks.from_dense(np.zeros((2, 3, 3), bool)), scores=[0.5, 0.6])
    assert merge(found, 0).scores.tolist() == pytest.approx([0.6, 0.5])


def test_wrong_input_is_named():
    one = Instances((4, 5), [[0, 0, 1, 1]], [0])
    with pytest.raises(ValueError, match="instances must have scores, got none"):
        merge(one)
    with pytest.raises(ValueError, match="measure must be"):
        leaders([[0, 0, 1, 1]], [1], 0.5, measure="dice")
    with pytest.raises(ValueError, match="threshold must be within 0 to 1, got 2"):
        leaders([[0, 0, 1, 1]], [1], 2)
    with pytest.raises(ValueError, match="labels must be 1 whole numbers"):
        leaders([[0, 0, 1, 1]], [1], 0.5, [0.5])
