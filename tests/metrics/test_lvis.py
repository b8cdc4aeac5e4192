"""lvis 0.5.3 as the oracle: its numbers are pinned (make_lvis.py), and it is run where it is installed."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from coco_scenes import federated
from lvis_oracle import digest, lvis_eval

from delineate import Dataset, Instances, Masks, Record
from delineate.formats import coco, lvis
from delineate.metrics import evaluate
from delineate.metrics.lvis import evaluate_lvis

KINDS = {"segm": "mask", "bbox": "box"}


def load(folder: Path, truth: dict, results: list[dict]) -> tuple[Dataset, Dataset]:
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "results.json").write_text(json.dumps(results))
    known = lvis.read(folder / "truth.json")
    return known, lvis.read_results(folder / "results.json", folder / "truth.json")


def federated_truth(truth: dict) -> bool:
    keys = ("neg_category_ids", "not_exhaustive_category_ids")
    return any(image[key] for image in truth["images"] for key in keys)


def test_equals_lvis_to_the_last_bit(tmp_path):
    counted = 0
    for case in json.loads((Path(__file__).parent / "data/lvis.json").read_text()):
        truth, results = federated(case["seed"])
        if not federated_truth(truth):
            continue
        known, found = load(tmp_path, truth, results)
        report = evaluate_lvis(known, found, iou=KINDS[case["iou"]], max_detections=case["limit"])
        where = case["seed"], case["iou"], case["limit"]
        assert list(report.results.values()) == case["results"], where
        assert digest(report.precision) == case["precision"], where
        assert digest(report.recall) == case["recall"], where
        counted += 1
    assert counted > 70


@pytest.mark.filterwarnings("ignore:The 'warn' method is deprecated:DeprecationWarning")  # in lvis
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in pycocotools
@pytest.mark.skipif(importlib.util.find_spec("lvis") is None, reason="lvis is not installed (needs OpenCV)")
def test_equals_lvis_where_it_is_installed(tmp_path):
    counted = 0
    for seed in range(600, 640):
        truth, results = federated(seed)
        if not results or not federated_truth(truth):  # lvis cannot load an empty list
            continue
        known, found = load(tmp_path, truth, results)
        for kind, iou in KINDS.items():
            run, report = (
                lvis_eval(truth, results, kind, 9),
                evaluate_lvis(known, found, iou=iou, max_detections=9),
            )
            assert np.array_equal(report.precision, run.eval["precision"])
            assert np.array_equal(report.recall, run.eval["recall"])
            assert list(report.results.items()) == list(run.results.items())
            counted += 1
    assert counted > 40


def drawn(*spans, **fields) -> Instances:
    """Instances in one row of ten pixels: (first, end) each."""
    masks = np.zeros((len(spans), 1, 10), bool)
    for mask, (start, end) in zip(masks, spans, strict=True):
        mask[0, start:end] = True
    return Instances.of(Masks.from_dense(masks), **fields)


NAMES = ("cat", "dog", "cow", "emu")


def pair(known: Instances, found: Instances, **attributes) -> tuple[Dataset, Dataset]:
    more = {"categories": [{"frequency": one} for one in ("r", "c", "f", "f")]}
    truth = Dataset([Record(None, (1, 10), known, 1, attributes)], NAMES, more)
    return truth, Dataset([Record(None, (1, 10), found, 1)], NAMES)


def test_what_is_not_known_of_a_picture_does_not_count():
    known = drawn((0, 3), (4, 6), labels=[0, 1])
    seen = [(0, 3), (8, 9), (4, 6), (7, 8), (8, 10), (9, 10)]
    found = drawn(*seen, labels=[0, 0, 1, 1, 2, 3], scores=[0.5, 0.9, 0.5, 0.9, 0.9, 0.9])
    told = {"negative_classes": ["cow"], "not_exhaustive_classes": ["dog"]}
    report = evaluate_lvis(*pair(known, found, **told))
    # A false cat counts; a false dog is ignored; a cow is false but there are none; of emus nothing is known.
    assert report.class_ap().tolist() == pytest.approx([0.5, 1, np.nan, np.nan], nan_ok=True)
    assert (report.ap_rare, report.ap_common) == pytest.approx((0.5, 1.0))
    assert np.isnan(report.ap_frequent)
    assert (report.judged, report.detections, report.objects, report.notices) == (5, 6, 2, ())
    assert repr(report) == "LvisReport(mask AP 0.7500, APr 0.5000, APc 1.0000, APf nan, 1 pictures)"


def test_the_limit_is_for_all_classes_of_a_picture():
    known = drawn((0, 3), (4, 6), labels=[0, 1])
    found = drawn((0, 3), (4, 6), (8, 9), labels=[0, 1, 2], scores=[0.5, 0.5, 0.9])
    report = evaluate_lvis(*pair(known, found, negative_classes=["cow"]), max_detections=2)
    assert report.class_ap().tolist() == pytest.approx([1, 0, np.nan, np.nan], nan_ok=True)
    assert report.ar == 0.5
    assert report.notices == (
        "In 1 pictures there are more than 2 detections; 1 of lowest score were not counted. "
        "Raise max_detections to count them.",
    )
    assert list(report.results)[9:] == ["AR@2", "ARs@2", "ARm@2", "ARl@2"]


def test_crowds_are_objects_and_a_notice():
    known = drawn((0, 3), (4, 6), labels=[0, 0], crowd=[False, True])
    report = evaluate_lvis(*pair(known, drawn((0, 3), labels=[0], scores=[1]), negative_classes=["cow"]))
    assert report.ar == 0.5
    assert report.notices == ("1 crowds count as objects: LVIS has no crowds.",)


def test_with_everything_known_it_is_coco(tmp_path):
    truth, results = federated(7)
    for image in truth["images"]:
        image["neg_category_ids"] = [category["id"] for category in truth["categories"]]
        image["not_exhaustive_category_ids"] = []
    for annotation in truth["annotations"]:
        annotation["iscrowd"] = 0
    known, found = load(tmp_path, truth, results)
    inside = [(r.instances.extras["area"] > 0).all() for side in (known, found) for r in side]
    report, plain = evaluate_lvis(known, found), evaluate(known, found, max_detections=[300])
    assert all(inside) == np.array_equal(report.precision, plain.precision[..., 0])


def test_plain_values(tmp_path):
    report = evaluate_lvis(*load(tmp_path, *federated(503)))
    content = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert content["results"]["AP"] == report.ap
    assert {one["frequency"] for one in content["classes"]} <= {"r", "c", "f"}


def test_truth_that_is_not_federated_is_refused():
    known = drawn((0, 3), labels=[0])
    with pytest.raises(ValueError, match=r"must have negative_classes or not_exhaustive_classes .* got none"):
        evaluate_lvis(*pair(known, known.replace(scores=[1])))
    with pytest.raises(ValueError, match="negative_classes of record 1 must be classes of truth, got 'yak'"):
        evaluate_lvis(*pair(known, known.replace(scores=[1]), negative_classes=["yak"]))
    with pytest.raises(ValueError, match="max_detections must be whole numbers of at least 1"):
        evaluate_lvis(*pair(known, known.replace(scores=[1]), negative_classes=["cow"]), max_detections=0)


def test_nothing_at_all():
    report = evaluate_lvis(Dataset([], NAMES), Dataset([], NAMES))
    assert set(report.results.values()) == {-1.0}
    assert report.frequencies == ("",) * 4


def test_boundary(tmp_path):
    known, found = load(tmp_path, *federated(510))
    assert evaluate_lvis(known, found, iou="boundary").ap <= evaluate_lvis(known, found).ap


def test_real_truth(shared, tmp_path):
    path = shared / "fixtures/formats/lvis/lvis_val_100.json"
    known = lvis.read(path)
    found = known.with_records(
        r.replace(instances=r.instances.replace(scores=np.ones(len(r.instances)), extras={})) for r in known
    )
    report = evaluate_lvis(known, found)
    assert report.ap == pytest.approx(1.0, abs=1e-9)
    assert report.judged == report.detections == report.objects == 977
    assert coco.sniff(path) is False
