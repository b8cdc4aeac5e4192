"""Masks against pycocotools and scikit-image: equal to the bit, not nearly."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco
from skimage import measure
from test_masks import stacks

from delineate.masks import Masks

HUNDREDS = settings(max_examples=400, deadline=None)


def reference(dense):
    return coco.encode(np.asfortranarray(dense.transpose(1, 2, 0).astype(np.uint8)))


def texts(rles):
    return [rle["counts"].decode() for rle in rles]


@HUNDREDS
@given(stacks(max_side=130))
def test_encoding_area_box_and_union(dense):
    masks, theirs = Masks.from_dense(dense), reference(dense)
    assert [rle["counts"] for rle in masks.to_rle()] == texts(theirs)
    assert Masks.from_rle(theirs, masks.size) == masks
    if len(masks) == 0:
        return
    assert masks.areas.tolist() == coco.area(theirs).tolist()
    corners = coco.toBbox(theirs)
    corners[:, 2:] += corners[:, :2]
    assert masks.boxes.tolist() == corners.tolist()
    assert masks.union().to_rle()[0]["counts"] == coco.merge(theirs)["counts"].decode()


@HUNDREDS
@given(stacks(), stacks(), st.booleans())
def test_overlap(first, second, crowded):
    height, width = np.minimum(first.shape[1:], second.shape[1:])
    a, b = (
        Masks.from_dense(first).crop_to(0, 0, height, width),
        Masks.from_dense(second).crop_to(0, 0, height, width),
    )
    if len(a) == 0 or len(b) == 0:
        assert a.iou(b).shape == (len(a), len(b))
        return
    crowd = np.arange(len(b)) % 2 == 0 if crowded else np.zeros(len(b), bool)
    theirs = coco.iou(a.to_rle(), b.to_rle(), crowd.astype(np.uint8).tolist())
    assert (a.iou(b, crowd) == theirs).all()


def coordinates(side):
    """Inside, outside, on the grid, between, and where rounding to fifths of a pixel turns over."""
    return st.one_of(
        st.floats(-side, 2 * side, width=32),
        st.integers(-side, 2 * side).map(float),
        st.integers(-5 * side, 10 * side).map(lambda v: v / 10),
        st.sampled_from([0.0, -0.0, side - 0.5, float(side), -0.1, 1e4, -1e4]),
    )


@st.composite
def polygons(draw, side):
    """Any outline: crossing itself, with corners repeated, without area."""
    corners = draw(st.lists(st.tuples(coordinates(side), coordinates(side)), min_size=3, max_size=9))
    if draw(st.booleans()):
        corners.insert(draw(st.integers(0, len(corners))), draw(st.sampled_from(corners)))
    return [float(v) for corner in corners for v in corner]


@settings(max_examples=600, deadline=None)
@given(st.data(), st.integers(1, 60), st.integers(1, 60))
def test_polygons(data, height, width):
    parts = data.draw(st.lists(polygons(max(height, width)), min_size=1, max_size=3))
    theirs = coco.merge(coco.frPyObjects(parts, height, width))
    assert Masks.from_polygons([parts], (height, width)).to_rle()[0]["counts"] == theirs["counts"].decode()


def test_polygons_in_bulk():
    rng = np.random.default_rng(5)
    for scale in (1, 20, 300):
        height, width = 400, 300
        shapes = [
            [
                (rng.random((rng.integers(3, 30), 2)) * scale + rng.random(2) * 300 - scale / 2)
                .ravel()
                .tolist()
            ]
            for _ in range(1000)
        ]
        theirs = [coco.merge(coco.frPyObjects(shape, height, width)) for shape in shapes]
        ours = Masks.from_polygons(shapes, (height, width))
        assert [rle["counts"] for rle in ours.to_rle()] == texts(theirs)


def test_segmentations_of_real_files(shared):
    files = sorted((shared / "data").rglob("*.json"))
    count = 0
    for path in files:
        content = json.loads(path.read_text("utf-8"))
        if not isinstance(content, dict) or "annotations" not in content or "images" not in content:
            continue
        sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
        for annotation in content["annotations"]:
            shape, size = annotation.get("segmentation"), sizes.get(annotation.get("image_id"))
            if not shape or size is None:
                continue
            raw = isinstance(shape, dict) and isinstance(shape["counts"], list)
            theirs = shape if isinstance(shape, dict) and not raw else coco.frPyObjects(shape, *size)
            theirs = coco.merge(theirs) if isinstance(theirs, list) else theirs
            expected = theirs["counts"].decode() if isinstance(theirs["counts"], bytes) else theirs["counts"]
            assert Masks.from_coco([shape], size).to_rle()[0]["counts"] == expected
            count += 1
    if count == 0:
        pytest.skip("no COCO file in ../shared/data")


@HUNDREDS
@given(stacks(max_side=140))
def test_perimeters(dense):
    theirs = [measure.perimeter(pixels, neighborhood=4) for pixels in dense]
    np.testing.assert_allclose(Masks.from_dense(dense).perimeters(), theirs, rtol=0, atol=1e-9)


@given(stacks())
def test_outlines_are_the_4_connected_parts(dense):
    for pixels, rings in zip(dense, Masks.from_dense(dense).to_polygons(), strict=True):
        parts = []
        for ring in rings:
            x, y = ring.astype(float).T
            if (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() > 0:
                parts.append([])
            parts[-1].append(ring)
        labels, count = measure.label(pixels, connectivity=1, return_num=True)
        assert len(parts) == count
        for part in parts:
            inside = np.zeros(np.add(pixels.shape, (0, 1)), bool)
            for ring in part:
                for (xa, ya), (xb, yb) in zip(ring, np.roll(ring, -1, 0), strict=True):
                    if xa == xb:
                        inside[min(ya, yb) : max(ya, yb), xa:] ^= True
            names = np.unique(labels[inside[:, :-1]])
            assert len(names) == 1
            assert (inside[:, :-1] == (labels == names[0])).all()


@HUNDREDS
@given(st.lists(st.tuples(*[st.floats(-5, 25)] * 4), max_size=5))
def test_boxes_are_filled_as_pycocotools_fills_them(corners):
    boxes = np.sort(np.array(corners).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    found = Masks.from_boxes(boxes, (17, 19))
    assert len(found) == len(boxes)
    if len(boxes):
        spans = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
        assert [rle["counts"] for rle in found.to_rle()] == texts(coco.frPyObjects(spans, 17, 19))


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([1, 1, 4, 3], r"boxes must be numbers of shape \(N, 4\), got int64 \(4,\)"),
        ([[1, 1, 4, 3, 0, 0, 2, 2]], r"boxes must be numbers of shape \(N, 4\), got int64 \(1, 8\)"),
        ([[True] * 4], r"boxes must be numbers of shape \(N, 4\), got bool \(1, 4\)"),
        (
            [[0, 0, 1, 1], [0, 0, np.inf, 1]],
            r"masks\[1\]: polygon 0 must have coordinates of at most 1e8 in size, got inf",
        ),
    ],
)
def test_what_is_no_box_is_refused(boxes, message):
    with pytest.raises(ValueError, match=message):
        Masks.from_boxes(boxes, (4, 5))
