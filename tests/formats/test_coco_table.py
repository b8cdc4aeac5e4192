"""The native reader of COCO files against the one of msgspec, which reads what the native one leaves."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from delineate._native import _core
from delineate.errors import FormatError
from delineate.formats import _coco_table, coco
from delineate.masks import Masks

SIZE = (5, 6)
SQUARE = [[1, 1, 4, 1, 4, 3, 1, 3]]
RLES = Masks.from_polygons([SQUARE, [[0, 0, 6, 0, 6, 5]], [[0, 2, 2, 5, 6, 0.5]]], SIZE).to_rle()


def outcome(read, *args):
    try:
        return read(*args)
    except FormatError as error:
        return str(error)


def reference(monkeypatch, read, *args):
    with monkeypatch.context() as patch:
        patch.setattr(_coco_table, "scan", lambda *args, **options: None)
        return outcome(read, *args)


def is_lazy(dataset):
    return all(record.rows is not None for record in dataset)


segmentations = st.one_of(
    st.sampled_from([SQUARE, [], [[]], [[], SQUARE[0]], None, {}, [[0, 0, 1e0, 0, 1.5, 2.5e0]], *RLES]),
    st.sampled_from([{"size": [5, 6], "counts": [0, 2, 28]}, {"counts": "]\\0", "size": [5, 6]}]),
    st.lists(st.lists(st.floats(-9, 9) | st.integers(-9, 9), min_size=6, max_size=6), max_size=3),
)
words = st.text(max_size=4)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words, st.lists, max_leaves=4
)
boxes = st.sampled_from([[], None, [1, 1, 3, 2], [0.1, 0.25, 1e-3, 2.5e2], [-3, 4.75, 0, 0]])
numbers = st.floats(-(2.0**100), 2.0**100) | st.integers(-(2**50), 2**50)
entries = st.fixed_dictionaries(
    {
        "image_id": st.sampled_from([5, 5, 2, "ü", "b", -(2**40)]),
        "category_id": st.sampled_from([3, 7]),
        "segmentation": segmentations,
    },
    optional={
        "id": st.none() | st.integers(0, 9) | st.integers(-(2**63), 2**64),
        "bbox": boxes,
        "area": st.none() | numbers,
        "iscrowd": st.sampled_from([0, 1, True, False, None, 0, 1, 2]),
        "track_id": st.none() | st.integers(-2, 2**40),
        "attributes": values,
        "überall": values,
    },
)


@st.composite
def files(draw, *, results):
    """A COCO file or results list as text: sometimes spelt oddly, sometimes damaged."""
    made = draw(st.lists(entries, max_size=5))
    if results or draw(st.booleans()):
        made = [one | {"score": draw(numbers)} for one in made]
    pictures = [{"id": id_, "height": 5, "width": 6} for id_ in (5, "ü", 2, "b", -(2**40))]
    categories = [{"id": 7, "name": "cell"}, {"id": 3, "name": "nucleus"}]
    truth = {"info": draw(values), "images": pictures, "annotations": made, "categories": categories}
    keys = draw(st.permutations(list(truth)))
    style = {"ensure_ascii": draw(st.booleans()), "indent": draw(st.sampled_from([None, 1]))}
    text = bytearray(json.dumps(made if results else {key: truth[key] for key in keys}, **style).encode())
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        at = draw(st.integers(0, max(0, len(text) - 1)))
        text[at : at + draw(st.integers(0, 2))] = draw(
            st.sampled_from([b"", b"0", b",", b'"', b"\\", b"e", b"\xff", b"[]"])
        )
    if not results:
        return bytes(text)
    return bytes(text), json.dumps(truth | {"annotations": []}).encode()


common = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@common
@given(text=files(results=False))
def test_files_are_read_as_the_reference_reads_them(tmp_path, monkeypatch, text):
    path = tmp_path / "a.json"
    path.write_bytes(text)
    found = outcome(coco.read, path)
    assert found == reference(monkeypatch, coco.read, path)


@common
@given(texts=files(results=True))
def test_results_are_read_as_the_reference_reads_them(tmp_path, monkeypatch, texts):
    paths = tmp_path / "r.json", tmp_path / "t.json"
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text)
    found = outcome(coco.read_results, *paths)
    assert found == reference(monkeypatch, coco.read_results, *paths)


@common
@given(text=files(results=False), window=st.integers(1, 300))
def test_the_window_changes_nothing(tmp_path, text, window):
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with path.open("rb") as file:
        found, again = (_core.coco_scan(file.fileno(), False, size) for size in (1 << 20, window))
    if again is None:  # what is odd at the edge of a window may be given up
        return
    assert (found[0], found[2], found[3]) == (again[0], again[2], again[3])
    assert found[1].keys() == again[1].keys()
    for name, column in found[1].items():
        assert np.array_equal(column, again[1][name], equal_nan=column.dtype == np.float64)


def test_ordinary_files_are_read_lazily(shared):
    for name in ("coco_street/val.json", "coco128_seg/val.json", "dsb2018/val.json"):
        assert is_lazy(coco.read(shared / "data" / name))
    folder = shared / "fixtures" / "formats" / "coco" / "val2014_100"
    for name in ("segm", "bbox"):
        path = folder / f"instances_val2014_fake{name}100_results.json"
        assert is_lazy(coco.read_results(path, folder / "instances_val2014_100.json"))


def test_what_is_valid_but_odd_is_read_by_the_reference(tmp_path):
    odd = {"size": [5.0, 6], "counts": [0, 2, 28]}
    for segmentation in (odd, [[1, 1, 4, 1, 4, 3, 1, 3]]):
        entry = {"image_id": 1, "category_id": 1, "segmentation": segmentation}
        content = {"images": [{"id": 1, "height": 5, "width": 6}], "categories": [{"id": 1, "name": "a"}]}
        (tmp_path / "a.json").write_text(json.dumps(content | {"annotations": [entry]}))
        with (tmp_path / "a.json").open("rb") as file:
            assert _core.coco_scan(file.fileno(), False) is not None
        found = outcome(coco.read, tmp_path / "a.json")
        assert isinstance(found, str) or is_lazy(found) == (segmentation is not odd)


def test_files_longer_than_the_window(tmp_path):
    rng = np.random.default_rng(0)
    pictures = [{"id": n, "height": 40, "width": 50} for n in range(60)]
    entries = []
    for n in range(2000):
        points = rng.uniform(0, 40, (int(rng.integers(3, 90)), 2)).round(2)
        entries.append(
            {
                "id": n,
                "image_id": int(rng.integers(60)),
                "category_id": 1,
                "segmentation": [points.ravel().tolist()],
            }
        )
    content = {"images": pictures, "annotations": entries, "categories": [{"id": 1, "name": "a"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert (tmp_path / "a.json").stat().st_size > 1 << 20
    found = coco.read(tmp_path / "a.json")
    assert is_lazy(found)
    for record in found:
        mine = [entry for entry in entries if entry["image_id"] == record.id]
        assert record.instances.extras["annotation_id"].tolist() == [entry["id"] for entry in mine]
        assert record.instances.masks == Masks.from_coco([entry["segmentation"] for entry in mine], (40, 50))


@pytest.mark.parametrize(
    "text", [b"", b"[", b"{", b"[]", b"{}", b'{"annotations":[]}', b'{"annotations":[{}]}']
)
def test_tiny_files(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text)
    with (tmp_path / "a.json").open("rb") as file:
        assert (_core.coco_scan(file.fileno(), True) is not None) == (text == b"[]")
        assert (_core.coco_scan(file.fileno(), False) is not None) == (text == b'{"annotations":[]}')


def test_memory_does_not_follow_the_masks(tmp_path):
    """Per detection some 150 bytes at most are held, though each takes 2 kB of the file here."""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc to know the peak of memory")
    pictures, each = 100, 100
    rng = np.random.default_rng(0)
    noise = Masks.from_dense(rng.random((1, 60, 80)) < 0.5).to_rle()[0]
    text = json.dumps({"size": [60, 80], "counts": noise["counts"]})
    assert len(text) > 1000
    images = [{"id": n, "height": 60, "width": 80} for n in range(pictures)]
    head = {"images": images, "categories": [{"id": 1, "name": "a"}]}
    known = [
        f'{{"id": {n + 1}, "image_id": {n}, "category_id": 1, "area": 900, "segmentation": {text}}}'
        for n in range(pictures)
    ]
    (tmp_path / "t.json").write_text(json.dumps(head)[:-1] + ', "annotations": [' + ",".join(known) + "]}")
    scores = rng.random(pictures * each).round(3).tolist()
    entry = '{{"image_id": {}, "category_id": 1, "score": {}, "segmentation": {}}}'
    rows = [entry.format(n // each, score, text) for n, score in enumerate(scores)]
    for name, part in (("few", rows[:each]), ("all", rows)):
        (tmp_path / f"{name}.json").write_text("[" + ",".join(part) + "]")
    script = """
import re, sys
from pathlib import Path
from delineate.formats import coco
from delineate.metrics.ap import evaluate
truth = coco.read(sys.argv[1] + "/t.json")
evaluate(truth, coco.read_results(sys.argv[1] + "/" + sys.argv[2] + ".json", sys.argv[1] + "/t.json"))
print(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""
    peaks = []
    for name in ("few", "all"):
        command = [sys.executable, "-c", script, str(tmp_path), name]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) * 1024)
    size = (tmp_path / "all.json").stat().st_size
    assert size > 10 << 20
    assert peaks[1] - peaks[0] < (4 << 20) + 150 * len(rows)
