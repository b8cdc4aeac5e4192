import json

import numpy as np
import pytest
from pycocotools import mask as pycocotools_mask

from delineate import formats
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import scalabel
from delineate.instances import Instances
from delineate.masks import Masks

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # of pycocotools
RING = [[2, 2], [12, 2], [12, 10], [2, 10]]


@pytest.fixture
def read(tmp_path):
    def read(*labels, **frame):
        entry = {"name": "a.jpg", "size": {"width": 20, "height": 15}, "labels": list(labels)} | frame
        (tmp_path / "a.json").write_text(json.dumps([entry]))
        return scalabel.read(tmp_path / "a.json")

    return read


def poly(types="LLLL", closed=True, vertices=RING):
    return {"category": "car", "poly2d": [{"vertices": vertices, "types": types, "closed": closed}]}


def test_a_real_file_agrees_with_pycocotools(shared):
    path = shared / "fixtures" / "formats" / "scalabel" / "scalabel_ins_seg.json"
    assert formats.detect(path) == "scalabel"
    [record] = scalabel.read(path)
    [entry] = json.loads(path.read_text())
    for n, one in enumerate(entry["labels"]):
        decoded = pycocotools_mask.decode(one["rle"])
        np.testing.assert_array_equal(record.instances.masks[[n]].to_dense()[0], decoded)
        [drawn] = Masks.from_polygons([[np.array(one["poly2d"][0]["vertices"])]], (720, 1280)).to_dense()
        assert (drawn & decoded).sum() > 0.9 * (drawn | (decoded > 0)).sum()
    assert record.instances.boxes[0].tolist() == [818, 402, 874, 429]


def test_curves_are_cubic(read):
    """A side that bows out by three quarters of its control points' distance."""
    vertices = [[2, 10], [2, 2], [12, 2], [12, 10]]
    curved = read(poly("LCCL", vertices=vertices))[0].instances.masks
    assert curved.boxes[0].tolist() == [2, 4, 12, 10], "10 - 0.75 * 8"
    assert abs(curved.areas[0] - 48) <= 4, "0.6 of the box of the control points"


def test_open_lines_have_no_area(read):
    assert read(poly(closed=False))[0].instances.masks.areas.tolist() == [0]


def test_videos_have_tracks(read, tmp_path):
    found = read(poly() | {"id": "16"}, poly() | {"id": 18}, videoName="v", frameIndex=4)
    assert (found[0].video, found[0].frame) == ("v", 4)
    assert found[0].instances.ids.tolist() == [16, 18]
    scalabel.write(found, tmp_path / "b.json")
    back = scalabel.read(tmp_path / "b.json")
    assert (back[0].video, back[0].frame, back[0].instances.ids.tolist()) == ("v", 4, [16, 18])


def test_crowds_and_boxes_come_back(tmp_path):
    found = Instances((6, 7), [[1, 2, 3.5, 4], [0, 0, 2, 2]], [0, 0], crowd=[True, False])
    scalabel.write(Dataset([Record(None, (6, 7), found, 1)], ["a", "b"]), tmp_path / "a.json")
    back = scalabel.read(tmp_path / "a.json")
    assert back.classes == ("a", "b")
    assert back[0].instances.masks is None
    assert back[0].instances.crowd.tolist() == [True, False]
    assert back[0].instances.boxes.tolist() == [[1, 2, 3.5, 4], [0, 0, 2, 2]]


def test_labels_without_shapes_are_counted(read, caplog):
    assert len(read({"category": "rain"})[0].instances) == 0
    assert "1 labels have no box" in caplog.text


@pytest.mark.parametrize(
    ("labels", "frame", "text"),
    [
        ([poly()], {"size": None}, "size must be known"),
        ([poly()], {"size": {"width": 0, "height": 3}}, "height and width"),
        ([poly()], {"size": {"width": 2**24, "height": 2**24}}, "must be at most 4294967295"),
        ([poly(vertices=[[1e300, 1], [2, 2], [3, 1]])], {}, "frame a.jpg: vertices"),
        ([{"category": "a", "rle": {"size": [15, 20], "counts": "x"}}], {}, "frame a.jpg: "),
        ([{"category": "a", "rle": {"size": [1, 2, 3], "counts": "x"}}], {"size": None}, "height and width"),
        ([{"category": "a", "box2d": {"x1": 9, "y1": 1, "x2": 2, "y2": 2}}], {}, "boxes"),
        ([{"category": 5}], {}, r"frames\[0\].labels\[0\].category"),
    ],
)
def test_what_does_not_fit_is_named(read, labels, frame, text):
    with pytest.raises(FormatError, match=text):
        read(*labels, **frame)
