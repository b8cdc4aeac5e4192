import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delineate.masks import Masks
from delineate.postprocess.decode import Placement, Thresholds, crops, prototypes

PLAIN = Placement(1.0, 1.0, 0, 0)
EVERYTHING = Thresholds(score=0.0, iou=1.0, max_detections=10_000)


def head_of(boxes, scores, coefficients):
    """The (4 + K + M, A) layout from xyxy boxes, (A, K) probabilities and (A, M) coefficients."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    return np.concatenate([centres, sizes, np.asarray(scores), np.asarray(coefficients)], axis=1).T.astype(
        np.float32
    )


def one(box, cells, *, size=(16, 16), input_size=(16, 16), placement=PLAIN, threads=0):
    """Decode a single object whose logits are `cells`."""
    head = head_of([box], [[0.9]], [[1.0]])
    return prototypes(
        [head[None], np.asarray(cells, np.float32)[None, None]],
        placement=placement,
        size=size,
        input_size=input_size,
        thresholds=Thresholds(),
        classes=1,
        threads=threads,
    )


def logits_at(coefficients, cells, placement, size, input_size):
    """(N, H, W) float64: logits interpolated to the centre of every pixel of the picture."""
    logits = np.tensordot(np.float64(coefficients), np.float64(cells), 1)
    for axis, (length, scale, shift, extent) in enumerate(
        zip(size, placement[:2], placement[2:], input_size, strict=True), start=1
    ):
        count = logits.shape[axis]
        at = np.clip(((np.arange(length) + 0.5) * scale + shift) * count / extent - 0.5, 0, count - 1)
        low = np.floor(at).astype(int)
        weight = (at - low).reshape([-1 if k == axis else 1 for k in range(3)])
        high = np.minimum(low + 1, count - 1)
        logits = logits.take(low, axis) * (1 - weight) + logits.take(high, axis) * weight
    return logits


def inside(boxes, size):
    """(N, H, W): pixels whose centre lies in the box."""
    y, x = np.arange(size[0])[:, None] + 0.5, np.arange(size[1]) + 0.5
    x0, y0, x1, y1 = (np.float64(boxes[:, k])[:, None, None] for k in range(4))
    return (x >= x0) & (x < x1) & (y >= y0) & (y < y1)


@st.composite
def scenes(draw):
    """Random network outputs, placements and pictures, of sizes and strides that do not match anything."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    grid = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    stride = draw(st.sampled_from([1, 2, 4, 8]))
    input_size = grid[0] * stride, grid[1] * stride
    depth, count = draw(st.integers(1, 6)), draw(st.integers(0, 8))
    scale = draw(st.floats(0.05, 4)), draw(st.floats(0.05, 4))
    placement = Placement(*scale, *(float(draw(st.integers(0, 9))) for _ in range(2)))
    corners = np.sort(rng.uniform(-0.3, 1.3, (count, 2, 2)), axis=1) * [input_size[1], input_size[0]]
    head = head_of(corners.reshape(-1, 4), rng.uniform(0.1, 1, (count, 2)), rng.normal(size=(count, depth)))
    cells = rng.normal(size=(depth, *grid)).astype(np.float32)
    return head, cells, placement, size, input_size


@settings(max_examples=200, deadline=None)
@given(scenes())
def test_masks_equal_interpolating_every_pixel(scene):
    head, cells, placement, size, input_size = scene
    found = prototypes(
        [head, cells[None]],
        placement=placement,
        size=size,
        input_size=input_size,
        thresholds=EVERYTHING,
        classes=2,
    )
    best = head[4:6].max(axis=0)
    # Match each result to its anchor by its score: dropped are only those without a pixel.
    assert (np.diff(found.scores) <= 0).all()
    anchors = [int(np.flatnonzero(best == score)[0]) for score in found.scores]
    logits = logits_at(head[6:, anchors].T, cells, placement, size, input_size)
    expected = (logits > 0) & inside(found.boxes, size)
    wrong = (found.masks.to_dense() != expected) & (np.abs(logits) >= 1e-4)
    assert not wrong.any()
    boxes = np.stack(
        [head[0] - head[2] / 2, head[1] - head[3] / 2, head[0] + head[2] / 2, head[1] + head[3] / 2], 1
    )
    shift, scale = [placement.left, placement.top] * 2, [placement.scale_x, placement.scale_y] * 2
    boxes = np.clip((boxes - shift) / scale, 0, [size[1], size[0]] * 2)
    np.testing.assert_allclose(found.boxes, boxes[anchors], rtol=1e-5, atol=1e-4)
    dropped = np.setdiff1d(np.arange(head.shape[1]), anchors)
    logits = logits_at(head[6:, dropped].T, cells, placement, size, input_size)
    assert not ((logits >= 1e-4) & inside(np.float32(boxes[dropped]), size)).any()


@pytest.mark.parametrize("stride", [2, 4])
def test_equals_upsampling_the_logits_in_torch(stride):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    size, depth = (48, 64), 5
    coefficients = rng.normal(size=(20, depth)).astype(np.float32)
    cells = rng.normal(size=(depth, size[0] // stride, size[1] // stride)).astype(np.float32)
    boxes = np.sort(rng.uniform(0, 1, (20, 2, 2)), axis=1).reshape(-1, 4) * [64, 48, 64, 48]
    scores = np.linspace(0.9, 0.5, 20).astype(np.float32)
    found = prototypes(
        [head_of(boxes, scores[:, None], coefficients), cells],
        placement=PLAIN,
        size=size,
        input_size=size,
        thresholds=EVERYTHING,
        classes=1,
    )
    coefficients = coefficients[np.isin(scores, found.scores)]  # objects without a pixel are dropped
    logits = torch.from_numpy(np.tensordot(coefficients, cells, 1))[None]
    logits = torch.nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)[
        0
    ].numpy()
    assert len(found) >= 18
    wrong = (found.masks.to_dense() != ((logits > 0) & inside(found.boxes, size))) & (np.abs(logits) > 1e-4)
    assert not wrong.any()


def test_hand_drawn_mask():
    # Logits of 1 in the left column of cells, -1 right, with centres at 4 and 12: zero at 8.
    found = one([0, 0, 16, 16], [[1, -1], [1, -1]])
    assert found.masks.boxes.tolist() == [[0, 0, 8, 16]]
    assert found.masks.areas.tolist() == [8 * 16]
    # The same turned: columns change sign at y = 8, where a logit of exactly 0 would not count.
    assert one([0, 0, 16, 16], [[-1, -1], [1, 1]]).masks.boxes.tolist() == [[0, 8, 16, 16]]
    # Three to one: zero at y = 4 + 8 * 3 / 4 = 10.
    assert one([0, 0, 16, 16], [[3, 3], [-1, -1]]).masks.boxes.tolist() == [[0, 0, 16, 10]]


def test_zero_is_outside():
    assert len(one([0, 0, 16, 16], [[0, 0], [0, 0]])) == 0
    # Pixel centres fall on the zero line: row 8's centre is at y = 8.5 where cells lie at 0.5 + k.
    cells = np.full((16, 16), 1.0)
    cells[8] = 0
    assert one([0, 0, 16, 16], cells).masks.to_dense()[0].all(axis=1).tolist() == [
        row != 8 for row in range(16)
    ]


def test_the_box_cuts_at_pixel_centres():
    cells = np.ones((4, 4))
    assert one([2.5, 3.5, 9.5, 10.5], cells).masks.boxes.tolist() == [[2, 3, 9, 10]]
    assert one([2.51, 3.51, 9.51, 10.51], cells).masks.boxes.tolist() == [[3, 4, 10, 11]]
    assert len(one([2.6, 3.6, 3.4, 4.4], cells)) == 0  # holds no pixel centre


def test_boxes_are_the_networks_and_clipped():
    found = one([-3.25, 2.0, 7.5, 99.0], np.ones((4, 4)))
    assert found.boxes.tolist() == [[0, 2, 7.5, 16]]
    assert found.boxes.dtype == np.float32
    assert found.masks.boxes.tolist() == [[0, 2, 7, 16]]


@pytest.mark.parametrize(
    "box", [[-9, 0, -1, 9], [17, 0, 25, 9], [0, -9, 9, 0], [3, 16, 9, 20], [5, 5, 5, 9], [9, 5, 5, 9]]
)
def test_boxes_outside_or_degenerate_are_dropped(box):
    assert len(one(box, np.ones((4, 4)))) == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (3, 5000)])
def test_pictures_of_extreme_shape(size):
    scale = min(16 / size[0], 16 / size[1])
    found = one([0, 0, 16, 16], np.ones((4, 4)), size=size, placement=Placement(scale, scale, 0, 0))
    assert found.size == size
    assert found.masks.areas.tolist() == [size[0] * size[1]]


@pytest.mark.parametrize("grid", [(1, 1), (1, 4), (4, 1)])
def test_grids_of_one_cell(grid):
    found = one([2, 2, 10, 10], np.ones(grid))
    assert found.masks.boxes.tolist() == [[2, 2, 10, 10]]


def test_placement_leads_back_to_the_picture():
    # A picture of 20 x 40, at half size and 3 pixels down in an input of 16 x 32.
    cells = np.full((16, 32), -1.0)
    cells[5:9, 8:12] = 1
    found = one(
        [6, 4, 14, 12], cells, size=(20, 40), input_size=(16, 32), placement=Placement(0.5, 0.5, 3, 0)
    )
    assert found.boxes.tolist() == [[12, 2, 28, 18]]
    assert found.masks.boxes.tolist() == [[16, 4, 24, 12]]


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def raw_outputs(rng, input_size, strides, classes, depth):
    """Distance bins, class logits, coefficients and prototypes, and what they decode to."""
    anchors = [
        ((column + 0.5) * stride, (row + 0.5) * stride, stride)
        for stride in strides
        for row in range(input_size[0] // stride)
        for column in range(input_size[1] // stride)
    ]
    x, y, stride = np.array(anchors).T
    bins = rng.normal(size=(len(anchors), 4, 16)).astype(np.float32) * 2
    weights = np.exp(bins) / np.exp(bins).sum(axis=2, keepdims=True)
    left, top, right, bottom = (weights @ np.arange(16)).T * stride
    boxes = np.stack([x - left, y - top, x + right, y + bottom], axis=1)
    logits = (rng.normal(size=(len(anchors), classes)) * 2 - 2).astype(np.float32)
    coefficients = rng.normal(size=(len(anchors), depth)).astype(np.float32)
    cells = rng.normal(size=(depth, input_size[0] // 4, input_size[1] // 4)).astype(np.float32)
    return bins.reshape(len(anchors), 64), logits, coefficients, cells, boxes


def test_all_layouts_agree():
    rng = np.random.default_rng(3)
    size, strides, classes, depth = (64, 96), (8, 16, 32), 3, 7
    bins, logits, coefficients, cells, boxes = raw_outputs(rng, size, strides, classes, depth)
    decoded = head_of(boxes, sigmoid(logits), coefficients)
    flat, rows = cells.reshape(depth, -1), np.concatenate([bins, logits, coefficients], axis=1)
    apart = np.concatenate([bins, logits], axis=1)
    cases = [
        [decoded[None], cells[None]],
        [decoded, cells],
        [cells, decoded],
        [decoded.T[None], cells],
        [decoded.T, flat],
        [rows, cells],
        [rows[None], flat],
        [apart, coefficients, cells],
        [apart[None], coefficients[None], flat[None]],
        [coefficients, apart, cells[None]],
    ]
    results = [
        prototypes(
            case,
            placement=Placement(0.5, 0.5, 2, 0),
            size=(120, 190),
            input_size=size,
            thresholds=Thresholds(score=0.3, iou=0.5),
            classes=classes,
            strides=strides,
        )
        for case in cases
    ]
    first = results[0]
    assert len(first) > 10
    for other in results[1:]:
        assert other.labels.tolist() == first.labels.tolist()
        np.testing.assert_allclose(other.scores, first.scores, rtol=1e-5)
        np.testing.assert_allclose(other.boxes, first.boxes, atol=1e-3)
        assert (np.abs(other.masks.areas - first.masks.areas) <= 3).all()


def test_anchor_grids_follow_the_strides():
    rng = np.random.default_rng(4)
    bins, logits, coefficients, cells, boxes = raw_outputs(rng, (64, 64), (4, 8), 2, 3)
    found = prototypes(
        [np.concatenate([bins, logits, coefficients], axis=1), cells],
        placement=PLAIN,
        size=(64, 64),
        input_size=(64, 64),
        thresholds=EVERYTHING,
        classes=2,
        strides=(4, 8),
    )
    order = [int(np.argmin(np.abs(sigmoid(logits).max(axis=1) - score))) for score in found.scores]
    np.testing.assert_allclose(found.boxes, np.clip(boxes[order], 0, 64), atol=1e-3)


def many(count, rng, *, classes=1):
    boxes = rng.uniform(0, 200, (count, 2))
    boxes = np.concatenate([boxes, boxes + rng.uniform(4, 40, (count, 2))], axis=1).astype(np.float32)
    scores = rng.permutation(np.linspace(0.05, 0.95, count * classes)).reshape(count, classes)
    return boxes, scores.astype(np.float32)


def greedy(boxes, scores, threshold, limit, *, agnostic):
    """Suppression written down plainly."""
    best, label, kept = scores.max(axis=1), scores.argmax(axis=1), []
    for i in np.argsort(-best, kind="stable"):
        for k in kept:
            low, high = np.maximum(boxes[i, :2], boxes[k, :2]), np.minimum(boxes[i, 2:], boxes[k, 2:])
            joint = np.prod(np.maximum(high - low, 0))
            union = np.prod(boxes[i, 2:] - boxes[i, :2]) + np.prod(boxes[k, 2:] - boxes[k, :2]) - joint
            if joint > threshold * union and (agnostic or label[i] == label[k]):
                break
        else:
            kept.append(i)
    return kept[:limit]


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("limit", [7, 1000])
def test_suppression(agnostic, limit):
    rng = np.random.default_rng(5)
    boxes, scores = many(400, rng, classes=3)
    found = prototypes(
        [head_of(boxes, scores, np.ones((400, 1))), np.ones((1, 64, 64), np.float32)[None]],
        placement=PLAIN,
        size=(256, 256),
        input_size=(256, 256),
        thresholds=Thresholds(score=0.4, iou=0.45, max_detections=limit, agnostic=agnostic),
        classes=3,
    )
    eligible = np.flatnonzero(scores.max(axis=1) > 0.4)
    kept = eligible[greedy(boxes[eligible], scores[eligible], 0.45, limit, agnostic=agnostic)]
    np.testing.assert_allclose(found.boxes, boxes[kept], atol=1e-3)
    assert found.labels.tolist() == scores[kept].argmax(axis=1).tolist()
    assert found.scores.tolist() == scores[kept].max(axis=1).tolist()


def test_ties_go_to_the_lower_anchor_and_class():
    head = head_of([[0, 0, 8, 8], [4, 4, 12, 12], [8, 8, 16, 16]], [[0.5, 0.5]] * 3, np.ones((3, 1)))
    found = prototypes(
        [head, np.ones((1, 1, 4, 4), np.float32)],
        placement=PLAIN,
        size=(16, 16),
        input_size=(16, 16),
        thresholds=Thresholds(),
        classes=2,
    )
    assert found.labels.tolist() == [0, 0, 0]
    assert found.boxes[:, 0].tolist() == [0, 4, 8]


def test_the_score_must_be_above_the_threshold():
    head = head_of([[0, 0, 8, 8], [8, 8, 16, 16]], [[0.5], [0.25]], np.ones((2, 1)))
    assert decode_plain(head, Thresholds(score=0.25)).scores.tolist() == [0.5]
    assert len(decode_plain(head, Thresholds(score=1.0))) == 0


def decode_plain(head, thresholds=EVERYTHING, classes=1, cells=None):
    depth = len(head) - 4 - classes
    cells = np.ones((1, depth, 4, 4), np.float32) if cells is None else cells
    return prototypes(
        [head, cells],
        placement=PLAIN,
        size=(16, 16),
        input_size=(16, 16),
        thresholds=thresholds,
        classes=classes,
    )


@pytest.mark.parametrize("row", range(6))
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none(row, value):
    head = head_of([[0, 0, 8, 8], [8, 8, 16, 16]], [[0.8], [0.9]], np.ones((2, 1)))
    head[row, 1] = value
    found = decode_plain(head)
    assert found.scores.tolist() == [np.float32(0.8)]
    assert found.masks.areas.tolist() == [64]


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_broken_prototypes_give_no_mask(value):
    head = head_of([[0, 0, 8, 8], [9, 9, 16, 16]], [[0.8], [0.9]], np.ones((2, 1)))
    cells = np.ones((1, 1, 4, 4), np.float32)
    cells[0, 0, 3, 3] = value  # under the second box only
    assert decode_plain(head, cells=cells).scores.tolist() == [np.float32(0.8)]


def test_empty_results():
    for head in (np.zeros((6, 0), np.float32), np.zeros((6, 21), np.float32)):
        found = decode_plain(head)
        assert len(found) == 0
        assert found.size == (16, 16)
        assert found.masks == Masks.empty((16, 16))
        assert found.scores.shape == (0,)
        assert found.boxes.shape == (0, 4)


def test_thousands_of_objects():
    rng = np.random.default_rng(6)
    corners = np.stack(np.meshgrid(np.arange(50), np.arange(50)), axis=-1).reshape(-1, 2) * 8.0
    head = head_of(
        np.concatenate([corners, corners + 8], axis=1), rng.uniform(0.3, 1, (2500, 1)), np.ones((2500, 1))
    )
    cells = np.ones((1, 1, 100, 100), np.float32)
    results = [
        prototypes(
            [head, cells],
            placement=PLAIN,
            size=(400, 400),
            input_size=(400, 400),
            thresholds=Thresholds(max_detections=5000),
            classes=1,
            threads=threads,
        )
        for threads in (1, 2, 0)
    ]
    assert len(results[0]) == 2500
    assert results[0].masks.areas.tolist() == [64] * 2500
    assert results[0] == results[1] == results[2]


def test_half_floats_and_strided_arrays():
    head = head_of([[0, 0, 8, 8], [8, 8, 16, 16]], [[0.5], [0.75]], np.ones((2, 1)))
    expected = decode_plain(head)
    assert decode_plain(head.astype(np.float16)) == expected
    assert decode_plain(np.asfortranarray(head)) == expected
    assert decode_plain(np.repeat(head, 2, axis=1)[:, ::2].astype(np.float64)) == expected


@pytest.mark.parametrize(
    ("shapes", "got"),
    [
        ([(1, 117, 21), (1, 32, 8, 8)], r"got \(117, 21\), \(32, 8, 8\)"),
        ([(1, 116, 21)], r"got \(116, 21\)\. Check"),
        ([], "got nothing"),
        ([(20, 176), (32, 8, 8)], r"got \(20, 176\)"),
        ([(21, 144), (21, 31), (32, 8, 8)], r"\(21, 31\)"),
        ([(116, 21), (32, 8, 8), (3, 3), (4, 4)], r"\(4, 4\)"),
        ([(116, 21), (32, 50)], r"\(32, 50\)"),
        ([(116, 21), (32, 0, 8)], r"\(32, 0, 8\)"),
    ],
)
def test_unknown_shapes_are_named(shapes, got):
    outputs = [np.zeros(shape, np.float32) for shape in shapes]
    with pytest.raises(
        ValueError,
        match=r"decode.prototypes: outputs must be .* for 80 classes and an input of 32 x 32.*" + got,
    ):
        prototypes(
            outputs, placement=PLAIN, size=(9, 9), input_size=(32, 32), thresholds=Thresholds(), classes=80
        )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"outputs": [np.zeros((1, 6, 21), np.int64)]},
            TypeError,
            r"outputs\[0\] must be a float array, got int64",
        ),
        (
            {"outputs": [np.zeros((2, 6, 21, 1), np.float32)]},
            ValueError,
            r"outputs\[0\] must have 2 or 3 axes",
        ),
        ({"classes": 0}, ValueError, "classes must be at least 1, got 0"),
        ({"strides": (8, 0)}, ValueError, r"strides must be at least 1, got \(8, 0\)"),
        ({"strides": ()}, ValueError, r"strides must be at least 1, got \(\)"),
        ({"size": (0, 5)}, ValueError, r"size must be \(height, width\) of at least 1, got \(0, 5\)"),
        (
            {"input_size": (32, -1)},
            ValueError,
            r"input_size must be \(height, width\) of at least 1, got \(32, -1\)",
        ),
        ({"placement": Placement(0.0, 1.0, 0, 0)}, ValueError, "placement must have positive, finite scales"),
        (
            {"placement": Placement(1.0, np.nan, 0, 0)},
            ValueError,
            "placement must have positive, finite scales",
        ),
    ],
)
def test_wrong_arguments(change, error, message):
    given_ = {
        "outputs": [np.zeros((1, 6, 21), np.float32), np.zeros((1, 1, 8, 8), np.float32)],
        "placement": PLAIN,
        "size": (9, 9),
        "input_size": (32, 32),
        "thresholds": Thresholds(),
        "classes": 1,
    } | change
    with pytest.raises(error, match=message):
        prototypes(given_.pop("outputs"), **given_)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"score": 1.5}, r"score must be within \[0, 1\], got 1.5"),
        ({"iou": -0.1}, r"iou must be within \[0, 1\], got -0.1"),
        ({"iou": np.nan}, r"iou must be within \[0, 1\], got nan"),
        ({"max_detections": 0}, "max_detections must be at least 1, got 0"),
    ],
)
def test_thresholds_are_checked(values, message):
    with pytest.raises(ValueError, match=message):
        Thresholds(**values)


def paste(logits, box, size):
    """Dense paste in continuous coordinates, by the definition; pixels too close to one half are -1."""
    rows, columns = logits.shape
    cells = np.pad(1 / (1 + np.exp(-logits.astype(np.float64))), 1)

    def axis(low, high, count, cells):
        at = np.clip((np.arange(count) + 0.5 - low) / (high - low) * cells - 0.5, -1, cells) + 1
        left = np.minimum(at.astype(int), cells)
        weights = np.zeros((count, cells + 2))
        weights[np.arange(count), left] = 1 - (at - left)
        weights[np.arange(count), left + 1] += at - left
        return weights

    left, top, right, bottom = (float(value) for value in box)
    values = axis(top, bottom, size[0], rows) @ cells @ axis(left, right, size[1], columns).T
    return np.where(np.abs(values - 0.5) < 1e-5, -1, values > 0.5).astype(int)


def pasted(boxes, logits, size, **changes):
    boxes = np.asarray(boxes, np.float32)
    scores, labels = np.linspace(0.9, 0.5, len(boxes)), np.zeros(len(boxes), np.int64)
    given = {"placement": PLAIN, "size": size, "thresholds": Thresholds(score=0.0), "classes": 1, **changes}
    return crops([boxes, scores, labels, logits], **given)


@given(st.integers(0, 10_000))
@settings(max_examples=150, deadline=None)
def test_crops_equal_the_continuous_paste(seed):
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(1, 90, 2))
    cells = tuple(rng.integers(1, 29, 2)) if seed % 3 else (28, 28)
    low = rng.uniform(0, size[::-1])
    high = np.minimum(low + rng.uniform(0.01, 80, 2) ** rng.uniform(0.2, 1), size[::-1])
    if (high.astype(np.float32) <= low.astype(np.float32)).any():
        return
    box = np.float32([*low, *high])
    logits = rng.normal(0, 3, (1, *cells)).astype(np.float32)
    found = pasted([box], logits, size)
    expected = paste(logits[0], box, size)
    dense = found.masks.to_dense()[0] if len(found) else np.zeros(size, bool)
    np.testing.assert_array_equal(dense[expected >= 0], expected[expected >= 0])


def test_crops_equal_a_grid_sample():
    torch = pytest.importorskip("torch", reason="the oracle is torch's grid_sample")
    rng = np.random.default_rng(3)
    boxes = np.float32([[3.2, 4.7, 60.1, 80.9], [10, 10, 12.5, 90], [0, 0, 100, 100], [40.2, 7.2, 41.6, 8.4]])
    logits = rng.normal(0, 3, (4, 28, 28)).astype(np.float32)
    logits[3] += 5  # its one pixel is inside
    found = pasted(boxes, logits, (100, 100))
    at = torch.arange(100) + 0.5
    for box, crop, mask in zip(boxes.tolist(), logits, found.masks.to_dense(), strict=True):
        x, y = (at - box[0]) / (box[2] - box[0]) * 2 - 1, (at - box[1]) / (box[3] - box[1]) * 2 - 1
        grid = torch.stack((x.expand(100, 100), y[:, None].expand(100, 100)), -1)
        prob = torch.from_numpy(crop).sigmoid()[None, None]
        dense = torch.nn.functional.grid_sample(prob, grid[None], align_corners=False)[0, 0].numpy()
        sure = np.abs(dense - 0.5) > 1e-5
        assert sure.mean() > 0.99
        np.testing.assert_array_equal(mask[sure], (dense >= 0.5)[sure])


def test_crops_are_near_the_paste_of_whole_pixels():
    """torchvision truncates a box that is larger by 30 / 28: differences stay within one pixel of a border."""
    torch = pytest.importorskip("torch", reason="the oracle is torch's interpolate")
    ndimage = pytest.importorskip("scipy.ndimage", reason="the oracle is scipy")
    y, x = np.mgrid[-1:1:28j, -1:1:28j]
    crop = np.float32(6 * (0.8 - np.hypot(x, y * 1.1)))
    for box in ([10.3, 20.6, 70.9, 64.2], [5.0, 5.0, 12.9, 90.9], [0.0, 1.5, 99.0, 98.5]):
        left, top, right, bottom = box
        half_x, half_y = (right - left) / 2 * 30 / 28, (bottom - top) / 2 * 30 / 28
        whole = [
            int((left + right) / 2 - half_x),
            int((top + bottom) / 2 - half_y),
            int((left + right) / 2 + half_x),
            int((top + bottom) / 2 + half_y),
        ]
        width, height = whole[2] - whole[0] + 1, whole[3] - whole[1] + 1
        prob = np.pad(1 / (1 + np.exp(-crop)), 1)
        resized = torch.nn.functional.interpolate(
            torch.from_numpy(prob)[None, None], size=(height, width), mode="bilinear", align_corners=False
        )[0, 0].numpy()
        canvas = np.zeros((140, 140), bool)
        rows, columns = np.arange(height) + whole[1], np.arange(width) + whole[0]
        inside = np.ix_((rows >= 0) & (rows < 140), (columns >= 0) & (columns < 140))
        part = np.zeros((140, 140), bool)
        place = np.ix_(rows[(rows >= 0) & (rows < 140)], columns[(columns >= 0) & (columns < 140)])
        part[place] = (resized >= 0.5)[inside]
        canvas |= part
        mask = pasted([box], crop[None], (140, 140)).masks.to_dense()[0]
        cross = np.ones((3, 3), bool)
        assert (mask <= ndimage.binary_dilation(canvas, cross)).all()
        assert (canvas <= ndimage.binary_dilation(mask, cross)).all()


def test_crops_of_nothing():
    found = pasted(np.zeros((0, 4)), np.zeros((0, 28, 28), np.float32), (5, 6))
    assert len(found) == 0
    assert found.masks.size == (5, 6)


def test_crops_select_by_score_label_and_sense():
    boxes = np.float32(
        [
            [0, 0, 9, 9],
            [1, 1, 5, 5],
            [2, 2, 6, 6],
            [0, 0, np.inf, 9],
            [5, 5, 5, 9],
            [3, 3, 8, 8],
            [20, 20, 30, 30],
        ]
    )
    scores = np.float32([0.3, 0.9, 0.0, 0.8, 0.8, np.nan, 0.9])
    labels = np.array([0, 1, 0, 0, 0, 0, 0])
    logits = np.full((7, 28, 28), 5.0, np.float32)
    outputs = [boxes[None], scores[None], labels[None], logits[None]]
    options = {"placement": PLAIN, "size": (10, 10), "classes": 2}
    found = crops(outputs, **options, thresholds=Thresholds(score=0.0))
    assert found.labels.tolist() == [1, 0]
    assert found.scores.tolist() == pytest.approx([0.9, 0.3])
    assert len(crops(outputs, **options, thresholds=Thresholds(score=0.0, max_detections=1))) == 1
    assert len(crops(outputs, **{**options, "classes": 1}, thresholds=Thresholds(score=0.0))) == 1
    logits[1, 3, 3] = np.nan
    assert crops(outputs, **options, thresholds=Thresholds(score=0.0)).labels.tolist() == [0]


def test_crops_over_the_border_are_clipped_before_the_paste():
    logits = np.full((1, 28, 28), 9.0, np.float32)
    found = pasted([[-8, -8, 4, 4]], logits, (10, 10))
    assert found.boxes.tolist() == [[0, 0, 4, 4]]
    assert found.masks.areas.tolist() == [16]


def test_crops_follow_the_placement():
    logits = np.full((1, 28, 28), 9.0, np.float32)
    found = pasted([[4, 10, 12, 18]], logits, (10, 10), placement=Placement(2.0, 2.0, 6, 0))
    assert found.boxes.tolist() == [[2, 2, 6, 6]]


@pytest.mark.parametrize("masks", [[], [np.zeros((2, 0, 0))]])
def test_crops_without_masks_are_boxes(masks):
    outputs = [np.array([[0, 0, 2, 2], [1, 1, 9, 3]]), np.array([0.4, 0.8]), np.array([0, 1]), *masks]
    found = crops(outputs, placement=PLAIN, size=(5, 5), thresholds=Thresholds(score=0.3), classes=2)
    assert found.masks is None
    assert found.boxes.tolist() == [[1, 1, 5, 3], [0, 0, 2, 2]]
    assert found.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [(3, 4), (3,)],
        [(3, 4), (3,), (3,), (3, 0, 7)],
        [(3, 4), (2,), (3,), (3, 7, 7)],
        [(3, 5), (3,), (3,), (3, 7, 7)],
    ],
)
def test_crops_refuse_other_shapes(shapes):
    with pytest.raises(ValueError, match=r"outputs must be boxes \(D, 4\)"):
        crops(
            [np.zeros(shape) for shape in shapes],
            placement=PLAIN,
            size=(5, 5),
            thresholds=EVERYTHING,
            classes=1,
        )
