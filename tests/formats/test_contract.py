"""What every format must do: a nasty dataset comes back as far as KEEPS says, and damage is named."""

import contextlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nasty import SIZE, nasty

from delineate import formats
from delineate.dataset import Dataset, Record
from delineate.errors import DelineateError
from delineate.image import write_image
from delineate.instances import Instances
from delineate.masks import Masks


def target(module, folder):
    return folder / f"out{module.SUFFIX}"


def named(dataset, keeps):
    """Records by the name of their picture; formats of videos without picture ids name pictures by number."""
    numbered = "videos" in keeps and "picture ids" not in keeps
    return {(record.video, record.frame) if numbered else record.path.name: record for record in dataset}


def ordered(instances, keeps):
    """The instances in an order that does not depend on the file's, where the format does not keep it."""
    if "instance order" in keeps or not len(instances):
        return instances
    keys = [
        (rle["counts"], label) for rle, label in zip(instances.masks.to_rle(), instances.labels, strict=True)
    ]
    return instances[sorted(range(len(keys)), key=keys.__getitem__)]


def said(values):
    """The values of a column; None also for one that says no more than its absence."""
    return None if values is None or not values.any() else values.tolist()


def check_record(back, record, keeps):
    assert back.size == record.size
    if "picture ids" in keeps:
        assert back.id == record.id
    if "picture attributes" in keeps:
        assert dict(back.attributes) == dict(record.attributes)
    if "videos" in keeps:
        assert (back.video, back.frame) == (record.video, record.frame)
    if "splits" in keeps:
        assert back.split == record.split
    found, true = ordered(back.instances, keeps), ordered(record.instances, keeps)
    assert len(found) == len(true)
    if not len(true):
        return
    assert found.masks == true.masks, np.flatnonzero(found.masks.areas != true.masks.areas)
    assert found.labels.tolist() == true.labels.tolist()
    np.testing.assert_array_equal(found.boxes, true.boxes)
    for name in ("scores", "crowd", "ids"):
        if name in keeps:
            assert said(getattr(found, name)) == said(getattr(true, name)), name
    for name in ("area", "annotation_id", "group", "z_order"):
        if name in keeps:
            assert found.extras[name].tolist() == true.extras[name].tolist(), name
    if "attributes" in keeps:
        left, right = (map(json.loads, one.extras["attributes"].tolist()) for one in (found, true))
        assert list(left) == list(right)


@pytest.mark.parametrize("name", formats.names())
def test_a_nasty_dataset_comes_back(name, tmp_path):
    module = formats.get(name)
    (tmp_path / "pictures").mkdir()
    dataset = nasty(tmp_path / "pictures", module.KEEPS)
    module.write(dataset, target(module, tmp_path))
    back = module.read(target(module, tmp_path))
    assert set(back.classes) == set(dataset.classes)
    assert back.classes == dataset.classes or "class order" not in module.KEEPS
    if "info" in module.KEEPS:
        assert back.attributes["info"] == dataset.attributes["info"]
        assert list(back.attributes["categories"]) == dataset.attributes["categories"]
    places = [back.classes.index(one) for one in dataset.classes]
    again = named(back, module.KEEPS)
    assert again.keys() == named(dataset, module.KEEPS).keys()
    for file, record in named(dataset, module.KEEPS).items():
        labels = np.array(places, np.int64)[record.instances.labels]
        check_record(
            named(back, module.KEEPS)[file],
            record.replace(instances=record.instances.replace(labels=labels)),
            module.KEEPS,
        )
    for file, record in again.items():
        assert record.path.is_file(), f"{file} must be found again"


@pytest.mark.parametrize("name", formats.names())
def test_nothing_at_all_comes_back(name, tmp_path):
    module = formats.get(name)
    module.write(Dataset((), ("cell",)), target(module, tmp_path))
    back = module.read(target(module, tmp_path))
    assert len(back) == 0
    assert back.classes == ("cell",) or "class order" not in module.KEEPS


@pytest.mark.parametrize("name", formats.names())
def test_only_the_right_format_claims_what_was_written(name, tmp_path):
    module = formats.get(name)
    (tmp_path / "pictures").mkdir()
    module.write(nasty(tmp_path / "pictures", module.KEEPS), target(module, tmp_path))
    assert [one for one in formats.names() if formats.get(one).sniff(target(module, tmp_path))] == [name]


@pytest.mark.parametrize("name", formats.names())
def test_writing_twice_gives_the_same_bytes(name, tmp_path):
    module = formats.get(name)
    (tmp_path / "pictures").mkdir()
    dataset = nasty(tmp_path / "pictures", module.KEEPS)
    contents = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        module.write(dataset, target(module, folder))
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        contents.append({file.relative_to(folder): file.read_bytes() for file in files})
    assert contents[0] == contents[1]


@pytest.mark.parametrize("name", formats.names())
def test_what_is_missing_is_named(name, tmp_path):
    with pytest.raises(DelineateError, match="nothing"):
        formats.get(name).read(tmp_path / "nothing here")
    assert not formats.get(name).sniff(tmp_path / "nothing here")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_bytes(b"")
    assert not formats.get(name).sniff(tmp_path / "empty")
    assert not formats.get(name).sniff(tmp_path / "empty.txt")


@pytest.mark.parametrize("name", formats.names())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damaged_files_never_fail_otherwise(name, data, tmp_path_factory):
    """Bytes of any text, XML, JSON or PNG file of a written dataset are damaged: it reads, or says what is wrong."""
    module = formats.get(name)
    folder = tmp_path_factory.mktemp(name)
    (folder / "pictures").mkdir()
    path = target(module, folder)
    module.write(nasty(folder / "pictures", module.KEEPS), path)
    files = (
        [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file() and not f.is_symlink())
    )
    file = files[data.draw(st.integers(0, len(files) - 1))]
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        content[at : at + data.draw(st.integers(0, 4))] = data.draw(
            st.sampled_from(
                [b"", b"9" * 30, b"-1", b"NaN", b"[", b"\x80", b"null", b"1e999", b"/../", b"<", b'"']
            )
        )
    file.write_bytes(bytes(content))
    with contextlib.suppress(DelineateError):
        module.read(path)
    module.sniff(path)


VIDEOS = {"ctc", "davis", "mots", "sav"}  # they hold frames only, and name them by number
FOLDERS = [name for name in formats.names() if not formats.get(name).SUFFIX and name not in VIDEOS]


def plain(folder, keeps, *places):
    """One object in each of some pictures, which are the frames of a video where a format keeps that."""
    dense = np.zeros((1, *SIZE), bool)
    dense[0, 2:6, 3:9] = True
    records = []
    for n, place in enumerate(places):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        write_image(folder / place, np.full((*SIZE, 3), n, np.uint8))
        masks = Masks.from_dense(np.roll(dense, n, axis=2))
        record = Record(folder / place, SIZE, Instances.of(masks, ids=[1]), n + 1, split="train")
        records.append(record.replace(video="v", frame=n) if "videos" in keeps else record)
    return Dataset(tuple(records), ("cell",))


@pytest.mark.parametrize("name", FOLDERS)
def test_pictures_of_one_name_stay_apart(name, tmp_path):
    dataset = plain(
        tmp_path, formats.get(name).KEEPS, "a/1.png", "b/1.png", "b/1.jpg", "c/1.PNG", "c/1_2.png"
    )
    formats.write(dataset, tmp_path / "out", name)
    back = formats.read(tmp_path / "out")
    content = {record.path.read_bytes(): record.instances.masks for record in back}
    assert len(back) == len(content) == len(dataset)
    assert all(content[record.path.read_bytes()] == record.instances.masks for record in dataset)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_written_wholly_or_not_at_all(name, tmp_path):
    dataset = plain(tmp_path, formats.get(name).KEEPS, "a/1.png", "a/2.png")
    (tmp_path / "a" / "2.png").unlink()
    with pytest.raises(DelineateError, match=r"2\.png.*picture must exist to be placed"):
        formats.write(dataset, tmp_path / "out", name)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises((DelineateError, OSError), match="folder"):
        formats.write(plain(tmp_path, formats.get(name).KEEPS, "a/1.png"), tmp_path / "out", name)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", formats.names())
def test_files_that_were_cut_off_are_named(name, tmp_path):
    module = formats.get(name)
    (tmp_path / "pictures").mkdir()
    path = target(module, tmp_path)
    module.write(nasty(tmp_path / "pictures", module.KEEPS), path)
    files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file() and not f.is_symlink()]
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
        with contextlib.suppress(DelineateError):
            module.read(path)
        file.write_bytes(content)


KILLED = """
import os, signal, sys
from pathlib import Path
from delineate import formats
from delineate.formats import _pictures, coco

dataset, root = coco.read(sys.argv[1]), Path(sys.argv[2])
place, replace, placed = _pictures.place, os.replace, []

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def place_one(*given):
    placed.append(given)
    die() if len(placed) == 2 else place(*given)

for name in sys.argv[3:]:
    for moment in ("middle", "end"):
        child = os.fork()
        if not child:
            setattr(*((_pictures, "place", place_one) if moment == "middle" else (os, "replace", die)))
            formats.write(dataset, root / f"{name}-{moment}", name)
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL, (name, moment)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_writer_leaves_nothing_of_a_folder(tmp_path):
    folders = [*FOLDERS, *sorted(VIDEOS)]
    dataset = plain(tmp_path, {"videos"}, "a/1.png", "a/2.png", "a/3.png")
    formats.write(dataset, tmp_path / "a" / "all.json", "coco")
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-c", KILLED, tmp_path / "a" / "all.json", tmp_path / "out", *folders]
    subprocess.run(command, check=True, timeout=120)
    left = list((tmp_path / "out").iterdir())
    assert all(item.name[0] == "." for item in left), "only hidden remains of what was not finished"
    for name in folders:
        formats.write(dataset, tmp_path / "out" / f"{name}-end", name)
        assert len(formats.get(name).read(tmp_path / "out" / f"{name}-end")) == 3
