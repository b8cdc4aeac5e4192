"""Cityscapes' pictures of ids as panoptic pictures: the 19 classes, groups, void, parts."""

import json

import numpy as np
import pytest
from PIL import Image

from delineate import formats
from delineate.errors import FormatError
from delineate.formats import cityscapes_panoptic

NAME = "aachen_000000_000019"
IDS = np.array([[7, 7, 23, 26001], [26000, 26, 26, 26001], [1, 4, 24000, 29000]], np.uint16)


def folder(root, split="train", ids=IDS):
    for kind in (f"gtFine/{split}/aachen", f"leftImg8bit/{split}/aachen"):
        (root / kind).mkdir(parents=True, exist_ok=True)
    Image.fromarray(ids).save(root / f"gtFine/{split}/aachen/{NAME}_gtFine_instanceIds.png")
    Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(
        root / f"leftImg8bit/{split}/aachen/{NAME}_leftImg8bit.png"
    )
    return root


def test_the_classes_of_the_benchmark(tmp_path):
    found = cityscapes_panoptic.read(folder(tmp_path))
    assert len(found.classes) == 19
    assert found.classes[:2] == ("road", "sidewalk")
    assert sum(found.things) == 8
    (record,) = found
    assert record.path.is_file()
    made = record.read()
    seen = {
        (found.classes[label], bool(thing), bool(crowd), int(area))
        for label, thing, crowd, area in zip(made.labels, made.things, made.crowd, made.areas, strict=True)
    }
    assert seen == {
        ("road", False, False, 2),
        ("sky", False, False, 1),
        ("car", True, False, 1),
        ("car", True, False, 2),
        ("car", True, True, 2),
        ("person", True, False, 1),
    }
    assert made.map[2].tolist()[:2] == [0, 0]  # ego vehicle and static: void
    assert made.map[2, 3] == 0  # caravans are not evaluated
    assert len(set(made.ids.tolist())) == len(made)


def test_parts_and_the_folder_itself(tmp_path):
    folder(tmp_path)
    folder(tmp_path, "val", ids=np.full((3, 4), 11, np.uint16))
    assert len(cityscapes_panoptic.read(tmp_path)) == 2
    assert len(cityscapes_panoptic.read(tmp_path / "gtFine")) == 2
    (record,) = formats.read_panoptic(tmp_path / "gtFine" / "val")
    assert "val" in record.path.parts
    assert record.read().areas.tolist() == [12]


def test_stuff_with_numbers_is_one_segment(tmp_path):
    ids = np.array([[11000, 11001], [11, 7]], np.uint16)
    (record,) = cityscapes_panoptic.read(folder(tmp_path, ids=np.repeat(np.repeat(ids, 2, 0)[:3], 2, 1)))
    assert sorted(record.read().areas.tolist()) == [2, 10]


def test_other_classes(tmp_path):
    folder(tmp_path, ids=np.array([[34000, 7, 26, 0]] * 3, np.uint16))
    (tmp_path / "labels.json").write_text(json.dumps([{"id": 34, "name": "tram"}]))
    found = cityscapes_panoptic.read(tmp_path)
    assert found.classes[-1] == "tram"
    assert sum(found.things) == 1
    assert sorted(found.classes[label] for label in found[0].read().labels) == ["road", "tram"]


def test_what_is_wrong_is_named(tmp_path):
    assert not cityscapes_panoptic.sniff(tmp_path)
    assert formats.read_panoptic(tmp_path) is None
    with pytest.raises(FormatError, match="must be a folder with gtFine"):
        cityscapes_panoptic.read(tmp_path)
    (tmp_path / "gtFine").mkdir()
    with pytest.raises(FormatError, match="json2instanceImg"):
        cityscapes_panoptic.read(tmp_path)
