import json
import logging
import math

import numpy as np
import pytest
from PIL import Image, ImageDraw

from delineate import codecs
from delineate.errors import FormatError
from delineate.formats import label_studio
from delineate.masks import Masks

SIZE = (40, 60)


def region(kind, value, labels=("cell",), **changes):
    made = {
        "id": "x1",
        "type": kind,
        "original_width": SIZE[1],
        "original_height": SIZE[0],
        "image_rotation": 0,
        "value": value | ({kind: list(labels)} if labels else {}),
    } | changes
    return {key: one for key, one in made.items() if one is not None}


def polygon(points=((10, 10), (50, 10), (50, 75)), **changes):
    return region("polygonlabels", {"points": [list(point) for point in points]}, **changes)


def task(*results, **changes):
    return {"id": 5, "data": {"image": "a.png"}, "annotations": [{"result": list(results)}]} | changes


@pytest.fixture
def read(tmp_path):
    def call(*tasks):
        (tmp_path / "a.json").write_text(json.dumps(tasks), "utf-8")
        return label_studio.read(tmp_path / "a.json")

    return call


def test_polygons_are_percent_of_the_picture(read):
    found = read(task(polygon()))
    expected = Masks.from_polygons([[[6, 4, 30, 4, 30, 30]]], SIZE)
    assert found[0].instances.masks == expected
    assert (found.classes, found[0].id, found[0].path.name) == (("cell",), 5, "a.png")
    assert found[0].instances.scores is None


def test_brushes_are_exact(read):
    shape = np.zeros((1, *SIZE), bool)
    shape[0, 3:9, 5:50:2] = True
    rle = codecs.to_label_studio(Masks.from_dense(shape))[0]
    found = read(task(region("brushlabels", {"format": "rle", "rle": rle}, ["a", "b"])))
    np.testing.assert_array_equal(found[0].instances.masks.to_dense(), shape)
    assert found.classes == ("a",), "the first label counts"


def drawn(draw):
    canvas = Image.new("1", SIZE[::-1])
    draw(ImageDraw.Draw(canvas))
    return np.asarray(canvas)


def iou(masks, reference):
    return masks.iou(Masks.from_dense(np.asarray(reference)[None]))[0, 0]


def test_rectangles_turn_about_their_corner(read):
    plain = region("rectanglelabels", {"x": 10, "y": 20, "width": 50, "height": 25})
    found = read(task(plain))[0].instances
    assert found.boxes.tolist() == [[6, 8, 36, 18]]
    turned = region("rectanglelabels", {"x": 50, "y": 10, "width": 20, "height": 40, "rotation": 90})
    found = read(task(turned))[0].instances
    assert found.boxes.tolist() == [[14, 4, 30, 16]], "12 x 16 pixels, clockwise about (30, 4)"


def test_ellipses(read):
    value = {"x": 50, "y": 50, "radiusX": 20, "radiusY": 15, "rotation": 30}
    found = read(task(region("ellipselabels", value)))[0].instances.masks
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    turn = math.radians(30)
    u = (x - 30) * math.cos(turn) + (y - 20) * math.sin(turn)
    v = -(x - 30) * math.sin(turn) + (y - 20) * math.cos(turn)
    assert iou(found, (u / 12) ** 2 + (v / 6) ** 2 <= 1) > 0.95


def test_labels_may_stand_apart(read):
    lone = region("polygon", {"points": [[0, 0], [50, 0], [0, 50]]}, labels=None)
    names = {"id": "x1", "type": "labels", "value": {"labels": ["rod"]}}
    assert read(task(lone, names)).classes == ("rod",)
    assert read(task(lone)).classes == ("object",)


def test_the_right_annotation_counts(read, caplog):
    first, second, third = ({"result": [polygon(labels=[name])]} for name in "abc")
    first["was_cancelled"] = True
    third["ground_truth"] = True
    with caplog.at_level(logging.WARNING):
        found = read(task(annotations=[first, second, third]))
    assert found.classes == ("c",)
    assert "2 annotations; the first one counts" in caplog.text


def test_predictions_have_scores(read):
    found = read(task(annotations=[], predictions=[{"result": [polygon(score=0.25), polygon(labels=["b"])]}]))
    assert found[0].instances.scores.tolist() == [0.25, 0]
    assert found.classes == ("cell", "b")


def test_what_has_no_area_is_counted(read, caplog):
    with caplog.at_level(logging.WARNING):
        found = read(task(polygon(), region("keypointlabels", {"x": 1, "y": 1}), polygon(image_rotation=90)))
    assert len(found[0].instances) == 1
    assert "1 results of kind keypoint" in caplog.text
    assert "turned by 90 degrees" in caplog.text


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a.png", "a.png"),
        ("/data/upload/1/0a1b2c3d-a.png", "a.png"),
        ("/data/upload/1/0a1b2c3d-a.png", "0a1b2c3d-a.png"),
        ("/data/local-files/?d=deep/a.png", "deep/a.png"),
        ("s3://bucket/folder/a.png", "images/a.png"),
        ("https://host/x/a.png?token=1", "a.png"),
    ],
)
def test_pictures_are_found(read, tmp_path, name, file):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    Image.new("L", SIZE[::-1]).save(tmp_path / file)
    found = read(task(data={"image": name}))
    assert found[0].path == tmp_path / file
    assert found[0].size == SIZE, "a task without results has the size of its picture"


def test_tasks_without_picture(read):
    found = read(task(polygon(), data={"text": "no file"}))
    assert found[0].path is None
    assert dict(found[0].attributes) == {"text": "no file"}


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (task(data=None), "task 5: data must be an object"),
        (task(annotations=3), "annotations must be a list"),
        (task(annotations=[{"result": {}}]), "result must be a list"),
        (task(), "one original_height and original_width, got 0"),
        (task(polygon(), polygon(original_width=9)), "got 2 of them"),
        (task(polygon(original_width=[])), "whole numbers of 1 to"),
        (task(polygon(original_width=0)), "whole numbers of 1 to"),
        (task(polygon(original_width=2**24, original_height=2**24)), "at most 4294967295"),
        (task(polygon() | {"value": 3}), "result x1: value must be an object"),
        (task(polygon(points=[(1, 1), (2, 2)])), "3 points or more"),
        (task(polygon(points=[(1, 1), (2, 2), (3,)])), "pairs of numbers"),
        (task(polygon(points=[(1, 1), (2, 2), (3, 1e300)])), "3 points or more"),
        (task(region("brushlabels", {"rle": [0, 0]})), "must be a brush"),
        (task(region("brushlabels", {})), "must be a brush"),
        (task(region("ellipselabels", {"x": "1"})), "x must be a number"),
        (task(polygon(), id=[]), "id must be an int or a str"),
    ],
)
def test_damage_is_named(read, item, message):
    with pytest.raises(FormatError, match=message):
        read(item)


def test_ids_must_differ(read):
    with pytest.raises(FormatError, match="unique ids, got 5 twice"):
        read(task(polygon()), task(polygon()))


def test_sniffing(tmp_path):
    right = '[{"data": {}, "predictions": []}]'
    for text in ("[]", "{", right, '[{"a": 1}]'):
        (tmp_path / "a.json").write_text(text)
        assert label_studio.sniff(tmp_path / "a.json") == (text == right)
