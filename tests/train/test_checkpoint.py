"""Checkpoints: whole or not there, and read back exactly."""

import json

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra [torch]")

from delineate import models  # noqa: E402
from delineate.errors import WeightsError  # noqa: E402
from delineate.train import checkpoint  # noqa: E402
from delineate.train.checkpoint import Average, Header  # noqa: E402

HEADER = Header(
    model="yolo_seg-test",
    architecture={},
    classes=["a", "b"],
    epoch=3,
    step=12,
    metrics={"mask_ap": 0.5},
    best=0.5,
    config={},
)


def test_tensors_and_header_survive(tmp_path):
    tensors = {"a": torch.randn(3, 4), "b": torch.tensor(7), "c": torch.randn(2, 3, 4).transpose(0, 2)}
    checkpoint.write(tmp_path / "x.safetensors", tensors, HEADER)
    read, header = checkpoint.read(tmp_path / "x.safetensors")
    assert header == HEADER
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    assert json.loads((tmp_path / "x.json").read_text())["epoch"] == 3


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"\x10" + b"\0" * 7 + b"{}" + b" " * 14])
def test_damage_is_named(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"x\.safetensors"):
        checkpoint.read(path)


def test_an_optimiser_continues_where_it_was():
    def steps(model, optimiser, count):
        for _ in range(count):
            optimiser.zero_grad()
            model(torch.ones(2, 3)).square().sum().backward()
            optimiser.step()

    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    steps(model, optimiser, 3)
    kept = {name: value.clone() for name, value in checkpoint.optimiser_tensors(optimiser).items()}
    twin = torch.nn.Linear(3, 2)
    twin.load_state_dict(model.state_dict())
    other = torch.optim.AdamW(twin.parameters(), lr=0.1)
    checkpoint.load_optimiser(other, kept)
    steps(model, optimiser, 3)
    steps(twin, other, 3)
    assert torch.equal(model.weight, twin.weight)


def test_prefixes_take_apart_what_they_put_together():
    tensors = {"x": torch.ones(1)}
    both = {**checkpoint.prefixed(tensors, "model/"), **checkpoint.prefixed(tensors, "ema/")}
    assert checkpoint.part(both, "ema/").keys() == {"x"}
    assert len(both) == 2


def test_the_average_follows_the_formula():
    model = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    average = Average(model, decay=0.9, ramp=2)
    expected = 0.0
    for step in range(1, 6):
        with torch.no_grad():
            model.weight.fill_(float(step))
        average.update(model, step)
        decay = 0.9 * (1 - torch.exp(torch.tensor(-step / 2)).item())
        expected = decay * expected + (1 - decay) * step
    assert average.tensors["weight"].item() == pytest.approx(expected, rel=1e-5)


def test_a_checkpoint_of_a_run_is_loaded_by_its_header(tmp_path):
    model = models.build("yolo_seg-test", classes=2)
    checkpoint.write(tmp_path / "x.safetensors", model.state_dict(), HEADER)
    loaded = models.load(tmp_path / "x.safetensors")
    assert (loaded.name, loaded.classes) == ("yolo_seg-test", ("a", "b"))
    assert loaded.header["epoch"] == 3
