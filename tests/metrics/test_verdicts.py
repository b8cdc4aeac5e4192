import numpy as np
import pytest
from scenes import repeated, scene

from delineate.metrics import AREA_RANGES, RECALLS, THRESHOLDS, evaluate
from delineate.metrics.verdicts import judge, pair, verdicts


@pytest.mark.parametrize("iou", ["mask", "box"])
@pytest.mark.parametrize("seed", range(12))
def test_average_precision_equals_evaluate(seed, iou):
    truth, found = scene(seed, ties=seed % 2 == 0)
    for limit in (2, 100):
        expected = evaluate(truth, found, iou=iou, max_detections=[limit])
        ours = verdicts(truth, found, iou=iou, max_detections=limit).average_precision()[0]
        cells = expected.precision[..., 0, -1].mean(axis=1).T  # (K, T)
        assert np.allclose(ours, np.where(cells < 0, np.nan, cells), rtol=0, atol=1e-14, equal_nan=True)


@pytest.mark.parametrize("area", ["small", "medium"])
def test_area_ranges_equal_evaluate(area):
    truth, found = scene(3, pictures=20, size=(90, 90))
    ranges = {"all": AREA_RANGES["all"], "small": (0.0, 120.0), "medium": (120.0, 1e10)}
    expected = evaluate(truth, found, area_ranges=ranges)
    ours = judge(pair("test", truth, found), area=ranges[area]).average_precision()[0]
    cells = expected.precision[..., list(ranges).index(area), -1].mean(axis=1).T
    assert np.allclose(ours, np.where(cells < 0, np.nan, cells), rtol=0, atol=1e-14, equal_nan=True)


@pytest.mark.parametrize("seed", range(8))
def test_a_weighting_is_the_evaluation_of_repeated_pictures(seed):
    truth, found = scene(seed, pictures=9)
    weights = np.random.default_rng(seed).multinomial(9, [1 / 9] * 9, 3).astype(np.int32)
    ours = verdicts(truth, found).average_precision(weights)
    for row, values in zip(weights, ours, strict=True):
        report = evaluate(repeated(truth, row), repeated(found, row))
        assert np.nanmean(values) == pytest.approx(report.ap, abs=1e-13, nan_ok=True)
        assert np.allclose(values.mean(axis=1), report.class_ap(), rtol=0, atol=1e-13, equal_nan=True)


def area_under(precision, recall):
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0) * envelope).sum())


def test_no_recalls_is_the_area_under_the_curve():
    truth, found = scene(4, pictures=12, crowd=0, classes=["cell"])
    table = verdicts(truth, found, [0.5])
    order = np.argsort(-table.paired.detections.scores, kind="stable")
    right = table.right()[order]
    hits = np.cumsum(right)
    recall, precision = hits / table.positive.sum(), hits / np.arange(1, len(hits) + 1)
    assert table.average_precision(recalls=[])[0, 0, 0] == pytest.approx(
        area_under(precision, recall), abs=1e-12
    )
    eleven = [max(precision[recall >= r - 1e-12], default=0.0) for r in np.linspace(0, 1, 11)]
    ours = table.average_precision(recalls=np.linspace(0, 1, 11))[0, 0, 0]
    assert ours == pytest.approx(np.mean(eleven), abs=1e-12)


def test_every_rule_takes_a_truth_once_at_most():
    truth, found = scene(5, pictures=30, ties=True)
    paired = pair("test", truth, found)
    for rule in ("score", "nearest", "overlap"):
        table = judge(paired, rule=rule)
        for place in range(len(THRESHOLDS)):
            taken = table.matches[place][table.right(place)]
            assert len(np.unique(taken)) == len(taken)
            assert not (table.right(place) & table.wrong(place)).any()
            assert table.found(place).sum() == len(taken)
    by_overlap = judge(paired, [0.5], rule="overlap").right().sum()
    assert by_overlap >= judge(paired, [0.5], rule="nearest").right().sum()


def test_nearest_gives_the_second_one_away():
    """Two objects side by side; both detections cover the first one most, the second also covers its neighbour."""
    from delineate import Dataset, Instances, Masks, Record

    drawn = np.zeros((4, 10, 40), bool)
    drawn[0, :, 0:20] = drawn[1, :, 8:28] = drawn[2, :, 0:20] = drawn[3, :, 3:23] = True
    truth = Dataset([Record(None, (10, 40), Instances.of(Masks.from_dense(drawn[:2])), id=1)], ["a"])
    seen = Instances.of(Masks.from_dense(drawn[2:]), scores=[0.9, 0.8])
    found = truth.with_records([truth[0].replace(instances=seen)])
    paired = pair("test", truth, found)
    assert judge(paired, [0.5]).matches.tolist() == [[0, 1]]
    assert judge(paired, [0.5], rule="nearest").matches.tolist() == [[0, -1]]
    assert judge(paired, [0.5], rule="overlap").matches.tolist() == [[0, 1]]


def test_merged_classes_and_crowds_left_out():
    truth, found = scene(6, pictures=10)
    one = [
        d.with_records(r.replace(instances=r.instances.replace(labels=r.instances.labels * 0)) for r in d)
        for d in (truth, found)
    ]
    paired = pair("test", truth, found)
    merged = np.nanmean(judge(paired.merged()).average_precision())
    assert merged == pytest.approx(evaluate(*one).ap, abs=1e-13)
    bare = truth.with_records(r.replace(instances=r.instances[~r.instances.crowd]) for r in truth)
    dropped = np.nanmean(judge(paired.without_crowds()).average_precision())
    assert dropped == pytest.approx(evaluate(bare, found).ap, abs=1e-13)
    kept = found.with_records(r.replace(instances=r.instances[r.instances.scores >= 0.4]) for r in found)
    cut = np.nanmean(judge(paired.cut(float(np.float32(0.4)))).average_precision())
    assert cut == pytest.approx(evaluate(truth, kept).ap, abs=1e-13)


def test_refuses_what_the_pairs_cannot_tell():
    truth, found = scene(1)
    paired = pair("test", truth, found)
    with pytest.raises(
        ValueError, match=r"judge: thresholds must be 1 to 32 numbers from 0.1 to 1, got \[0.05\]"
    ):
        judge(paired, [0.05])
    with pytest.raises(ValueError, match="judge: max_detections must be at least 1, got 0"):
        judge(paired, max_detections=0)
    with pytest.raises(ValueError, match=r"test: floor must lie in \(0, 1\], got 0"):
        pair("test", truth, found, floor=0)


def test_nothing_at_all():
    truth, found = scene(0, pictures=0)
    table = verdicts(truth, found)
    assert np.isnan(table.average_precision()).all()
    assert len(table.found()) == len(table.right()) == 0
    assert table.average_precision(recalls=RECALLS).shape == (1, 3, 10)
