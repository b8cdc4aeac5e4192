"""Outputs of torchvision's detectors: by hand, and as torchvision's own rule reads them."""

import numpy as np
import pytest

from delineate.postprocess.decode import Placement, Thresholds, crops
from delineate.postprocess.pasted import pasted

PLAIN = Placement(1.0, 1.0, 0, 0)


def detections(count=3, size=(20, 30), seed=0):
    """Random boxes with smooth masks pasted into them."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, [size[1] - 8, size[0] - 8], (count, 2))
    boxes = np.concatenate((low, low + rng.uniform(4, 8, (count, 2))), 1).astype(np.float32)
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    masks = np.zeros((count, 1, *size), np.float32)
    for mask, (x0, y0, x1, y1) in zip(masks[:, 0], boxes, strict=True):
        inside = (x > x0) & (x < x1) & (y > y0) & (y < y1)
        far = ((x - (x0 + x1) / 2) / (x1 - x0)) ** 2 + ((y - (y0 + y1) / 2) / (y1 - y0)) ** 2
        mask[inside] = np.exp(-3 * far)[inside]
    scores = np.sort(rng.uniform(0.3, 1, count)).astype(np.float32)[::-1]
    return boxes, rng.integers(1, 4, count), scores, masks


def decoded(outputs, size=(20, 30), **changes):
    given = {
        "placement": PLAIN,
        "size": size,
        "input_size": (20, 30),
        "thresholds": Thresholds(),
        "classes": 3,
    }
    return pasted(outputs, **given | changes)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_masks_of_the_pictures_size_are_thresholded(order):
    outputs = detections()
    found = decoded([outputs[index] for index in order])
    boxes, labels, scores, masks = outputs
    np.testing.assert_array_equal(found.masks.to_dense(), masks[:, 0] >= 0.5)
    np.testing.assert_array_equal(found.boxes, boxes)
    np.testing.assert_array_equal(found.labels, labels - 1)
    np.testing.assert_array_equal(found.scores, scores)


def test_exactly_one_half_belongs_to_the_mask():
    boxes, labels, scores, masks = detections(1)
    masks[:] = 0
    masks[0, 0, 5, 6:9] = 0.5
    assert decoded([boxes, labels, scores, masks]).masks.areas.tolist() == [3]


@pytest.mark.parametrize("size", [(40, 60), (15, 25), (33, 41)])
def test_other_sizes_are_interpolated(size):
    """Against cv2's bilinear resize of whole planes."""
    cv2 = pytest.importorskip("cv2")
    outputs = detections(8, seed=1)
    placement = Placement(20 / size[0], 30 / size[1], 0, 0)
    found = decoded(outputs, size=size, placement=placement)
    assert len(found) == 8
    dense = found.masks.to_dense()
    for plane, mask in zip(outputs[3][:, 0], dense, strict=True):
        wide = cv2.resize(plane, size[::-1], interpolation=cv2.INTER_LINEAR)
        sure = np.abs(wide - 0.5) > 1e-3  # cv2 computes with fewer digits
        np.testing.assert_array_equal(mask[sure], (wide >= 0.5)[sure])


def test_a_letterbox_is_cut_off():
    outputs = detections(4, seed=2)
    whole = decoded(outputs).masks.to_dense()
    found = decoded(outputs, size=(16, 30), placement=Placement(1.0, 1.0, 2, 0))
    kept = whole[:, 2:18]
    np.testing.assert_array_equal(found.masks.to_dense(), kept[kept.any((1, 2))])


def test_masks_of_boxes_are_stretched_over_them():
    boxes, labels, scores, _ = detections()
    logits = np.random.default_rng(3).normal(0, 3, (3, 28, 28)).astype(np.float32)
    given = {"placement": PLAIN, "size": (20, 30), "thresholds": Thresholds(), "classes": 3}
    expected = crops([boxes, scores, labels - 1, logits], **given)
    found = decoded([boxes, labels, scores, 1 / (1 + np.exp(-logits[:, None]))])
    assert found.masks.areas.sum() > 50
    np.testing.assert_array_equal(found.masks.to_dense(), expected.masks.to_dense())


def test_boxes_alone():
    found = decoded(detections()[:3])
    assert len(found) == 3
    assert found.masks is None


@pytest.mark.parametrize("size", [(20, 30), (40, 60)])
def test_nothing_found(size):
    found = decoded(
        [part[:0] for part in detections()], size=size, placement=Placement(20 / size[0], 30 / size[1], 0, 0)
    )
    assert (len(found), found.size) == (0, size)


def test_thresholds_choose():
    outputs = detections(6)
    assert len(decoded(outputs, thresholds=Thresholds(score=float(outputs[2][3]), max_detections=2))) == 2
    outputs[0][0] = np.nan
    outputs[0][1, 2] = outputs[0][1, 0]
    assert len(decoded(outputs)) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b, n, s, m: [b, n, s, m[:, 0]], r"must be boxes \(D, 4\), scores"),
        (lambda b, n, s, m: [b, s, m], "must be boxes"),
        (lambda b, n, s, m: [b, n, s[:2], m], "must be boxes"),
        (lambda b, n, s, m: [], "got nothing"),
        (
            lambda b, n, s, m: [b, n + 3, s, m],
            r"labels must be within 1\.\.3, the number of classes, got [456]",
        ),
    ],
)
def test_other_outputs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        decoded(change(*detections()))
