import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delineate.curate.select import sample, select, split
from delineate.dataset import Dataset, Record
from delineate.instances import Instances
from delineate.masks import Masks

SIZE = (8, 9)
CLASSES = ("common", "rare", "unused")


def picture(id_, labels=(), **changes):
    boxes = [[0, 0, 1 + n, 2] for n in range(len(labels))]
    return Record(None, SIZE, Instances(SIZE, boxes, labels), id_, **changes)


def dataset(count=60):
    return Dataset([picture(n, [0] * (n % 3) + [1] * (n % 10 == 0)) for n in range(count)], CLASSES)


def totals(made):
    parts = sorted({record.split for record in made})
    rows = [
        [np.sum(r.instances.labels == label) for r in made if r.split == part]
        for part in parts
        for label in (0, 1)
    ]
    return np.array([sum(row) for row in rows]).reshape(len(parts), 2)


def test_every_class_is_shared_out_alike():
    made = split(dataset(), {"train": 0.7, "val": 0.3})
    assert [record.id for record in made] == list(range(60))
    assert sum(record.split == "train" for record in made) == 42
    shares = totals(made) / totals(made).sum(axis=0)
    np.testing.assert_allclose(shares, [[0.7, 0.7], [0.3, 0.3]], atol=0.05)


def test_the_same_seed_gives_the_same_parts_in_any_order():
    made = {record.id: record.split for record in split(dataset(), {"a": 1, "b": 1}, seed=3)}
    turned = dataset().with_records(reversed(dataset().records))
    assert {record.id: record.split for record in split(turned, {"a": 1, "b": 1}, seed=3)} == made
    assert {record.id: record.split for record in split(dataset(), {"a": 1, "b": 1}, seed=4)} != made


@given(
    st.lists(st.tuples(st.integers(0, 5), st.lists(st.integers(0, 2), max_size=4)), min_size=1, max_size=30)
)
def test_groups_stay_together(pictures):
    records = [picture(n, labels, attributes={"patient": who}) for n, (who, labels) in enumerate(pictures)]
    made = split(Dataset(records, CLASSES), {"train": 3, "val": 1}, group="patient")
    parts = {who: {r.split for r in made if r.attributes["patient"] == who} for who, _ in pictures}
    assert all(len(part) == 1 for part in parts.values())


def test_frames_stay_together_and_functions_group_too():
    frames = [picture(n, [0], video=f"v{n // 5}", frame=n % 5) for n in range(40)]
    made = split(Dataset(frames, CLASSES), {"train": 1, "val": 1})
    assert all(len({record.split for record in part}) == 1 for part in made.videos().values())
    assert {record.split for record in made} == {"train", "val"}
    made = split(dataset(), {"train": 1, "val": 1}, group=lambda record: record.id // 30)
    assert len({record.split for record in made[:30]}) == 1


@pytest.mark.parametrize(
    ("parts", "message"),
    [({}, "at least one part"), ({"a": 0}, "above 0, got 0"), ({"a": float("nan")}, "above 0")],
)
def test_wrong_parts_are_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        split(dataset(), parts)


def test_one_picture_and_none():
    assert split(dataset(1), {"train": 0.9, "val": 0.1})[0].split == "train"
    assert len(split(Dataset([], CLASSES), {"train": 1})) == 0


def test_samples():
    drawn = sample(dataset(), 7, seed=1)
    assert len(drawn) == 7
    assert (
        [r.id for r in drawn] == sorted({r.id for r in drawn}) == [r.id for r in sample(dataset(), 7, seed=1)]
    )
    assert len(sample(dataset(), 100)) == 60
    assert len(sample(dataset(), 0)) == 0
    with pytest.raises(ValueError, match="count must be at least 0, got -1"):
        sample(dataset(), -1)


def test_select_classes():
    made = Dataset(
        [picture(1, [0, 1, 2]), picture(2, [2])], CLASSES, {"categories": [{"a": 0}, {"a": 1}, {"a": 2}]}
    )
    found = select(made, classes=["rare", "common"])
    assert found.classes == ("rare", "common")
    assert [record.instances.labels.tolist() for record in found] == [[1, 0], []]
    assert found.attributes == {"categories": [{"a": 1}, {"a": 0}]}
    assert [record.id for record in select(made, classes=["common"], empty=False)] == [1]
    with pytest.raises(
        ValueError, match=r"classes must be among those .* \(common, rare, unused\), got 'car'"
    ):
        select(made, classes=["car"])


def test_select_sizes_splits_and_crowds():
    masks = Masks.from_dense(np.arange(72).reshape(1, *SIZE) < np.array([3, 10, 40])[:, None, None])
    record = Record(None, SIZE, Instances.of(masks, crowd=[False, False, True]), 1, split="val")
    made = Dataset([record, picture(2, [0, 1], split="train")], CLASSES)
    assert select(made, min_area=4, max_area=10)[0].instances.masks.areas.tolist() == [10]
    assert select(made, min_area=4)[1].instances.boxes.tolist() == [[0, 0, 2, 2]], (
        "the box where there is no mask"
    )
    assert select(made, crowd=False)[0].instances.masks.areas.tolist() == [3, 10]
    assert [record.id for record in select(made, splits=["train"])] == [2]
    assert select(made) == made
    assert len(select(Dataset([], ()))) == 0
