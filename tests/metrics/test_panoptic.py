import json
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from delineate.metrics.panoptic import PanopticReport, evaluate_panoptic
from delineate.panoptic import Panoptic, PanopticDataset, PanopticRecord

CLASSES, THINGS = ("car", "person", "sky"), (True, True, False)


def picture(rows, labels, crowd=()) -> Panoptic:
    """A map whose segments are given as {id: label}."""
    ids = list(labels)
    flags = [id_ in crowd for id_ in ids]
    values = np.array(list(labels.values()), int)
    return Panoptic(rows, np.array(ids, int), values, np.array(THINGS)[values], np.array(flags, bool))


def dataset(*pictures, ids=None) -> PanopticDataset:
    ids = range(len(pictures)) if ids is None else ids
    records = [PanopticRecord(None, p.size, p, id_) for p, id_ in zip(pictures, ids, strict=True)]
    return PanopticDataset(records, CLASSES, THINGS)


def reference(truth, predictions):
    """The published rule and panopticapi's treatment of void and crowds, pixel by pixel."""
    counts = [[0, 0, 0, 0.0] for _ in CLASSES]  # tp, fp, fn, sum of IoU
    for true, found in zip(truth, predictions, strict=True):
        true, found = true.read(), found.read()
        pixels = list(zip(true.map.ravel().tolist(), found.map.ravel().tolist(), strict=True))
        ours = dict(
            zip(true.ids.tolist(), zip(true.labels.tolist(), true.crowd.tolist(), strict=True), strict=True)
        )
        theirs = dict(zip(found.ids.tolist(), found.labels.tolist(), strict=True))
        hit, used = set(), set()
        for a, (label, crowd) in ours.items():
            for b, other in theirs.items():
                both = sum(p == (a, b) for p in pixels)
                either = sum((p[0] == a or p[1] == b) and not (p[0] == 0 and p[1] == b) for p in pixels)
                if label == other and not crowd and both / either > 0.5:
                    counts[label][0] += 1
                    counts[label][3] += both / either
                    hit.add(a)
                    used.add(b)
        for a, (label, crowd) in ours.items():
            counts[label][2] += a not in hit and not crowd
        crowds = {label: a for a, (label, crowd) in ours.items() if crowd}
        for b, label in theirs.items():
            own = [p[0] for p in pixels if p[1] == b]
            excused = sum(a in (0, crowds.get(label, 0)) for a in own)
            counts[label][1] += b not in used and excused / len(own) <= 0.5
    return counts


def numbers(report):
    columns = report.true_positives, report.false_positives, report.false_negatives, report.iou_sum
    return [list(row) for row in zip(*(column.tolist() for column in columns), strict=True)]


DRAWN = [[1, 1, 1, 3], [1, 1, 1, 3], [2, 2, 0, 0], [2, 2, 0, 0]]
LABELS = {1: 0, 2: 1, 3: 2}


@pytest.mark.parametrize(
    ("rows", "labels", "crowd", "expected"),
    [
        # Perfect, under other ids.
        (
            [[7, 7, 7, 9], [7, 7, 7, 9], [4, 4, 0, 0], [4, 4, 0, 0]],
            {4: 1, 7: 0, 9: 2},
            (),
            [(1, 0, 0, 1)] * 3,
        ),
        # All void: everything is missed.
        (np.zeros((4, 4), int), {}, (), [(0, 0, 1, 0)] * 3),
        # The car grows over void only: void is not in the union. The sky has IoU 1/2: not over 1/2.
        (
            [[1, 1, 1, 0], [1, 1, 1, 3], [2, 2, 1, 1], [2, 2, 1, 1]],
            LABELS,
            (),
            [(1, 0, 0, 1), (1, 0, 0, 1), (0, 1, 1, 0)],
        ),
        # The right shape in a wrong class.
        (DRAWN, {1: 0, 2: 0, 3: 2}, (), [(1, 1, 0, 1), (0, 0, 1, 0), (1, 0, 0, 1)]),
        # A person found on void is no false positive.
        ([[1, 1, 1, 3], [1, 1, 1, 3], [2, 2, 5, 5], [2, 2, 5, 5]], LABELS | {5: 1}, (), [(1, 0, 0, 1)] * 3),
        # Exactly half on void: a false positive.
        ([[1, 1, 1, 3], [1, 1, 1, 3], [2, 2, 0, 0], [2, 5, 5, 0]], LABELS | {5: 2}, (), None),
        # The truth's car is a crowd: neither matched nor missed, and excuses cars only.
        (DRAWN, LABELS, (1,), [(0, 0, 0, 0), (1, 0, 0, 1), (1, 0, 0, 1)]),
        (DRAWN, {1: 1, 2: 1, 3: 2}, (1,), [(0, 0, 0, 0), (1, 1, 0, 1), (1, 0, 0, 1)]),
    ],
)
def test_drawn_by_hand(rows, labels, crowd, expected):
    truth, found = dataset(picture(DRAWN, LABELS, crowd)), dataset(picture(rows, labels))
    counts = numbers(evaluate_panoptic(truth, found))
    assert counts == reference(truth, found)
    if expected is not None:
        assert counts == [list(row) for row in expected]


@st.composite
def pictures(draw):
    ids = draw(st.lists(st.integers(1, 50), unique=True, max_size=5))
    cells = draw(st.lists(st.sampled_from([0, *ids]), min_size=12, max_size=12))
    ids = [id_ for id_ in ids if id_ in cells]
    labels = {id_: draw(st.integers(0, 2)) for id_ in ids}
    return picture(np.reshape(cells, (3, 4)), labels, [id_ for id_ in ids if draw(st.integers(0, 4)) == 0])


@given(st.lists(st.tuples(pictures(), pictures()), max_size=3))
def test_equal_to_the_published_rule(pairs):
    truth, found = dataset(*(pair[0] for pair in pairs)), dataset(*(pair[1] for pair in pairs))
    report = evaluate_panoptic(truth, found)
    np.testing.assert_allclose(numbers(report), reference(truth, found), rtol=1e-12)
    counted = report.counted
    np.testing.assert_allclose(report.pq[counted], (report.sq * report.rq)[counted], rtol=1e-12)
    assert np.isnan(report.pq[~counted]).all()
    assert ((report.rq[counted] >= 0) & (report.rq[counted] <= 1)).all()
    assert report.thing.classes + report.stuff.classes == report.all.classes == counted.sum()


@given(pictures())
def test_truth_as_its_own_prediction_is_perfect(one):
    crowds = one.labels[one.crowd]
    assume(len(set(crowds.tolist())) == len(crowds))  # of several crowds of a class only the last excuses
    report = evaluate_panoptic(dataset(one), dataset(one))
    assert (report.pq[report.counted] == 1).all()
    assert (report.false_positives == 0).all()
    assert set(np.flatnonzero(report.counted)) == set(one.labels[~one.crowd].tolist())


@given(pictures(), pictures(), st.permutations(range(1, 51)))
def test_ids_and_order_of_the_predictions_mean_nothing(true, found, numbering):
    table = np.array([0, *numbering])
    order = np.argsort(table[found.ids])
    renamed = Panoptic(
        table[found.map],
        table[found.ids][order],
        found.labels[order],
        found.things[order],
        found.crowd[order],
    )
    one = evaluate_panoptic(dataset(true), dataset(found))
    np.testing.assert_allclose(
        numbers(evaluate_panoptic(dataset(true), dataset(renamed))), numbers(one), rtol=1e-12
    )


def test_means_are_over_classes_that_count():
    report = PanopticReport(
        1,
        ("a", "b", "c", "d"),
        np.array([True, True, False, True]),
        np.array([1, 0, 2, 0]),
        np.array([2, 1, 0, 0]),
        np.array([0, 1, 0, 0]),
        np.array([0.75, 0, 1.5, 0]),
    )
    assert report.pq[:3].tolist() == [0.375, 0, 0.75]
    assert report.sq[:3].tolist() == [0.75, 0, 0.75]
    assert report.rq[:3].tolist() == [0.5, 0, 1]
    assert math.isnan(report.pq[3])
    assert (report.all.pq, report.all.sq, report.all.rq, report.all.classes) == (0.375, 0.5, 0.5, 3)
    assert (report.thing.pq, report.thing.classes) == (0.1875, 2)
    assert (report.stuff.pq, report.stuff.classes) == (0.75, 1)
    plain = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert plain["all"] == {"pq": 0.375, "sq": 0.5, "rq": 0.5, "classes": 3}
    assert plain["per_class"][3]["pq"] is None
    assert plain["per_class"][0] == {
        "name": "a", "thing": True, "pq": 0.375, "sq": 0.75, "rq": 0.5, "tp": 1, "fp": 2, "fn": 0, "iou_sum": 0.75
    }  # fmt: skip


def test_nothing_to_count():
    report = evaluate_panoptic(dataset(), dataset())
    assert report.all.classes == report.pictures == 0
    assert math.isnan(report.all.pq)
    assert report.as_dict()["things"] == {"pq": None, "sq": None, "rq": None, "classes": 0}


def test_pictures_are_matched_by_id_and_read_one_by_one():
    one, other = picture([[1, 1]], {1: 0}), picture([[1, 2]], {1: 1, 2: 2})
    truth = dataset(one, other, ids=["a", "b"])
    found = dataset(picture([[3, 3, 3]], {3: 0}), other, one, ids=["unknown", "b", "a"])
    assert evaluate_panoptic(truth, found).all.pq == 1


def test_what_does_not_fit_is_refused():
    one = picture([[1, 1]], {1: 0})
    with pytest.raises(ValueError, match=r"cover every picture of the truth, got none for 1 \(1 of 2"):
        evaluate_panoptic(dataset(one, one), dataset(one))
    with pytest.raises(ValueError, match=r"truth's size \(1, 2\) in picture 0, got \(1, 3\)"):
        evaluate_panoptic(dataset(one), dataset(picture([[1, 1, 0]], {1: 0})))
    with pytest.raises(ValueError, match="must have the classes of the truth"):
        evaluate_panoptic(dataset(one), PanopticDataset([], ["car"], [True]))
    wrong = Panoptic([[1, 1]], [1], [3], [True])
    with pytest.raises(ValueError, match="below the number of classes 3, got 3 in picture 0"):
        evaluate_panoptic(dataset(one), dataset(wrong))


def test_the_known_values_of_deeplab2(shared):
    folder = shared / "fixtures/formats/coco_panoptic/pq_team"
    expected = json.loads((folder / "expected.json").read_text())
    grey = np.asarray(Image.open(folder / "team_gt_instance.png").convert("L")).astype(int)
    colours = np.asarray(Image.open(folder / "team_pred_class.png").convert("RGB"))
    instance = np.asarray(Image.open(folder / "team_pred_instance.png").convert("L")).astype(int)
    kinds = np.full(grey.shape, -1)
    for colour, label in expected["color_to_class"].items():
        kinds[(colours == [int(value) for value in colour.split(",")]).all(axis=2)] = label
    assert kinds.min() >= 0
    of_value = {int(value): label for value, label in expected["gt_instance_value_to_class"].items()}

    def segments(keys, label_of):
        # Class 0 is void there; the others become labels 0 and 1.
        ids = [int(key) for key in np.unique(keys) if label_of(int(key)) > 0]
        labels = np.array([label_of(id_) - 1 for id_ in ids])
        return Panoptic(np.where(np.isin(keys, ids), keys, 0), ids, labels, np.ones(len(ids), bool))

    true = segments(grey, lambda key: of_value[key])
    found = segments(kinds * 256 + instance, lambda key: key // 256)
    names = ["1", "2"]
    sides = [
        PanopticDataset([PanopticRecord(None, p.size, p, 1)], names, [True, True]) for p in (true, found)
    ]
    report = evaluate_panoptic(*sides)
    known = expected["pq"]
    assert report.all.pq == pytest.approx(known["PQ"], abs=1e-7)
    assert report.all.sq == pytest.approx(known["SQ"], abs=1e-7)
    assert report.all.rq == pytest.approx(known["RQ"], abs=1e-7)
    for name, column in (("TP", "true_positives"), ("FN", "false_negatives"), ("FP", "false_positives")):
        assert getattr(report, column).mean() == known[name]
