"""SpineNet: the published sizes, and the outputs of tf-models-official's network, pinned by golden/make_spinenet.py."""

# ruff: noqa: E402  (torch is optional)

import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from delineate.nn import spinenet
from delineate.nn.spinenet import SIZES, SpineNet, SpineNetSize, pool

GOLDEN = Path(__file__).parent.parent / "golden"
sys.path.insert(0, str(GOLDEN))
import spinenet_scene

PUBLISHED = {"49": 22.1e6, "190": 127.1e6}
"""With a classifier of 1000 classes; paper, table 8."""
TINY = SpineNetSize(8, 0.0625, 0.5, 1)


@pytest.mark.parametrize("name", SIZES)
def test_parameters_are_the_published_ones(name):
    with torch.device("meta"):
        model = SpineNet(SIZES[name])
    count = sum(value.numel() for value in model.parameters())
    expected = {"49": 21_831_488, "190": 126_587_664}
    assert count == expected.get(name, count)
    if name in PUBLISHED:
        assert abs(count + (model.channels[0] + 1) * 1000 - PUBLISHED[name]) < 5e4
    assert all(wide > 0 for wide in (SIZES[name].channels(level) for level in range(2, 8)))


@pytest.mark.parametrize("name", spinenet_scene.SIZES)
def test_equals_the_reference(monkeypatch, name):
    monkeypatch.setattr(spinenet, "pool", spinenet_scene.keras_pool)
    model, picture = spinenet_scene.formula(SpineNet(spinenet_scene.SIZES[name]))
    with torch.no_grad():
        levels = model(picture)
    golden = json.loads((GOLDEN / "spinenet.json").read_text())[name]
    for level, want in zip(levels, golden, strict=True):
        assert list(level.shape) == want["shape"]
        scale = max(np.abs(want["first"]).max(), want["mean"])
        assert float(level.abs().mean()) == pytest.approx(want["mean"], rel=1e-4)
        found = level.flatten()[:: max(level.numel() // 8, 1)].numpy()
        np.testing.assert_allclose(found, want["first"], rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("factor", [2, 4])
def test_pooling_begins_at_the_cell_itself(factor):
    """TensorFlow's rule for sides that the stride divides: what is missing is added at the end."""
    torch.manual_seed(0)
    x = torch.randn(1, 1, 8, 16)
    found = pool(x, factor)[0, 0]
    for row in range(8 // factor):
        for column in range(16 // factor):
            y, left = row * factor, column * factor
            assert found[row, column] == x[0, 0, y : y + factor + 1, left : left + factor + 1].max()


def test_a_map_that_nothing_else_uses_joins_at_its_level():
    """Place 11 has no block after it, yet learns through place 14."""
    model = SpineNet(TINY).train()
    sum(level.sum() for level in model(torch.rand(2, 3, 128, 128))[2:3]).backward()
    assert all(value.grad is not None for value in model.blocks[11 - 2].parameters())


def test_every_parameter_learns():
    torch.manual_seed(0)
    model = SpineNet(TINY).train()
    sum((level * torch.randn_like(level)).sum() for level in model(torch.rand(2, 3, 128, 128))).backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in model.parameters())


def test_a_size_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="sides that are multiples of 128, got"):
        SpineNet(TINY)(torch.zeros(1, 3, 128, 192))


def test_drop_path_grows_from_place_to_place():
    model = SpineNet(TINY, drop_path=0.3)
    rates = [group[0].drop_path for group in model.blocks]
    np.testing.assert_allclose(rates, np.arange(1, 16) / 15 * 0.3)
    assert all(group[0].drop_path == 0 for group in model.stem_blocks)
    block = model.blocks[-1][0].train()
    block.drop_path = 0.5
    x = torch.rand(64, 64, 2, 2)
    torch.manual_seed(0)
    with torch.no_grad():
        same = (block(x) == block.act(x.clone())).flatten(1).all(1)
    assert 16 < int(same.sum()) < 48


@pytest.mark.parametrize(("parts", "free"), [(0, 5), (1, 3), (2, 1)])
def test_freezing_begins_at_the_stem(parts, free):
    model = SpineNet(TINY)
    model.freeze(parts)
    learning = {name.split(".")[0] for name, value in model.named_parameters() if value.requires_grad}
    assert len(learning) == free
    assert "endpoints" in learning
