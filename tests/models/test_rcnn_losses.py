"""Losses of two-stage detectors: values of torchvision (golden/make_rcnn_losses.py), torchvision itself, formulas."""

# ruff: noqa: E402  (torch is optional)

import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from delineate.masks import Masks
from delineate.models import Target
from delineate.models import _rcnn_losses as losses
from delineate.models._assign import gather_objects
from delineate.models._rcnn_losses import ANCHORS, PROPOSALS, Drawn, draw, rematch, with_truth
from delineate.nn.box_coding import decode, encode, pairwise_iou

GOLDEN = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))

import rcnn_scene as scene

PINNED = json.loads((GOLDEN / "rcnn_losses.json").read_text("utf-8"))
HEAD = (10.0, 10.0, 5.0, 5.0)
FIRST = torch.tensor([1, 2, 3])  # logits of the classes where the background comes first
ALL = 1 << 20  # boxes drawn: all there are


def targets():
    return [
        Target(
            torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
            torch.tensor(labels, dtype=torch.int64),
            Masks.from_dense(scene.masks(picture)),
        )
        for picture, (boxes, labels) in enumerate(zip(scene.OBJECTS, scene.LABELS, strict=True))
    ]


def truth():
    return gather_objects(targets(), 3, scene.CLASSES, scene.SIZE, torch.device("cpu"))


def anchors():
    return [torch.from_numpy(scene.anchors())] * 3


def outputs(*shape, seed, scale):
    return torch.from_numpy(scene.wave(*shape, seed=seed, scale=scale))


def all_proposals():
    """Everything is drawn; in the order of the boxes, as torchvision has it."""
    given = with_truth([torch.from_numpy(scene.proposals(picture)) for picture in range(3)], truth())
    drawn = draw(given, truth(), PROPOSALS._replace(boxes=ALL, share=1.0))
    order = (drawn.images * ALL + drawn.places).argsort()
    return Drawn(*(part[order] for part in drawn))


def test_proposal_losses_equal_torchvisions():
    objects = truth()
    drawn = draw(anchors(), objects, ANCHORS._replace(boxes=ALL, share=1.0))
    count = len(scene.anchors())
    logits = outputs(3, count, seed=1.0, scale=3)
    offsets = outputs(3, count, 4, seed=2.0, scale=0.5)
    found = losses.proposal_losses(logits, offsets, drawn, objects, beta=1 / 9)
    assert [float(loss) for loss in found] == pytest.approx(
        [PINNED["objectness"], PINNED["rpn_box"]], rel=1e-5
    )


def test_head_losses_equal_torchvisions():
    objects, drawn = truth(), all_proposals()
    assert len(drawn.images) == PINNED["drawn"]
    logits = outputs(len(drawn.images), 4, seed=3.0, scale=3)
    offsets = outputs(len(drawn.images), 4, 4, seed=4.0, scale=2)
    wanted = losses.winners(drawn, objects, FIRST, 0)
    found = losses.box_losses(logits, offsets, drawn, objects, wanted, weights=HEAD, beta=1 / 9)
    assert [float(loss) for loss in found] == pytest.approx([PINNED["classes"], PINNED["box"]], rel=1e-5)


def test_mask_loss_equals_torchvisions():
    objects, drawn = truth(), all_proposals().positive()
    assert len(drawn.images) == PINNED["positive"]
    cells = losses.mask_targets(targets(), drawn, objects, side=28, binary=False)
    logits = outputs(len(drawn.images), 4, 28, 28, seed=5.0, scale=4)
    own = logits[torch.arange(len(logits)), losses.winners(drawn, objects, FIRST, 0)]
    assert float(losses.mask_loss(own, cells)) == pytest.approx(PINNED["mask"], rel=1e-5)


def test_detectron2s_conventions_are_other_parameters():
    objects, drawn = truth(), all_proposals()
    positive = drawn.positive()
    count = len(drawn.images)
    logits = outputs(count, 4, seed=3.0, scale=3)
    offsets = outputs(count, 3, 4, seed=4.0, scale=2)
    columns = losses.winners(drawn, objects, torch.arange(3), 3)
    labels, boxes = losses.box_losses(logits, offsets, drawn, objects, columns, weights=HEAD, beta=0.0)
    assert torch.equal(columns, torch.where(drawn.objects >= 0, objects.labels[drawn.objects], 3))
    assert float(labels) == pytest.approx(
        -float(logits.log_softmax(1)[range(count), columns].mean()), rel=1e-5
    )
    rows = (drawn.objects >= 0).nonzero()[:, 0]
    own = offsets[rows, objects.labels[positive.objects]]
    wanted = encode(objects.boxes[positive.objects], positive.boxes, HEAD)
    assert float(boxes) == pytest.approx(float((own - wanted).abs().sum()) / count, rel=1e-5)

    drawn = draw(anchors(), objects, ANCHORS)
    logits = outputs(3, len(scene.anchors()), seed=1.0, scale=3)
    offsets = outputs(3, len(scene.anchors()), 4, seed=2.0, scale=0.5)
    plain = losses.proposal_losses(logits, offsets, drawn, objects, beta=0.0)
    fixed = losses.proposal_losses(logits, offsets, drawn, objects, beta=0.0, per_image=256)
    for one, other in zip(plain, fixed, strict=True):
        assert float(one) * len(drawn.images) == pytest.approx(float(other) * 256 * 3, rel=1e-5)


def test_stages_of_a_cascade_match_again():
    objects = truth()
    first = all_proposals()
    shuffled = torch.randperm(len(first.images), generator=torch.Generator().manual_seed(1))
    boxes, images = first.boxes[shuffled], first.images[shuffled]
    for threshold in (0.5, 0.6, 0.7):
        drawn = rematch(boxes, images, objects, threshold)
        overlap = pairwise_iou(objects.boxes, boxes)
        overlap[objects.images[:, None] != images] = -1
        best, owner = overlap.max(0)
        assert torch.equal(drawn.objects, torch.where(best >= threshold, owner, -1))
        assert torch.equal(drawn.boxes, boxes)
    offsets = outputs(len(boxes), 1, 4, seed=4.0, scale=2)  # one row for all classes
    logits = outputs(len(boxes), 4, seed=3.0, scale=3)
    weights = (30.0, 30.0, 15.0, 15.0)
    columns = losses.winners(drawn, objects, torch.arange(3), 3)
    _, found = losses.box_losses(logits, offsets, drawn, objects, columns, weights=weights, beta=0.0)
    positive = drawn.positive()
    wanted = encode(objects.boxes[positive.objects], positive.boxes, weights)
    want = (offsets[drawn.objects >= 0, 0] - wanted).abs().sum() / len(boxes)
    assert float(found) == pytest.approx(float(want), rel=1e-5)


def test_every_object_is_drawn_once_its_box_is_a_proposal():
    objects = truth()
    given = with_truth([torch.zeros((0, 4))] * 3, objects)
    assert [len(boxes) for boxes in given] == [3, 1, 0]
    drawn = draw(given, objects, PROPOSALS._replace(share=1.0))
    assert sorted(drawn.objects.tolist()) == [0, 1, 2, 3]
    assert torch.equal(objects.images[drawn.objects], drawn.images)


def test_without_objects_only_background_is_learnt():
    empty = [Target(torch.zeros((0, 4)), torch.zeros(0, dtype=torch.int64), None)] * 2
    objects = gather_objects(empty, 2, 3, scene.SIZE, torch.device("cpu"))
    drawn = draw(anchors()[:2], objects, ANCHORS)
    assert len(drawn.images) == 512
    assert len(drawn.positive().images) == 0
    logits, offsets = torch.zeros(512, 4, requires_grad=True), torch.zeros(512, 4, 4, requires_grad=True)
    wanted = losses.winners(drawn, objects, FIRST, 0)
    labels, boxes = losses.box_losses(logits, offsets, drawn, objects, wanted, weights=HEAD, beta=1 / 9)
    masks = torch.zeros(0, 28, 28, requires_grad=True)
    mask = losses.mask_loss(
        masks, losses.mask_targets(empty, drawn.positive(), objects, side=28, binary=True)
    )
    (labels + boxes + mask).backward()
    assert float(labels.detach()) == pytest.approx(np.log(4))
    assert float(boxes.detach()) == float(mask.detach()) == 0
    assert all(value.grad.isfinite().all() for value in (logits, offsets, masks))
    none = Drawn(torch.zeros(0, 4), *(torch.zeros(0, dtype=torch.int64),) * 3)
    head = torch.zeros(0, 4), torch.zeros(0, 1, 4)
    found = losses.box_losses(*head, none, objects, none.objects, weights=HEAD, beta=0.0)
    assert [float(loss) for loss in found] == [0, 0]


def test_boxes_are_compared_as_boxes():
    """By hand: boxes side by side, one inside the other, apart, and the same."""
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 4, 4], [0, 0, 1, 1], [3, 1, 5, 9]])
    others = torch.tensor([[2.0, 0, 4, 2], [1, 1, 3, 3], [2, 2, 3, 3], [3, 1, 5, 9]])
    want = torch.tensor([0.0, 0.25, -7 / 9, 1.0])
    torch.testing.assert_close(losses.generalised_iou(boxes, others), want)
    drawn = all_proposals()
    count = len(drawn.boxes)
    logits, offsets = outputs(count, 4, seed=1, scale=2), outputs(count, 3, 4, seed=2, scale=2)
    wanted = losses.winners(drawn, truth(), torch.arange(3), 3)
    given = logits, offsets, drawn, truth(), wanted
    label, box = losses.decoded_box_losses(*given, weights=HEAD, floored=True)
    assert float(label) == pytest.approx(float(losses.box_losses(*given, weights=HEAD, beta=1.0)[0]))
    positive = drawn.positive()
    own = offsets[(drawn.objects >= 0).nonzero()[:, 0], wanted[drawn.objects >= 0]]
    unlike = 1 - losses.generalised_iou(decode(own, positive.boxes, HEAD), truth().boxes[positive.objects])
    assert float(box) == pytest.approx(float(unlike.sum()) / count, rel=1e-5)


def test_torchvision_compares_boxes_the_same():
    theirs = pytest.importorskip("torchvision.ops", reason="the oracle is torchvision")
    boxes = torch.rand(200, 4, generator=torch.Generator().manual_seed(0)) * 20
    boxes[:, 2:] += boxes[:, :2] + 0.1
    others = boxes.roll(1, 0)
    want = 1 - theirs.generalized_box_iou_loss(boxes, others)
    torch.testing.assert_close(losses.generalised_iou(boxes, others), want, rtol=1e-5, atol=1e-6)


def test_objects_without_masks_teach_no_mask():
    objects, drawn = truth(), all_proposals().positive()
    given = [targets()[0], targets()[1]._replace(masks=None), targets()[2]]
    cells = losses.mask_targets(given, drawn, objects, side=28, binary=True)
    known = cells[:, 0, 0].isfinite()
    assert torch.equal(known, drawn.images == 0)
    assert set(cells[known].unique().tolist()) == {0.0, 1.0}
    soft = losses.mask_targets(given, drawn, objects, side=28, binary=False)
    assert float((soft[known] - cells[known]).abs().mean()) < 0.1
    logits = torch.where(cells > 0.5, 20.0, -20.0)
    logits[~known] = 77.0
    assert float(losses.mask_loss(logits, cells)) == pytest.approx(0, abs=1e-6)


def test_torchvision_draws_and_weighs_the_same():
    theirs = pytest.importorskip("torchvision.models.detection.roi_heads", reason="the oracle is torchvision")
    heads = theirs.RoIHeads(None, None, None, 0.5, 0.5, 24, 0.25, None, 0.05, 0.5, 100)
    given = [torch.from_numpy(scene.proposals(picture)) for picture in range(3)]
    wanted = [{"boxes": target.boxes, "labels": target.labels + 1} for target in targets()]
    torch.manual_seed(3)
    boxes, _, labels, offsets = heads.select_training_samples(list(given), wanted)
    torch.manual_seed(3)
    objects = truth()
    drawn = draw(with_truth(given, objects), objects, PROPOSALS._replace(boxes=24))
    order = (drawn.images * ALL + drawn.places).argsort()
    drawn = Drawn(*(part[order] for part in drawn))
    assert torch.equal(drawn.boxes, torch.cat(boxes))
    columns = losses.winners(drawn, objects, FIRST, 0)
    assert torch.equal(columns, torch.cat(labels))
    count = len(columns)
    logits, found = outputs(count, 4, seed=3.0, scale=3), outputs(count, 16, seed=4.0, scale=2)
    ours = losses.box_losses(logits, found.view(-1, 4, 4), drawn, objects, columns, weights=HEAD, beta=1 / 9)
    expected = theirs.fastrcnn_loss(logits, found, labels, offsets)
    torch.testing.assert_close(torch.stack(ours), torch.stack(expected), rtol=1e-5, atol=1e-6)
