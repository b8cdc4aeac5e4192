import contextlib
import copy
import io
import json
import re

import numpy as np
import pytest

from delineate.compat.pycocotools import coco, cocoeval, mask

their_coco = pytest.importorskip("pycocotools.coco")
their_eval = pytest.importorskip("pycocotools.cocoeval")
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # in pycocotools

SIZE = (12, 14)


def scene(seed):
    """Ties of score and overlap, crowds, empty images, unsorted ids, annotation id 0, unused categories."""
    rng = np.random.default_rng(seed)
    images, categories = rng.permutation(30)[: rng.integers(1, 6)] + 1, rng.permutation(9)[:3] + 1
    annotations, results = [], []

    def drawn():
        dense = np.zeros((*SIZE, 1), np.uint8, order="F")
        y, x = rng.integers(0, 8, 2)
        dense[y : y + rng.integers(0, 6), x : x + rng.integers(1, 6)] = 1
        return dense

    for image in images.tolist():
        masks = [drawn() for _ in range(rng.choice([0, 1, 3, 8]))]
        for dense in masks:
            rle = mask.encode(dense)[0]
            x, y, w, h = mask.toBbox(rle).tolist()
            polygon = [[x, y, x, y + h, x + w, y + h, x + w, y]]
            annotations.append(
                {
                    "image_id": image,
                    "category_id": int(rng.choice(categories[:2])),
                    "iscrowd": int(rng.random() < 0.2),
                    "ignore": 1,
                    "area": float(rng.choice([dense.sum(), 1024, 9216.5, 1e11])),
                    "bbox": [x, y, w, h],
                    "segmentation": [polygon, rle, {"size": list(SIZE), "counts": [20, 9, 139]}][
                        rng.choice(3, p=[0.6, 0.3, 0.1])
                    ],
                }
            )
        for _ in range(rng.choice([0, 2, 9, 120], p=[0.2, 0.4, 0.35, 0.05])):
            dense = masks[rng.integers(len(masks))] if masks and rng.random() < 0.7 else drawn()
            rle = mask.encode(np.asfortranarray(dense ^ (rng.random(dense.shape) < 0.03)))[0]
            result = {"image_id": image, "category_id": int(rng.choice(categories)), "segmentation": rle}
            results.append(result | {"score": float(rng.choice([0.5, 0.75, rng.random()]))})
            if seed % 2:
                results[-1]["bbox"] = (mask.toBbox(rle) + np.round(rng.random(4), 1)).tolist()
    for place, id_ in enumerate(rng.permutation(len(annotations)).tolist()):
        annotations[place]["id"] = id_
    truth = {
        "images": [{"id": id_, "height": SIZE[0], "width": SIZE[1]} for id_ in images.tolist()],
        "categories": [{"id": id_, "name": str(id_)} for id_ in categories.tolist()],
        "annotations": annotations,
    }
    return truth, results or [
        {"segmentation": mask.encode(drawn())[0], "score": 0.5, "bbox": [1, 1, 2, 2]}
        | {"image_id": int(images[0]), "category_id": int(categories[0])}
    ]


def run(make, evaluation, truth, results, kind, options=()):
    """The calls of detectron2 and torchmetrics; returns the evaluation and what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        known = make()
        known.dataset = copy.deepcopy(truth)
        known.createIndex()
        found = evaluation(known, known.loadRes(copy.deepcopy(results)), kind)
        for name, value in dict(options).items():
            setattr(found.params, name, copy.deepcopy(value))
        found.evaluate()
        found.accumulate()
        found.summarize()
    return found, re.sub(r"t=[\d.]+s", "t", printed.getvalue())


def same(a, b):
    assert type(a) is type(b)
    if isinstance(a, np.ndarray):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert np.array_equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    else:
        assert a == b


def agree(truth, results, kind, options=()):
    (mine, text), (theirs, their_text) = (
        run(*sides, truth, results, kind, options)
        for sides in ((coco.COCO, cocoeval.COCOeval), (their_coco.COCO, their_eval.COCOeval))
    )
    assert text == their_text
    same(mine.stats, theirs.stats)
    same(mine.evalImgs, theirs.evalImgs)
    same(mine.ious, theirs.ious)
    for name in ("counts", "precision", "recall", "scores"):
        same(mine.eval[name], theirs.eval[name])
    same(vars(mine.eval["params"]), vars(theirs.eval["params"]))
    return mine


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("seed", range(30))
def test_equals_pycocotools_on_adversarial_scenes(seed, kind):
    agree(*scene(seed), kind)


@pytest.mark.parametrize(
    "options",
    [
        {"useCats": 0},
        {"maxDets": [7, 2, 5]},
        {"maxDets": [1, 10, 100, 1000]},
        {"areaRng": [[3, 20], [0, 50]], "areaRngLbl": ["small", "all"]},
        {"iouThrs": np.linspace(0.02, 1.0, 50), "recThrs": np.linspace(0.1, 0.9, 4)},
        {"useSegm": 0},
    ],
    ids=lambda options: next(iter(options)),
)
@pytest.mark.parametrize("seed", range(40, 46))
def test_equals_pycocotools_with_other_parameters(seed, options):
    agree(*scene(seed), "segm", options)


@pytest.mark.parametrize("seed", range(50, 56))
def test_equals_pycocotools_on_some_images_and_categories(seed):
    truth, results = scene(seed)
    some = {"imgIds": [one["id"] for one in truth["images"][:3]], "catIds": [truth["categories"][0]["id"]]}
    agree(truth, results, "segm", some)


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_equals_pycocotools_on_val2014(shared, kind):
    folder = shared / "fixtures/formats/coco/val2014_100"
    truth = json.loads((folder / "instances_val2014_100.json").read_text())
    results = json.loads((folder / f"instances_val2014_fake{kind}100_results.json").read_text())
    found = agree(truth, results, kind)
    assert found.eval["precision"].shape == (10, 101, len(truth["categories"]), 4, 3)
    expected = json.loads((folder / "expected.json").read_text())["results"][kind]
    assert np.round(found.stats, 10).tolist() == list(expected.values())


def test_one_image_at_a_time():
    truth, results = scene(1)
    found, _ = run(coco.COCO, cocoeval.COCOeval, truth, results, "segm")
    p = found.params
    entries = [
        found.evaluateImg(image, category, span, p.maxDets[-1])
        for category in p.catIds
        for span in p.areaRng
        for image in p.imgIds
    ]
    same(entries, found.evalImgs)
    image, category = next(iter(found.ious))
    same(found.computeIoU(image, category), found.ious[image, category])


def test_accumulates_a_part():
    truth, results = scene(9)
    sides = []
    for make, evaluation in ((coco.COCO, cocoeval.COCOeval), (their_coco.COCO, their_eval.COCOeval)):
        found, _ = run(make, evaluation, truth, results, "segm")
        part = copy.deepcopy(found.params)
        part.catIds, part.maxDets, part.areaRng = part.catIds[:2], [10], part.areaRng[:2]
        found.accumulate(part)
        sides.append(found.eval)
    for name in ("counts", "precision", "recall", "scores"):
        same(sides[0][name], sides[1][name])


def test_keypoints_are_refused():
    with pytest.raises(NotImplementedError, match="'keypoints': not supported"):
        cocoeval.COCOeval(iouType="keypoints")
    with pytest.raises(ValueError, match="iouType must be"):
        cocoeval.Params("boxes")


def test_summary_needs_accumulation():
    with pytest.raises(RuntimeError, match="Please run accumulate"):
        cocoeval.COCOeval().summarize()
