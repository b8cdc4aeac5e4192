import pytest
from synthetic import nuclei_dataset

from delineate import formats
from delineate.formats import coco


@pytest.fixture
def source(tmp_path):
    (tmp_path / "in").mkdir()
    coco.write(nuclei_dataset(tmp_path / "in", count=5), tmp_path / "in" / "a.json")
    return tmp_path / "in" / "a.json"


def test_formats_without_splits_get_one_file_each(run, source, tmp_path):
    done = run("split", source, tmp_path / "out", "--parts", "train=0.6,val=0.4", "--to", "label_studio")
    assert done.code == 0
    assert "train.json (label_studio): 3 pictures" in done.out
    parts = [formats.read(tmp_path / "out" / f"{name}.json") for name in ("train", "val")]
    assert sorted(record.name for part in parts for record in part) == sorted(
        r.name for r in coco.read(source)
    )


def test_coco_gets_one_file_each_unless_one_is_named(run, source, tmp_path):
    assert run("split", source, tmp_path / "out", "--parts", "train=3,val=2").code == 0
    assert [len(coco.read(tmp_path / "out" / f"{name}.json")) for name in ("train", "val")] == [3, 2]
    assert run("split", source, tmp_path / "one.json", "--parts", "train=3,val=2").code == 0
    assert sorted(record.split for record in coco.read(tmp_path / "one.json")) == ["train"] * 3 + ["val"] * 2


def test_formats_with_splits_keep_them(run, source, tmp_path):
    done = run("split", source, tmp_path / "out", "--parts", "train=3,val=2", "--to", "yolo")
    assert done.code == 0
    assert sorted(record.split for record in formats.read(tmp_path / "out")) == ["train"] * 3 + ["val"] * 2


def test_coco_gives_a_file_for_each_part_or_one_that_says_the_parts(run, source, tmp_path):
    assert run("split", source, tmp_path / "out", "--parts", "train=3,val=2").code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["train.json", "val.json"]
    assert [len(coco.read(tmp_path / "out" / f"{name}.json")) for name in ("train", "val")] == [3, 2]
    assert run("split", source, tmp_path / "one.json", "--parts", "train=3,val=2").code == 0
    assert sorted(r.split for r in coco.read(tmp_path / "one.json")) == ["train"] * 3 + ["val"] * 2


def test_mistakes(run, source, tmp_path):
    done = run("split", source, tmp_path / "out", "--parts", "train,val")
    assert (done.code, "--parts must be like train=0.8,val=0.2, got 'train,val'" in done.err) == (2, True)
