"""``delineate models``."""

import hashlib

import pytest
from file_server import serving
from networks import instant_export

from delineate import clip, download


def test_embedded_and_published_models_are_listed_with_licences(run, monkeypatch):
    pytest.importorskip("torch", reason="architectures need the extra [torch]")
    monkeypatch.setenv("COLUMNS", "160")
    ended = run("models")
    assert ended.code == 0
    rows = {line.split()[0]: line for line in ended.out.splitlines() if line.strip()}
    assert "CC0-1.0" in ended.out
    assert "nuclei" in ended.out
    assert "AGPL-3.0-only" in rows["yolo_seg-11n"]
    row = rows["mask_rcnn-r50_fpn"]
    assert [word for word in ("BSD-3-Clause", "178 MB", "37.9", "34.6") if word not in row] == []
    from delineate import published

    assert set(published.names()) <= rows.keys()  # whole on 80 columns, as they are to be typed


def test_without_torch_it_says_how_to_see_more(run, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    ended = run("models")
    assert ended.code == 0
    assert "delineate[torch]" in ended.out
    ended = run("models", "download", "mask_rcnn-r50_fpn")
    assert ended.code == 2
    assert "pip install 'delineate[torch]'" in ended.err


def test_an_encoder_of_texts_is_listed_and_downloaded_without_torch(run, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("DELINEATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DELINEATE_OFFLINE", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with serving() as server:
        server.content = b"some bytes"
        digest = hashlib.sha256(server.content).hexdigest()
        file = download.Remote(server.address("good"), f"sha256:{digest}", 10, "MIT", "tiny", "clip-tiny")
        monkeypatch.setitem(clip.PUBLISHED, "clip-tiny", (file,))
        row = next(line for line in run("models").out.splitlines() if line.startswith("clip-tiny "))
        assert ("MIT" in row, "yes" in row) == (True, False)
        ended = run("models", "download", "clip-tiny")
    assert ended.code == 0
    assert ended.out.split() == ["clip-tiny", str(tmp_path / "cache" / "weights" / "clip-tiny")]
    assert "Downloading file.bin: tiny; about 0.0 MB, licence MIT" in ended.err
    assert "yes" in next(line for line in run("models").out.splitlines() if line.startswith("clip-tiny "))
    assert " 606 MB " in next(
        line for line in run("models").out.splitlines() if line.startswith("clip-vit_b32 ")
    )


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
    """A tiny detector, published on this machine under a licence that asks for something."""
    torch = pytest.importorskip("torch", reason="published models need the extra [torch]")
    pytest.importorskip("onnx", reason="the stand-in of the export is an ONNX file")
    from safetensors.torch import save

    from delineate import models
    from delineate import published as module
    from delineate.models import Weights, yolo_seg

    monkeypatch.setattr(module, "export", instant_export)
    monkeypatch.setenv("DELINEATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DELINEATE_OFFLINE", raising=False)
    monkeypatch.setitem(yolo_seg.VARIANTS, "tiny", yolo_seg.VARIANTS["test"])
    torch.manual_seed(0)
    state = {name: value.contiguous() for name, value in models.build("yolo_seg-tiny").state_dict().items()}
    with serving() as server:
        server.content = save(state, {"delineate": '{"classes": ["cat", "dog"]}'})
        digits = hashlib.sha256(server.content).hexdigest()[:8]
        url = server.address("drops", f"tiny-{digits}.safetensors")
        weights = Weights(url, f"sha256:{digits}", "CC-BY-SA-3.0", 2, 41.0, 37.2, len(server.content))
        monkeypatch.setitem(yolo_seg.WEIGHTS, "tiny", weights)
        yield server


def test_predict_makes_a_published_model_ready(run, published, tmp_path):
    from PIL import Image

    Image.new("RGB", (48, 40), "red").save(tmp_path / "red.png")
    words = ("predict", tmp_path / "red.png", "--model", "yolo_seg-tiny", "--out", tmp_path / "out")
    ended = run(*words)
    assert ended.code == 2
    assert "--accept-licence CC-BY-SA-3.0" in ended.err
    ended = run(*words, "--accept-licence", "CC-BY-SA-3.0", "--offline")
    assert ended.code == 2
    assert "downloads are off. Fetch http://" in ended.err
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
    ended = run("models", "download", "yolo_seg-tiny", "--accept-licence", "CC-BY-SA-3.0")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("yolo_seg-tiny  ")
    (kept,) = (tmp_path / "cache" / "weights").glob("tiny-*.safetensors")
    assert kept.read_bytes() == published.content


def test_a_name_of_nothing_is_left_to_the_predictor(run, tmp_path):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    ended = run("predict", tmp_path / "a.png", "--model", "no-such", "--out", tmp_path / "out")
    assert ended.code == 2
    assert "got 'no-such'" in ended.err
