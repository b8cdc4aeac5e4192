"""``delineate train`` and ``delineate export``: from annotated pictures to a file that predicts."""

# ruff: noqa: E402  (torch is optional)

import io

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra [torch]")

from file_server import serving
from synthetic import nuclei_dataset

from delineate import models
from delineate.formats import coco
from delineate.models import mask_rcnn


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    coco.write(nuclei_dataset(folder, count=2, size=(64, 64)), folder / "train.json")
    return folder


def words(data, *more):
    settings = [
        "model.name=yolo_seg-test",
        f"data.root='{data}'",
        "data.train=train.json",
        "data.val=train.json",
    ]
    settings += ["size=64", "batch=2", "epochs=1", "threads=1", "tensorboard=false", *more]
    return [word for setting in settings for word in ("--set", setting)]


def test_train_prints_epochs_and_the_best_checkpoint(run, data, tmp_path):
    ended = run("train", "--out", tmp_path / "run", *words(data))
    assert ended.code == 0, ended.err
    assert "epoch 1/1" in ended.err
    assert "mask_ap" in ended.err
    assert str(tmp_path / "run" / "best.safetensors") in ended.out


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """A server of weights of "mask_rcnn-test" for 80 classes, under a licence that asks for more than attribution."""
    torch.manual_seed(0)
    stream = io.BytesIO()
    torch.save(models.build("mask_rcnn-test", classes=80).state_dict(), stream)
    monkeypatch.setenv("DELINEATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DELINEATE_OFFLINE", raising=False)
    with serving() as server:
        server.content = stream.getvalue()
        address = server.address("good", "test.pth")
        weights = models.Weights(address, None, "CC-BY-SA-3.0", 80, 41.0, 37.2)
        monkeypatch.setitem(mask_rcnn.WEIGHTS, "test", weights)
        yield server


def test_train_starts_from_a_published_model(run, data, tmp_path, offered, caplog):
    change = ["model.name=mask_rcnn-test", "model.weights=mask_rcnn-test"]
    out = ["--out", tmp_path / "run"]
    refused = run("train", *out, *words(data, *change))
    assert refused.code == 2
    assert "--accept-licence CC-BY-SA-3.0" in refused.err
    assert offered.count("good") == 0
    ended = run("train", *out, "--accept-licence", "CC-BY-SA-3.0", *words(data, *change))
    assert ended.code == 0, ended.err
    assert "Downloading test.pth: COCO val2017 box AP 41.0" in ended.err
    assert "Starting from mask_rcnn-test, whose licence is CC-BY-SA-3.0" in ended.err
    assert "6 depend on the number of classes and start anew" in caplog.text
    assert models.load(tmp_path / "run" / "best.safetensors").model.config.classes == 1
    again = run("train", *out, "--resume", "--offline", *words(data, *change, "epochs=2"))
    assert again.code == 0, again.err
    assert offered.count("good") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["model.weights=mask_rcnn-test"], "Set model.name=mask_rcnn-test"),
        (["model.weights=mask_rcnn-r50fpn"], "Did you mean 'mask_rcnn-r50_fpn'"),
        (["model.name=mask_rcnn-test", "model.weights=mask_rcnn-test"], "downloads are off"),
    ],
)
def test_nothing_is_fetched_for_a_start_that_cannot_be(run, data, tmp_path, offered, changes, message):
    accepted = ["--offline", "--accept-licence", "CC-BY-SA-3.0"]
    ended = run("train", "--out", tmp_path / "run", *accepted, *words(data, *changes))
    assert ended.code == 2
    assert message in ended.err
    assert offered.requests == []
    assert not (tmp_path / "run").exists()


def test_train_resumes_a_longer_run(run, data, tmp_path):
    run("train", "--out", tmp_path / "run", *words(data))
    ended = run("train", "--out", tmp_path / "run", "--resume", *words(data, "epochs=2"))
    assert ended.code == 0
    assert "epoch 2/2" in ended.err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["data.train=absent.json"], "absent.json"),
        (["epoch=3"], "Did you mean 'epochs'"),
        (["model.name=yolo_seg-11q"], "Did you mean 'yolo_seg-11"),
        (["device=cuda:9"], "device"),
        (["size=50"], "multiples of"),
    ],
)
def test_mistakes_are_one_line(run, data, tmp_path, changes, message):
    ended = run("train", "--out", tmp_path / "run", *words(data, *changes))
    assert ended.code == 2
    assert message in ended.err
    assert "Traceback" not in ended.err


def test_without_torch_the_remedy_is_named(run, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ("train", "export"):
        ended = run(name, *(["a.safetensors", "--out", "a.onnx"] if name == "export" else []))
        assert ended.code == 2
        assert "pip install 'delineate[torch]'" in ended.err
