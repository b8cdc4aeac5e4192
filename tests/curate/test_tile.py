import sys

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from delineate.curate.tile import join, tile
from delineate.dataset import Dataset, Record
from delineate.errors import MissingExtra
from delineate.formats import coco
from delineate.instances import Instances
from delineate.masks import Masks

SIZE = (23, 31)


def dense():
    shapes = np.zeros((4, *SIZE), bool)
    shapes[0, 2:20, 3:28] = True
    shapes[0, 8:12, 8:12] = False
    shapes[1, 0, 0] = True
    shapes[2, -1] = True
    return shapes  # the last one is empty


def dataset(folder, pixels=None, **changes):
    pixels = np.arange(SIZE[0] * SIZE[1], dtype=np.uint16).reshape(SIZE) if pixels is None else pixels
    path = folder / "ä.tif"
    tifffile.imwrite(path, pixels, photometric="rgb" if pixels.ndim == 3 else "minisblack")
    instances = Instances.of(Masks.from_dense(dense()), [0, 1, 0, 1]).replace(**changes)
    return Dataset([Record(path, SIZE, instances, 7, {"weather": "fog"}, split="val")], ["a", "b"])


@settings(max_examples=30, deadline=None)
@given(side=st.integers(1, 40), overlap=st.integers(0, 12))
def test_tiles_join_to_what_was_cut(side, overlap, tmp_path_factory):
    overlap = min(overlap, side - 1)
    folder = tmp_path_factory.mktemp("tiles")
    made = dataset(folder)
    cut = made.with_records(tile(made, folder / "out", side=max(side, 4), overlap=min(overlap, 3)))
    back = join(cut)
    assert [record.id for record in back] == [7]
    assert back[0].instances.masks == made[0].instances.masks[[0, 1, 2]], "an empty mask has no part"
    assert back[0].instances.labels.tolist() == [0, 1, 0]
    assert (back[0].attributes, back[0].split, back[0].path.name) == ({"weather": "fog"}, "val", "ä.tif")


def test_pixels_keep_their_depth(tmp_path):
    made = dataset(tmp_path)
    records = list(tile(made, tmp_path / "out", side=16))
    assert [record.path.name for record in records] == ["ä_0_0.png", "ä_0_15.png", "ä_7_0.png", "ä_7_15.png"]
    whole = tifffile.imread(made[0].path)
    for record in records:
        at = record.attributes["tile"]
        part = whole[at["top"] : at["top"] + 16, at["left"] : at["left"] + 16]
        np.testing.assert_array_equal(np.asarray(Image.open(record.path)), part)
        assert np.asarray(Image.open(record.path)).dtype.itemsize >= 2
    assert [record.id for record in records] == ["7_0_0", "7_0_15", "7_7_0", "7_7_15"]


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_what_png_cannot_hold_becomes_tiff(tmp_path, dtype):
    pixels = np.linspace(0, 100, SIZE[0] * SIZE[1] * 3).reshape(*SIZE, 3).astype(dtype)
    made = dataset(tmp_path, pixels)
    records = list(tile(made, tmp_path / "out", side=64))
    assert records[0].path.suffix == ".tif"
    np.testing.assert_array_equal(tifffile.imread(records[0].path), pixels)


def test_without_tifffile_the_extra_is_named(tmp_path, monkeypatch):
    made = dataset(tmp_path, np.zeros((*SIZE, 3), np.float32))
    records = tile(made, tmp_path / "out", side=64)
    pixels = np.zeros((*SIZE, 3), np.float32)
    monkeypatch.setattr("delineate.curate.tile._upright", lambda record: pixels)
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(MissingExtra, match="delineate\\[tiff\\]"):
        list(records)
    assert not list((tmp_path / "out").glob("*"))


def test_small_parts_and_empty_tiles_can_be_left_out(tmp_path):
    made = dataset(tmp_path)
    parts = [len(r.instances) for r in tile(made, tmp_path / "a", side=8)]
    assert sum(parts) > sum(len(r.instances) for r in tile(made, tmp_path / "b", side=8, min_part=0.1)) > 0
    records = list(tile(made, tmp_path / "c", side=2, empty=False))
    assert records
    assert all(len(record.instances) for record in records)
    assert len(list((tmp_path / "c").iterdir())) == len(records)


def test_tiles_survive_a_file(tmp_path):
    made = dataset(tmp_path)
    cut = made.with_records(tile(made, tmp_path / "out", side=10, overlap=2))
    coco.write(cut, tmp_path / "out" / "tiles.json")
    assert (
        join(coco.read(tmp_path / "out" / "tiles.json"))[0].instances.masks
        == made[0].instances.masks[[0, 1, 2]]
    )


def test_boxes_alone(tmp_path):
    boxes = [[2, 2, 20, 20], [0, 0, 3, 3]]
    made = dataset(tmp_path)
    made = made.with_records([made[0].replace(instances=Instances(SIZE, boxes, [0, 1], ids=[5, 9]))])
    back = join(made.with_records(tile(made, tmp_path / "out", side=9)))[0].instances
    assert back.boxes.tolist() == boxes
    assert back.ids.tolist() == [5, 9]


def test_mistakes(tmp_path):
    made = dataset(tmp_path)
    with pytest.raises(ValueError, match="records must have pictures, got none for 7"):
        list(tile(made.with_records([made[0].replace(path=None)]), tmp_path, side=9))
    with pytest.raises(ValueError, match="pictures must have different names, got 'ä' twice"):
        list(tile(made.with_records([made[0], made[0].replace(id=8)]), tmp_path / "o", side=9))
    wrong = made[0].replace(instances=Instances.empty((9, 9)))
    with pytest.raises(ValueError, match="size of their record"):
        list(tile(made.with_records([wrong]), tmp_path / "o", side=9))
