# ruff: noqa: E402  (torch is optional)
import pytest

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from delineate.nn import nms as module
from delineate.nn.box_coding import pairwise_iou
from delineate.nn.nms import nms


def greedy(boxes, scores, groups, threshold):
    """The textbook's loop."""
    overlap = pairwise_iou(boxes, boxes)
    kept = []
    for index in scores.argsort(descending=True, stable=True).tolist():
        rivals = [other for other in kept if groups[other] == groups[index]]
        if not any(overlap[other, index] > threshold for other in rivals):
            kept.append(index)
    return kept


def crowd(count, seed, groups=3, spread=60.0):
    torch.manual_seed(seed)
    low = torch.rand(count, 2) * spread
    boxes = torch.cat((low, low + 10 + torch.rand(count, 2) * 20), 1)
    return boxes, torch.randperm(count) / count, torch.randint(0, groups, (count,))


@pytest.mark.parametrize("block", [7, 64, 1024])
@pytest.mark.parametrize("groups", [1, 4, 50])
@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_equals_the_loop(monkeypatch, block, groups, threshold):
    monkeypatch.setattr(module, "_BLOCK", block)
    given = crowd(200, groups, groups)
    assert nms(*given, threshold).tolist() == greedy(*given, threshold)


def test_a_long_chain():
    """Each box overlaps its neighbours only: every second one stays."""
    low = torch.arange(0, 300.0, 3)
    boxes = torch.stack((low, torch.zeros(100), low + 10, torch.full((100,), 10.0)), 1)
    kept = nms(boxes, torch.linspace(1, 0, 100), torch.zeros(100, dtype=torch.int64), 0.5)
    assert kept.tolist() == list(range(0, 100, 2))


def test_ties_keep_the_order():
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(4, 1)
    assert nms(boxes, torch.ones(4), torch.tensor([1, 0, 1, 0]), 0.5).tolist() == [0, 1]


def test_the_threshold_itself_does_not_suppress():
    boxes = torch.tensor([[0.0, 0, 2, 1], [0, 0, 1, 1]])
    scores, groups = torch.tensor([0.9, 0.8]), torch.zeros(2, dtype=torch.int64)
    assert nms(boxes, scores, groups, 0.5).tolist() == [0, 1]
    assert nms(boxes, scores, groups, 0.49).tolist() == [0]


def test_nothing():
    assert nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), 0.5).tolist() == []


@pytest.mark.parametrize("count", [300, 3000])
def test_torchvision_keeps_the_same(count):
    ops = pytest.importorskip("torchvision.ops", reason="the oracle is torchvision")
    boxes, scores, groups = crowd(count, 5, 5, 300.0)
    assert nms(boxes, scores, groups, 0.7).tolist() == ops.batched_nms(boxes, scores, groups, 0.7).tolist()
