from synthetic import nuclei_dataset

from delineate.dataset import Dataset
from delineate.formats import coco
from delineate.image import read_size


def test_pages_and_sheets(run, tmp_path):
    coco.write(nuclei_dataset(tmp_path, count=3), tmp_path / "a.json")
    assert run("browse", tmp_path / "a.json", tmp_path / "a.html", "--count", 2).code == 0
    assert (tmp_path / "a.html").read_text().count("<img ") == 2
    done = run("browse", tmp_path / "a.json", tmp_path / "a.png", "--side", 50)
    assert (done.code, "3 pictures" in done.out) == (0, True)
    assert read_size(tmp_path / "a.png") == (54, 158)


def test_nothing_to_show(run, tmp_path):
    coco.write(Dataset([], ["cell"]), tmp_path / "a.json")
    done = run("browse", tmp_path / "a.json", tmp_path / "a.html")
    assert (done.code, "must have pictures to show" in done.err) == (2, True)
    coco.write(nuclei_dataset(tmp_path, count=1), tmp_path / "a.json")
    done = run("browse", tmp_path / "a.json", tmp_path / "a.txt")
    assert (done.code, "TARGET must end in .html, or" in done.err) == (2, True)
