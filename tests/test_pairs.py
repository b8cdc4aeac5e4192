"""Overlaps against numpy on pixels, pycocotools, and boundary IoU by its definition with scipy.ndimage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco
from scipy import ndimage
from test_algebra import pairs as stacks_of_two

from delineate import boxes
from delineate.masks import Masks
from delineate.pairs import boundary_iou, intersection_over_minimum, intersections, overlaps

MANY = settings(max_examples=100, deadline=None)


def shared(a, b):
    return np.einsum("nhw,mhw->nm", a.astype(np.int64), b.astype(np.int64))


def over(numerator, denominator):
    return np.divide(numerator, denominator, out=np.zeros(numerator.shape), where=numerator > 0)


def areas(a, b):
    return a.sum((1, 2))[:, None], b.sum((1, 2))[None]


def sparse(matrix, within=False):
    """The entries above 0, row by row; above the diagonal only."""
    first, second = np.nonzero(np.triu(matrix, 1) if within else matrix)
    return first, second, matrix[first, second]


def assert_pairs(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert [array.dtype for array in found] == [np.int64, np.int64, np.float64]


def defined_band(mask, width):
    """boundary-iou-api's mask_to_boundary: padded, eroded `width` times by a 3 x 3 square, taken away."""
    eroded = (
        ndimage.binary_erosion(np.pad(mask, 1), np.ones((3, 3)), width)[1:-1, 1:-1] if mask.size else mask
    )
    return mask & ~eroded


def defined_width(mask):
    return max(1, round(0.02 * np.sqrt(mask.shape[0] ** 2 + mask.shape[1] ** 2)))


@MANY
@given(stacks_of_two())
def test_matrices_equal_pixels(pair):
    a, b = pair
    masks, others = Masks.from_dense(a), Masks.from_dense(b)
    both, (own, their) = shared(a, b), areas(a, b)
    assert (intersections(masks, others) == both).all()
    assert (intersection_over_minimum(masks, others) == over(both, np.minimum(own, their))).all()


@MANY
@given(stacks_of_two(), st.sampled_from([0, 0.1, 0.5, 1]))
def test_sparse_equals_dense(pair, least):
    a, b = pair
    masks, others = Masks.from_dense(a), Masks.from_dense(b)
    matrices = {
        "iou": (masks.iou(others), masks.iou(masks)),
        "shared": (shared(a, b).astype(float), shared(a, a).astype(float)),
        "minimum": (intersection_over_minimum(masks, others), intersection_over_minimum(masks, masks)),
        "boundary_iou": (boundary_iou(masks, others), boundary_iou(masks, masks)),
    }
    for measure, (across, own) in matrices.items():
        for found, matrix, within in [
            (overlaps(masks, others, measure=measure, min_value=least), across, False),
            (overlaps(masks, measure=measure, min_value=least), own, True),
        ]:
            assert_pairs(found, sparse(np.where(matrix >= least, matrix, 0), within))


@MANY
@given(stacks_of_two())
def test_crowd_divides_by_the_first_as_pycocotools(pair):
    a, b = pair
    masks, others = Masks.from_dense(a), Masks.from_dense(b)
    crowd = np.arange(len(b)) % 2 == 0
    if len(a) and a.size:
        expected = coco.iou(masks.to_rle(), others.to_rle(), crowd.astype(np.uint8))
        expected = np.where(np.isnan(expected), 0, expected)
        assert_pairs(overlaps(masks, others, crowd=crowd), sparse(expected))
    assert_pairs(
        overlaps(masks, others, measure="boundary_iou", crowd=crowd),
        sparse(boundary_iou(masks, others, crowd=crowd)),
    )


@MANY
@given(stacks_of_two(), st.sampled_from([None, 0, 1, 3]))
def test_boundary_iou_is_as_defined(pair, width):
    a, b = pair
    masks, others = Masks.from_dense(a), Masks.from_dense(b)

    def bands(dense):
        each = [
            defined_band(m, defined_width(m) if width is None else width) if width != 0 else m & False
            for m in dense
        ]
        return np.array(each, bool).reshape(dense.shape)

    own, their = areas(bands(a), bands(b))
    both = shared(bands(a), bands(b))
    expected = over(both, own + their - both)
    assert (boundary_iou(masks, others, width=width) == expected).all()
    assert (
        boundary_iou(masks, others, width=width, at_most_iou=True) == np.minimum(expected, masks.iou(others))
    ).all()


@st.composite
def rectangles(draw):
    """Boxes on a coarse grid or anywhere, of very unlike sizes, some without area or inside out."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))

    def some(n):
        low = rng.uniform(-50, 50, (n, 2))
        made = np.concatenate(
            [low, low + rng.uniform(-2, 1, (n, 2)) * rng.choice([0, 5, 40, 1000], (n, 1))], 1
        )
        return np.round(made / 10) * 10 if coarse else made

    coarse = draw(st.booleans())
    return some(draw(st.integers(0, 300))), some(draw(st.integers(0, 60)))


@MANY
@given(rectangles())
def test_boxes_equal_all_pairs(pair):
    a, b = pair
    for found, matrix, within in [
        (overlaps(a, b), boxes.iou(a, b), False),
        (overlaps(a), boxes.iou(a, a), True),
    ]:
        first, second, value = sparse(matrix, within)
        assert_pairs(found._replace(value=value), (first, second, value))
        np.testing.assert_allclose(found.value, value, rtol=1e-12)


def test_boxes_by_other_measures():
    one, others = [[0, 0, 4, 2]], [[2, 0, 6, 4], [4, 0, 5, 5]]
    assert overlaps(one, others, measure="shared").value.tolist() == [4]
    assert overlaps(one, others, measure="minimum").value.tolist() == [0.5]
    assert overlaps(one, others, crowd=[True, False]).value.tolist() == [0.5]


def test_ten_thousand_masks_on_a_huge_canvas():
    rng = np.random.default_rng(0)
    shapes = Masks.from_dense(rng.random((40, 60, 60)) < 0.7)
    places = rng.integers(0, 19_940, (20_000, 2))
    # Moved in groups: what counts is where the objects end.
    parts = [shapes.translate(int(y), int(x), (20_000, 20_000)) for y, x in places[::40]]
    masks = Masks.concat(parts)[rng.permutation(20_000)]
    a, b = masks[:10_000], masks[10_000:]
    found = overlaps(a, b)
    assert len(found.first) == len(found.value) > 10_000
    rows = rng.integers(0, 10_000, 20)
    expected = sparse(a[rows].iou(b))
    chosen = np.concatenate([np.flatnonzero(found.first == row) for row in rows])
    assert (found.second[chosen] == expected[1]).all()
    assert (found.value[chosen] == expected[2]).all()


@pytest.mark.parametrize("n", [0, 3])
def test_nothing_overlaps_nothing(n):
    nothing, some = Masks.empty((4, 5)), Masks.from_dense(np.zeros((n, 4, 5), bool))
    for a, b in [(nothing, some), (some, nothing), (some, some)]:
        assert [len(column) for column in overlaps(a, b)] == [0, 0, 0]
        assert intersections(a, b).shape == boundary_iou(a, b).shape == (len(a), len(b))
        assert not intersection_over_minimum(a, b).any()
    assert (
        len(overlaps(some).first) == len(overlaps([]).first) == len(overlaps([], [[0, 0, 1, 1]]).first) == 0
    )


ONE = Masks.from_dense(np.ones((1, 2, 2), bool))
WIDE = Masks.from_dense(np.ones((1, 2, 3), bool))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((ONE, WIDE), {}, ValueError, r"b must have the size \(2, 2\) of a, got \(2, 3\)"),
        ((ONE, [[0, 0, 1, 1]]), {}, TypeError, "b must be Masks like a, got list"),
        (([[0, 0, 1, 1]], ONE), {}, TypeError, "boxes must meet boxes"),
        (([[0, 0, 1, 1]],), {"measure": "boundary_iou"}, TypeError, "boxes must meet boxes"),
        ((ONE,), {"measure": "dice"}, ValueError, "measure must be .*got 'dice'"),
        ((ONE,), {"crowd": [True]}, ValueError, "crowd must come with b"),
        ((ONE, ONE), {"crowd": [True], "measure": "minimum"}, ValueError, "crowd must come with b"),
        ((ONE, ONE), {"crowd": [True, False]}, ValueError, r"crowd must have shape \(1,\), got \(2,\)"),
        (([[0, 0, 1]],), {}, ValueError, r"a must be Masks or boxes of shape \(N, 4\), got int64 \(1, 3\)"),
        (([[0, 0, 1, 1]], [[0, 0, 1, np.nan]]), {}, ValueError, "b must be finite, got nan"),
    ],
)
def test_wrong_input_is_named(arguments, options, error, message):
    with pytest.raises(error, match=message):
        overlaps(*arguments, **options)
    for dense in (intersections, intersection_over_minimum, boundary_iou):
        with pytest.raises(ValueError, match="b must have the size"):
            dense(ONE, WIDE)


def test_crowds_count_by_their_masks_where_the_smaller_overlap_is_wanted():
    dense = np.zeros((2, 40, 40), bool)
    dense[0, 5:15, 5:15] = dense[1, 2:38, 2:38] = True
    one, crowd = Masks.from_dense(dense[:1]), Masks.from_dense(dense[1:])
    assert boundary_iou(one, crowd, crowd=[True], at_most_iou=True).tolist() == [[1]]
    assert boundary_iou(one, crowd, crowd=[True]).tolist() == [[0]]
