"""Fusion of boxes against ensemble-boxes' golden values, of masks against the same loop written on pixels."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delineate.instances import Instances
from delineate.masks import Masks
from delineate.postprocess.fuse import fuse

GOLDEN = json.loads(Path(__file__).with_name("wbf.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", GOLDEN["cases"])
def test_boxes_equal_ensemble_boxes(case):
    size = (GOLDEN["side"],) * 2
    sets = [Instances(size, boxes, np.array(labels, int), scores) for boxes, scores, labels in case["sets"]]
    fused = fuse(sets, case["threshold"], weights=case["weights"])
    np.testing.assert_allclose(fused.scores, case["scores"], atol=2e-6)
    # ensemble-boxes' order of equal scores is not defined.
    ours = sorted(zip(fused.scores.round(5), fused.labels, fused.boxes.tolist(), strict=True))
    theirs = sorted(
        zip(np.round(case["scores"], 5).astype(np.float32), case["labels"], case["boxes"], strict=True)
    )
    for (_, label, box), (_, expected, corners) in zip(ours, theirs, strict=True):
        assert label == expected
        np.testing.assert_allclose(box, corners, atol=1e-3)


def plain(dense, votes, labels, models, weight, threshold):
    """Slow and readable: [(score, label, pixels)], clusters as they begin."""
    clusters = []
    for i in np.argsort(-votes, kind="stable"):
        best, chosen = threshold, None
        for cluster in clusters:
            union = (cluster["mask"] | dense[i]).sum()
            iou = (cluster["mask"] & dense[i]).sum() / union if union else 0
            if cluster["label"] == labels[i] and iou > best:
                best, chosen = iou, cluster
        if chosen is None:
            chosen = {"label": labels[i], "members": []}
            clusters.append(chosen)
        chosen["members"].append(i)
        shares = votes[chosen["members"]]
        shares = shares if shares.sum() > 0 else np.ones(len(shares))
        held = (dense[chosen["members"]] * shares[:, None, None]).sum(0)
        chosen["mask"] = (held > 0) & (held >= shares.sum() / 2)
    made = []
    for cluster in clusters:
        n = len(cluster["members"])
        score = votes[cluster["members"]].mean() * min(n, models) / weight
        made.append((score, cluster["label"], cluster["mask"]))
    return sorted(made, key=lambda one: -one[0])


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 0.2, 0.55]), st.booleans())
def test_masks_equal_the_loop_on_pixels(seed, threshold, agnostic):
    rng = np.random.default_rng(seed)
    truth = np.zeros((4, 18, 22), bool)
    for mask in truth:
        y, x = rng.integers(0, 12, 2)
        mask[y : y + rng.integers(2, 7), x : x + rng.integers(2, 9)] = True
    weights = rng.integers(1, 4, 3) / 2
    sets, stacks = [], []
    for _ in range(3):
        chosen = rng.integers(0, 4, rng.integers(0, 6))
        dense = truth[chosen] ^ (rng.random((len(chosen), 18, 22)) < 0.05)
        # Eighths: every sum is exact, ties at half of the weight are met.
        sets.append(Instances.of(Masks.from_dense(dense), chosen % 2, rng.integers(0, 9, len(chosen)) / 8))
        stacks.append(dense)
    fused = fuse(sets, threshold, weights=weights, agnostic=agnostic)
    votes = np.concatenate([part.scores * weight for part, weight in zip(sets, weights, strict=True)])
    labels = np.concatenate([part.labels for part in sets])
    dense = np.concatenate(stacks)
    expected = plain(dense, votes, labels * (not agnostic), 3, weights.sum(), threshold)
    np.testing.assert_allclose(fused.scores, [score for score, _, _ in expected], rtol=1e-6)
    assert (fused.masks.to_dense() == np.array([m for _, _, m in expected], bool).reshape(-1, 18, 22)).all()
    if not agnostic:
        assert fused.labels.tolist() == [label for _, label, _ in expected]
    assert (fused.boxes == fused.masks.boxes).all()


def test_one_set_without_overlaps_comes_back():
    rng = np.random.default_rng(0)
    dense = np.arange(5)[:, None, None] == rng.integers(0, 5, (12, 13))[None]
    one = Instances.of(Masks.from_dense(dense), [0, 1, 0, 1, 2], [0.9, 0.8, 0.5, 0.3, 0.1])
    assert fuse([one]) == one
    boxes = Instances((9, 9), [[0.1, 0, 4, 4], [5, 5, 9, 9]], [0, 1], [0.8, 0.6])
    assert fuse([boxes]) == boxes


def test_two_equal_finds_count_as_one_object():
    one = Instances.of(Masks.from_dense(np.ones((1, 3, 4), bool)), scores=[0.5])
    fused = fuse([one, one, one])
    assert fused == one


def test_half_of_the_weight_is_enough():
    dense = np.zeros((3, 1, 8), bool)
    dense[0, 0, :4] = dense[1, 0, 3:7] = dense[2, 0, 3:5] = True
    sets = [Instances.of(Masks.from_dense(dense[i : i + 1]), scores=[0.5]) for i in range(3)]
    assert fuse(sets[:2], 0).boxes.tolist() == [[0, 0, 7, 1]]
    assert fuse(sets, 0).boxes.tolist() == [[3, 0, 5, 1]]


def test_nothing_fuses_to_nothing():
    nothing = Instances.empty((4, 5), scored=True)
    assert len(fuse([nothing, nothing])) == 0
    assert len(fuse([Instances((4, 5), [], [], [])])) == 0


def test_ten_thousand_finds_are_ordinary():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 20_000, (4000, 2))
    truth = np.concatenate([low, low + rng.uniform(20, 80, low.shape)], 1)
    sets = [
        Instances(
            (20_100, 20_100), truth + rng.uniform(0, 1, truth.shape), np.zeros(4000, int), rng.random(4000)
        )
        for _ in range(3)
    ]
    assert 3900 < len(fuse(sets)) <= 4010


ONE = Instances((4, 5), [[0, 0, 1, 1]], [0], [0.5])


@pytest.mark.parametrize(
    ("sets", "options", "message"),
    [
        ([], {}, "sets must be at least one set"),
        ([ONE], {"weights": [1, 2]}, "weights must be 1 numbers above 0"),
        ([ONE], {"weights": [0]}, "weights must be 1 numbers above 0"),
        ([ONE], {"weights": [1e300]}, r"weights must be 1 numbers above 0 \(to 1e\+100\)"),
        ([ONE], {"weights": [float("nan")]}, "weights must be 1 numbers above 0"),
        ([ONE], {"threshold": 1.5}, "threshold must be within 0 to 1, got 1.5"),
        ([ONE, ONE.replace(scores=None)], {}, "sets must have scores"),
        ([ONE.replace(scores=[-1])], {}, "scores must be at least 0, got -1"),
    ],
)
def test_wrong_input_is_named(sets, options, message):
    with pytest.raises(ValueError, match=message):
        fuse(sets, **options)
