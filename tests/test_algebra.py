"""The algebra on runs against the same thing done on pixels by numpy, scipy.ndimage and pycocotools."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco
from scipy import ndimage
from skimage.morphology import disk
from test_masks import stacks

from delineate import algebra
from delineate.masks import Masks

MANY = settings(max_examples=150, deadline=None)
SQUARE, CROSS = np.ones((3, 3), bool), ndimage.generate_binary_structure(2, 1)
EDGES = {
    "none": np.zeros((0, 4, 5), bool),
    "no canvas": np.zeros((2, 0, 5), bool),
    "empty": np.zeros((2, 4, 5), bool),
    "full": np.ones((2, 70, 3), bool),
    "one pixel": np.ones((1, 1, 1), bool),
    "one corner": np.arange(12).reshape(1, 3, 4) == 11,
}


@st.composite
def pairs(draw):
    """Two stacks of one shape."""
    first = draw(stacks())
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    return first, random.random(first.shape) < draw(st.sampled_from([0, 0.1, 0.5, 0.9, 1]))


def each(function, dense, **options):
    return np.array([function(mask, **options) for mask in dense], bool).reshape(dense.shape)


@pytest.mark.parametrize("dense", EDGES.values(), ids=EDGES)
def test_edges(dense):
    masks, nothing = Masks.from_dense(dense), np.zeros_like(dense)
    assert (algebra.union(masks, masks).to_dense() == dense).all()
    assert (algebra.intersection(masks, masks).to_dense() == dense).all()
    assert (algebra.difference(masks, masks).to_dense() == nothing).all()
    assert (algebra.xor(masks, masks).to_dense() == nothing).all()
    assert (algebra.complement(masks).to_dense() == ~dense).all()
    assert algebra.complement(algebra.complement(masks)) == masks
    assert algebra.fill_holes(masks) == masks
    assert algebra.remove_specks(masks, 1) == masks
    assert algebra.largest_component(masks) == masks
    assert algebra.components(masks)[1].tolist() == [i for i, mask in enumerate(dense) if mask.any()]
    assert algebra.merge(masks, np.arange(len(dense))) == masks
    for element in ("square", "cross", "disc"):
        assert algebra.erode(masks, 0, element) == algebra.dilate(masks, 0, element) == masks
        assert (algebra.erode(masks, 40, element).to_dense() == nothing).all()
        covered = dense.any((1, 2), keepdims=True) | nothing
        assert (algebra.dilate(masks, 10**12, element).to_dense() == covered).all()
    assert algebra.boundary_band(masks, 10**12) == masks
    assert algebra.boundary_band(masks, 0) == Masks.from_dense(nothing)
    assert algebra.resolve_overlaps(masks[:1]) == masks[:1]
    assert algebra.touches_border(masks).tolist() == [bool(mask.any()) for mask in dense]
    assert algebra.to_label_map(masks).max(initial=0) == (len(dense) if dense.any() else 0)


@MANY
@given(pairs())
def test_set_operations(both):
    a, b = (Masks.from_dense(dense) for dense in both)
    first, second = both
    assert algebra.union(a, b) == Masks.from_dense(first | second)
    assert algebra.intersection(a, b) == Masks.from_dense(first & second)
    assert algebra.difference(a, b) == Masks.from_dense(first & ~second)
    assert algebra.xor(a, b) == Masks.from_dense(first ^ second)
    assert algebra.complement(a) == Masks.from_dense(~first)


@MANY
@given(pairs())
def test_set_laws(both):
    a, b = (Masks.from_dense(dense) for dense in both)
    either, shared, no = algebra.union(a, b), algebra.intersection(a, b), algebra.complement
    assert no(either) == algebra.intersection(no(a), no(b))
    assert no(shared) == algebra.union(no(a), no(b))
    assert (either.areas + shared.areas == a.areas + b.areas).all()
    assert algebra.xor(a, b) == algebra.difference(either, shared)


@MANY
@given(pairs())
def test_intersection_is_that_of_pycocotools(both):
    a, b = (Masks.from_dense(dense) for dense in both)
    for i, rle in enumerate(algebra.intersection(a, b).to_rle()):
        two = [a[i : i + 1].to_rle()[0], b[i : i + 1].to_rle()[0]]
        assert rle["counts"] == coco.merge(two, intersect=True)["counts"].decode()


@MANY
@given(stacks(), st.data())
def test_merge(dense, data):
    groups = data.draw(st.lists(st.integers(0, 4), min_size=len(dense), max_size=len(dense)))
    expected = [dense[np.array(groups, int) == g].any(0) for g in range(6)]
    assert algebra.merge(Masks.from_dense(dense), groups, count=6) == Masks.from_dense(np.array(expected))
    assert len(algebra.merge(Masks.from_dense(dense), groups)) == max(groups, default=-1) + 1


@MANY
@given(stacks(), st.tuples(*[st.integers(0, 9)] * 4))
def test_pad(dense, sides):
    top, bottom, left, right = sides
    expected = np.pad(dense, ((0, 0), (top, bottom), (left, right)))
    assert algebra.pad(Masks.from_dense(dense), *sides) == Masks.from_dense(expected)


@MANY
@given(stacks())
def test_holes(dense):
    filled = algebra.fill_holes(Masks.from_dense(dense))
    assert (filled.to_dense() == each(ndimage.binary_fill_holes, dense)).all()
    assert algebra.fill_holes(filled) == filled


def test_a_hole_that_opens_at_a_corner_is_a_hole():
    dense = np.array([[[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 0]]], bool)
    assert algebra.fill_holes(Masks.from_dense(dense)).areas.tolist() == [8]


@MANY
@given(stacks(), st.sampled_from([4, 8]))
def test_components_partition_their_mask(dense, connectivity):
    masks = Masks.from_dense(dense)
    parts, owners = algebra.components(masks, connectivity)
    assert (np.diff(owners) >= 0).all()
    assert algebra.merge(parts, owners, count=len(masks)) == masks
    assert np.bincount(owners, parts.areas, minlength=len(masks)).tolist() == masks.areas.tolist()
    structure = SQUARE if connectivity == 8 else CROSS
    labelled = [ndimage.label(mask.T, structure) for mask in dense]  # transposed: parts by their first column
    assert np.bincount(owners, minlength=len(masks)).tolist() == [count for _, count in labelled]
    expected = [(labels == k + 1).T for labels, count in labelled for k in range(count)]
    assert parts == Masks.from_dense(np.array(expected, bool).reshape(-1, *masks.size))


@MANY
@given(stacks(), st.integers(-1, 12), st.sampled_from([4, 8]))
def test_specks_and_largest_part(dense, min_area, connectivity):
    masks = Masks.from_dense(dense)
    parts, owners = algebra.components(masks, connectivity)
    kept = parts.areas >= min_area
    expected = algebra.merge(parts[kept], owners[kept], count=len(masks))
    assert algebra.remove_specks(masks, min_area, connectivity) == expected
    largest = algebra.largest_component(masks, connectivity)
    for i in range(len(masks)):
        mine = parts[owners == i]
        best = mine[np.argsort(-mine.areas, kind="stable")[:1]] if len(mine) else masks[i : i + 1]
        assert largest[i : i + 1] == best


@MANY
@given(stacks(max_side=90), st.integers(0, 12))
def test_disc_equals_scipy(dense, radius):
    masks, element = Masks.from_dense(dense), disk(radius)
    eroded = each(ndimage.binary_erosion, dense, structure=element)
    assert (algebra.erode(masks, radius, "disc").to_dense() == eroded).all()
    dilated = each(ndimage.binary_dilation, dense, structure=element)
    assert (algebra.dilate(masks, radius, "disc").to_dense() == dilated).all()


@MANY
@given(stacks(max_side=90), st.integers(1, 9), st.sampled_from(["square", "cross"]))
def test_morphology(dense, radius, element):
    masks, structure = Masks.from_dense(dense), SQUARE if element == "square" else CROSS
    thin, thick = algebra.erode(masks, radius, element), algebra.dilate(masks, radius, element)
    assert (
        thin.to_dense() == each(ndimage.binary_erosion, dense, structure=structure, iterations=radius)
    ).all()
    assert (
        thick.to_dense() == each(ndimage.binary_dilation, dense, structure=structure, iterations=radius)
    ).all()
    assert algebra.union(thin, masks) == masks
    assert algebra.union(masks, thick) == thick


def boundary_reference(mask, ratio=0.02):
    """Cheng et al.: pad with background, erode as often as 2 % of the diagonal has pixels, subtract."""
    height, width = mask.shape
    times = max(1, round(ratio * np.sqrt(height**2 + width**2)))
    inner = ndimage.binary_erosion(np.pad(mask, 1), SQUARE, iterations=times)[1:-1, 1:-1]
    return mask & ~inner


@MANY
@given(stacks(max_side=130))
def test_boundary_band(dense):
    masks = Masks.from_dense(dense)
    assert (algebra.boundary_band(masks).to_dense() == each(boundary_reference, dense)).all()
    assert algebra.boundary_band(masks, 2) == algebra.difference(masks, algebra.erode(masks, 2))


def test_boundary_band_of_a_large_disc():
    y, x = np.ogrid[:480, :640]
    dense = np.array([(y - 200) ** 2 + (x - 300) ** 2 < 150**2, (y - 20) ** 2 + (x - 600) ** 2 < 90**2])
    assert (
        algebra.boundary_band(Masks.from_dense(dense)).to_dense() == each(boundary_reference, dense)
    ).all()


@MANY
@given(stacks(), st.data())
def test_painters_order(dense, data):
    order = data.draw(st.lists(st.integers(-2, 2), min_size=len(dense), max_size=len(dense)))
    painted = np.full(dense.shape[1:], -1)
    for i in np.argsort(np.array(order, int), kind="stable"):
        painted[dense[i]] = i
    masks = Masks.from_dense(dense)
    apart = algebra.resolve_overlaps(masks, order)
    expected = painted == np.arange(len(dense))[:, None, None]
    assert apart == Masks.from_dense(expected)
    assert apart.areas.sum() == masks.union().areas[0]
    assert algebra.resolve_overlaps(masks) == algebra.resolve_overlaps(masks, np.arange(len(masks)))


@MANY
@given(stacks())
def test_touching_the_border(dense):
    framed = np.zeros(dense.shape[1:], bool)
    framed[:1], framed[-1:], framed[:, :1], framed[:, -1:] = True, True, True, True
    expected = (dense & framed).any((1, 2))
    assert (algebra.touches_border(Masks.from_dense(dense)) == expected).all()


@MANY
@given(stacks(), st.sampled_from(["last", "first"]), st.sampled_from([np.uint8, np.uint16, np.uint32]))
def test_writing_label_maps(dense, overlap, dtype):
    values = np.arange(len(dense)) * 3 + 1
    expected = np.zeros(dense.shape[1:], dtype)
    for i in range(len(dense))[:: -1 if overlap == "first" else 1]:
        expected[dense[i]] = values[i]
    found = algebra.to_label_map(Masks.from_dense(dense), values, overlap, dtype)
    assert found.dtype == dtype
    assert (found == expected).all()


@MANY
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(0, 80), st.integers(0, 80)),
    st.sampled_from(["uint8", "uint16", "uint32", ">u2", ">u4"]),
)
def test_reading_label_maps(seed, size, dtype):
    random = np.random.default_rng(seed)
    numbers = np.append(random.integers(0, np.iinfo(dtype).max, 4, endpoint=True), [0, 0])
    labels = np.kron(random.choice(numbers, (9, 9)), np.ones((10, 10), int))[: size[0], : size[1]].astype(
        dtype
    )
    masks, values = algebra.from_label_map(labels)
    assert values.tolist() == sorted(set(labels.ravel().tolist()) - {0})
    assert masks == Masks.from_dense(labels == values[:, None, None])
    again = algebra.to_label_map(masks, values, "error", np.uint32)
    assert (again == labels).all()
    assert algebra.from_label_map(labels.T)[0] == Masks.from_dense(
        (labels == values[:, None, None]).swapaxes(1, 2)
    )


def test_many_objects_on_a_huge_canvas():
    size, n = (20_000, 20_000), 2_000
    small = Masks.from_dense(np.ones((1, 9, 9), bool))
    spots = np.random.default_rng(0).integers(0, 19_990, (n, 2)).tolist()
    masks = Masks.concat([small.translate(y, x, size) for y, x in spots])
    assert algebra.erode(masks, 2).areas.tolist() == [25] * n
    assert algebra.dilate(masks, 1, "cross").areas.max() == 81 + 36
    assert len(algebra.components(masks)[0]) == n
    assert algebra.resolve_overlaps(masks).areas.sum() == masks.union().areas[0]
    assert algebra.complement(masks).areas.tolist() == [20_000 * 20_000 - 81] * n


ONE, TWO = Masks.from_dense(np.ones((1, 2, 3), bool)), Masks.from_dense(np.ones((2, 2, 3), bool))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: algebra.union(ONE, TWO),
            "b must be 1 masks of size (2, 3) like a, got Masks(2, size=(2, 3))",
        ),
        (lambda: algebra.xor(ONE, ONE.rotate90()), "b must be 1 masks of size (2, 3) like a"),
        (
            lambda: algebra.merge(TWO, [0]),
            "groups must be (2,) whole numbers, one for each mask, got int64 (1,)",
        ),
        (lambda: algebra.merge(TWO, [0.5, 1]), "groups must be (2,) whole numbers"),
        (lambda: algebra.merge(TWO, [0, -1]), "groups must be at least 0 and below 1, got -1 to 0"),
        (lambda: algebra.merge(TWO, [0, 3], count=2), "groups must be at least 0 and below 2, got 0 to 3"),
        (lambda: algebra.merge(TWO[:0], [], count=-1), "count must be at least 0 groups, got -1"),
        (lambda: algebra.pad(ONE, 0, -1, 0, 0), "must be at least 0, got (0, -1, 0, 0)"),
        (lambda: algebra.components(ONE, 6), "connectivity must be 4 or 8, got 6"),
        (lambda: algebra.erode(ONE, -1), "radius must be at least 0 pixels, got -1"),
        (lambda: algebra.dilate(ONE, 1, "ball"), 'element must be "square", "cross" or "disc", got'),
        (lambda: algebra.resolve_overlaps(TWO, [1]), "order must be (2,) numbers"),
        (lambda: algebra.resolve_overlaps(TWO, [1, np.nan]), "order must be numbers, got nan at 1"),
        (
            lambda: algebra.to_label_map(TWO, dtype=np.int64),
            "dtype must be uint8, uint16 or uint32, got int64",
        ),
        (lambda: algebra.to_label_map(TWO, [1, 256], dtype=np.uint8), "within 0 to 255 for uint8, got 256"),
        (lambda: algebra.to_label_map(TWO, [1, -2]), "got -2 for masks[1]"),
        (lambda: algebra.to_label_map(TWO, overlap="any"), 'overlap must be "last", "first" or "error"'),
        (lambda: algebra.to_label_map(TWO, overlap="error"), "got masks[0] with 6 pixels under later masks"),
        (lambda: algebra.from_label_map(np.zeros((2, 2))), "labels must be a uint8, uint16 or uint32 array"),
        (lambda: algebra.from_label_map([[1]]), "got list"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        call()
    assert message in str(caught.value)


def test_the_usual_band_is_two_percent_of_the_diagonal():
    sizes = [(1, 1), (45, 60), (75, 100), (480, 640), (2160, 3840)]
    assert [algebra.boundary_width(size) for size in sizes] == [1, 2, 2, 16, 88]
