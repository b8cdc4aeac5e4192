import json
import pickle

import numpy as np
import pytest
from PIL import Image

from delineate.errors import FormatError
from delineate.formats import coco, coco_panoptic
from delineate.metrics import evaluate_panoptic
from delineate.panoptic import Panoptic, PanopticDataset, PanopticRecord

CLASSES, THINGS = ("sky", "Käfer"), (False, True)


def one(**changes) -> Panoptic:
    """Ids that use each channel of the PNG; a one-pixel crowd; void."""
    values = {
        "map": [[70000, 70000, 0], [300, 2, 70000]],
        "ids": [300, 70000, 2],
        "labels": [1, 0, 1],
        "things": [True, False, True],
        "crowd": [False, False, True],
    }
    return Panoptic(**(values | changes))


def dataset(*pictures, paths=None) -> PanopticDataset:
    names = paths or [None] * len(pictures)
    records = [
        PanopticRecord(path, picture.size, picture, n, {"licence": 3})
        for n, (picture, path) in enumerate(zip(pictures, names, strict=True), 5)
    ]
    return PanopticDataset(records, CLASSES, THINGS)


@pytest.fixture
def edited(tmp_path):
    """Writes a valid file, lets a function change its JSON, and gives the path."""

    def edit(change=lambda content: None, **fields):
        coco_panoptic.write(dataset(one(**fields), paths=[tmp_path / "a.jpg"]), tmp_path / "val.json")
        content = json.loads((tmp_path / "val.json").read_text("utf-8"))
        change(content)
        (tmp_path / "val.json").write_text(json.dumps(content), "utf-8")
        return tmp_path / "val.json"

    return edit


@pytest.mark.parametrize("scores", [None, [0.5, 0.1, 1]])
def test_round_trip(tmp_path, scores):
    pictures = one(scores=scores), Panoptic.empty((3, 1)), one(map=[[300, 2, 70000]])
    paths = [tmp_path / "images" / f"{name}.jpg" for name in ("ä b", "c", "d")]
    written = dataset(*pictures, paths=paths)
    coco_panoptic.write(written, tmp_path / "val.json")
    again = coco_panoptic.read(tmp_path / "val.json")
    assert [record.read() for record in again] == list(pictures)
    assert (again.classes, again.things) == (CLASSES, THINGS)
    assert [record.id for record in again] == [5, 6, 7]
    assert [record.path for record in again] == paths
    assert again[0].attributes == {"licence": 3}
    assert sorted(path.name for path in (tmp_path / "val").iterdir()) == ["c.png", "d.png", "ä b.png"]
    assert pickle.loads(pickle.dumps(again))[2].read() == pictures[2]
    before = (tmp_path / "val.json").read_bytes()
    coco_panoptic.write(again, tmp_path / "val.json")  # onto itself: maps are read before they are replaced
    assert (tmp_path / "val.json").read_bytes() == before
    assert [record.read() for record in again] == list(pictures)


def test_what_is_written(tmp_path):
    coco_panoptic.write(dataset(one()), tmp_path / "val.json")
    content = json.loads((tmp_path / "val.json").read_text("utf-8"))
    assert content["categories"] == [
        {"id": 1, "name": "sky", "supercategory": "", "isthing": 0},
        {"id": 2, "name": "Käfer", "supercategory": "", "isthing": 1},
    ]
    [entry] = content["annotations"]
    assert entry["file_name"] == "5.png"
    assert entry["segments_info"][1] == {
        "id": 70000, "category_id": 1, "iscrowd": 0, "area": 3, "bbox": [0, 0, 3, 2]
    }  # fmt: skip
    colours = np.asarray(Image.open(tmp_path / "val/5.png"))
    assert colours.dtype == np.uint8
    assert (colours.astype(int) @ [1, 256, 65536]).tolist() == one().map.tolist()


@pytest.mark.parametrize("names", [["x/a.jpg", "y/A.png"], ["..", "a.png"], ["a:b.png", "c.png"]])
def test_maps_are_numbered_where_names_do_not_do(tmp_path, names):
    coco_panoptic.write(
        dataset(one(), one(), paths=[tmp_path / name for name in names]), tmp_path / "val.json"
    )
    assert sorted(path.name for path in (tmp_path / "val").iterdir()) == ["000001.png", "000002.png"]


def test_no_pictures(tmp_path):
    coco_panoptic.write(dataset(), tmp_path / "val.json")
    assert coco_panoptic.read(tmp_path / "val.json") == dataset()


def test_a_failed_write_leaves_the_old_file(tmp_path):
    coco_panoptic.write(dataset(one()), tmp_path / "val.json")
    before = (tmp_path / "val.json").read_bytes()
    large = Panoptic([[2**24]], [2**24], [0], [False])
    with pytest.raises(ValueError, match=r"ids must be at most 16777215, got 16777216 in record 6"):
        coco_panoptic.write(dataset(one(), large), tmp_path / "val.json")
    with pytest.raises(ValueError, match=r"labels must be below the number of classes 2, got 2 in record 5"):
        coco_panoptic.write(dataset(Panoptic([[1]], [1], [2], [False])), tmp_path / "val.json")
    assert (tmp_path / "val.json").read_bytes() == before
    with pytest.raises(ValueError, match="path must have an ending"):
        coco_panoptic.write(dataset(), tmp_path / "val")


def test_maps_may_lie_elsewhere(edited):
    path = edited()
    path.with_suffix("").rename(path.with_name("pngs"))
    assert coco_panoptic.read(path, path.with_name("pngs"))[0].read() == one()


def entry(content):
    return content["annotations"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: entry(c).update(image_id=9),
            r"annotations\[0\]: image_id must be the id of a picture, got 9",
        ),
        (
            lambda c: c["annotations"].append(entry(c)),
            r"annotations\[1\]: image_id must be unique, got 5 twice",
        ),
        (lambda c: entry(c).update(file_name=""), r"file_name must be a file's name, got ''"),
        (
            lambda c: entry(c)["segments_info"][0].update(id=0),
            r"image 5, segment 0: id must be 1 to 16777215",
        ),
        (lambda c: entry(c)["segments_info"][0].update(id=2**24), r"id must be 1 to 16777215, got 16777216"),
        (lambda c: entry(c)["segments_info"][0].update(id=2), r"image 5, segment 2: id must be unique"),
        (
            lambda c: entry(c)["segments_info"][0].update(category_id=7),
            r"segment 300: category_id must be .* got 7",
        ),
        (lambda c: entry(c)["segments_info"][0].update(iscrowd=2), r"iscrowd must be 0 or 1, got 2"),
        (lambda c: entry(c)["segments_info"][1].update(score=1), r"segment 300: score must be .* got None"),
        (
            lambda c: entry(c)["segments_info"][0].update(score=1e300),
            r"score must be a finite number .* got 1e\+300",
        ),
        (lambda c: c["categories"][0].update(isthing=5), r"category 1: isthing must be 0 or 1, got 5"),
        (lambda c: c["categories"][0].pop("isthing"), r"categories\[0\]: .*missing required field `isthing`"),
        (lambda c: c["categories"][0].update(id=2), r"category 2: id must be unique"),
        (lambda c: c.pop("annotations"), r"missing required field `annotations`"),
    ],
)
def test_contradictions_are_found_on_reading(edited, change, message):
    path = edited(change)
    with pytest.raises(FormatError, match=message) as error:
        coco_panoptic.read(path)
    assert error.value.path == path


def test_maps_that_do_not_fit_are_found_on_reading_the_record(edited):
    def reading(change, message):
        record = coco_panoptic.read(edited(change))[0]
        with pytest.raises(FormatError, match=message) as error:
            record.read()
        assert error.value.item == "image 5"

    reading(lambda c: entry(c)["segments_info"].pop(0), r"map must .* got 300 without a segment\.$")
    extra = {"id": 77, "category_id": 1}
    reading(
        lambda c: entry(c)["segments_info"].append(extra), r"ids must have pixels in the map, got 77 without"
    )
    reading(
        lambda c: entry(c).update(file_name="b.png"),
        r"map must be the PNG file .*val/b.png, got no such file",
    )
    reading(lambda c: c["images"][0].update(height=3), r"\(height, width\) \(3, 3\), got \(2, 3\)")
    path = edited()
    (path.with_suffix("") / "a.png").write_bytes(b"no picture")
    with pytest.raises(FormatError, match="a.png"):
        coco_panoptic.read(path)[0].read()


def test_files_that_are_no_json(tmp_path):
    with pytest.raises(FormatError, match="file must be readable"):
        coco_panoptic.read(tmp_path / "none.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(FormatError, match="file must be JSON"):
        coco_panoptic.read(tmp_path / "a.json")


def test_sniff(edited, tmp_path):
    path = edited()
    assert coco_panoptic.sniff(path)
    assert not coco.sniff(path)
    assert not coco_panoptic.sniff(tmp_path / "none.json")
    for text in ("", "[]", "{}", '{"annotations": []}', '{"annotations": 3}', "\xff"):
        (tmp_path / "a.json").write_text(text, "latin-1")
        assert not coco_panoptic.sniff(tmp_path / "a.json")


def test_predictions_may_be_bare(edited, tmp_path):
    truth = edited()
    bare = {"annotations": json.loads(truth.read_text("utf-8"))["annotations"]}
    (tmp_path / "found.json").write_text(json.dumps(bare))
    maps = truth.with_suffix("")
    found = coco_panoptic.read_predictions(tmp_path / "found.json", truth, maps)
    assert found[0].read() == one()
    assert (found.classes, found.things) == (CLASSES, THINGS)
    (tmp_path / "found.json").write_text(json.dumps(bare | {"categories": [{"id": 1, "name": "sea"}]}))
    with pytest.raises(FormatError, match="category 1: name must be the truth's 'sky', got 'sea'"):
        coco_panoptic.read_predictions(tmp_path / "found.json", truth, maps)


def test_predictions_may_have_ids_of_their_own(tmp_path):
    """Pictures are known by their names, categories by theirs; what is ambiguous keeps its id."""
    picture = one()
    shapes = [
        PanopticRecord(tmp_path / f"{name}.png", picture.size, picture, n) for n, name in enumerate("ab", 7)
    ]
    truth = PanopticDataset(shapes, CLASSES, THINGS)
    coco_panoptic.write(truth, tmp_path / "truth.json")
    labels = len(CLASSES) - 1 - picture.labels
    turned = Panoptic(picture.map, picture.ids, labels, picture.things, picture.crowd, picture.scores)
    records = [
        PanopticRecord(tmp_path / "x" / f"{name}.png", picture.size, turned, n)
        for n, name in enumerate("ba", 1)
    ]
    found = PanopticDataset(records, CLASSES[::-1], THINGS[::-1])
    coco_panoptic.write(found, tmp_path / "found.json")
    read = coco_panoptic.read_predictions(tmp_path / "found.json", tmp_path / "truth.json")
    assert [record.id for record in read] == [8, 7]
    assert all(record.read() == picture for record in read)
    text = (tmp_path / "found.json").read_text()
    (tmp_path / "found.json").write_text(text.replace(f'"{CLASSES[0]}"', '"other"'))
    with pytest.raises(FormatError, match="category .*: name must be .*got 'other'"):
        coco_panoptic.read_predictions(tmp_path / "found.json", tmp_path / "truth.json")


def test_the_sample_of_coco(shared, tmp_path):
    path = shared / "data/coco_panoptic_sample/panoptic_examples.json"
    assert coco_panoptic.sniff(path)
    found = coco_panoptic.read(path)
    assert [len(record.read()) for record in found] == [18, 32]
    assert (len(found.classes), sum(found.things)) == (133, 80)
    assert [int((record.read().map == 0).sum()) for record in found] == [2712, 7189]
    stated = {
        (picture["image_id"], segment["id"]): segment["area"]
        for picture in json.loads(path.read_text())["annotations"]
        for segment in picture["segments_info"]
    }
    for record in found:
        picture = record.read()
        assert [stated[record.id, id_] for id_ in picture.ids.tolist()] == picture.areas.tolist()
    report = evaluate_panoptic(found, found)
    assert (report.all.pq, report.all.sq, report.all.rq) == (1, 1, 1)
    coco_panoptic.write(found, tmp_path / "again.json")
    again = coco_panoptic.read(tmp_path / "again.json")
    assert [record.read() for record in again] == [record.read() for record in found]
    things = [record.read().to_instances() for record in found]
    same = coco.read(shared / "data/coco_panoptic_sample/panoptic_coco_detection_format.json")
    for mine, record in zip(things, same, strict=True):
        shapes = {m["counts"] for m in mine.masks.to_rle()}
        assert shapes <= {m["counts"] for m in record.instances.masks.to_rle()}


def test_the_files_of_datumaro(shared):
    folder = shared / "fixtures/formats/coco_panoptic/datumaro/annotations"
    found = coco_panoptic.read(folder / "panoptic_val.json")
    picture = found[0].read()
    assert picture.size == (10, 5)
    assert picture.ids.tolist() == [7, 20]
    assert picture.crowd.tolist() == [False, True]
    wrong = coco_panoptic.read(folder / "panoptic_train.json")
    with pytest.raises(FormatError, match=r"image 5: map must have .* \(5, 10\), got \(5, 5\)"):
        wrong[0].read()


def test_pictures_without_an_annotation_are_left_out_and_named(edited, caplog):
    def more(content):
        content["images"].append({"id": 99, "file_name": "b.jpg", "height": 2, "width": 3})

    assert [record.id for record in coco_panoptic.read(edited())] == [5]
    assert not caplog.records
    assert [record.id for record in coco_panoptic.read(edited(more))] == [5]
    assert "1 of 2 pictures have no annotation" in caplog.text
