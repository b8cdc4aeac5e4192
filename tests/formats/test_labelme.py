import base64
import io
import json
import logging
import math

import numpy as np
import pytest
from PIL import Image
from skimage.draw import polygon2mask

from delineate import formats
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import labelme
from delineate.image import write_image
from delineate.instances import Instances
from delineate.masks import Masks

SIZE = (40, 60)
SQUARE = [[2, 1], [7, 1], [7, 5], [2, 5]]


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def shape(kind="polygon", points=SQUARE, label="cell", **more):
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}} | more


def content(entries, **changes):
    made = {"version": "5.5.0", "flags": {}, "imagePath": "a.png", "imageData": None, "shapes": list(entries)}
    return made | {"imageHeight": SIZE[0], "imageWidth": SIZE[1]} | changes


@pytest.fixture
def read(tmp_path):
    def read(*entries, **changes):
        (tmp_path / "a.json").write_text(json.dumps(content(entries, **changes)))
        return labelme.read(tmp_path / "a.json")[0]

    return read


def dense(record, n=0):
    return record.instances.masks.to_dense()[n]


# Shapes


def test_rectangles_in_any_order_of_corners(read):
    record = read(shape("rectangle", [[10, 8], [2, 3]]), shape("rectangle", [[2.5, 3.5], [10, 8]]))
    assert record.instances.masks.areas[0] == 8 * 5
    assert record.instances.boxes.tolist() == [[2, 3, 10, 8], [2.5, 3.5, 10, 8]]


def test_circles_cover_the_pixels_whose_centres_are_inside(read):
    centre, edge = (30.3, 19.6), (41.7, 22.2)
    radius = math.dist(centre, edge)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    distance = np.hypot(x - centre[0], y - centre[1])
    found = dense(read(shape("circle", [centre, edge])))
    sure = np.abs(distance - radius) > 0.5
    np.testing.assert_array_equal(found[sure], (distance < radius)[sure])
    assert abs(found.sum() - math.pi * radius**2) < 0.02 * math.pi * radius**2


def test_masks_lie_between_their_first_and_last_pixel(read):
    pixels = np.array([[1, 0, 1], [0, 1, 1]], np.uint8)
    record = read(shape("mask", [[4.4, 6.0], [6.4, 7.0]], mask=png(pixels * 255)))
    expected = np.zeros(SIZE, bool)
    expected[6:8, 4:7] = pixels
    np.testing.assert_array_equal(dense(record), expected)


def test_a_mask_that_reaches_over_the_border_is_cut(read):
    record = read(shape("mask", [[-1, -1], [1, 0]], mask=png(np.ones((2, 3)))))
    assert record.instances.boxes.tolist() == [[0, 0, 2, 1]]


def test_turned_rectangles_are_their_corners(read):
    points = [[10, 5], [20, 10], [15, 20], [5, 15]]
    assert read(shape("rotation", points)).instances.masks == read(shape("polygon", points)).instances.masks


def test_shapes_of_one_label_and_group_are_one_object(read):
    parts = [shape(points=(np.array(SQUARE) + d).tolist(), group_id=g) for d, g in ((0, 0), (10, 3), (20, 0))]
    record = read(*parts, shape(label="other", group_id=0))
    assert record.instances.masks.areas.tolist() == [40, 20, 20]
    assert record.instances.labels.tolist() == [0, 0, 1]
    assert record.instances.extras["group"].tolist() == [0, -1, 0]


def test_what_has_no_area_is_left_out_with_a_notice(read, caplog):
    lines = [shape(kind, [[1, 1], [2, 2]]) for kind in ("line", "linestrip", "point", "points")]
    with caplog.at_level(logging.WARNING, "delineate"):
        record = read(*lines, shape(label="__ignore__"), shape())
    assert len(record.instances) == 1
    assert "4 points and lines have no area" in caplog.text
    assert '1 shapes are labelled "__ignore__"' in caplog.text


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (shape("blob"), r"shapes\[1\]: shape_type must be one of polygon.* got 'blob'"),
        (shape(points=[[1, 1], [2, 2]]), r"shapes\[1\]: polygon must have 3 points or more, got 2"),
        (shape("circle"), "circle must have 2 points, got 4"),
        (shape(points=[[1, 1, 1]]), r"shapes\[1\].points\[0\]: Expected `array` of length 2"),
        (shape(points=[[1, 1e30]] * 3), "points must be within 1e[+]07 pixels"),
        (shape(label=3), r"shapes\[1\].label: Expected `str`, got `int`"),
        ({"points": SQUARE}, r"shapes\[1\]: label must be the name of a class, got none"),
        (shape(group_id="a"), r"shapes\[1\].group_id: Expected `int"),
        (shape(group_id=10**30), "group_id must fit 64 bits|group_id: Expected"),
        (shape("mask", [[1, 1], [3, 3]]), "mask must be a picture in base64, got none"),
        (shape("mask", [[1, 1], [3, 3]], mask="%%%"), "mask must be a picture of .* in base64"),
        (shape("mask", [[1, 1], [3, 3]], mask="AAAA"), "mask: file must be a whole picture"),
        (
            shape("mask", [[1, 1], [3, 3]], mask=png(np.ones((2, 2)))),
            r"mask must be a picture of \(3, 3\) pixels",
        ),
        (shape("mask", [[3, 3], [1, 1]], mask=png(np.ones((3, 3)))), "its first and its last pixel"),
    ],
)
def test_bad_shapes_are_named(read, bad, message):
    with pytest.raises(FormatError, match=message):
        read(shape(), bad)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"imageHeight": 0}, "height and width must be whole numbers of 1 to"),
        ({"imageWidth": 2**40}, "imageHeight, imageWidth: height and width must be whole"),
        ({"imageWidth": None}, "must be whole numbers of 1 to .* got 40 and None"),
        ({"imageHeight": 2**20, "imageWidth": 2**20}, "height . width must be at most"),
        ({"imageHeight": "40"}, "imageHeight: Expected `int"),
        ({"shapes": {}}, "shapes: Expected `array`"),
        ({"imagePath": 5}, "imagePath: Expected `str"),
        ({"imagePath": "a\0b"}, "got one with a NUL"),
        ({"imageHeight": None, "imageWidth": None}, "a.png: picture must be a readable file"),
        (
            {"imageHeight": None, "imageWidth": None, "imageData": "AAAA"},
            "imageData: file must be a whole picture",
        ),
        (
            {"imageHeight": None, "imageWidth": None, "imageData": "%"},
            "imageData: must be a picture in base64",
        ),
    ],
)
def test_bad_files_are_named(read, changes, message):
    with pytest.raises(FormatError, match=message):
        read(**changes)


def test_the_size_may_come_from_the_picture_inside(read):
    record = read(shape(), imageData=png(np.zeros((9, 11))), imageHeight=None, imageWidth=None)
    assert record.size == (9, 11)


# Keys


def test_further_keys_are_carried(read):
    record = read(
        shape(description="torn", flags={"difficult": True}, z=[1]), flags={"night": True}, weather="sun"
    )
    assert json.loads(record.instances.extras["attributes"][0]) == {
        "description": "torn",
        "flags": {"difficult": True},
        "z": [1],
    }
    assert dict(record.attributes) == {"flags": {"night": True}, "weather": "sun"}


def test_keys_that_only_some_objects_have_stay_attributes(read):
    record = read(shape(score=0.5, area=3), shape(score=None, area="large"))
    assert record.instances.scores is None
    assert [json.loads(one) for one in record.instances.extras["attributes"]] == [
        {"score": 0.5, "area": 3},
        {"score": None, "area": "large"},
    ]
    assert read(shape(score=0.5)).instances.scores.tolist() == [0.5]


# Folders


def test_a_folder_with_splits_and_labels(tmp_path, caplog):
    for place, label in (("a.json", "zebra"), ("val/b.json", "cell")):
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content([shape(label=label)], imagePath="..\\pics\\a.png")))
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\nwhale\nzebra")
    (tmp_path / "other.json").write_text("{}")
    assert formats.detect(tmp_path) == "labelme"
    with caplog.at_level(logging.WARNING, "delineate"):
        found = labelme.read(tmp_path)
    assert '1 JSON files have no "shapes"' in caplog.text
    assert found.classes == ("whale", "zebra", "cell")
    assert [(r.id, r.split, r.instances.labels.tolist()) for r in found] == [(1, None, [1]), (2, "val", [2])]
    assert found[1].path == tmp_path / "pics" / "a.png"
    with pytest.raises(FormatError, match='must have the key "shapes"'):
        labelme.read(tmp_path / "other.json")


def ring_and_parts(folder):
    pixels = np.zeros((3, *SIZE), bool)
    pixels[0, 2:9, 2:9] = True
    pixels[0, 4:6, 4:6] = False
    pixels[1, 12:15, 3:6] = pixels[1, 18:22, 5:9] = True
    pixels[2, 30:35, 30:50] = True
    write_image(folder / "a.png", np.zeros((*SIZE, 3), np.uint8))
    instances = Instances.of(Masks.from_dense(pixels), [0, 1, 1])
    return pixels, Dataset([Record(folder / "a.png", SIZE, instances, 9)], ["x", "y"])


def test_what_is_written_reads_as_the_specification_says(tmp_path):
    """Polygons by scikit-image, masks pasted inclusive of their last pixel, groups united."""
    pixels, dataset = ring_and_parts(tmp_path)
    labelme.write(dataset, tmp_path / "out")
    written = json.loads((tmp_path / "out/a.json").read_text())
    assert written["imagePath"] == "a.png"
    assert (tmp_path / "out/a.png").is_file()
    assert [(s["label"], s["shape_type"], s["group_id"]) for s in written["shapes"]] == [
        ("x", "mask", None),
        ("y", "polygon", 1),
        ("y", "polygon", 1),
        ("y", "polygon", None),
    ]
    drawn = np.zeros((4, *SIZE), bool)
    for n, one in enumerate(written["shapes"]):
        if one["shape_type"] == "mask":
            (x0, y0), (x1, y1) = np.array(one["points"], int)
            bits = np.array(Image.open(io.BytesIO(base64.b64decode(one["mask"])))).astype(bool)
            drawn[n, y0 : y1 + 1, x0 : x1 + 1] = bits
        else:  # its polygons go through the centres of pixels
            drawn[n] = polygon2mask(SIZE, np.array(one["points"])[:, ::-1] - 0.5)
    np.testing.assert_array_equal(np.stack([drawn[0], drawn[1] | drawn[2], drawn[3]]), pixels)
    assert (tmp_path / "out/labels.txt").read_text().split() == ["__ignore__", "_background_", "x", "y"]


def test_boxes_alone_are_rectangles(tmp_path):
    record = Record(None, SIZE, Instances(SIZE, [[1.5, 2, 8, 9]], [0], [0.25]), 1)
    labelme.write(Dataset([record], ["x"]), tmp_path / "out", pictures="leave")
    [back] = labelme.read(tmp_path / "out")
    assert back.instances.boxes.tolist() == [[1.5, 2, 8, 9]]
    assert back.instances.scores.tolist() == [0.25]
    assert back.path is None


@pytest.mark.parametrize("name", ["", "a\nb", "__ignore__", "_background_"])
def test_classes_that_labels_txt_cannot_say(tmp_path, name):
    with pytest.raises(FormatError, match="class must have a name of one line"):
        labelme.write(Dataset([], [name]), tmp_path / "out")


# Real files


def test_every_kind_of_shape(shared, caplog):
    folder = shared / "fixtures/formats/labelme/primitives"
    with caplog.at_level(logging.WARNING, "delineate"):
        found = labelme.read(folder)
    assert "3 points and lines have no area" in caplog.text
    [record] = found
    shapes = json.loads((folder / "primitives.json").read_text())["shapes"]
    kept = [one for one in shapes if one["shape_type"] not in ("line", "point", "linestrip")]
    assert [found.classes[n] for n in record.instances.labels] == [one["label"] for one in kept]
    assert record.instances.masks.areas[0] == 100 * 100
    bits = np.array(Image.open(io.BytesIO(base64.b64decode(kept[-1]["mask"])))).astype(bool)
    np.testing.assert_array_equal(dense(record, 4)[305:405, 417:517], bits)
    assert record.path.is_file()


def test_a_person_in_two_parts(shared, tmp_path):
    found = labelme.read(shared / "fixtures/formats/labelme/voc/2011_000003.json")
    [record] = found
    assert [found.classes[n] for n in record.instances.labels] == ["person", "person", "bottle"]
    # The same picture as LabelMe's own export to VOC has it, whose polygons include their border.
    theirs = np.array(Image.open(shared / "fixtures/formats/pascal_voc/SegmentationObject/2011_000003.png"))
    ours = record.instances.masks.to_dense()
    for mask in ours:
        other = np.bincount(theirs[mask & (theirs < 255)]).argmax()
        both = mask & (theirs == other)
        assert other > 0
        assert both.sum() / (mask | (theirs == other)).sum() > 0.85
    labelme.write(found, tmp_path / "out")
    [back] = labelme.read(tmp_path / "out")
    assert back.instances.masks == record.instances.masks


def test_two_frames(shared):
    found = labelme.read(shared / "fixtures/formats/labelme/video")
    assert [len(record.instances) for record in found] == [3, 3]
    assert found.classes == ("car", "track")
