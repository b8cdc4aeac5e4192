# ruff: noqa: E402  (torch is optional)
import pytest

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from delineate.nn.fpn import FPN


def test_every_level_sees_the_coarsest():
    model = FPN((4, 8, 16), 6, None)
    features = [torch.randn(1, depth, side, side) for depth, side in ((4, 8), (8, 4), (16, 2))]
    before = model(features)
    features[2] += 1
    after = model(features)
    assert [tuple(level.shape) for level in after] == [(1, 6, 8, 8), (1, 6, 4, 4), (1, 6, 2, 2), (1, 6, 1, 1)]
    assert all((a != b).any() for a, b in zip(before, after, strict=True))


def test_odd_sides():
    levels = FPN((4, 8), 6, None)([torch.zeros(1, 4, 5, 7), torch.zeros(1, 8, 3, 4)])
    assert [tuple(level.shape[2:]) for level in levels] == [(5, 7), (3, 4), (2, 2)]


@pytest.mark.parametrize("norm", [None, torch.nn.BatchNorm2d])
def test_torchvision_computes_the_same(norm):
    ops = pytest.importorskip("torchvision.ops", reason="the oracle is torchvision")
    theirs = ops.FeaturePyramidNetwork(
        [8, 16], 12, ops.feature_pyramid_network.LastLevelMaxPool(), norm_layer=norm
    ).eval()
    ours = FPN((8, 16), 12, norm).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    features = [torch.randn(2, 8, 7, 10), torch.randn(2, 16, 4, 5)]
    expected = theirs({"0": features[0], "1": features[1]})
    for a, b in zip(ours(features), expected.values(), strict=True):
        torch.testing.assert_close(a, b)
