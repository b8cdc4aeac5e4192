"""Polygons with holes against shapely, and back to the same masks."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
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
