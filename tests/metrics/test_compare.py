import json

import numpy as np
import pytest
from scenes import repeated, scene

from delineate.metrics import evaluate, verdicts
from delineate.metrics.compare import compare


@pytest.fixture(scope="module")
def runs():
    """A truth, predictions, and the same predictions with every other detection lost."""
    truth, found = scene(3, pictures=14)
    fewer = found.with_records(r.replace(instances=r.instances[::2]) for r in found)
    return truth, fewer, found


def test_intervals_are_those_of_resampled_datasets(runs):
    """The same draws, each evaluated as a dataset of its own."""
    truth, *sides = runs
    ours = compare(*(verdicts(truth, side) for side in sides), resamples=210, seed=5)
    rng = np.random.default_rng(5)
    drawn = [*rng.integers(0, 14, (200, 14)), *rng.integers(0, 14, (10, 14))]
    rows = []
    for picks in drawn:
        weights = np.bincount(picks, minlength=14)
        known = repeated(truth, weights)
        reports = [evaluate(known, repeated(side, weights)) for side in sides]
        numbers = [[r.ap, r.ap50, r.ap75, *r.class_ap()] for r in reports]
        rows.append(np.subtract(numbers[1], numbers[0]))
    low, high = np.nanquantile(rows, [0.025, 0.975], axis=0)
    found = [*ours.overall.values(), *(one for _, one in ours.classes)]
    assert [one.low for one in found] == pytest.approx(low.tolist(), abs=1e-12)
    assert [one.high for one in found] == pytest.approx(high.tolist(), abs=1e-12)
    above = [np.mean((c > 0) + (c == 0) / 2) for c in (col[~np.isnan(col)] for col in np.array(rows).T)]
    assert [one.above for one in found] == pytest.approx(above)


def test_values_are_those_of_evaluate(runs):
    truth, fewer, found = runs
    ours = compare(verdicts(truth, fewer), verdicts(truth, found), resamples=5)
    first, second = evaluate(truth, fewer), evaluate(truth, found)
    assert ours.overall["AP"].first == pytest.approx(first.ap, abs=1e-13)
    assert ours.overall["AP"].second == pytest.approx(second.ap, abs=1e-13)
    assert ours.overall["AP50"].difference == pytest.approx(second.ap50 - first.ap50, abs=1e-13)
    assert ours.overall["AP75"].second == pytest.approx(second.ap75, abs=1e-13)
    assert [one.second for _, one in ours.classes] == pytest.approx(second.class_ap().tolist(), abs=1e-13)
    assert [name for name, _ in ours.classes] == list(truth.classes)


def test_the_seed_decides(runs):
    truth, *sides = runs
    tables = [verdicts(truth, side) for side in sides]
    one, again, other = (compare(*tables, resamples=30, seed=seed).as_dict() for seed in (1, 1, 2))
    assert one == again
    assert one["ap"] != other["ap"]
    json.dumps(one, allow_nan=False)


def test_a_run_against_itself(runs):
    table = verdicts(runs[0], runs[1])
    ap = compare(table, table, resamples=10).overall["AP"]
    assert (ap.difference, ap.low, ap.high, ap.above, ap.decided) == (0, 0, 0, 0.5, False)


def test_progress_is_told(runs):
    table, told = verdicts(runs[0], runs[1]), []
    compare(table, table, resamples=420, progress=lambda *numbers: told.append(numbers))
    assert told == [(200, 420), (400, 420), (420, 420)]


def test_no_pictures():
    truth, found = scene(0, pictures=0)
    ap = compare(verdicts(truth, found), verdicts(truth, found), resamples=3).overall["AP"]
    assert np.isnan([ap.first, ap.low]).all()
    assert ap.as_dict()["low"] is None


def test_refuses_what_cannot_be_compared(runs):
    truth, fewer, found = runs
    other = truth.with_records(truth.records[:-1])
    with pytest.raises(ValueError, match="compare: both runs must be judged by the same truth"):
        compare(verdicts(truth, found), verdicts(other, found.with_records(found.records[:-1])))
    with pytest.raises(ValueError, match=r"same thresholds, got \[0.5\] and \[0.75\]"):
        compare(verdicts(truth, found, [0.5]), verdicts(truth, fewer, [0.75]))
    for options, message in (({"resamples": 0}, "resamples must be"), ({"level": 1}, "level must lie")):
        with pytest.raises(ValueError, match=message):
            compare(verdicts(truth, found), verdicts(truth, fewer), **options)
