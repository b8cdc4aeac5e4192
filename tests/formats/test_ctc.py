import numpy as np
import pytest
from PIL import Image

from delineate import Dataset, Instances, Masks, Record
from delineate.errors import FormatError
from delineate.formats import ctc, detect
from delineate.image import write_image

SIZE = (5, 7)


def numbers(*values):
    array = np.zeros(SIZE, np.uint16)
    for n, value in enumerate(values):
        array[n] = value
    return array


def put(folder, start, table, *maps):
    folder.mkdir(parents=True, exist_ok=True)
    for n, values in enumerate(maps):
        Image.fromarray(numbers(*values)).save(folder / f"{start}{n:03}.tif")
    (folder / f"{'man' if start == 'man_track' else 'res'}_track.txt").write_text(table)


def test_truth_results_and_pictures(tmp_path):
    put(tmp_path / "01_GT/TRA", "man_track", "1 0 0 0\n300 1 1 1\n", (1,), (300, 300))
    put(tmp_path / "01_RES", "mask", "5 0 1 0\n", (5,), (5,))
    put(tmp_path / "02_RES", "mask", "5 0 0 0\n", (5,))
    (tmp_path / "01").mkdir()
    write_image(tmp_path / "01/t001.tif", np.zeros(SIZE, np.uint8))
    dataset = ctc.read(tmp_path)
    assert detect(tmp_path) == "ctc"
    assert [(r.id, r.video, r.frame) for r in dataset] == [
        ("01/000", "01", 0),
        ("01/001", "01", 1),
        ("02/000", "02", 0),
    ]
    assert [r.instances.ids.tolist() for r in dataset] == [[1], [300], [5]]
    assert [r.instances.extras["parent"].tolist() for r in dataset] == [[0], [1], [0]]
    assert [r.path and r.path.name for r in dataset] == [None, "t001.tif", None]
    for folder, ids in (("01_RES", [5]), ("01_GT/TRA", [1])):
        found = ctc.read(tmp_path / folder)
        assert (found[0].video, found[0].instances.ids.tolist()) == ("01", ids)
        assert found[1].path == tmp_path / "01/t001.tif"


def test_what_is_written(tmp_path, caplog):
    masks = Masks.from_dense(np.stack([numbers(1) > 0, numbers(1, 1) > 0, numbers(0, 0, 1) > 0]))
    parts = [
        Instances.of(masks, ids=[7, 2, 3], extras={"parent": [0, 0, 0]}, crowd=[False, False, True]),
        Instances.of(masks[2:], ids=[9], extras={"parent": [2]}),
    ]
    records = [Record(None, SIZE, part, n, {}, "v", n) for n, part in enumerate(parts)]
    ctc.write(Dataset(records, ["object"]), tmp_path / "a")
    assert "1 cells lose pixels under later ones, or have none; 1 crowds are left out" in caplog.text
    assert (tmp_path / "a/v_GT/TRA/man_track.txt").read_text() == "2 0 0 0\n7 0 0 0\n9 1 1 2\n"
    assert not (tmp_path / "a/classes.json").exists()
    again = ctc.read(tmp_path / "a")
    assert [r.instances.ids.tolist() for r in again] == [[2], [9]]
    assert again[1].instances.extras["parent"].tolist() == [2]


def test_what_cannot_be_written(tmp_path):
    part = Instances.of(Masks.from_dense(numbers(1)[None] > 0), ids=[0])
    with pytest.raises(ValueError, match="must be frames of a video with masks, got 5"):
        ctc.write(Dataset([Record(None, SIZE, part, 5)], ["x"]), tmp_path / "a")
    assert not (tmp_path / "a").exists()
    ctc.write(Dataset([Record(None, SIZE, part, 5, {}, "v", 0)], ["x"]), tmp_path / "a")
    assert ctc.read(tmp_path / "a")[0].instances.ids.tolist() == [1], "0 is the background"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("1 0 0\n", "line 1: line must be: number, first frame, last frame, mother; got '1 0 0'"),
        ("1 3 0 0\n", "line 1: line must be"),
        ("\n1 0 0 0\n1 0 0 0\n", "line 3: number must be unique, got 1 twice"),
        ("2 0 0 0\n", "mask000.tif: cells must be in res_track.txt, got 1"),
    ],
)
def test_tables_that_do_not_fit(tmp_path, table, message):
    put(tmp_path / "01_RES", "mask", table, (1,))
    with pytest.raises(FormatError, match=message):
        ctc.read(tmp_path)


def test_maps_that_do_not_fit(tmp_path):
    put(tmp_path / "01_RES", "mask", "1 0 0 0\n", (1,))
    Image.fromarray(np.zeros((3, 3), np.uint16)).save(tmp_path / "01_RES/mask001.tif")
    with pytest.raises(FormatError, match=r"size must be that of the picture \(5, 7\)"):
        ctc.read(tmp_path)
    with pytest.raises(FormatError, match="must be a folder with 01_GT/TRA/man_track.txt"):
        ctc.read(tmp_path / "none")


def test_shared_files(shared, tmp_path):
    path = shared / "fixtures/formats/ctc_tracking/Fluo-N2DL-HeLa_01_RES"
    dataset = ctc.read(path)
    assert detect(path) == "ctc"
    assert (len(dataset), dataset[0].size, dataset[0].video) == (92, (700, 1100), "Fluo-N2DL-HeLa_01")
    with Image.open(path / "mask005.tif") as picture:
        array = np.asarray(picture)
    assert dataset[5].instances.ids.tolist() == np.unique(array)[1:].tolist()
    assert dataset[5].instances.masks.areas.sum() == (array > 0).sum()
    mothers = {int(line.split()[3]) for line in (path / "res_track.txt").read_text().splitlines()}
    assert {int(p) for r in dataset for p in r.instances.extras["parent"]} == mothers
    ctc.write(dataset[:9], tmp_path / "a")
    again = ctc.read(tmp_path / "a")
    assert [r.instances.masks for r in again] == [r.instances.masks for r in dataset[:9]]
