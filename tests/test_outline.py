"""Polygons with holes against shapely, and back to the same masks."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import approximate_polygon
from test_masks import drawn, stacks

from delineate import outline
from delineate.masks import Masks
from delineate.outline import Polygon

MANY = settings(max_examples=150, deadline=None)


def shape_of(parts):
    """One mask's polygons as shapely has them."""
    return shapely.MultiPolygon([(part.exterior, part.holes) for part in parts])


@MANY
@given(stacks())
def test_exact_polygons_are_valid_and_come_back(dense):
    masks = Masks.from_dense(dense)
    found = outline.polygons(masks)
    assert outline.fill(found, masks.size) == masks
    for parts, area, rings in zip(found, masks.areas, masks.to_polygons(), strict=True):
        shape = shape_of(parts)
        assert shape.is_valid
        assert shape.area == area
        assert [ring.tolist() for part in parts for ring in part.rings] == [ring.tolist() for ring in rings]
        for part in parts:
            assert shapely.LinearRing(part.exterior).is_ccw  # as GeoJSON wants it, y up
            assert not any(shapely.LinearRing(hole).is_ccw for hole in part.holes)


@MANY
@given(stacks())
def test_bridged_rings_fill_to_the_same_mask(dense):
    masks = Masks.from_dense(dense)
    single = outline.bridged(masks)
    assert Masks.from_polygons(single, masks.size) == masks
    assert [len(rings) for rings in single] == [len(parts) for parts in outline.polygons(masks)]


def test_holes_belong_to_their_part():
    masks, _ = drawn("#####.#. #...#.#. #.#.#... #...#.## #####.##")
    parts = outline.polygons(masks)[0]
    assert sorted((len(part.exterior), len(part.holes)) for part in parts) == [(4, 0), (4, 0), (4, 0), (4, 1)]


def test_no_masks_and_masks_without_pixels():
    assert outline.polygons(Masks.empty((3, 4))) == outline.bridged(Masks.empty((3, 4))) == []
    nothing = Masks.from_counts([12], [0, 1], (3, 4))
    assert outline.polygons(nothing) == outline.bridged(nothing) == [[]]
    assert outline.fill([[]], (3, 4)) == nothing
    assert len(outline.fill([], (3, 4))) == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
def test_full_canvas(size):
    masks = Masks.from_dense(np.ones((2, *size), bool))
    assert [[part.exterior.tolist() for part in parts] for parts in outline.polygons(masks)] == [
        [[[0, size[0]], [0, 0], [size[1], 0], [size[1], size[0]]]]
    ] * 2
    assert outline.fill(outline.polygons(masks), size) == masks


def test_coordinates_are_closed_rings_of_plain_numbers():
    masks, _ = drawn("### #.# ###")
    ((exterior, hole),) = [part.coordinates() for part in outline.polygons(masks)[0]]
    assert exterior == [[0, 3], [0, 0], [3, 0], [3, 3], [0, 3]]
    assert hole[0] == hole[-1]
    assert {type(value) for point in exterior for value in point} == {int}


def test_bridged_takes_any_polygons():
    square = np.array([[0.5, 0], [8, 0.5], [7.5, 8], [0, 7]])
    holes = np.array([[2, 2], [2, 4], [4, 4]]), np.array([[5.0, 2], [5, 4], [6, 3]])
    ((ring,),) = outline.bridged([[Polygon(square, holes)]])
    cut = shapely.Polygon(ring).buffer(0)
    assert cut.area == pytest.approx(shapely.Polygon(square, holes).area, abs=1e-9)


def test_a_hole_outside_is_refused():
    square = np.array([[2, 2], [4, 2], [4, 4], [2, 4]])
    with pytest.raises(
        ValueError, match=r"holes must lie inside their exterior, got one that starts at \(0, 3\)"
    ):
        outline.bridged([[Polygon(square, (square * 0 + [[0, 3], [0, 4], [1, 4], [1, 3]],))]])


@pytest.mark.parametrize(
    ("ring", "message"),
    [
        ([[0, 0], [1, 1]], "at least 6 numbers, got 4"),
        ([[0, 0], [1, 1], [np.nan, 0]], "at most 1e8 in size, got nan"),
        ([[0, 0, 0]] * 3, "must be numbers x, y, x, y"),
    ],
)
def test_fill_refuses_what_is_no_ring(ring, message):
    with pytest.raises(ValueError, match=message):
        outline.fill([[], [Polygon(np.array(ring))]], (4, 4))


def test_memory_follows_the_object():
    masks = Masks.from_polygons([[[9000, 9000, 9050, 9000, 9050, 9060]]], (20_000, 20_000))
    assert outline.fill(outline.polygons(masks), masks.size) == masks


def discs(count=4, size=80):
    """Rough round shapes, some with a hole."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:size, :size] - size / 2
    angle, distance = np.arctan2(y, x), np.hypot(y, x)
    masks = []
    for k in range(count):
        radius = size * 0.3 + sum(
            size * 0.08 / n * rng.normal() * np.cos(n * angle + 6 * rng.random()) for n in range(1, 6)
        )
        masks.append((distance < radius) & (distance > (size * 0.1 if k % 2 else 0)))
    return Masks.from_dense(np.array(masks))


def check_sketch(masks, found, max_distance=np.inf):
    """Valid, with the parts and holes of the exact polygons in their order, and near them."""
    for exact, simple in zip(outline.polygons(masks), found, strict=True):
        assert shape_of(simple).is_valid
        assert [len(part.holes) for part in simple] == [len(part.holes) for part in exact]
        for before, after in zip(exact, simple, strict=True):
            for ring, fewer in zip(before.rings, after.rings, strict=True):
                assert (fewer * 2 % 1 == 0).all()
                lines = shapely.LinearRing(ring), shapely.LinearRing(fewer)
                assert lines[0].is_ccw == lines[1].is_ccw
                assert lines[0].hausdorff_distance(lines[1]) <= max_distance + 1e-9


def overlaps(masks, shapes):
    """(N,) intersection over union of the masks and what the polygons are filled to."""
    a, b = masks.to_dense(), outline.fill(shapes, masks.size).to_dense()
    return (a & b).sum((1, 2)) / np.maximum(1, (a | b).sum((1, 2)))


@MANY
@given(stacks(max_masks=2, max_side=24), st.sampled_from([0, 0.4, 0.5, 0.71, 1, 2.5, 10]))
def test_simplify_within_a_distance(dense, max_distance):
    masks = Masks.from_dense(dense)
    found = outline.simplify(masks, max_distance=max_distance)
    check_sketch(masks, found, max_distance)
    if max_distance == 0:
        assert outline.fill(found, masks.size) == masks


@MANY
@given(stacks(max_masks=2, max_side=24), st.sampled_from([0, 0.5, 0.9, 0.97, 1]))
def test_simplify_to_an_overlap(dense, min_iou):
    masks = Masks.from_dense(dense)
    found = outline.simplify(masks, min_iou=min_iou)
    check_sketch(masks, found)
    assert (overlaps(masks, found)[masks.areas > 0] >= min_iou).all()


def fewest(ring, max_distance):
    """The fewest points of a ring, any start, by trying every line against shapely's distances."""
    middles = (ring + np.roll(ring, -1, axis=0)) / 2
    points = np.stack([ring, middles], 1).reshape(-1, 2)
    n = len(points)
    allowed = np.zeros((n, n + 1), bool)
    for a in range(n):
        for k in range(1, n):
            chain = shapely.LineString(points[np.arange(a, a + k + 1) % n])
            line = shapely.LineString([points[a], points[(a + k) % n]])
            allowed[a, k] = chain.hausdorff_distance(line) <= max_distance + 1e-9
    best = n
    for start in range(n):
        cost = np.full(n + 1, n)
        cost[0] = 0
        for i in range(n):
            for k in range(1, n - i + 1):
                if k < n and allowed[(start + i) % n, k]:
                    cost[i + k] = min(cost[i + k], cost[i] + 1)
        best = min(best, cost[n])
    return max(3, best)


@pytest.mark.parametrize("max_distance", [0.5, 1, 1.5])
def test_corners_are_the_fewest(max_distance):
    masks = discs(3, 22)[::2]
    for exact, simple in zip(
        outline.polygons(masks), outline.simplify(masks, max_distance=max_distance), strict=True
    ):
        assert len(exact) == 1
        assert len(simple[0].exterior) <= fewest(exact[0].exterior, max_distance) + (max_distance > 1)


def corners(shapes):
    return sum(len(ring) for parts in shapes for part in parts for ring in part.rings)


def douglas_peucker(masks, distance):
    def fewer(ring):
        kept = approximate_polygon(np.append(ring, ring[:1], 0), distance)[:-1]
        return kept if len(kept) >= 3 else ring

    return [
        [Polygon(fewer(part.exterior), tuple(fewer(hole) for hole in part.holes)) for part in parts]
        for parts in outline.polygons(masks)
    ]


@pytest.mark.parametrize("max_distance", [0.75, 1, 2, 5])
def test_fewer_corners_than_douglas_and_peucker_within_a_distance(max_distance):
    masks = discs()
    found = outline.simplify(masks, max_distance=max_distance)
    check_sketch(masks, found, max_distance)
    assert corners(found) < 0.95 * corners(douglas_peucker(masks, max_distance))


@pytest.mark.parametrize("min_iou", [0.9, 0.95, 0.98])
def test_fewer_corners_than_douglas_and_peucker_for_an_overlap(min_iou):
    masks = discs()
    found = outline.simplify(masks, min_iou=min_iou)
    peers = 0
    for i in range(len(masks)):
        tried = [douglas_peucker(masks[i : i + 1], distance) for distance in np.arange(0, 12, 0.2)]
        peers += min(corners(shapes) for shapes in tried if overlaps(masks[i : i + 1], shapes)[0] >= min_iou)
    assert corners(found) < 0.85 * peers


@pytest.mark.parametrize("min_iou", [0.8, 0.9, 0.95, 0.99])
def test_more_overlap_takes_more_corners(min_iou):
    masks = discs()
    found, closer = (outline.simplify(masks, min_iou=bound) for bound in (min_iou, (1 + min_iou) / 2))
    assert (overlaps(masks, found) >= min_iou).all()
    assert corners(found) < corners(closer) < corners(outline.polygons(masks))


def test_a_straight_line_of_steps_is_one_line():
    y, x = np.mgrid[:60, :60]
    masks = Masks.from_dense((y + 5 < x)[None])
    found = outline.simplify(masks, min_iou=1)
    assert corners(found) <= 6 < corners(outline.polygons(masks))
    assert outline.fill(found, masks.size) == masks


def test_nothing_crosses_where_rings_are_close():
    """Nested squares one pixel apart, and a part inside a hole: a wide bound must not let them cross or jump."""
    y, x = np.mgrid[:41, :41]
    nested = np.maximum(abs(y - 20), abs(x - 20)) % 2 == 0
    discs_ = np.hypot(y - 20, x - 20).astype(int) % 3 == 0
    comb = (x % 2 == 0) | (y == 0)
    masks = Masks.from_dense(np.stack([nested, discs_, comb, nested & comb]))
    for max_distance in (1, 3, 9, 50):
        check_sketch(masks, outline.simplify(masks, max_distance=max_distance), max_distance)


@pytest.mark.parametrize(
    "picture",
    [
        "...........##### ..........##...# .......####.##.# .......#...#.### ........#.#.#..# ........########",
        "..###... .##..... ##.###.. #.#..##. ##..#.#. .##.#.#. ..###.#. ....####",
    ],
)
@pytest.mark.parametrize("max_distance", [1, 2, 3, 4])
def test_parts_that_meet_at_corners_do_not_slip_inside(picture, max_distance):
    """All corners of a single pixel may be those of other parts; each of these once came to lie inside another."""
    masks, _ = drawn(picture)
    check_sketch(masks, outline.simplify(masks, max_distance=max_distance), max_distance)


@pytest.mark.parametrize("bound", [{"max_distance": 1.5}, {"min_iou": 0.9}])
def test_simplify_edges(bound):
    assert outline.simplify(Masks.empty((3, 4)), **bound) == []
    nothing = Masks.from_dense(np.zeros((2, 3, 4), bool))
    assert outline.simplify(nothing, **bound) == [[], []]
    for size in ((1, 1), (1, 9), (9, 1), (30, 40)):
        full = Masks.from_dense(np.ones((1, *size), bool))
        check_sketch(full, outline.simplify(full, **bound))
    large = Masks.from_polygons([[[9000, 9000, 9050, 9000, 9050, 9060]]] * 3, (20_000, 20_000))
    assert corners(outline.simplify(large, **bound)) <= 12


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({}, "one of max_distance and min_iou must be given, got None and None"),
        ({"max_distance": 1, "min_iou": 0.9}, "one of max_distance and min_iou must be given, got 1 and 0.9"),
        ({"max_distance": -1}, "max_distance must be at least 0 pixels, got -1"),
        ({"max_distance": np.nan}, "max_distance must be at least 0 pixels, got nan"),
        ({"min_iou": 1.1}, "min_iou must be within 0 to 1, got 1.1"),
        ({"min_iou": np.nan}, "min_iou must be within 0 to 1, got nan"),
    ],
)
def test_simplify_refuses(bounds, message):
    with pytest.raises(ValueError, match=message):
        outline.simplify(Masks.empty((3, 4)), **bounds)
