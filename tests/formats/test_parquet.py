import json
import sys

import numpy as np
import pytest
from nasty import nasty
from pycocotools import mask as pycocotools_mask

from delineate import formats
from delineate.dataset import Dataset, Record
from delineate.errors import DelineateError, FormatError, MissingExtra
from delineate.formats import parquet
from delineate.instances import Instances
from delineate.masks import Masks

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # of pycocotools
SIZE = (6, 7)


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"delineate\[parquet\]"):
        parquet.write(Dataset([], []), tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def arrow():
    pytest.importorskip("pyarrow", reason="needs pyarrow, the extra [parquet]")
    import pyarrow.parquet

    return pyarrow


@pytest.fixture
def written(arrow, tmp_path):
    (tmp_path / "pictures").mkdir()
    dataset = nasty(tmp_path / "pictures", formats.KEEPABLE.keys())
    parquet.write(dataset, tmp_path / "a.parquet")
    return dataset, tmp_path / "a.parquet"


def test_other_readers_find_a_row_for_each_object(written, arrow):
    dataset, path = written
    rows = arrow.parquet.read_table(path).to_pylist()
    objects = [row for row in rows if row["label"] is not None]
    assert len(objects) == sum(len(record.instances) for record in dataset)
    assert [row["picture"] for row in rows if row["label"] is None] == [1], "the picture without objects"
    places = iter(objects)
    for record in dataset:
        found = record.instances
        for n in range(len(found)):
            row = next(places)
            assert json.loads(row["image_id"]) == record.id
            assert row["class"] == dataset.classes[found.labels[n]]
            assert [row[name] for name in ("x0", "y0", "x1", "y1")] == found.boxes[n].tolist()
            assert row["score"] == found.scores[n]
            decoded = pycocotools_mask.decode({"size": list(record.size), "counts": row["counts"]})
            np.testing.assert_array_equal(decoded, found.masks[[n]].to_dense()[0])


def test_streams_hold_one_row_group(arrow, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "_ROWS", 5)
    one = Instances.of(Masks.from_boxes([[0, 0, 2, 2], [1, 1, 4, 4]], SIZE), [0, 1])
    given = []

    def records():
        for n in range(20):
            given.append(n)
            yield Record(None, SIZE, one if n % 3 else Instances.empty(SIZE), n)

    parquet.write_stream(records(), ["a", "b"], tmp_path / "a.parquet")
    file = arrow.parquet.ParquetFile(tmp_path / "a.parquet")
    assert max(file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)) <= 6
    assert file.num_row_groups >= 5
    read = []
    actual = arrow.parquet.ParquetFile.read_row_group
    monkeypatch.setattr(
        arrow.parquet.ParquetFile, "read_row_group", lambda self, n: (read.append(n), actual(self, n))[1]
    )
    stream = parquet.stream(tmp_path / "a.parquet")
    assert next(stream).id == 0
    assert read == [0]
    assert [record.id for record in stream] == given[1:]
    assert parquet.read(tmp_path / "a.parquet")[4].instances.masks == one.masks


def test_what_is_not_there_stays_away(arrow, tmp_path):
    boxes = Instances(SIZE, [[1, 2, 3, 4]], [0])
    records = [
        Record(None, SIZE, boxes, "7"),
        Record(None, SIZE, Instances.empty(SIZE), 7, {}, "v", 3, "val"),
    ]
    parquet.write(Dataset(records, ["a"]), tmp_path / "a.parquet")
    back = parquet.read(tmp_path / "a.parquet")
    assert [record.id for record in back] == ["7", 7]
    found = back[0].instances
    assert (found.masks, found.scores, found.crowd, found.ids, dict(found.extras)) == (
        None,
        None,
        None,
        None,
        {},
    )
    assert (back[1].video, back[1].frame, back[1].split, back[1].path) == ("v", 3, "val", None)


def test_many_objects_come_back(arrow, tmp_path):
    boxes = np.random.default_rng(3).integers(0, 60, (10_000, 4)).astype(float)
    boxes[:, 2:] += boxes[:, :2] + 1
    masks = Masks.from_boxes(boxes, (200, 200))
    found = Instances.of(masks, np.arange(10_000) % 7, np.linspace(0, 1, 10_000, dtype=np.float32))
    parquet.write(Dataset([Record(None, (200, 200), found, 1)], list("abcdefg")), tmp_path / "a.parquet")
    [back] = parquet.read(tmp_path / "a.parquet")
    assert back.instances.masks == masks
    assert back.instances.scores.tolist() == found.scores.tolist()


def changed(arrow, path, **columns):
    """The file with other values in some columns."""
    table = arrow.parquet.read_table(path)
    for name, change in columns.items():
        values = change(table.column(name).to_pylist())
        column = arrow.array(values, table.schema.field(name).type)
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
    arrow.parquet.write_table(table, path)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("height", 0, "height and width must be whole numbers of 1 to"),
        ("height", None, "height and width must be whole numbers of 1 to"),
        ("label", 99, "label must be a class, below 3"),
        ("label", -1, "label must be a class"),
        ("x0", None, "a column must have a value for all"),
        ("x0", float("nan"), "picture 0: .*boxes"),
        ("counts", b"\xff\xfe", "picture 0: "),
        ("counts", b"999999", "picture 0: "),
        ("image_id", "[1]", "picture 0: "),
        ("image_id", "3", "unique ids"),
        ("image_attributes", "5", "picture 0: "),
        ("frame", -3, "frame"),
        ("score", float("inf"), "scores"),
    ],
)
def test_wrong_values_are_named(written, arrow, name, value, text):
    _, path = written
    changed(arrow, path, **{name: lambda values: [value, *values[1:]]})
    with pytest.raises(FormatError, match=text):
        parquet.read(path)


def test_other_files_are_refused(arrow, tmp_path):
    arrow.parquet.write_table(arrow.table({"a": [1]}), tmp_path / "a.parquet")
    assert not parquet.sniff(tmp_path / "a.parquet")
    with pytest.raises(FormatError, match='must have "delineate" in its metadata'):
        parquet.read(tmp_path / "a.parquet")
    table = arrow.table({"a": [1]}).replace_schema_metadata({"delineate": '{"classes": []}'})
    arrow.parquet.write_table(table, tmp_path / "b.parquet")
    with pytest.raises(FormatError, match="picture: column must be of type int64, got none"):
        parquet.read(tmp_path / "b.parquet")
    arrow.parquet.write_table(table.replace_schema_metadata({"delineate": "[["}), tmp_path / "c.parquet")
    with pytest.raises(FormatError, match="metadata: must be what delineate writes"):
        parquet.read(tmp_path / "c.parquet")


def test_cut_and_flipped_bytes_are_named(written):
    _, path = written
    content = path.read_bytes()
    random = np.random.default_rng(5)
    for n in range(60):
        damaged = bytearray(content[: random.integers(0, len(content))] if n % 4 == 0 else content)
        for at in random.integers(0, max(1, len(damaged)), 3):
            damaged[at : at + 1] = random.integers(0, 256, 1, np.uint8).tobytes()
        path.write_bytes(damaged)
        try:
            parquet.read(path)
        except DelineateError:
            continue
