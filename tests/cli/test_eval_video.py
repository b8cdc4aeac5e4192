import json

import numpy as np
import pytest

from delineate import Dataset, Instances, Masks, Record
from delineate.formats import mots, youtube_vis


def frames(ids=(1001,), **fields):
    """A square that stands still for three frames."""
    dense = np.zeros((1, 8, 8), bool)
    dense[0, 2:6, 2:6] = True
    parts = [Instances.of(Masks.from_dense(dense), ids=[ids[n % len(ids)]], **fields) for n in range(3)]
    return Dataset(
        [Record(None, (8, 8), p, f"v/{n}", {}, "v", n) for n, p in enumerate(parts)], ["car", "pedestrian"]
    )


@pytest.fixture
def vis(tmp_path):
    youtube_vis.write(frames(), tmp_path / "truth.json")
    youtube_vis.write(frames(scores=[0.5]), tmp_path / "found.json")
    youtube_vis.write_results(frames(scores=[0.5]), tmp_path / "results.json", tmp_path / "truth.json")
    return tmp_path


@pytest.mark.parametrize("name", ["found.json", "results.json"])
def test_youtube_vis(vis, run, name):
    ended = run("eval", vis / "truth.json", vis / name, "--json", vis / "report.json")
    assert ended.code == 0
    assert "1 videos, 1 tracks, 1 predicted tracks" in ended.out
    assert "YouTube-VIS, mask IoU over all frames" in ended.out
    assert json.loads((vis / "report.json").read_text())["videos"]["stats"]["ap"] == pytest.approx(1)


def test_options_and_errors(vis, run):
    assert (
        "not available for YouTube-VIS files, left out: --matching."
        in run("eval", vis / "truth.json", vis / "found.json", "--matching").out
    )
    ended = run("eval", vis / "truth.json", vis / "found.json", "--iou", "box")
    assert ended.code == 2
    assert "--iou must be mask for YouTube-VIS files" in ended.err
    ended = run("eval", vis / "truth.json", vis / "truth.json")
    assert ended.code == 2
    assert "predictions must have scores" in ended.err


def test_mots(tmp_path, run):
    mots.write(frames(), tmp_path / "truth")
    mots.write(frames((1001, 1002)), tmp_path / "found")
    ended = run("eval", tmp_path / "truth", tmp_path / "found", "--json", tmp_path / "report.json")
    assert ended.code == 0
    assert [word for word in ("HOTA", "IDSW", "tracking, mask IoU", "car") if word not in ended.out] == []
    report = json.loads((tmp_path / "report.json").read_text())["tracking"]
    assert (report["all"]["switches"], report["all"]["tp"]) == (2, 3)
    assert run("eval", tmp_path / "truth", tmp_path / "found", "--iou", "box").code == 0
    assert run("eval", tmp_path / "truth", tmp_path / "none").code == 2
