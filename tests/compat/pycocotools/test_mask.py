import numpy as np
import pytest

from delineate.compat.pycocotools import mask

oracle = pytest.importorskip("pycocotools.mask")
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # in pycocotools


def bitmaps(seed, count=5):
    rng = np.random.default_rng(seed)
    dense = rng.random((13, 9, count)) < rng.choice([0, 0.1, 0.5, 0.9, 1], count)
    return np.asfortranarray(dense.astype(np.uint8))


def same(a, b):
    assert type(a) is type(b)
    if isinstance(a, np.ndarray):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert np.array_equal(a, b)
    else:
        assert a == b


@pytest.mark.parametrize("seed", range(20))
def test_equals_pycocotools(seed):
    dense = bitmaps(seed)
    rles = oracle.encode(dense)
    same(mask.encode(dense), rles)
    same(mask.encode(dense[:, :, 0]), rles[0])
    for name in ("decode", "area", "toBbox"):
        same(getattr(mask, name)(rles), getattr(oracle, name)(rles))
        same(getattr(mask, name)(rles[1]), getattr(oracle, name)(rles[1]))
    assert mask.decode(rles).flags.f_contiguous
    assert mask.decode(rles).flags.writeable
    crowd = [0, 1, 0]
    same(mask.iou(rles, rles[:3], crowd), oracle.iou(rles, rles[:3], crowd))
    for some in (rles, rles[:1], rles[3:]):
        same(mask.merge(some), oracle.merge(some))
        same(mask.merge(some, intersect=1), oracle.merge(some, intersect=1))


def test_no_masks():
    assert mask.encode(np.zeros((4, 5, 0), np.uint8, order="F")) == []
    assert mask.decode([]).shape == (0, 0, 0)
    for name in ("area", "toBbox"):
        same(getattr(mask, name)([]), getattr(oracle, name)([]))
    same(mask.merge([]), oracle.merge([]))
    assert mask.iou([], mask.encode(bitmaps(0)), [0] * 5) == []


def test_memory_order_and_type_do_not_matter():
    dense = bitmaps(3)
    assert mask.encode(np.ascontiguousarray(dense)) == mask.encode(dense.astype(bool)) == mask.encode(dense)


def test_more_than_255_masks():
    rles = oracle.encode(bitmaps(4)) * 60
    assert mask.area(rles).tolist() == oracle.area(rles[:5]).tolist() * 60
    assert mask.decode(rles).shape == (13, 9, 300)


def test_counts_may_be_str():
    rle = mask.encode(bitmaps(5))[1]
    text = {"size": rle["size"], "counts": rle["counts"].decode()}
    assert np.array_equal(mask.decode(text), mask.decode(rle))


def test_masks_of_different_sizes():
    rles = [oracle.encode(bitmaps(6)[:, :, 1]), oracle.encode(np.asfortranarray(bitmaps(6)[:5, :, 1]))]
    same(mask.iou(rles, rles[::-1], [0, 0]), oracle.iou(rles, rles[::-1], [0, 0]))
    same(mask.area(rles), oracle.area(rles))
    same(mask.merge(rles), oracle.merge(rles))


@pytest.mark.parametrize("seed", range(10))
def test_boxes_equal_pycocotools(seed):
    rng = np.random.default_rng(seed)
    dt, gt = (np.round(rng.random((n, 4)) * 9, 1) for n in (6, 5))
    gt[0] = dt[0]
    gt[1, 2:] = 0
    crowd = rng.integers(0, 2, 5)
    same(mask.iou(dt, gt, crowd), oracle.iou(dt, gt, crowd))
    same(mask.iou(dt.tolist(), gt.tolist(), crowd), oracle.iou(dt.tolist(), gt.tolist(), crowd))
    same(mask.frPyObjects(dt, 9, 12), oracle.frPyObjects(dt, 9, 12))


@pytest.mark.parametrize(
    "given",
    [
        [[1, 1, 3, 1, 3, 3]],
        [[1, 1, 3, 1, 3, 3], [0.5, 0.5, 4, 0.5, 4, 4, 0.2, 3]],
        [[1, 1, 3, 1, 3, 3, 9]],
        {"size": [4, 5], "counts": [3, 4, 13]},
        [{"size": [4, 5], "counts": [3, 4, 13]}],
    ],
)
def test_objects_equal_pycocotools(given):
    same(mask.frPyObjects(given, 4, 5), oracle.frPyObjects(given, 4, 5))


def test_one_polygon_or_box_is_enough():
    assert mask.frPyObjects([1, 1, 3, 1, 3, 3], 4, 5) == mask.frPyObjects([[1, 1, 3, 1, 3, 3]], 4, 5)[0]
    assert mask.frPyObjects([1, 1, 2, 2], 4, 5) == mask.frPyObjects([[1, 1, 2, 2]], 4, 5)[0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mask.encode(np.zeros(4, np.uint8)), ValueError, "bimask must be an array"),
        (lambda: mask.encode(np.zeros((2, 2))), ValueError, "must be a bool or uint8 array"),
        (lambda: mask.iou([[0, 0, 1, 1]], mask.encode(bitmaps(0)), [0] * 5), ValueError, "of one kind"),
        (lambda: mask.iou([[0, 0, 1]], [[0, 0, 1, 1]], [0]), ValueError, "dt must be a list of run-length"),
        (lambda: mask.iou([[0, 0, 1, 1]], [[0, 0, 1, 1]], [0, 1]), AssertionError, "one flag for each of 1"),
        (lambda: mask.frPyObjects("a", 4, 5), ValueError, "pyobj must be a list of polygons"),
    ],
)
def test_what_it_is_not(call, error, message):
    with pytest.raises(error, match=message):
        call()
