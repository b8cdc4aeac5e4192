import pickle
from pathlib import Path

import numpy as np
import pytest

from delineate.dataset import Dataset, Record
from delineate.instances import Instances

SIZE = (4, 6)


def record(id_=1, labels=(), **changes):
    instances = Instances(SIZE, np.zeros((len(labels), 4)), np.array(labels, np.int64))
    return Record(**{"path": Path(f"{id_}.png"), "size": SIZE, "instances": instances, "id": id_} | changes)


def dataset():
    return Dataset((record(3, [0, 1]), record("b"), record(1, [1])), ("nucleus", "cell"))


def test_record_fields_are_normal():
    made = record(path="pictures/a.png", size=[4, 6], attributes={"licence": 1})
    assert made.path == Path("pictures/a.png")
    assert made.size == (4, 6)
    assert made.name == "a.png"
    assert made.attributes == {"licence": 1}
    with pytest.raises(TypeError):
        made.attributes["licence"] = 2
    with pytest.raises(AttributeError):
        made.id = 2


def test_record_without_a_file_is_called_by_its_id():
    assert record(7, path=None).name == "7"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"instances": None}, TypeError, "instances must be Instances, got NoneType"),
        ({"size": (4, 7)}, ValueError, r"size must equal the instances' size \(4, 6\), got \(4, 7\)"),
        ({"id": 1.5}, TypeError, "id must be an int or a str, got float"),
        ({"id": True}, TypeError, "id must be an int or a str, got bool"),
        ({"id": ""}, ValueError, "id must not be an empty str"),
        ({"attributes": [1]}, TypeError, "attributes must be a mapping, got list"),
        ({"video": 1.5, "frame": 0}, TypeError, "video must be an int or a str, got float"),
        ({"video": "", "frame": 0}, ValueError, "video must not be an empty str"),
        ({"video": "a"}, ValueError, "video and frame must be given together, got 'a' and None"),
        ({"frame": 1}, ValueError, "video and frame must be given together, got None and 1"),
        ({"video": "a", "frame": -1}, ValueError, "frame must be an int of at least 0, got -1"),
        ({"video": "a", "frame": 1.0}, ValueError, "frame must be an int of at least 0, got 1.0"),
        ({"split": ""}, TypeError, "split must be a name or None, got ''"),
    ],
)
def test_wrong_records_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        record(**changes)


def test_record_replace():
    assert record().replace(id=5).id == 5
    resized = record().replace(instances=Instances.empty((2, 3)))
    assert resized.size == (2, 3)
    with pytest.raises(ValueError, match="size must equal"):
        record().replace(size=(9, 9))


def test_records_are_equal_by_value():
    assert record(1, [0]) == record(1, [0])
    assert record(1, [0]) != record(1, [1])
    assert record(1, attributes={"a": 1}) != record(1)
    assert dataset() == dataset()
    assert dataset() != dataset()[1:]
    assert dataset() != Dataset(dataset().records, ("nucleus", "other"))


def test_dataset_is_a_sequence_of_records():
    whole = dataset()
    assert len(whole) == 3
    assert [r.id for r in whole] == [3, "b", 1]
    assert whole[-1].id == 1
    assert [r.id for r in whole[::2]] == [3, 1]
    assert whole[::2].classes == whole.classes
    assert len(whole[:0]) == 0
    with pytest.raises(IndexError):
        whole[3]


def test_filter_and_with_records():
    whole = dataset()
    assert [r.id for r in whole.filter(lambda r: len(r.instances) > 0)] == [3, 1]
    assert whole.with_records(list(whole)[1:]) == whole[1:]
    assert len(whole.with_records([])) == 0


@pytest.mark.parametrize(
    ("records", "classes", "error", "message"),
    [
        ([], "nucleus", TypeError, "classes must be several names, got the one str 'nucleus'"),
        ([], [1], TypeError, "classes must be names .str., got 1"),
        (["a.png"], [], TypeError, "records must be Record values, got str"),
        ([record(1), record(1)], [], ValueError, "must have unique ids, got 1 twice"),
        ([record(1, [0, 2])], ["a", "b"], ValueError, "below the number of classes 2, got 2 in record 1"),
    ],
)
def test_wrong_datasets_are_refused(records, classes, error, message):
    with pytest.raises(error, match=message):
        Dataset(records, classes)


def test_lists_become_tuples():
    made = Dataset([record()], ["nucleus"])
    assert made.records == (record(),)
    assert made.classes == ("nucleus",)


def test_attributes_of_a_dataset_stay_with_its_parts():
    made = Dataset((record(1), record(2)), (), {"info": {"year": 2026}})
    assert made[:1].attributes == made.with_records([]).attributes == {"info": {"year": 2026}}
    with pytest.raises(TypeError):
        made.attributes["info"] = None
    with pytest.raises(TypeError, match="attributes must be a mapping, got list"):
        Dataset((), (), [])


def test_frames_of_videos_are_put_in_order():
    frames = [record(n, video=name, frame=f) for n, (name, f) in enumerate([("b", 2), (7, 0), ("b", 0)])]
    parts = Dataset((*frames, record(9)), ("nucleus",)).videos()
    assert {name: [one.id for one in part] for name, part in parts.items()} == {"b": [2, 0], 7: [1]}
    assert parts["b"].classes == ("nucleus",)
    assert Dataset((), ()).videos() == {}
    with pytest.raises(ValueError, match="frames must be different, got 2 twice in 'b'"):
        Dataset((frames[0], record(9, video="b", frame=2)), ()).videos()


def test_datasets_pickle():
    assert pickle.loads(pickle.dumps(dataset())) == dataset()
    whole = Dataset((record(1, video="a", frame=3, split="val"),), (), {"info": 1})
    assert pickle.loads(pickle.dumps(whole)) == whole
    assert pickle.loads(pickle.dumps(record(attributes={"a": [1]}))).attributes == {"a": [1]}


def test_nothing_here_is_hashable():
    with pytest.raises(TypeError, match=r"Use record\.id as the key"):
        hash(record())
    with pytest.raises(TypeError, match="Dataset must not be hashed"):
        hash(dataset())


def test_repr_is_short():
    assert repr(dataset()) == "Dataset(3 records, 3 instances, 2 classes)"
