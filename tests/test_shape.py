"""Shapes against scikit-image, and against definitions written on points and pixels."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial import ConvexHull
from skimage.measure import find_contours, label, perimeter, regionprops
from skimage.morphology import convex_hull_image, thin
from test_masks import stacks

from delineate.masks import Masks
from delineate.shape import convex_hull, ellipses, hulls, pixel_sides, skeleton, skeleton_lengths

MANY = settings(max_examples=60, deadline=None)
SIZES = st.sampled_from([(1.0, 1.0), (0.5, 0.5), (0.3, 1.7), (2.0, 0.1)])


@st.composite
def blobs(draw):
    """One mask with at least one pixel: noise, or smooth parts with holes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    noise = rng.random(draw(st.tuples(st.integers(1, 80), st.integers(1, 80))))
    if draw(st.booleans()):
        noise = ndimage.gaussian_filter(noise, 2)
    return noise >= np.quantile(noise, draw(st.floats(0, 1)))


def one(mask):
    return Masks.from_dense(np.asarray(mask, bool)[None])


@MANY
@given(stacks(max_side=80))
def test_hulls_and_skeletons_equal_scikit_image(dense):
    masks = Masks.from_dense(dense)
    hull, lines = convex_hull(masks).to_dense(), skeleton(masks).to_dense()
    for n, mask in enumerate(dense):
        assert (hull[n] == (convex_hull_image(mask) if mask.any() else mask)).all()
        assert (lines[n] == (thin(mask) if mask.size else mask)).all()


@MANY
@given(blobs())
def test_skeletons_of_blobs_keep_their_parts(mask):
    lines = skeleton(one(mask)).to_dense()[0]
    assert (lines == thin(mask)).all()
    assert label(lines, connectivity=2).max() == label(mask, connectivity=2).max()


def plain_length(lines, x, y):
    """Pairs of neighbours by their distance; a diagonal one only where no third pixel joins the two."""
    pixels, total = set(map(tuple, np.argwhere(lines))), 0
    for r, c in pixels:
        total += y * ((r + 1, c) in pixels) + x * ((r, c + 1) in pixels)
        for side in (-1, 1):
            joined = {(r + 1, c), (r, c + side)} & pixels
            total += math.hypot(x, y) * ((r + 1, c + side) in pixels and not joined)
    return total


@MANY
@given(blobs(), SIZES)
def test_lengths_of_skeletons(mask, size):
    assert skeleton_lengths(one(mask), size)[0] == pytest.approx(plain_length(thin(mask), *size))


def test_lengths_of_lines():
    assert skeleton_lengths(one(np.eye(7)))[0] == pytest.approx(6 * math.sqrt(2))
    assert skeleton_lengths(one(np.ones((1, 9)))).tolist() == [8]
    assert skeleton_lengths(one(np.ones((1, 1)))).tolist() == [0]


def corners_of_hull(mask, x, y):
    """(K, 2) x, y of the middles of edges around scikit-image's hull image."""
    points = np.vstack(find_contours(np.pad(convex_hull_image(mask), 2), 0.5, fully_connected="high"))
    return points[:, ::-1] * (x, y)


@MANY
@given(blobs(), SIZES)
def test_feret_diameters_by_definition(mask, size):
    found = hulls(one(mask), size)
    (region,) = regionprops(mask.astype(np.uint8), spacing=size[::-1])
    assert found.area[0] == pytest.approx(region.area_convex)
    assert found.feret_max[0] == pytest.approx(region.feret_diameter_max)
    points = corners_of_hull(mask, *size)

    def width(angle):
        along = points @ (np.sin(angle), np.cos(angle))
        return along.max() - along.min()

    assert width(found.feret_max_angle[0]) == pytest.approx(found.feret_max[0])
    assert width(found.feret_min_angle[0]) == pytest.approx(found.feret_min[0])
    # The narrowest pair of lines lies along an edge of the hull (Freeman and Shapira, 1975).
    ring = points[ConvexHull(points).vertices]
    edges = np.roll(ring, -1, 0) - ring
    assert found.feret_min[0] == pytest.approx(min(width(math.atan2(-e[1], e[0])) for e in edges))
    for angle in (found.feret_max_angle[0], found.feret_min_angle[0]):
        assert -math.pi / 2 < angle <= math.pi / 2


@MANY
@given(blobs(), SIZES)
def test_perimeter_of_the_hull(mask, size):
    points = np.argwhere(mask)[:, ::-1] * size
    found = hulls(one(mask), size).perimeter[0]
    if np.linalg.matrix_rank(points - points[0], tol=1e-9) < 2:  # on one line: there and back
        assert found == pytest.approx(2 * np.linalg.norm(points[0] - points[-1]))
    else:
        assert found == pytest.approx(ConvexHull(points).area)  # scipy's word for the length around


@MANY
@given(blobs(), st.floats(0.1, 9))
def test_perimeters_of_square_pixels_are_scaled(mask, side):
    assert one(mask).perimeters((side, side))[0] == pytest.approx(side * perimeter(mask, 4))


def plain_perimeter(mask, x, y):
    """The rule of `Masks.perimeters` for pixels that are not square, pixel by pixel."""
    border = np.pad(mask & ~ndimage.binary_erosion(mask), 1)
    total = 0.0
    for r, c in np.argwhere(border):
        near = border[r - 1 : r + 2, c - 1 : c + 2]
        steps = [x] * int(near[1, 0]) + [x] * int(near[1, 2]) + [y] * int(near[0, 1]) + [y] * int(near[2, 1])
        slants = int(near[::2, ::2].sum())
        if len(steps) in (2, 3) and slants <= 2:
            total += np.mean(steps)
        elif (len(steps), slants) in ((0, 2), (1, 3)):
            total += math.hypot(x, y)
        elif len(steps) == 1 and slants in (1, 2):
            total += (steps[0] + math.hypot(x, y)) / 2
    return total


@MANY
@given(blobs())
def test_perimeters_of_other_pixels(mask):
    assert plain_perimeter(mask, 1, 1) == pytest.approx(perimeter(mask, 4))
    for x, y in [(0.3, 1.7), (2.0, 0.1)]:
        assert one(mask).perimeters((x, y))[0] == pytest.approx(plain_perimeter(mask, x, y))


def test_a_rectangle_is_as_long_as_its_sides():
    for (height, width), (x, y) in itertools.product([(3, 5), (9, 4)], [(1, 1), (0.5, 2.0)]):
        expected = 2 * ((width - 1) * x + (height - 1) * y)
        masks = one(np.pad(np.ones((height, width)), 2))
        assert masks.perimeters((x, y))[0] == pytest.approx(expected)
        assert hulls(masks, (x, y)).perimeter[0] == pytest.approx(expected)
        assert hulls(masks, (x, y)).feret_min[0] == pytest.approx(min(width * x, height * y))


def test_ellipses_turn_with_their_masks():
    y, x = np.ogrid[-40:41, -40:41]
    for degrees in (-80, -30, 0, 20, 45, 90):
        turn = math.radians(degrees)
        along, across = x * math.sin(turn) + y * math.cos(turn), x * math.cos(turn) - y * math.sin(turn)
        found = ellipses(one((along / 35) ** 2 + (across / 12) ** 2 <= 1))
        assert math.sin(found.orientation[0] - turn) == pytest.approx(0, abs=0.01)
        assert (found.major[0], found.minor[0]) == pytest.approx((70, 24), abs=0.5)


def test_edges_of_the_canvas_and_nothing():
    corner = np.zeros((5, 6), bool)
    corner[4, 5] = True
    masks = Masks.from_dense(np.array([corner, np.zeros((5, 6), bool), np.ones((5, 6), bool)]))
    found = hulls(masks)
    assert found.area.tolist() == [1, 0, 30]
    assert found.feret_max.tolist() == [1, 0, math.hypot(6, 4)]
    assert found.feret_min.tolist() == pytest.approx([math.sqrt(0.5), 0, 5])
    assert np.isnan(found.feret_max_angle).tolist() == [False, True, False]
    assert convex_hull(masks) == masks
    assert skeleton(masks).areas.tolist()[:2] == [1, 0]
    for nothing in (Masks.empty((4, 5)), Masks.empty((0, 0))):
        assert len(convex_hull(nothing)) == len(skeleton(nothing)) == len(skeleton_lengths(nothing)) == 0
        assert {len(column) for column in (*hulls(nothing), *ellipses(nothing))} == {0}


def test_ten_thousand_masks_far_out():
    rng = np.random.default_rng(0)
    y, x = np.ogrid[-9:10, -9:10]
    discs = Masks.from_dense(np.array([y**2 + x**2 * k <= 80 for k in (1, 2, 5, 30)]))
    near = hulls(discs), skeleton_lengths(discs)
    many = discs.translate(19_000, 19_000, (20_000, 20_000))[rng.permutation(10_000) % 4]
    far, lengths = hulls(many), skeleton_lengths(many)
    kinds = np.argmax(many.areas[:, None] == discs.areas[None], 1)
    for ours, theirs in zip((*far, lengths), (*near[0], near[1]), strict=True):
        np.testing.assert_allclose(ours, theirs[kinds], rtol=1e-12)


@pytest.mark.parametrize("size", [0, -1, math.nan, math.inf, (1, 0), (1, 2, 3), "1", [[1, 2]]])
def test_pixel_sizes_must_make_sense(size):
    with pytest.raises(ValueError, match="pixel_size must be above 0, one number or"):
        pixel_sides(size)
