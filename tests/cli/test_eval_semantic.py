"""``delineate eval`` of class maps: mean IoU by hand, names instead of ids, and what does not fit."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from delineate.formats import coco_panoptic
from delineate.panoptic import Panoptic, PanopticDataset, PanopticRecord

TRUE = np.array([[0, 1, 1, 2], [0, 1, 255, 2]], np.uint8)


@pytest.fixture
def truth(tmp_path):
    for kind, array in (("images", np.zeros((2, 4, 3), np.uint8)), ("class_maps", TRUE)):
        (tmp_path / "truth" / kind).mkdir(parents=True)
        Image.fromarray(array).save(tmp_path / "truth" / kind / "a.png")
    (tmp_path / "truth" / "class_names.txt").write_text("background\nroad\nsky\n")
    return tmp_path / "truth"


def found(folder, map_=((0, 7, 7, 0), (9, 7, 9, 9)), classes=("sky", "road"), name="a.png", labels=(1, 0)):
    picture = Panoptic(map_, [7, 9], labels, [False, False], scores=[0.5, 0.5])
    record = PanopticRecord(folder / "elsewhere" / name, picture.size, picture, 31)
    data = PanopticDataset((record,), classes, (False,) * len(classes))
    coco_panoptic.write(data, folder / "found.json")
    return folder / "found.json"


def test_mean_iou(run, truth, tmp_path):
    """Background 1 of 3 pixels, road 3 of 3, sky 1 of 3; the pixel of void counts nowhere."""
    ended = run("eval", truth, found(tmp_path), "--json", tmp_path / "all.json")
    assert ended.code == 0, ended.err
    assert "mean IoU" in ended.out
    report = json.loads((tmp_path / "all.json").read_text())["semantic"]
    assert [row["iou"] for row in report["per_class"]] == pytest.approx([1 / 3, 1.0, 1 / 3])
    assert report["mean_iou"] == pytest.approx(5 / 9)
    assert report["accuracy"] == pytest.approx(5 / 7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("sky", "sea")}, "classes must be those of the truth .*got 'sea'"),
        ({"name": "b.png"}, "every picture of the truth, got none of a.png"),
        ({"map_": ((7, 9),)}, r"truth's \(H, W\) \(2, 4\)"),
    ],
)
def test_what_does_not_fit_is_named(run, truth, tmp_path, changes, message):
    ended = run("eval", truth, found(tmp_path, **changes))
    assert ended.code == 2
    assert re.search(message, ended.err)


def test_options_of_objects_do_not_apply(run, truth, tmp_path):
    assert "--matching" in run("eval", truth, found(tmp_path), "--matching").out
