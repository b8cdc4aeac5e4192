import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scenes import scene

from delineate import Dataset, Instances, Masks, Record
from delineate.metrics import evaluate, verdicts
from delineate.metrics.errors import KINDS, errors

PINNED = json.loads((Path(__file__).with_name("data") / "tide.json").read_text("utf-8"))
"""What tidecv 1.0.1 says, written by make_tide.py beside this file."""
NAMES = dict(zip(("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"), KINDS, strict=True))
NAMES |= {"FalsePos": "false positive", "FalseNeg": "false negative"}


@pytest.mark.parametrize(
    "pinned", PINNED, ids=lambda one: f"{one['iou']}-{one['threshold']}-{one['scene']['seed']}"
)
def test_equals_tidecv(pinned, monkeypatch):
    # tidecv reads precision at x / 100; pycocotools' levels differ from these in the last bit, and where recall meets
    # one of them exactly, that shifts the reading by one hit.
    module = sys.modules["delineate.metrics.errors"]  # the package has the function under this name
    monkeypatch.setattr(module, "RECALLS", [x / 100 for x in range(101)])
    truth, found = scene(**pinned["scene"])
    iou = {"mask": "mask", "bbox": "box"}[pinned["iou"]]
    ours = errors(verdicts(truth, found, [pinned["threshold"]], iou=iou, max_detections=1000))
    assert ours.ap == pytest.approx(pinned["ap"] / 100, abs=1e-12)
    counts = dict(zip(KINDS, ours.counts.sum(axis=0).tolist(), strict=True))
    assert counts == {NAMES[name]: count for name, count in pinned["counts"].items()}
    expected = {NAMES[name]: gain / 100 for name, gain in (pinned["main"] | pinned["special"]).items()}
    assert ours.gains == pytest.approx(expected, abs=1e-12)


def test_ap_is_that_of_evaluate():
    truth, found = scene(7, pictures=30, crowd=0.2)
    assert errors(verdicts(truth, found, [0.5])).ap == pytest.approx(evaluate(truth, found).ap50, abs=1e-12)


def boxes(*rows, **fields):
    masks = np.zeros((len(rows), 20, 40), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, rows, strict=True):
        mask[y0:y1, x0:x1] = True
    return Instances.of(Masks.from_dense(masks), **fields)


def one(truth, found):
    return (Dataset([Record(None, (20, 40), part, id=1)], ["a", "b"]) for part in (truth, found))


@pytest.mark.parametrize(
    ("kind", "label", "box"),
    [
        ("localisation", 0, (0, 0, 10, 4)),
        ("classification", 1, (0, 0, 10, 10)),
        ("both", 1, (0, 0, 10, 4)),
        ("duplicate", 0, (20, 0, 30, 9)),
        ("background", 0, (30, 12, 40, 20)),
    ],
)
def test_one_of_each(kind, label, box):
    """Two objects of class a, the right one found; one more detection."""
    there = boxes((0, 0, 10, 10), (20, 0, 30, 10))
    seen = boxes((20, 0, 30, 10), box, labels=[0, label], scores=[0.9, 0.5])
    result = errors(verdicts(*one(there, seen), [0.5]))
    assert result.detections.tolist() == [-1, KINDS.index(kind)]
    usable = kind in ("localisation", "classification")
    assert result.missed.tolist() == [not usable, False]
    assert result.counts[label, KINDS.index(kind)] == 1
    if usable:
        assert result.gains[kind] == pytest.approx(1 - 51 / 101)  # the mended one completes the class


def test_crowds_are_no_errors():
    there = boxes((0, 0, 20, 20), (25, 0, 35, 10), crowd=[True, False])
    seen = boxes((2, 2, 8, 8), (25, 0, 35, 10), scores=[0.9, 0.5])
    result = errors(verdicts(*one(there, seen), [0.5]))
    assert result.detections.tolist() == [-1, -1]
    assert result.ap == pytest.approx(1)
    assert not result.missed.any()


def test_nothing_to_find_and_nothing_found():
    empty = Instances.empty((20, 40), scored=True)
    result = errors(verdicts(*one(Instances.empty((20, 40)), empty), [0.5]))
    assert np.isnan(result.ap)
    assert result.as_dict()["ap"] is None
    assert not result.counts.any()
    result = errors(verdicts(*one(boxes((0, 0, 5, 5)), empty), [0.5]))
    assert result.gains["missed"] == 0  # without the missed object and any detection the class has no AP
    assert result.counts[0].tolist() == [0, 0, 0, 0, 0, 1]


def test_json_and_refusals():
    table = verdicts(*scene(2), [0.5, 0.75])
    content = errors(table, place=1).as_dict()
    assert json.loads(json.dumps(content))["threshold"] == 0.75
    assert sum(content["counts"].values()) == sum(row[kind] for row in content["classes"] for kind in KINDS)
    with pytest.raises(
        ValueError, match=r"errors: background must lie between 0.1 and the threshold 0.5, got 0.6"
    ):
        errors(table, background=0.6)
