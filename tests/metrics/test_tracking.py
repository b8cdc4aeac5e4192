"""TrackEval 1.3.0 is the oracle: golden/make_tracking.py ran it over generated sequences."""

import json
from pathlib import Path

import numpy as np
import pytest

from delineate import Dataset, Instances, Masks, Record
from delineate.metrics import evaluate_tracking
from delineate.metrics._track_counts import ALPHAS, assigned

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/tracking.json").read_text("utf-8"))
SIZE = tuple(GOLDEN["size"])
CLASSES = ("car", "pedestrian", "ignore")
NAMES = {
    "hota": {
        name: name.lower() for name in ("HOTA", "DetA", "AssA", "DetRe", "DetPr", "AssRe", "AssPr", "LocA")
    },
    "clear": {
        "CLR_TP": "tp",
        "CLR_FN": "fn",
        "CLR_FP": "fp",
        "IDSW": "switches",
        "Frag": "fragments",
        "MT": "mostly_tracked",
        "PT": "partly_tracked",
        "ML": "mostly_lost",
        "MOTA": "mota",
        "sMOTA": "smota",
        "MOTP": "motp",
    },
    "identity": {name: name.lower() for name in ("IDTP", "IDFN", "IDFP", "IDF1", "IDP", "IDR")},
}


def dataset(side):
    records = []
    for name, case in GOLDEN["sequences"].items():
        frames = [[] for _ in range(case["length"])]
        for line in case[side]:
            frame, id_, kind, _, _, counts = line.split()
            frames[int(frame)].append((int(id_), min(int(kind), 3) - 1, counts))
        for n, rows in enumerate(frames):
            masks = Masks.from_rle([{"size": list(SIZE), "counts": row[2]} for row in rows], SIZE)
            labels = np.array([row[1] for row in rows], np.int64)
            part = Instances.of(
                masks, labels, ids=np.array([row[0] for row in rows], np.int64), crowd=labels == 2
            )
            records.append(Record(None, SIZE, part, f"{name}/{n}", {}, name, n))
    return Dataset(records, CLASSES)


@pytest.fixture(scope="module")
def report():
    return evaluate_tracking(dataset("truth"), dataset("found"))


def check(part, results, *place):
    """One `Tracking` against TrackEval's numbers at a place of the three results."""
    numbers = part.as_dict()
    for metric, names in NAMES.items():
        expected = results[metric]
        for step in place:
            expected = expected[step]
        for theirs, ours in names.items():
            got = part.curves[ours] if metric == "hota" else numbers[ours]
            np.testing.assert_allclose(got, expected[theirs], rtol=0, atol=1e-12, err_msg=f"{place} {theirs}")


@pytest.mark.parametrize("kind", CLASSES[:2])
@pytest.mark.parametrize("video", GOLDEN["sequences"])
def test_equals_trackeval_on_each_sequence(report, kind, video):
    if (kind, video) not in report.parts:
        lines = GOLDEN["sequences"][video]["truth"] + GOLDEN["sequences"][video]["found"]
        assert not any(line.split()[2] == str(CLASSES.index(kind) + 1) for line in lines) or video == "0008"
        return
    check(report.parts[kind, video], GOLDEN["results"], "parts", kind, video)


def test_equals_trackeval_over_all_sequences(report):
    for kind in CLASSES[:2]:
        check(report.classes[kind], GOLDEN["results"], "classes", kind)
    check(report.all, GOLDEN["results"], "all")
    whole = GOLDEN["results"]["clear"]["all"]
    assert (
        min(whole["IDSW"], whole["Frag"], whole["MT"], whole["PT"], whole["ML"]) > 0
    )  # the sequences test something
    assert list(report.classes) == list(CLASSES[:2])
    assert report.as_dict()["all"]["hota"] == report.all.hota


def square(ids, x=0, size=(8, 8), width=4, **fields):
    dense = np.zeros((len(ids), *size), bool)
    for n in range(len(ids)):
        dense[n, :4, x + n : x + n + width] = True
    return Instances.of(Masks.from_dense(dense), ids=ids, **fields)


def video(*parts, name="a"):
    return [Record(None, part.size, part, f"{name}{n}", {}, name, n) for n, part in enumerate(parts)]


def evaluated(truth, found, classes=("cell",), **options):
    return evaluate_tracking(Dataset(truth, classes), Dataset(found, classes), **options)


@pytest.mark.parametrize("iou", ["mask", "box"])
def test_by_hand(iou):
    truth = video(*[square([1])] * 4)
    found = video(square([5]), square([5]), square([], 0), square([6], 1))  # the last overlaps by 12 of 20
    part = evaluated(truth, found, iou=iou).all
    numbers = part.as_dict()
    assert [numbers[name] for name in ("tp", "fn", "fp", "switches", "fragments")] == [3, 1, 0, 1, 0]
    assert (part.mota, part.smota, part.motp) == (0.5, (2.6 - 1) / 4, pytest.approx(2.6 / 3))
    assert [numbers[name] for name in ("idtp", "idfn", "idfp")] == [2, 2, 1]
    assert (part.idf1, part.idp, part.idr) == (2 / 3.5, 2 / 3, 0.5)
    # Up to 0.6: 2 matches with A = 2 / 4, 1 with 1 / 4. Above: 2 matches with A = 2 / 4.
    low, high = np.sqrt(3 / 4 * (2 * 2 / 4 + 1 / 4) / 3), np.sqrt(2 / 5 * 2 / 4)
    np.testing.assert_allclose(part.curves["hota"], np.where(np.array(ALPHAS) < 0.61, low, high))
    assert repr(part) == f"Tracking(HOTA {part.hota:.4f}, MOTA 0.5000, IDF1 0.5714)"


@pytest.mark.parametrize("iou", ["mask", "box"])
def test_ignore_regions(iou):
    region = square([1, 99], 0, crowd=[False, True], labels=[0, 1])
    region = region.replace(masks=None) if iou == "box" else region
    inside = square([7, 8], 0, labels=[0, 0])  # one is found, the other lies in the region
    for classes, false in ((("cell", "ignore"), 0), (("cell", "crowd"), 1)):
        part = evaluated(video(region), video(inside), classes, iou=iou).classes["cell"]
        assert part.as_dict()["fp"] == false
    own = square([1, 99], 0, crowd=[False, True])
    assert evaluated(video(own), video(inside), iou=iou).all.as_dict()["fp"] == 0


def test_nothing():
    report = evaluated(video(square([]), square([])), video(square([])))
    assert dict(report.parts) == {}
    assert (report.all.hota, report.all.mota, report.all.idf1) == (0, 0, 0)
    assert evaluated([], []).as_dict()["videos"] == []


def test_classes_are_matched_by_name():
    truth = Dataset(video(square([1, 2], labels=[0, 1])), ["dog", "cell"])
    found = Dataset(video(square([4, 3], labels=[1, 0])), ["cell", "cat"])
    report = evaluate_tracking(truth, found)
    assert list(report.classes) == ["dog", "cell"]
    assert report.classes["dog"].as_dict()["fn"] == 1
    assert "does not know 1 predicted classes" in report.notices[0]


@pytest.mark.parametrize(
    ("truth", "found", "options", "message"),
    [
        (video(square([1])), video(square([1])), {"iou": "polygon"}, 'iou must be "mask" or "box"'),
        (video(square([1]).replace(ids=None)), [], {}, "truth must have track ids, got none in record 'a0'"),
        (video(square([1])), video(square([1]).replace(ids=None)), {}, "predictions must have track ids"),
        (video(square([1]).replace(masks=None)), [], {}, 'must have masks, got boxes only. Pass iou="box"'),
        (
            video(square([1])),
            video(square([3, 3])),
            {},
            "ids of predictions must be unique in a frame, got 3 twice",
        ),
        ([Record(None, (8, 8), square([1]), 3)], [], {}, "must be frames of a video, got 3"),
    ],
)
def test_what_does_not_belong_together(truth, found, options, message):
    with pytest.raises(ValueError, match=message):
        evaluated(truth, found, **options)


@pytest.mark.parametrize("seed", range(20))
def test_assignment_equals_scipy(seed):
    optimise = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(seed)
    gains = rng.random(rng.integers(0, 8, 2)) * (rng.random() < 0.9)
    gains[rng.random(gains.shape) < 0.5] = 0
    rows, columns = assigned(gains)
    best = gains[optimise.linear_sum_assignment(-gains)].sum()
    assert gains[rows, columns].sum() == pytest.approx(best)
    assert (gains[rows, columns] > 0).all()
    assert len(set(columns.tolist())) == len(columns)
