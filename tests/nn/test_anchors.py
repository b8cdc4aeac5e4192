# ruff: noqa: E402  (torch is optional)
import pytest

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from delineate.nn.anchors import base_anchors, grid_anchors


def test_detectron2_keeps_fractions():
    found = base_anchors(32, (0.5, 1, 2), rounded=False)
    assert found[0].tolist() == pytest.approx([-22.627417, -11.313708, 22.627417, 11.313708])


@pytest.mark.parametrize("size", [32, 64, 128, 256, 512])
def test_area_and_ratio(size):
    found = base_anchors(size, (0.5, 1, 2), rounded=False)
    sides = found[:, 2:] - found[:, :2]
    torch.testing.assert_close(sides.prod(1), torch.full((3,), float(size**2)))
    torch.testing.assert_close(sides[:, 1] / sides[:, 0], torch.tensor([0.5, 1, 2]))


def test_order_is_row_column_anchor():
    base = torch.tensor([[-1.0, -1, 1, 1], [-2, -2, 2, 2]])
    found = grid_anchors(base, (2, 3), (10, 7)).view(2, 3, 2, 4)
    assert found[1, 2, 1].tolist() == [12, 8, 16, 12]
    assert found[0, 1, 0].tolist() == [6, -1, 8, 1]


def test_torchvision_computes_the_same():
    module = pytest.importorskip(
        "torchvision.models.detection.anchor_utils", reason="the oracle is torchvision"
    )
    from torchvision.models.detection.image_list import ImageList

    sizes = ((32,), (64,), (128,), (256,), (512,))
    maps = [torch.zeros(1, 1, side, side + 1) for side in (25, 13, 7, 4, 2)]
    theirs = module.AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5)(
        ImageList(torch.zeros(1, 3, 800, 832), [(800, 832)]), maps
    )[0]
    ours = [
        grid_anchors(
            base_anchors(size, (0.5, 1, 2), rounded=True),
            tuple(level.shape[2:]),
            (800 // level.shape[2], 832 // level.shape[3]),
        )
        for (size,), level in zip(sizes, maps, strict=True)
    ]
    assert torch.equal(torch.cat(ours), theirs)
