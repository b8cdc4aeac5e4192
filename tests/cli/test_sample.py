from synthetic import nuclei_dataset

from delineate.formats import coco


def test_some_pictures(run, tmp_path):
    coco.write(nuclei_dataset(tmp_path, count=4), tmp_path / "a.json")
    done = run("sample", tmp_path / "a.json", tmp_path / "b.json", "--count", 2, "--seed", 3)
    assert done.code == 0
    assert "2 pictures" in done.out
    assert {r.id for r in coco.read(tmp_path / "b.json")} < {r.id for r in coco.read(tmp_path / "a.json")}
    done = run("sample", tmp_path / "a.json", tmp_path / "c.json", "--count", -1)
    assert (done.code, "count must be at least 0" in done.err) == (2, True)


def test_the_source_is_never_written_over(run, tmp_path):
    path = tmp_path / "a.json"
    coco.write(nuclei_dataset(tmp_path, count=2), path)
    before = path.read_bytes()
    done = run("sample", path, path, "--count", 1)
    assert (done.code, "target must be another file than the source" in done.err) == (2, True)
    assert path.read_bytes() == before
