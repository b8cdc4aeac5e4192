import json
import logging

import numpy as np
import pytest
from PIL import Image
from skimage import measure

from delineate import formats
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import label_maps
from delineate.image import write_image
from delineate.instances import Instances
from delineate.masks import Masks

SIZE = (20, 30)
BLOBS = measure.label(np.random.default_rng(3).random(SIZE) < 0.3).astype(np.uint16)


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.zeros((*SIZE, 3), np.uint8))


def save(path, array=BLOBS):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def expected(array=BLOBS):
    """The masks, as scikit-image finds them in the same map."""
    regions = measure.regionprops(array.astype(np.int64))
    dense = np.zeros((len(regions), *array.shape), bool)
    for n, region in enumerate(regions):
        dense[n][tuple(region.coords.T)] = True
    return Masks.from_dense(dense)


@pytest.mark.parametrize(
    ("image", "mask", "split"),
    [
        ("images/a.png", "masks/a.png", None),
        ("images/a.b.png", "labels/a.b.tif", None),
        ("images/deep/a.png", "label_maps/deep/a_masks.png", None),
        ("train/images/a.png", "train/masks/a.png", "train"),
        ("a.png", "a_cp_masks.tif", None),
        ("ä 1.png", "ä 1_masks.png", None),
        ("test/a.png", "test/a_labels.png", "test"),
    ],
)
def test_ways_of_naming(tmp_path, image, mask, split):
    picture(tmp_path / image)
    save(tmp_path / mask)
    assert formats.detect(tmp_path) == "label_maps"
    [record] = label_maps.read(tmp_path)
    assert record.path == tmp_path / image
    assert record.split == split
    assert record.instances.masks == expected()
    assert record.instances.labels.tolist() == [0] * len(expected())
    assert label_maps.read(tmp_path).classes == ("object",)


@pytest.mark.parametrize("folder", ["labels", "train/masks"])
def test_maps_alone_say_where_their_pictures_would_be(tmp_path, folder):
    save(tmp_path / folder / "deep/a.tif")
    assert formats.detect(tmp_path) == "label_maps"
    [record] = label_maps.read(tmp_path)
    assert record.path == (tmp_path / folder).parent / "images/deep/a.png"
    assert record.instances.masks == expected()
    write_image(tmp_path / folder / "b.png", np.arange(20 * 30 * 3, dtype=np.uint8).reshape(*SIZE, 3))
    (tmp_path / folder / "deep/a.tif").unlink()
    assert not label_maps.sniff(tmp_path), "pictures of colours are no maps"


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32])
def test_all_depths_and_gaps_between_numbers(tmp_path, kind):
    array = (BLOBS % 7).astype(kind) * 20 if kind == np.uint8 else BLOBS.astype(kind) * 300
    picture(tmp_path / "images/a.png")
    save(tmp_path / "masks/a.tif", array)
    assert label_maps.read(tmp_path)[0].instances.masks == expected(array)


def test_pictures_without_maps_are_left_out_with_a_notice(tmp_path, caplog):
    picture(tmp_path / "images/a.png")
    picture(tmp_path / "images/b.png")
    save(tmp_path / "masks/b.png")
    with caplog.at_level(logging.WARNING, "delineate"):
        [record] = label_maps.read(tmp_path)
    assert record.path.name == "b.png"
    assert "1 of 2 pictures have no map" in caplog.text


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"a.png": BLOBS, "b.png": BLOBS}, r"b.png: map must have its picture b in .*images"),
        ({"a.png": BLOBS, "a.tif": BLOBS}, r"there must be one map for each picture, got a.png as well"),
        (
            {"a.png": BLOBS[:5]},
            r"size must be that of the picture \(20, 30\) .*, got \(5, 30\)",
        ),
        ({"a.png": np.dstack([BLOBS, BLOBS * 2, BLOBS]).astype(np.uint8)}, "got colours"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, masks, message):
    picture(tmp_path / "images/a.png")
    for name, array in masks.items():
        save(tmp_path / "masks" / name, array)
    with pytest.raises(FormatError, match=message):
        label_maps.read(tmp_path)


def dataset(folder, count=3, split=None):
    dense = np.zeros((count, *SIZE), bool)
    for n in range(count):
        dense[n, n : n + 4, n : n + 4] = True
    picture(folder / "pictures/a.png")
    instances = Instances.of(Masks.from_dense(dense), np.arange(count) % 2)
    return Dataset([Record(folder / "pictures/a.png", SIZE, instances, 5, split=split)], ["cell", "dust"])


def test_what_is_written(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "delineate"):
        label_maps.write(dataset(tmp_path, split="val"), tmp_path / "out", pictures="copy")
    assert "2 objects lose pixels under later ones" in caplog.text
    array = np.asarray(Image.open(tmp_path / "out/val/masks/a.png"))
    assert array.dtype == np.uint16
    assert np.bincount(array.ravel()).tolist() == [600 - 30, 7, 7, 16]
    assert json.loads((tmp_path / "out/classes.json").read_text()) == {
        "classes": ["cell", "dust"],
        "objects": {"val/a": {"1": 0, "2": 1, "3": 0}},
    }
    assert label_maps.read(tmp_path / "out")[0].instances.labels.tolist() == [0, 1, 0]


def test_more_than_65535_objects_need_32_bits(tmp_path):
    size = (300, 300)
    masks = Masks.from_counts(
        np.array([[n, 1, 300 * 300 - n - 1] for n in range(70_000)]).ravel(), np.arange(70_001) * 3, size
    )
    write_image(tmp_path / "a.png", np.zeros((*size, 3), np.uint8))
    record = Record(tmp_path / "a.png", size, Instances.of(masks), 1)
    label_maps.write(Dataset([record], ["object"]), tmp_path / "out")
    assert not (tmp_path / "out/classes.json").exists()
    assert label_maps.read(tmp_path / "out")[0].instances.masks == masks


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("{", "must be a table of classes"),
        ('{"classes": 3}', "must be a table of classes"),
        ('{"classes": ["a", "b"]}', "objects: a: 1: class must be a position in classes, below 2. Add it"),
        ('{"classes": ["a", "b"], "objects": {"a": {"1": 2}}}', "objects: a: 1: class must be a position"),
        ('{"classes": ["a"], "objects": {"a": {"1": -1}}}', "objects: a: 1: class must be a position"),
        ('{"classes": [], "objects": {"a": {"1": 1e99}}}', "must be a table of classes"),
        (
            '{"classes": ["a"], "objects": {"a": {"1": 9999999999999}}}',
            "objects: classes must be positions, got a number beyond 32 bits",
        ),
    ],
)
def test_a_bad_table_of_classes_is_named(tmp_path, table, message):
    picture(tmp_path / "images/a.png")
    save(tmp_path / "masks/a.png")
    (tmp_path / "classes.json").write_text(table)
    with pytest.raises(FormatError, match=f"classes.json: {message}"):
        label_maps.read(tmp_path)


def test_boxes_alone_cannot_be_written(tmp_path):
    record = Record(None, SIZE, Instances(SIZE, [[0, 0, 1, 1]], [0]), 1)
    with pytest.raises(ValueError, match="instances must have masks, got boxes only in 1"):
        label_maps.write(Dataset([record], ["cell"]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_splits_named_as_the_folders(tmp_path):
    with pytest.raises(FormatError, match="split must be fit"):
        label_maps.write(dataset(tmp_path, split="masks"), tmp_path / "out")


def test_real_maps_of_a_tracker(shared, tmp_path):
    """Maps of 16 bits with gaps between the numbers, as the Cell Tracking Challenge has them."""
    for file in sorted((shared / "fixtures/formats/ctc_tracking/Fluo-N2DL-HeLa_01_RES").glob("*.tif"))[:3]:
        array = np.asarray(Image.open(file))
        (tmp_path / "images").mkdir(exist_ok=True)
        write_image(tmp_path / "images" / f"{file.stem}.png", np.zeros((*array.shape, 3), np.uint8))
        save(tmp_path / "masks" / file.name, array)
    found = label_maps.read(tmp_path)
    assert len(found) == 3
    for record in found:
        array = np.asarray(Image.open(tmp_path / "masks" / f"{record.path.stem}.tif"))
        assert record.instances.masks.areas.tolist() == [int(r.area) for r in measure.regionprops(array)]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32])
def test_stacks_are_videos_of_their_layers(tmp_path, kind):
    layers = np.stack([np.where(BLOBS == 3, 7, 0), np.zeros(SIZE, int), BLOBS]).astype(kind)
    (tmp_path / "masks").mkdir()
    (tmp_path / "images").mkdir()
    for folder, arrays in (("images", np.zeros((3, *SIZE), np.uint8)), ("masks", layers)):
        first, *rest = map(Image.fromarray, arrays)
        first.save(tmp_path / folder / "a.tif", save_all=True, append_images=rest)
    picture(tmp_path / "images" / "b.png")
    save(tmp_path / "masks" / "b.tif")
    dataset = formats.read(tmp_path)
    assert [(r.id, r.video, r.frame) for r in dataset] == [
        (1, "a", 0),
        (2, "a", 1),
        (3, "a", 2),
        (4, None, None),
    ]
    assert [len(record.instances) for record in dataset] == [1, 0, len(expected()), len(expected())]
    assert dataset[0].instances.ids.tolist() == [7]
    assert dataset[2].instances.ids.tolist() == list(range(1, len(expected()) + 1))
    assert dataset[2].instances.masks == expected()
    assert dataset[0].attributes == {"stack": "images/a.tif"}
    assert dataset[3].instances.ids is None
    content = (tmp_path / "masks" / "a.tif").read_bytes()
    (tmp_path / "masks" / "a.tif").write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(FormatError, match=r"a.tif: picture must be (whole|readable)"):
        label_maps.read(tmp_path)
