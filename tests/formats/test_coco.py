import json
import logging

import numpy as np
import pytest
import synthetic
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as oracle
from pycocotools.coco import COCO

from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import _coco_write, coco
from delineate.image import write_image
from delineate.instances import Instances
from delineate.masks import Masks

SQUARE = [[1, 1, 4, 1, 4, 3, 1, 3]]  # 3 x 2 pixels


def content(annotations=(), **changes):
    """A small file: two pictures of 5 x 6 pixels and categories 3 and 7, the larger id first."""
    pictures = [
        {"id": 5, "file_name": "a.png", "height": 5, "width": 6, "licence": 1},
        {"id": 2, "file_name": "b.png", "height": 5, "width": 6},
    ]
    categories = [{"id": 7, "name": "cell"}, {"id": 3, "name": "nucleus"}]
    return {"images": pictures, "categories": categories, "annotations": list(annotations)} | changes


def entry(id_=1, **changes):
    """An annotation of picture 5; a change to None leaves the key out."""
    made = {
        "id": id_,
        "image_id": 5,
        "category_id": 3,
        "bbox": [1, 1, 3, 2],
        "segmentation": SQUARE,
    } | changes
    return {key: value for key, value in made.items() if value is not None}


@pytest.fixture
def saved(tmp_path):
    def save(value, name="a.json"):
        path = tmp_path / name
        path.write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")
        return path

    return save


@pytest.fixture
def read(saved):
    return lambda value: coco.read(saved(value))


# Reading


def test_bytes_that_are_no_text_are_named(saved):
    path = saved(content([entry(3), entry(4, segmentation={"size": [5, 6], "counts": "XX"})]))
    path.write_bytes(path.read_bytes().replace(b"XX", b"\x80"))
    with pytest.raises(FormatError, match="annotation 4: segmentation must be text in UTF-8"):
        coco.read(path)


def test_a_whole_file(read, tmp_path):
    crowd = {"size": [5, 6], "counts": [0, 2, 28]}
    second = entry(9, category_id=7, iscrowd=1, area=2, bbox=[0, 0, 1, 2], segmentation=crowd)
    found = read(content([entry(4, area=5.5), second]))
    assert found.classes == ("nucleus", "cell")
    assert [record.id for record in found] == [5, 2]
    first = found[0]
    assert first.path == tmp_path / "a.png"
    assert first.size == (5, 6)
    assert first.attributes == {"licence": 1}
    assert first.instances.labels.tolist() == [0, 1]
    assert first.instances.boxes.tolist() == [[1, 1, 4, 3], [0, 0, 1, 2]]
    assert first.instances.masks.areas.tolist() == [6, 2]
    assert first.instances.crowd.tolist() == [False, True]
    assert first.instances.scores is None
    assert first.instances.ids is None
    assert first.instances.extras["area"].tolist() == [5.5, 2]
    assert first.instances.extras["annotation_id"].tolist() == [4, 9]
    assert len(found[1].instances) == 0
    assert found[1].instances.masks == Masks.empty((5, 6))


def test_every_kind_of_segmentation_gives_its_mask(read):
    compressed = {"size": [5, 6], "counts": Masks.from_polygons([SQUARE], (5, 6)).to_rle()[0]["counts"]}
    listed = {"size": [5, 6], "counts": [6, 2, 3, 2, 3, 2, 12]}
    parts = [[0, 0, 1, 0, 1, 1, 0, 1], [5, 4, 6, 4, 6, 5, 5, 5]]
    kinds = [SQUARE, compressed, listed, parts, [SQUARE[0], []]]
    masks = read(content([entry(n, segmentation=s) for n, s in enumerate(kinds)]))[0].instances.masks
    assert masks.areas.tolist() == [6, 6, 6, 2, 6]
    assert masks[[0, 0, 0, 0]] == masks[[0, 1, 2, 4]]


def test_order_of_the_file_is_kept_within_each_picture(read):
    entries = [entry(9), entry(3, image_id=2), entry(1), entry(8, image_id=2), entry(5)]
    found = read(content(entries))
    assert found[0].instances.extras["annotation_id"].tolist() == [9, 1, 5]
    assert found[1].instances.extras["annotation_id"].tolist() == [3, 8]


def test_missing_fields_are_filled(read):
    found = read(content([entry(None, bbox=None), entry(6), entry(None, bbox=[], area=None)]))[0].instances
    assert found.boxes.tolist() == [[1, 1, 4, 3]] * 3
    assert found.extras["area"].tolist() == [6, 6, 6]
    assert found.extras["annotation_id"].tolist() == [7, 6, 8]
    assert found.crowd is None


@pytest.mark.parametrize("nothing", [None, [], [[]], {}])
def test_boxes_without_any_segmentation_have_no_masks(read, nothing):
    found = read(content([entry(1, segmentation=nothing), entry(2, segmentation=None)]))
    assert found[0].instances.masks is None
    assert found[1].instances.masks is None
    assert found[0].instances.extras["area"].tolist() == [6, 6]


def test_a_box_beside_segmentations_gets_an_empty_mask_and_a_notice(read, caplog):
    with caplog.at_level(logging.WARNING, "delineate"):
        found = read(content([entry(1), entry(2, segmentation=[])]))[0].instances
    assert found.masks.areas.tolist() == [6, 0]
    assert found.boxes[1].tolist() == [1, 1, 4, 3]
    assert "1 of 2 entries have no segmentation" in caplog.text


def test_scores_and_track_ids(read):
    found = read(content([entry(1, score=0.9, track_id=8), entry(2, score=0.25)]))
    assert found[0].instances.scores.tolist() == [np.float32(0.9), 0.25]
    assert found[0].instances.ids.tolist() == [8, -1]
    assert found[1].instances.scores.shape == (0,)  # a prediction too, of nothing


def test_ids_may_be_words(read):
    picture = {"id": "field 3", "height": 5, "width": 6}
    found = read(content([entry(1, image_id="field 3")], images=[picture]))[0]
    assert (found.id, found.path, len(found.instances)) == ("field 3", None, 1)


def test_unknown_keys_do_not_hurt(read):
    found = read(content([entry(1, caption="x", attributes={"a": [1]})], info={"year": 2026}, videos=None))
    assert len(found[0].instances) == 1


def test_byte_order_mark_and_other_alphabets(tmp_path):
    path = tmp_path / "a.json"
    value = content(categories=[{"id": 1, "name": "細胞 ядро"}])
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(value, ensure_ascii=False).encode())
    assert coco.read(path).classes == ("細胞 ядро",)


def test_size_comes_from_the_picture_where_the_file_does_not_say(read, tmp_path):
    write_image(tmp_path / "a.png", np.zeros((5, 6, 3), np.uint8))
    assert read(content(images=[{"id": 1, "file_name": "a.png"}]))[0].size == (5, 6)


@pytest.mark.parametrize(
    ("json_name", "picture", "file_name"),
    [
        ("a.json", "images/p.png", "p.png"),
        ("a.json", "p.png", "p.png"),
        ("a.json", "images/deep/p.png", "deep/p.png"),
        ("a.json", "images/deep/p.png", "deep\\p.png"),
        ("annotations/a.json", "images/p.png", "p.png"),
        ("annotations/instances_val.json", "images/val/p.png", "p.png"),
        ("annotations/instances_val2017.json", "val2017/p.png", "p.png"),
        ("annotations/a.json", "p.png", "../p.png"),
    ],
)
def test_places_where_pictures_are_found(tmp_path, json_name, picture, file_name):
    for name in (json_name, picture):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / picture).touch()
    value = content(images=[{"id": 1, "file_name": file_name, "height": 1, "width": 1}])
    (tmp_path / json_name).write_text(json.dumps(value))
    found = coco.read(tmp_path / json_name)[0].path
    assert found.samefile(tmp_path / picture)
    assert ".." not in found.parts


def test_pictures_in_a_given_folder(tmp_path, saved):
    (tmp_path / "a.png").touch()  # beside the JSON file: not asked for
    found = coco.read(saved(content()), images=tmp_path / "elsewhere")
    assert found[0].path == tmp_path / "elsewhere" / "a.png"


# Bad files

RLE = {"size": [5, 6], "counts": [30]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "file must be JSON, got: "),
        ("{", "file must be JSON, got: "),
        ('{"a":' * 100_000, "file must be JSON, got: "),
        ("[]", "file must be a COCO object, got a list. A results list goes with its truth"),
        ("{}", "Object missing required field `images`."),
        (content(images=3), "images: Expected `array`, got `int`."),
        (content(categories=[{"id": 1}]), "categories[0]: Object missing required field `name`."),
        (content(categories=[{"id": 1, "name": "a"}] * 2), "category 1: id must be unique, got it twice."),
        (content(images=[{}]), "images[0]: id must be an int or a str, got None."),
        (content(images=[{"id": True}]), "images[0]: id must be an int or a str, got True."),
        (content(images=content()["images"] * 2), "image 5: id must be unique, got it twice."),
        (content(images=[{"id": 1, "file_name": 3}]), "image 1: file_name must be a file's name, got 3."),
        (
            content(images=[{"id": 1, "file_name": "a\0"}]),
            r"image 1: file_name must be a file's name, got 'a\x00'.",
        ),
        (content(images=[{"id": 1}]), "image 1: height must be an int of 1 to 16777216, got None."),
        (
            content(images=[{"id": 1, "height": 5, "width": 0}]),
            "image 1: width must be an int of 1 to",
        ),
        (content(images=[{"id": 1, "height": "5", "width": 6}]), "image 1: height must be an int of 1 to"),
        (
            content(images=[{"id": 1, "height": 2**24, "width": 2**10}]),
            "image 1: height * width must be at most",
        ),
        (content([entry(4), entry(4)]), "annotation 4: id must be unique, got it more than once."),
        (content([entry(2**64)]), "annotation 18446744073709551616: id must fit 64 bits"),
        (content([entry(4, image_id=6)]), "annotation 4: image_id must be the id of a picture, got 6."),
        (content([entry(4, image_id="5")]), "annotation 4: image_id must be the id of a picture, got '5'."),
        (content([entry(None, image_id=6)]), "annotations[0]: image_id must be the id of a picture, got 6."),
        (
            content([entry(4, category_id=1)]),
            "annotation 4: category_id must be the id of a category, got 1.",
        ),
        (content([entry(4, category_id="3")]), "annotations[0].category_id: Expected `int`, got `str`."),
        (content([entry(4, iscrowd=2)]), "annotation 4: iscrowd must be 0 or 1, got 2."),
        (
            content([entry(4, bbox=[1, 2, 3])]),
            "annotation 4: bbox must be [x, y, width, height], got 3 numbers.",
        ),
        (
            content([entry(4, bbox=[1, 2, -1, 3])]),
            "annotation 4: bbox must be finite with width and height of at least",
        ),
        (content([entry(4, bbox=[1e39, 2, 1, 3])]), "annotation 4: bbox must be finite"),
        (
            content([entry(4, bbox=None, segmentation=None)]),
            "annotation 4: entry must have a bbox or a segmentation",
        ),
        (
            content([entry(4, score=0.5), entry(6)]),
            "annotation 6: score must be a number (all entries have one",
        ),
        (content([entry(4, score=1e39)]), "annotation 4: score must be finite as float32"),
        (content([entry(4, track_id=2**70)]), "annotation 4: track_id must fit 64 bits, got"),
        (
            content([entry(4, segmentation=[[1, 1, 4, 1, 4]])]),
            "annotation 4: polygon has 5 numbers; it must have an even",
        ),
        (
            content([entry(4, segmentation=[[1, 1, 4, 1]])]),
            "annotation 4: polygon has 4 numbers; it must have an even",
        ),
        (
            content([entry(3), entry(4, segmentation=[1, 1, 4, 1, 4, 3])]),
            "annotation 4: segmentation must be a list of",
        ),
        (
            content([entry(4, segmentation="a")]),
            "annotation 4: segmentation must be a list of polygons or a run-length",
        ),
        (
            content([entry(4, segmentation={"counts": "1"})]),
            "annotation 4: segmentation must be a list of polygons or",
        ),
        (
            content([entry(4, segmentation=RLE | {"size": [6, 5]})]),
            "annotation 4: segmentation size must be the picture's",
        ),
        (content([entry(3), entry(4, segmentation=RLE | {"counts": [31]})]), "annotation 4: segmentation: "),
        (
            content([entry(3), entry(4, segmentation=RLE | {"counts": [-1, 31]})]),
            "annotation 4: segmentation: ",
        ),
        (content([entry(3), entry(4, segmentation=RLE | {"counts": "~~~"})]), "annotation 4: segmentation: "),
        (content([entry(3), entry(4, segmentation=RLE | {"counts": ""})]), "annotation 4: segmentation: "),
        (content([entry(3), entry(4, segmentation=[[1e300] * 6])]), "annotation 4: segmentation: "),
    ],
)
def test_contradictions_name_their_place(saved, value, message):
    path = saved(value)
    with pytest.raises(FormatError) as caught:
        coco.read(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert caught.value.path == path


def test_a_missing_file_is_a_format_error(tmp_path):
    with pytest.raises(FormatError, match="file must be readable, got: No such file"):
        coco.read(tmp_path / "a.json")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_files_never_fail_otherwise(tmp_path_factory, data):
    whole = bytearray(json.dumps(content([entry(4), entry(5, segmentation=RLE, score=None)])).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    path.write_bytes(whole)
    try:
        found = coco.read(path)
    except FormatError as error:
        assert error.path == path  # noqa: PT017 - both outcomes are right
    else:
        assert isinstance(found, Dataset)


# The oracle


@pytest.mark.parametrize(
    "name",
    [
        "data/coco_street/val.json",
        "data/coco128_seg/val.json",
        "data/facade640/val.json",
        "data/dsb2018/val.json",
        "fixtures/formats/coco/val2014_100/instances_val2014_100.json",
        "fixtures/formats/coco/datumaro_instances/annotations/instances_val.json",
        "fixtures/formats/lvis/lvis_val_100.json",
    ],
)
def test_masks_boxes_and_areas_equal_pycocotools(shared, name, capsys):
    path = shared / name
    truth, found = COCO(str(path)), coco.read(path)
    categories = sorted(truth.cats)
    assert list(found.classes) == [truth.cats[id_]["name"] for id_ in categories]
    assert [record.id for record in found] == [entry["id"] for entry in truth.dataset["images"]]
    for record in found:
        expected, instances = truth.imgToAnns[record.id], record.instances
        assert instances.extras["annotation_id"].tolist() == [a["id"] for a in expected]
        assert instances.labels.tolist() == [categories.index(a["category_id"]) for a in expected]
        assert instances.extras["area"].tolist() == [a["area"] for a in expected]
        crowd = [bool(a.get("iscrowd")) for a in expected]
        assert crowd == ([False] * len(expected) if instances.crowd is None else instances.crowd.tolist())
        runs = [truth.annToRLE(a) for a in expected]
        strings = [
            rle["counts"] if isinstance(rle["counts"], str) else rle["counts"].decode() for rle in runs
        ]
        assert [rle["counts"] for rle in instances.masks.to_rle()] == strings
        assert instances.masks.areas.tolist() == [int(oracle.area(rle)) for rle in runs]
        x, y, width, height = np.array([a["bbox"] for a in expected], float).reshape(-1, 4).T
        corners = np.stack([x, y, x + width, y + height], axis=1)
        assert np.array_equal(instances.boxes, corners.astype(np.float32))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools itself
def test_pycocotools_reads_what_is_written(tmp_path, capsys):
    dataset = Dataset((nasty_record(),), ("a", "b"))
    coco.write(dataset, tmp_path / "a.json")
    written = COCO(str(tmp_path / "a.json"))
    found = dataset[0].instances
    entries = written.loadAnns(written.getAnnIds())
    for position, annotation in enumerate(entries):
        assert np.array_equal(written.annToMask(annotation), found.masks[[position]].to_dense()[0])
        assert annotation["area"] == found.masks.areas[position]
    assert [annotation["iscrowd"] for annotation in entries] == [0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(("kind", "has_masks"), [("segm", True), ("bbox", False)])
def test_results_equal_pycocotools(shared, kind, has_masks, capsys):
    folder = shared / "fixtures" / "formats" / "coco" / "val2014_100"
    truth = folder / "instances_val2014_100.json"
    results = folder / f"instances_val2014_fake{kind}100_results.json"
    expected = COCO(str(truth)).loadRes(str(results))
    found = coco.read_results(results, truth)
    categories = sorted(expected.cats)
    assert len(found) == 100
    for record in found:
        annotations, instances = expected.imgToAnns[record.id], record.instances
        assert (instances.masks is not None) == has_masks
        assert instances.extras["annotation_id"].tolist() == [a["id"] for a in annotations]
        assert instances.labels.tolist() == [categories.index(a["category_id"]) for a in annotations]
        assert instances.scores.tolist() == [np.float32(a["score"]) for a in annotations]
        assert instances.extras["area"].tolist() == [float(a["area"]) for a in annotations]
        assert np.array_equal(instances.extras["bbox"], np.reshape([a["bbox"] for a in annotations], (-1, 4)))


# Writing


def nasty_record(**changes):
    """A hole, two parts, one pixel, the border, an empty mask, a crowd over all of them."""
    dense = np.zeros((6, 9, 12), bool)
    dense[0, 1:6, 1:6] = True
    dense[0, 2:4, 2:4] = False
    dense[1, 0:2, 9:12] = dense[1, 5:7, 9:11] = True
    dense[2, 4, 8] = True
    dense[3, 8, :] = True
    dense[5] = True
    instances = Instances.of(
        Masks.from_dense(dense),
        [0, 1, 1, 0, 1, 0],
        crowd=[False] * 5 + [True],
        extras={"area": dense.sum((1, 2)).astype(float), "annotation_id": np.array([9, 4, 7, 1, 2, 3])},
    )
    fields = {
        "path": None,
        "size": (9, 12),
        "instances": instances,
        "id": 7,
        "attributes": {"größe": [1, {"a": None}]},
    }
    return Record(**fields | changes)


def core(dataset):
    """The dataset without the extras that only reading makes."""
    records = []
    for record in dataset:
        extras = {name: record.instances.extras[name] for name in ("area", "annotation_id")}
        records.append(record.replace(instances=record.instances.replace(extras=extras)))
    return dataset.with_records(records)


@pytest.mark.parametrize("segmentations", ["rle", "polygons"])
def test_a_nasty_dataset_comes_back(tmp_path, segmentations):
    empty = Record(tmp_path / "sub" / "bild ü.png", (3, 4), Instances.empty((3, 4)), "word")
    empty = empty.replace(
        instances=empty.instances.replace(extras={"area": [], "annotation_id": np.zeros(0, int)})
    )
    dataset = Dataset((nasty_record(), empty), ("a", "ä"))
    coco.write(dataset, tmp_path / "a.json", segmentations=segmentations)
    again = coco.read(tmp_path / "a.json")
    assert core(again) == dataset
    coco.write(again, tmp_path / "b.json", segmentations=segmentations)
    assert coco.read(tmp_path / "b.json") == again


def test_polygons_are_written_where_they_mean_the_same_pixels(tmp_path):
    coco.write(Dataset((nasty_record(),), ("a", "b")), tmp_path / "a.json", segmentations="polygons")
    shapes = [type(a["segmentation"]) for a in json.loads((tmp_path / "a.json").read_text())["annotations"]]
    assert shapes == [dict, list, list, list, dict, dict]


def test_predictions_come_back(tmp_path):
    _, found = synthetic.nuclei()
    scores = np.random.default_rng(0).random(len(found), np.float32)
    found = found.replace(scores=scores, ids=np.arange(len(found)))
    dataset = Dataset((Record(None, found.size, found, 1),), ("nucleus",))
    coco.write(dataset, tmp_path / "a.json")
    again = coco.read(tmp_path / "a.json")[0].instances
    assert again.replace(extras={}) == found
    assert again.extras["annotation_id"].tolist() == list(range(1, len(found) + 1))


# Fractions of 1 / 65536: of two coordinates of very different size, float64 cannot say sum and both parts.
coordinates = st.floats(-(2.0**20), 2.0**20, width=32).map(lambda value: round(value * 65536) / 65536)


@settings(deadline=None)
@given(arrays.arrays(np.float32, (4, 2), elements=coordinates))
def test_boxes_come_back_to_the_bit(corners):
    boxes = np.concatenate(
        [np.minimum(corners[:2], corners[2:]), np.maximum(corners[:2], corners[2:])], axis=1
    )
    x, y, width, height = np.array(_coco_write.xywh(boxes)).T
    assert (width >= 0).all()
    assert (height >= 0).all()
    assert np.array_equal(np.stack([x, y, x + width, y + height], axis=1).astype(np.float32), boxes)


@given(arrays.arrays(np.float32, 5, elements=st.floats(0, 1, width=32)))
def test_scores_come_back_to_the_bit_and_short(scores):
    assert np.array_equal(np.array(_coco_write.shortest(scores), np.float32), scores)
    assert _coco_write.shortest(np.array([0.9, 0.318], np.float32)) == [0.9, 0.318]


def test_boxes_alone_come_back(tmp_path):
    found = Instances((5, 6), [[0.1, 0.2, 3.3, 4.4], [1, 1, 1, 1]], [0, 0], [0.5, 0.25])
    coco.write(Dataset((Record(None, (5, 6), found, 1),), ("a",)), tmp_path / "a.json")
    assert b"segmentation" not in (tmp_path / "a.json").read_bytes()
    assert coco.read(tmp_path / "a.json")[0].instances.replace(extras={}) == found


def test_the_same_dataset_gives_the_same_bytes(tmp_path):
    dataset = Dataset((nasty_record(),), ("a", "b"))
    for name in ("a.json", "b.json"):
        coco.write(dataset, tmp_path / name)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_doubled_annotation_ids_are_numbered_anew(tmp_path):
    records = (nasty_record(), nasty_record(id=8))
    coco.write(Dataset(records, ("a", "b")), tmp_path / "a.json")
    again = coco.read(tmp_path / "a.json")
    assert [record.instances.extras["annotation_id"].tolist() for record in again] == [
        [1, 2, 3, 4, 5, 6],
        [7, 8, 9, 10, 11, 12],
    ]


@pytest.mark.parametrize(
    ("path", "images", "written"),
    [
        ("a.png", None, "a.png"),
        ("images/a.png", None, "images/a.png"),
        ("images/a.png", "images", "a.png"),
        ("../a.png", None, "../a.png"),
    ],
)
def test_file_names_are_relative(tmp_path, path, images, written):
    record = Record(tmp_path / path, (3, 4), Instances.empty((3, 4)), 1)
    folder = None if images is None else tmp_path / images
    coco.write(Dataset((record,), ()), tmp_path / "a.json", images=folder)
    assert json.loads((tmp_path / "a.json").read_text())["images"][0]["file_name"] == written


def test_attributes_of_numpy_are_written(tmp_path):
    attributes = {
        "depth": np.float32(0.5),
        "shape": np.arange(2),
        "from": tmp_path,
        "id": "not this",
        "width": 99,
    }
    coco.write(Dataset((nasty_record(attributes=attributes),), ("a", "b")), tmp_path / "a.json")
    again = coco.read(tmp_path / "a.json")[0]
    assert again.attributes == {"depth": 0.5, "shape": [0, 1], "from": tmp_path.as_posix()}
    assert (again.id, again.size) == (7, (9, 12))


def test_nothing_is_written_where_something_cannot_be(tmp_path):
    with pytest.raises(TypeError, match="attributes must be JSON values, got object"):
        coco.write(Dataset((nasty_record(attributes={"a": object()}),), ("a", "b")), tmp_path / "a.json")
    with pytest.raises(ValueError, match="segmentations must be 'rle' or 'polygons', got 'png'"):
        coco.write(Dataset((), ()), tmp_path / "a.json", segmentations="png")
    assert list(tmp_path.iterdir()) == []


def test_extras_that_do_not_fit_are_reported(tmp_path, caplog):
    found = Instances((5, 6), [[0, 0, 1, 1]], [0], extras={"iou": [0.5], "area": [1.0]})
    with caplog.at_level(logging.WARNING, "delineate"):
        coco.write(Dataset((Record(None, (5, 6), found, 1),), ("a",)), tmp_path / "a.json")
    assert caplog.messages == [f"{tmp_path / 'a.json'}: COCO cannot hold the extras iou; they are left out"]


def test_an_empty_dataset_comes_back(tmp_path):
    coco.write(Dataset((), ()), tmp_path / "a.json")
    assert coco.read(tmp_path / "a.json") == Dataset((), ())


# Results lists


def predictions(ids=(5, 2), classes=("cell", "nucleus"), path=None):
    found = Instances.of(Masks.from_polygons([SQUARE, SQUARE], (5, 6)), [1, 0], [0.9, 0.25])
    records = [Record(path, (5, 6), found, ids[0]), Record(None, (5, 6), Instances.empty((5, 6)), ids[1])]
    return Dataset(tuple(records), classes)


def test_results_take_the_ids_of_the_truth(tmp_path, saved):
    truth = saved(content())
    coco.write_results(predictions(), tmp_path / "r.json", truth)
    written = json.loads((tmp_path / "r.json").read_text())
    shape = {"size": [5, 6], "counts": Masks.from_polygons([SQUARE], (5, 6)).to_rle()[0]["counts"]}
    assert written == [
        {"image_id": 5, "category_id": 3, "segmentation": shape, "score": 0.9},
        {"image_id": 5, "category_id": 7, "segmentation": shape, "score": 0.25},
    ]
    again = coco.read_results(tmp_path / "r.json", truth)
    assert again.classes == ("nucleus", "cell")
    assert again[0].instances.labels.tolist() == [0, 1]
    assert again[0].instances.masks == predictions()[0].instances.masks
    assert again[0].instances.scores.tolist() == [np.float32(0.9), 0.25]
    assert again[1].instances.scores.shape == (0,)


def test_results_find_pictures_by_name_first(tmp_path, saved):
    coco.write_results(predictions(ids=(1, 2), path="elsewhere/a.png"), tmp_path / "r.json", saved(content()))
    assert {result["image_id"] for result in json.loads((tmp_path / "r.json").read_text())} == {5}


def test_results_without_a_truth_keep_their_ids(tmp_path):
    coco.write_results(predictions(ids=("a", "b")), tmp_path / "r.json")
    written = json.loads((tmp_path / "r.json").read_text())
    assert [(result["image_id"], result["category_id"]) for result in written] == [("a", 2), ("a", 1)]


def test_results_as_boxes(tmp_path, saved):
    coco.write_results(predictions(), tmp_path / "r.json", kind="boxes")
    written = json.loads((tmp_path / "r.json").read_text())
    assert written[0] == {"image_id": 5, "category_id": 2, "bbox": [1, 1, 3, 2], "score": 0.9}


def test_results_with_boxes_and_masks_take_the_area_of_the_box(saved):
    results = [entry(None, score=0.5, bbox=[0, 0, 5, 5])]
    found = coco.read_results(saved(results, "r.json"), saved(content()))[0].instances
    assert found.extras["area"].tolist() == [25]
    assert found.masks.areas.tolist() == [6]
    assert found.boxes.tolist() == [[0, 0, 5, 5]]


def test_no_results(tmp_path, saved):
    found = coco.read_results(saved([], "r.json"), saved(content()))
    assert [len(record.instances) for record in found] == [0, 0]
    assert found[0].instances.scores.shape == (0,)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (content(), "file must be a results list, got an object. Read a COCO file with read"),
        ([entry(None)], "result 0: score must be a number"),
        ([entry(None, score=1, image_id=9)], "result 0: image_id must be the id of a picture, got 9."),
        (
            [entry(None, score=1), entry(None, score=1, category_id=9)],
            "result 1: category_id must be the id of a",
        ),
        ([entry(None, score=1, segmentation=RLE | {"size": [1, 1]})], "result 0: segmentation size must be"),
        (
            [{"image_id": 5, "category_id": 3, "score": "high"}],
            "[0].score: Expected `float | null`, got `str`.",
        ),
    ],
)
def test_results_that_do_not_fit_name_their_place(saved, value, message):
    path, truth = saved(value, "r.json"), saved(content())
    with pytest.raises(FormatError) as caught:
        coco.read_results(path, truth)
    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        (
            lambda: Dataset((nasty_record(),), ("a", "b")),
            {},
            "instances must have scores, got none in record 7",
        ),
        (lambda: predictions(ids=(5, 3)), {"truth": True}, "pictures must be in .*, got 3"),
        (
            lambda: predictions(ids=(2, 5), path="a.png"),
            {"truth": True},
            "pictures must be different .* got 5 twice",
        ),
        (
            lambda: predictions(classes=("cell", "x")),
            {"truth": True},
            "classes must be categories of .*, got 'x'",
        ),
        (predictions, {"kind": "png"}, "kind must be 'masks', 'boxes' or None, got 'png'"),
    ],
)
def test_results_that_cannot_be_written(tmp_path, saved, dataset, options, message):
    if "truth" in options:
        options = {"truth": saved(content())}
    with pytest.raises(ValueError, match=message):
        coco.write_results(dataset(), tmp_path / "r.json", **options)
    assert not (tmp_path / "r.json").exists()


def test_masks_are_needed_to_write_masks(tmp_path):
    found = Instances((5, 6), [[0, 0, 1, 1]], [0], [0.5])
    with pytest.raises(ValueError, match="instances must have masks, got none in record 1"):
        coco.write_results(
            Dataset((Record(None, (5, 6), found, 1),), ("a",)), tmp_path / "r.json", kind="masks"
        )


# Recognition


@pytest.mark.parametrize(
    ("value", "known"),
    [
        (content(), True),
        (content([entry(1)]), True),
        ([entry(1)], False),
        ({"images": [], "categories": []}, False),
        ({"images": {}, "annotations": [], "categories": []}, False),
        (content(annotations=[{"segments_info": [], "image_id": 5}]), False),
        ("no JSON", False),
        ("", False),
    ],
)
def test_sniff(saved, value, known):
    assert coco.sniff(saved(value)) is known


def test_sniff_never_raises(tmp_path):
    assert not coco.sniff(tmp_path)
    assert not coco.sniff(tmp_path / "missing.json")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\xff\xfe")
    assert not coco.sniff(tmp_path / "a.png")


def test_real_files_are_recognised(shared):
    assert coco.sniff(shared / "data" / "dsb2018" / "val.json")
    folder = shared / "fixtures" / "formats" / "coco" / "val2014_100"
    assert not coco.sniff(folder / "instances_val2014_fakesegm100_results.json")
    assert not coco.sniff(shared / "data" / "coco_panoptic_sample" / "panoptic_examples.json")


def test_real_files_come_back(shared, tmp_path):
    for name in ("coco_street/val.json", "dsb2018/val.json"):
        dataset = coco.read(shared / "data" / name)
        for segmentations in ("rle", "polygons"):
            coco.write(dataset, tmp_path / "a.json", segmentations=segmentations)
            assert coco.read(tmp_path / "a.json") == dataset


def test_what_the_file_says_of_itself_comes_back(read, tmp_path):
    head = {"info": {"year": 2017}, "licenses": [{"id": 1, "name": "CC BY"}]}
    categories = [
        {"id": 7, "name": "cell", "supercategory": "life"},
        {"id": 3, "name": "nucleus", "color": "red"},
    ]
    found = read(content([entry()], categories=categories, **head))
    assert found.attributes == head | {"categories": [{"color": "red"}, {"supercategory": "life"}]}
    coco.write(found, tmp_path / "b.json")
    assert coco.read(tmp_path / "b.json") == found
    fewer = Dataset(found.records, (*found.classes, "more"), found.attributes)
    with pytest.raises(
        ValueError, match=r'attributes\["categories"\] must have one entry for each of 3 classes, got 2'
    ):
        coco.write(fewer, tmp_path / "c.json")


def test_further_keys_of_annotations_are_kept(read, tmp_path, monkeypatch):
    far = {"attributes": {"occluded": False, "note": "ä"}, "keypoints": [1, 2.5], "group": 2**63}
    found = read(content([entry(1, group=4), entry(2, **far), entry(3, image_id=2, z_order=-3, group=True)]))
    first, second = (record.instances.extras for record in found)
    assert first["group"].tolist() == [4, -1]
    assert [json.loads(text) for text in first["attributes"]] == [{}, far]
    assert second["z_order"].tolist() == [-3]
    assert json.loads(second["attributes"][0]) == {"group": True}, "no number, so no group"
    coco.write(found, tmp_path / "b.json")
    assert coco.read(tmp_path / "b.json") == found
    monkeypatch.setattr("delineate.formats._coco_table.scan", lambda *_, **__: None)
    assert coco.read(tmp_path / "b.json") == found, "read without the native scanner"


def test_further_keys_that_are_no_text_are_refused(saved):
    path = saved(content([entry(3, note="XX")]))
    path.write_bytes(path.read_bytes().replace(b"XX", b"\x80"))
    with pytest.raises(FormatError, match="annotations: further keys must be JSON in UTF-8"):
        coco.read(path)


def test_splits_and_frames_are_fields_of_records(read, tmp_path):
    pictures = [
        {"id": 5, "height": 5, "width": 6, "split": "val", "video": "a", "frame": 3},
        {"id": 2, "height": 5, "width": 6, "split": 3, "video": "a", "frame": -1},
    ]
    found = read(content(images=pictures))
    assert [(record.split, record.video, record.frame) for record in found] == [("val", "a", 3), (None,) * 3]
    assert [dict(record.attributes) for record in found] == [{}, {"split": 3, "video": "a", "frame": -1}]
    coco.write(found, tmp_path / "b.json")
    assert coco.read(tmp_path / "b.json") == found
