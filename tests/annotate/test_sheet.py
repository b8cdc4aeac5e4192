import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delineate.annotate import sheet
from delineate.annotate.sheet import Drop, EditError, Item, Order, Put, Sheet
from delineate.instances import Instances
from delineate.masks import Masks

SIZE = (6, 8)


def text(*box):
    return sheet.counts(Masks.from_boxes([box], SIZE))[0]


def full(count=2):
    """Instances with everything that a format may know."""
    masks = Masks.from_boxes([[n, 1, n + 3, 4] for n in range(count)], SIZE)
    extras = {
        "area": np.arange(count) + 8.5,
        "annotation_id": np.arange(count) + 10,
        "bbox": np.tile([0.5, 1.0, 3.0, 3.0], (count, 1)),
        "group": np.arange(count),
        "z_order": np.arange(count),
        "attributes": np.array(['{"a": 1}'] * count),
        "score": np.full(count, 0.3),
    }
    boxes = np.tile([0.5, 1.0, 3.5, 4.0], (count, 1))
    return Instances(
        SIZE,
        boxes,
        np.zeros(count, int),
        np.full(count, 0.3),
        masks,
        [True] + [False] * (count - 1),
        np.arange(count),
        extras,
    )


def test_items_keep_all_that_is_known():
    found, following = sheet.items(full(), 99)
    assert ([item.id for item in found], following) == ([10, 11], 99)
    back = sheet.instances(found, SIZE, scored=True)
    assert back == full()
    assert sheet.instances([], SIZE) == Instances.empty(SIZE).replace(
        extras={"annotation_id": np.zeros(0, int)}
    )


def test_boxes_without_masks_stay_boxes():
    found, following = sheet.items(Instances(SIZE, [[1, 1, 5, 4]], [0]), 7)
    assert (found[0].id, found[0].extras["bbox"], following) == (7, [1, 1, 4, 3], 8)
    back = sheet.instances(found, SIZE)
    assert (back.boxes.tolist(), back.masks.areas.tolist()) == ([[1, 1, 5, 4]], [0])


def test_put_drop_and_order():
    one = Sheet(SIZE)
    assert (
        one.apply(
            [Put("x", 0, text(0, 0, 2, 2)), Put("y", 1, text(1, 1, 3, 3)), Put("z", 0, text(2, 2, 4, 4), 0)],
            2,
            5,
        )
        == 8
    )
    assert list(one.items) == ["z", "x", "y"]
    assert [item.id for item in one.items.values()] == [7, 5, 6]
    one.apply([Order(["y", "nobody", "z"])], 2, 8)
    assert list(one.items) == ["y", "z", "x"]
    one.apply([Put("y", 0), Drop("z"), Drop("nobody")], 2, 8)
    assert [(item.id, item.label) for item in one.items.values()] == [(6, 0), (5, 0)]


def test_undoing_a_drop_brings_back_all_that_was_known():
    one = Sheet(SIZE, sheet.items(full(), 1)[0])
    former = dict(one.items)
    one.apply([Drop("10")], 1, 20)
    one.apply([Put("10", 0, former["10"].counts, 0)], 1, 20)
    assert list(one.items.items()) == list(former.items())


def test_a_new_mask_makes_what_was_said_of_the_former_one_void():
    one = Sheet(SIZE, sheet.items(full(), 1)[0])
    one.apply([Put("10", 0, text(4, 0, 6, 6))], 1, 20)
    back = sheet.instances(list(one.items.values()), SIZE, scored=True)
    assert back.boxes.tolist()[0] == [4, 0, 6, 6]
    assert back.extras["area"].tolist() == [12, 9.5]
    assert back.extras["attributes"][0] == '{"a": 1}'
    assert back.scores.tolist() == [1, pytest.approx(0.3)]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (Put("a", 0, "###"), "masks"),
        (Put("a", 0, ""), "masks"),
        (Put("a", 2, None), "below 1"),
        (Put("a", -1, None), "below 1"),
        (Put("a", 0, None), "come with a mask"),
        (Put("", 0, None), "uid"),
        (Put("a" * 41, 0, None), "uid"),
    ],
)
def test_what_does_not_fit_changes_nothing(edit, words):
    one = Sheet(SIZE, [Item(1, 0, text(0, 0, 1, 1))])
    with pytest.raises(EditError, match=words):
        one.apply([Drop("1"), edit], 1, 2)
    assert list(one.items) == ["1"]


def test_objects_are_bounded(monkeypatch):
    monkeypatch.setattr(sheet, "MAX_ITEMS", 2)
    with pytest.raises(EditError, match="at most 2 objects"):
        Sheet(SIZE).apply([Put(str(n), 0, text(0, 0, 1, 1)) for n in range(3)], 1, 1)


@given(st.lists(st.tuples(st.sampled_from(["put", "drop", "order"]), st.integers(0, 3), st.integers(-1, 4))))
def test_any_edits_keep_names_and_ids_unique(moves):
    one, following = Sheet(SIZE), 1
    for kind, n, at in moves:
        edit = {
            "put": Put(str(n), 0, text(n, 0, n + 1, 2), at),
            "drop": Drop(str(n)),
            "order": Order([str(n), "1"]),
        }[kind]
        following = one.apply([edit], 1, following)
        ids = [item.id for item in one.items.values()]
        assert len(set(ids)) == len(ids)
        assert max(ids, default=0) < following
