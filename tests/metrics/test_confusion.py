import json

import numpy as np
import pytest
from puzzles import overlaps, scene

from delineate import Dataset, Instances, Masks, Record
from delineate.metrics import ConfusionMatrix, confusion_matrix, operating_curves
from delineate.metrics.verdicts import pair as pairs


def boxes(*spans, **fields) -> Instances:
    """Instances in one row of ten pixels: (first, end) each."""
    masks = np.zeros((len(spans), 1, 10), bool)
    for mask, (start, end) in zip(masks, spans, strict=True):
        mask[0, start:end] = True
    return Instances.of(Masks.from_dense(masks), **fields)


def pair(known: Instances, found: Instances, classes=("cat", "dog", "cow")):
    return tuple(Dataset([Record(None, (1, 10), part, 1)], classes) for part in (known, found))


def reference(truth, found, threshold, min_score):
    """The matrix, prediction by prediction."""
    count = len(truth.classes)
    counts = np.zeros((count + 1, count + 1), int)
    for record, other in zip(truth, found, strict=True):
        known, seen = record.instances, other.instances
        iou = overlaps(known, seen)
        crowd = np.zeros(len(known), bool) if known.crowd is None else known.crowd
        free = np.flatnonzero(~crowd).tolist()
        for d in np.argsort(-seen.scores, kind="stable").tolist():
            label = seen.labels[d]
            if seen.scores[d] < min_score:
                continue
            best = max(free, key=lambda g: (iou[d, g], known.labels[g] == label, g), default=None)
            if best is not None and iou[d, best] >= min(threshold, 1 - 1e-10):
                free.remove(best)
                counts[known.labels[best], label] += 1
            elif not any(iou[d, g] >= threshold and known.labels[g] == label for g in np.flatnonzero(crowd)):
                counts[count, label] += 1
        for g in free:
            counts[known.labels[g], count] += 1
    return counts


@pytest.mark.parametrize("min_score", [0.0, 0.5])
@pytest.mark.parametrize("threshold", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(25))
def test_equals_counting_by_hand(seed, threshold, min_score):
    truth, found = scene(seed)
    matrix = confusion_matrix(truth, found, threshold=threshold, min_score=min_score)
    assert matrix.counts.tolist() == reference(truth, found, threshold, min_score).tolist()


def test_identities():
    truth, found = scene(4)
    matrix = confusion_matrix(truth, found, threshold=0.25)
    objects = sum(
        np.bincount(
            r.instances.labels[
                ~(r.instances.crowd if r.instances.crowd is not None else np.zeros(len(r.instances), bool))
            ],
            minlength=4,
        )
        for r in truth
    )
    assert (matrix.true_positives + matrix.false_negatives).tolist() == objects.tolist()
    assert matrix.counts[-1, -1] == 0
    used = matrix.counts.sum(axis=1) > 0
    assert matrix.shares[used].sum(axis=1) == pytest.approx(1)
    assert np.isnan(matrix.shares[~used]).all()


def test_with_one_class_it_is_the_operating_point():
    truth, found = scene(6, classes=("cell",))
    for score in (0.1, 0.5, 0.9):
        matrix, point = (
            confusion_matrix(truth, found, min_score=score),
            operating_curves(truth, found).overall.at(score),
        )
        assert matrix.counts.ravel().tolist() == [
            point.true_positives, point.false_negatives, point.false_positives, 0,
        ]  # fmt: skip


def test_hand_drawn_example():
    known = boxes((0, 4), (5, 9), (9, 10), labels=[0, 1, 0])
    found = boxes((0, 4), (5, 8), (4, 5), labels=[0, 2, 1], scores=[0.5, 0.5, 0.5])
    matrix = confusion_matrix(*pair(known, found))
    assert matrix.counts.tolist() == [[1, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
    assert matrix.true_positives.tolist() == [1, 0, 0]
    assert matrix.false_positives.tolist() == [0, 1, 1]
    assert matrix.false_negatives.tolist() == [1, 1, 0]
    assert matrix.worst() == [("dog", "cow", 1)]
    assert repr(matrix) == "ConfusionMatrix(3 classes, 1 right, 1 confused, 1 missed, 1 false alarms)"
    plain = json.loads(json.dumps(matrix.as_dict(), allow_nan=False))
    assert plain["cells"] == [[0, 0, 1], [0, 3, 1], [1, 2, 1], [3, 1, 1]]


def test_the_most_confident_prediction_says_what_an_object_is_taken_for():
    known = boxes((0, 4), labels=[0])
    found = boxes((0, 4), (0, 3), labels=[0, 1], scores=[0.4, 0.9])
    assert confusion_matrix(*pair(known, found)).counts[0].tolist() == [0, 1, 0, 0]
    assert confusion_matrix(*pair(known, found)).counts[3].tolist() == [1, 0, 0, 0]
    assert confusion_matrix(*pair(known, found), threshold=0.8).counts[0].tolist() == [1, 0, 0, 0]


def test_of_equal_overlaps_the_own_class_goes_first():
    known = boxes((0, 4), (0, 4), (0, 4), labels=[0, 1, 2])
    found = boxes((0, 4), (0, 4), labels=[1, 0], scores=[0.5, 0.5])
    counts = confusion_matrix(*pair(known, found)).counts
    assert (counts[0, 0], counts[1, 1], counts[2, 3]) == (1, 1, 1)


def test_a_crowd_excuses_its_own_class_only():
    known = boxes((0, 8), labels=[0], crowd=[True])
    found = boxes((0, 2), (4, 6), (6, 10), labels=[0, 1, 0], scores=[0.5, 0.5, 0.5])
    matrix = confusion_matrix(*pair(known, found), threshold=0.6)
    assert matrix.counts[3].tolist() == [1, 1, 0, 0]
    assert matrix.counts[:3].sum() == 0


def test_wrong_arguments():
    known = boxes((0, 4), labels=[0])
    with pytest.raises(ValueError, match="predictions must have scores"):
        confusion_matrix(*pair(known, known))
    with pytest.raises(ValueError, match=r"confusion_matrix: threshold must lie in \(0, 1\], got 0"):
        confusion_matrix(*pair(known, known), threshold=0)


def test_classes_are_matched_by_name():
    known, found = boxes((0, 4), labels=[0]), boxes((0, 4), (5, 6), labels=[1, 0], scores=[0.5, 0.5])
    truth = Dataset([Record(None, (1, 10), known, 1)], ["cat"])
    matrix = confusion_matrix(truth, Dataset([Record(None, (1, 10), found, 1)], ["yak", "cat"]))
    assert matrix.counts.tolist() == [[1, 0], [0, 0]]
    assert "left out: yak" in matrix.notices[0]


@pytest.mark.parametrize("classes", [(), ("cell",)])
def test_empty_datasets(classes):
    matrix = confusion_matrix(Dataset([], classes), Dataset([], classes))
    assert matrix.counts.tolist() == np.zeros((len(classes) + 1,) * 2).tolist()
    assert matrix.worst() == []


@pytest.mark.parametrize("seed", range(5))
def test_pairs_that_are_known_already_give_the_same(seed):
    truth, found = scene(seed)
    expected = confusion_matrix(truth, found, threshold=0.75, min_score=0.3).as_dict()
    assert ConfusionMatrix.of(pairs("test", truth, found), 0.75, 0.3).as_dict() == expected
