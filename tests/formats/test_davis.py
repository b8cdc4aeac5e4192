import numpy as np
import pytest
from PIL import Image

from delineate import Dataset, Instances, Masks, Record
from delineate.errors import FormatError
from delineate.formats import davis, detect
from delineate.image import write_image

SIZE = (5, 7)


def put(path, array, palette=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.asarray(array, np.uint8))
    if palette:
        picture.putpalette(list(range(256)) * 3)
    picture.save(path)


def numbers(*values):
    array = np.zeros(SIZE, np.uint8)
    for n, value in enumerate(values):
        array[n] = value
    return array


def test_davis_2017(tmp_path):
    for name, values in (("00000", (1, 2)), ("00002", (2, 255))):
        put(tmp_path / f"Annotations/480p/judo/{name}.png", numbers(*values))
        (tmp_path / "JPEGImages/480p/judo").mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / f"JPEGImages/480p/judo/{name}.jpg", np.zeros((*SIZE, 3), np.uint8))
    (tmp_path / "ImageSets/2016").mkdir(parents=True)
    (tmp_path / "ImageSets/2016/train.txt").write_text("judo\n")
    (tmp_path / "ImageSets/2017").mkdir()
    (tmp_path / "ImageSets/2017/val.txt").write_text("judo\nother\n")
    dataset = davis.read(tmp_path)
    assert detect(tmp_path) == "davis"
    assert dataset.classes == ("object",)
    assert [(r.id, r.video, r.frame, r.split, r.path.name) for r in dataset] == [
        ("judo/00000", "judo", 0, "val", "00000.jpg"),
        ("judo/00002", "judo", 2, "val", "00002.jpg"),
    ]
    assert [r.instances.ids.tolist() for r in dataset] == [[1, 2], [2, 255]]
    assert [None if r.instances.crowd is None else r.instances.crowd.tolist() for r in dataset] == [
        None,
        [False, True],
    ]


def test_davis_2016_has_one_object(tmp_path):
    put(tmp_path / "Annotations/480p/bear/00000.png", numbers(255, 255), palette=False)
    put(tmp_path / "Annotations/480p/bear/00001.png", numbers(0), palette=False)
    first, second = davis.read(tmp_path)
    assert first.instances.ids.tolist() == [1]
    assert first.instances.crowd is None
    assert len(second.instances) == 0
    assert first.path is None


def test_folders_of_results_and_single_videos(tmp_path):
    put(tmp_path / "a/b.png", numbers(1))
    put(tmp_path / "a/c.png", numbers(3))
    put(tmp_path / "d/00010.png", numbers(1))
    assert [(r.video, r.frame) for r in davis.read(tmp_path)] == [("a", 0), ("a", 1), ("d", 10)]
    assert [(r.video, r.frame) for r in davis.read(tmp_path / "d")] == [("d", 10)]
    assert davis.sniff(tmp_path / "d")
    assert not davis.sniff(tmp_path / "a")
    assert not davis.sniff(tmp_path / "a/b.png")


def video(*parts):
    return Dataset(
        [Record(None, SIZE, part, n, {}, "v", n, "val") for n, part in enumerate(parts)], ["x", "y"]
    )


def bands(*rows):
    masks = np.zeros((len(rows), *SIZE), bool)
    for mask, row in zip(masks, rows, strict=True):
        mask[row] = True
    return Masks.from_dense(masks)


def test_what_is_written(tmp_path, caplog):
    parts = [
        Instances.of(bands(0, [0, 1], 4), [0, 1, 0], ids=[7, 2, 9], crowd=[False, False, True]),
        Instances.empty(SIZE),
        Instances.of(bands(3), [1]),
    ]
    davis.write(video(*parts), tmp_path / "a")
    assert "1 objects lose pixels under later ones" in caplog.text
    with Image.open(tmp_path / "a/Annotations/v/00000.png") as picture:
        assert picture.mode == "P"
        assert np.asarray(picture)[:, 0].tolist() == [2, 2, 0, 0, 255]
        colours = picture.getpalette()
    assert [colours[3 * n : 3 * n + 3] for n in (0, 1, 2, 3, 8, 22)] == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [64, 0, 0], [0, 192, 128],
    ]  # fmt: skip
    assert (tmp_path / "a/ImageSets/val.txt").read_text() == "v\n"
    again = davis.read(tmp_path / "a")
    assert again.classes == ("x", "y")
    assert [r.instances.ids.tolist() for r in again] == [[2, 255], [], [10]]
    assert [r.instances.labels.tolist() for r in again] == [[1, 0], [], [1]]
    assert [r.split for r in again] == ["val"] * 3


def test_what_cannot_be_written(tmp_path):
    part = Instances.of(bands(1), ids=[1])
    for dataset, message in (
        (Dataset([Record(None, SIZE, part, 5)], ["x"]), "must be frames of a video with masks, got 5"),
        (video(part.replace(masks=None)), "with masks, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            davis.write(dataset, tmp_path / "a")
        assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("ids", "expected"), [([0, 1], [2, 1]), ([255, 254], [1, 254]), ([-4, 2**40], [1, 2])]
)
def test_ids_that_are_no_numbers_of_a_map_get_others(tmp_path, caplog, ids, expected):
    dense = np.zeros((2, *SIZE), bool)
    dense[0, 0, 0] = dense[1, 1, 1] = True
    davis.write(video(Instances.of(Masks.from_dense(dense), ids=ids)), tmp_path / "a")
    found = davis.read(tmp_path / "a")[0].instances
    assert sorted(found.ids.tolist()) == sorted(expected)
    assert "track ids are not 1 to 254; they get other numbers" in caplog.text
    many = Masks.from_counts(np.tile([0, 1, SIZE[0] * SIZE[1] - 1], 255), np.arange(256) * 3, SIZE)
    with pytest.raises(FormatError, match="tracks must be at most 254, got 255"):
        davis.write(video(Instances.of(many, ids=np.arange(255))), tmp_path / "b")


def test_what_does_not_fit(tmp_path):
    with pytest.raises(FormatError, match="must be a folder with Annotations"):
        davis.read(tmp_path / "none")
    put(tmp_path / "v/00000.png", numbers(1))
    put(tmp_path / "v/00001.png", np.zeros((4, 4)))
    with pytest.raises(FormatError, match=r"size must be that of the picture \(5, 7\)"):
        davis.read(tmp_path)
    Image.fromarray(np.full(SIZE, 700, np.uint16)).save(tmp_path / "v/00001.png")
    with pytest.raises(FormatError, match="map must have 8 bits, got uint16"):
        davis.read(tmp_path)
    (tmp_path / "v/00001.png").write_bytes(b"no picture")
    with pytest.raises(FormatError, match="00001.png"):
        davis.read(tmp_path)


def test_shared_files(shared, tmp_path):
    path = shared / "fixtures/formats/davis/osvos_judo"
    dataset = davis.read(path)
    assert detect(path) == "davis"
    assert (len(dataset), dataset[0].size) == (34, (480, 854))
    assert set(np.concatenate([r.instances.ids for r in dataset]).tolist()) == {1, 2}
    with Image.open(path / "00003.png") as picture:
        array = np.asarray(picture)
    assert np.array_equal(dataset[3].instances.masks.to_dense(), [array == 1, array == 2])
    davis.write(dataset, tmp_path / "a")
    again = davis.read(tmp_path / "a")
    assert [one.instances == other.instances for one, other in zip(dataset, again, strict=True)] == [
        True
    ] * 34
    chair = davis.read(shared / "data/video_chair")
    assert (len(chair), chair[59].frame, chair[0].path.name) == (60, 59, "frame_000000.jpg")
    assert chair[59].path is None or chair[59].path.is_file()
    traffic = davis.read(shared / "data/video_traffic5")
    assert [r.frame for r in traffic] == [100, 101, 102, 103, 104]
