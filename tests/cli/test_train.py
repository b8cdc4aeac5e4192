"""``delineate train`` and ``delineate export``: from annotated pictures to a file that predicts."""

import pytest

pytest.importorskip("torch", reason="training needs the extra [torch]")

from synthetic import nuclei_dataset

from delineate.formats import coco


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
