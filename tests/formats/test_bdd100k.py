"""BDD100K's bitmasks: channels written by hand, and its evaluation's own picture."""

import json

import numpy as np
import pytest
from PIL import Image

from delineate import formats
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import bdd100k
from delineate.image import write_image
from delineate.instances import Instances
from delineate.masks import Masks

SIZE = (6, 9)


def save(path, *objects):
    """Rectangles (rows, columns) with their four channels."""
    array = np.zeros((*SIZE, 4), np.uint8)
    for rows, columns, channels in objects:
        array[rows, columns] = channels
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def test_channels_are_class_flags_and_number(tmp_path):
    folder = tmp_path / "labels/ins_seg/bitmasks"
    save(
        folder / "val/a.png",
        (slice(0, 2), slice(0, 3), (3, 0b1100, 1, 4)),
        (slice(2, 4), slice(2, 5), (1, 0b0011, 0, 9)),
    )
    (tmp_path / "images/10k/val").mkdir(parents=True)
    write_image(tmp_path / "images/10k/val/a.jpg", np.zeros((*SIZE, 3), np.uint8))
    assert formats.detect(tmp_path) == "bdd100k"
    dataset = formats.read(tmp_path)
    [record] = dataset
    dense = np.zeros((2, *SIZE), bool)
    dense[0, 2:4, 2:5] = dense[1, 0:2, 0:3] = True
    found = record.instances
    assert found.masks == Masks.from_dense(dense)
    assert [dataset.classes[label] for label in found.labels] == ["pedestrian", "car"]
    assert found.ids.tolist() == [9, 260]
    assert found.crowd.tolist() == [True, False]
    assert [json.loads(text) for text in found.extras["attributes"]] == [
        {"ignored": True},
        {"truncated": True, "occluded": True},
    ]
    assert (record.split, record.path) == ("val", tmp_path / "images/10k/val/a.jpg")
    assert bdd100k.read(folder)[0].path == record.path
    bdd100k.write(dataset, tmp_path / "out")
    assert not (tmp_path / "out/classes.json").exists(), "the classes are its own"
    again, given = (
        Image.open(root / "labels/ins_seg/bitmasks/val/a.png") for root in (tmp_path / "out", tmp_path)
    )
    np.testing.assert_array_equal(np.array(again), np.array(given))


def test_numbers_are_given_where_ids_do_not_fit(tmp_path):
    dense = np.zeros((2, *SIZE), bool)
    dense[0, 0, 0] = dense[1, 1, 1] = True
    for place, ids in enumerate(([7, 7], [0, 1], [1, 2**16])):
        record = Record(None, SIZE, Instances.of(Masks.from_dense(dense), [1, 0], ids=ids), 1)
        bdd100k.write(Dataset([record], bdd100k.CLASSES), tmp_path / str(place))
        found = bdd100k.read(tmp_path / str(place))[0].instances
        assert (found.ids.tolist(), found.labels.tolist()) == ([1, 2], [1, 0])


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ([(0, 0, (9, 0, 0, 1))], "object 1: class must be 1 to 8, got 9"),
        (
            [(0, 0, (1, 0, 0, 1)), (1, 0, (2, 0, 0, 1))],
            "object 1: object must be of one class with one set of flags",
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, objects, message):
    save(tmp_path / "bitmasks/a.png", *objects)
    with pytest.raises(FormatError, match=message):
        bdd100k.read(tmp_path)


def test_other_pictures_are_refused(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    assert not bdd100k.sniff(tmp_path)
    with pytest.raises(FormatError, match="bitmask must have four channels of 8 bits"):
        bdd100k.read(tmp_path)
    (tmp_path / "b").mkdir()
    Image.new("RGBA", (4, 4), (200, 100, 50, 255)).save(tmp_path / "b" / "a.png")
    assert not bdd100k.sniff(tmp_path / "b"), "a picture with an alpha channel"
    with pytest.raises(FormatError, match="classes must be at most 255"):
        bdd100k.write(Dataset([], [str(n) for n in range(256)]), tmp_path / "c")


def test_the_picture_of_bdd100ks_evaluation(shared):
    path = shared / "fixtures/formats/bdd100k/ins_seg_eval/gt"
    assert formats.detect(path) == "bdd100k"
    [record] = formats.read(path)
    array = np.array(Image.open(path / "a.png"))
    assert record.instances.ids.tolist() == sorted({*array[..., 3].ravel().tolist()} - {0})
    for n, id_ in enumerate(record.instances.ids):
        np.testing.assert_array_equal(record.instances.masks[[n]].to_dense()[0], array[..., 3] == id_)
