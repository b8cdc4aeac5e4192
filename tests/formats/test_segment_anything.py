import json

import numpy as np
import pytest
from pycocotools import mask as pycocotools_mask

from delineate import formats
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import segment_anything
from delineate.instances import Instances
from delineate.masks import Masks

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # of pycocotools
RLE = {"size": [5, 10], "counts": "`04n0"}


def put(folder, name="a", image=None, **annotation):
    head = {"image_id": 1, "width": 10, "height": 5, "file_name": f"{name}.jpg"} | (image or {})
    one = {"id": 4, "segmentation": RLE, "bbox": [3, 1, 1, 4], "area": 4, "predicted_iou": 0.25} | annotation
    (folder / f"{name}.json").write_text(json.dumps({"image": head, "annotations": [one]}))


def test_a_real_file_agrees_with_pycocotools(shared):
    folder = shared / "fixtures" / "formats" / "segment_anything" / "datumaro"
    assert formats.detect(folder) == "segment_anything"
    [record] = segment_anything.read(folder / "a.json")
    content = json.loads((folder / "a.json").read_text())
    assert record.path.is_file()
    assert record.id == content["image"]["image_id"]
    [one] = content["annotations"]
    np.testing.assert_array_equal(
        record.instances.masks.to_dense()[0], pycocotools_mask.decode(one["segmentation"])
    )
    x, y, width, height = one["bbox"]
    assert record.instances.boxes.tolist() == [[x, y, x + width, y + height]]
    more = json.loads(record.instances.extras["attributes"][0])
    assert more == {key: one[key] for key in ("predicted_iou", "stability_score", "crop_box", "point_coords")}


def test_a_real_file_that_contradicts_itself_is_refused(shared):
    """Its picture is 5 wide and 10 high, its masks the other way round."""
    path = shared / "fixtures" / "formats" / "segment_anything" / "datumaro" / "b.json"
    with pytest.raises(FormatError, match=r"annotations: masks\[0\]: size must be \[10, 5\]"):
        segment_anything.read(path)


def test_files_of_one_id_are_numbered(tmp_path):
    put(tmp_path, "a")
    put(tmp_path, "b")
    assert [record.id for record in segment_anything.read(tmp_path)] == [1, 2]


def test_classes_stand_beside(tmp_path):
    masks = Masks.from_boxes([[0, 0, 2, 2], [1, 1, 4, 4]], (6, 7))
    found = Instances.of(masks, [1, 0]).replace(extras={"annotation_id": [9, 9]})
    segment_anything.write(Dataset([Record(None, (6, 7), found, "k")], ["a", "b"]), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "classes.json").read_text())["objects"] == {"k": {"0": 1, "1": 0}}
    assert segment_anything.read(tmp_path / "out")[0].instances.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("image", "annotation", "text"),
    [
        ({"width": 0}, {}, "image: height and width"),
        ({"width": "x"}, {}, "image: Expected"),
        ({}, {"segmentation": [[1, 2, 3]]}, r"annotations\[0\]: Expected"),
        ({}, {"segmentation": RLE | {"size": [4, 10]}}, "annotations: "),
        ({}, {"segmentation": RLE | {"counts": "x"}}, "annotations: "),
        ({}, {"bbox": [1, 2, 3]}, r"annotations\[0\]: Expected"),
        ({}, {"bbox": [1, 2, -3, 1]}, "annotations: .*boxes"),
        ({}, {"id": 2**70}, "annotations: "),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, image, annotation, text):
    put(tmp_path, image=image, **annotation)
    with pytest.raises(FormatError, match=text):
        segment_anything.read(tmp_path)
