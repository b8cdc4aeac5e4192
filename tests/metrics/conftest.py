"""pycocotools as the oracle."""

import contextlib
import copy
import functools
import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from delineate.formats import coco
from delineate.metrics import evaluate

KINDS = {"mask": "segm", "box": "bbox", "boundary": "segm"}


def dense_boundary_overlaps(run, picture, category):
    """In the place of COCOeval.computeIoU: boundary IoU from bitmaps, eroded by scipy."""
    from pycocotools import mask as mask_api
    from scipy.ndimage import binary_erosion

    truths, found = run._gts[picture, category], run._dts[picture, category]
    if not truths or not found:
        return []
    found = [found[n] for n in np.argsort([-one["score"] for one in found], kind="mergesort")]
    found = found[: run.params.maxDets[-1]]
    sides = [[mask_api.decode(one["segmentation"]).astype(bool) for one in side] for side in (found, truths)]
    width = max(1, round(0.02 * np.sqrt(sum(side**2 for side in sides[0][0].shape))))
    square = np.ones((3, 3), bool)
    bands = [[m & ~binary_erosion(m, square, width) for m in side] for side in sides]
    overlaps = np.zeros((len(found), len(truths)))
    for d in range(len(found)):
        for g, truth in enumerate(truths):
            both = (sides[0][d] & sides[1][g]).sum()
            if not both:
                continue
            if truth["iscrowd"]:
                overlaps[d, g] = both / sides[0][d].sum()
                continue
            common = (bands[0][d] & bands[1][g]).sum()
            overlaps[d, g] = min(
                both / (sides[0][d] | sides[1][g]).sum(), common / (bands[0][d] | bands[1][g]).sum()
            )
    return overlaps


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
        if iou == "boundary":
            run.computeIoU = functools.partial(dense_boundary_overlaps, run)
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
