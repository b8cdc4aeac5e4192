"""Supervisely's projects: files made by hand, and bitmaps as its own library packs them."""

import base64
import io
import json
import logging
import zlib

import numpy as np
import pytest
from PIL import Image

from delineate import formats
from delineate.errors import FormatError
from delineate.formats import supervisely
from delineate.image import write_image
from delineate.instances import Instances
from delineate.masks import Masks

SIZE = (8, 10)
SHAPE = np.array([[1, 0, 1], [1, 1, 1]], bool)


def packed(picture, **options):
    file = io.BytesIO()
    picture.save(file, "PNG", **options)
    return base64.b64encode(zlib.compress(file.getvalue())).decode()


def palette():
    """As Supervisely's library packs: two colours, the first of them transparent."""
    picture = Image.fromarray(SHAPE.astype(np.uint8))
    picture.putpalette([0, 0, 0, 255, 255, 255])
    return packed(picture, transparency=0, optimize=0)


def rgba():
    pixels = np.full((*SHAPE.shape, 4), 255, np.uint8)
    pixels[..., 3] = SHAPE * 255
    return packed(Image.fromarray(pixels))


def bitmap(data, origin=(4, 3), **more):
    return {"classTitle": "cell", "geometryType": "bitmap", "bitmap": {"data": data, "origin": origin}} | more


def polygon(exterior, *interior, kind="polygon", title="rod"):
    points = {"exterior": exterior, "interior": list(interior)}
    return {"classTitle": title, "geometryType": kind, "points": points}


def project(folder, *objects, classes=("cell", "rod"), size=SIZE, place="ds0"):
    (folder / place / "ann").mkdir(parents=True, exist_ok=True)
    (folder / place / "img").mkdir(exist_ok=True)
    write_image(folder / place / "img" / "a.jpg", np.zeros((*SIZE, 3), np.uint8))
    (folder / "meta.json").write_text(
        json.dumps({"classes": [{"title": name} for name in classes], "tags": []})
    )
    content = {"size": {"height": size[0], "width": size[1]}, "tags": [], "objects": objects}
    (folder / place / "ann" / "a.jpg.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("pack", [palette, rgba, lambda: packed(Image.fromarray(SHAPE))])
def test_bitmaps_lie_at_their_origin(tmp_path, pack):
    [record] = formats.read(project(tmp_path, bitmap(pack(), id=7, tags=[{"name": "sure", "value": 2}])))
    dense = np.zeros(SIZE, bool)
    dense[3:5, 4:7] = SHAPE
    assert record.instances.masks == Masks.from_dense(dense[None])
    assert record.instances.extras["annotation_id"].tolist() == [7]
    assert json.loads(record.instances.extras["attributes"][0]) == {"sure": 2}
    assert (record.path, record.split) == (tmp_path / "ds0/img/a.jpg", None)


def test_bitmaps_are_cut_at_the_border(tmp_path):
    [record] = supervisely.read(project(tmp_path, bitmap(palette(), (9, 7)), bitmap(palette(), (-2, -1))))
    dense = np.zeros((2, *SIZE), bool)
    dense[0, 7, 9] = dense[1, 0, 0] = True
    assert record.instances.masks == Masks.from_dense(dense)


def test_polygons_have_holes_and_rectangles_two_corners(tmp_path, caplog):
    hole = [[3, 3], [5, 3], [5, 5], [3, 5]]
    outer = [[1, 1], [7, 1], [7, 7], [1, 7]]
    line = {
        "classTitle": "rod",
        "geometryType": "line",
        "points": {"exterior": [[0, 0], [4, 4]], "interior": []},
    }
    with caplog.at_level(logging.WARNING, "delineate"):
        [record] = supervisely.read(
            project(
                tmp_path, polygon(outer, hole), line, polygon([[8, 6], [2, 4]], kind="rectangle"), place="val"
            )
        )
    dense = np.zeros((2, *SIZE), bool)
    dense[0, 1:7, 1:7] = dense[1, 4:6, 2:8] = True
    dense[0, 3:5, 3:5] = False
    assert record.instances.masks == Masks.from_dense(dense)
    assert record.instances.labels.tolist() == [1, 1]
    assert record.split == "val"
    assert "1 objects are a line, which has no area" in caplog.text


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (bitmap("!!"), r"objects\[0\]: data must be base64 of a PNG that zlib compressed"),
        (bitmap(base64.b64encode(b"abc").decode()), "zlib compressed, got: "),
        (
            bitmap(base64.b64encode(zlib.compress(b"abc")).decode()),
            r"objects\[0\]: file must be a whole picture",
        ),
        (bitmap(base64.b64encode(zlib.compress(bytes(10**7))).decode()), "not larger than the picture"),
        (bitmap(packed(Image.new("1", (9, 9)))), r"bitmap must not be larger than the picture \(8, 10\)"),
        (bitmap(palette(), (10**9, 0)), "origin must be within 1e\\+07 pixels"),
        ({"classTitle": "cell", "geometryType": "bitmap"}, "bitmap must be there, got none"),
        (polygon([[0, 0], [4, 4]]), "polygon must have 3 points or more, got 2"),
        (polygon([[0, 0], [4, 4], [1e9, 0]]), "points must be within 1e\\+07 pixels"),
        (polygon([[0, 0]], kind="rectangle"), "rectangle must have 2 points, got 1"),
        (
            polygon([[0, 0], [4, 4], [4, 0]], title="dog"),
            "classTitle must be a class of meta.json, got 'dog'",
        ),
        ({"classTitle": "cell", "geometryType": "polygon"}, r"objects\[0\].points: Expected `object`"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, entry, message):
    with pytest.raises(FormatError, match=message):
        supervisely.read(project(tmp_path, entry))


def test_sizes_are_checked(tmp_path):
    with pytest.raises(
        FormatError, match="size: height and width must be whole numbers of 1 to 16777216, got 0"
    ):
        supervisely.read(project(tmp_path, size=(0, 5)))
    with pytest.raises(FormatError, match="height . width must be at most"):
        supervisely.read(project(tmp_path, size=(2**24, 2**24)))


def test_boxes_and_empty_objects(tmp_path, caplog):
    dataset = supervisely.read(
        project(tmp_path / "in", polygon([[8, 6], [2, 4]], kind="rectangle"), bitmap(palette()))
    )
    [record] = dataset
    boxes = record.replace(instances=record.instances.replace(masks=None))
    supervisely.write(dataset.with_records([boxes]), tmp_path / "boxes")
    assert supervisely.read(tmp_path / "boxes")[0].instances.boxes.tolist() == boxes.instances.boxes.tolist()
    empty = Instances.of(Masks.from_counts([80], [0, 1], SIZE))
    with caplog.at_level(logging.WARNING, "delineate"):
        supervisely.write(dataset.with_records([record.replace(instances=empty)]), tmp_path / "empty")
    assert "1 objects have no pixels" in caplog.text
    assert len(supervisely.read(tmp_path / "empty")[0].instances) == 0
    twice = type(dataset)(dataset.records, ["a", "a"])
    with pytest.raises(FormatError, match="classes must have different names"):
        supervisely.write(twice, tmp_path / "twice")


def test_tags_are_attributes(tmp_path):
    tags = [{"name": "sure", "value": 0.5}, {"name": "who", "value": "ä"}, {"name": "plain"}]
    dataset = supervisely.read(project(tmp_path / "in", bitmap(palette(), tags=tags)))
    supervisely.write(dataset, tmp_path / "out")
    said = json.loads((tmp_path / "out/ds0/ann/a.jpg.json").read_text("utf-8"))["objects"][0]["tags"]
    assert said == tags[:2]
    meta = json.loads((tmp_path / "out/meta.json").read_text("utf-8"))
    assert [(tag["name"], tag["value_type"]) for tag in meta["tags"]] == [
        ("sure", "any_number"),
        ("who", "any_string"),
    ]
