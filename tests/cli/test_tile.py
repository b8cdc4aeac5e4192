import pytest
from synthetic import nuclei_dataset

from delineate.formats import coco


@pytest.fixture
def source(tmp_path):
    (tmp_path / "in").mkdir()
    coco.write(nuclei_dataset(tmp_path / "in", count=2), tmp_path / "in" / "a.json")
    return tmp_path / "in" / "a.json"


def test_there_and_back(run, source, tmp_path):
    done = run("tile", source, tmp_path / "out", "--side", 48, "--overlap", 8)
    assert done.code == 0
    cut = coco.read(tmp_path / "out" / "annotations.json")
    assert all(record.path.is_file() and max(record.size) <= 48 for record in cut)
    done = run("tile", tmp_path / "out" / "annotations.json", tmp_path / "back.json", "--join")
    assert done.code == 0
    whole, back = coco.read(source), coco.read(tmp_path / "back.json")
    assert {r.name: r.instances.masks for r in back} == {r.name: r.instances.masks for r in whole}


def test_mistakes(run, source, tmp_path):
    assert "TARGET must be a folder" in run("tile", source, tmp_path / "out.json").err
    assert "must be an empty or new folder" in run("tile", source, source.parent).err
    assert run("tile", source, tmp_path / "out", "--side", 4, "--overlap", 4).code == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--side", 0), "side must be more than overlap"),
        (("--side", -3, "--overlap", -4), "side must be more than overlap"),
        (("--min-part", 2), "min_part must be 0 to 1, got 2"),
    ],
)
def test_sizes_that_cannot_be_are_refused_also_for_no_pictures(run, source, tmp_path, words, message):
    coco.write(coco.read(source)[:0], tmp_path / "none.json")
    done = run("tile", tmp_path / "none.json", tmp_path / "out", *words)
    assert done.code == 2
    assert message in done.err
    assert not (tmp_path / "out").exists()
