"""``delineate export``: a trained checkpoint becomes a file that `predict` takes."""

import pytest

pytest.importorskip("torch", reason="export needs the extra [torch]")

from synthetic import nuclei_dataset

from delineate.formats import coco
from delineate.predict import Predictor
from delineate.train import fit, load_config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    coco.write(nuclei_dataset(folder, count=2, size=(64, 64)), folder / "train.json")
    settings = [
        "model.name=fcn-test",  # the quickest to convert
        f"data.root='{folder}'",
        "data.train=train.json",
        "size=64",
        "batch=2",
    ]
    settings += ["epochs=1", "threads=1", "tensorboard=false", "stretch=[1.0, 99.0]", "max_detections=77"]
    fit(load_config(overrides=settings), folder / "run")
    return folder


def test_the_file_knows_its_origin_and_predicts(run, trained, tmp_path):
    ended = run(
        "export",
        trained / "run/best.safetensors",
        "--out",
        tmp_path / "mine.onnx",
        "--licence",
        "CC-BY-4.0",
        "--samples",
        trained,
        "--score",
        "0.05",
        "--half",
        "--note",
        "data=two pictures",
    )
    assert ended.code == 0, ended.err
    assert "parity over 2 pictures" in ended.out
    card = Predictor(tmp_path / "mine.onnx").card
    assert (card.name, card.classes, card.licence) == ("mine", ("nucleus",), "CC-BY-4.0")
    assert (card.thresholds.score, card.thresholds.max_detections) == (0.05, 77)
    assert card.preprocess.stretch == (1.0, 99.0)
    assert card.provenance["data"] == "two pictures"
    assert card.provenance["config"]["size"] == 64
    assert str(trained) not in card.to_json()
    assert card.parity["pictures"] == 2
    assert run("predict", trained, "--model", tmp_path / "mine.onnx", "--out", tmp_path / "out").code == 0


def test_mistakes_are_one_line(run, trained, tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    cases = [
        ([tmp_path / "bad.safetensors"], "bad.safetensors"),
        ([tmp_path / "absent.safetensors"], "absent.safetensors"),
        ([trained / "run/best.safetensors", "--note", "data"], "must look like key=value"),
    ]
    for words, message in cases:
        ended = run("export", *words, "--out", tmp_path / "out.onnx")
        assert ended.code == 2
        assert message in ended.err
        assert not (tmp_path / "out.onnx").exists()
