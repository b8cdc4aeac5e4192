import json

import numpy as np
import pytest

from delineate import Dataset, Instances, Masks, Record, formats
from delineate.errors import FormatError
from delineate.formats import coco, lvis


def content() -> dict:
    square = [[1.0, 1.0, 4.0, 1.0, 4.0, 3.0, 1.0, 3.0]]
    return {
        "images": [
            {
                "id": 5,
                "coco_url": "http://images.cocodataset.org/val2017/a.jpg",
                "height": 6,
                "width": 8,
                "neg_category_ids": [9],
                "not_exhaustive_category_ids": [3],
            },
            {"id": 2, "file_name": "b.jpg", "height": 6, "width": 8}
            | {"neg_category_ids": [], "not_exhaustive_category_ids": []},
        ],
        "categories": [
            {"id": 9, "name": "yak", "frequency": "f", "synonyms": ["yak"]},
            {"id": 3, "name": "emu", "frequency": "r", "synonyms": ["emu", "Emü"]},
        ],
        "annotations": [
            {
                "id": 7,
                "image_id": 5,
                "category_id": 3,
                "area": 6.0,
                "bbox": [1, 1, 3, 2],
                "segmentation": square,
            }
        ],
    }


def saved(folder, value):
    path = folder / "truth.json"
    path.write_text(json.dumps(value))
    return path


def test_classes_of_a_picture_come_as_names(tmp_path):
    dataset = lvis.read(saved(tmp_path, content()))
    assert dataset.classes == ("emu", "yak")
    first, second = dataset
    assert first.attributes["negative_classes"] == ["yak"]
    assert first.attributes["not_exhaustive_classes"] == ["emu"]
    assert not second.attributes
    assert [one["frequency"] for one in dataset.attributes["categories"]] == ["r", "f"]
    assert first.instances.masks.areas.tolist() == [6]


def test_pictures_lie_where_their_address_says(tmp_path):
    path = saved(tmp_path, content())
    assert [record.path for record in lvis.read(path)] == [tmp_path / "val2017/a.jpg", tmp_path / "b.jpg"]
    assert lvis.read(path, tmp_path / "x")[0].path == tmp_path / "x/val2017/a.jpg"
    escaping = content()
    escaping["images"][0]["coco_url"] = "http://host/../../etc/passwd"
    assert lvis.read(saved(tmp_path, escaping))[0].path == tmp_path / "etc/passwd"


def test_round_trip(tmp_path):
    dataset = lvis.read(saved(tmp_path, content()))
    lvis.write(dataset, tmp_path / "again.json")
    again = lvis.read(tmp_path / "again.json")
    assert again == dataset
    plain = json.loads((tmp_path / "again.json").read_text())
    assert [image["neg_category_ids"] for image in plain["images"]] == [[2], []]
    lvis.write(again, tmp_path / "third.json")
    assert (tmp_path / "third.json").read_bytes() == (tmp_path / "again.json").read_bytes()


def test_sniff_tells_it_from_coco(tmp_path):
    path = saved(tmp_path, content())
    assert (lvis.sniff(path), coco.sniff(path), formats.detect(path)) == (True, False, "lvis")
    usual = content()
    for image in usual["images"]:
        del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    assert lvis.sniff(saved(tmp_path, usual))  # frequencies
    for category in usual["categories"]:
        del category["frequency"]
    assert (lvis.sniff(saved(tmp_path, usual)), coco.sniff(path)) == (False, True)
    for text in ("", "{", "[]", '{"images": 1, "categories": [], "annotations": []}'):
        path.write_text(text)
        assert not lvis.sniff(path)
    assert not lvis.sniff(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([4], "neg_category_ids must be a list of ids of categories, got 4"),
        ("x", "got 'x'"),
        (["3"], "got '3'"),
    ],
)
def test_unknown_classes_are_refused(tmp_path, wrong, message):
    value = content()
    value["images"][0]["neg_category_ids"] = wrong
    with pytest.raises(FormatError, match=f"image 5: neg_category_ids must .*{message[-5:]}"):
        lvis.read(saved(tmp_path, value))


def test_names_must_be_unique(tmp_path):
    value = content()
    value["categories"][0]["name"] = "emu"
    with pytest.raises(FormatError, match="names must be unique, got 'emu' more than once"):
        lvis.read(saved(tmp_path, value))
    with pytest.raises(ValueError, match=r"lvis.write: classes must have different names, got 'a'"):
        lvis.write(Dataset([], ["a", "a"]), tmp_path / "x.json")
    empty = Instances.empty((2, 2))
    stray = Dataset([Record(None, (2, 2), empty, 1, {"negative_classes": ["b"]})], ["a"])
    with pytest.raises(
        ValueError, match="negative_classes of record 1 must be classes of the dataset, got 'b'"
    ):
        lvis.write(stray, tmp_path / "x.json")


def test_results_are_those_of_coco(tmp_path):
    path = saved(tmp_path, content())
    rle = Masks.from_dense(np.ones((1, 6, 8), bool)).to_rle()[0]
    results = [{"image_id": 5, "category_id": 9, "score": 0.5, "segmentation": rle}]
    (tmp_path / "results.json").write_text(json.dumps(results))
    found = lvis.read_results(tmp_path / "results.json", path)
    assert found.classes == ("emu", "yak")
    assert found[0].instances.labels.tolist() == [1]


def test_real_file(shared):
    path = shared / "fixtures/formats/lvis/lvis_val_100.json"
    raw = json.loads(path.read_text())
    dataset = lvis.read(path)
    assert (len(dataset), len(dataset.classes)) == (100, 1230)
    names = {category["id"]: category["name"] for category in raw["categories"]}
    for image, record in zip(raw["images"], dataset, strict=True):
        expected = [names[id_] for id_ in image["neg_category_ids"]]
        assert record.attributes.get("negative_classes", []) == expected
    assert sum(record.count for record in dataset) == len(raw["annotations"])
