import json
import logging

import numpy as np
import pytest

from delineate import formats
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import roboflow
from delineate.image import write_image
from delineate.instances import Instances
from delineate.masks import Masks

ROOT = {"id": 0, "name": "cells", "supercategory": "none"}
CELL = {"id": 1, "name": "cell", "supercategory": "cells"}
SQUARE = {"id": 1, "image_id": 0, "category_id": 1, "iscrowd": 0, "segmentation": [[1, 1, 4, 1, 4, 3, 1, 3]]}


def save(folder, split, categories, annotations=(SQUARE,)):
    place = folder / split
    place.mkdir(exist_ok=True)
    write_image(place / "a.png", np.zeros((5, 6, 3), np.uint8))
    images = [{"id": 0, "file_name": "a.png", "height": 5, "width": 6}]
    content = {"images": images, "categories": categories, "annotations": list(annotations)}
    (place / "_annotations.coco.json").write_text(json.dumps(content))


def test_splits_are_joined_and_the_root_is_dropped(tmp_path):
    for split in ("valid", "test", "train"):
        save(tmp_path, split, [ROOT, CELL])
    assert formats.detect(tmp_path) == "roboflow"
    found = roboflow.read(tmp_path)
    assert found.classes == ("cell",)
    assert [(r.split, r.id, r.path.parent.name) for r in found] == [
        ("train", 1, "train"),
        ("val", 2, "valid"),
        ("test", 3, "test"),
    ]
    assert all(r.instances.labels.tolist() == [0] and r.instances.masks.areas.tolist() == [6] for r in found)


@pytest.mark.parametrize(
    ("categories", "annotations"),
    [
        ([ROOT, CELL], [SQUARE | {"category_id": 0}]),  # somebody uses it
        ([ROOT, CELL | {"supercategory": "other"}], [SQUARE]),
        ([ROOT | {"supercategory": ""}, CELL], [SQUARE]),
        ([ROOT], []),
    ],
)
def test_what_only_looks_like_a_root_stays(tmp_path, categories, annotations):
    save(tmp_path, "train", categories, annotations)
    assert roboflow.read(tmp_path).classes == tuple(one["name"] for one in categories)


def test_splits_with_different_classes(tmp_path, caplog):
    save(tmp_path, "train", [CELL])
    save(tmp_path, "valid", [CELL | {"name": "dust"}])
    with caplog.at_level(logging.WARNING, "delineate"):
        found = roboflow.read(tmp_path)
    assert "splits have different classes" in caplog.text
    assert found.classes == ("cell", "dust")
    assert [r.instances.labels.tolist() for r in found] == [[0], [1]]


def test_a_folder_of_one_split(tmp_path):
    save(tmp_path, "train", [CELL])
    [record] = roboflow.read(tmp_path / "train")
    assert (record.split, record.id) == (None, 0)


def test_pictures_without_a_split_and_odd_splits(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((5, 6, 3), np.uint8))
    records = [
        Record(tmp_path / "a.png", (5, 6), Instances.empty((5, 6)), n, split=s)
        for n, s in enumerate([None, "x", None])
    ]
    roboflow.write(Dataset(records, ["cell"]), tmp_path / "out", pictures="copy")
    assert sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.png")) == [
        "a.png",
        "a_2.png",
        "x/a.png",
    ]
    assert [(r.id, r.split) for r in roboflow.read(tmp_path / "out")] == [(0, None), (2, None), (1, "x")]
    with pytest.raises(FormatError, match="split must be fit"):
        roboflow.write(Dataset([records[0].replace(split="..")], ["cell"]), tmp_path / "other")


def test_a_damaged_file_is_named(tmp_path):
    save(tmp_path, "train", [CELL], [SQUARE | {"category_id": 9}])
    with pytest.raises(FormatError, match=r"train.*annotation 1: category_id must be the id of a category"):
        roboflow.read(tmp_path)


def test_the_pictures_keep_their_place(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((5, 6, 3), np.uint8))
    instances = Instances.of(Masks.from_polygons([[[1, 1, 4, 1, 4, 3, 1, 3]]], (5, 6)))
    dataset = Dataset([Record(tmp_path / "a.png", (5, 6), instances, 1, split="val")], ["cell"])
    roboflow.write(dataset, tmp_path / "out", pictures="leave")
    assert roboflow.read(tmp_path / "out")[0].path == tmp_path / "a.png"


def test_a_real_export_with_a_second_class_of_the_roots_name(shared):
    folder = shared / "fixtures/formats/roboflow/coco_segmentation"
    found = roboflow.read(folder)
    content = json.loads((folder / "train/_annotations.coco.json").read_text())
    assert found.classes == tuple(one["name"] for one in content["categories"][1:])
    assert len(found) == 3
    assert sum(len(record.instances) for record in found) == 72
    names = {one["id"]: one["name"] for one in content["categories"]}
    for record in found:
        entries = [one for one in content["annotations"] if one["image_id"] == record.id]
        assert [found.classes[n] for n in record.instances.labels] == [
            names[e["category_id"]] for e in entries
        ]
        assert record.path.is_file()


def test_a_tiny_export_of_boxes(shared):
    found = roboflow.read(shared / "fixtures/formats/roboflow/tiny_coco")
    assert [(r.split, r.path.name) for r in found] == [
        ("train", "train_001.jpg"),
        ("train", "train_002.jpg"),
        ("val", "val_001.jpg"),
    ]
    assert found[0].instances.masks is None
