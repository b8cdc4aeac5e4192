import json
import math

import numpy as np
import pytest
from puzzles import overlaps, scene

from delineate import Dataset, Instances, Masks, Record
from delineate.metrics import Curve, OperatingCurves, evaluate, operating_curves
from delineate.metrics.verdicts import judge, pair

FULL, TOP, LEFT, CORNER = (
    "####/####/####/####",
    "####/####/..../....",
    "##../##../##../##..",
    "##../##../..../....",
)


def drawn(*pictures: str, **fields) -> Instances:
    """Instances of one 4x4 drawing each: rows separated by "/"."""
    masks = np.array([[[c == "#" for c in row] for row in picture.split("/")] for picture in pictures])
    return Instances.of(Masks.from_dense(masks.reshape(-1, 4, 4)), **fields)


def dataset(*parts: Instances, classes=("cell",)) -> Dataset:
    return Dataset([Record(None, part.size, part, id=n) for n, part in enumerate(parts, 1)], classes)


def reference(truth, found, threshold, confidence, label):
    """Counts of one class with detections below the confidence taken away first: (tp, fp, fn)."""
    tp = fp = fn = 0
    for record, other in zip(truth, found, strict=True):
        known, seen = record.instances, other.instances
        iou = overlaps(known, seen)
        crowd = np.zeros(len(known), bool) if known.crowd is None else known.crowd
        free = set(np.flatnonzero((known.labels == label) & ~crowd).tolist())
        fn += len(free)
        crowds = np.flatnonzero((known.labels == label) & crowd)
        for d in np.argsort(-seen.scores, kind="stable").tolist():
            if seen.labels[d] != label or seen.scores[d] < confidence:
                continue
            best = max(free, key=lambda g: (iou[d, g], g), default=None)  # of equals the later one
            if best is not None and iou[d, best] >= min(threshold, 1 - 1e-10):
                free.remove(best)
                tp, fn = tp + 1, fn - 1
            elif not (iou[d, crowds] >= threshold).any():
                fp += 1
    return tp, fp, fn


@pytest.mark.parametrize("threshold", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(25))
def test_equals_counting_anew_at_every_confidence(seed, threshold):
    truth, found = scene(seed)
    curves = operating_curves(truth, found, threshold=threshold)
    for confidence in (0.0, 0.1, 0.3, 0.5, 0.75, 0.75001, 2.0):
        expected = np.array([reference(truth, found, threshold, confidence, k) for k in range(4)])
        for curve, row in zip((*curves.classes, curves.overall), [*expected, expected.sum(0)], strict=True):
            point = curve.at(confidence)
            counts = (point.true_positives, point.false_positives, point.false_negatives)
            assert counts == tuple(row), (curve.name, confidence)


@pytest.mark.parametrize("seed", range(15))
def test_agrees_with_average_precision(seed):
    """All detections counted, recall is AR; and interpolated precision at a recall is the best further right."""
    truth, found = scene(seed)
    report = evaluate(truth, found, thresholds=[0.5], max_detections=[1000])
    for k, curve in enumerate(operating_curves(truth, found).classes):
        if not curve.objects:
            assert report.recall[0, k, 0, 0] == -1
            continue
        assert report.recall[0, k, 0, 0] == curve.at(-1).recall
        # COCO takes detections of equal score one by one; the curve cannot be cut between them.
        for precision, recall, confidence in zip(
            curve.precision, curve.recall, curve.confidences, strict=True
        ):
            levels = report.recalls <= recall
            assert (report.precision[0, levels, k, 0, 0] >= precision - 1e-12).all(), confidence


def test_identities_of_the_ratios():
    truth, found = scene(5)
    for curve in operating_curves(truth, found).classes:
        assert (np.diff(curve.confidences) < 0).all()
        assert (curve.true_positives + curve.false_positives > 0).all()
        assert (np.diff(curve.true_positives) >= 0).all()
        assert (np.diff(curve.false_positives) >= 0).all()
        assert (curve.false_negatives >= 0).all()
        some = curve.true_positives > 0
        mean = 2 / (1 / curve.precision[some] + 1 / curve.recall[some])  # harmonic
        assert curve.f1[some] == pytest.approx(mean)
        if curve.best is not None:
            assert curve.best.f1 == np.nanmax(curve.f1)
            assert curve.best == curve.at(curve.best.confidence)


def test_hand_drawn_curve():
    truth = dataset(drawn(TOP, LEFT), drawn(FULL))
    found = dataset(drawn(TOP, TOP, CORNER, scores=[0.75, 0.5, 0.5]), drawn(CORNER, scores=[0.25]))
    curve = operating_curves(truth, found).overall
    assert curve.confidences.tolist() == [0.75, 0.5, 0.25]
    assert curve.true_positives.tolist() == [1, 2, 2]  # CORNER is half of LEFT, and a quarter of FULL
    assert curve.false_positives.tolist() == [0, 1, 2]
    assert curve.precision.tolist() == pytest.approx([1, 2 / 3, 1 / 2])
    assert curve.recall.tolist() == pytest.approx([1 / 3, 2 / 3, 2 / 3])
    assert curve.f1.tolist() == pytest.approx([1 / 2, 2 / 3, 4 / 7])
    assert curve.best.confidence == 0.5
    assert repr(curve) == "Curve('all', 3 objects, F1 0.6667 at 0.5)"


def test_of_equal_f1_the_higher_confidence_is_best():
    truth = dataset(drawn(TOP, LEFT))
    found = dataset(drawn(TOP, CORNER, FULL, scores=[0.9, 0.8, 0.7]))
    curve = Curve("", 2, np.array([0.9, 0.8]), np.array([1, 1]), np.array([0, 0]))
    assert curve.best.confidence == 0.9
    assert operating_curves(truth, found).overall.best.confidence == np.float32(0.8)


def test_undefined_ratios_are_nan_and_none():
    truth = Dataset([Record(None, (4, 4), drawn(TOP), 1)], ["cell", "void"])
    found = Dataset([Record(None, (4, 4), drawn(TOP, labels=[1], scores=[0.5]), 1)], ["cell", "void"])
    cell, void = operating_curves(truth, found).classes
    assert (len(cell.confidences), cell.best, repr(cell)) == (0, None, "Curve('cell', 1 objects, no match)")
    assert math.isnan(cell.at(0).precision)
    assert (cell.at(0).recall, cell.at(0).f1) == (0, 0)
    assert void.precision.tolist() == [0]
    assert np.isnan(void.recall).all()
    assert void.best is None
    assert math.isnan(void.at(0.6).f1)
    assert void.at(0.6).as_dict()["f1"] is None


def test_crowds_take_what_is_left():
    truth = dataset(drawn(TOP, FULL, crowd=[False, True]))
    found = dataset(drawn(TOP, TOP, CORNER, scores=[0.9, 0.8, 0.7]))
    curve = operating_curves(truth, found).overall
    assert curve.objects == 1
    assert (curve.true_positives.tolist(), curve.false_positives.tolist()) == ([1], [0])


@pytest.mark.parametrize("classes", [(), ("cell",)])
def test_empty_datasets(classes):
    curves = operating_curves(Dataset([], classes), Dataset([], classes))
    assert len(curves.classes) == len(classes)
    assert (curves.overall.objects, len(curves.overall.confidences), curves.overall.best) == (0, 0, None)


def test_plain_values():
    truth, found = scene(3)
    curves = operating_curves(truth, found)
    content = json.loads(json.dumps(curves.as_dict(), allow_nan=False))
    assert content["overall"]["confidence"] == [n / 100 for n in range(100, -1, -1)]
    assert content["overall"]["best"] == curves.overall.best.as_dict()
    assert [one["name"] for one in content["classes"]] == list(truth.classes)
    few = curves.as_dict([0.5, 0.1])["overall"]
    assert few["recall"] == [curves.overall.at(0.5).recall, curves.overall.at(0.1).recall]


def test_wrong_arguments():
    truth, found = scene(0)
    for threshold in (0, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"operating_curves: threshold must lie in \(0, 1\]"):
            operating_curves(truth, found, threshold=threshold)
    with pytest.raises(ValueError, match="predictions must have scores"):
        operating_curves(truth, truth)


def test_stale_areas_and_ids_make_no_notices():
    odd = {"area": [3.0], "annotation_id": [0]}
    truth = dataset(drawn(TOP, extras=odd))
    curves = operating_curves(truth, dataset(drawn(TOP, scores=[0.5], extras=odd)), iou="mask")
    assert curves.notices == ()
    assert curves.overall.at(0).true_positives == 1


@pytest.mark.parametrize("seed", range(5))
def test_verdicts_that_exist_already_give_the_same(seed):
    truth, found = scene(seed)
    judged = judge(pair("test", truth, found), [0.5, 0.75], max_detections=None)
    expected = operating_curves(truth, found, threshold=0.75).as_dict()
    assert OperatingCurves.of(judged, 1).as_dict() == expected
