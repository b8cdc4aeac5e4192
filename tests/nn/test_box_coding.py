# ruff: noqa: E402  (torch is optional)
import math

import pytest

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from delineate.nn.box_coding import LARGEST_LOG, clip, decode, encode, pairwise_iou

WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def boxes(count, seed):
    torch.manual_seed(seed)
    low = torch.rand(count, 2) * 80
    return torch.cat((low, low + torch.rand(count, 2) * 40 + 0.5), 1)


def test_decode_undoes_encode():
    want, anchors = boxes(50, 0), boxes(50, 1)
    torch.testing.assert_close(
        decode(encode(want, anchors, WEIGHTS), anchors, WEIGHTS), want, rtol=1e-5, atol=1e-4
    )


def test_the_formula_of_the_paper():
    box, anchor = [[10.0, 20.0, 30.0, 60.0]], [[12.0, 14.0, 22.0, 34.0]]
    dx, dy = (20 - 17) / 10, (40 - 24) / 20
    expected = torch.tensor([[10 * dx, 10 * dy, 5 * math.log(20 / 10), 5 * math.log(40 / 20)]])
    torch.testing.assert_close(encode(torch.tensor(box), torch.tensor(anchor), WEIGHTS), expected)


def test_growth_is_capped_from_above_only():
    anchor = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    found = decode(torch.tensor([[0.0, 0.0, 99.0, -99.0]]), anchor, (1.0, 1.0, 1.0, 1.0))
    torch.testing.assert_close(found[0, 2] - found[0, 0], torch.tensor(10 * math.exp(LARGEST_LOG)))
    assert found[0, 3] - found[0, 1] == 0


def test_a_floor_bounds_the_shrinking():
    anchor, offsets = torch.tensor([[0.0, 0.0, 125.0, 125.0]]), torch.tensor([[0.0, 0.0, -9.0, -1.0]])
    (free,), (floored,) = (decode(offsets, anchor, (1.0,) * 4, floored=floored) for floored in (False, True))
    assert float(floored[2] - floored[0]) == pytest.approx(125 * 16 / 1000, rel=1e-5)
    assert float(free[2] - free[0]) < 0.1
    assert torch.equal(free[1::2], floored[1::2])


def test_one_anchor_for_several_classes():
    offsets, anchors = torch.randn(6, 3, 4), boxes(6, 2)
    found = decode(offsets, anchors[:, None], WEIGHTS)
    torch.testing.assert_close(found[:, 1], decode(offsets[:, 1], anchors, WEIGHTS))


def test_clip_by_picture():
    given = torch.tensor([[[-5.0, -5.0, 50.0, 50.0]], [[-5.0, -5.0, 50.0, 50.0]]])
    found = clip(given, torch.tensor([[10, 20], [60, 40]])[:, None])
    assert found.tolist() == [[[0, 0, 20, 10]], [[0, 0, 40, 50]]]


def test_iou_of_nothing():
    assert pairwise_iou(torch.zeros(0, 4), boxes(3, 0)).shape == (0, 3)


def test_iou_by_counting_pixels():
    torch.manual_seed(3)
    corners = torch.randint(0, 12, (8, 2, 2)).sort(1).values + torch.tensor([[0, 0], [1, 1]])
    given = corners.flatten(1).float()
    bitmaps = torch.zeros(8, 14, 14)
    for bitmap, (left, top, right, bottom) in zip(bitmaps, given.int().tolist(), strict=True):
        bitmap[top:bottom, left:right] = 1
    shared = torch.einsum("nhw,mhw->nm", bitmaps, bitmaps)
    areas = bitmaps.sum((1, 2))
    torch.testing.assert_close(pairwise_iou(given, given), shared / (areas[:, None] + areas - shared))
