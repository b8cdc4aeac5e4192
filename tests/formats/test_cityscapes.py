import json

import numpy as np
import pytest
from PIL import Image
from skimage.draw import polygon2mask
from skimage.morphology import dilation, disk

from delineate import algebra
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import cityscapes
from delineate.instances import Instances
from delineate.masks import Masks

SIZE = (20, 30)
STEM = "aachen_000000_000019"


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "gtFine" / "train" / "aachen"
    found.mkdir(parents=True)
    return found


def put_ids(folder, array):
    Image.fromarray(np.asarray(array, np.uint16)).save(folder / f"{STEM}_gtFine_instanceIds.png")


def put_polygons(folder, *objects, **changes):
    entries = [{"label": label, "polygon": polygon} for label, polygon in objects]
    content = {"imgHeight": SIZE[0], "imgWidth": SIZE[1], "objects": entries} | changes
    (folder / f"{STEM}_gtFine_polygons.json").write_text(json.dumps(content))


def square(x0, y0, x1, y1):
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def test_ids_are_class_times_1000_and_the_rest_is_no_object(folder, tmp_path):
    ids = np.zeros(SIZE, np.uint16)
    ids[:, :5], ids[2, 6:9], ids[3, 6:9], ids[5, 5], ids[6] = 7, 26000, 26017, 26, 24003
    put_ids(folder, ids)
    (tmp_path / "leftImg8bit" / "train" / "aachen").mkdir(parents=True)
    Image.new("RGB", SIZE[::-1]).save(
        tmp_path / "leftImg8bit" / "train" / "aachen" / f"{STEM}_leftImg8bit.png"
    )
    for path in (tmp_path, tmp_path / "gtFine"):
        [record] = cityscapes.read(path)
        assert record.split == "train"
        assert record.path.is_file()
        found = record.instances
        assert [cityscapes.THINGS[label] for label in found.labels] == ["car", "person", "car", "car"]
        assert found.crowd.tolist() == [True, False, False, False]
        assert found.masks == Masks.from_dense(
            np.stack([ids == 26, ids == 24003, ids == 26000, ids == 26017])
        )


def test_the_numbers_are_those_of_the_published_definitions():
    """As labels.py of cityscapesScripts lists them: the classes with instances, and some others."""
    known = {
        "road": 7,
        "building": 11,
        "pole": 17,
        "traffic sign": 20,
        "sky": 23,
        "person": 24,
        "rider": 25,
        "car": 26,
    }
    known |= {
        "truck": 27,
        "bus": 28,
        "caravan": 29,
        "trailer": 30,
        "train": 31,
        "motorcycle": 32,
        "bicycle": 33,
    }
    every = cityscapes.STUFF + cityscapes.THINGS
    assert len(every) == 34
    assert {name: every.index(name) for name in known} == known


def test_polygons_are_painted_in_their_order(folder, tmp_path):
    objects = [
        ("road", square(0, 0, 29, 19)),
        ("car", square(2, 2, 11, 11)),
        ("cargroup", square(6, 6, 15, 15)),
    ]
    objects += [
        ("tram", square(20, 2, 25, 7)),
        ("sky", square(2, 2, 29, 3)),
        ("license plate", square(2, 5, 9, 9)),
    ]
    put_polygons(folder, *objects, ("person", square(4, 15, 5, 16)))
    dataset = cityscapes.read(tmp_path)
    found = dataset[0].instances
    assert [dataset.classes[label] for label in found.labels] == ["car", "car", "tram", "person"]
    assert found.crowd.tolist() == [False, True, False, False]
    expected = np.zeros((4, *SIZE), bool)
    expected[0, 2:12, 2:12] = expected[1, 6:16, 6:16] = expected[2, 2:8, 20:26] = expected[3, 15:17, 4:6] = (
        True
    )
    expected[0] &= ~expected[1]
    expected[:3, 2:4] = False
    np.testing.assert_array_equal(found.masks.to_dense(), expected)


def test_polygons_lie_within_half_a_pixel_of_another_drawing(folder, tmp_path):
    ring = np.array([[3, 2], [26, 5], [21, 17], [9, 12]])
    put_polygons(folder, ("car", ring.tolist()))
    drawn = cityscapes.read(tmp_path)[0].instances.masks.to_dense()[0]
    other = polygon2mask(SIZE, ring[:, ::-1])
    assert not (other & ~drawn).any()
    assert not (drawn & ~dilation(other, disk(1))).any()


def test_pictures_of_ids_come_before_polygons(folder, tmp_path):
    put_polygons(folder, ("car", square(2, 2, 11, 11)))
    put_ids(folder, np.zeros(SIZE))
    assert len(cityscapes.read(tmp_path)[0].instances) == 0


def test_real_files(shared):
    root = shared / "fixtures" / "formats" / "cityscapes"
    found = cityscapes.read(root / "datumaro")
    assert [record.split for record in found] == ["test", "test", "train", "val"]
    assert all(record.path.is_file() for record in found)
    assert [[found.classes[n] for n in record.instances.labels] for record in found] == [
        *(["truck"], ["train"], ["person"]),
        [],
    ]
    [made] = cityscapes.read(root / "made_by_us")
    assert len(made.instances) == 4, "three persons and a bottle; out of roi is none"
    assert made.instances.masks.areas.sum() == made.instances.masks.union().areas[0]


def test_what_is_written_has_cityscapes_numbers(tmp_path, caplog):
    dense = np.zeros((4, *SIZE), bool)
    dense[0, :6], dense[1, 4:8], dense[2, 10:12], dense[3, 11:14] = True, True, True, True
    found = Instances.of(Masks.from_dense(dense), [1, 0, 1, 1], crowd=[False, False, False, True])
    cityscapes.write(
        Dataset([Record(None, SIZE, found, f"{STEM}_leftImg8bit", split="val")], ["tram", "car"]),
        tmp_path / "a",
    )
    place = tmp_path / "a" / "gtFine" / "val" / "aachen"
    ids = np.asarray(Image.open(place / f"{STEM}_gtFine_instanceIds.png"))
    assert ids[[0, 5, 8, 11, 13], 0].tolist() == [26000, 34000, 0, 26001, 26]
    classes = np.asarray(Image.open(place / f"{STEM}_gtFine_labelIds.png"))
    assert classes.dtype == np.uint8
    assert classes[[0, 5, 8, 11, 13], 0].tolist() == [26, 34, 0, 26, 26]
    assert "2 objects lose pixels" in caplog.text
    back = cityscapes.read(tmp_path / "a")
    assert back.classes == ("tram", "car")
    assert sorted(back[0].instances.masks.areas.tolist()) == sorted(
        algebra.resolve_overlaps(found.masks[[3, 0, 1, 2]]).areas.tolist()
    )


def test_cityscapes_own_classes_need_no_table(tmp_path):
    cityscapes.write(Dataset([], cityscapes.THINGS), tmp_path / "a")
    assert not (tmp_path / "a" / "labels.json").exists()
    assert cityscapes.read(tmp_path / "a").classes == cityscapes.THINGS


def test_what_16_bits_cannot_hold_is_refused(tmp_path):
    many = Instances.of(Masks.from_boxes(np.tile([0, 0, 1, 1], (1001, 1)), (4, 4)), np.zeros(1001, int))
    with pytest.raises(FormatError, match="at most 1000, got 1001"):
        cityscapes.write(Dataset([Record(None, (4, 4), many, 1)], ["car"]), tmp_path / "a")
    with pytest.raises(FormatError, match="at most 31 besides"):
        cityscapes.write(Dataset([], [f"c{n}" for n in range(32)]), tmp_path / "b")
    records = [Record(None, (4, 4), Instances.empty((4, 4)), name) for name in ("a", "a_leftImg8bit")]
    with pytest.raises(FormatError, match="alone, got a twice"):
        cityscapes.write(Dataset(records, []), tmp_path / "c")
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


@pytest.mark.parametrize(
    ("objects", "changes", "text"),
    [
        ([("car", [[1, 1], [2, 2]])], {}, r"objects\[0\]: polygon must have 3 corners"),
        ([("car", [[1, 1], [2, 2], [1e300, 3]])], {}, "within 16777216"),
        ([], {"imgHeight": 10**9}, "pixels, got height 1000000000"),
        ([], {"imgWidth": 0}, "pixels"),
        ([], {"imgWidth": "x"}, "imgWidth|Expected"),
    ],
)
def test_what_does_not_fit_is_named(folder, tmp_path, objects, changes, text):
    put_polygons(folder, *objects, **changes)
    with pytest.raises(FormatError, match=text):
        cityscapes.read(tmp_path)


def test_a_wrong_table_is_refused(tmp_path):
    (tmp_path / "gtFine").mkdir()
    (tmp_path / "labels.json").write_text('[{"id": 99, "name": "tram"}]')
    with pytest.raises(FormatError, match="from 1 to 64"):
        cityscapes.read(tmp_path)


def test_objects_of_classes_without_instances_are_counted(folder, tmp_path, caplog):
    put_ids(folder, np.full(SIZE, 7001))
    assert len(cityscapes.read(tmp_path)[0].instances) == 0
    assert "objects are of class 7" in caplog.text
