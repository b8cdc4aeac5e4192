import copy
import importlib.util
import json

import numpy as np
import pytest

from delineate.compat.pycocotools.coco import COCO
from delineate.errors import MissingExtra
from delineate.masks import Masks

oracle = pytest.importorskip("pycocotools.coco")
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # in pycocotools

TRUTH = {
    "info": {"year": 2026},
    "images": [{"id": n, "height": 8, "width": 9, "file_name": f"{n}.png"} for n in (7, 3, 5)],
    "categories": [
        {"id": 4, "name": "person", "supercategory": "living"},
        {"id": 2, "name": "son", "supercategory": "living"},
        {"id": 9, "name": "cup", "supercategory": "thing"},
    ],
    "annotations": [
        {
            "id": id_,
            "image_id": image,
            "category_id": category,
            "iscrowd": crowd,
            "area": area,
            "bbox": [1, 1, 3, 3],
            "segmentation": segmentation,
        }
        for id_, image, category, crowd, area, segmentation in (
            (0, 3, 4, 0, 9.0, [[1, 1, 4, 1, 4, 4, 1, 4]]),
            (12, 7, 2, 0, 20.0, [[1, 1, 4, 1, 4, 4], [5, 5, 8, 5, 8, 8]]),
            (5, 3, 2, 1, 40.0, {"size": [8, 9], "counts": [10, 5, 57]}),
            (6, 7, 4, 0, 9.5, {"size": [8, 9], "counts": b"2330j1"}),
        )
    ],
}
BOX = {"image_id": 3, "category_id": 4, "bbox": [1.5, 2, 3, 4], "score": 0.5}


def opened(make, dataset=TRUTH):
    coco = make()
    coco.dataset = copy.deepcopy(dataset)
    coco.createIndex()
    return coco


@pytest.fixture
def both():
    return opened(COCO), opened(oracle.COCO)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("getAnnIds", {}),
        ("getAnnIds", {"imgIds": 3}),
        ("getAnnIds", {"imgIds": [7, 99, 3], "catIds": [2]}),
        ("getAnnIds", {"catIds": np.array([4, 9])}),
        ("getAnnIds", {"areaRng": [9.0, 30]}),
        ("getAnnIds", {"iscrowd": True}),
        ("getAnnIds", {"imgIds": (3,), "iscrowd": 0}),
        ("getCatIds", {}),
        ("getCatIds", {"catNms": ["person", "cup"]}),
        ("getCatIds", {"catNms": "person"}),
        ("getCatIds", {"supNms": ["living"], "catIds": 2}),
        ("getImgIds", {}),
        ("getImgIds", {"imgIds": [3, 11]}),
        ("getImgIds", {"catIds": [2, 4]}),
        ("getImgIds", {"imgIds": 7, "catIds": 9}),
        ("loadAnns", {"ids": [12, 0]}),
        ("loadCats", {"ids": 9}),
        ("loadImgs", {"ids": [5]}),
        ("loadImgs", {}),
    ],
)
def test_asks_as_pycocotools(both, name, arguments):
    mine, theirs = (getattr(coco, name)(**arguments) for coco in both)
    assert mine == theirs


def test_index_equals_pycocotools(both, capsys):
    mine, theirs = both
    for name in ("dataset", "anns", "imgs", "cats", "imgToAnns", "catToImgs"):
        assert getattr(mine, name) == getattr(theirs, name)
    assert list(mine.imgToAnns[99]) == []
    capsys.readouterr()
    mine.info()
    assert capsys.readouterr().out == "year: 2026\n"


def test_masks_equal_pycocotools(both):
    mine, theirs = both
    for id_ in mine.anns:
        assert mine.annToRLE(mine.anns[id_]) == theirs.annToRLE(theirs.anns[id_])
        assert np.array_equal(mine.annToMask(mine.anns[id_]), theirs.annToMask(theirs.anns[id_]))


def test_file(tmp_path, capsys):
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(TRUTH | {"annotations": TRUTH["annotations"][:3]}))
    assert sorted(COCO(str(path)).anns) == [0, 5, 12]
    assert capsys.readouterr().out.startswith("loading annotations into memory...\nDone (t=")
    path.write_text("[]")
    with pytest.raises(AssertionError, match="annotation file format"):
        COCO(path)


RLE = {"size": [8, 9], "counts": "2330j1"}


@pytest.mark.parametrize(
    "results",
    [
        [BOX, BOX | {"image_id": 7}],
        [BOX | {"segmentation": RLE}],
        [{"image_id": 3, "category_id": 2, "segmentation": RLE, "score": s} for s in (1.0, 0.5)],
        np.array([[3, 1.0, 2, 3, 4, 0.5, 2], [7, 0, 0, 1, 1, 0.25, 4]]),
    ],
)
def test_results_equal_pycocotools(both, results, tmp_path):
    mine, theirs = (coco.loadRes(copy.deepcopy(results)) for coco in both)
    assert str(mine.dataset) == str(theirs.dataset)
    assert str(mine.anns) == str(theirs.anns)
    if isinstance(results, list):
        path = tmp_path / "results.json"
        path.write_text(json.dumps(results))
        again = both[0].loadRes(str(path))
        assert [one["area"] for one in again.anns.values()] == [one["area"] for one in theirs.anns.values()]


@pytest.mark.parametrize(
    ("results", "error", "message"),
    [
        ([], IndexError, "at least one"),
        ([BOX | {"image_id": 1}], AssertionError, "Results do not correspond"),
        ({}, AssertionError, "not an array"),
        ([{"image_id": 3, "caption": "a"}], NotImplementedError, "Captions and keypoints"),
        ([{"image_id": 3, "keypoints": [1, 2, 2]}], NotImplementedError, "Captions and keypoints"),
        (np.zeros((2, 6)), AssertionError, r"\(N, 7\)"),
    ],
)
def test_results_that_do_not_belong(both, results, error, message):
    with pytest.raises(error, match=message):
        both[0].loadRes(results)


def test_download_is_refused(both):
    with pytest.raises(NotImplementedError, match="does not reach for the network"):
        both[0].download("here")


def test_drawing(both):
    coco = both[0]
    assert coco.showAnns([]) is None
    if importlib.util.find_spec("matplotlib") is None:
        with pytest.raises(MissingExtra, match="matplotlib is not installed"):
            coco.showAnns(list(coco.anns.values()))
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    coco.showAnns(list(coco.anns.values()), draw_bbox=True)
    assert len(pyplot.gca().patches) >= 8
    pyplot.close("all")


def test_shown_masks_keep_their_holes():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    ring = np.ones((1, 9, 9), bool)
    ring[0, 3:6, 3:6] = False
    rle = Masks.from_dense(ring).to_rle()[0]
    drawn = COCO()
    drawn.dataset = {
        "images": [{"id": 1, "height": 9, "width": 9}],
        "categories": [{"id": 1, "name": "ring"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": rle}],
    }
    drawn.createIndex()
    figure = pyplot.figure(figsize=(1, 1), dpi=90)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(np.full((9, 9, 3), 255, np.uint8))
    axis.axis("off")
    drawn.showAnns(drawn.loadAnns([1]))
    figure.canvas.draw()
    seen = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    pyplot.close(figure)
    assert (seen[45, 45] == 255).all()  # in the hole
    assert (seen[15, 45] < 255).any()
