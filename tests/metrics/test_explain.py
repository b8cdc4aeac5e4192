import json

import numpy as np
import pytest
from scenes import scene

from delineate import Instances, Masks
from delineate.metrics import evaluate, verdicts
from delineate.metrics.explain import CLOSE, explain


@pytest.fixture(scope="module")
def sides():
    """Classes without truth, crowds, many detections."""
    return scene(11, pictures=25, crowd=0.2, classes=("cell", "dust", "thread", "ghost"), size=(64, 72))


@pytest.fixture(scope="module")
def explanation(sides):
    return explain(*sides, max_detections=3)


def change(dataset, part):
    return dataset.with_records(r.replace(instances=part(r.instances)) for r in dataset)


def cut(score):
    return lambda truth, found: (truth, change(found, lambda i: i[i.scores >= np.float32(score)]))


def coarse(target):
    """Nearest pixels, written out."""

    def part(instances):
        size = tuple(max(1, round(side / target(instances.size))) for side in instances.size)
        rows, columns = (
            np.floor((np.arange(n) + 0.5) * side / n).astype(int)
            for n, side in zip(size, instances.size, strict=True)
        )
        dense = instances.masks.to_dense()[:, rows][:, :, columns]
        masks = Masks.from_dense(np.ascontiguousarray(dense))
        return Instances.of(masks, instances.labels, instances.scores, crowd=instances.crowd)

    return lambda truth, found: (change(truth, part), change(found, part))


UNCHANGED = {
    "at most 100 detections per class and picture": {"max_detections": [100]},
    "at most 300 detections per class and picture": {"max_detections": [300]},
    "no limit on detections": {"max_detections": [10**6]},
    "precision at 11 recall levels (VOC 2007)": {"recalls": np.linspace(0, 1, 11)},
    "IoU 0.5 alone (AP50)": {"thresholds": [0.5]},
    "boxes instead of masks": {"iou": "box"},
}
CHANGED = {
    "only scores of at least 0.001": cut(0.001),
    "only scores of at least 0.05": cut(0.05),
    "only scores of at least 0.25": cut(0.25),
    "crowds taken out of the truth": lambda t, f: (change(t, lambda i: i[~i.crowd] if len(i) else i), f),
    "crowds are objects": lambda t, f: (change(t, lambda i: i.replace(crowd=None)), f),
    "all classes as one": lambda t, f: tuple(
        change(s, lambda i: i.replace(labels=i.labels * 0)) for s in (t, f)
    ),
    "masks at a quarter of the resolution": coarse(lambda size: 4),
    "masks on 160 cells (prototypes of a network)": coarse(lambda size: max(size) / 160),
}


@pytest.mark.parametrize("name", [*UNCHANGED, *CHANGED])
def test_each_convention_is_an_evaluation_of_its_own(explanation, sides, name):
    term = next(term for term in explanation.terms if term.convention.name == name)
    options = {"max_detections": [3], **UNCHANGED.get(name, {})}
    report = evaluate(*CHANGED[name](*sides) if name in CHANGED else sides, **options)
    assert term.numbers.ap == pytest.approx(report.ap, abs=1e-12)
    assert term.numbers.ap50 == pytest.approx(report.ap50, abs=1e-12)
    assert term.change == pytest.approx(report.ap - explanation.baseline.ap, abs=1e-12)


def test_the_baseline_is_that_of_evaluate(explanation, sides):
    report, numbers = evaluate(*sides, max_detections=[3]), explanation.baseline
    ours = [numbers.ap, numbers.ap50, numbers.small, numbers.medium, numbers.large]
    theirs = [report.ap, report.ap50, report.ap_small, report.ap_medium, report.ap_large]
    assert ours == pytest.approx(theirs, abs=1e-12, nan_ok=True)


def test_means_of_classes(explanation, sides):
    report = evaluate(*sides, max_detections=[3])
    aps = report.class_ap()
    by_name = {term.convention.name: term.numbers for term in explanation.terms}
    absent = by_name["mean over all classes, 0 for those without truth"]
    assert absent.ap == pytest.approx(np.nan_to_num(aps).mean())
    objects = np.zeros(4)
    for record in sides[0]:
        np.add.at(
            objects, record.instances.labels[~record.instances.crowd] if len(record.instances) else [], 1
        )
    weighted = by_name["mean over objects, not classes"]
    assert weighted.ap == pytest.approx((np.nan_to_num(aps) * objects).sum() / objects.sum())


def test_area_and_matching_conventions(explanation, sides):
    by_name = {term.convention.name: term.numbers for term in explanation.terms}
    table = verdicts(*sides, max_detections=3)
    assert by_name["area under the curve (VOC 2010)"].ap == pytest.approx(
        np.nanmean(table.average_precision(recalls=[]))
    )
    for name in ("sizes by the box's area", "sizes by the mask's area"):
        assert by_name[name].ap == explanation.baseline.ap
    boxed = [
        change(side, lambda i: i.replace(extras={"area": np.prod(i.boxes[:, 2:] - i.boxes[:, :2], axis=1)}))
        for side in sides
    ]
    small = evaluate(*boxed, max_detections=[3]).ap_small
    assert by_name["sizes by the box's area"].small == pytest.approx(small, abs=1e-12)
    assert by_name["nearest truth only, taken or not (VOC)"].ap <= explanation.baseline.ap + 1e-12


@pytest.mark.parametrize(
    ("options", "scores"), [({"iou": "box"}, 0.25), ({"recalls": np.linspace(0, 1, 11)}, 0.05), ({}, 0)]
)
def test_finds_what_makes_the_number_of_somebody_else(sides, options, scores):
    theirs = evaluate(*cut(scores)(*sides), **options).ap
    found = explain(*sides, target=theirs)
    assert found.candidates[0].fits
    assert found.candidates[0].ap == pytest.approx(theirs, abs=CLOSE)
    assert len(found.path) <= 2
    total = found.baseline.ap + sum(term.change for term in found.path) + found.rest
    assert total == pytest.approx(theirs)
    away = [round(one.distance, 4) for one in found.candidates if not one.fits]
    assert away == sorted(away)


def test_says_what_it_could_not_explain(sides):
    told = []
    found = explain(*sides, target=1.0, progress=lambda *numbers: told.append(numbers))
    assert not found.candidates[0].fits
    assert len(found.path) == len(found.candidates[0].conventions)
    assert found.rest == pytest.approx(1 - found.candidates[0].ap)
    assert told[-1][0] == told[-1][1]
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    content = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert content["target"] == 1.0
    assert len(content["candidates"]) == 5


def test_boxes_alone_and_nothing_at_all():
    boxes = [
        change(side, lambda i: Instances(i.size, i.boxes, i.labels, i.scores, crowd=i.crowd))
        for side in scene(2)
    ]
    names = [term.convention.name for term in explain(*boxes, iou="box").terms]
    assert "masks instead of boxes" not in names
    assert "masks at a quarter of the resolution" not in names
    assert "masks instead of boxes" in [t.convention.name for t in explain(*scene(2), iou="box").terms]
    nothing = explain(*scene(0, pictures=0), target=0.5)
    assert nothing.as_dict()["baseline"]["ap"] is None
    json.dumps(nothing.as_dict(), allow_nan=False)


def test_boundaries_are_explained():
    truth, found = scene(3)
    explanation = explain(truth, found, iou="boundary")
    assert explanation.baseline.ap == pytest.approx(evaluate(truth, found, iou="boundary").ap, abs=1e-12)
    (whole,) = [t for t in explanation.terms if t.convention.name == "masks instead of their boundaries"]
    assert whole.numbers.ap == pytest.approx(evaluate(truth, found).ap, abs=1e-12)
    assert whole.change != 0


def test_refuses_a_percentage(sides):
    with pytest.raises(
        ValueError, match=r"explain: target must be an AP in \[0, 1\], got 37.5. Divide a percentage"
    ):
        explain(*sides, target=37.5)
