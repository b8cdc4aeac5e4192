import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nasty import nasty
from PIL import Image

from delineate import formats
from delineate.curate.certificate import compare
from delineate.curate.convert import convert, read, side_file
from delineate.dataset import Dataset, Record
from delineate.errors import DelineateError, FormatError
from delineate.formats import coco
from delineate.instances import Instances
from delineate.masks import Masks

SIZE = (6, 7)


@pytest.fixture
def source(tmp_path):
    """Two pictures of one name in different folders; the second without objects."""
    dense = np.zeros((2, *SIZE), bool)
    dense[0, 0:5, 0:5] = dense[1, 3:6, 5:7] = True
    dense[0, 2, 2] = False
    records = []
    for id_, folder, instances in (
        (4, "x", Instances.of(Masks.from_dense(dense))),
        (9, "y", Instances.empty(SIZE)),
    ):
        path = tmp_path / "in" / folder / "ä.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (SIZE[1], SIZE[0]), (id_, 0, 0)).save(path)
        records.append(Record(path, SIZE, instances, id_))
    coco.write(Dataset(records, ["cell"], {"info": {"year": 2026}}), tmp_path / "in" / "a.json")
    return tmp_path / "in" / "a.json"


def test_nothing_is_lost_between_files_of_one_format(source, tmp_path):
    done = convert(source, tmp_path / "out" / "b.json", "coco")
    assert (done.source, done.target, done.lost, done.side) == ("coco", "coco", (), None)
    assert done.certificate.clean
    assert done.certificate.exact == 2
    back = coco.read(tmp_path / "out" / "b.json")
    assert back == coco.read(source)
    assert [record.path.is_file() for record in back] == [True, True], "left where they are"


@pytest.mark.parametrize("how", ["copy", "link"])
def test_pictures_come_along(source, tmp_path, how):
    convert(source, tmp_path / "out" / "b.json", "coco", pictures=how)
    placed = [record.path for record in coco.read(tmp_path / "out" / "b.json")]
    assert [path.relative_to(tmp_path).as_posix() for path in placed] == [
        "out/images/x/ä.png",
        "out/images/y/ä.png",
    ]
    assert [path.is_symlink() for path in placed] == [how == "link"] * 2
    assert [Image.open(path).getpixel((0, 0))[0] for path in placed] == [4, 9]


@pytest.fixture
def poor(monkeypatch):
    """COCO as a format that keeps neither holes nor empty pictures nor ids."""
    monkeypatch.setattr(coco, "KEEPS", coco.KEEPS - {"holes", "empty pictures", "picture ids"})


def test_a_loss_is_said_before_anything_is_written(source, tmp_path, poor):
    with pytest.raises(DelineateError, match=r"holes in masks: 1 \(first: ä.png, object 1\)") as caught:
        convert(source, tmp_path / "out" / "b.json", "coco")
    assert "the ids of pictures" not in str(caught.value), "they are bookkeeping"
    assert not (tmp_path / "out").exists()


def test_the_way_back_is_exact(source, tmp_path, poor):
    done = convert(source, tmp_path / "b.json", "coco", allow_loss=True)
    assert done.side == side_file(tmp_path / "b.json") == tmp_path / "b.delineate.json"
    assert {loss.kind for loss in done.lost} == {"holes", "empty pictures", "picture ids"}
    name, back = read(tmp_path / "b.json")
    assert name == "coco"
    assert back == coco.read(source)
    assert back.attributes == {"info": {"year": 2026}}


def test_a_side_file_of_another_state_is_not_used(source, tmp_path, poor, caplog):
    convert(source, tmp_path / "b.json", "coco", allow_loss=True)
    content = json.loads((tmp_path / "b.json").read_text("utf-8"))
    content["annotations"].pop()
    (tmp_path / "b.json").write_text(json.dumps(content), "utf-8")
    assert sum(len(record.instances) for record in read(tmp_path / "b.json")[1]) == 1
    assert "was edited since b.delineate.json was written" in caplog.text


def test_the_source_is_never_written_over(source):
    before = source.read_bytes()
    with pytest.raises(FormatError, match="target must be another file"):
        convert(source, source, "coco")
    assert source.read_bytes() == before


def test_unknown_formats_are_refused(source, tmp_path):
    with pytest.raises(ValueError, match="name must be one of"):
        convert(source, tmp_path / "b", "cocoo")


@pytest.mark.parametrize("name", formats.names())
def test_every_format_gives_back_all_through_its_side_file(name, tmp_path):
    (tmp_path / "pictures").mkdir()
    dataset = nasty(tmp_path / "pictures", formats.KEEPABLE.keys())
    source = tmp_path / "source.json"
    coco.write(dataset, source)
    target = tmp_path / f"out{formats.get(name).SUFFIX}"
    there = convert(source, target, name, allow_loss=True)
    assert {loss.kind for loss in there.lost} == formats.KEEPABLE.keys() - formats.get(name).KEEPS
    assert there.certificate.counts == {}, "what is lost explains all that differs"
    back = convert(target, tmp_path / "back.json", "coco")
    assert (back.source, back.lost, back.side) == (name, (), None)
    assert compare(coco.read(source), coco.read(tmp_path / "back.json")).counts == {}


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Two COCO files of polygons with 400 corners: of 20 pictures, and of 150 with 12 MB."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("large")
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles)], 1)
    shapes = [ring * rng.uniform(15, 25, (400, 1)) + middle for middle in rng.uniform(30, 170, (9, 2))]
    texts = [json.dumps([shape.ravel().round(6).tolist()]) for shape in shapes]
    for name, pictures in (("few", 20), ("all", 150)):
        images = [{"id": n, "height": 200, "width": 200} for n in range(pictures)]
        head = json.dumps({"images": images, "categories": [{"id": 1, "name": "cell"}]})
        entries = (
            f'{{"id": {9 * n + k + 1}, "image_id": {n}, "category_id": 1, "area": 9, "segmentation": {text}}}'
            for n in range(pictures)
            for k, text in enumerate(texts)
        )
        (folder / f"{name}.json").write_text(f'{head[:-1]}, "annotations": [{",".join(entries)}]}}')
    return folder


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak is read from /proc")
@pytest.mark.parametrize("job", ["check(path)", 'convert(path, path.with_name("made.json"), "coco")'])
def test_large_files_are_never_whole_in_memory(large, job):
    program = f"""
import re, sys
from pathlib import Path
from delineate import table
from delineate.curate import _check_coco
from delineate.curate.check import check
from delineate.curate.convert import convert
table.Recent.LIMIT = 1 << 20
_check_coco._BLOCK = 1 << 18
path = Path(sys.argv[1])
{job}
print(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""
    peaks = []
    for name in ("few.json", "all.json"):
        command = [sys.executable, "-c", program, str(large / name)]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) * 1024)
    assert (large / "all.json").stat().st_size > 12 * 10**6
    assert peaks[1] - peaks[0] < 4 << 20
