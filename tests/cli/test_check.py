import json

from PIL import Image
from synthetic import nuclei_dataset

from delineate.formats import coco


def test_a_good_dataset(run, tmp_path):
    coco.write(nuclei_dataset(tmp_path, count=2), tmp_path / "a.json")
    done = run("check", tmp_path / "a.json")
    assert (done.code, "nothing is wrong" in done.out) == (0, True)


def test_problems_are_listed_written_and_mended(run, tmp_path):
    coco.write(nuclei_dataset(tmp_path, count=2), tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    content["annotations"][0]["image_id"] = 99
    content["annotations"][1]["bbox"] = [0, 0, -1, 3]
    (tmp_path / "a.json").write_text(json.dumps(content))
    done = run("check", tmp_path / "a.json", "--json", tmp_path / "p.json", "--fix", tmp_path / "b.json")
    assert done.code == 1
    assert "dangling picture id" in done.out
    problems = json.loads((tmp_path / "p.json").read_text())["problems"]
    assert [one["kind"] for one in problems] == ["dangling picture id", "bad box"]
    assert all(one["error"] and one["remedy"] for one in problems)
    assert run("check", tmp_path / "b.json").code == 0
    assert json.loads((tmp_path / "a.json").read_text()) == content, "the original stays"
    assert len(coco.read(tmp_path / "b.json")) == 2


def test_no_dataset(run, tmp_path):
    done = run("check", tmp_path / "nothing.json")
    assert (done.code, "must exist" in done.err) == (2, True)


def test_the_source_is_never_written_over(run, tmp_path):
    path = tmp_path / "a.json"
    coco.write(nuclei_dataset(tmp_path, count=2), path)
    before = path.read_bytes()
    done = run("check", path, "--fix", path)
    assert (done.code, "target must be another file than the source" in done.err) == (2, True)
    assert path.read_bytes() == before


def test_leakage_between_files(run, tmp_path):
    for name in ("train", "val"):
        (tmp_path / name).mkdir()
        coco.write(nuclei_dataset(tmp_path / name, count=2), tmp_path / name / "a.json")
    for path in (tmp_path / "val").glob("*.png"):
        Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    files = tmp_path / "train" / "a.json", tmp_path / "val" / "a.json"
    done = run("check", *files)
    assert (done.code, done.out.count("nothing is wrong")) == (0, 2)
    shared = coco.read(files[0])[0].path
    assert shared is not None
    copy = coco.read(files[1])[0].path
    copy.write_bytes(shared.read_bytes())
    done = run("check", *files, "--json", tmp_path / "p.json")
    assert (done.code, done.out.count("nothing is wrong")) == (1, 1)
    content = json.loads((tmp_path / "p.json").read_text())
    assert content["paths"] == [path.as_posix() for path in files]
    (problem,) = content["problems"]
    assert (problem["kind"], problem["path"]) == ("leakage", files[1].as_posix())
    assert problem["problem"] == f"is the same picture as {shared} of {files[0]}"
    done = run("check", *files, "--fix", tmp_path / "b.json")
    assert (done.code, "--fix mends one dataset at a time, got 2" in done.err) == (2, True)
