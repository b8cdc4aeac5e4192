"""Folders of class maps: the layouts that are read, void, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from delineate import formats
from delineate.errors import FormatError
from delineate.formats import class_maps

MAP = np.array([[0, 1, 255], [2, 2, 1]], np.uint8)


def picture(path, array=None, *, palette=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.zeros((2, 3, 3), np.uint8) if array is None else array)
    if palette:
        image.putpalette([7 * n % 256 for n in range(768)])
    image.save(path)


def folder(root, maps="class_maps", images="images", name="a", names="ground\ncar\nsky\n"):
    picture(root / images / f"{name}.jpg")
    picture(root / maps / f"{name}.png", MAP)
    if names is not None:
        (root / "class_names.txt").write_text(names, "utf-8")
    return root


@pytest.mark.parametrize("maps", ["class_maps", "annotations", "labels", "masks"])
def test_folders_beside_each_other(tmp_path, maps):
    root = folder(tmp_path, maps)
    (root / "images" / "without.jpg").write_bytes(b"")  # pictures without a map are not annotated
    assert class_maps.sniff(root)
    found = class_maps.read(root)
    assert (found.classes, found.things) == (("ground", "car", "sky"), (False,) * 3)
    (record,) = found
    assert (record.path.name, record.size, record.id) == ("a.jpg", (2, 3), 1)
    made = record.read()
    assert made.map.tolist() == [[1, 2, 0], [3, 3, 2]]
    assert (made.ids.tolist(), made.labels.tolist()) == ([1, 2, 3], [0, 1, 2])
    assert not made.things.any()
    assert formats.read_panoptic(root).classes == found.classes


def test_parts_of_a_dataset_are_folders_of_the_maps(tmp_path):
    folder(tmp_path, "annotations", name="training/x/a")
    folder(tmp_path, "annotations", name="validation/b")
    assert [r.path.name for r in class_maps.read(tmp_path)] == ["a.jpg", "b.jpg"]
    (record,) = class_maps.read(tmp_path / "annotations" / "training")
    assert record.path == tmp_path / "images" / "training" / "x" / "a.jpg"
    assert [r.path.name for r in class_maps.read(tmp_path / "annotations" / "validation")] == ["b.jpg"]


def test_names_may_stand_one_folder_up(tmp_path):
    folder(tmp_path / "train", names=None)
    (tmp_path / "class_names.txt").write_text("void\ncar\nsky\n")
    found = class_maps.read(tmp_path / "train")
    assert found.classes == ("car", "sky")
    assert found[0].read().map.tolist() == [[0, 1, 0], [2, 2, 1]]


def test_pascal_voc(tmp_path):
    picture(tmp_path / "JPEGImages" / "a.jpg")
    picture(tmp_path / "JPEGImages" / "b.jpg")
    for name in "ab":
        picture(tmp_path / "SegmentationClass" / f"{name}.png", MAP, palette=True)
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("b\n\n")
    found = class_maps.read(lists / "val.txt")
    assert found.classes[:3] == ("background", "aeroplane", "bicycle")
    assert [record.path.name for record in found] == ["b.jpg"]
    assert found[0].read().map.tolist() == [[1, 2, 0], [3, 3, 2]]
    assert len(class_maps.read(tmp_path)) == 2
    (lists / "val.txt").write_text("b\nc\n")
    with pytest.raises(FormatError, match="line 2: c must have a map"):
        class_maps.read(lists / "val.txt")
    (lists / "val.txt").write_text("../b\n")
    with pytest.raises(FormatError, match="line 1"):
        class_maps.read(lists / "val.txt")


def test_more_than_255_classes_leave_no_void(tmp_path):
    root = folder(tmp_path, names="".join(f"c{n}\n" for n in range(300)))
    picture(root / "class_maps" / "a.png", np.array([[0, 255, 299]], np.uint16))
    picture(root / "images" / "a.jpg", np.zeros((1, 3, 3), np.uint8))
    made = class_maps.read(root)[0].read()
    assert made.labels.tolist() == [0, 255, 299]


def test_what_is_wrong_is_named(tmp_path):
    with pytest.raises(FormatError, match=r"must be a folder with images/ and one of class_maps"):
        class_maps.read(tmp_path)
    assert not class_maps.sniff(tmp_path)
    assert not class_maps.sniff(tmp_path / "absent")
    root = folder(tmp_path / "a", names=None)
    assert not class_maps.sniff(root)
    with pytest.raises(FormatError, match=r"list of classes, a name a line.*Write .*class_names.txt"):
        class_maps.read(root)
    root = folder(tmp_path / "b", names="one\ntwo\n")
    with pytest.raises(FormatError, match=r"numbers must be below 2, or 255 for void, got 2. Add its name"):
        class_maps.read(root)[0].read()
    for names in ("", "a\na\n", "a\n\nb\n", "void\n"):
        (root / "class_names.txt").write_text(names)
        with pytest.raises(FormatError, match="a name of their own"):
            class_maps.read(root)
    root = folder(tmp_path / "c")
    picture(root / "class_maps" / "b.png", MAP)
    with pytest.raises(FormatError, match="map must have its picture b in"):
        class_maps.read(root)
