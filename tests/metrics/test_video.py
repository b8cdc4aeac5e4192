"""pycocotools' COCOeval is the oracle: YouTube-VIS replaces only the IoU, the area and the area ranges."""

import contextlib
import copy
import io
import json

import numpy as np
import pytest

from delineate import Dataset, Instances, Masks, Record
from delineate.formats import youtube_vis
from delineate.metrics import Fields, evaluate_videos

mask_api = pytest.importorskip("pycocotools.mask")

SIZE = (9, 11)
RANGES = [[0, 1e5**2], [0, 128**2], [128**2, 256**2], [256**2, 1e5**2]]


def reference(truth, results, **params):
    """The protocol, slowly: tracks are COCO objects of a picture (the video), compared over all frames."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def iou(d_track, g_track):
        shared = union = 0.0
        for d, g in zip(d_track, g_track, strict=True):
            if d and g:
                shared += mask_api.area(mask_api.merge([d, g], True))
                union += mask_api.area(mask_api.merge([d, g], False))
            elif d or g:
                union += mask_api.area(d or g)
        return shared / union if union else 0.0

    class VideoEval(COCOeval):
        def computeIoU(self, video, category):  # noqa: N802 - pycocotools' name
            known, found = self._gts[video, category], self._dts[video, category]
            if not known and not found:
                return []
            found = [found[i] for i in np.argsort([-d["score"] for d in found], kind="mergesort")]
            found = found[: self.params.maxDets[-1]]
            ious = np.zeros((len(found), len(known)))
            for i, d in enumerate(found):
                for j, g in enumerate(known):
                    ious[i, j] = iou(d["segmentations"], g["segmentations"])
            return ious

    def coco(entries):
        side = COCO()
        pictures = [{"id": video["id"]} for video in truth["videos"]]
        side.dataset = {"images": pictures, "categories": truth["categories"], "annotations": entries}
        side.createIndex()
        return side

    def entry(given, areas):
        areas = [area for area in areas if area]
        return (
            {"image_id": given["video_id"], "iscrowd": 0} | given | {"area": np.mean(areas) if areas else 0}
        )

    with contextlib.redirect_stdout(io.StringIO()):
        known = [entry(item, item["areas"]) for item in copy.deepcopy(truth["annotations"])]
        found = []
        for n, item in enumerate(copy.deepcopy(results), 1):
            areas = [int(mask_api.area(shape)) if shape else None for shape in item["segmentations"]]
            found.append(entry(item, areas) | {"id": n})
        run = VideoEval(coco(known), coco(found), "bbox")
        run.params.areaRng = RANGES
        for name, value in params.items():
            setattr(run.params, name, value)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run


def shape(rng):
    dense = np.zeros(SIZE, np.uint8)
    y, x = rng.integers(0, 7), rng.integers(0, 9)
    dense[y : y + rng.integers(0, 5), x : x + rng.integers(0, 5)] = 1
    if rng.random() < 0.2:
        dense ^= (rng.random(SIZE) < 0.1).astype(np.uint8)
    return dense


def coded(dense):
    rle = mask_api.encode(np.asfortranarray(dense))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


def scene(seed, first_id=1):
    """Ties, crowds, absurd areas, tracks that come and go or are nowhere, empty masks, unsorted ids."""
    rng = np.random.default_rng(seed)
    names = (rng.permutation(30)[: rng.integers(1, 5)] + 1).tolist()
    categories = (rng.permutation(20)[: rng.integers(1, 4)] + 1).tolist()
    videos, annotations, results = [], [], []
    for name in names:
        length = int(rng.integers(1, 6))
        videos.append({"id": name, "height": SIZE[0], "width": SIZE[1], "length": length})
        shapes = []
        for _ in range(rng.choice([0, 1, 4, 7])):
            seen = rng.random(length) < rng.choice([0, 0.5, 1], p=[0.1, 0.5, 0.4])
            track = [shape(rng) if one else None for one in seen]
            shapes.append(track)
            absurd = [100, 16384, 16384.5, 0, 1e9, 65536.1]
            areas = [None if t is None else rng.choice([t.sum(), rng.choice(absurd)]).item() for t in track]
            annotations.append(
                {"id": 0, "video_id": name, "category_id": int(rng.choice(categories)), "areas": areas}
                | {"iscrowd": int(rng.random() < 0.15)}
                | {"segmentations": [None if t is None else coded(t) for t in track]}
            )
        for _ in range(rng.choice([0, 2, 9, 120], p=[0.2, 0.4, 0.35, 0.05])):
            if shapes and rng.random() < 0.7:
                track = list(shapes[rng.integers(len(shapes))])
                for n in np.flatnonzero(rng.random(length) < 0.3):
                    track[n] = shape(rng) if rng.random() < 0.6 else None
            else:
                track = [shape(rng) if rng.random() < 0.6 else None for _ in range(length)]
            score = float(rng.choice([0.5, 0.75, 0.1 + 1e-12, 0.1, rng.random()]))
            results.append(
                {"video_id": name, "category_id": int(rng.choice(categories)), "score": score}
                | {"segmentations": [None if t is None else coded(t) for t in track]}
            )
    rng.shuffle(annotations)
    rng.shuffle(results)
    for annotation, id_ in zip(annotations, rng.permutation(len(annotations)).tolist(), strict=True):
        annotation["id"] = id_ + first_id
    named = [{"id": id_, "name": f"class {id_}"} for id_ in categories]
    return {"videos": videos, "categories": named, "annotations": annotations}, results


@pytest.fixture
def agree(tmp_path):
    def check(truth, results, params=None, **ours):
        (tmp_path / "truth.json").write_text(json.dumps(truth))
        (tmp_path / "results.json").write_text(json.dumps(results))
        known = youtube_vis.read(tmp_path / "truth.json")
        found = youtube_vis.read_results(tmp_path / "results.json", tmp_path / "truth.json")
        expected = reference(truth, results, **(params or {}))
        report = evaluate_videos(known, found, **ours)
        for name in ("precision", "recall", "scores"):
            assert np.array_equal(getattr(report, name), expected.eval[name]), name
        if params is None:
            assert np.array_equal(report.stats, expected.stats)
        return report

    return check


@pytest.mark.parametrize("seed", range(24))
def test_equals_the_reference_on_adversarial_scenes(agree, seed):
    agree(*scene(seed))


@pytest.mark.parametrize("seed", range(200, 205))
def test_equals_the_reference_when_an_annotation_has_id_0(agree, seed):
    truth, results = scene(seed, first_id=0)
    report = agree(truth, results)
    harmless = not truth["annotations"] or next(a for a in truth["annotations"] if a["id"] == 0)["iscrowd"]
    assert harmless or "annotation id 0" in report.notices[0]


@pytest.mark.parametrize("seed", range(300, 304))
def test_equals_the_reference_with_other_parameters(agree, seed):
    thresholds, limits = np.array([0.1, 0.5, 1.0]), [1, 2, 4]
    params = {"iouThrs": thresholds, "maxDets": limits}
    agree(*scene(seed), params, thresholds=thresholds, max_detections=limits)


def test_limits_are_told(agree):
    report = agree(*next(s for s in map(scene, range(99)) if len(s[1]) > 110 and s[0]["annotations"]))
    assert not report.notices or "videos" in report.notices[-1]
    truth, results = scene(4)
    many = [{"video_id": truth["videos"][0]["id"], "category_id": truth["categories"][0]["id"], "score": 0.5}]
    nothing = [None] * truth["videos"][0]["length"]
    report = agree(truth, results + [many[0] | {"segmentations": nothing}] * 101)
    assert "In 1 videos there are more than 100 detections of one class" in report.notices[-1]


def frames(*parts, name="a", size=(4, 4)):
    return [Record(None, size, part, f"{name}{n}", {}, name, n) for n, part in enumerate(parts)]


def square(*ids, **fields):
    return Instances.of(Masks.from_dense(np.ones((len(ids), 4, 4), bool)), ids=ids, **fields)


def test_by_hand():
    truth = Dataset(frames(square(1), square(1), square(), square(1)), ["cell"])
    found = Dataset(frames(square(5, scores=[0.5]), square(5, scores=[0.5]))[:2], ["cell"])
    report = evaluate_videos(truth, found)  # 32 of 48 pixels
    assert report.recall[:, 0, 0, -1].tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert (report.pictures, report.objects, report.detections) == (1, 1, 1)


def test_crowds_are_compared_like_all_others():
    truth = Dataset(frames(square(1, crowd=[True]), square(1, crowd=[True])), ["cell"])
    found = Dataset(frames(square(5, scores=[0.5])), ["cell"])
    report = evaluate_videos(truth, found, thresholds=[0.5])
    assert report.objects == 0
    assert report.ap == pytest.approx(float("nan"), nan_ok=True)


def test_fields():
    def area(value):
        return square(1, extras={"area": [value]})

    truth = Dataset(frames(area(0), area(20000), area(40000.5)), ["cell"])
    found = Dataset(frames(*[square(5, scores=[0.5])] * 3), ["cell"])
    defined = evaluate_videos(truth, found)
    assert (np.isnan(defined.ap_small), defined.ap_medium) == (True, pytest.approx(1))
    assert evaluate_videos(truth, found, fields=Fields(area=None)).ap_small == pytest.approx(1)


def test_nothing():
    empty = Dataset(frames(square(), square()), ["cell"])
    report = evaluate_videos(empty, empty)
    assert (report.stats == -1).all()
    assert evaluate_videos(Dataset([], ["cell"]), Dataset([], ["cell"])).pictures == 0


@pytest.mark.parametrize(
    ("truth", "found", "message"),
    [
        (frames(square(1)), frames(square(1)), "predictions must have scores, got None"),
        ([Record(None, (4, 4), square(1), 3)], [], "records of truth must be frames of a video, got 3"),
        (frames(square(1)), frames(square(1, scores=[1]), name="b"), "got 1 unknown ids, such as 'b0'"),
        (
            frames(square(1)),
            frames(Instances.empty((3, 3), scored=True), size=(3, 3)),
            r"must have the size of its truth \(4, 4\), got \(3, 3\)",
        ),
        (
            frames(square(1), square(1)),
            frames(square(1, scores=[1]), square(1, scores=[0.5])),
            "score of track 1 must be the same in all frames",
        ),
        (frames(square(1).replace(masks=None)), [], "tracks must have masks, got boxes only"),
    ],
)
def test_what_does_not_belong_together(truth, found, message):
    with pytest.raises(ValueError, match=message):
        evaluate_videos(Dataset(truth, ["cell"]), Dataset(found, ["cell"]))


def test_classes_are_matched_by_name():
    truth = Dataset(frames(square(1)), ["dog", "cell"])
    found = Dataset(frames(square(1, 2, scores=[1, 0.5], labels=[1, 0])), ["cat", "dog"])
    report = evaluate_videos(truth, found, thresholds=[0.5])
    assert report.ap == pytest.approx(1)
    assert "does not know 1 predicted classes" in report.notices[0]
