import json
import logging
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image
from skimage import measure

from delineate import formats
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import _voc_files, voc
from delineate.image import write_image
from delineate.instances import Instances
from delineate.masks import Masks

SIZE = (12, 16)
OBJECTS = np.zeros(SIZE, np.uint8)
OBJECTS[1:4, 1:5] = 1
OBJECTS[6:9, 7:10] = 2
OBJECTS[5, 7:10] = 255
XML = """<annotation><size><width>16</width><height>12</height><depth>3</depth></size>
<object><name>cat</name><pose>Left</pose><difficult>1</difficult><truncated>0</truncated>
<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>5.5</xmax><ymax>4</ymax></bndbox></object>
<object><name>dog</name><bndbox><xmin>8</xmin><ymin>7</ymin><xmax>10</xmax><ymax>9</ymax></bndbox></object>
</annotation>"""


@pytest.fixture
def folder(tmp_path):
    for place in (
        "JPEGImages",
        "Annotations",
        "SegmentationObject",
        "SegmentationClass",
        "ImageSets/Segmentation",
    ):
        (tmp_path / place).mkdir(parents=True)
    write_image(tmp_path / "JPEGImages/a b.jpg", np.zeros((*SIZE, 3), np.uint8))
    kinds = np.array([0, 8, 12] + [0] * 252 + [255], np.uint8)[OBJECTS]
    _voc_files.write_palette(tmp_path / "SegmentationObject/a b.png", OBJECTS)
    _voc_files.write_palette(tmp_path / "SegmentationClass/a b.png", kinds)
    (tmp_path / "Annotations/a b.xml").write_text(XML)
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text("a b\n")
    (tmp_path / "ImageSets/Segmentation/trainval.txt").write_text("a b\n")
    return tmp_path


def test_a_whole_folder(folder):
    assert formats.detect(folder) == "voc"
    found = voc.read(folder)
    [record] = found
    assert (record.split, record.path.name, record.size) == ("val", "a b.jpg", SIZE)
    assert [found.classes[n] for n in record.instances.labels] == ["cat", "dog"]
    assert record.instances.masks.areas.tolist() == [12, 9]
    assert record.instances.boxes.tolist() == [[1, 1, 5.5, 4], [7, 6, 10, 9]]
    attributes = [json.loads(one) for one in record.instances.extras["attributes"]]
    assert attributes == [{"pose": "Left", "difficult": "1"}, {}]


def test_without_xml_or_with_another_one_boxes_are_those_of_the_masks(folder, caplog):
    (folder / "Annotations/a b.xml").write_text(XML.replace("dog", "cow"))
    with caplog.at_level(logging.WARNING, "delineate"):
        [record] = voc.read(folder)
    assert "1 XML files have other objects than their pictures" in caplog.text
    assert record.instances.boxes.tolist() == [[1, 1, 5, 4], [7, 6, 10, 9]]
    (folder / "Annotations/a b.xml").unlink()
    assert voc.read(folder)[0].instances.boxes.tolist() == [[1, 1, 5, 4], [7, 6, 10, 9]]


def test_objects_of_the_xml_alone_keep_their_place(folder, caplog):
    hidden = XML[XML.index("<object>") : XML.index("<object>", XML.index("<object>") + 1)]
    (folder / "Annotations/a b.xml").write_text(XML.replace("</annotation>", hidden + "</annotation>"))
    with caplog.at_level(logging.WARNING, "delineate"):
        [record] = voc.read(folder)
    assert "1 objects are in XML files only" in caplog.text
    assert record.instances.masks.areas.tolist() == [12, 9, 0]
    assert record.instances.labels.tolist() == [7, 11, 7]


def test_without_pictures_of_classes_the_xml_says_them(folder):
    (folder / "SegmentationClass/a b.png").unlink()
    assert voc.read(folder)[0].instances.labels.tolist() == [7, 11]
    (folder / "Annotations/a b.xml").unlink()
    with pytest.raises(
        FormatError, match=r"SegmentationObject.*object 1 must be of one of 20 classes, got 0"
    ):
        voc.read(folder)


def test_class_names_and_numbers_beyond_them(folder):
    (folder / "class_names.txt").write_text("_background_\n" + "\n".join(f"c{n}" for n in range(12)))
    assert voc.read(folder).classes[7] == "c7"
    (folder / "class_names.txt").write_text("_background_\na\n")
    with pytest.raises(
        FormatError, match="object 1 must be of one of 1 classes, got 8. Write class_names.txt"
    ):
        voc.read(folder)


def test_boxes_alone(folder):
    for kind in ("Object", "Class"):
        (folder / f"Segmentation{kind}/a b.png").unlink()
    (folder / "ImageSets/Segmentation/val.txt").unlink()
    (folder / "ImageSets/Segmentation/trainval.txt").unlink()
    (folder / "ImageSets/Segmentation").rmdir()
    found = voc.read(folder)
    assert found[0].instances.masks is None
    assert [found.classes[n] for n in found[0].instances.labels] == ["cat", "dog"]
    voc.write(found, folder / "out")
    assert voc.read(folder / "out")[0].instances == found[0].instances


def test_listed_pictures_without_masks_are_left_out(folder, caplog):
    (folder / "ImageSets/Segmentation/test.txt").write_text("b\n")
    with caplog.at_level(logging.WARNING, "delineate"):
        assert len(voc.read(folder)) == 1
    assert "1 pictures are not annotated" in caplog.text


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("Annotations/a b.xml", "<a/>", "root must be <annotation>, got <a>"),
        ("Annotations/a b.xml", XML.replace("<name>cat</name>", ""), "line 2: object must have a name"),
        (
            "Annotations/a b.xml",
            "<annotation><object><name>a</name></object></annotation>",
            "must have a bndbox",
        ),
        (
            "Annotations/a b.xml",
            XML.replace("5.5", "x"),
            "line 3: xmax must be a number of at most 1e9, got 'x'",
        ),
        ("Annotations/a b.xml", XML.replace("5.5", "nan"), "xmax must be a number"),
        ("Annotations/a b.xml", XML.replace("5.5", "1e99"), "xmax must be a number"),
        ("Annotations/a b.xml", XML.replace("<xmax>5.5</xmax>", ""), "xmax must be .* got none"),
        ("Annotations/a b.xml", XML.replace("5.5", "-3"), "bndbox must have xmin <= xmax"),
        ("Annotations/a b.xml", XML.replace("16", "0"), "line 1: size must be whole numbers of at least 1"),
        ("Annotations/a b.xml", XML.replace("16", "99999999"), "size must be smaller"),
        (
            "Annotations/a b.xml",
            "<!DOCTYPE x [<!ENTITY a 'b'>]><annotation>&a;</annotation>",
            "no document type",
        ),
        ("ImageSets/Segmentation/val.txt", "../../x\n", "line 1: name must lead to a file under"),
        ("class_names.txt", "\udcff", "list must be readable UTF-8"),
    ],
)
def test_bad_files_are_named(folder, name, text, message):
    (folder / name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(FormatError, match=message):
        voc.read(folder)


def test_maps_of_another_size_are_refused(folder):
    _voc_files.write_palette(folder / "SegmentationClass/a b.png", OBJECTS[:5])
    with pytest.raises(FormatError, match=r"SegmentationClass.*size must be that of the picture \(12, 16\)"):
        voc.read(folder)


def test_colours_of_cvats_label_map(folder):
    """CVAT writes colours instead of a palette, and says in labelmap.txt what they mean."""
    text = "# label:color_rgb:parts:actions\ncat:7,8,9::\nbackground:0,0,0::\ndog:1,2,3::\n"
    (folder / "labelmap.txt").write_text(text)
    Image.fromarray(_voc_files.palette()[OBJECTS % 255]).save(folder / "SegmentationObject/a b.png")
    colours = np.array([[0, 0, 0], [7, 8, 9], [1, 2, 3]], np.uint8)
    Image.fromarray(colours[OBJECTS % 255]).save(folder / "SegmentationClass/a b.png")
    found = voc.read(folder)
    assert found.classes == ("cat", "dog")
    assert found[0].instances.labels.tolist() == [0, 1]
    assert found[0].instances.masks.areas.tolist() == [12, 9]
    (folder / "labelmap.txt").write_text(text + "cow:1,2::\n")
    with pytest.raises(FormatError, match="labelmap.txt: line 5: must be name:red,green,blue"):
        voc.read(folder)


def dataset(folder, count=3, **changes):
    dense = np.zeros((count, *SIZE), bool)
    for n in range(count):
        dense[n, n % 8 : n % 8 + 4, n % 9 : n % 9 + 4] = True
    write_image(folder / "ü.png", np.zeros((*SIZE, 3), np.uint8))
    instances = Instances.of(Masks.from_dense(dense), np.arange(count) % 2, **changes)
    return Dataset([Record(folder / "ü.png", SIZE, instances, 1, split="train")], ["<x> & y", "z"])


def test_what_is_written_as_others_read_it(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "delineate"):
        voc.write(dataset(tmp_path, crowd=[False, False, True]), tmp_path / "out", pictures="copy")
    assert "1 objects lose pixels under later ones" in caplog.text
    objects, kinds = (Image.open(tmp_path / f"out/Segmentation{kind}/ü.png") for kind in ("Object", "Class"))
    assert objects.mode == kinds.mode == "P"
    assert np.bincount(np.asarray(objects).ravel(), minlength=256)[[1, 2, 255]].tolist() == [7, 16, 7]
    assert set(np.asarray(kinds)[np.asarray(objects) == 2].tolist()) == {2}
    assert objects.getpalette()[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
    tree = ET.parse(tmp_path / "out/Annotations/ü.xml").getroot()
    assert [node.text for node in tree.findall("object/name")] == ["<x> & y", "z"]
    assert [node.text for node in tree.find("object/bndbox")] == ["1", "1", "4", "4"]
    assert (tmp_path / "out/ImageSets/Segmentation/train.txt").read_text("utf-8") == "ü\n"
    assert (tmp_path / "out/class_names.txt").read_text() == "_background_\n<x> & y\nz\n"


def test_the_colours_are_vocs():
    """The first ones of the development kit's VOClabelcolormap, and void."""
    first = [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128], [0, 128, 128]]
    assert _voc_files.palette()[:7].tolist() == first
    assert _voc_files.palette()[[15, 20, 255]].tolist() == [[192, 128, 128], [0, 64, 128], [224, 224, 192]]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda folder: dataset(folder, count=255), "objects must be at most 254, got 255"),
        (lambda _: Dataset([], [f"c{n}" for n in range(255)]), "classes must be at most 254"),
        (lambda _: Dataset([], ["a\nb"]), "class must have a name of one line"),
        (lambda _: Dataset([], ["_background_"]), "class must have a name of one line"),
        (lambda f: Dataset([dataset(f)[0].replace(split="trainval")], ["a", "b"]), "split must be fit"),
    ],
)
def test_what_voc_cannot_hold_is_refused(tmp_path, made, message):
    with pytest.raises(FormatError, match=message):
        voc.write(made(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_real_picture(shared):
    folder = shared / "fixtures/formats/pascal_voc"
    found = voc.read(folder)
    [record] = found
    array = np.asarray(Image.open(folder / "SegmentationObject/2011_000003.png"))
    regions = [region for region in measure.regionprops(array) if region.label != 255]
    assert record.instances.masks.areas.tolist() == [int(region.area) for region in regions]
    assert sorted({found.classes[n] for n in record.instances.labels}) == ["bottle", "person"]
    assert record.path.is_file()


def test_a_tiny_tree_and_a_roboflow_export(shared, caplog):
    with caplog.at_level(logging.WARNING, "delineate"):
        found = voc.read(shared / "fixtures/formats/pascal_voc/datumaro_tiny")
    assert "1 pictures are not annotated" in caplog.text
    assert [(record.path.stem, record.split) for record in found] == [("2007_000001", "train")]
    boxes = voc.read(shared / "fixtures/formats/roboflow/tiny_voc")
    assert [(record.path.name, record.split) for record in boxes] == [
        ("train_001.jpg", "train"),
        ("train_002.jpg", "train"),
        ("val_001.jpg", "val"),
    ]
    assert boxes[0].instances.boxes.tolist() == [[1, 0, 5, 2]]
    assert boxes.classes == ("label_0", "label_1")
