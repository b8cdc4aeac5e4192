import json

import numpy as np
import pytest
from scenes import scene

from delineate.metrics import verdicts
from delineate.metrics.calibration import calibration


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_formulas(seed, bins):
    """Detection by detection: which bin, how many, how right."""
    table = verdicts(*scene(seed, pictures=30, ties=seed % 2 == 0), [0.5])
    result = calibration(table, bins=bins)
    held = [[] for _ in range(bins)]
    for score, hit, miss in zip(table.paired.detections.scores, table.right(), table.wrong(), strict=True):
        if hit or miss:
            held[next(b for b in range(bins) if score <= (b + 1) / bins + 1e-12)].append((score, hit))
    assert result.counts.tolist() == [len(one) for one in held]
    gaps = [abs(np.mean([s for s, _ in one]) - np.mean([h for _, h in one])) for one in held if one]
    counts = [len(one) for one in held if one]
    assert result.expected_error == pytest.approx(np.average(gaps, weights=counts), abs=1e-12)
    assert result.maximum_error == pytest.approx(max(gaps), abs=1e-12)
    pairs = [pair for one in held for pair in one]
    assert result.bias == pytest.approx(np.mean([s - h for s, h in pairs]), abs=1e-12)


def test_scores_beyond_one_are_kept_and_named():
    truth, found = scene(1, pictures=10)
    louder = found.with_records(
        r.replace(instances=r.instances.replace(scores=r.instances.scores * 3 - 1)) for r in found
    )
    table = verdicts(truth, louder, [0.5])
    result = calibration(table)
    scores = table.paired.detections.scores
    judged = table.right() | table.wrong()
    assert result.outside == ((scores < 0) | (scores > 1))[judged].sum() > 0
    assert result.counts.sum() == judged.sum()


def test_nothing_found():
    truth, found = scene(1, pictures=0)
    result = calibration(verdicts(truth, found, [0.5]))
    assert np.isnan([result.expected_error, result.maximum_error, result.bias]).all()
    content = json.loads(json.dumps(result.as_dict()))
    assert content["expected_error"] is None
    assert content["bins"][0]["score"] is None


def test_refuses_no_bins():
    with pytest.raises(ValueError, match="calibration: bins must be at least 1, got 0"):
        calibration(verdicts(*scene(1), [0.5]), bins=0)
