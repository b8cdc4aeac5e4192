import json
import logging
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from delineate import formats
from delineate.annotate import store as module
from delineate.annotate.sheet import Drop, EditError, Put, counts
from delineate.annotate.store import Busy, Conflict
from delineate.dataset import Dataset, Record
from delineate.errors import DelineateError, FormatError
from delineate.formats import coco, labelme, yolo
from delineate.instances import Instances
from delineate.masks import Masks


def text(*box):
    return counts(Masks.from_boxes([box], (20, 30)))[0]


def put(store, number, uid, *box, key=""):
    return store.edit(number, store.revision(number), key, [Put(uid, 0, text(*box))])


def kill(store):
    """No saving, no farewell: the disk stays as it is."""
    store._end.set()
    store._wake.set()
    store._thread.join()
    store._journal.close()
    store._lock_file.close()
    store.close = lambda: None


def until(wanted):
    for _ in range(500):
        if wanted():
            return
        time.sleep(0.01)
    raise AssertionError("never")


@pytest.fixture
def store(pictures, opened):
    made = opened(pictures)
    made.add_class("cell")
    return made


def test_edits_reach_the_file(store, pictures):
    put(store, 0, "x", 1, 1, 6, 6)
    store.save()
    back = coco.read(pictures / "annotations.json")
    assert [(r.name, r.instances.masks.areas.tolist()) for r in back] == [("a.png", [25])]
    assert back.classes == ("cell",)
    assert [tuple(entry) for entry in store.entries()] == [
        ("a.png", 1, False),
        ("b.png", 0, False),
        ("deep/c.png", 0, False),
    ]


def test_the_file_follows_without_being_asked(store, pictures):
    put(store, 0, "x", 1, 1, 6, 6)
    for _ in range(500):
        if (pictures / "annotations.json").exists():
            break
        time.sleep(0.02)
    assert len(coco.read(pictures / "annotations.json")) == 1


def test_two_pages_cannot_overwrite_each_other(store):
    first = store.revision(0)
    store.edit(0, first, "k1", [Put("x", 0, text(0, 0, 2, 2))])
    with pytest.raises(Conflict):
        store.edit(0, first, "k2", [Put("y", 0, text(0, 0, 2, 2))])
    assert list(store.sheet(0).items) == ["x"]


def test_an_edit_that_is_sent_twice_counts_once(store):
    first = store.revision(0)
    for _ in range(2):
        after = store.edit(0, first, "k1", [Put("x", 0, text(0, 0, 2, 2))])
    assert (after, len(store.sheet(0).items)) == (store.revision(0), 1)


def test_a_bad_edit_changes_nothing(store):
    before = store.revision(0)
    with pytest.raises(EditError):
        store.edit(0, before, "", [Put("x", 0, text(0, 0, 2, 2)), Put("y", 9, text(0, 0, 2, 2))])
    assert (store.revision(0), store.sheet(0).items) == (before, {})


def test_what_a_kill_left_in_the_journal_comes_back(store, pictures, opened):
    store.save()
    put(store, 0, "x", 1, 1, 6, 6)
    put(store, 2, "y", 0, 0, 3, 3)
    store.edit(2, store.revision(2), "", [Drop("y"), Put("z", 0, text(5, 5, 9, 9))])
    store.add_class("late")
    store.review(2, True)
    kill(store)
    assert not coco.read(pictures / "annotations.json").records
    again = opened(pictures)
    assert [tuple(entry)[1:] for entry in again.entries()] == [(1, False), (0, False), (1, True)]
    assert again.classes == ["cell", "late"]
    assert again.boot != store.boot
    put(again, 0, "new", 10, 10, 12, 12)
    again.save()
    back = coco.read(pictures / "annotations.json")
    ids = np.concatenate([record.instances.extras["annotation_id"] for record in back])
    assert len(set(ids.tolist())) == len(ids) == 3
    assert (pictures / ".delineate" / "journal.jsonl").read_bytes() == b""


def test_a_killed_process_loses_no_accepted_edit(pictures, opened):
    """kill -9 in the midst of edits: all that were answered are there, and the file is whole."""
    program = f"""
import sys
from pathlib import Path
from delineate.annotate.store import Store
from delineate.annotate.sheet import Put, counts
from delineate.masks import Masks
store = Store(Path({str(pictures)!r}))
store.add_class("cell")
for n in range(100000):
    mask = counts(Masks.from_boxes([[n % 20, 1, n % 20 + 5, 6]], (20, 30)))[0]
    store.edit(n % 3, store.revision(n % 3), "", [Put(f"o{{n}}", 0, mask)])
    print(n + 1, flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if int(line) == 120:
            break
    process.send_signal(signal.SIGKILL)
    accepted = int((process.stdout.read().split() or ["120"])[-1])
    process.wait()
    process.stdout.close()
    assert sum(entry.objects for entry in opened(pictures).entries()) >= accepted >= 120


def test_saving_is_tried_again(store, pictures, monkeypatch, caplog):
    monkeypatch.setattr(module, "RETRY", 0.01)
    write, full = coco.write, True

    def failing(*arguments):
        if full:
            raise OSError(28, "No space left on device")
        write(*arguments)

    monkeypatch.setattr("delineate.annotate.saving.coco.write", failing)
    put(store, 0, "x", 1, 1, 6, 6)
    until(lambda: store.problem)
    with pytest.raises(DelineateError, match="No space"):
        put(store, 0, "y", 1, 1, 6, 6)
    full = False
    until(lambda: not store.problem)
    put(store, 0, "y", 1, 1, 6, 6)
    assert caplog.text.count("not saved") == 1


def test_a_mark_that_is_not_on_the_disk_is_none(store, monkeypatch):
    monkeypatch.setattr(store._journal, "append", lambda _: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        store.review(0, True)
    assert not store.entries()[0].reviewed


def test_damaged_lines_of_the_journal_are_left_out(pictures, opened, caplog, monkeypatch):
    monkeypatch.setattr(module, "DELAY", 60)
    store = opened(pictures)
    store.add_class("cell")
    put(store, 0, "x", 1, 1, 6, 6)
    put(store, 1, "x", 1, 1, 6, 6)
    kill(store)
    journal = pictures / ".delineate" / "journal.jsonl"
    lines = journal.read_bytes().splitlines()
    damaged = json.loads(lines[-1])
    damaged["items"][0]["counts"] = "###"
    journal.write_bytes(b"\n".join([*lines[:-1], json.dumps(damaged).encode(), b"{}}", b""]))
    again = opened(pictures)
    assert [entry.objects for entry in again.entries()] == [1, 0, 0]
    assert caplog.text.count("is damaged") == 2


def test_pipes_that_are_named_like_pictures_are_no_pictures(pictures, opened):
    os.mkfifo(pictures / "pipe.png")
    assert [entry.name for entry in opened(pictures).entries()] == ["a.png", "b.png", "deep/c.png"]


def test_a_folder_that_cannot_be_written_says_so(pictures, opened, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", refused)  # whoever runs the tests may be allowed everything
    with pytest.raises(FormatError, match="folder must be writable, got: Permission denied"):
        opened(pictures)
    monkeypatch.undo()
    (pictures / ".delineate").write_text("a file")
    with pytest.raises(FormatError, match="folder must be writable"):
        opened(pictures)


def test_only_one_server_has_the_folder(store, pictures, opened):
    with pytest.raises(Busy, match="another `delineate annotate`"):
        opened(pictures)
    store.close()
    opened(pictures)


def test_a_file_that_somebody_else_wrote_is_not_overwritten(store, pictures, opened):
    put(store, 0, "x", 1, 1, 6, 6)
    store.save()
    other = Record(pictures / "b.png", (20, 30), Instances.of(Masks.from_boxes([[0, 0, 4, 4]], (20, 30))), 9)
    coco.write(Dataset([other], ["cell"]), pictures / "annotations.json")
    os.utime(pictures / "annotations.json", (1, 1))
    put(store, 0, "y", 2, 2, 6, 6)
    with pytest.raises(DelineateError, match="changed by another program"):
        store.save()
    store._try_save()
    with pytest.raises(DelineateError, match="changed by another program"):
        put(store, 0, "z", 2, 2, 6, 6)
    kill(store)
    again = opened(pictures)  # both are there
    assert [entry.objects for entry in again.entries()] == [2, 1, 0]
    again.save()
    assert len(coco.read(pictures / "annotations.json")) == 2


def test_what_the_file_knew_stays(pictures, opened):
    extras = {"annotation_id": [5], "attributes": ['{"by":"Ann"}']}
    known = Instances.of(Masks.from_boxes([[0, 0, 4, 4]], (20, 30)), crowd=[True], ids=[3], extras=extras)
    outside = Record(pictures.parent / "else.png", (9, 9), Instances.empty((9, 9)), 8, {"camera": 2})
    info = {"info": {"year": 2026}, "categories": [{"colour": "red"}]}
    records = [Record(pictures / "a.png", (20, 30), known, 4, {"camera": 1}), outside]
    coco.write(Dataset(records, ["cell"], info), pictures / "annotations.json")
    before = coco.read(pictures / "annotations.json")
    store = opened(pictures)
    store.add_class("other")
    put(store, 0, "x", 5, 5, 9, 9)
    put(store, 1, "y", 5, 5, 9, 9)
    store.save()
    after = coco.read(pictures / "annotations.json")
    assert [(r.id, dict(r.attributes)) for r in after] == [(4, {"camera": 1}), (8, {"camera": 2}), (9, {})]
    assert list(after.attributes["categories"]) == [{"colour": "red"}, {}]
    assert after.attributes["info"] == {"year": 2026}
    assert after[0].instances[:1].masks == before[0].instances.masks
    assert after[0].instances.extras["attributes"].tolist() == ['{"by":"Ann"}', "{}"]
    assert after[0].instances.crowd.tolist() == [True, False]
    kept = pictures / ".delineate" / "before" / "annotations.json"
    assert coco.read(kept).classes == ("cell",)


def test_classes(store):
    assert (store.add_class("cell"), store.add_class("dust")) == (0, 1)
    store.rename_class(1, "dirt")
    assert store.classes == ["cell", "dirt"]
    for name in ("", " ", "a\nb", "x" * 101):
        with pytest.raises(ValueError, match="one line"):
            store.add_class(name)
    with pytest.raises(ValueError, match="of its own"):
        store.rename_class(1, "cell")
    with pytest.raises(ValueError, match="of its own"):
        store.rename_class(5, "new")


def test_reviewed_is_remembered(store, pictures, opened):
    store.review(1, True)
    store.close()
    assert json.loads((pictures / ".delineate" / "reviewed.json").read_text()) == ["b.png"]
    assert opened(pictures).entries()[1].reviewed


def test_pictures_that_cannot_be_annotated(pictures, opened):
    (pictures / "a.png").write_bytes(b"no picture")
    wrong = Record(pictures / "b.png", (10, 10), Instances.empty((10, 10)), 1)
    missing = Record(pictures / "gone.png", (10, 10), Instances.empty((10, 10)), 2)
    coco.write(Dataset([wrong, missing], ["cell"]), pictures / "annotations.json")
    store = opened(pictures)
    for number, words in ((0, "picture"), (1, "must be for its size 30 x 20, got 10 x 10"), (3, "gone")):
        with pytest.raises(FormatError, match=words):
            store.sheet(number)
    for number in (4, -1):
        with pytest.raises(KeyError):
            store.sheet(number)
    assert len(store.dataset()) == 2


def test_turned_pictures_are_annotated_upright(tmp_path, opened):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert opened(tmp_path).sheet(0).size == (30, 20)


def test_many_objects(store):
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 15, (10_000, 2))
    masks = counts(Masks.from_boxes(np.hstack([corners, corners + 3]), (20, 30)))
    store.edit(0, store.revision(0), "", [Put(f"o{n}", 0, mask) for n, mask in enumerate(masks)])
    put(store, 0, "last", 0, 0, 2, 2)
    store.save()
    assert store.dataset()[0].count == 10_001


@pytest.mark.parametrize("module", [coco, labelme, yolo])
def test_the_format_of_the_folder_stays(module, tmp_path, pictures, opened, caplog):
    name, root = module.__name__.split(".")[-1], tmp_path / "set"
    known = Instances.of(Masks.from_boxes([[0, 0, 4, 4], [10, 2, 14, 9]], (20, 30)), [0, 1])
    records = [Record(pictures / file, (20, 30), known, n) for n, file in enumerate(("a.png", "b.png"), 1)]
    with caplog.at_level(logging.ERROR):
        if name == "coco":
            root = pictures
            coco.write(Dataset(records, ["cell", "dust"]), root / "mine.json")
        else:
            module.write(Dataset(records, ["cell", "dust"]), root, pictures="copy")
        for turn in range(2):  # once more, on what was written
            store = opened(root)
            assert store.source.format == name
            number = next(n for n, entry in enumerate(store.entries()) if entry.name.endswith("b.png"))
            first = next(iter(store.sheet(number).items))
            put = Put(f"n{turn}", store.add_class(f"new{turn}"), text(turn, 5, 9, 9))
            store.edit(number, store.revision(number), "", [Drop(first), put])
            store.close()
        back = formats.read(root / "mine.json" if name == "coco" else root)
    assert back.classes == ("cell", "dust", "new0", "new1")
    found = {record.name: record.instances for record in back}
    assert found["a.png"].masks == known.masks
    assert sorted(zip(found["b.png"].labels.tolist(), found["b.png"].masks.areas.tolist(), strict=True)) == [
        (2, 36),
        (3, 32),
    ]


@pytest.mark.parametrize("module", [labelme, yolo])
def test_pictures_that_would_share_a_label_file_are_refused(module, tmp_path, pictures, opened, caplog):
    record = Record(pictures / "a.png", (20, 30), Instances.of(Masks.from_boxes([[0, 0, 4, 4]], (20, 30))), 1)
    with caplog.at_level(logging.ERROR):
        module.write(Dataset([record], ["cell"]), tmp_path / "set", pictures="copy")
        known = next((tmp_path / "set").rglob("a.png"))
        Image.open(known).save(known.with_suffix(".bmp"))
        store = opened(tmp_path / "set")
    first, second = (
        next(n for n, name in enumerate(store.names) if name.endswith(end)) for end in (".png", ".bmp")
    )
    assert len(store.sheet(first).items) == 1
    with pytest.raises(FormatError, match="label file of its own"):
        store.sheet(second)


def test_edits_of_a_picture_that_is_away_wait_for_it(store, pictures, opened):
    put(store, 0, "x", 1, 1, 6, 6)
    kill(store)
    (pictures / "a.png").rename(pictures.parent / "away.png")
    without = opened(pictures)
    put(without, 0, "y", 1, 1, 6, 6)
    without.close()
    (pictures.parent / "away.png").rename(pictures / "a.png")
    assert [entry.objects for entry in opened(pictures).entries()] == [1, 1, 0]
