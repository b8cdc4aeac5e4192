import pytest
from synthetic import nuclei_dataset

from delineate.formats import coco


def test_small_objects_go(run, tmp_path):
    coco.write(nuclei_dataset(tmp_path, count=2), tmp_path / "a.json")
    areas = sorted(
        a for record in coco.read(tmp_path / "a.json") for a in record.instances.masks.areas.tolist()
    )
    limit = areas[len(areas) // 2]
    done = run("filter", tmp_path / "a.json", tmp_path / "b.json", "--min-area", limit)
    assert done.code == 0
    found = [a for record in coco.read(tmp_path / "b.json") for a in record.instances.masks.areas.tolist()]
    assert sorted(found) == [area for area in areas if area >= limit]
    done = run("filter", tmp_path / "a.json", tmp_path / "c.json", "--classes", "car")
    assert (done.code, "got 'car'" in done.err) == (2, True)
    done = run("filter", tmp_path / "a.json", tmp_path / "c.json", "--min-area", 1e9, "--no-empty")
    assert (done.code, len(coco.read(tmp_path / "c.json"))) == (0, 0)


def test_the_source_is_never_written_over(run, tmp_path):
    path = tmp_path / "a.json"
    coco.write(nuclei_dataset(tmp_path, count=2), path)
    before = path.read_bytes()
    done = run("filter", path, path, "--min-area", 9)
    assert (done.code, "target must be another file than the source" in done.err) == (2, True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("words", [("--min-area", -1), ("--min-area", "nan"), ("--max-area", -1)])
def test_areas_that_cannot_be_are_refused(run, tmp_path, words):
    coco.write(nuclei_dataset(tmp_path, count=1), tmp_path / "a.json")
    done = run("filter", tmp_path / "a.json", tmp_path / "b.json", *words)
    assert done.code == 2
    assert "min_area must be at least 0 pixels" in done.err
    assert not (tmp_path / "b.json").exists()
