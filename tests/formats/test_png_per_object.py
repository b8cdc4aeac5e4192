import logging

import numpy as np
import pytest
from PIL import Image

from delineate import formats
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import coco, png_per_object
from delineate.image import write_image
from delineate.instances import Instances
from delineate.masks import Masks

SIZE = (6, 8)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def folder(tmp_path):
    """As the Data Science Bowl has it: RGBA pictures, grey masks of 0 and 255."""
    folder = tmp_path / "stage1_train" / "00ae65"
    save(folder / "images/00ae65.png", np.zeros((*SIZE, 4), np.uint8))
    mask = np.zeros(SIZE, np.uint8)
    mask[1:3, 1:4] = 255
    save(folder / "masks/07a9.png", mask)
    save(folder / "masks/01b2.png", np.roll(mask, 2, axis=1))
    return folder


def test_a_folder_of_the_data_science_bowl(folder, tmp_path):
    assert formats.detect(tmp_path) == formats.detect(tmp_path / "stage1_train") == "png_per_object"
    [record] = png_per_object.read(tmp_path)
    assert record.split == "stage1_train"
    assert record.path.name == "00ae65.png"
    assert record.instances.boxes.tolist() == [[3, 1, 6, 3], [1, 1, 4, 3]]
    assert png_per_object.read(tmp_path / "stage1_train")[0].split is None
    assert png_per_object.read(tmp_path).classes == ("object",)


def test_pictures_without_masks_are_not_annotated(folder, tmp_path, caplog):
    save(tmp_path / "stage1_test/0f/images/0f.png", np.zeros(SIZE, np.uint8))
    with caplog.at_level(logging.WARNING, "delineate"):
        assert len(png_per_object.read(tmp_path)) == 1
    assert "1 of 2 pictures have no folder masks" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "masks/0.png",
            np.zeros((5, 8), np.uint8),
            r"0.png: mask must have the size of its picture: .*\(5, 8\)",
        ),
        ("images/other.png", np.zeros(SIZE, np.uint8), "images: must hold one picture, got more"),
    ],
)
def test_what_does_not_fit_is_named(folder, tmp_path, name, content, message):
    save(folder / name, content)
    with pytest.raises(FormatError, match=message):
        png_per_object.read(tmp_path)


def test_damage_is_named(folder, tmp_path):
    path = folder / "masks/07a9.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(FormatError, match=r"07a9.png: (picture|file) must be "):
        png_per_object.read(tmp_path)
    (folder / "images/00ae65.png").unlink()
    with pytest.raises(FormatError, match=r"07a9.png: (picture|file) must be "):
        png_per_object.read(tmp_path)


def test_what_is_written(tmp_path):
    dense = np.zeros((2, *SIZE), bool)
    dense[0, 1:5, 1:5] = dense[1, 2:6, 2:6] = True
    write_image(tmp_path / "ä.png", np.zeros((*SIZE, 3), np.uint8))
    record = Record(tmp_path / "ä.png", SIZE, Instances.of(Masks.from_dense(dense), [1, 0]), 3, split="val")
    png_per_object.write(Dataset([record], ["a", "b"]), tmp_path / "out", pictures="copy")
    masks = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "out/val/ä/masks").iterdir())]
    np.testing.assert_array_equal(np.stack(masks) > 0, dense)
    [back] = png_per_object.read(tmp_path / "out")
    assert back.instances.labels.tolist() == [1, 0]
    assert back.instances.masks == record.instances.masks


def test_boxes_alone_cannot_be_written(tmp_path):
    record = Record(None, SIZE, Instances(SIZE, [[0, 0, 1, 1]], [0]), 1)
    with pytest.raises(ValueError, match="instances must have masks, got boxes only in 1"):
        png_per_object.write(Dataset([record], ["cell"]), tmp_path / "out")


def test_real_nuclei_come_back(shared, tmp_path):
    truth = coco.read(shared / "data/dsb2018/val.json")
    some = truth.with_records(truth.records[:5])
    png_per_object.write(some, tmp_path / "out")
    back = {record.path.name: record.instances for record in png_per_object.read(tmp_path / "out")}
    assert all(back[record.path.name].masks == record.instances.masks for record in some)
