import numpy as np
import pytest
from PIL import Image

from delineate.annotate import folder
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import coco, cvat, labelme, yolo
from delineate.instances import Instances


def dataset(*paths):
    return Dataset(
        [
            Record(path, (20, 30), Instances([20, 30], [[1, 1, 5, 5]], [0]), n)
            for n, path in enumerate(paths, 1)
        ],
        ["cell"],
    )


def test_an_empty_folder_gets_a_coco_file(tmp_path):
    found = folder.source(tmp_path)
    assert (found.format, found.path, len(found.dataset)) == ("coco", tmp_path / "annotations.json", 0)
    assert folder.pictures(tmp_path, found.dataset) == {}


def test_pictures_are_found_deep_but_not_hidden(pictures):
    (pictures / ".delineate").mkdir()
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(pictures / ".delineate" / "x.png")
    (pictures / "notes.txt").write_text("no picture")
    assert list(folder.pictures(pictures, Dataset((), ()))) == ["a.png", "b.png", "deep/c.png"]


def test_pictures_of_the_file_stay_inside_the_folder(pictures):
    named = dataset(pictures / "gone.png", pictures / ".." / "secret.png", None)
    assert list(folder.pictures(pictures, named)) == ["a.png", "b.png", "deep/c.png", "gone.png"]


def test_formats_are_found(pictures):
    coco.write(dataset(pictures / "a.png"), pictures / "mine.json")
    assert folder.source(pictures).path == pictures / "mine.json"
    coco.write(dataset(pictures / "a.png"), pictures / "other.json")
    with pytest.raises(FormatError, match=r"--annotations mine\.json"):
        folder.source(pictures)
    assert folder.source(pictures, pictures / "other.json").path == pictures / "other.json"
    coco.write(dataset(), pictures / "annotations.json")
    assert folder.source(pictures).path == pictures / "annotations.json"


def test_a_file_to_be_made_may_be_named(pictures):
    found = folder.source(pictures, pictures / "new.json")
    assert (found.format, found.path, len(found.dataset)) == ("coco", pictures / "new.json", 0)


@pytest.mark.parametrize("module", [labelme, yolo])
def test_formats_that_are_folders(pictures, tmp_path, module):
    module.write(dataset(pictures / "a.png"), tmp_path / "set", pictures="copy")
    found = folder.source(tmp_path / "set")
    assert (found.format, found.path, found.origin, len(found.dataset)) == (
        module.__name__.split(".")[-1],
        tmp_path / "set",
        None,
        1,
    )


def test_other_formats_are_taken_over_into_coco(pictures):
    cvat.write(dataset(pictures / "a.png"), pictures / "cvat.xml")
    found = folder.source(pictures)
    assert (found.format, found.path, found.origin) == (
        "coco",
        pictures / "annotations.json",
        pictures / "cvat.xml",
    )
    assert len(found.dataset) == 1
    (pictures / "annotations.json").write_text("{}")
    with pytest.raises(FormatError, match="exists already"):
        folder.source(pictures, pictures / "cvat.xml")


def test_labelme_files_with_names_of_their_own_are_taken_over(pictures, tmp_path):
    labelme.write(dataset(pictures / "a.png"), tmp_path / "set", pictures="copy")
    (tmp_path / "set" / "a.json").rename(tmp_path / "set" / "other.json")
    found = folder.source(tmp_path / "set")
    assert (found.format, found.path.name, found.origin) == ("coco", "annotations.json", tmp_path / "set")
