import json
from pathlib import Path

import numpy as np
import pytest
from coco_scenes import rle, scene

from delineate import Dataset, Instances, Masks, Record
from delineate.formats import coco
from delineate.metrics import AREA_RANGES, Fields, evaluate, matching

mask_api = pytest.importorskip("pycocotools.mask")


def drawn(*pictures: str, scores=None) -> Instances:
    """Instances of one 4x4 drawing each: rows separated by "/"."""
    masks = np.array([[[c == "#" for c in row] for row in picture.split("/")] for picture in pictures])
    return Instances.of(Masks.from_dense(masks.reshape(-1, 4, 4)), scores=scores)


def dataset(*parts: Instances, classes=("cell",)) -> Dataset:
    return Dataset([Record(None, part.size, part, id=n) for n, part in enumerate(parts, 1)], classes)


FULL, TOP, LEFT, CORNER = (
    "####/####/####/####",
    "####/####/..../....",
    "##../##../##../##..",
    "##../##../..../....",
)


@pytest.mark.parametrize("iou", ["mask", "box"])
@pytest.mark.parametrize("seed", range(60))
def test_equals_pycocotools_on_adversarial_scenes(agree, seed, iou):
    agree(*scene(seed), iou)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in pycocotools
@pytest.mark.parametrize("size", [(12, 14), (90, 120)])
@pytest.mark.parametrize("seed", range(12))
def test_boundary_equals_pycocotools_with_eroded_bitmaps(agree, seed, size):
    agree(*scene(seed, size=size), "boundary")


def test_boundary_equals_faster_coco_eval(tmp_path):
    for case in json.loads((Path(__file__).parent / "data/boundary.json").read_text()):  # by make_boundary.py
        truth, results = scene(case["seed"], size=(90, 120))
        (tmp_path / "truth.json").write_text(json.dumps(truth))
        (tmp_path / "results.json").write_text(json.dumps(results))
        found = coco.read_results(tmp_path / "results.json", tmp_path / "truth.json")
        report = evaluate(coco.read(tmp_path / "truth.json"), found, iou="boundary")
        assert report.stats.tolist() == pytest.approx(case["stats"], abs=1e-12), case["seed"]


def test_boundary_is_harder_than_masks_and_spares_crowds():
    """A square of 60 seen 2 pixels aside: (56 * 60) / (64 * 60) of the mask, less of a band of 2 pixels."""
    dense = np.zeros((3, 75, 100), bool)
    dense[0, 5:65, 5:65] = dense[1, 5:65, 7:67] = dense[2, 5:65, 8:40] = True
    there, seen = (
        Instances.of(Masks.from_dense(dense[k : k + 1]), **f) for k, f in ((0, {}), (1, {"scores": [1]}))
    )
    truth, found = dataset(there), dataset(seen)
    thresholds = np.arange(1, 100) / 100
    mask, boundary = (evaluate(truth, found, iou=iou, thresholds=thresholds) for iou in ("mask", "boundary"))
    assert mask.recall[:, 0, 0, -1].sum() == 93  # 58 / 62
    ring = 60 * 60 - 56 * 56
    common = 4 * 58  # rows of both bands; their columns do not meet
    assert boundary.recall[:, 0, 0, -1].sum() == int(100 * common / (2 * ring - common))
    crowd = dataset(there.replace(crowd=[True]))
    inside = dataset(Instances.of(Masks.from_dense(dense[2:]), scores=[1]))
    assert matching(crowd, inside, [0.9], iou="boundary").false_positives.tolist() == [0]


@pytest.mark.parametrize("iou", ["mask", "box"])
@pytest.mark.parametrize("seed", range(100, 130))
def test_equals_pycocotools_when_results_bring_fractional_boxes(agree, seed, iou):
    agree(*scene(seed, boxes=True), iou)


@pytest.mark.parametrize("seed", range(200, 220))
def test_equals_pycocotools_when_an_annotation_has_id_0(agree, seed):
    truth, results = scene(seed, first_id=0)
    report = agree(truth, results, "mask")
    harmless = not truth["annotations"] or next(a for a in truth["annotations"] if a["id"] == 0)["iscrowd"]
    assert harmless or "annotation id 0" in report.notices[0]


SETTINGS = {
    "many": (np.linspace(0.02, 1.0, 50), [2, 5, 7, 300], {"few": (3, 20), "all": (0, 50)}),  # blocks of 32
    "one": ([0.3], [1], {"dot": (0, 0)}),
    "no limit": ([0.75, 0.5], [100_000], {"all": (0, 1e10), "same": (0, 1e10), "upper": (30, 1e12)}),
}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in pycocotools
@pytest.mark.parametrize("iou", ["mask", "box", "boundary"])
@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("seed", range(300, 305))
def test_equals_pycocotools_with_other_parameters(agree, seed, name, iou):
    thresholds, limits, ranges = SETTINGS[name]
    thresholds, recalls = np.random.default_rng(seed).permutation(thresholds), np.linspace(0.1, 0.9, 4)
    params = {"iouThrs": thresholds, "maxDets": limits, "recThrs": recalls, "areaRng": list(ranges.values())}
    ours = {"thresholds": thresholds, "max_detections": limits, "recalls": recalls, "area_ranges": ranges}
    agree(*scene(seed), iou, params, **ours)


@pytest.mark.parametrize("iou", ["mask", "box"])
def test_equals_pycocotools_on_val2014(agree, shared, iou):
    folder = shared / "fixtures/formats/coco/val2014_100"
    truth = json.loads((folder / "instances_val2014_100.json").read_text())
    kind = {"mask": "segm", "box": "bbox"}[iou]
    results = json.loads((folder / f"instances_val2014_fake{kind}100_results.json").read_text())
    report = agree(truth, results, iou)
    expected = json.loads((folder / "expected.json").read_text())["results"][kind]
    assert np.round(report.stats, 10).tolist() == list(expected.values())


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in pycocotools
def test_equals_pycocotools_on_nuclei(agree, shared):
    truth = json.loads((shared / "data/dsb2018/val.json").read_text())
    rng = np.random.default_rng(7)
    results = []
    for annotation in truth["annotations"]:
        dense = mask_api.decode(annotation["segmentation"])
        for _ in range(rng.integers(0, 3)):
            moved = rle(np.roll(dense, rng.integers(-3, 4, 2), (0, 1)))
            score = float(np.round(rng.random(), 2))
            results.append(
                {"image_id": annotation["image_id"], "category_id": 1, "segmentation": moved, "score": score}
            )
    report = agree(truth, results, "mask")
    assert 0.1 < report.ap < 0.3
    assert len(report.notices) == 2  # more than 100 nuclei in a picture, and more than 100 detections


@pytest.mark.parametrize(
    "results", [[], [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2], "score": 0.5}]]
)
@pytest.mark.parametrize("truth_boxes", [[], [[0, 0, 2, 2]]])
def test_equals_pycocotools_without_truth_or_detections(agree, results, truth_boxes):
    annotations = [
        {"id": n, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 4.0, "bbox": box}
        for n, box in enumerate(truth_boxes, 1)
    ]
    images = [{"id": 1, "height": 4, "width": 4}, {"id": 2, "height": 4, "width": 4}]
    agree(
        {"images": images, "categories": [{"id": 1, "name": "a"}], "annotations": annotations}, results, "box"
    )


def test_boxes_count_with_all_bits_of_the_file(agree):
    # 0.2 + 32 in 32 bits is a little more than 32.2: such a box would not be small any more.
    right, wrong = [0.2, 0.2, 32.0, 32.0], [0.2, 30.2, 32.0, 32.0]
    truth = {
        "images": [{"id": 1, "height": 64, "width": 64}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 1024.0, "bbox": right}
        ],
    }
    results = [
        {"image_id": 1, "category_id": 1, "bbox": box, "score": score}
        for box, score in ((wrong, 0.9), (right, 0.8))
    ]
    assert agree(truth, results, "box").ap_small == pytest.approx(0.5)
    known = Instances((64, 64), [[0.2, 0.2, 32.2, 32.2]], [0], extras={"area": [1024.0]})
    found = Instances((64, 64), [[0.2, 30.2, 32.2, 62.2], [0.2, 0.2, 32.2, 32.2]], [0, 0], [0.9, 0.8])
    assert evaluate(dataset(known), dataset(found), iou="box").ap_small == pytest.approx(1.0)


def test_hand_drawn_example():
    truth = dataset(drawn(TOP, LEFT), drawn(FULL))
    predictions = dataset(drawn(TOP, CORNER, scores=[0.9, 0.8]), drawn(TOP, scores=[0.7]))
    report = evaluate(truth, predictions)
    # By score: TOP is right up to IoU 1; CORNER covers half of LEFT, TOP half of FULL: right at 0.5 only.
    assert report.recall[:, 0, 0, 2].tolist() == pytest.approx([1.0] + [1 / 3] * 9)
    assert report.ap50 == pytest.approx(1.0)
    assert report.ap75 == pytest.approx(34 / 101)
    assert report.ap == pytest.approx((1 + 9 * 34 / 101) / 10)
    assert report.ar_1 == pytest.approx((2 / 3 + 9 / 3) / 10)
    assert report.ap_small == report.ap
    assert (report.stats[[4, 5, 10, 11]] == -1).all()
    assert np.isnan([report.ap_medium, report.ap_large, report.ar_medium, report.ar_large]).all()
    assert report.class_ap(0.5) == pytest.approx([1.0])
    assert (report.pictures, report.objects, report.detections, report.notices) == (2, 3, 3, ())


def test_perfect_predictions_score_one():
    masks = drawn(TOP, LEFT)
    report = evaluate(dataset(masks), dataset(masks.replace(scores=[0.5, 0.5])))
    assert report.ap == pytest.approx(1.0)
    assert report.ar_10 == report.ar_100 == report.ar_small == 1.0


def test_order_of_records_does_not_matter(tmp_path):
    truth, results = scene(3)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "results.json").write_text(json.dumps(results))
    known = coco.read(tmp_path / "truth.json")
    found = coco.read_results(tmp_path / "results.json", tmp_path / "truth.json")
    expected = evaluate(known, found)
    turned = evaluate(known.with_records(reversed(known.records)), found)
    assert np.array_equal(turned.precision, expected.precision)
    assert np.array_equal(turned.scores, expected.scores)


def test_pictures_without_predictions_may_be_left_out():
    truth = dataset(drawn(TOP), drawn(LEFT))
    report = evaluate(truth, dataset(drawn(TOP, scores=[0.9])))
    assert report.ar_100 == 0.5


def test_empty_predictions_may_lack_masks_and_scores():
    nothing = Instances((4, 4), np.zeros((0, 4)), [])
    assert evaluate(dataset(drawn(TOP)), dataset(nothing)).ap == 0.0
    assert np.isnan(evaluate(dataset(nothing), dataset(drawn(TOP, scores=[0.9]))).ap)


@pytest.mark.parametrize("classes", [(), ("cell",)])
def test_empty_datasets(classes):
    report = evaluate(Dataset([], classes), Dataset([], classes))
    assert report.stats.tolist() == [-1.0] * 12
    assert report.precision.shape == (10, 101, len(classes), 4, 3)


def test_classes_are_matched_by_name():
    truth = Dataset([Record(None, (4, 4), drawn(TOP, LEFT).replace(labels=[0, 1]), 1)], ["cat", "dog"])
    found = drawn(LEFT, TOP, FULL, scores=[0.9, 0.8, 1.0]).replace(labels=[0, 1, 2])
    predictions = Dataset([Record(None, (4, 4), found, 1)], ["dog", "cat", "cow"])
    report = evaluate(truth, predictions)
    assert report.class_ap() == pytest.approx([1.0, 1.0])
    assert report.detections == 2
    assert report.notices == ("The truth does not know 1 predicted classes; they were left out: cow.",)


def test_notices_say_when_the_limit_bites():
    found = drawn(TOP, LEFT, CORNER, scores=[0.3, 0.2, 0.1])
    report = evaluate(dataset(drawn(TOP, LEFT, CORNER)), dataset(found), max_detections=[2])
    assert report.ar_100 == pytest.approx(2 / 3)
    assert report.notices == (
        "In 1 pictures there are more than 2 objects of one class (up to 3), so recall cannot reach 1. "
        "Raise max_detections.",
        "In 1 pictures there are more than 2 detections of one class; 1 of lowest score were not counted. "
        "Raise max_detections to count them.",
    )


def test_rows_follow_the_limits():
    found = drawn(TOP, LEFT, CORNER, scores=[0.3, 0.2, 0.1])
    report = evaluate(dataset(drawn(TOP, LEFT, CORNER)), dataset(found), max_detections=(3, 1, 2))
    assert report.max_detections == (1, 2, 3)
    assert (report.ar_1, report.ar_10, report.ar_100) == pytest.approx((1 / 3, 2 / 3, 1))
    assert [report.limit(row) for row in report.rows] == [3] * 6 + [1, 2] + [3] * 4
    two = evaluate(dataset(drawn(TOP, LEFT, CORNER)), dataset(found), max_detections=(1, 3))
    assert (two.ar_1, two.ar_100) == pytest.approx((1 / 3, 1))
    assert np.isnan(two.ar_10)


def test_a_detection_area_that_is_not_the_masks_is_noticed():
    found = drawn(TOP, scores=[0.5]).replace(extras={"area": [2000.0]})
    report = evaluate(dataset(drawn(TOP)), dataset(found))
    assert "1 predictions come with an area other than their mask's" in report.notices[0]
    assert evaluate(dataset(drawn(TOP)), dataset(found), fields=Fields(area=None)).notices == ()


def test_stale_extras_do_not_count():
    stale = {"score": [0.1, 0.2], "bbox": [[0, 0, 1, 1], [0, 0, 1, 1]]}
    found = drawn(FULL, TOP, scores=[0.9, 0.3]).replace(extras=stale)
    fresh = found.replace(extras={})
    for iou in ("mask", "box"):
        a, b = (evaluate(dataset(drawn(TOP)), dataset(one), iou=iou) for one in (found, fresh))
        assert np.array_equal(a.scores, b.scores)
        assert np.array_equal(a.precision, b.precision)


def test_report_as_plain_values():
    report = evaluate(dataset(drawn(TOP)), dataset(drawn(TOP, scores=[0.5])))
    plain = json.loads(json.dumps(report.as_dict()))
    assert plain["stats"]["ap50"] == report.ap50
    assert plain["stats"]["ap_large"] is None
    assert plain["classes"] == [{"name": "cell", "ap": report.ap, "ap50": report.ap50}]
    assert repr(report) == "Report(mask AP 1.0000, AP50 1.0000, 1 pictures)"


def good() -> Dataset:
    return dataset(drawn(TOP, scores=[0.5]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iou": "bbox"}, 'iou must be "mask", "box" or "boundary", got \'bbox\''),
        ({"thresholds": []}, r"thresholds must lie in \(0, 1\], got \[\]"),
        ({"thresholds": [0.0]}, r"thresholds must lie in \(0, 1\], got \[0.0\]"),
        ({"thresholds": [float("nan")]}, r"thresholds must lie in \[0, 1\], got nan"),
        ({"recalls": [0.5, 0.1]}, "recalls must be ascending"),
        ({"max_detections": []}, r"max_detections must be whole numbers of at least 1, got \(\)"),
        ({"max_detections": [0, 5]}, r"max_detections must be whole numbers of at least 1, got \(0, 5\)"),
        ({"max_detections": [1, 2.5]}, r"max_detections must be whole numbers .* got \(1, 2.5\)"),
        ({"area_ranges": {}}, "area_ranges must name at least one range"),
        ({"area_ranges": {"a": (2, 1)}}, r"area_ranges\['a'\] must be \(least, greatest\), got \(2, 1\)"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=f"^evaluate: {message}"):
        evaluate(good(), good(), **options)


BOX = {"boxes": [[0, 0, 1, 1]], "labels": [0], "scores": [0.5]}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: (good(), dataset(drawn(TOP))), "predictions must have scores, got None. Pass truth first"),
        (
            lambda: (good(), dataset(*[drawn(TOP, scores=[0.5])] * 2)),
            "predictions must be about records of truth, got 1 unknown ids, such as 2",
        ),
        (
            lambda: (good(), Dataset([], ["dog"])),
            r"predictions must share classes with truth \(cell\), got dog",
        ),
        (
            lambda: (Dataset([], list("aba")), Dataset([], list("ab"))),
            "classes of truth must be unique where the two datasets differ, got 'a' twice",
        ),
        (
            lambda: (good(), dataset(Instances((5, 4), **BOX))),
            r"predictions of record 1 must have the size of its truth \(4, 4\), got \(5, 4\)",
        ),
        (
            lambda: (good(), dataset(Instances((4, 4), **BOX))),
            'predictions must have masks, got boxes only. Pass iou="box"',
        ),
    ],
)
def test_datasets_that_do_not_belong_together(make, message):
    with pytest.raises(ValueError, match=f"^evaluate: {message}"):
        evaluate(*make())


def test_default_ranges_are_cocos():
    assert list(AREA_RANGES.values()) == [(0, 1e10), (0, 32**2), (32**2, 96**2), (96**2, 1e10)]
