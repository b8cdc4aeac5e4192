"""Affine maps against scipy, cv2 and the rule in plain numpy; area-true resize against exact sums over pixels."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from test_masks import stacks

from delineate import warp
from delineate.masks import Masks

MANY = settings(max_examples=100, deadline=None)
SIDES = st.integers(1, 50)
NUMBERS = st.one_of(st.integers(-3, 3), st.floats(-4, 4, allow_subnormal=False))


@st.composite
def matrices(draw):
    linear = np.array([[draw(NUMBERS), draw(NUMBERS)], [draw(NUMBERS), draw(NUMBERS)]], float)
    if abs(np.linalg.det(linear)) < 1e-3:
        linear = np.eye(2)
    shift = [draw(st.floats(-60, 60)), draw(st.floats(-60, 60))]
    return np.column_stack([linear, shift])


def turned(degrees, scale=1.0, shift=(0, 0)):
    angle = np.deg2rad(degrees)
    return np.array(
        [
            [scale * np.cos(angle), -scale * np.sin(angle), shift[0]],
            [scale * np.sin(angle), scale * np.cos(angle), shift[1]],
        ]
    )


def sampled(dense, matrix, size):
    """The rule of the docstring, pixel by pixel."""
    inverse = warp._inverse(np.asarray(matrix, float))
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    u = np.floor((inverse[0, 0] * x + inverse[0, 1] * y) + inverse[0, 2])
    v = np.floor((inverse[1, 0] * x + inverse[1, 1] * y) + inverse[1, 2])
    inside = (u >= 0) & (v >= 0) & (u < dense.shape[2]) & (v < dense.shape[1])
    rows, columns = np.where(inside, v, 0).astype(int), np.where(inside, u, 0).astype(int)
    return dense[:, rows, columns] & inside


@MANY
@given(stacks(), matrices(), SIDES, SIDES)
def test_affine_is_the_stated_rule(dense, matrix, height, width):
    found = warp.affine(Masks.from_dense(dense), matrix, (height, width))
    assert (found.to_dense() == sampled(dense, matrix, (height, width))).all()


@pytest.mark.parametrize("degrees", [0, 17, 45, 90, 133, 180, 270, 359])
@pytest.mark.parametrize("scale", [0.37, 1, 2.6])
def test_affine_equals_scipy(degrees, scale):
    """Shifts by odd fractions, so that no centre falls on the border of two pixels."""
    dense = np.random.default_rng(degrees).random((2, 40, 60)) < 0.6
    matrix, size = turned(degrees, scale, (23.1373, 31.7091)), (90, 80)
    linear = matrix[::-1, [1, 0]]  # (y, x)
    inverse = np.linalg.inv(linear)
    offset = inverse @ (0.5 - matrix[::-1, 2]) - 0.5
    expected = [
        ndimage.affine_transform(m.astype(np.uint8), inverse, offset, size, order=0, mode="grid-constant")
        for m in dense
    ]
    assert (warp.affine(Masks.from_dense(dense), matrix, size).to_dense() == np.array(expected, bool)).all()


def test_affine_equals_cv2_for_whole_shifts_and_flips():
    """cv2 rounds coordinates to 1024ths, so that equality can be asked for maps without fractions only."""
    cv2 = pytest.importorskip("cv2", reason="opencv is no dependency of the tests")
    dense = np.random.default_rng(0).random((1, 30, 40)) < 0.5
    for linear in ([[1, 0], [0, 1]], [[0, 1], [1, 0]], [[-1, 0], [0, 1]]):
        centred = np.column_stack([np.array(linear, float), [13.0, 9.0]])
        expected = cv2.warpAffine(dense[0].astype(np.uint8), centred, (70, 60), flags=cv2.INTER_NEAREST)
        matrix = centred.copy()
        matrix[:, 2] += 0.5 - centred[:, :2] @ [0.5, 0.5]
        assert (warp.affine(Masks.from_dense(dense), matrix, (60, 70)).to_dense()[0] == expected).all()


@MANY
@given(stacks(), SIDES, SIDES)
def test_affine_that_scales_is_resize(dense, height, width):
    masks = Masks.from_dense(dense)
    # Powers of two are exact in float64.
    scaled = (2 * masks.size[0], 4 * masks.size[1])
    assert warp.affine(masks, [[4, 0, 0], [0, 2, 0]], scaled) == masks.resize(scaled)
    assert warp.affine(masks, [[1, 0, 3], [0, 1, -2]], (height, width)) == masks.translate(
        -2, 3, (height, width)
    )


@pytest.mark.parametrize("k", range(4))
def test_affine_by_right_angles_is_rotate90(k):
    """Cosines of right angles are not quite zero: nothing may be lost where a line hardly moves."""
    dense = np.random.default_rng(k).random((3, 33, 20)) < 0.5
    masks = Masks.from_dense(dense)
    height, width = masks.size
    shift = [(0, 0), (0, width), (width, height), (height, 0)][k]
    found = warp.affine(masks, turned(-90 * k, 1, shift), (width, height) if k % 2 else (height, width))
    assert found == masks.rotate90(k)


@MANY
@given(stacks(), matrices())
def test_affine_and_back_by_shear(dense, matrix):
    """Whole shears move pixels without loss."""
    masks = Masks.from_dense(dense)
    height, width = masks.size
    k = round(matrix[0, 0])
    room = abs(k) * height
    there = warp.affine(masks, [[1, k, room - k / 2], [0, 1, 0]], (height, width + 2 * room))
    assert (there.areas == masks.areas).all()
    assert warp.affine(there, [[1, -k, k / 2 - room], [0, 1, 0]], (height, width)) == masks


@MANY
@given(stacks(max_side=12), st.integers(1, 15), st.integers(1, 15))
def test_resize_area_is_exact(dense, height, width):
    n, rows, columns = dense.shape
    fine = dense.repeat(height, 1).repeat(width, 2).reshape(n, height, rows, width, columns)
    expected = 2 * fine.sum((2, 4)) >= rows * columns
    assert (warp.resize_area(Masks.from_dense(dense), (height, width)).to_dense() == expected).all()


@MANY
@given(stacks(), st.integers(1, 3), st.integers(1, 3))
def test_resize_area_by_whole_factors(dense, down, right):
    masks = Masks.from_dense(dense)
    height, width = masks.size
    larger = warp.resize_area(masks, (height * down, width * right))
    assert larger == masks.resize((height * down, width * right))
    assert warp.resize_area(larger, (height, width)) == masks


@MANY
@given(stacks(), SIDES, SIDES, st.data())
def test_paste_is_translate_of_each(dense, height, width, data):
    masks = Masks.from_dense(dense)
    places = st.lists(st.integers(-50, 50), min_size=len(masks), max_size=len(masks))
    y0, x0 = data.draw(places), data.draw(places)
    found = warp.paste(masks, (height, width), y0, x0)
    assert len(found) == len(masks)
    assert found.size == (height, width)
    for i, (y, x) in enumerate(zip(y0, x0, strict=True)):
        assert found[i : i + 1] == masks[i : i + 1].translate(y, x, (height, width))


def test_no_masks_and_odd_canvases():
    none, empty = Masks.empty((3, 4)), Masks.from_dense(np.zeros((2, 3, 4), bool))
    full = Masks.from_dense(np.ones((1, 1, 1), bool))
    for masks in (none, empty):
        nothing = Masks.from_dense(np.zeros((len(masks), 5, 6), bool))
        assert warp.affine(masks, np.eye(2, 3), (5, 6)) == nothing
        assert warp.resize_area(masks, (5, 6)) == nothing
        assert warp.paste(masks, (5, 6), 1, 1) == nothing
    for size in ((0, 5), (5, 0), (0, 0)):
        assert warp.affine(full, np.eye(2, 3), size).areas == [0]
        assert warp.resize_area(full, size).areas == [0]
        assert warp.resize_area(Masks.from_dense(np.zeros((1, *size), bool)), (2, 3)).areas == [0]
        assert warp.affine(Masks.from_dense(np.zeros((1, *size), bool)), np.eye(2, 3), (2, 3)).areas == [0]
        assert warp.paste(full, size, 0, 0).areas == [0]
    assert warp.resize_area(full, (7, 3)).areas == [21]
    assert warp.paste(full, (3, 3), np.uint8(2), -(10**15)).areas == [0]
    assert warp.paste(full, (3, 3), np.array([1], np.int8), np.array([2], np.uint64)).boxes.tolist() == [
        [2, 1, 3, 2]
    ]


def test_memory_follows_the_object():
    masks = Masks.from_polygons([[[9000, 9000, 9050, 9000, 9050, 9060]]] * 50, (20_000, 20_000))
    assert warp.affine(masks, turned(90, 1, (20_000, 0)), (20_000, 20_000)) == masks.rotate90(-1)
    assert warp.resize_area(masks, (10_000, 10_000)).areas[0] == pytest.approx(masks.areas[0] / 4, rel=0.05)
    assert warp.paste(masks, (30_000, 30_000), 5000, np.arange(50)).boxes[49, 0] == masks.boxes[0, 0] + 49


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(2), "2 x 3 finite numbers"),
        ([[1, 0, np.nan], [0, 1, 0]], "2 x 3 finite numbers"),
        ([[1, 0], [0, 1, 0]], "2 x 3 finite numbers"),
        ("eye", "2 x 3 finite numbers"),
        ([[1, 2, 0], [2, 4, 0]], "must be invertible, got determinant 0"),
        ([[0, 0, 0], [0, 0, 0]], "must be invertible"),
        ([[1e-200, 0, 0], [0, 1e-200, 0]], "must be invertible"),
        ([[1e-10, 0, 1e305], [0, 1e-10, 0]], "must be invertible in float64"),
    ],
)
def test_affine_refuses(matrix, message):
    with pytest.raises(ValueError, match=message):
        warp.affine(Masks.empty((3, 4)), matrix, (3, 4))


@pytest.mark.parametrize("value", [[1, 2, 3], 1.5, [0.5, 1.0], "a", [[1, 2]]])
def test_paste_refuses(value):
    masks = Masks.from_dense(np.ones((2, 1, 1), bool))
    with pytest.raises(ValueError, match=r"y0 must be one whole number or \(2,\), one for each mask, got"):
        warp.paste(masks, (3, 4), value, 0)
    with pytest.raises(ValueError, match=r"x0 must be one whole number"):
        warp.paste(masks, (3, 4), 0, value)


@pytest.mark.parametrize("degrees", [0, 17, 45, 63])
def test_affine_by_area_is_the_area_of_the_turned_square(degrees):
    """Pixels whose exact share is not near one half are as the exact shares say."""
    square = Masks.from_dense(np.ones((1, 9, 14), bool))
    matrix = turned(degrees, 1.3, (12.3, 7.1))
    found = warp.affine(square, matrix, (40, 40), samples=8).to_dense()[0]
    corners = np.array([[0, 0], [14, 0], [14, 9], [0, 9]]) @ matrix[:, :2].T + matrix[:, 2]
    shape = shapely.Polygon(corners)
    pixels = shapely.box(*(np.indices((40, 40))[[1, 0]]), *(np.indices((40, 40))[[1, 0]] + 1))
    shares = shapely.area(shapely.intersection(pixels, shape))
    clear = np.abs(shares - 0.5) > 0.06
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(found[clear], shares[clear] > 0.5)


@settings(max_examples=60, deadline=None)
@given(stacks(max_side=20), st.integers(1, 4))
def test_affine_by_area_that_shrinks_is_resize_area(dense, factor):
    masks = Masks.from_dense(dense)
    height, width = (side // factor for side in masks.size)
    if not height or not width:
        return
    part = masks.crop_to(0, 0, height * factor, width * factor)
    matrix = [[1 / factor, 0, 0], [0, 1 / factor, 0]]
    assert warp.affine(part, matrix, (height, width), samples=factor) == warp.resize_area(
        part, (height, width)
    )


@pytest.mark.parametrize("samples", [0, -1, 65])
def test_affine_refuses_odd_numbers_of_samples(samples):
    with pytest.raises(ValueError, match=f"samples must be 1 to 64, got {samples}"):
        warp.affine(Masks.empty((3, 3)), np.eye(2, 3), (3, 3), samples=samples)


def pooled(dense, box, size, aligned):
    """RoIAlign of one bitmap by its definition, sample by sample, positions in float32."""
    box = np.asarray(box, np.float32) - np.float32(0.5 if aligned else 0)
    out = np.zeros(size)
    positions, shares = [], []
    for axis in (1, 0):
        bins, side = np.float32(size[1 - axis]), dense.shape[1 - axis]
        extent = box[axis + 2] - box[axis]
        extent = extent if aligned else max(extent, np.float32(1))
        width = np.float32(extent / bins)
        count = max(int(np.ceil(width)), 0)
        step = np.arange(size[1 - axis], dtype=np.float32)[:, None] * width
        at = (
            box[axis]
            + step
            + (np.arange(count, dtype=np.float32) + np.float32(0.5)) * width / np.float32(count or 1)
        )
        weights = np.zeros((size[1 - axis], side))
        for index, samples in enumerate(at):
            for position in samples[(samples >= -1) & (samples <= side)]:
                position = max(position, np.float32(0))
                left = min(int(position), side - 1)
                share = 0.0 if left == side - 1 else float(position) - left
                weights[index, left] += (1 - share) / count
                weights[index, min(left + 1, side - 1)] += share / count
        positions.append(at)
        shares.append(weights)
    out[:] = shares[0] @ dense @ shares[1].T
    return out


COORDINATES = st.one_of(st.integers(-20, 60), st.floats(-80, 90, width=32, allow_subnormal=False))


@settings(max_examples=40, deadline=None)
@given(stacks(), st.data(), st.booleans())
def test_roi_align_equals_its_definition(dense, data, aligned):
    count = data.draw(st.integers(0, 4)) if len(dense) else 0
    boxes = np.array(data.draw(st.lists(st.tuples(*[COORDINATES] * 4), min_size=count, max_size=count)))
    indices = [data.draw(st.integers(0, len(dense) - 1)) for _ in range(count)]
    size = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    found = warp.roi_align(Masks.from_dense(dense), indices, boxes, size, aligned=aligned)
    assert found.shape == (count, *size)
    assert found.dtype == np.float32
    for index, box, cells in zip(indices, boxes, found, strict=True):
        want = pooled(dense[index], box, size, aligned) if dense[index].size else np.zeros(size)
        np.testing.assert_allclose(cells, want, atol=1e-5)


@pytest.mark.parametrize("aligned", [False, True])
def test_roi_align_equals_torchs_on_bitmaps(aligned):
    torch = pytest.importorskip("torch", reason="the oracle is nn.roi_align")
    from delineate.nn.roi_align import roi_align

    rng = np.random.default_rng(7)
    dense = ndimage.gaussian_filter(rng.standard_normal((5, 90, 130)), (0, 4, 4)) > 0.02
    boxes = rng.uniform(-5, 100, (40, 4)).astype(np.float32)
    boxes[:, 2:] = boxes[:, :2] + rng.uniform(0, 90, (40, 2))
    indices = rng.integers(5, size=40)
    want = roi_align(
        torch.from_numpy(dense[:, None].astype(np.float32)),
        torch.from_numpy(boxes),
        torch.from_numpy(indices),
        (28, 28),
        scale=1.0,
        sampling_ratio=0,
        aligned=aligned,
    )[:, 0]
    found = warp.roi_align(Masks.from_dense(dense), indices, boxes, (28, 28), aligned=aligned)
    np.testing.assert_allclose(found, want.numpy(), atol=1e-5)


def test_roi_align_of_nothing_and_wrong_arguments():
    masks = Masks.from_boxes([[0, 0, 3, 3]], (4, 4))
    assert warp.roi_align(Masks.empty((4, 4)), [], np.zeros((0, 4)), (2, 3), aligned=True).shape == (0, 2, 3)
    with pytest.raises(IndexError, match="index must be within -1 to 0"):
        warp.roi_align(masks, [1], [[0, 0, 1, 1]], (2, 2), aligned=True)
    with pytest.raises(ValueError, match=r"boxes must have shape \(1, 4\), got \(2, 4\)"):
        warp.roi_align(masks, [0], [[0, 0, 1, 1]] * 2, (2, 2), aligned=True)
    for wrong in (np.nan, np.inf, 1e9):
        with pytest.raises(ValueError, match="boxes must be within 16777216 pixels"):
            warp.roi_align(masks, [0], [[0, 0, 1, wrong]], (2, 2), aligned=True)
    with pytest.raises(ValueError, match="at least one bin"):
        warp.roi_align(masks, [0], [[0, 0, 1, 1]], (0, 2), aligned=True)
