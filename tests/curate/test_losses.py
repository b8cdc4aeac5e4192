import numpy as np
import pytest

from delineate.curate.losses import BOOKKEEPING, losses
from delineate.dataset import Dataset, Record
from delineate.formats import KEEPABLE
from delineate.instances import Instances
from delineate.masks import Masks

SIZE = (6, 7)


def drawn(*boxes):
    dense = np.zeros((len(boxes), *SIZE), bool)
    for plane, (y0, x0, y1, x1) in zip(dense, boxes, strict=True):
        plane[y0:y1, x0:x1] = True
    return dense


def dataset(dense, classes=("cell",), attributes=None, **changes):
    fields = {name: changes.pop(name) for name in ("video", "frame", "split") if name in changes}
    kept = {name: changes.pop(name) for name in ("attributes_",) if name in changes}
    instances = Instances.of(Masks.from_dense(dense)).replace(**changes)
    record = Record("a.png", SIZE, instances, 1, kept.get("attributes_", {}), **fields)
    return Dataset([record], classes, attributes or {})


def lost(dataset, kind):
    found = losses(dataset, KEEPABLE.keys() - {kind})
    assert all(loss.kind == kind for loss in found)
    return [(loss.count, loss.where) for loss in found]


def test_nothing_is_lost_where_all_is_kept():
    assert losses(dataset(drawn((0, 0, 3, 3))), KEEPABLE) == []
    assert losses(Dataset([], ["cell"]), KEEPABLE) == []


def test_shapes():
    dense = drawn((0, 0, 5, 5), (0, 0, 1, 1), (5, 5, 6, 7), (0, 0, 0, 0))
    dense[0, 2, 2] = False
    dense[1, 4, 4] = True
    made = dataset(dense)
    assert lost(made, "holes") == [(1, "a.png, object 1")]
    assert lost(made, "parts") == [(1, "a.png, object 2")]
    assert lost(made, "overlaps") == [(1, "a.png, object 1")], "the second lies on the first"
    assert lost(made, "empty masks") == [(1, "a.png, object 4")]
    assert lost(made, "masks") == [(4, "a.png, object 1")]
    kinds = [loss.kind for loss in losses(made, KEEPABLE.keys() - {"masks", "holes", "parts"})]
    assert kinds == ["masks"], "without masks there is no talk of their holes"


@pytest.mark.parametrize(
    ("kind", "changes", "expected"),
    [
        ("scores", {"scores": [0.5, 1]}, [(2, "a.png, object 1")]),
        ("crowd", {"crowd": [False, True]}, [(1, "a.png, object 2")]),
        ("ids", {"ids": [4, 9]}, [(2, "a.png, object 1")]),
        ("boxes", {"boxes": [[0, 0, 2, 2], [3, 3, 5, 5.5]]}, [(1, "a.png, object 2")]),
        ("area", {"extras": {"area": [4.0, 3.5]}}, [(1, "a.png, object 2")]),
        ("annotation_id", {"extras": {"annotation_id": [7, 3]}}, [(2, "a.png, object 1")]),
        ("group", {"extras": {"group": [-1, 3]}}, [(1, "a.png, object 2")]),
        ("z_order", {"extras": {"z_order": [0, 1]}}, [(1, "a.png, object 2")]),
        ("attributes", {"extras": {"attributes": ["{}", '{"a":1}']}}, [(1, "a.png, object 2")]),
        ("videos", {"video": "v", "frame": 0}, [(1, "a.png")]),
        ("splits", {"split": "val"}, [(1, "a.png")]),
        ("picture attributes", {"attributes_": {"a": 1}}, [(1, "a.png")]),
        ("info", {"attributes": {"info": {"year": 1}, "licenses": []}}, [(1, "info")]),
        ("class order", {"classes": ("cell", "unused")}, [(1, "unused")]),
    ],
)
def test_fields(kind, changes, expected):
    dense = drawn((0, 0, 2, 2), (3, 3, 5, 5))
    assert lost(dataset(dense, **changes), kind) == expected
    assert lost(dataset(dense), kind) == []


def test_pictures():
    made = dataset(drawn((0, 0, 2, 2), (3, 3, 5, 5)))
    empty = made.with_records([Record("b.png", SIZE, Instances.empty(SIZE), 2)])
    assert lost(made, "instance order") == [(1, "a.png")]
    assert lost(made, "picture ids") == [(1, "a.png")]
    assert lost(made, "empty pictures") == []
    assert lost(empty, "empty pictures") == [(1, "b.png")]


def test_boxes_alone_lose_no_masks():
    record = Record(None, SIZE, Instances(SIZE, [[0, 0, 2, 2]], [0]), 5)
    assert losses(Dataset([record], ["cell"]), set()) == []


def test_every_kind_has_a_verdict():
    assert KEEPABLE.keys() >= BOOKKEEPING
    every = losses(
        dataset(drawn((0, 0, 2, 2), (3, 3, 5, 5)), split="val", extras={"annotation_id": [1, 2]}), {"masks"}
    )
    assert {loss.kind: loss.grave for loss in every} == {
        "splits": True,
        "instance order": False,
        "picture ids": False,
        "annotation_id": False,
    }


def test_unknown_words_are_refused():
    with pytest.raises(ValueError, match=r"keeps must be words of formats.KEEPABLE, got 'polygons'"):
        losses(Dataset([], []), {"polygons"})
