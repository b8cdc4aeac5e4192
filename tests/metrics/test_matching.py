import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_maps import label_maps

from delineate import Dataset, Instances, Masks, Record
from delineate._native import _core
from delineate.algebra import from_label_map
from delineate.metrics import matching

optimize = pytest.importorskip("scipy.optimize")

LEVELS = (0.1, 0.3, 0.5, 0.75, 1.0)


def drawn(*pictures: str, **fields) -> Instances:
    """Instances of one 4x4 drawing each: rows separated by "/"."""
    masks = np.array([[[c == "#" for c in row] for row in picture.split("/")] for picture in pictures])
    return Instances.of(Masks.from_dense(masks.reshape(-1, 4, 4)), **fields)


def dataset(*parts: Instances, classes=("cell",)) -> Dataset:
    return Dataset([Record(None, part.size, part, id=n) for n, part in enumerate(parts, 1)], classes)


FULL, TOP, LEFT, CORNER, DOT = (
    "####/####/####/####",
    "####/####/..../....",
    "##../##../##../##..",
    "##../##../..../....",
    "..../..../..../...#",
)


def reference(iou: np.ndarray, threshold: float) -> tuple[int, float]:
    """StarDist's goal, solved by scipy: (pairs, sum of their IoU)."""
    if iou.size == 0:
        return 0, 0.0
    hits = iou >= threshold
    rows, columns = optimize.linear_sum_assignment(-hits.astype(float) - iou / (2 * min(iou.shape)))
    taken = hits[rows, columns]
    return int(taken.sum()), float(iou[rows, columns][taken].sum())


def counted(tables: list[np.ndarray], levels=LEVELS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The core's counts for (truths, detections) tables, one per picture, all of one label."""
    offsets = [np.cumsum([0, *(table.shape[axis] for table in tables)]) for axis in (0, 1)]
    labels = [np.zeros(offset[-1], np.int64) for offset in offsets]
    flags = np.zeros(len(labels[0]), np.uint8)
    values = np.concatenate([np.zeros(0), *(np.ascontiguousarray(table.T).ravel() for table in tables)])
    return _core.count_matches(
        _core.Truths(offsets[0], labels[0], np.zeros(len(labels[0])), flags, flags),
        _core.Detections(offsets[1], labels[1], np.zeros(len(labels[1])), np.zeros(len(labels[1]))),
        _core.dense_overlap(values, *offsets),
        np.array(levels),
    )


def test_hand_drawn_example():
    truth = dataset(drawn(TOP, LEFT), drawn(DOT))
    found = dataset(drawn(TOP, CORNER), drawn(FULL))
    counts = matching(truth, found, [0.5, 0.6])
    assert counts.true_positives.tolist() == [2, 1]
    assert counts.false_positives.tolist() == [1, 2]
    assert counts.false_negatives.tolist() == [1, 2]
    assert (
        counts.precision.tolist()
        == counts.recall.tolist()
        == counts.f1.tolist()
        == pytest.approx([2 / 3, 1 / 3])
    )
    assert counts.accuracy.tolist() == pytest.approx([2 / 4, 1 / 5])
    assert counts.mean_matched_iou.tolist() == pytest.approx([(1 + 0.5) / 2, 1])
    assert counts.picture_accuracy.tolist() == [pytest.approx([1, 1 / 3]), [0, 0]]
    assert repr(counts) == "Matching(mask accuracy 0.5000 at 0.5, 0.2000 at 0.6)"


def test_a_prediction_goes_where_it_makes_most_pairs():
    # CORNER covers half of either; only LEFT-LEFT and TOP-CORNER make two pairs.
    counts = matching(dataset(drawn(LEFT, TOP)), dataset(drawn(CORNER, LEFT)), [0.5])
    assert counts.true_positives.tolist() == [2]
    assert counts.mean_matched_iou.tolist() == pytest.approx([0.75])


def test_a_chain_needs_augmenting_paths():
    n = 40
    table = np.zeros((n, n))
    table[np.arange(n), np.arange(n)] = 0.6
    table[np.arange(n - 1), np.arange(1, n)] = 0.9  # each row would rather have the next column
    matched, _, overlap = counted([table], [0.5])
    assert matched.tolist() == [[n]]
    assert overlap.tolist() == [[pytest.approx(0.6 * n)]]


@st.composite
def tables(draw):
    rows, columns = draw(st.integers(0, 7)), draw(st.integers(0, 7))
    values = st.sampled_from([0.0, 0.0, 0.0, 0.1, 0.25, 0.3, 0.5, 0.5, 0.6, 0.75, 0.9, 1.0])
    cells = draw(st.lists(values, min_size=rows * columns, max_size=rows * columns))
    return np.array(cells).reshape(rows, columns)


@given(st.lists(tables(), max_size=4))
@settings(deadline=None, max_examples=300)
def test_equals_scipy_on_small_tables(pictures):
    matched, ignored, _ = counted(pictures)  # ties may split the sum of IoU differently; see the next test
    assert matched.tolist() == [
        [reference(table, threshold)[0] for threshold in LEVELS] for table in pictures
    ]
    assert not ignored.any()


@pytest.mark.parametrize("seed", range(20))
def test_equals_scipy_on_large_tables_without_ties(seed):
    rng = np.random.default_rng(seed)
    table = rng.random(rng.integers(1, 60, 2))
    table[rng.random(table.shape) < rng.choice([0.1, 0.6, 0.95])] = 0
    matched, _, overlap = counted([table])
    expected = [reference(table, threshold) for threshold in LEVELS]
    assert matched[0].tolist() == [pairs for pairs, _ in expected]
    assert overlap[0].tolist() == pytest.approx([total for _, total in expected])


def test_equals_a_dense_count_on_label_images(shared):
    """Nuclei do not overlap: at 0.5 and above every candidate pair is unique and can simply be counted."""
    from delineate.formats import coco

    truth = coco.read(shared / "data/dsb2018/val.json")[:12]
    rng = np.random.default_rng(0)
    moved = [
        record.replace(
            instances=Instances.of(
                record.instances.masks.translate(*rng.integers(-2, 3, 2).tolist(), record.size),
                record.instances.labels,
            )
        )
        for record in truth
    ]
    counts = matching(truth, truth.with_records(moved))
    expected = np.zeros(5, int)
    for record, other in zip(truth, moved, strict=True):
        iou = record.instances.masks.iou(other.instances.masks)
        expected += [(iou >= threshold).sum() for threshold in counts.thresholds]
    assert counts.true_positives.tolist() == expected.tolist()
    assert counts.false_positives.tolist() == (sum(len(r.instances) for r in moved) - expected).tolist()
    assert 0 < counts.accuracy[-1] < counts.accuracy[0] < 1


def test_labels_must_agree():
    truth = dataset(drawn(TOP, LEFT, labels=[0, 1]), classes=("a", "b"))
    found = dataset(drawn(TOP, LEFT, labels=[0, 0]), classes=("a", "b"))
    counts = matching(truth, found, [0.5])
    assert [counts.true_positives[0], counts.false_positives[0], counts.false_negatives[0]] == [1, 1, 1]


def test_predictions_of_unknown_classes_are_left_out():
    truth = dataset(drawn(TOP))
    found = dataset(drawn(TOP, LEFT, labels=[0, 1]), classes=("cell", "dirt"))
    counts = matching(truth, found, [0.5])
    assert counts.accuracy.tolist() == [1.0]
    assert "left out: dirt" in counts.notices[0]


def test_crowds_are_neither_found_nor_missed():
    truth = dataset(drawn(TOP, FULL, crowd=[False, True]))
    found = dataset(drawn(TOP, LEFT, DOT))
    counts = matching(truth, found, [0.5])
    assert [counts.true_positives[0], counts.false_positives[0], counts.false_negatives[0]] == [1, 0, 0]
    outside = dataset(drawn(TOP, CORNER, crowd=[False, True]))
    assert matching(outside, found, [0.6]).false_positives.tolist() == [2]


def test_min_score_cuts_and_needs_scores():
    found = drawn(TOP, LEFT, scores=[0.9, 0.25])
    counts = matching(dataset(drawn(TOP)), dataset(found), [0.5], min_score=0.25)
    assert counts.false_positives.tolist() == [1]
    assert matching(dataset(drawn(TOP)), dataset(found), [0.5], min_score=0.26).false_positives.tolist() == [
        0
    ]
    with pytest.raises(ValueError, match="matching: predictions must have scores"):
        matching(dataset(drawn(TOP)), dataset(drawn(TOP)), min_score=0.5)


def test_boxes():
    truth = Instances((9, 9), [[0, 0, 4, 4]], [0])
    found = Instances((9, 9), [[0, 0, 4, 2], [5, 5, 9, 9]], [0, 0])
    counts = matching(dataset(truth), dataset(found), [0.5, 0.51], iou="box")
    assert counts.true_positives.tolist() == [1, 0]


@pytest.mark.parametrize("truth", [[], [TOP]])
@pytest.mark.parametrize("found", [[], [DOT]])
def test_nothing_to_match_gives_zeros(truth, found):
    sides = [dataset(drawn(*side) if side else Instances.empty((4, 4))) for side in (truth, found)]
    counts = matching(*sides)
    for name in ("true_positives", "precision", "recall", "accuracy", "f1", "mean_matched_iou"):
        assert getattr(counts, name).tolist() == [0] * 5
    assert counts.false_negatives.tolist() == [len(truth)] * 5
    assert counts.false_positives.tolist() == [len(found)] * 5


def test_no_pictures():
    assert matching(Dataset([], ["cell"]), Dataset([], ["cell"])).accuracy.tolist() == [0.0] * 5


def test_as_plain_values():
    plain = json.loads(json.dumps(matching(dataset(drawn(TOP)), dataset(drawn(TOP)), [0.5]).as_dict()))
    assert plain["mean_accuracy"] == 1.0
    row = plain["thresholds"][0]
    assert (row["threshold"], row["true_positives"], row["f1"]) == (0.5, 1, 1.0)


@pytest.mark.parametrize("thresholds", [[], [0.0], [0.5, 1.5], [float("nan")]])
def test_thresholds_must_lie_in_range(thresholds):
    with pytest.raises(ValueError, match=r"matching: thresholds must lie in \(0, 1\], got \["):
        matching(dataset(drawn(TOP)), dataset(drawn(TOP)), thresholds)


def label_datasets(count):
    """The label maps of the oracles as truth and predictions."""
    sides = ([], [])
    for seed in range(count):
        for side, labels in zip(sides, label_maps(seed), strict=True):
            side.append(Instances.of(from_label_map(labels)[0]))
    return tuple(dataset(*side) for side in sides)


def test_equals_stardist_and_cellpose_on_label_maps():
    """Their numbers were pinned by make_matching.py; they differ from ours where nothing is divided by nothing."""
    pinned = json.loads((Path(__file__).parent / "data/matching.json").read_text())
    counts = matching(*label_datasets(len(pinned["stardist"])), pinned["thresholds"])
    hits = counts.picture_matched
    false, missed = counts.picture_predictions - hits, counts.picture_truths[:, None] - hits
    quality = np.divide(counts.picture_overlap, hits, out=np.zeros(hits.shape), where=hits > 0)
    stardist, cellpose = np.array(pinned["stardist"]), np.array(pinned["cellpose"])
    assert np.array_equal(np.stack([hits, false, missed], -1), stardist[..., :3])
    assert quality == pytest.approx(stardist[..., 3], abs=1e-5)  # StarDist has 32 bits
    assert np.array_equal(np.stack([hits, false, missed], -1), cellpose[..., :3])
    undefined = hits + false + missed == 0
    assert (cellpose[..., 3] == -1)[undefined].all()
    assert (counts.picture_accuracy[undefined] == 0).all()
    assert counts.picture_accuracy[~undefined] == pytest.approx(cellpose[..., 3][~undefined], abs=1e-6)
    pooled = (counts.true_positives, counts.false_positives, counts.false_negatives, counts.precision)
    pooled += (counts.recall, counts.accuracy, counts.f1, counts.mean_matched_iou)
    assert np.stack(pooled, -1) == pytest.approx(np.array(pinned["stardist_pooled"]), abs=1e-6)
    assert counts.picture_accuracy.mean(axis=0) == pytest.approx(pinned["stardist_by_image"], abs=1e-6)


def test_areas_and_ids_of_the_file_make_no_notices():
    odd = {"area": [3.0], "annotation_id": [0]}
    counts = matching(dataset(drawn(TOP, extras=odd)), dataset(drawn(TOP, extras=odd)), [0.5])
    assert (counts.true_positives.tolist(), counts.notices) == ([1], ())
