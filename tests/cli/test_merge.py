import pytest
from synthetic import nuclei_dataset

from delineate.formats import coco


@pytest.fixture
def sources(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        coco.write(nuclei_dataset(tmp_path / name, count=2), tmp_path / name / "truth.json")
    return [tmp_path / name / "truth.json" for name in ("a", "b")]


def test_two_files_become_one(run, sources, tmp_path):
    done = run("merge", f"one={sources[0]}", f"two={sources[1]}", "--out", tmp_path / "all.json")
    assert done.code == 0
    found = coco.read(tmp_path / "all.json")
    assert [record.attributes["dataset"] for record in found] == ["one", "one", "two", "two"]
    assert all(record.path.is_file() for record in found)


def test_a_taxonomy_renames(run, sources, tmp_path):
    old = coco.read(sources[0]).classes[0]
    (tmp_path / "t.toml").write_text(f'classes = ["blob"]\n[datasets.one]\nmap = {{ "{old}" = "blob" }}\n')
    done = run(
        "merge", f"one={sources[0]}", "--taxonomy", tmp_path / "t.toml", "--out", tmp_path / "all.json"
    )
    assert done.code == 0
    assert coco.read(tmp_path / "all.json").classes == ("blob",)


def test_equal_names_are_refused(run, sources, tmp_path):
    done = run("merge", *sources, "--out", tmp_path / "all.json")
    assert (done.code, "got 'truth' twice. Write NAME=PATH" in done.err) == (2, True)
    assert not (tmp_path / "all.json").exists()


def test_the_source_is_never_written_over(run, tmp_path):
    path = tmp_path / "a.json"
    coco.write(nuclei_dataset(tmp_path, count=2), path)
    before = path.read_bytes()
    done = run("merge", path, "--out", path)
    assert (done.code, "target must be another file than the source" in done.err) == (2, True)
    assert path.read_bytes() == before
