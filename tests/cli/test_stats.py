import json

from synthetic import nuclei_dataset

from delineate.formats import coco


def test_numbers_are_printed_and_written(run, tmp_path):
    dataset = nuclei_dataset(tmp_path, count=3)
    coco.write(dataset, tmp_path / "a.json")
    done = run("stats", tmp_path / "a.json", "--json", tmp_path / "s.json", "--html", tmp_path / "s.html")
    assert done.code == 0
    objects = sum(len(record.instances) for record in dataset)
    assert f"{objects}, and 0 crowd regions" in done.out
    assert json.loads((tmp_path / "s.json").read_text())["objects"] == objects
    assert (tmp_path / "s.html").read_text().count("<img ") == 3
