import json

import numpy as np
import pytest
from synthetic import nuclei_dataset

from delineate.formats import coco


@pytest.fixture
def source(tmp_path):
    (tmp_path / "in").mkdir()
    coco.write(nuclei_dataset(tmp_path / "in", count=2), tmp_path / "in" / "a.json")
    return tmp_path / "in" / "a.json"


def test_a_certificate_is_printed_and_written(run, source, tmp_path):
    done = run("convert", source, tmp_path / "b.json", "--to", "coco", "--json", tmp_path / "c.json")
    assert done.code == 0
    objects = sum(len(record.instances) for record in coco.read(source))
    assert f"2 pictures, {objects} objects, {objects} of them exact, least IoU 1.0000" in done.out
    content = json.loads((tmp_path / "c.json").read_text())
    assert content["certificate"]["exact"] == objects
    assert (content["from"], content["to"], content["lost"], content["side_file"]) == (
        "coco",
        "coco",
        {},
        None,
    )


def test_losses_need_a_word(run, source, tmp_path, monkeypatch):
    monkeypatch.setattr(coco, "KEEPS", coco.KEEPS - {"overlaps", "masks", "info"})
    done = run("convert", source, tmp_path / "b.json", "--to", "coco")
    assert done.code == 2
    assert "coco must hold all of the dataset, but would lose" in done.err
    assert "--allow-loss" in done.err
    assert not (tmp_path / "b.json").exists()
    done = run("convert", source, tmp_path / "b.json", "--to", "coco", "--allow-loss")
    assert done.code == 0
    assert "what coco cannot hold" in done.out
    assert "the pixels of masks" in done.out
    assert "b.delineate.json" in done.out


def test_differences_are_shown(run, source, tmp_path, monkeypatch):
    real = coco.read
    calls = []

    def careless(path):
        calls.append(path)
        found = real(path)
        if len(calls) == 1:
            return found
        return found.with_records([record.replace(instances=record.instances[1:]) for record in found])

    monkeypatch.setattr(coco, "read", careless)
    done = run("convert", source, tmp_path / "b.json", "--to", "coco")
    assert done.code == 1
    assert "Differences that the format does not explain" in done.out
    assert "object: 2" in done.out


def test_what_other_tools_will_not_see_is_said(run, source, tmp_path):
    known = coco.read(source)
    first, *rest = known
    crowd = np.arange(len(first.instances)) == 0
    coco.write(
        known.with_records([first.replace(instances=first.instances.replace(crowd=crowd)), *rest]),
        tmp_path / "in" / "b.json",
    )
    done = run(
        "convert",
        tmp_path / "in" / "b.json",
        tmp_path / "yolo",
        "--to",
        "yolo",
        "--json",
        tmp_path / "c.json",
    )
    assert done.code == 0
    assert "what yolo cannot hold" not in done.out
    assert "what other tools that read yolo do not see" in done.out
    assert "crowd flags" in done.out
    content = json.loads((tmp_path / "c.json").read_text())
    assert content["unseen"] == {"crowd": {"count": 1, "first": f"{first.name}, object 1"}}
    assert "other tools" not in run("convert", source, tmp_path / "plain", "--to", "yolo").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing.json", "b.json", "--to", "coco"], "must exist"),
        (["a.json", "b", "--to", "cocoo"], "must be one of"),
    ],
)
def test_mistakes_end_in_one_line(run, source, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(source.parent)
    done = run("convert", *words)
    assert done.code == 2
    assert message in done.err
