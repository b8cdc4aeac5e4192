import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from delineate.instances import Instances
from delineate.masks import Masks
from delineate.panoptic import Panoptic, PanopticDataset, PanopticRecord

# Two things (5, 9), sky (2) and void.
DRAWN = [[2, 2, 2, 2], [5, 5, 0, 9], [5, 5, 0, 9], [0, 0, 9, 9]]


def drawn(**changes) -> Panoptic:
    values = {"map": DRAWN, "ids": [9, 2, 5], "labels": [0, 3, 1], "things": [True, False, True]}
    return Panoptic(**(values | changes))


def test_fields_are_exact_and_read_only():
    found = drawn(scores=[0.5, 0.25, 1])
    assert len(found) == 3
    assert found.size == (4, 4)
    assert [found.map.dtype, found.ids.dtype] == [np.int32, np.int32]
    assert [found.labels.dtype, found.things.dtype, found.crowd.dtype] == [np.int64, bool, bool]
    assert found.scores.dtype == np.float32
    assert found.areas.tolist() == [4, 4, 4]
    assert not found.crowd.any()
    for name in ("map", "ids", "labels", "things", "crowd", "scores", "areas"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(found, name)[:1] = 0
    with pytest.raises(AttributeError):
        found.ids = found.ids
    assert repr(found) == "Panoptic(3, size=(4, 4), scores)"


def test_the_map_is_copied():
    source = np.array(DRAWN, np.int32)
    found = drawn(map=source)
    source[:] = 0
    assert found == drawn()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"map": [1, 2]}, ValueError, r"map must be \(H, W\), at least 1 x 1, got shape \(2,\)"),
        ({"map": np.zeros((0, 3), int)}, ValueError, r"map must be \(H, W\)"),
        ({"map": [[0.5]]}, TypeError, r"map must be ints \(int32\), got float64"),
        ({"map": [[-1]]}, ValueError, r"map must hold values of 0 to 2\*\*31 - 1, got -1"),
        ({"map": [[2**31]]}, ValueError, r"got 2147483648"),
        ({"map": [[9, 2, 5, 4]]}, ValueError, r"got 4 without a segment"),
        ({"map": [[9, 2]]}, ValueError, r"ids must have pixels in the map, got 5 without any"),
        ({"ids": [9, 2, 2]}, ValueError, r"ids must be unique, got 2 twice"),
        ({"ids": [0, 2, 5]}, ValueError, r"ids must be at least 1 \(0 is void\), got 0"),
        ({"ids": [2**31, 2, 5]}, ValueError, r"ids must fit int32"),
        ({"ids": [[9, 2, 5]]}, ValueError, r"ids must have shape \(N,\), got \(1, 3\)"),
        ({"ids": ["a"]}, TypeError, r"ids must be ints"),
        ({"labels": [0, 1]}, ValueError, r"labels must have shape \(3,\) for 3 ids, got \(2,\)"),
        ({"labels": [0, -1, 1]}, ValueError, r"labels must be at least 0, got -1"),
        ({"labels": [0, 1.5, 1]}, TypeError, r"labels must be ints \(int64\), got float64"),
        ({"things": [1, 0, 1]}, TypeError, r"things must be bools"),
        ({"crowd": [True]}, ValueError, r"crowd must have shape"),
        ({"scores": [1, 2, np.nan]}, ValueError, r"scores must be finite, got nan"),
    ],
)
def test_what_does_not_fit_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        drawn(**changes)


def test_equality_and_pickling():
    one = drawn(crowd=[True, False, False], scores=[0.5, 0.25, 1])
    again = pickle.loads(pickle.dumps(one))
    assert again == one
    assert not again.map.flags.writeable
    assert one != drawn()
    assert drawn() != drawn(scores=[0, 0, 0])
    assert drawn() != drawn(labels=[0, 3, 2])
    assert drawn() != "drawn"
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


@pytest.mark.parametrize("scored", [False, True])
def test_no_segments(scored):
    none = Panoptic.empty((1, 1), scored=scored)
    assert len(none) == 0
    assert (none.scores is not None) == scored
    assert none.areas.shape == (0,)
    assert pickle.loads(pickle.dumps(none)) == none
    assert len(none.to_instances()) == 0
    assert none.to_instances().masks.size == (1, 1)
    assert Panoptic.from_instances(Instances.empty((1, 1), scored=scored)) == none


def test_to_instances_gives_the_things():
    found = drawn(scores=[0.5, 0.25, 1]).to_instances()
    assert found.ids.tolist() == [9, 5]
    assert found.labels.tolist() == [0, 1]
    assert found.scores.tolist() == [0.5, 1]
    assert found.crowd is None
    np.testing.assert_array_equal(found.masks.to_dense(), [np.equal(DRAWN, 9), np.equal(DRAWN, 5)])
    assert found.boxes.tolist() == [[2, 1, 4, 4], [0, 1, 2, 3]]
    assert drawn(crowd=[True, False, False]).to_instances().crowd.tolist() == [True, False]


def test_from_instances_paints_the_most_certain_on_top():
    masks = Masks.from_dense(np.array([[[1, 1, 1, 0]], [[0, 1, 1, 1]], [[0, 0, 1, 0]], [[0, 0, 0, 0]]], bool))
    by_score = Panoptic.from_instances(Instances.of(masks, [3, 4, 5, 6], [0.5, 0.9, 0.1, 1.0]))
    assert by_score.map.tolist() == [[1, 2, 2, 2]]
    assert by_score.ids.tolist() == [1, 2]
    assert by_score.labels.tolist() == [3, 4]
    assert by_score.things.all()
    by_place = Panoptic.from_instances(
        Instances.of(masks, crowd=[False, True, False, False], ids=[8, 7, 6, 5])
    )
    assert by_place.map.tolist() == [[8, 8, 8, 7]]
    assert by_place.crowd.tolist() == [False, True]
    assert by_place.scores is None


def test_from_instances_refuses():
    with pytest.raises(ValueError, match="instances must have masks, got boxes only"):
        Panoptic.from_instances(Instances((4, 6), [[0, 0, 1, 1]], [0]))
    masks = Masks.from_dense(np.ones((2, 1, 1), bool))
    for ids in ([0, 1], [3, 3], [1, 2**31]):
        with pytest.raises(ValueError, match="ids must be unique and within 1 to"):
            Panoptic.from_instances(Instances.of(masks, ids=ids))


@given(hnp.arrays(np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=7), elements=st.integers(0, 4)))
def test_things_survive_the_round_trip(canvas):
    ids = [id_ for id_ in (3, 1, 4, 2) if (canvas == id_).any()]
    found = Panoptic(canvas, np.array(ids, int), ids, np.ones(len(ids), bool))
    assert found.areas.tolist() == [int((canvas == id_).sum()) for id_ in ids]
    instances = found.to_instances()
    for id_, mask in zip(ids, instances.masks.to_dense(), strict=True):
        np.testing.assert_array_equal(mask, canvas == id_)
    assert instances.masks == Masks.from_dense(instances.masks.to_dense())
    assert Panoptic.from_instances(instances) == found


def test_records_read_lazily():
    calls = []
    record = PanopticRecord("a.png", (4, 4), lambda: calls.append(1) or drawn(), 5, {"licence": 3})
    assert calls == []
    assert record.read() == record.read() == drawn()
    assert calls == [1, 1]
    assert record.attributes == {"licence": 3}
    wrong = PanopticRecord(None, (4, 5), drawn(), 5)
    with pytest.raises(ValueError, match=r"map must have size \(4, 5\), got \(4, 4\)"):
        wrong.read()
    for id_ in (True, "", None):
        with pytest.raises(TypeError, match="id must be an int or a non-empty str"):
            PanopticRecord(None, (4, 4), drawn(), id_)
    with pytest.raises(TypeError, match="must not be hashed"):
        hash(record)


def test_datasets():
    records = [PanopticRecord(None, (4, 4), drawn(), n) for n in (3, 1)]
    dataset = PanopticDataset(records, ["a", "b"], [True, False])
    assert len(dataset) == 2
    assert dataset[1].id == 1
    assert [record.id for record in dataset[:1]] == [3]
    assert dataset[:1].things == (True, False)
    again = pickle.loads(pickle.dumps(dataset))
    assert [record.read() for record in again] == [drawn(), drawn()]
    assert repr(dataset) == "PanopticDataset(2 records, 2 classes)"
    with pytest.raises(TypeError, match="must not be hashed"):
        hash(dataset)
    with pytest.raises(TypeError, match="got the one str 'ab'"):
        PanopticDataset(records, "ab", [True, False])
    with pytest.raises(ValueError, match="things must be 2 bools, one per class, got 1"):
        PanopticDataset(records, ["a", "b"], [True])
    with pytest.raises(ValueError, match="unique ids, got 3 twice"):
        PanopticDataset([records[0], records[0]], ["a", "b"], [True, False])
