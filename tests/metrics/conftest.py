"""pycocotools as the oracle."""

import contextlib
import copy
import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from delineate.formats import coco
from delineate.metrics import evaluate

KINDS = {"mask": "segm", "box": "bbox"}


def pycocotools(truth: dict, results: list[dict], iou: str, **params) -> SimpleNamespace:
    """COCOeval's numbers; `params` sets attributes of its Params."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = copy.deepcopy(truth)
        known.createIndex()
        if results:
            found = known.loadRes(copy.deepcopy(results))
        else:  # loadRes cannot load nothing
            found = COCO()
            found.dataset = {**copy.deepcopy(truth), "annotations": []}
            found.createIndex()
        run = COCOeval(known, found, KINDS[iou])
        for name, value in params.items():
            setattr(run.params, name, value)
        run.evaluate()
        run.accumulate()
        with contextlib.suppress(IndexError):  # it can only summarise three limits
            run.summarize()
    return SimpleNamespace(
        stats=run.stats, **{name: run.eval[name] for name in ("precision", "recall", "scores")}
    )


@pytest.fixture
def agree(tmp_path: Path):
    """Evaluates COCO data with both, demands equality to the last bit, returns our report."""

    def check(truth: dict, results: list[dict], iou: str, params: dict | None = None, **ours):
        (tmp_path / "truth.json").write_text(json.dumps(truth))
        (tmp_path / "results.json").write_text(json.dumps(results))
        known = coco.read(tmp_path / "truth.json")
        found = coco.read_results(tmp_path / "results.json", tmp_path / "truth.json")
        expected = pycocotools(truth, results, iou, **(params or {}))
        report = evaluate(known, found, iou=iou, **ours)
        for name in ("precision", "recall", "scores"):
            assert np.array_equal(getattr(report, name), getattr(expected, name)), name
        if params is None:
            assert np.array_equal(report.stats, expected.stats)
        return report

    return check
