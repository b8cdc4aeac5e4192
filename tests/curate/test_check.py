import json
import logging

import numpy as np
import pytest
from PIL import Image

from delineate.curate import _check_coco as check_coco
from delineate.curate import _crossings
from delineate.curate._crossings import crossing
from delineate.curate.check import KINDS, Problem, check, check_dataset, check_together, fix, mended
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import coco
from delineate.instances import Instances
from delineate.masks import Masks

SIZE = (20, 30)


def save(path, shade=0, size=SIZE, orientation=None):
    exif = Image.Exif()
    if orientation:
        exif[274] = orientation
    Image.new("RGB", size[::-1], (shade, 0, 0)).save(path, exif=exif)
    return path


def square(y, x, side=5):
    dense = np.zeros(SIZE, bool)
    dense[y : y + side, x : x + side] = True
    return dense


def record(path, shapes=(), id_=1, **changes):
    fields = {name: changes.pop(name) for name in ("split",) if name in changes}
    dense = np.array([*shapes]) if len(shapes) else np.zeros((0, *SIZE), bool)
    return Record(path, SIZE, Instances.of(Masks.from_dense(dense)).replace(**changes), id_, **fields)


def kinds(*records, classes=("cell",)):
    return [problem.kind for problem in check_dataset(Dataset(records, classes))]


def test_nothing_is_wrong_with_a_good_dataset(tmp_path):
    assert kinds(record(save(tmp_path / "a.png"), [square(0, 0), square(10, 10)])) == []
    assert kinds(record(None, [square(0, 0)])) == [], "pictures that are not known cannot be missed"
    assert check_dataset(Dataset([], [])) == []


def test_pictures(tmp_path):
    good = [square(1, 1)]
    assert kinds(record(tmp_path / "none.png", good)) == ["missing picture"]
    assert kinds(record(save(tmp_path / "b.png", size=(20, 31)), good)) == ["wrong size"]
    assert kinds(record(save(tmp_path / "c.jpg", orientation=6), good)) == ["turned picture"]
    assert kinds(record(save(tmp_path / "d.jpg", size=(30, 20), orientation=6), good)) == []
    (tmp_path / "e.png").write_bytes((tmp_path / "b.png").read_bytes()[:-30])
    cut = Dataset([record(tmp_path / "e.png", good)], ["cell"])
    assert [one.kind for one in check_dataset(cut)] == ["unreadable picture"]
    assert "unreadable picture" not in [one.kind for one in check_dataset(cut, pixels=False)], (
        "the header is fine"
    )


def test_equal_files_count_twice_or_leak(tmp_path):
    one, same, other = save(tmp_path / "a.png"), save(tmp_path / "b.png"), save(tmp_path / "c.png", shade=9)
    good = [square(1, 1)]
    assert kinds(record(one, good), record(same, good, 2), record(other, good, 3)) == ["duplicate picture"]
    found = check_dataset(
        Dataset([record(one, good, split="train"), record(same, good, 2, split="val")], ["cell"])
    )
    assert [str(p.kind) for p in found] == ["leakage"]
    assert "which is in split train, this in val" in found[0].text


def test_leakage_between_files(tmp_path):
    for name, shade in (("a", 1), ("b", 2), ("c", 3)):
        (tmp_path / name).mkdir()
        one = record(save(tmp_path / name / "one.png", shade), [square(0, 0)])
        again = record(save(tmp_path / name / "two.png", 9 if name != "c" else 10), [square(0, 0)], 2)
        coco.write(Dataset([one, again], ["cell"]), tmp_path / f"{name}.json")
    (tmp_path / "b" / "one.png").write_bytes((tmp_path / "b" / "two.png").read_bytes())
    paths = [tmp_path / f"{name}.json" for name in "abc"]
    a, b, c = check_together(paths)
    assert (a, c) == ([], [])
    assert [one.kind for one in b] == ["duplicate picture", "leakage", "leakage"]
    assert b[1].text == f"is the same picture as {tmp_path / 'a' / 'two.png'} of {paths[0]}"
    assert check_together([paths[0], paths[2]]) == [[], []]
    assert [one.kind for one in check_together([paths[0], paths[0]])[1]] == ["leakage"] * 2
    paths[0].write_text('{"images": [{"id": 1}], "annotations": [], "categories": []}')
    assert [len(found) > 0 for found in check_together(paths)] == [True, True, False], "one file is broken"


def test_objects():
    shapes = [square(0, 0), square(0, 0), np.zeros(SIZE, bool), square(10, 10)]
    assert kinds(record(None, shapes)) == ["empty mask", "duplicate object"]
    assert kinds(record(None, shapes[:2], labels=[0, 1]), classes=("a", "b")) == [], "different classes"
    boxes = [[0, 0, 5, 5], [10, 10, 15, 18]]
    assert kinds(record(None, [shapes[0], shapes[3]], boxes=boxes)) == ["box disagrees"]
    boxes[1] = [10, 10, 15, 17]
    assert kinds(record(None, [shapes[0], shapes[3]], boxes=boxes)) == [], "two pixels are tolerated"
    boxes[1] = [10, 10, 31, 15]
    assert kinds(record(None, [shapes[0], shapes[3]], boxes=boxes)) == ["outside"]


def test_classes():
    made = record(None, [square(0, 0), square(10, 10)], labels=[0, 2], crowd=[True, False])
    assert kinds(made, classes=("a", "b", "a")) == ["duplicate class", "all crowd", "unused class"]


def test_every_kind_has_a_remedy():
    assert all(Problem(kind, "", "").remedy for kind in KINDS)


def test_fix():
    boxes = [[0, 0, 5, 5], [0, 0, 5, 5], [0, 0, 0, 0], [9, 2, 31, 15], [10, 10, 15, 16]]
    shapes = [square(0, 0), square(0, 0), np.zeros(SIZE, bool), square(10, 10), square(10, 10, 6)]
    crowd = [False, False, False, True, False]
    made = Dataset(
        [record(None, shapes, boxes=boxes, crowd=crowd, extras={"bbox": np.zeros((5, 4))})], ["cell"]
    )
    found, done = fix(made)
    assert done == {"empty mask": 1, "duplicate object": 1, "box disagrees": 1}
    assert found[0].instances.boxes.tolist() == [[0, 0, 5, 5], [10, 10, 15, 15], [10, 10, 15, 16]]
    assert found[0].instances.crowd.tolist() == [False, True, False]
    found, done = fix(found, single_objects=True)
    assert done == {"all crowd": 1}
    assert found[0].instances.crowd is None
    assert fix(found)[1] == {}
    boxed = Dataset([Record(None, SIZE, Instances(SIZE, [[0, 0, 50, 5]], [0]), 1)], ["cell"])
    assert fix(boxed) == (boxed, {}), "without masks nobody knows better"


# COCO files


@pytest.fixture
def bad(tmp_path):
    """A COCO file with one problem of every kind, after two good annotations."""
    save(tmp_path / "a.png")
    runs = {"size": [20, 30], "counts": [0, 20, 580]}
    fine = {"image_id": 1, "category_id": 1, "iscrowd": 0}
    shape = [[1, 1, 9, 1, 9, 9]]
    annotations = [
        {"id": 1, "segmentation": shape, "bbox": [1, 1, 8, 8]},
        {"id": 2, "segmentation": runs, "bbox": [0, 0, 1, 20]},
        {"id": 2, "segmentation": [[20, 1, 29, 1, 29, 9]], "bbox": [20, 1, 9, 8]},
        {"id": 4, "segmentation": shape, "image_id": 7},
        {"id": 5, "segmentation": shape, "category_id": 7},
        {"id": 6, "segmentation": [[1, 1, 9, 9], [12, 12, 18, 12, 18, 18]], "bbox": [12, 12, 6, 6]},
        {"id": 7, "segmentation": [[25, 12, 40, 12, 40, 19, 25, 19]], "bbox": [25, 12, 5, 7]},
        {"id": 8, "segmentation": [[10, 10, 16, 16, 16, 10, 10, 16]], "bbox": [10, 10, 6, 6]},
        {"id": 9, "segmentation": [[2, 12, 8, 12, 8, 18]], "bbox": [2, 12, -6, 6]},
        {"id": 10, "segmentation": {"size": [20, 30], "counts": [5]}},
        {"id": 11, "image_id": None},
    ]
    content = {
        "images": [
            {"id": 1, "file_name": "a.png", "height": 20, "width": 30},
            {"id": 1, "file_name": "a.png"},
        ],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [fine | entry for entry in annotations],
    }
    (tmp_path / "bad.json").write_text(json.dumps(content))
    return tmp_path / "bad.json"


EVERY = ["duplicate id", "duplicate id", "dangling picture id", "unknown class", "polygon too short"]
EVERY += ["polygon out of bounds", "polygon crosses itself", "bad box", "bad mask", "bad entry"]


def test_all_problems_of_a_file_are_found_at_once(bad):
    found = check(bad)
    assert [problem.kind for problem in found] == EVERY
    by_kind = {problem.kind: problem for problem in found}
    assert by_kind["polygon out of bounds"].where == "a.png, annotation 7"
    assert "10 pixels outside" in by_kind["polygon out of bounds"].text
    with pytest.raises(FormatError):
        coco.read(bad)


def test_the_mended_file_reads_and_is_clean(bad):
    before = bad.read_bytes()
    found, done = mended(bad)
    assert bad.read_bytes() == before
    assert done == {kind: EVERY.count(kind) for kind in EVERY if kind != "polygon crosses itself"}
    assert found[0].path == bad.parent / "a.png"
    assert found[0].instances.extras["annotation_id"].tolist() == list(range(1, 8)), "numbered anew"
    assert found[0].instances.masks.boxes.max(axis=0).tolist() == [25, 12, 30, 20]
    assert [problem.kind for problem in check_dataset(found)] == []


def test_a_good_file_is_read_as_it_is(bad, caplog):
    coco.write(mended(bad)[0], bad.parent / "good.json")
    with caplog.at_level(logging.WARNING):
        assert check(bad.parent / "good.json") == []
    assert mended(bad.parent / "good.json") == (coco.read(bad.parent / "good.json"), {})


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"bbox": [1, 2, 3]}, "bad box"),
        ({"bbox": [1, 2, 3, True]}, "bad box"),
        ({"bbox": "abc"}, "bad box"),
        ({"segmentation": 5}, "bad mask"),
        ({"segmentation": [[1, 2, "3", 4, 5, 6]]}, "bad mask"),
        ({"segmentation": {"size": [3, 3], "counts": "0"}}, "bad mask"),
        ({"segmentation": {"size": [20, 30]}}, "bad mask"),
        ({"segmentation": {"size": [20, 30], "counts": "\x01"}}, "bad mask"),
        ({"image_id": True}, "bad entry"),
        ({"category_id": "a"}, "bad entry"),
        ({"id": "a"}, "duplicate id"),
    ],
)
def test_oddities(tmp_path, change, kind):
    save(tmp_path / "a.png")
    entry = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]]} | change
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [entry],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert [one.kind for one in check(tmp_path / "a.json") if one.kind != "unused class"] == [kind]
    mended(tmp_path / "a.json")


def test_what_the_reader_refuses_anyway_is_a_problem_too(tmp_path):
    content = {"images": [{"id": 1, "height": 0, "width": 3}], "categories": [], "annotations": []}
    (tmp_path / "a.json").write_text(json.dumps(content))
    (problem,) = check(tmp_path / "a.json")
    assert (problem.kind, problem.where) == ("unreadable annotations", "a.json: image 1")
    (tmp_path / "b.json").write_text('{"images": [1], "categories": [], "annotations": []}')
    with pytest.raises(FormatError, match="images: must be a list of objects"):
        check(tmp_path / "b.json")
    with pytest.raises(FormatError, match="must exist"):
        check(tmp_path / "c.json")


def test_real_annotations_are_clean_of_format_errors(shared):
    found = check(shared / "fixtures/formats/coco/val2014_100/instances_val2014_100.json", pixels=False)
    kinds = {problem.kind for problem in found}
    # The pictures are not there; COCO's polygons do cross themselves here and there.
    assert kinds <= {
        "missing picture",
        "polygon crosses itself",
        "duplicate object",
        "box disagrees",
        "unused class",
    }
    assert "missing picture" in kinds


def test_rings_are_compared_as_pair_by_pair():
    def crosses(ring):
        turn = [
            [np.sign((b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0]) for c in ring]
            for a, b in zip(ring, np.roll(ring, -1, 0), strict=True)
        ]
        n = range(len(ring))
        ends = [(i + 1) % len(ring) for i in n]
        return any(
            turn[i][j] * turn[i][ends[j]] < 0 and turn[j][i] * turn[j][ends[i]] < 0
            for i in n
            for j in range(i)
        )

    rng = np.random.default_rng(5)
    rings = [rng.integers(0, 9, (rng.integers(3, 9), 2)).astype(float) for _ in range(150)]
    expected = [crosses(ring) for ring in rings]
    assert 20 < sum(expected) < 140
    found, unknown = crossing(rings)
    assert found.tolist() == expected
    assert not unknown.any()
    assert [bool(crossing([ring])[0][0]) for ring in rings] == expected
    assert [values.tolist() for values in crossing([])] == [[], []]


def test_polygons_that_were_not_searched_for_crossings_are_named(tmp_path, monkeypatch):
    bow, sound = [0, 0, 4, 4, 4, 0, 0, 4], [0, 0, 4, 0, 4, 4, 0, 4]
    comb = [[x, y] for x in range(0, 8, 2) for y in (0, 7)]  # each edge above all others
    comb = np.array([*comb, *[[8 - x, 8] for x, _ in comb]]).ravel().tolist()
    entries = [
        {"id": n + 1, "image_id": 1, "category_id": 1, "segmentation": [ring]}
        for n, ring in enumerate([bow, comb, sound, bow])
    ]
    content = {"images": [{"id": 1, "height": 8, "width": 9}], "categories": [{"id": 1, "name": "cell"}]}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content | {"annotations": entries}))
    crossed = [kind for kind, _, _ in check_coco.problems(path)]
    assert crossed[0] == crossed[-1] == "polygon crosses itself"
    monkeypatch.setattr(_crossings, "_BLOCK", 1)
    monkeypatch.setattr(_crossings, "_MOST", 7)
    found = [one for one in check(path) if "polygon" in one.kind]
    assert [(one.kind, one.where[-1]) for one in found] == [
        ("polygon crosses itself", "1"),
        ("polygon not checked", "2"),
        ("polygon not checked", "3"),
        ("polygon not checked", "4"),
    ]
    assert "4 points was not searched" in found[2].text
    assert not found[2].error
    dataset, done = mended(path)
    assert not done, "nothing is deleted for it"
    assert len(dataset[0].instances) == 4


def test_large_files_are_looked_at_block_by_block(tmp_path, monkeypatch):
    entries = [
        {"id": n, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 4, 0, 4, 4 + n % 2]]}
        for n in range(50)
    ]
    entries[20]["note"] = 'a"}, {"b'
    entries[30]["segmentation"] = {"size": [8, 9], "counts": [72]}
    entries[31]["segmentation"] = [[0, 0, 4, 4, 4, 0, 0, 4]]
    entries[49]["id"] = 3
    content = {
        "images": [{"id": 1, "height": 8, "width": 9, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": entries,
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    whole = check_coco.problems(tmp_path / "a.json")
    assert [kind for kind, _, _ in whole] == ["polygon crosses itself", "duplicate id"]
    for size in (1, 7, 100, 1000):
        monkeypatch.setattr(check_coco, "_BLOCK", size)
        assert check_coco.problems(tmp_path / "a.json") == whole
    (tmp_path / "b.json").write_text("\ufeff" + json.dumps(content), "utf-8")
    assert check_coco.problems(tmp_path / "b.json") == whole, "read whole: it starts with a byte order mark"
