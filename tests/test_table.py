import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import coco
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.table import Recent, Rows, Table


@pytest.fixture
def path(tmp_path):
    """Pictures 5, 2 and "c" of 5 x 6 pixels: 2, 1 and 0 objects; the crowd and the track belong to picture 5."""
    square = [[1, 1, 4, 1, 4, 3, 1, 3]]
    crowd = {"size": [5, 6], "counts": [0, 2, 28]}
    content = {
        "images": [{"id": id_, "height": 5, "width": 6} for id_ in (5, 2, "c")],
        "categories": [{"id": 3, "name": "nucleus"}, {"id": 7, "name": "cell"}],
        "annotations": [
            {
                "id": 4,
                "image_id": 5,
                "category_id": 3,
                "bbox": [1, 1, 3, 2],
                "segmentation": square,
                "score": 0.5,
            },
            {"id": 9, "image_id": 2, "category_id": 7, "segmentation": square, "score": 0.1, "area": 7},
            {
                "id": 2,
                "image_id": 5,
                "category_id": 7,
                "iscrowd": 1,
                "segmentation": crowd,
                "score": 1,
                "track_id": 8,
            },
        ],
    }
    file = tmp_path / "a.json"
    file.write_text(json.dumps(content))
    return file


def expected():
    square = Masks.from_polygons([[[1, 1, 4, 1, 4, 3, 1, 3]]], (5, 6))
    crowd = Masks.from_rle([{"size": [5, 6], "counts": [0, 2, 28]}])
    extras = {
        "area": [6.0, 2.0],
        "annotation_id": [4, 2],
        "bbox": [[1.0, 1, 3, 2], [0, 0, 1, 2]],
        "score": [0.5, 1.0],
    }
    return Instances(
        (5, 6),
        [[1, 1, 4, 3], [0, 0, 1, 2]],
        [0, 1],
        [0.5, 1],
        Masks.concat([square, crowd]),
        [False, True],
        [-1, 8],
        extras,
    )


def slot_is_set(record):
    try:
        type(record).instances.__get__(record)
    except AttributeError:
        return False
    return True


def test_instances_are_made_when_asked_for(path):
    dataset = coco.read(path)
    assert repr(dataset) == "Dataset(3 records, 3 instances, 2 classes)"
    assert [(record.count, record.size) for record in dataset] == [(2, (5, 6)), (1, (5, 6)), (0, (5, 6))]
    assert not any(slot_is_set(record) for record in dataset)
    first = dataset[0]
    assert first.instances == expected()
    assert first.instances is first.instances
    assert not slot_is_set(first), "the table keeps what was made last, the record nothing"
    assert not slot_is_set(dataset[1])
    assert dataset[1].instances.crowd is None
    assert dataset[1].instances.ids is None
    assert dataset[1].instances.extras["area"].tolist() == [7]
    assert dataset[2].instances.masks == Masks.empty((5, 6))


def test_selecting_and_replacing_make_nothing(path):
    dataset = coco.read(path)
    parts = [
        dataset[1:],
        dataset.filter(lambda record: record.id != 2),
        dataset.with_records(dataset.records[::-1]),
    ]
    parts.append(dataset.with_records(record.replace(id=n) for n, record in enumerate(dataset)))
    assert not any(slot_is_set(record) for part in parts for record in part)
    assert parts[2][2].instances == expected()
    assert parts[3][0].instances == expected()
    other = dataset[0].replace(instances=Instances.empty((2, 2)))
    assert (other.rows, other.size, other.count) == (None, (2, 2), 0)


def test_lazy_records_equal_others(path):
    dataset, again = coco.read(path), coco.read(path)
    plain = Record(None, (5, 6), expected(), 5)
    assert dataset[0] == plain
    assert dataset == again
    assert pickle.loads(pickle.dumps(dataset)) == again
    assert copy.deepcopy(dataset) == again
    with pytest.raises(AttributeError, match="no attribute 'mask'"):
        dataset[0].mask  # noqa: B018
    with pytest.raises(TypeError, match="instances must be Instances, got int"):
        Record(None, (5, 6), 3, 5)


def test_labels_are_checked_without_making_instances(path):
    dataset = coco.read(path)
    with pytest.raises(ValueError, match="labels must be below the number of classes 1, got 1 in record 5"):
        Dataset(dataset.records, ["one"])
    assert not any(slot_is_set(record) for record in dataset)


def test_the_file_may_be_replaced_but_not_changed(path):
    replaced, changed = coco.read(path), coco.read(path)
    coco.write(replaced, path)  # a new file under the same name: the old one stays readable
    assert replaced[0].instances == expected()
    assert changed[0].instances == expected()
    changed = coco.read(path)
    with path.open("r+b") as file:
        file.truncate(20)
    with pytest.raises(FormatError, match=r"a\.json: file must not change after it was read\. Read it again"):
        changed[0].instances  # noqa: B018
    assert changed[1].count == 1


def test_open_files_are_closed(path):
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("needs /proc to know how many files are open")
    before = len(list(descriptors.iterdir()))
    for _ in range(20):
        coco.read(path)
    assert len(list(descriptors.iterdir())) <= before + 2


def test_selection_of_pictures(path):
    table = coco.read(path)[0].rows.table
    assert isinstance(table, Table)
    assert (len(table), table.offsets.tolist()) == (3, [0, 1, 3, 3])  # 2, 5, "c": the order of evaluation
    some = table.select(np.array([1, -1, 1]))
    assert some.offsets.tolist() == [0, 2, 2, 4]
    assert some.instances(2) == expected()
    assert table.select(np.arange(3)) is table
    kept = some.keep(np.array([False, True, True, True]))
    assert kept.offsets.tolist() == [0, 1, 1, 3]
    assert kept.instances(0) == expected()[1:].replace(ids=[8])
    assert Rows(kept, 2).make() == expected()
    assert np.array_equal(kept.boxes, [[0, 0, 1, 2], [1, 1, 4, 3], [0, 0, 1, 2]])
    assert kept.scores.dtype == np.float32


def test_only_what_was_made_last_is_kept(path, monkeypatch):
    monkeypatch.setattr(Recent, "LIMIT", 1)
    dataset = coco.read(path)
    first, second = dataset[0].instances, dataset[1].instances
    assert dataset[1].instances is second
    assert dataset[0].instances is not first
    assert dataset[0].instances == first


PASS = """
import sys
from delineate.curate.convert import convert
from delineate.curate.stats import stats
from delineate.table import Recent

Recent.LIMIT = int(sys.argv.pop())

def peak():
    status = open("/proc/self/status").read()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024

source, target = sys.argv[1:]
convert(source, target + ".small", "coco")
before = peak()
done = convert(source + ".large", target, "coco")
print(done.certificate.exact, stats(done.dataset).objects, peak() - before)
"""


def test_a_file_is_converted_in_memory_that_does_not_follow_its_masks(tmp_path):
    """The runs of 6000 combs take 19 MB, and as much in the copy; a pass holds 1 MB of each."""
    comb = [[2 * tooth + half, 2 + 190 * (tooth % 2 == half)] for tooth in range(200) for half in (0, 1)]
    ring = [value for point in [*comb, [400, 199], [0, 199]] for value in point]
    entry = {"category_id": 1, "iscrowd": 0, "segmentation": [ring], "bbox": [0, 2, 400, 197], "area": 1}
    for name, pictures in (("a.json", 1), ("a.json.large", 60)):
        images = [{"id": n, "height": 200, "width": 400} for n in range(pictures)]
        annotations = [
            entry | {"id": 100 * n + k + 1, "image_id": n} for n in range(pictures) for k in range(100)
        ]
        content = {"images": images, "categories": [{"id": 1, "name": "comb"}], "annotations": annotations}
        (tmp_path / name).write_text(json.dumps(content))
    words = [sys.executable, "-c", PASS, str(tmp_path / "a.json"), str(tmp_path / "b.json"), str(1 << 20)]
    done = subprocess.run(words, capture_output=True, check=True, text=True)
    exact, objects, growth = map(int, done.stdout.split())
    assert exact == objects == 6000
    assert growth < 20, "MB; without the limit it is 40"
