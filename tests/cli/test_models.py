"""``delineate models``."""

import hashlib
import io

import pytest
from file_server import serving


def test_embedded_and_published_models_are_listed_with_licences(run, monkeypatch):
    pytest.importorskip("torch", reason="architectures need the extra [torch]")
    monkeypatch.setenv("COLUMNS", "160")
    ended = run("models")
    assert ended.code == 0
    rows = {line.split()[0]: line for line in ended.out.splitlines() if line.strip()}
    assert "CC0-1.0" in ended.out
    assert "nuclei" in ended.out
    row = next(line for line in ended.out.splitlines() if " yolo_seg-11n " in line)
    assert "AGPL-3.0-only" in row
    row = next(line for line in ended.out.splitlines() if " mask_rcnn-r50_fpn " in line)
    assert [word for word in ("BSD-3-Clause", "178 MB", "37.9", "34.6") if word not in row] == []
    assert rows


def test_without_torch_it_says_how_to_see_more(run, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    ended = run("models")
    assert ended.code == 0
    assert "delineate[torch]" in ended.out
    ended = run("models", "download", "mask_rcnn-r50_fpn")
    assert ended.code == 2
    assert "pip install 'delineate[torch]'" in ended.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["download"], "download what?"),
        (["list", "sam-vit_b"], "list takes no names, got sam-vit_b"),
        (["download", "sam-vit_x"], "Did you mean 'sam-vit_"),
        (["download", "yolo_seg-11n"], "--accept-licence AGPL-3.0-only"),
    ],
)
def test_mistakes_end_with_two(run, words, message, monkeypatch, tmp_path):
    pytest.importorskip("torch", reason="published models need the extra [torch]")
    monkeypatch.setenv("DELINEATE_CACHE", str(tmp_path))
    ended = run("models", *words)
    assert ended.code == 2
    assert message in ended.err


@pytest.fixture
def published(monkeypatch, tmp_path):
    """A tiny Mask R-CNN, published on this machine under a licence that asks for something."""
    torch = pytest.importorskip("torch", reason="published models need the extra [torch]")
    import dataclasses

    from delineate import models
    from delineate.models import Weights, mask_rcnn

    monkeypatch.setenv("DELINEATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DELINEATE_OFFLINE", raising=False)
    monkeypatch.setitem(mask_rcnn.VARIANTS, "tiny", dataclasses.replace(mask_rcnn.VARIANTS["test"], classes=80))
    torch.manual_seed(0)
    stream = io.BytesIO()
    torch.save(models.build("mask_rcnn-tiny").state_dict(), stream)
    with serving() as server:
        server.content = stream.getvalue()
        digits = hashlib.sha256(server.content).hexdigest()[:8]
        url = server.address("drops", f"tiny-{digits}.pth")
        weights = Weights(url, f"sha256:{digits}", "CC-BY-SA-3.0", 80, 41.0, 37.2, len(server.content))
        monkeypatch.setitem(mask_rcnn.WEIGHTS, "tiny", weights)
        yield server


def test_predict_makes_a_published_model_ready(run, published, tmp_path):
    pytest.importorskip("onnxscript", reason="export needs the extra [torch]")
    from PIL import Image

    Image.new("RGB", (48, 40), "red").save(tmp_path / "red.png")
    words = ("predict", tmp_path / "red.png", "--model", "mask_rcnn-tiny", "--out", tmp_path / "out")
    ended = run(*words)
    assert ended.code == 2
    assert "--accept-licence CC-BY-SA-3.0" in ended.err
    assert published.requests == []
    ended = run(*words, "--accept-licence", "CC-BY-SA-3.0")
    assert ended.code == 0, ended.err
    assert "Downloading tiny-" in ended.err
    assert "licence CC-BY-SA-3.0" in ended.err
    assert ended.out.startswith("1 pictures")
    count = len(published.requests)
    ended = run(*words)
    assert (ended.code, ended.err) == (0, "")
    assert len(published.requests) == count


def test_download_keeps_the_checkpoint(run, published, tmp_path):
    pytest.importorskip("onnxscript", reason="export needs the extra [torch]")
    ended = run("models", "download", "mask_rcnn-tiny", "--accept-licence", "CC-BY-SA-3.0")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("mask_rcnn-tiny  ")
    (kept,) = (tmp_path / "cache" / "weights").glob("tiny-*.pth")
    assert kept.read_bytes() == published.content


def test_a_name_of_nothing_is_left_to_the_predictor(run, tmp_path):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    ended = run("predict", tmp_path / "a.png", "--model", "no-such", "--out", tmp_path / "out")
    assert ended.code == 2
    assert "got 'no-such'" in ended.err
