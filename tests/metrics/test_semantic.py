"""Mean IoU against scikit-learn's definition written out, and its edges."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delineate.metrics.semantic import UNKNOWN, Tally


def counted(classes, *pairs):
    tally = Tally([str(n) for n in range(classes)])
    for truth, found in pairs:
        tally.add(truth, found)
    return tally.report()


@given(st.data())
def test_the_definition(data):
    """Of sets of pixels, picture by picture."""
    count = data.draw(st.integers(1, 4))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    pairs = [rng.integers(-1, count, (2, 3, 5)) for _ in range(data.draw(st.integers(1, 3)))]
    report = counted(count, *pairs)
    for k in range(count):
        true = {(n, *place) for n, pair in enumerate(pairs) for place in np.argwhere(pair[0] == k).tolist()}
        ours = {
            (n, *place)
            for n, pair in enumerate(pairs)
            for place in np.argwhere((pair[1] == k) & (pair[0] >= 0)).tolist()
        }
        want = len(true & ours) / len(true | ours) if true | ours else math.nan
        assert report.iou[k] == pytest.approx(want, nan_ok=True)
    seen = [value for value in report.iou if not math.isnan(value)]
    assert report.mean_iou == pytest.approx(np.mean(seen) if seen else math.nan, nan_ok=True)
    known = sum((pair[0] >= 0).sum() for pair in pairs)
    right = sum(((pair[0] >= 0) & (pair[0] == pair[1])).sum() for pair in pairs)
    assert report.accuracy == pytest.approx(right / known if known else math.nan, nan_ok=True)


def test_a_drawn_case():
    report = counted(3, ([[0, 0, 1, UNKNOWN]], [[0, 1, UNKNOWN, 2]]))
    assert report.iou.tolist()[:2] == [0.5, 0.0]
    assert math.isnan(report.iou[2])
    assert report.as_dict() == {
        "pictures": 1,
        "mean_iou": 0.25,
        "accuracy": 1 / 3,
        "per_class": [
            {"name": "0", "iou": 0.5, "pixels": 2},
            {"name": "1", "iou": 0.0, "pixels": 1},
            {"name": "2", "iou": None, "pixels": 0},
        ],
    }


def test_nothing_known_is_no_number():
    report = counted(2, ([[UNKNOWN]], [[1]]))
    assert math.isnan(report.mean_iou)
    assert report.as_dict()["accuracy"] is None
    assert counted(2).pictures == 0


@pytest.mark.parametrize(
    ("truth", "found", "message"),
    [
        ([[0, 1]], [[0]], r"truth's \(H, W\) \(1, 2\), got \(1, 1\)"),
        ([[2]], [[0]], "truth must be ints from -1 to 1"),
        ([[0]], [[-2]], "found must be ints from -1 to 1"),
        ([[0]], [[0.5]], "found must be ints"),
    ],
)
def test_what_does_not_fit_is_refused(truth, found, message):
    with pytest.raises(ValueError, match=message):
        counted(2, (truth, found))
