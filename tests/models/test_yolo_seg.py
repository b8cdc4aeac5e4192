"""YOLOv8-seg and YOLO11-seg: sizes, names, assignment and losses."""

# ruff: noqa: E402  (torch is optional)

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from delineate import models
from delineate.masks import Masks
from delineate.models import Target
from delineate.models._assign import Objects, assign, box_iou, candidates, ragged_cells
from delineate.models._losses import (
    Cells,
    complete_iou,
    distribution_focal,
    gather_cells,
    ragged_masks,
)
from delineate.models.yolo_seg import VARIANTS, WEIGHTS, Config, Outputs, YoloSeg

SIZES = {
    "v8n": (3_409_968, 417),
    "v8s": (11_821_056, 417),
    "v8m": (27_285_968, 537),
    "v8l": (45_997_728, 657),
    "v8x": (71_827_888, 657),
    "11n": (2_876_848, 561),
    "11s": (10_113_248, 561),
    "11m": (22_420_896, 711),
    "11l": (27_678_368, 1077),
    "11x": (62_142_656, 1077),
}
"""Parameters and keys of the state dict, as the official networks have them."""

KEYS = {
    "v8n": [
        "model.0.conv.weight",
        "model.0.bn.num_batches_tracked",
        "model.2.m.0.cv1.conv.weight",
        "model.22.cv2.0.1.conv.weight",
        "model.22.cv2.0.2.bias",
        "model.22.proto.upsample.bias",
        "model.22.dfl.conv.weight",
    ],
    "11n": [
        "model.6.m.0.m.1.cv2.conv.weight",
        "model.10.m.0.attn.qkv.conv.weight",
        "model.10.m.0.attn.pe.bn.running_var",
        "model.10.m.0.ffn.1.conv.weight",
        "model.23.cv3.0.0.1.conv.weight",
        "model.23.cv4.0.2.bias",
        "model.23.proto.cv3.conv.weight",
    ],
}


def on_meta(config):
    with torch.device("meta"):
        return YoloSeg(config)


@pytest.mark.parametrize("variant", SIZES)
def test_sizes_are_the_official_ones(variant):
    model = on_meta(VARIANTS[variant])
    state = model.state_dict()
    assert (sum(value.numel() for value in model.parameters()), len(state)) == SIZES[variant]
    assert set(KEYS.get(variant, [])) <= state.keys()


def test_weights_are_listed_with_their_licence():
    assert set(WEIGHTS) == set(SIZES)
    assert WEIGHTS["11n"].url.endswith("/yolo11n-seg.pt")
    assert {weights.licence for weights in WEIGHTS.values()} == {"AGPL-3.0-only"}


@pytest.mark.parametrize(("generation", "layers"), [(8, 22), (11, 23)])
def test_depthwise_class_heads_only_in_the_later_generation(generation, layers):
    state = on_meta(Config(generation=generation)).state_dict()
    assert (f"model.{layers}.cv3.0.0.0.conv.weight" in state) == (generation == 11)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generation": 9}, "generation must be 8 or 11, got 9"),
        ({"stem_strides": (1, 1)}, r"stem_strides must be .*, got \(1, 1\)"),
        ({"classes": 0}, r"classes must be in 1\.\.65536, got 0"),
        ({"reg_max": 1}, r"reg_max must be in 2\.\.65536, got 1"),
        ({"width": -1.0}, r"width must be in \(0, 16\], got -1.0"),
    ],
)
def test_a_bad_config_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Config(**change)


@pytest.mark.parametrize(
    ("stem", "strides"), [((2, 2), (8, 16, 32)), ((1, 2), (4, 8, 16)), ((2, 1), (4, 8, 16))]
)
def test_strides_follow_the_stem(stem, strides):
    config = dataclasses.replace(VARIANTS["test"], stem_strides=stem, generation=8)
    outputs = YoloSeg(config).eval()(torch.zeros(1, 3, 64, 64))
    assert config.strides == strides
    assert outputs.prototypes.shape == (1, 8, 128 // strides[0], 128 // strides[0])
    assert outputs.bins.shape == (1, sum((64 // stride) ** 2 for stride in strides), 64)


def test_nuclei_variant_is_small_enough_for_a_cpu():
    from torch.utils.flop_counter import FlopCounterMode

    config = VARIANTS["nuclei"]
    model = on_meta(config).eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 256, 256, device="meta"))
    assert config.strides == (4, 8, 16)
    assert config.prototype_stride == 2
    assert counter.get_total_flops() < 4.2e9


def test_first_scores_are_the_prior():
    logits = YoloSeg(VARIANTS["test"]).eval()(torch.zeros(1, 3, 64, 64)).logits
    prior = VARIANTS["test"].expected_objects / 2 * (4 / 640) ** 2
    assert float(logits[0, :256].detach().sigmoid().mean()) == pytest.approx(prior, rel=0.3)


def test_decoded_layout():
    model = YoloSeg(VARIANTS["test"]).eval()
    bins = torch.full((1, 336, 64), -50.0)
    for side, distance in enumerate((1, 2, 3, 4)):  # left, top, right, bottom
        bins[..., 16 * side + distance] = 50.0
    outputs = Outputs(bins, torch.zeros(1, 336, 2), torch.full((1, 336, 8), 3.0), torch.zeros(1, 8, 32, 32))
    numbers, cells = model.decoded(outputs)
    assert numbers.shape == (1, 4 + 2 + 8, 336)
    # Anchor 17: row 1, column 1 of the level with stride 4, centre (6, 6); box (2, -2) to (18, 22).
    assert numbers[0, :, 17].tolist() == pytest.approx([10, 10, 16, 24, 0.5, 0.5, *[3.0] * 8], abs=1e-4)
    # First anchor of the second level: 256 cells later, centre (4, 4), stride 8.
    assert numbers[0, :4, 256].tolist() == pytest.approx([12, 12, 32, 48], abs=1e-4)
    assert cells is outputs.prototypes


def test_ragged_cells_of_nothing():
    assert [len(part) for part in ragged_cells(torch.zeros((0, 4), dtype=torch.int64))] == [0, 0, 0]
    assert [len(part) for part in ragged_cells(torch.tensor([[2, 2, 1, 5]]))] == [0, 0, 0]


def boxes_within(size):
    """Boxes of any size from a point to the whole canvas."""
    side = st.floats(0, size, width=32)
    return st.tuples(side, side, side, side).map(
        lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
    )


@given(st.lists(boxes_within(64), max_size=6))
@settings(max_examples=40, deadline=None)
def test_candidates_are_the_anchors_inside(boxes):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    sizes, strides = [(16, 16), (8, 8), (4, 4)], (4, 8, 16)
    objects, anchors = candidates(boxes, sizes, strides)
    assert set(range(len(boxes))) == set(objects.tolist())  # also a point has one
    assert len(set(zip(objects.tolist(), anchors.tolist(), strict=True))) == len(objects)
    pairs = set(zip(objects.tolist(), anchors.tolist(), strict=True))
    offset = 0
    for (height, width), stride in zip(sizes, strides, strict=True):
        for anchor in range(height * width):
            x, y = (anchor % width + 0.5) * stride, (anchor // width + 0.5) * stride
            for index, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
                if x0 < x < x1 and y0 < y < y1:
                    assert (index, offset + anchor) in pairs
        offset += height * width


@pytest.mark.parametrize("box", [(63.5, 63.5, 64, 64), (0, 0, 0.1, 0.1), (32, 32, 32, 32), (10, 0, 10.5, 64)])
def test_tiny_objects_have_a_candidate(box):
    objects, _ = candidates(torch.tensor([box]).float(), [(16, 16), (8, 8), (4, 4)], (4, 8, 16))
    assert len(objects) >= 1


def brute_force(boxes, logits, objects, pairs, top, alpha, beta):
    """Task-aligned assignment on dense tables: anchor -> (object, soft target)."""
    count, anchors = len(objects.labels), logits.shape[1]
    metric, iou = np.full((count, anchors), -1.0), np.zeros((count, anchors))
    for i, a in zip(*(part.tolist() for part in pairs), strict=True):
        overlap = float(box_iou(boxes[objects.images[i], a : a + 1], objects.boxes[i : i + 1]))
        score = float(logits[objects.images[i], a, objects.labels[i]].sigmoid())
        metric[i, a], iou[i, a] = max(score, 1e-8) ** alpha * max(overlap, 1e-4) ** beta, overlap
    chosen = np.zeros((count, anchors), bool)
    for i in range(count):
        order = [a for a in np.argsort(-metric[i], kind="stable")[:top] if metric[i, a] >= 0]
        chosen[i, order] = True
    result = {}
    for image in range(len(logits)):
        for a in range(anchors):
            wanting = [i for i in range(count) if int(objects.images[i]) == image and chosen[i, a]]
            for i in wanting:
                chosen[i, a] = i == max(wanting, key=lambda j: iou[j, a])
    for i, a in zip(*np.nonzero(chosen), strict=True):
        best, best_iou = metric[i][chosen[i]].max(), iou[i][chosen[i]].max()
        result[int(objects.images[i]), int(a)] = (int(i), metric[i, a] / best * best_iou)
    return result


@pytest.mark.parametrize("seed", range(4))
def test_assignment_equals_the_dense_definition(seed):
    rng = torch.Generator().manual_seed(seed)
    sizes, strides = [(8, 8), (4, 4), (2, 2)], (4, 8, 16)
    centres = torch.cat(
        [
            torch.stack(torch.meshgrid(*[(torch.arange(n) + 0.5) * s] * 2, indexing="xy"), -1).reshape(-1, 2)
            for (n, _), s in zip(sizes, strides, strict=True)
        ]
    )
    reach = torch.rand(2, 84, 2, generator=rng) * 12 + 1
    boxes = torch.cat((centres - reach, centres + reach), -1)
    corner = torch.rand(7, 2, generator=rng) * 20
    truth = torch.cat((corner, corner + torch.rand(7, 2, generator=rng) * 12 + 1), 1)
    objects = Objects(truth, torch.randint(3, (7,), generator=rng), torch.tensor([0, 0, 0, 0, 0, 1, 1]))
    logits = torch.randn(2, 84, 3, generator=rng)
    pairs = candidates(truth, sizes, strides)
    found = assign(boxes, logits, objects, pairs, top=10, exponents=(0.5, 6.0))
    expected = brute_force(boxes, logits, objects, pairs, 10, 0.5, 6.0)
    got = {
        (image, anchor): (owner, score)
        for image, anchor, owner, score in zip(*(part.tolist() for part in found), strict=True)
    }
    assert {key: owner for key, (owner, _) in got.items()} == {
        key: owner for key, (owner, _) in expected.items()
    }
    for key, (_, score) in got.items():
        assert score == pytest.approx(expected[key][1], rel=1e-3, abs=2e-4)


def test_assignment_without_objects():
    objects = Objects(
        torch.zeros((0, 4)), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    )
    pairs = candidates(objects.boxes, [(2, 2)], (4,))
    found = assign(torch.zeros(1, 4, 4), torch.zeros(1, 4, 2), objects, pairs, top=10, exponents=(0.5, 6.0))
    assert [len(part) for part in found] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("box", "truth", "expected"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1.0),
        ((0, 0, 2, 2), (2, 2, 4, 4), -8 / 32),  # no overlap: minus the squared distance over the diagonal
        ((0, 0, 4, 4), (1, 1, 3, 3), 4 / 16),  # same centre, same shape
    ],
)
def test_complete_iou(box, truth, expected):
    value = complete_iou(torch.tensor([box]).float(), torch.tensor([truth]).float())
    assert float(value) == pytest.approx(expected, abs=1e-6)


def test_complete_iou_punishes_the_aspect():
    value = float(complete_iou(torch.tensor([[0.0, 0, 4, 1]]), torch.tensor([[1.5, -1.5, 2.5, 2.5]])))
    aspect = 4 / math.pi**2 * (math.atan(1 / 4) - math.atan(4)) ** 2
    assert value == pytest.approx(1 / 7 - aspect**2 / (6 / 7 + aspect), abs=1e-5)


def test_complete_iou_of_empty_boxes_is_finite():
    boxes = torch.zeros(1, 4, requires_grad=True)
    value = complete_iou(boxes, torch.zeros(1, 4)).sum()
    value.backward()
    assert value.isfinite()
    assert boxes.grad.isfinite().all()


def test_distribution_focal_is_least_at_the_truth():
    distances = torch.tensor([[2.25, 0.0, 14.9, 40.0]])
    logits = torch.full((1, 4, 16), -30.0)
    for side, (low, share) in enumerate([(2, 0.25), (0, 0.0), (14, 0.9), (14, 0.99)]):
        logits[0, side, low] = math.log(max(1 - share, 1e-9))
        logits[0, side, low + 1] = math.log(max(share, 1e-9))
    entropy = -sum(p * math.log(p) for p in (0.75, 0.25, 1.0, 0.1, 0.9, 0.01, 0.99)) / 4
    assert float(distribution_focal(logits, distances)) == pytest.approx(entropy, abs=1e-4)


@pytest.mark.parametrize("mkl", [True, False])
def test_ragged_masks_equal_dense_ones(mkl, monkeypatch):
    if mkl and not torch.backends.mkl.is_available():
        pytest.skip("this torch has no MKL, hence no sparse products")
    monkeypatch.setattr("torch.backends.mkl.is_available", lambda: mkl)
    rng = np.random.default_rng(0)
    dense = rng.random((4, 24, 32)) < 0.3
    dense[1, :, 20:] = False
    dense[3] = False
    masks = Masks.from_dense(dense)
    targets = [
        Target(torch.zeros(3, 4), torch.zeros(3, dtype=torch.int64), masks[:3]),
        Target(torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64), None),
        Target(torch.zeros(1, 4), torch.zeros(1, dtype=torch.int64), masks[3:]),
    ]
    cells = gather_cells(targets, 2, torch.device("cpu"))
    assert cells.offsets.shape == (7,)
    coefficients = torch.randn(5, 8, requires_grad=True)
    prototypes = torch.randn(3, 8, 12, 16, requires_grad=True)
    objects = torch.tensor([0, 1, 1, 2, 5])
    images = torch.tensor([0, 0, 0, 0, 2])
    losses = ragged_masks(coefficients, prototypes, images, objects, cells)
    losses.sum().backward()
    gradients = coefficients.grad.clone(), prototypes.grad.clone()
    coefficients.grad = prototypes.grad = None

    soft = torch.from_numpy(dense.reshape(4, 12, 2, 16, 2).mean((2, 4))).float()
    expected = []
    for row, (image, index) in enumerate(zip(images.tolist(), objects.tolist(), strict=True)):
        x0, y0, x1, y1 = cells.boxes[index].tolist()
        logits = torch.einsum("k,khw->hw", coefficients[row], prototypes[image])[y0:y1, x0:x1]
        truth = soft[min(index, 3)][y0:y1, x0:x1]
        bce = torch.nn.functional.binary_cross_entropy_with_logits
        expected.append(bce(logits, truth) if logits.numel() else logits.sum())
    torch.testing.assert_close(losses, torch.stack(expected))
    torch.stack(expected).sum().backward()
    torch.testing.assert_close(gradients[0], coefficients.grad)
    torch.testing.assert_close(gradients[1], prototypes.grad)


def test_ragged_masks_of_nothing():
    nothing = torch.zeros(0, dtype=torch.int64)
    cells = Cells(torch.zeros(0), torch.zeros(1, dtype=torch.int64), torch.zeros((0, 4), dtype=torch.int64))
    prototypes = torch.randn(1, 8, 4, 4, requires_grad=True)
    losses = ragged_masks(torch.zeros(0, 8), prototypes, nothing, nothing, cells)
    losses.sum().backward()
    assert losses.shape == (0,)
    assert prototypes.grad.abs().sum() == 0


def test_an_object_of_one_pixel_is_learned_from():
    dense = np.zeros((1, 64, 64), bool)
    dense[0, 63, 63] = True
    target = Target(torch.tensor([[63.0, 63, 64, 64]]), torch.tensor([1]), Masks.from_dense(dense))
    losses = models.build("yolo_seg-test").losses(torch.rand(1, 3, 64, 64), [target])
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())


def test_many_objects_on_one_spot():
    count = 60
    dense = np.zeros((count, 64, 64), bool)
    dense[:, 20:40, 20:40] = True
    boxes = torch.tensor([[20.0, 20, 40, 40]]).repeat(count, 1)
    target = Target(boxes, torch.zeros(count, dtype=torch.int64), Masks.from_dense(dense))
    losses = models.build("yolo_seg-test").losses(torch.rand(1, 3, 64, 64), [target])
    assert all(loss.isfinite() for loss in losses.values())
