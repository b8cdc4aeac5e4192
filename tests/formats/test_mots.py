import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from delineate import Dataset, Instances, Masks, Record
from delineate.errors import FormatError
from delineate.formats import detect, mots
from delineate.image import write_image
from delineate.metrics import evaluate_tracking

SIZE = (5, 7)
MASK = Masks.from_dense(np.eye(5, 7, dtype=bool)[None])
RUNS = MASK.to_rle()[0]["counts"]
REST = Masks.from_dense(~np.eye(5, 7, dtype=bool)[None]).to_rle()[0]["counts"]


def line(frame=0, id_=1003, kind=1, height=5, width=7, runs=RUNS):
    return f"{frame} {id_} {kind} {height} {width} {runs}\n"


def file(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines), "utf-8")
    return path


def said(dataset):
    return [(record.id, record.video, record.frame, record.instances.ids.tolist()) for record in dataset]


def test_one_file(tmp_path):
    path = file(
        tmp_path / "0002.txt", line(0), line(2, 2001, 2), line(2, 10000, 10, runs=REST), line(2, 1003)
    )
    dataset = mots.read(path)
    assert dataset.classes == ("car", "pedestrian", "ignore")
    assert said(dataset) == [
        ("0002/000000", "0002", 0, [1003]),
        ("0002/000001", "0002", 1, []),
        ("0002/000002", "0002", 2, [2001, 1003, 10000]),
    ]
    part = dataset[2].instances
    assert part.labels.tolist() == [1, 0, 2]
    assert part.crowd.tolist() == [False, False, True]
    assert part.masks.areas.tolist() == [5, 5, 30]
    assert detect(path) == "mots"


def test_frames_from_1_and_folders(tmp_path):
    file(tmp_path / "a/gt/gt.txt", line(1), line(3))
    file(tmp_path / "b/gt/gt.txt", line(2))
    (tmp_path / "a/img1").mkdir()
    write_image(tmp_path / "a/img1/000004.png", np.zeros((*SIZE, 3), np.uint8))
    dataset = mots.read(tmp_path)
    assert [(record.video, record.frame) for record in dataset] == [("a", n) for n in range(4)] + [
        ("b", 0),
        ("b", 1),
    ]
    assert dataset[3].path == tmp_path / "a/img1/000004.png"
    assert mots.read(tmp_path / "b/gt/gt.txt")[0].video == "b"
    assert mots.read(tmp_path / "b")[0].video == "b"
    assert detect(tmp_path) == "mots"


def test_pictures_and_sequence_map_say_how_many_frames_there_are(tmp_path):
    file(tmp_path / "label_02/0002.txt", line(1))
    file(tmp_path / "label_02/0004.txt")
    write_image(tmp_path / "m.png", np.zeros((*SIZE, 3), np.uint8))
    (tmp_path / "image_02/0004").mkdir(parents=True)
    (tmp_path / "m.png").rename(tmp_path / "image_02/0004/000002.png")
    file(tmp_path / "seqmap.txt", "0002 empty 000000 000003\n")
    dataset = mots.read(tmp_path)
    assert [record.id for record in dataset] == [f"0002/{n:06}" for n in range(4)] + [
        f"0004/{n:06}" for n in range(3)
    ]
    assert dataset[4].size == SIZE
    file(tmp_path / "label_02/0005.txt")
    assert len(mots.read(tmp_path)) == 7
    file(tmp_path / "seqmap.txt", "0005 empty 000000 000003\n")
    with pytest.raises(
        FormatError, match="video must have an object or a picture, for its size, got neither"
    ):
        mots.read(tmp_path)


def test_ids_and_crowds_are_written(tmp_path):
    masks = Masks.concat([MASK, MASK, MASK])
    parts = [
        Instances.of(masks, [0, 1, 0], ids=[7, 2005, 3], crowd=[False, False, True]),
        Instances.of(masks[:2], [0, 2]),
    ]
    records = [Record(None, SIZE, part, n, {}, "v", n) for n, part in enumerate(parts)]
    classes = [f"c{n}" for n in range(12)]
    mots.write(Dataset(records, classes), tmp_path / "a")
    assert (tmp_path / "a/instances_txt/v.txt").read_text() == (
        line(0, 7) + line(0, 2005, 2) + line(0, 10000, 10) + line(1, 1000, 1) + line(1, 3000, 3)
    )
    assert (tmp_path / "a/labels.txt").read_text().split() == classes
    again = mots.read(tmp_path / "a")
    assert again.classes == (*classes, "ignore")
    assert again[0].instances.labels.tolist() == [0, 1, 12]
    far = Dataset([Record(None, SIZE, Instances.of(MASK, [9], ids=[11000]), 1, {}, "v", 0)], classes)
    mots.write(far, tmp_path / "b")  # class 10 is never given away
    assert (tmp_path / "b/instances_txt/v.txt").read_text() == line(0, 11000, 11)
    assert mots.read(tmp_path / "b")[0].instances.labels.tolist() == [9]


def test_frames_are_kept_where_a_video_begins_late(tmp_path):
    records = [Record(None, SIZE, Instances.of(MASK, ids=[1]), n, {}, "v", n) for n in (5, 7)]
    mots.write(Dataset(records, ["a"]), tmp_path / "a")
    assert [(record.frame, len(record.instances)) for record in mots.read(tmp_path / "a")] == [
        (5, 1),
        (6, 0),
        (7, 1),
    ]


def test_what_cannot_be_written(tmp_path):
    part = Instances.of(MASK, ids=[1])
    for dataset, error, message in (
        (
            Dataset([Record(None, SIZE, part, 5)], ["a"]),
            ValueError,
            "must be frames of a video with masks, got 5",
        ),
        (
            Dataset([Record(None, SIZE, part.replace(masks=None), 5, {}, "v", 0)], ["a"]),
            ValueError,
            "with masks, got 5",
        ),
        (
            Dataset([Record(None, SIZE, part, 5, {}, "v", 0)], ["a\nb"]),
            ValueError,
            "must be names of one line",
        ),
        (
            Dataset([Record(None, SIZE, part, 5, {}, "../v", 0)], ["a"]),
            FormatError,
            "fit for a folder's name",
        ),
        (Dataset([Record(None, SIZE, part.replace(ids=[-1]), 5, {}, "v", 0)], ["a"]), ValueError, "got -1"),
        (
            Dataset([Record(None, SIZE, Instances.concat([part, part]), 5, {}, "v", 0)], ["a"]),
            ValueError,
            "ids must be unique in a frame, got 1 twice",
        ),
    ):
        with pytest.raises(error, match=message):
            mots.write(dataset, tmp_path / "a")
        assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["0 1003 1 5 7\n"], "line 1: line must be: frame id class height width runs"),
        (["\n", line().replace(" ", "  ")], "line 2: line must be"),
        ([line(height=0)], "line 1: height and width must be whole numbers of 1 to"),
        ([line(height=2**24, width=2**24)], r"height \* width must be at most"),
        ([line(), line(1, width=8)], r"line 2: height and width must be \(5, 7\) as before, got \(5, 8\)"),
        ([line(), line()], "line 2: id must be unique in its frame, got 1003 twice"),
        ([line(kind=0)], "class must be at least 1"),
        ([line(kind=3)], r"class must be one of 2 \(car, pedestrian\), got 3"),
        ([line(runs="0")], "line 1: "),
        ([line(runs="\x7f")], "line 1: "),
        ([line(0), line(999_999_999)], "frames must be at most 1000000, got up to 999999999"),
        (["9" * 10 + line()], "line must be"),
    ],
)
def test_lines_that_do_not_fit(tmp_path, lines, message):
    path = file(tmp_path / "a.txt", *lines)
    with pytest.raises(FormatError, match=message) as error:
        mots.read(path)
    assert error.value.path == path


def test_other_files_that_do_not_fit(tmp_path):
    file(tmp_path / "a.txt", line())
    file(tmp_path / "seqmap.txt", "a empty 5 1\n")
    with pytest.raises(FormatError, match="line 1: line must be: video empty first last"):
        mots.read(tmp_path)
    (tmp_path / "seqmap.txt").write_bytes(b"\xff")
    with pytest.raises(FormatError, match="file must be readable text"):
        mots.read(tmp_path)
    with pytest.raises(FormatError, match="must be a text file of tracked masks"):
        mots.read(tmp_path / "none")


def test_results(tmp_path):
    truth = file(
        tmp_path / "truth/instances_txt/0002.txt", line(0), line(1), line(1, 10000, 10, runs=REST)
    ).parents[1]
    found = file(tmp_path / "found/0002.txt", line(0, 2001, 1)).parent
    part = mots.read_results(found, truth)
    assert part.classes == ("car", "pedestrian", "ignore")
    assert said(part) == [("0002/000000", "0002", 0, [2001]), ("0002/000001", "0002", 1, [])]
    assert evaluate_tracking(mots.read(truth), part).all.as_dict()["tp"] == 1
    assert said(mots.read_results(found / "0002.txt", truth / "instances_txt/0002.txt")) == said(part)
    for lines, message in (
        ([line(2)], "line 1: frame must be one of the truth, got frame 2 of video '0002'"),
        ([line(0, width=8)], r"size must be that of the truth \(5, 7\), got \(5, 8\)"),
        ([line(0, kind=7)], "class must be known to the truth, got 7"),
    ):
        file(found / "0002.txt", *lines)
        with pytest.raises(FormatError, match=message):
            mots.read_results(found, truth)
    (found / "0002.txt").unlink()
    file(found / "0003.txt", line(0))
    with pytest.raises(FormatError, match="got frame 0 of video '0003'"):
        mots.read_results(found, truth)


def test_pictures_of_ids(tmp_path):
    for number, value in ((3, 1001), (4, 10000)):
        (tmp_path / "instances/0002").mkdir(parents=True, exist_ok=True)
        array = np.where(MASK.to_dense()[0], value, 2004 if number == 4 else 0).astype(np.uint16)
        Image.fromarray(array).save(tmp_path / f"instances/0002/{number:06}.png")
    dataset = mots.read(tmp_path)
    assert detect(tmp_path) == "mots"
    assert [record.frame for record in dataset] == [0, 1, 2, 3]
    assert dataset[2].instances.ids.tolist() == [1001]
    assert dataset[2].instances.masks == MASK
    assert dataset[3].instances.crowd.tolist() == [False, True]
    assert detect(tmp_path / "instances") == "mots", "its folder named alone"
    assert mots.read(tmp_path / "instances") == dataset
    Image.fromarray(np.full(SIZE, 999, np.uint16)).save(tmp_path / "instances/0002/000005.png")
    with pytest.raises(FormatError, match=r"ids must be class \* 1000 \+ number, got 999"):
        mots.read(tmp_path)


def test_shared_files(shared):
    path = shared / "fixtures/formats/mots/datumaro/train"
    dataset = mots.read(path)
    assert detect(path) == "mots"
    assert dataset.classes == ("a", "b", "c", "d")
    assert [(r.frame, r.path.name) for r in dataset] == [(0, "1.jpg"), (1, "2.jpg")]
    assert [r.instances.ids.tolist() for r in dataset] == [[3002, 4001, 4003], [4002]]
    assert [r.instances.labels.tolist() for r in dataset] == [[2, 3, 3], [3]]


def test_sniff(tmp_path):
    assert mots.sniff(file(tmp_path / "a.txt", line()))
    assert not mots.sniff(file(tmp_path / "a.txt", "0 0.5 0.5 0.1 0.1\n"))
    assert not mots.sniff(file(tmp_path / "a.txt"))
    assert not mots.sniff(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    assert not mots.sniff(tmp_path)


@settings(max_examples=100)
@given(
    st.lists(st.text("0123 7\n;" + RUNS, max_size=30), max_size=4), st.integers(0, 40), st.text(max_size=3)
)
def test_any_text_is_read_or_refused(tmp_path_factory, texts, place, change):
    path = tmp_path_factory.mktemp("fuzz") / "a.txt"
    good = line() + line(1)
    path.write_text(good[:place] + change + good[place:] + "".join(texts), "utf-8")
    with contextlib.suppress(FormatError):
        mots.read(path)
