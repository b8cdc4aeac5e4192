# ruff: noqa: E402  (torch is optional)
import pytest

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from delineate.nn import matching
from delineate.nn.box_coding import pairwise_iou
from delineate.nn.matching import BACKGROUND, IGNORED, match, sample


def scene(objects, boxes, seed=0):
    torch.manual_seed(seed)
    parts = []
    for count in (objects, boxes):
        low = torch.rand(count, 2) * 60
        parts.append(torch.cat((low, low + 8 + torch.rand(count, 2) * 20), 1))
    return parts


@pytest.mark.parametrize("cells", [1, 50, 1 << 22])
@pytest.mark.parametrize("rescue", [False, True])
def test_equals_the_definition(monkeypatch, cells, rescue):
    monkeypatch.setattr(matching, "_CELLS", cells)
    objects, boxes = scene(6, 80)
    overlap = pairwise_iou(objects, boxes)
    found = match(objects, boxes, high=0.6, low=0.2, rescue=rescue).tolist()
    for index in range(80):
        best = float(overlap[:, index].max())
        owner = int(overlap[:, index].argmax())
        want = owner if best >= 0.6 else IGNORED if best >= 0.2 else BACKGROUND
        if rescue and any(overlap[i, index] == overlap[i].max() for i in range(6)):
            want = owner
        assert found[index] == want


def test_no_objects_and_no_boxes():
    objects, boxes = scene(3, 4)
    assert match(objects[:0], boxes, high=0.7, low=0.3, rescue=True).tolist() == [BACKGROUND] * 4
    assert match(objects, boxes[:0], high=0.7, low=0.3, rescue=True).tolist() == []


def test_an_object_that_nothing_overlaps_rescues_nothing():
    objects = torch.tensor([[500.0, 500.0, 510.0, 510.0]])
    assert match(objects, scene(1, 5)[1], high=0.7, low=0.3, rescue=True).tolist() == [BACKGROUND] * 5


def test_best_boxes_are_taken_from_objects_that_overlap_them_more():
    """mmdetection's rule, pair by pair; the last object wins."""
    objects = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 6.0], [30.0, 0.0, 40.0, 10.0]])
    boxes = torch.tensor([[0.0, 0.0, 10.0, 9.0], [38.0, 0.0, 48.0, 10.0], [60.0, 0.0, 62.0, 2.0]])
    options = {"high": 0.7, "low": 0.3, "rescue": True}
    assert match(objects, boxes, **options).tolist() == [0, 2, BACKGROUND]
    assert match(objects, boxes, **options, taken_from=0.3).tolist() == [1, BACKGROUND, BACKGROUND]
    assert match(objects, boxes, **options, taken_from=0.1).tolist() == [1, 2, BACKGROUND]


def test_background_fills_up():
    matches = torch.tensor([0] * 3 + [IGNORED] * 5 + [BACKGROUND] * 50)
    positive, negative = sample(matches, 20, 0.5)
    assert sorted(positive.tolist()) == [0, 1, 2]
    assert len(set(negative.tolist())) == 17
    assert (matches[negative] == BACKGROUND).all()


def test_the_share_is_kept():
    positive, negative = sample(torch.tensor([0] * 30 + [BACKGROUND] * 4), 20, 0.5)
    assert (len(positive), len(negative)) == (10, 4)


def test_what_torchvision_makes_of_an_object_without_overlap():
    theirs = pytest.importorskip("torchvision.models.detection._utils", reason="the oracle is torchvision")
    objects = torch.tensor([[0.0, 0.0, 9.0, 9.0], [500.0, 500.0, 510.0, 510.0]])
    boxes = torch.tensor([[0.0, 0.0, 9.0, 8.0], [20.0, 20.0, 30.0, 30.0], [0.0, 0.0, 2.0, 2.0]])
    assert match(objects, boxes, high=0.7, low=0.3, rescue=True).tolist() == [0, BACKGROUND, BACKGROUND]
    assert theirs.Matcher(0.7, 0.3, True)(pairwise_iou(objects, boxes)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(("high", "low", "rescue"), [(0.7, 0.3, True), (0.5, 0.5, False)])
def test_torchvision_does_the_same(high, low, rescue):
    theirs = pytest.importorskip("torchvision.models.detection._utils", reason="the oracle is torchvision")
    objects, boxes = scene(7, 3000, 4)
    want = theirs.Matcher(high, low, rescue)(pairwise_iou(objects, boxes))
    found = match(objects, boxes, high=high, low=low, rescue=rescue)
    assert torch.equal(found, want)
    labels = torch.where(want >= 0, 1, torch.where(want == BACKGROUND, 0, -1))
    torch.manual_seed(9)
    (positive,), (negative,) = theirs.BalancedPositiveNegativeSampler(256, 0.5)([labels])
    torch.manual_seed(9)
    ours = sample(found, 256, 0.5)
    assert sorted(ours[0].tolist()) == positive.nonzero()[:, 0].tolist()
    assert sorted(ours[1].tolist()) == negative.nonzero()[:, 0].tolist()
