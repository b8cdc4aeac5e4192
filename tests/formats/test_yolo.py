import json
import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as oracle

from delineate import algebra, formats
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import _yolo_text, coco, yolo
from delineate.image import write_image
from delineate.instances import Instances
from delineate.masks import Masks

# Of pycocotools itself.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZE = (20, 40)
SQUARE = "0.1 0.1 0.4 0.1 0.4 0.3 0.1 0.3"  # x 4 to 16, y 2 to 6


@pytest.fixture
def folder(tmp_path):
    """A data set with one picture; the tests change what it says."""
    for place in ("images/train", "labels/train"):
        (tmp_path / place).mkdir(parents=True)
    write_image(tmp_path / "images/train/ä.png", np.zeros((*SIZE, 3), np.uint8))
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: [cell, no]\n")
    return tmp_path


def labelled(folder, text):
    (folder / "labels/train/ä.txt").write_text(text)
    return folder


def filled(points, size):
    """A polygon as pycocotools fills it."""
    return oracle.frPyObjects([points.ravel().tolist()], *size)[0]


# Label files


def test_polygons_boxes_and_empty_lines(folder, caplog):
    with caplog.at_level(logging.WARNING, "delineate"):
        [record] = yolo.read(labelled(folder, f"1 {SQUARE}\n\n0 0.5 0.5 0.25 0.5\r\n"))
    assert record.instances.labels.tolist() == [1, 0]
    assert record.instances.boxes.tolist() == [[4, 2, 16, 6], [15, 5, 25, 15]]
    assert record.instances.masks.areas.tolist() == [48, 0]
    assert record.split == "train"
    assert record.path.name == "ä.png"
    assert record.instances.scores is None
    assert "1 of 2 objects are boxes" in caplog.text


def test_boxes_alone_have_no_masks(folder):
    [record] = yolo.read(labelled(folder, "0 0.5 0.5 0.25 0.5\n"))
    assert record.instances.masks is None


def test_predictions_carry_their_confidence(folder):
    [record] = yolo.read(labelled(folder, f"0 {SQUARE} 0.75\n1 0.5 0.5 0.25 0.5 0.5"))
    np.testing.assert_array_equal(record.instances.scores, np.float32([0.75, 0.5]))


def test_a_picture_without_a_label_file_is_empty(folder):
    [record] = yolo.read(folder)
    assert len(record.instances) == 0
    assert record.size == SIZE


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 a 0.5 0.5 0.5", "line 2: must hold numbers only, got 'a'"),
        ("0 0.5 0.5 0.5", "line 2: must be a class and a box .* got 4 numbers"),
        ("2 0.5 0.5 0.5 0.5", "line 2: class must be a whole number from 0 to 1, got 2"),
        ("-1 0.5 0.5 0.5 0.5", "class must be a whole number"),
        ("0.5 0.5 0.5 0.5 0.5", "class must be a whole number"),
        ("nan 0.5 0.5 0.5 0.5", "class must be a whole number"),
        ("0 320 20 60 40", "coordinates must be shares of width and height, 0 to 1, got 320"),
        ("0 0.5 nan 0.5 0.5", "coordinates must be shares .* got nan"),
        ("0 0.5 1e999 0.5 0.5", "coordinates must be shares .* got 1e999"),
        ("0 0.5 0.5 -0.5 0.5", "box must not have a negative extent"),
        ("0 0.5 0.5 0.5 0.5 1.5", "confidence must be from 0 to 1, got 1.5"),
        (f"0 {SQUARE} 0.5", "all objects of a data set must have a confidence, or none"),
        ("\x80", "byte .*: label file must be text"),
    ],
)
def test_bad_lines_are_named(folder, line, message):
    (folder / "labels/train/ä.txt").write_text(f"0 {SQUARE}\n{line}\n", "latin-1")
    with pytest.raises(FormatError, match=message):
        yolo.read(folder)


SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12))


@settings(max_examples=60)
@given(dense=arrays.arrays(np.uint8, SHAPES, elements=st.integers(0, 1)), scale=st.sampled_from([1, 7, 101]))
def test_one_ring_holds_all_parts_and_holes(dense, scale):
    """Parsed and filled by pycocotools as others would, every mask comes back, at any size of picture."""
    masks = Masks.from_dense(np.kron(dense, np.ones((1, scale, scale), np.uint8)))
    height, width = masks.size
    content, lost = _yolo_text.text(Instances.of(masks))
    there = masks[masks.areas > 0]
    assert lost == len(masks) - len(there)
    lines = content.decode().splitlines()
    assert len(lines) == len(there)
    for n, line in enumerate(lines):
        ring = np.array(line.split()[1:], float).reshape(-1, 2)
        assert 0 <= ring.min() <= ring.max() <= 1
        rle = filled(ring * (width, height), (height, width))
        np.testing.assert_array_equal(oracle.decode(rle), there[[n]].to_dense()[0])


# data.yaml and the places of pictures


@pytest.mark.parametrize(
    "text",
    [
        "path: /content/elsewhere\ntrain: images/train\nnames: {0: cell, 1: no}",
        "train: ../images/train\nval: ../valid/images\nnc: 2\nnames:\n- cell\n- no",
        "train: [images/train]\nnames:\n  1: no\n  0: cell\ndownload: |\n  print('x')\n",
        "\ufefftrain: images/train # ä\nnames: ['cell', \"no\"]",
        "path: ..\ntrain: images/train\nval:\nnames: [cell, no]",
    ],
)
def test_spellings_of_data_yaml(folder, text):
    (folder / "data.yaml").write_text(text, "utf-8")
    assert yolo.sniff(folder)
    found = yolo.read(folder / "data.yaml")
    assert found.classes == ("cell", "no")
    assert [(record.split, record.path.name) for record in found] == [("train", "ä.png")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'file must have the keys "train", "val" and "names"'),
        ("a: b", "file must have the keys"),
        ("train: images/train\nnames: [a, b\n", "line 3: must be YAML"),
        (
            "train: images/train\nnames: {0: a, 2: b}",
            "names: keys must be 0, 1, 2, ... without a gap, got no 1",
        ),
        ("train: images/train\nnames: {x: a}", "names: must be a whole number from 0 .* got 'x'"),
        ("train: images/train\nnames: [[a]]", "names: must be a list of names"),
        ("train: images/train\nnc: 3\nnames: [a, b]", "nc: must be the number of names 2, got 3"),
        ("train: images/train\nnc: 99999999999999999999", "nc: must be a whole number"),
        ("train: images/train\nnames: [a]\nnames: [b]", "line 3: key must come once, got 'names' again"),
        ("train: {a: b}\nnames: [a]", "train: must be a folder or a list file"),
        ("train: nowhere\nnames: [a]", "train: nowhere: pictures must lie under .* Mend the key path"),
        ("a: &a [x]\nb: *a\nnames: [a]", r"line 2: file must have no aliases \(\*name\)"),
        ("names: " + "[" * 5000, "line 1: YAML must be nested at most 20 deep"),
        ("names: !!python/object/apply:os.system [true]\ntrain: nowhere", "pictures must lie under"),
        ("a: \x00", "must be YAML"),
    ],
)
def test_a_bad_data_yaml_is_named(folder, text, message):
    (folder / "data.yaml").write_text(text)
    with pytest.raises(FormatError, match=message):
        yolo.read(folder)


def test_a_list_of_pictures(folder):
    (folder / "data.yaml").write_text("train: list.txt\nnames: [cell, no]")
    (folder / "list.txt").write_text("./images/train/ä.png\n\nimages\\train\\ä.png\n")
    assert len(yolo.read(labelled(folder, f"0 {SQUARE}"))) == 1
    (folder / "list.txt").write_text("\nimages/train/b.png\n")
    with pytest.raises(FormatError, match=r"list.txt: line 2: picture must exist, got 'images/train/b.png'"):
        yolo.read(folder)


def test_classes_txt_without_data_yaml(folder):
    (folder / "data.yaml").unlink()
    assert not yolo.sniff(folder)
    (folder / "classes.txt").write_text("cell\nno\n\n")
    assert yolo.sniff(folder)
    [record] = yolo.read(labelled(folder, f"1 {SQUARE}"))
    assert record.instances.labels.tolist() == [1]


def test_the_last_folder_images_becomes_labels(tmp_path):
    from delineate.formats._yolo_yaml import label_file

    assert label_file(tmp_path / "images/a/images/b.c.jpg") == tmp_path / "images/a/labels/b.c.txt"
    assert label_file(tmp_path / "a.jpg") == tmp_path / "a.txt"


# Writing


def dataset(folder, masks=None):
    path = folder / "pictures" / "a.b.png"
    path.parent.mkdir(exist_ok=True)
    write_image(path, np.full((*SIZE, 3), 9, np.uint8))
    dense = np.zeros((3, *SIZE), bool)
    dense[0, 2:9, 2:9] = True
    dense[0, 4:6, 4:6] = False
    dense[1, 12:15, 20:30] = True
    instances = Instances.of(Masks.from_dense(dense), [1, 0, 0], crowd=[False, True, False], ids=[7, 8, 9])
    return Dataset([Record(path, SIZE, instances, "p", split="test")], ["cell", "no"])


def test_the_text_alone_is_what_others_see(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "delineate"):
        yolo.write(dataset(tmp_path), tmp_path / "out", side_file=False)
    assert "hold 2 objects not at all" in caplog.text
    assert 'no split "val"' in caplog.text
    assert not (tmp_path / "out" / yolo.SIDE_FILE).exists()
    [record] = yolo.read(tmp_path / "out")
    assert record.split == "test"
    assert record.instances.masks == dataset(tmp_path)[0].instances.masks[[0]]


def test_an_edited_label_file_counts(tmp_path, caplog):
    yolo.write(dataset(tmp_path), tmp_path / "out")
    assert yolo.read(tmp_path / "out")[0].instances.ids.tolist() == [7, 8, 9]
    (tmp_path / "out/labels/test/a.b.txt").write_text(f"0 {SQUARE}")
    with caplog.at_level(logging.WARNING, "delineate"):
        [record] = yolo.read(tmp_path / "out")
    assert "1 label files were edited since" in caplog.text
    assert record.instances.masks.areas.tolist() == [48]
    assert record.id == 1


def test_pictures_that_came_and_went(tmp_path, caplog):
    yolo.write(dataset(tmp_path), tmp_path / "out", pictures="copy")
    write_image(tmp_path / "out/images/test/new.png", np.zeros((4, 4, 3), np.uint8))
    assert [record.id for record in yolo.read(tmp_path / "out")] == ["p", 1]
    (tmp_path / "out/images/test/a.b.png").unlink()
    (tmp_path / "out/labels/test/a.b.txt").unlink()
    with caplog.at_level(logging.WARNING, "delineate"):
        assert [record.path.name for record in yolo.read(tmp_path / "out")] == ["new.png"]
    assert "1 pictures are no longer in the data set" in caplog.text


def test_other_classes_make_the_side_file_void(tmp_path, caplog):
    yolo.write(dataset(tmp_path), tmp_path / "out")
    (tmp_path / "out/data.yaml").write_text("test: images/test\nnames: [x, y]")
    with caplog.at_level(logging.WARNING, "delineate"):
        found = yolo.read(tmp_path / "out")
    assert found.classes == ("x", "y")
    assert "has other classes" in caplog.text


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        (None, '"delineate" must say labels and sha256'),
        ({"labels": 1}, "Expected `str`, got `int`"),
        ({"labels": "../../x.txt", "sha256": ""}, "name must lead to a file under out"),
    ],
)
def test_a_bad_side_file_is_refused_with_a_remedy(tmp_path, mark, message):
    yolo.write(dataset(tmp_path), tmp_path / "out")
    path = tmp_path / "out" / yolo.SIDE_FILE
    content = json.loads(path.read_text())
    content["images"][0]["delineate"] = mark
    path.write_text(json.dumps(content))
    with pytest.raises(FormatError, match=message):
        yolo.read(tmp_path / "out")
    path.write_text("{")
    with pytest.raises(FormatError, match="Delete this file to read the label files alone"):
        yolo.read(tmp_path / "out")


@pytest.mark.parametrize("split", ["../x", "a/b", "names", "images", " ", "a\nb"])
def test_splits_that_cannot_name_a_folder(tmp_path, split):
    [record] = dataset(tmp_path)
    with pytest.raises(FormatError, match="split must be fit for a folder's name"):
        yolo.write(Dataset([record.replace(split=split)], ["cell", "no"]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_odd_splits_and_pictures_of_one_name(tmp_path):
    [record] = dataset(tmp_path)
    more = [record.replace(id=n, split=split) for n, split in enumerate(["fold 1", None, "fold 1", "val"])]
    yolo.write(Dataset(more, ["cell", "no"]), tmp_path / "out", side_file=False)
    found = yolo.read(tmp_path / "out")
    places = [str(one.path.relative_to(tmp_path / "out/images")) for one in found]
    assert places == ["fold 1/a.b.png", "fold 1/a.b_2.png", "train/a.b.png", "val/a.b.png"]
    assert [one.split for one in found] == ["fold 1", "fold 1", "train", "val"]


def test_left_pictures_stay_where_they_are(tmp_path):
    yolo.write(dataset(tmp_path), tmp_path / "out", pictures="leave")
    assert yolo.read(tmp_path / "out")[0].path == tmp_path / "pictures/a.b.png"


# Real files


def test_coco128_equals_its_coco_polygons(shared):
    """The COCO files beside these labels were converted by somebody else."""
    folder = shared / "data" / "coco128_seg"
    found = yolo.read(folder)
    assert sum(len(record.instances) for record in found) == 929
    for split, count in (("train", 96), ("val", 32)):
        truth = coco.read(folder / f"{split}.json", folder / "images")
        assert sum(record.split == split for record in found) == len(truth) == count
        others = {record.path.name: record.instances for record in truth}
        for record in found:
            if record.split == split and len(record.instances):
                ours, theirs = record.instances, others[record.path.name]
                names = [truth.classes[n] for n in theirs.labels]
                assert [found.classes[n] for n in ours.labels] == names
                # The JSON has two decimals of a pixel: a border pixel in fifty may differ.
                assert (algebra.xor(ours.masks, theirs.masks).areas <= 2 + theirs.masks.areas / 50).all()
    empty = [record.path.stem for record in found if not len(record.instances)]
    assert sorted(empty) == ["000000000250", "000000000508"]


def test_a_roboflow_export(shared, caplog):
    folder = shared / "fixtures/formats/roboflow/yolov8_seg"
    assert formats.detect(folder) == "yolo"
    with caplog.at_level(logging.WARNING, "delineate"):
        found = yolo.read(folder)
    assert "what is missing is left out" in caplog.text
    assert len(found) == 6
    assert found.classes[2] == "cotton"
    for record in found:
        lines = (record.path.parents[1] / "labels" / f"{record.path.stem}.txt").read_text().splitlines()
        assert len(record.instances) == len(lines)
        for n, line in enumerate(lines):  # the way of pycocotools
            points = np.array(line.split()[1:], float).reshape(-1, 2) * record.size[::-1]
            assert oracle.area(filled(points, record.size)) == record.instances.masks.areas[n]


def test_fixtures_of_boxes_and_of_one_folder_for_two_splits(shared, caplog):
    boxes = yolo.read(shared / "fixtures/formats/roboflow/tiny_yolo")
    assert [record.instances.boxes.tolist() for record in boxes] == [[[2, 1, 5, 2]], [[0, 0, 2, 4]]]
    with caplog.at_level(logging.WARNING, "delineate"):
        found = yolo.read(shared / "fixtures/formats/yolo_seg")
    assert "4 pictures are listed again in another split" in caplog.text
    assert [len(record.instances) > 0 for record in found] == [True, True, True, False]


def test_real_masks_survive_the_text(shared, tmp_path):
    given = coco.read(shared / "data/coco_street/val.json")
    yolo.write(given, tmp_path / "out", side_file=False)
    back = {record.path.name: record.instances for record in yolo.read(tmp_path / "out")}
    for record in given:
        true = record.instances
        kept = true[
            (true.masks.areas > 0) & ~(true.crowd if true.crowd is not None else np.zeros(len(true), bool))
        ]
        assert back[record.path.name].masks == kept.masks


def test_a_conversion_keeps_what_even_the_side_file_cannot(tmp_path):
    """The side file of conversions lies in the same folder."""
    from delineate.curate import convert

    [record] = dataset(tmp_path)
    grouped = record.instances.replace(extras={"group": [1, 1, -1]})
    coco.write(Dataset([record.replace(instances=grouped)], ["cell", "no"]), tmp_path / "a.json")
    convert.convert(tmp_path / "a.json", tmp_path / "out", "yolo", allow_loss=True)
    [back] = yolo.read(tmp_path / "out")
    assert back.instances.masks == record.instances.masks
