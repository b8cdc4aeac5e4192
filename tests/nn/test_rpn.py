# ruff: noqa: E402  (torch is optional)
import pytest

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from delineate.nn.anchors import base_anchors, grid_anchors
from delineate.nn.rpn import Limits, RPNHead, propose

MAPS = [(8, 10), (4, 5)]


def grid():
    return [
        grid_anchors(base_anchors(size, (0.5, 1, 2), rounded=True), cells, (stride, stride))
        for size, cells, stride in ((12, MAPS[0], 8), (24, MAPS[1], 16))
    ]


def outputs(seed=0):
    torch.manual_seed(seed)
    head = RPNHead(6, 3, 2)
    for value in head.parameters():
        torch.nn.init.normal_(value, std=0.3)
    features = [torch.randn(2, 6, *cells) for cells in MAPS]
    with torch.no_grad():
        return head, features, *head(features)


def test_proposals_lie_in_their_pictures_best_first():
    *_, logits, offsets = outputs()
    sizes = torch.tensor([[64, 80], [50, 33]])
    for (boxes, scores), (height, width) in zip(
        propose(logits, offsets, grid(), sizes, Limits(50, 30)), sizes.tolist(), strict=True
    ):
        assert 0 < len(boxes) <= 30
        assert boxes.min() >= 0
        assert boxes[:, 2].max() <= width
        assert boxes[:, 3].max() <= height
        assert (scores.diff() <= 0).all()
        assert ((boxes[:, 2:] - boxes[:, :2]) >= 1e-3).all()


def test_a_small_picture_may_have_none():
    *_, logits, offsets = outputs()
    nothing = torch.full((2, 2), 0)
    assert [len(boxes) for boxes, _ in propose(logits, offsets, grid(), nothing, Limits(50, 30))] == [0, 0]


def test_torchvision_proposes_the_same():
    theirs = pytest.importorskip("torchvision.models.detection.rpn", reason="the oracle is torchvision")
    from torchvision.models.detection.image_list import ImageList

    head, features, logits, offsets = outputs()
    twin = theirs.RPNHead(6, 3, 2)
    twin.load_state_dict(head.state_dict(), strict=True)
    anchors = theirs.AnchorGenerator(((12,), (24,)), ((0.5, 1.0, 2.0),) * 2)
    limits = {"training": 100, "testing": 100}
    network = theirs.RegionProposalNetwork(anchors, twin, 0.7, 0.3, 256, 0.5, limits, limits, 0.7).eval()
    images = ImageList(torch.zeros(2, 3, 64, 80), [(64, 80), (50, 33)])
    want, _ = network(images, dict(enumerate(features)))
    found = propose(logits, offsets, grid(), torch.tensor([[64, 80], [50, 33]]), Limits(100, 100))
    for (boxes, _), expected in zip(found, want, strict=True):
        torch.testing.assert_close(boxes, expected, rtol=1e-4, atol=1e-4)
