import json

import numpy as np
import pytest

from delineate.curate.stats import Spread, stats
from delineate.dataset import Dataset, Record
from delineate.instances import Instances
from delineate.masks import Masks

SIZE = (120, 130)


def shapes():
    dense = np.zeros((5, *SIZE), bool)
    dense[0, :100, :100] = True  # large, with a hole
    dense[0, 40:50, 40:50] = False
    dense[1, 90:110, 90:110] = True  # small, over the corner of the first
    dense[2, 110:120, 0:10] = dense[2, 110:120, 20:30] = True  # two parts
    dense[3, 0:40, 100:130] = True  # medium
    return dense


def dataset():
    found = Instances.of(
        Masks.from_dense(shapes()), [0, 1, 0, 1, 0], crowd=[False, False, False, True, False]
    )
    records = [Record(None, SIZE, found, 1, split="train"), Record(None, (8, 9), Instances.empty((8, 9)), 2)]
    return Dataset(records, ("a", "b", "unused"))


def test_counts():
    found = stats(dataset())
    assert (found.pictures, found.empty, found.objects, found.crowds) == (2, 1, 4, 1)
    assert (found.parts, found.holes, found.overlapping) == (1, 1, 2)
    assert found.splits == {"": (1, 0), "train": (1, 4)}
    assert found.height.least == 8
    assert found.width.most == 130
    assert found.density.most == 4
    union = shapes().any(axis=0).sum()
    assert found.covered.most == pytest.approx(union / (120 * 130))


def test_classes():
    found = stats(dataset()).classes
    assert list(found) == ["a", "b", "unused"]
    a, b, unused = found.values()
    assert (a.objects, a.crowds, a.pictures, a.small, a.medium, a.large) == (3, 0, 1, 2, 0, 1)
    assert (b.objects, b.crowds, b.pictures, b.small) == (1, 1, 1, 1)
    assert (a.area.least, a.area.middle, a.area.most) == (0, 200, 9900)
    assert (unused.objects, unused.area) == (0, None)


def test_classes_of_one_name_count_together():
    boxes = Instances(SIZE, [[0, 0, 2, 3], [0, 0, 40, 40], [0, 0, 96, 96]], [0, 1, 2])
    found = stats(Dataset([Record(None, SIZE, boxes, 1)], ("a", "b", "a"))).classes
    assert {name: (one.objects, one.small, one.medium, one.large) for name, one in found.items()} == {
        "a": (2, 1, 0, 1),
        "b": (1, 0, 1, 0),
    }


def test_nothing():
    found = stats(Dataset([], []))
    assert (found.pictures, found.objects, found.density) == (0, 0, None)
    assert json.loads(json.dumps(found.as_dict()))["classes"] == {}


def test_spread_is_of_quantiles():
    values = np.arange(101)
    assert Spread.of(values) == Spread(0, 10, 50, 90, 100)
    assert Spread.of(values[:0]) is None
