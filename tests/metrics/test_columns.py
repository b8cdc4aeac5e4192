import numpy as np
import pytest

from delineate import Dataset, Instances, Masks, Record
from delineate.metrics.columns import FIELDS, columns


def record(id_, count=0, size=(4, 6), **fields) -> Record:
    masks = Masks.from_dense(np.ones((count, *size), bool))
    return Record(None, size, Instances.of(masks, scores=np.full(count, 0.5), **fields), id_)


@pytest.mark.parametrize(
    ("ids", "order"),
    [([10, 9, 2], (2, 9, 10)), (["b", "a10", "a9"], ("a10", "a9", "b")), (["a", 3], (3, "a"))],
)
def test_pictures_come_in_the_order_of_ids(ids, order):
    truth = Dataset([record(id_, n) for n, id_ in enumerate(ids)], ["a"])
    table = columns("here", truth, truth, iou="mask", fields=FIELDS)
    assert table.ids == order
    sizes = dict(zip(ids, range(9), strict=False))
    expected = [place for place, id_ in enumerate(order) for _ in range(sizes[id_])]
    assert table.truth_cells.tolist() == table.detection_cells.tolist() == expected


def test_crowds_are_no_cells():
    truth = Dataset([record(1, 3, crowd=[True, False, True])], ["a"])
    table = columns("here", truth, truth, iou="box", fields=FIELDS)
    assert (len(table.truth_cells), len(table.detection_cells)) == (1, 3)


def test_unknown_labels_are_marked():
    truth = Dataset([record(1, 2, labels=[0, 1])], ["a", "b"])
    found = Dataset([record(1, 3, labels=[0, 1, 2])], ["c", "b", "a"])
    table = columns("here", truth, found, iou="mask", fields=FIELDS)
    assert table.detection_cells.tolist() == [1, 0]
    assert table.notices == ("The truth does not know 1 predicted classes; they were left out: c.",)


def test_many_unknown_classes_are_cut_short():
    truth, found = Dataset([], ["a"]), Dataset([], list("abcdefg"))
    (notice,) = columns("here", truth, found, iou="mask", fields=FIELDS).notices
    assert notice.endswith("left out: b, c, d, e, f and more.")


def test_extras_of_another_shape_are_not_taken():
    odd = {"area": np.zeros((1, 2)), "bbox": np.zeros((1, 3)), "score": np.zeros((1, 1))}
    truth = Dataset([record(1, 1, extras=odd)], ["a"])
    for iou in ("mask", "box"):
        assert columns("here", truth, truth, iou=iou, fields=FIELDS).notices == ()
