"""Masks by hand-drawn pixels, by properties, and fed with what they must refuse."""

import copy
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from delineate.masks import Masks

SIZE = (4, 5)


def drawn(*pictures):
    """Masks and pixels from pictures of '.' and '#'."""
    dense = np.array([[[c == "#" for c in row] for row in picture.split()] for picture in pictures])
    return Masks.from_dense(dense), dense


@st.composite
def stacks(draw, max_masks=4, max_side=40):
    """(N, H, W) bool: noise of any share, or blocks; empty and full masks included."""
    n = draw(st.integers(0, max_masks))
    height, width = draw(st.integers(1, max_side)), draw(st.integers(1, max_side))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = draw(st.sampled_from([1, 1, 3, 8]))
    coarse = rng.random((n, -(-height // scale), -(-width // scale))) < draw(
        st.sampled_from([0, 0.1, 0.5, 0.9, 1])
    )
    return coarse.repeat(scale, 1).repeat(scale, 2)[:, :height, :width]


def test_no_masks_are_ordinary():
    none = Masks.empty(SIZE)
    assert (len(none), none.size, repr(none)) == (0, SIZE, "Masks(0, size=(4, 5))")
    assert none.areas.shape == (0,)
    assert none.boxes.shape == (0, 4)
    assert none.to_dense().shape == (0, 4, 5)
    assert none.to_rle() == none.to_polygons() == []
    assert none.moments().shape == (0, 6)
    assert none.perimeters().shape == (0,)
    assert none.iou(none).shape == (0, 0)
    values, offsets, boxes = none.cells(4)
    assert (len(values), offsets.tolist(), boxes.shape) == (0, [0], (0, 4))
    for other in (
        none.flip(),
        none.flip(False),
        none.rotate90(2),
        none.translate(1, 1),
        none.resize(SIZE),
        none[:0],
    ):
        assert other == none
    assert none.union() == Masks.from_dense(np.zeros((1, *SIZE), bool))


@pytest.mark.parametrize("size", [(0, 0), (0, 3), (3, 0)])
def test_a_canvas_without_pixels(size):
    masks = Masks.from_dense(np.zeros((2, *size), bool))
    assert masks.to_dense().shape == (2, *size)
    assert masks.areas.tolist() == [0, 0]
    assert masks.boxes.tolist() == [[0] * 4] * 2
    assert Masks.from_rle(masks.to_rle()) == masks
    assert masks.flip().rotate90(2) == masks
    assert masks.rotate90(1).size == size[::-1]
    assert masks.resize((2, 2)).areas.tolist() == [0, 0]
    assert len(masks.cells(3)[0]) == 0
    assert Masks.from_polygons([[[0, 0, 1, 0, 1, 1]]] * 2, size) == masks


def test_one_pixel():
    masks = Masks.from_dense(np.ones((1, 1, 1), np.uint8))
    assert masks.to_rle() == [{"size": [1, 1], "counts": "01"}]
    assert masks.boxes.tolist() == [[0, 0, 1, 1]]
    assert [ring.tolist() for ring in masks.to_polygons()[0]] == [[[0, 1], [0, 0], [1, 0], [1, 1]]]
    assert masks.perimeters().tolist() == [0]


def test_hand_drawn_measures():
    masks, dense = drawn("..... .##.. .##.. .....", ".....  ..... ..... .....", "##### ##### ##### #####")
    assert masks.areas.tolist() == [4, 0, 20]
    assert masks.boxes.tolist() == [[1, 1, 3, 3], [0, 0, 0, 0], [0, 0, 5, 4]]
    assert masks.boxes.dtype == np.float32
    assert [masks.counts(i).tolist() for i in range(3)] == [[5, 2, 2, 2, 9], [20], [0, 20]]
    assert masks.counts(-1).tolist() == [0, 20]
    assert masks.iou(masks).tolist() == [[1, 0, 0.2], [0, 0, 0], [0.2, 0, 1]]
    assert masks.iou(masks, crowd=[0, 0, 1])[0].tolist() == [1, 0, 1]
    y0, x0, pixels = masks.crop(0)
    assert (y0, x0) == (1, 1)
    assert pixels.tolist() == [[True, True], [True, True]]
    assert masks.crop(1)[2].shape == (0, 0)
    assert (masks.union().to_dense() == dense.any(0)).all()


def test_outlines_have_parts_and_holes():
    masks, _ = drawn("###.# #.#.. ###.# .....", "##... #.##. ####. .....")
    rings = [[ring.tolist() for ring in mask] for mask in masks.to_polygons()]
    frame, hole, *dots = rings[0]
    assert sorted(map(tuple, frame)) == [(0, 0), (0, 3), (3, 0), (3, 3)]
    assert sorted(map(tuple, hole)) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert [min(map(tuple, dot)) for dot in dots] == [(4, 0), (4, 2)]
    # The hole of the second mask touches the outside at a corner: still two rings, each a simple one.
    assert [len(ring) for ring in rings[1]] == [6, 4]
    assert signed_area(rings[1][0]) > 0 > signed_area(rings[1][1])


def signed_area(ring):
    x, y = np.array(ring, float).T
    return (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2


def test_pixels_that_touch_at_a_corner_are_two_parts():
    masks, _ = drawn("#. .#", ".# #.")
    assert [[len(ring) for ring in mask] for mask in masks.to_polygons()] == [[4, 4], [4, 4]]


@given(stacks())
def test_outlines_enclose_exactly_the_mask(dense):
    masks = Masks.from_dense(dense)
    for pixels, rings in zip(dense, masks.to_polygons(), strict=True):
        filled = np.zeros(np.add(pixels.shape, (0, 1)), bool)
        for ring in rings:
            assert len({tuple(corner) for corner in ring.tolist()}) == len(ring) >= 4
            for (xa, ya), (xb, yb) in zip(ring, np.roll(ring, -1, 0), strict=True):
                assert (xa == xb) != (ya == yb)
                if xa == xb:
                    filled[min(ya, yb) : max(ya, yb), xa:] ^= True
        assert (filled[:, :-1] == pixels).all()
        assert not rings or signed_area(rings[0]) > 0


@given(stacks())
def test_outlines_without_holes_fill_to_the_same_mask(dense):
    masks = Masks.from_dense(dense)
    solid = np.array([all(signed_area(r) > 0 for r in rings) for rings in masks.to_polygons()], bool)
    again = Masks.from_polygons([p for p, s in zip(masks.to_polygons(), solid, strict=True) if s], masks.size)
    assert again == masks[solid]


@given(stacks(max_side=150), st.sampled_from(["C", "F", "stack", "strided", "uint8"]))
def test_dense_round_trip_in_every_memory_order(dense, order):
    given_as = {
        "C": dense,
        "F": np.asfortranarray(dense),
        "stack": np.asfortranarray(dense.transpose(1, 2, 0)).transpose(2, 0, 1),
        "strided": np.repeat(dense, 2, axis=2)[:, :, ::2],
        "uint8": dense.astype(np.uint8) * 200,
    }[order]
    masks = Masks.from_dense(given_as)
    assert masks == Masks.from_dense(dense)
    assert (masks.to_dense() == dense).all()
    out = np.full(dense.shape, 7, np.uint8)
    assert dense.size == 0 or np.shares_memory(masks.to_dense(out), out)
    assert (out == dense).all()


@given(stacks())
def test_every_representation_comes_back(dense):
    masks = Masks.from_dense(dense)
    assert pickle.loads(pickle.dumps(masks)) == masks
    assert copy.deepcopy(masks) == masks
    counts = [masks.counts(i) for i in range(len(masks))]
    offsets = np.cumsum([0, *map(len, counts)])
    assert Masks.from_counts(np.concatenate([[], *counts]).astype(int), offsets, masks.size) == masks
    compressed = masks.to_rle()
    assert Masks.from_rle(compressed, masks.size) == masks
    mixed = [
        {"size": masks.size, "counts": counts[i].tolist()}
        if i % 2
        else {**rle, "counts": rle["counts"].encode()}
        for i, rle in enumerate(compressed)
    ]
    assert Masks.from_rle(mixed, masks.size) == masks
    assert Masks.from_coco(mixed, masks.size) == masks


@given(stacks(), st.integers(-5, 5))
def test_turns_and_flips(dense, k):
    masks = Masks.from_dense(dense)
    assert (masks.rotate90(k).to_dense() == np.rot90(dense, k, (1, 2))).all()
    assert (masks.flip().to_dense() == dense[:, :, ::-1]).all()
    assert (masks.flip(horizontal=False).to_dense() == dense[:, ::-1]).all()
    assert masks.rotate90(k).rotate90(-k) == masks == masks.flip().flip()


@given(
    stacks(),
    st.tuples(st.integers(-50, 50), st.integers(-50, 50)),
    st.tuples(st.integers(0, 60), st.integers(0, 60)),
)
def test_translate_and_crop_to_cut_at_the_canvas(dense, shift, size):
    padded = np.pad(dense, [(0, 0), (50, 110), (50, 110)])
    window = padded[:, 50 - shift[0] :, 50 - shift[1] :][:, : size[0], : size[1]]
    masks = Masks.from_dense(dense)
    assert masks.translate(*shift, size) == Masks.from_dense(window)
    assert masks.crop_to(-shift[0], -shift[1], *size) == Masks.from_dense(window)
    assert masks.translate(*shift).size == masks.size


def test_shifts_beyond_every_canvas():
    masks, _ = drawn("#. .#")
    assert masks.translate(10**30, -(10**30)).areas.tolist() == [0]


@given(stacks(), st.integers(1, 70), st.integers(1, 70))
def test_resize_takes_the_nearest_pixel(dense, height, width):
    rows = (2 * np.arange(height) + 1) * dense.shape[1] // (2 * height)
    columns = (2 * np.arange(width) + 1) * dense.shape[2] // (2 * width)
    resized = Masks.from_dense(dense).resize((height, width))
    assert (resized.to_dense() == dense[:, rows][:, :, columns]).all()


def test_resize_composes_with_a_window():
    masks, _ = drawn("..##. ..##. ..... .....")
    assert masks.resize((8, 10)).crop_to(0, 4, 4, 4) == Masks.from_dense(np.ones((1, 4, 4), bool))
    assert masks.resize(masks.size) == masks


@given(stacks(), st.integers(1, 50))
def test_cells_are_covered_fractions(dense, stride):
    height, width = dense.shape[1:]
    masks = Masks.from_dense(dense)
    values, offsets, boxes = masks.cells(stride)
    assert (values.dtype, offsets.dtype, boxes.dtype) == (np.float32, np.int64, np.int32)
    starts_y, starts_x = np.arange(0, height, stride), np.arange(0, width, stride)
    sums = np.add.reduceat(np.add.reduceat(dense.astype(float), starts_y, 1), starts_x, 2)
    sizes = np.outer(np.diff([*starts_y, height]), np.diff([*starts_x, width]))
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        whole = np.zeros(sizes.shape)
        whole[y0:y1, x0:x1] = values[offsets[i] : offsets[i + 1]].reshape(y1 - y0, x1 - x0)
        np.testing.assert_allclose(whole, sums[i] / sizes, rtol=1e-6)
        low, high = masks.boxes[i][:2] // stride - 1, -(-masks.boxes[i][2:] // stride) + 1
        expected = [*np.maximum(low, 0), *np.minimum(high, sizes.shape[::-1])] if dense[i].any() else [0] * 4
        assert [x0, y0, x1, y1] == expected


@given(stacks(max_masks=6))
def test_union_and_overlap_agree_with_areas(dense):
    masks = Masks.from_dense(dense)
    assert (masks.union().to_dense()[0] == dense.any(0)).all()
    flat = dense.reshape(len(dense), dense.shape[1] * dense.shape[2]).astype(float)
    both = flat @ flat.T
    either = masks.areas[:, None] + masks.areas - both
    expected = np.divide(both, either, out=np.zeros_like(both), where=both > 0)
    assert (masks.iou(masks) == expected).all()


@given(stacks())
def test_moments_are_sums_over_pixel_centres(dense):
    moments = Masks.from_dense(dense).moments()
    for found, pixels in zip(moments, dense, strict=True):
        y, x = np.nonzero(pixels)
        assert found.tolist() == [len(y), y.sum(), x.sum(), (y * y).sum(), (x * x).sum(), (x * y).sum()]


@given(stacks(), st.data())
def test_indexing_is_that_of_numpy(dense, data):
    masks, n = Masks.from_dense(dense), len(dense)
    index = data.draw(
        st.one_of(
            st.slices(n),
            hnp.arrays(bool, n),
            hnp.arrays(
                st.sampled_from([np.int8, np.int32, np.int64]),
                st.integers(0, 6),
                elements=st.integers(-n, n - 1),
            )
            if n
            else st.just(np.empty(0, np.int64)),
        )
    )
    assert masks[index] == Masks.from_dense(dense[index])
    assert masks[list(range(n))] == masks


@given(stacks(), stacks())
def test_concat_and_equality(first, second):
    a, b = Masks.from_dense(first), Masks.from_dense(second)
    assert Masks.concat([a]) == a
    assert Masks.concat([a, a])[: len(a)] == a
    assert (a == b) == np.array_equal(first, second)
    assert a != "a"
    if a.size != b.size:
        with pytest.raises(ValueError, match=r"parts\[1\]: size must be \("):
            Masks.concat([a, b])


def test_many_instances():
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 990, (20_000, 2))
    squares = [[[x, y, x + 9, y, x + 9, y + 9, x, y + 9]] for x, y in corners.tolist()]
    masks = Masks.from_polygons(squares, (1000, 1000))
    assert (masks.areas == 81).all()
    assert (masks.boxes[:, :2] == corners).all()
    values, offsets, _ = masks.cells(4)
    assert np.add.reduceat(values, offsets[:-1]).sum() * 16 == pytest.approx(81 * 20_000)
    assert masks.flip().flip() == masks.rotate90(1).rotate90(3) == masks
    assert [len(rings) for rings in masks.to_polygons()] == [1] * 20_000
    assert (
        masks.union().areas[0]
        == np.unique((corners[:, None] + np.mgrid[:9, :9].reshape(2, -1).T).reshape(-1, 2), axis=0).shape[0]
    )


def test_threads_may_share_masks():
    masks = Masks.from_dense(np.random.default_rng(0).random((20, 90, 90)) < 0.5)
    expected, found = masks.flip(), []
    threads = [threading.Thread(target=lambda: found.append(masks.flip())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 8


def test_values_are_read_only():
    masks, _ = drawn("#. .#")
    for array in (masks.areas, masks.boxes, masks.counts(0), masks.runs.counts):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(AttributeError):
        masks.runs = None
    with pytest.raises(TypeError, match="unhashable"):
        hash(masks)


def test_counts_outlive_their_masks():
    counts = Masks.from_counts([4, 2, 6], [0, 3], (3, 4)).counts(0)
    assert counts.tolist() == [4, 2, 6]


def test_counts_become_canonical():
    odd = Masks.from_counts([1, 0, 3, 2, 0, 0, 6, 0, 0], [0, 9], (3, 4))
    assert odd.counts(0).tolist() == [4, 2, 6]


def rle(counts, size=(3, 4)):
    return {"size": list(size), "counts": counts}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (rle([4, 2, 5]), r"masks\[1\]: counts must sum to 12 \(3 x 4\), got 11\. Check"),
        (rle([]), r"masks\[1\]: counts must sum to 12 \(3 x 4\), got 0"),
        (rle([4, -2, 10]), r"masks\[1\]: counts must be within 0 to 4294967295, got -2 to 10"),
        (rle([4, 2**32, 6]), r"masks\[1\]: counts must be within 0 to 4294967295, got 4 to 4294967296"),
        (rle([2**70]), r"masks\[1\]: counts must be whole numbers in one row"),
        (rle([4.0, 2.0, 6.0]), r"masks\[1\]: counts must be whole numbers in one row"),
        (rle([[4], [2, 6]]), r"masks\[1\]: counts must be whole numbers in one row"),
        (rle("425"), r"masks\[1\]: counts must sum to 12 \(3 x 4\), got 11"),
        (rle("42 "), r"masks\[1\]: counts must hold characters '0' .* got 0x20 at position 2"),
        (rle("42é"), r"masks\[1\]: counts must hold characters '0' .* got 0xc3 at position 2"),
        (rle("42\x00"), r"masks\[1\]: counts must hold characters '0' .* got 0x00 at position 2"),
        (rle(b"4\xff"), r"masks\[1\]: counts must hold characters '0' .* got 0xff at position 1"),
        (rle("42V"), r"masks\[1\]: counts must end with a finished number"),
        (rle("oooooooo0"), r"masks\[1\]: counts must hold numbers of at most 7 characters"),
        (rle("N"), r"masks\[1\]: counts must not be negative, got -2 as count 0"),
        (rle("oooooo?"), r"masks\[1\]: counts must be at most 4294967295, got \d+ as count 0"),
        (rle("442"), r"masks\[1\]: counts must sum to 12 \(3 x 4\), got 10"),
        (rle("4oo70"), r"masks\[1\]: counts must sum to 12 \(3 x 4\), got at least \d+"),
        (rle("426", (4, 3)), r"masks\[1\]: size must be \[3, 4\] like the others, got \[4, 3\]"),
        (rle("426", (3, 4, 5)), r"masks\[1\]: size must be two whole numbers"),
        (rle(7), r"masks\[1\]: counts must be a string or a list of counts, got int"),
        ({"counts": "426"}, r"masks\[1\]: a run-length mask must be a dict with size and counts"),
        ("426", r"masks\[1\]: a run-length mask must be a dict with size and counts"),
    ],
)
def test_damaged_run_lengths_are_refused_by_name(bad, message):
    for good in (rle("426"), rle([4, 2, 6])):
        with pytest.raises(ValueError, match=message):
            Masks.from_rle([good, bad])


def test_lone_surrogates_are_refused():
    with pytest.raises(ValueError, match="surrogates not allowed"):
        Masks.from_rle([rle("42\ud800")])
    with pytest.raises(ValueError, match="surrogates not allowed"):
        Masks.from_rle([rle([12]), rle("42\ud800")])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([[0, 0, 1, 1]], "polygon 0 must have an even count of at least 6 numbers, got 4"),
        ([[0, 0, 1, 1, 2]], "polygon 0 must have an even count of at least 6 numbers, got 5"),
        ([[0, 0, 1, 0, 1, 1], [0] * 7], "polygon 1 must have an even count of at least 6 numbers, got 7"),
        ([[]], "polygon 0 must be numbers|polygon 0 must have an even count"),
        ([0, 0, 1, 0, 1, 1], "polygon 0 must be numbers x, y, x, y"),
        ([["0", "0", "1", "0", "1", "1"]], "polygon 0 must be numbers x, y, x, y"),
        ([[[0, 0], [1, 0], [1]]], "polygon 0 must be numbers x, y, x, y"),
        ([[0, 0, 1, 0, 1, None]], "polygon 0 must be numbers x, y, x, y"),
        ([[0, 0, 1, 0, 1, 10**400]], "polygon 0 must be numbers x, y, x, y"),
        (
            [[0, 0, 1, 0, 1, float("nan")]],
            "polygon 0 must have coordinates of at most 1e8 in size, got nan",
        ),
        (
            [[0, 0, 1, 0, 1, float("inf")]],
            "polygon 0 must have coordinates of at most 1e8 in size, got inf",
        ),
        (
            [np.array([[0, 0], [1, 0], [1, -1.1e8]])],
            "polygon 0 must have coordinates of at most 1e8 in size, got -110000000.0",
        ),
        ("abc", "polygons must be a list of polygons"),
        (None, "polygons must be a list of polygons"),
    ],
)
def test_damaged_polygons_are_refused_by_name(bad, message):
    good = [[0, 0, 2, 0, 2, 2]]
    with pytest.raises(ValueError, match=rf"^masks\[1\]: ({message})"):
        Masks.from_polygons([good, bad], (3, 4))
    with pytest.raises(ValueError, match=rf"^masks\[2\]: ({message})"):
        Masks.from_coco([rle("426"), good, bad], (3, 4))


def test_coco_errors_name_the_original_position():
    with pytest.raises(ValueError, match=r"^masks\[2\]: counts must sum"):
        Masks.from_coco([[[0, 0, 2, 0, 2, 2]], rle("426"), rle("425")], (3, 4))


def test_polygons_of_every_shape_and_type():
    corners = [[1, 1], [4, 1], [4, 3], [1, 3]]
    square = Masks.from_polygons([[corners]], SIZE)
    flat = np.ravel(corners)
    for same in (flat.tolist(), flat.astype(np.float32), np.array(corners, np.uint16), tuple(flat.tolist())):
        assert Masks.from_polygons([[same]], SIZE) == square
    assert Masks.from_polygons([[], [flat.tolist()]], SIZE).areas.tolist() == [0, 6]
    assert Masks.from_polygons([], SIZE) == Masks.empty(SIZE)
    assert Masks.from_coco([[], []], SIZE).areas.tolist() == [0, 0]


@pytest.mark.parametrize("size", [(3,), (3, 4, 5), 7, None, "34", (3.0, 4.0), (-1, 4), (3, 2**24 + 1)])
def test_sizes_are_checked(size):
    for make in (Masks.empty, lambda s: Masks.from_polygons([], s), lambda s: Masks.empty(SIZE).resize(s)):
        with pytest.raises(ValueError, match="size must"):
            make(size)


def test_size_of_no_run_lengths_must_be_given():
    with pytest.raises(ValueError, match="size must be given"):
        Masks.from_rle([])
    assert Masks.from_rle([], SIZE) == Masks.empty(SIZE)
    with pytest.raises(ValueError, match="size must be two whole numbers"):
        Masks.from_rle([{"counts": "426"}])


def test_runs_fit_32_bits_on_the_largest_canvas():
    side = 2**20
    square = [[0, 0, 3, 0, 3, 3, 0, 3]]
    with pytest.raises(
        ValueError, match=r"masks\[0\]: runs must be at most 4294967295 pixels long, got 1099509530621"
    ):
        Masks.from_polygons([square], (side, side))
    striped = Masks.from_counts([2**32 - 1, 1] * 256, [0, 512], (side, side))
    assert striped.areas.tolist() == [256]
    assert striped.boxes.tolist() == [[4095, side - 1, side, side]]
    assert striped.rotate90(2).areas.tolist() == [256]
    assert Masks.from_rle(striped.to_rle()) == striped


@pytest.mark.parametrize(
    "dense",
    [
        np.zeros((3, 4), bool),
        np.zeros((1, 3, 4)),
        np.zeros((1, 3, 4), np.int64),
        [[[1]]],
        np.zeros((1, 2, 3, 4), bool),
    ],
)
def test_dense_must_be_bool_or_uint8_stacks(dense):
    with pytest.raises(ValueError, match=r"dense must be a bool or uint8 array of shape \(N, H, W\), got"):
        Masks.from_dense(dense)


@pytest.mark.parametrize(
    ("counts", "offsets", "message"),
    [
        ([12], [0, 2], r"offsets must rise from 0 to the number of counts \(1\), got 0 to 2"),
        ([12], [1, 1], "offsets must rise"),
        ([12], [], "offsets must rise .* got none"),
        ([12, 12], [0, 2, 1, 2], "offsets must rise"),
        ([[12]], [0, 1], "counts must be whole numbers in one row"),
        ([12], [0.0, 1.0], "offsets must be whole numbers in one row"),
        ([12, -12], [0, 1, 2], r"masks\[1\]: counts must be within 0 to 4294967295, got -12"),
        ([12, 11], [0, 1, 2], r"masks\[1\]: counts must sum to 12"),
    ],
)
def test_counts_and_offsets_are_checked(counts, offsets, message):
    with pytest.raises(ValueError, match=message):
        Masks.from_counts(counts, offsets, (3, 4))


@pytest.mark.parametrize("index", [0, np.int64(1), 1.5, None, "a", [[0, 1]], [0.5], (0, 1, "a")])
def test_an_index_that_is_no_selection(index):
    masks, _ = drawn("#. .#", "#. #.")
    with pytest.raises(TypeError, match="index must be a slice, an int array or a bool array"):
        masks[index]


@pytest.mark.parametrize("index", [[2], [-3], [True], [True, False, True]])
def test_an_index_out_of_range(index):
    masks, _ = drawn("#. .#", "#. #.")
    with pytest.raises(IndexError, match="index must"):
        masks[index]


def test_positions_strides_and_partners_are_checked():
    masks, _ = drawn("#. .#", "#. #.")
    for access in (masks.counts, masks.crop):
        with pytest.raises(IndexError, match="i must be within -2 to 1, got 2"):
            access(2)
    with pytest.raises(ValueError, match="stride must be at least 1 pixel, got 0"):
        masks.cells(0)
    with pytest.raises(ValueError, match=r"other: size must be \(2, 2\), got \(4, 5\)"):
        masks.iou(Masks.empty(SIZE))
    with pytest.raises(ValueError, match=r"crowd must have shape \(2,\), got \(3,\)"):
        masks.iou(masks, crowd=[True] * 3)
    with pytest.raises(ValueError, match="parts must hold at least one"):
        Masks.concat([])
    with pytest.raises(TypeError, match="runs must be native runs, got ndarray"):
        Masks(np.zeros((1, 2, 2), bool))


@pytest.mark.parametrize(
    "out", [np.zeros((2, 2, 2)), np.zeros((1, 2, 2), bool), np.zeros((2, 2, 4), bool)[:, :, ::2]]
)
def test_out_must_fit(out):
    masks, _ = drawn("#. .#", "#. #.")
    with pytest.raises(ValueError, match=r"out must be a writeable C-order bool array \(2, 2, 2\)"):
        masks.to_dense(out)
