"""A checkpoint predicts as the model that it holds, and says of itself what an exported file would."""

import dataclasses

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from delineate import models  # noqa: E402
from delineate.errors import RuntimeFailure, WeightsError  # noqa: E402
from delineate.models.fcn import segment_classes  # noqa: E402
from delineate.models.panoptic_fpn import segment_panoptic  # noqa: E402
from delineate.postprocess.panoptic import Rules  # noqa: E402
from delineate.train import checkpoint, load_config  # noqa: E402
from delineate.train.checkpoint import Header  # noqa: E402
from delineate.train.loop import preprocess_of  # noqa: E402
from delineate.trained import predictor  # noqa: E402


def written(path, name, **more):
    torch.manual_seed(0)
    rules = {"rules": Rules(stuff_area=7, score=0.1)} if "panoptic" in name else {}
    model = models.build(name, **rules).eval()
    private = ["data.root='/home/me/data'", "model.weights='/home/me/start.pt'"]
    config = load_config(overrides=["max_detections=9", *private])
    header = Header(
        model=name,
        architecture=dataclasses.asdict(model.config),
        classes=[f"c{n}" for n in range(model.config.classes)],
        epoch=1,
        step=1,
        metrics={},
        best=0.0,
        config=msgspec.to_builtins(config),
        **more,
    )
    checkpoint.write(path, model.state_dict(), header)
    return model, preprocess_of(model, config)


IMAGE = np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)


def test_a_panoptic_checkpoint(tmp_path):
    model, given = written(tmp_path / "a.safetensors", "panoptic_fpn-test", stuff=["x", "y", "z"])
    found = predictor(tmp_path / "a.safetensors", score=0.01)
    assert (found.classes, found.stuff) == (("c0", "c1"), ("x", "y", "z"))
    assert found.card.panoptic == Rules(stuff_area=7, score=0.1)
    assert found.thresholds.max_detections == 9
    rules = Rules(stuff_area=3, score=0.02)
    want = segment_panoptic(model, IMAGE, given, found.thresholds, rules)
    have = found.panoptic(IMAGE, rules)
    assert (have.map == want.map).mean() > 0.999  # its norms are folded
    assert found.predict(IMAGE).size == (50, 70)
    with pytest.raises(
        WeightsError, match=r"a.safetensors.* must be a semantic model, got one that gives panoptic"
    ):
        found.class_map(IMAGE)


def test_a_semantic_checkpoint(tmp_path):
    model, given = written(tmp_path / "a.safetensors", "fcn-test")
    found = predictor(tmp_path / "a.safetensors")
    assert (found.class_map(IMAGE).classes == segment_classes(model, IMAGE, given).classes).mean() > 0.999
    with pytest.raises(WeightsError, match="must be a panoptic model"):
        found.panoptic(IMAGE)


def test_folders_of_the_machine_that_trained_it_stay_out(tmp_path):
    written(tmp_path / "a.safetensors", "fcn-test")
    card = predictor(tmp_path / "a.safetensors").card
    assert card.provenance["config"]["model"]["weights"] == "start.pt"
    assert "/home" not in card.to_json()


def test_failures_of_torch_are_named(tmp_path, monkeypatch):
    written(tmp_path / "a.safetensors", "fcn-test")
    found = predictor(tmp_path / "a.safetensors")

    def broken(_):
        raise RuntimeError("can't allocate memory: you tried to allocate 9 bytes\nmore")

    monkeypatch.setattr(found.runtime._model, "export", broken)
    with pytest.raises(RuntimeFailure, match="can't allocate .*cut it into tiles"):
        found.class_map(IMAGE)


def test_damaged_files_are_refused(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="a.safetensors"):
        predictor(tmp_path / "a.safetensors")
