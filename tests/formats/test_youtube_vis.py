import contextlib
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delineate import Dataset, Instances, Masks, Record
from delineate.errors import FormatError
from delineate.formats import coco, detect, youtube_vis

SIZE = (5, 7)
CLASSES = ("car", "Käfer", "nothing")


def dense(rng, count):
    """Noise: holes, parts, overlaps; the first mask is sometimes empty."""
    pixels = rng.random((count, *SIZE)) < rng.choice([0.3, 0.7])
    pixels[:1] &= rng.random() < 0.8
    return Masks.from_dense(pixels)


def video(rng, name, frames, *, scored=False, first_id=1):
    """Frames with tracks that come and go."""
    labels, crowd, scores = rng.integers(0, 2, 6), rng.random(6) < 0.3, rng.random(6).astype(np.float32)
    parts = []
    for n in frames:
        here = np.flatnonzero(rng.random(6) < 0.5)
        part = Instances.of(
            dense(rng, len(here)),
            labels[here],
            scores[here] if scored else None,
            crowd=crowd[here] if crowd[here].any() else None,
            ids=here + first_id,
        )
        parts.append(Record(None, SIZE, part, f"{name}/{n}", {}, name, n))
    return parts


def entries(**changes):
    """A valid file of one video with two frames and one object."""
    track = {
        "id": 3,
        "video_id": 1,
        "category_id": 4,
        "segmentations": [{"size": [2, 3], "counts": [1, 2, 3]}, None],
        "bboxes": [[0, 0, 2, 2], None],
        "areas": [2, None],
    }
    return {
        "videos": [{"id": 1, "file_names": ["a/0.jpg", "a/1.jpg"], "height": 2, "width": 3, "length": 2}],
        "categories": [{"id": 4, "name": "car"}],
        "annotations": [track | changes],
    }


def written(tmp_path, content, name="a.json"):
    (tmp_path / name).write_text(json.dumps(content), "utf-8")
    return tmp_path / name


def same(one, other):
    """Equal up to the extras that reading makes."""
    return one.replace(extras={}) == other.replace(extras={})


@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_round_trip(tmp_path, seed, scored):
    rng = np.random.default_rng(seed)
    frames = [
        *video(rng, "ä", range(4), scored=scored),
        *video(rng, 7, (0, 1, 5), scored=scored, first_id=3),
        Record(None, SIZE, Instances.empty(SIZE, scored=scored), 7, {}),  # a still
    ]
    dataset = Dataset(frames, CLASSES, {"info": {"year": 2026}, "videos": [{"id": 7, "name": "x"}]})
    youtube_vis.write(dataset, tmp_path / "a.json")
    again = youtube_vis.read(tmp_path / "a.json")
    assert again.classes == CLASSES
    assert dict(again.attributes) == dict(dataset.attributes)
    for one, other in zip(dataset, again, strict=True):
        assert (one.id, one.video, one.frame) == (other.id, other.video, other.frame)
        if len(one.instances):
            assert same(one.instances, other.instances)
    before = (tmp_path / "a.json").read_bytes()
    youtube_vis.write(pickle.loads(pickle.dumps(again)), tmp_path / "a.json")
    assert (tmp_path / "a.json").read_bytes() == before


def test_what_is_written(tmp_path):
    masks = Masks.from_counts([1, 2, 3], [0, 3], (2, 3))
    part = Instances.of(masks, ids=[9])
    records = [
        Record(tmp_path / "img/a.jpg", (2, 3), Instances.empty((2, 3)), 5, {}, 1, 0),
        Record(tmp_path / "img/b.jpg", (2, 3), part, 6, {}, 1, 3),
    ]
    youtube_vis.write(Dataset(records, ["car"]), tmp_path / "a.json", tmp_path / "img")
    content = json.loads((tmp_path / "a.json").read_text("utf-8"))
    assert content["videos"] == [
        {"id": 1, "height": 2, "width": 3, "length": 2, "file_names": ["a.jpg", "b.jpg"]}
        | {"image_ids": [5, 6], "frame_numbers": [0, 3]}
    ]
    assert content["annotations"] == [
        {"id": 1, "video_id": 1, "category_id": 1, "iscrowd": 0, "height": 2, "width": 3, "length": 2}
        | {"segmentations": [None, masks.to_rle()[0]], "bboxes": [None, [0, 0, 2, 2]], "areas": [None, 2]}
        | {"track_id": 9}
    ]


def test_pictures_are_found(tmp_path):
    (tmp_path / "train/JPEGImages/a").mkdir(parents=True)
    (tmp_path / "train/JPEGImages/a/0.jpg").write_bytes(b"")
    dataset = youtube_vis.read(written(tmp_path, entries(), "instances_train.json"))
    assert dataset[0].path == tmp_path / "train/JPEGImages/a/0.jpg"
    assert dataset[1].path == tmp_path / "a/1.jpg"
    assert youtube_vis.read(tmp_path / "instances_train.json", "x")[1].path.as_posix() == "x/a/1.jpg"


def test_what_is_left_out_comes_from_the_masks(tmp_path):
    content = entries()
    for key in ("id", "bboxes", "areas"):
        del content["annotations"][0][key]
    del content["videos"][0]["file_names"]
    [first, second] = youtube_vis.read(written(tmp_path, content))
    assert first.instances.boxes.tolist() == [[0, 0, 2, 2]]
    assert first.instances.extras["area"].tolist() == [2]
    assert first.instances.ids.tolist() == [1]
    assert (first.path, len(second.instances)) == (None, 0)


def test_polygons_boxes_only_and_nothing(tmp_path):
    polygon = entries(segmentations=[[[0, 0, 2, 0, 2, 2, 0, 2]], []], bboxes=None)
    assert youtube_vis.read(written(tmp_path, polygon))[0].instances.masks.areas.tolist() == [4]
    boxes = youtube_vis.read(written(tmp_path, entries(segmentations=None)))
    assert boxes[0].instances.masks is None
    assert [len(record.instances) for record in boxes] == [1, 0]
    youtube_vis.write(boxes, tmp_path / "b.json")
    assert youtube_vis.read(tmp_path / "b.json")[0].instances == boxes[0].instances
    nowhere = youtube_vis.read(written(tmp_path, entries(segmentations=[None, None], bboxes=None)))
    assert [record.instances.masks.areas.tolist() for record in nowhere] == [[0], []]
    hidden = youtube_vis.read(written(tmp_path, entries() | {"annotations": None}))  # as in test sets
    assert [len(record.instances) for record in hidden] == [0, 0]


def test_results(tmp_path):
    truth = written(tmp_path, entries(), "truth.json")
    shape = {"size": [2, 3], "counts": [0, 6]}
    listed = [
        {"video_id": 1, "category_id": 4, "score": 0.1, "segmentations": [None, shape]},
        {"video_id": 1, "category_id": 4, "score": 0.9, "segmentations": [shape, shape]},
    ]
    found = youtube_vis.read_results(written(tmp_path, listed, "results.json"), truth)
    assert [record.id for record in found] == ["1/0", "1/1"]
    assert [record.instances.ids.tolist() for record in found] == [[2], [1, 2]]
    assert found[1].instances.extras["score"].tolist() == [0.1, 0.9]
    youtube_vis.write_results(found, tmp_path / "again.json", truth)
    again = youtube_vis.read_results(tmp_path / "again.json", truth)
    assert [one.instances == other.instances for one, other in zip(found, again, strict=True)] == [True, True]
    youtube_vis.write_results(found, tmp_path / "own.json")
    assert json.loads((tmp_path / "own.json").read_text("utf-8"))[0]["category_id"] == 1


def test_results_that_do_not_fit(tmp_path):
    truth = written(tmp_path, entries(), "truth.json")
    part = Instances.of(Masks.from_counts([0, 6], [0, 2], (2, 3)), scores=[0.5], ids=[1])
    for dataset, message in (
        (Dataset([Record(None, (2, 3), part, 1, {}, 1, 2)], ["car"]), "got frame 2 of video 1, which has 2"),
        (Dataset([Record(None, (2, 3), part, 1, {}, 2, 0)], ["car"]), "got frame 0 of video 2, which has 0"),
        (Dataset([Record(None, (2, 3), part, 1, {}, 1, 0)], ["cat"]), "classes must be categories .* 'cat'"),
        (Dataset([Record(None, (2, 3), part, 1)], ["car"]), "in frames of a video, got none in record 1"),
        (
            Dataset([Record(None, (2, 3), part.replace(scores=None), 1, {}, 1, 0)], ["car"]),
            "must have scores and masks",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            youtube_vis.write_results(dataset, tmp_path / "x.json", truth)
    assert not (tmp_path / "x.json").exists()
    for entry, message in (
        (
            {"video_id": 2, "category_id": 4, "score": 1, "segmentations": [None, None]},
            "result 0: video_id must",
        ),
        ({"video_id": 1, "category_id": 5, "score": 1, "segmentations": [None, None]}, "category_id must be"),
        ({"video_id": 1, "category_id": 4, "segmentations": [None, None]}, "score must be a number"),
        (
            {"video_id": 1, "category_id": 4, "score": 1, "segmentations": [None]},
            "for each of 2 frames, got 1",
        ),
    ):
        with pytest.raises(FormatError, match=message):
            youtube_vis.read_results(written(tmp_path, [entry], "r.json"), truth)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"video_id": 2}, "annotation 3: video_id must be the id of a video, got 2"),
        ({"category_id": 2}, "annotation 3, frame 0: category_id must be the id of a category, got 2"),
        ({"iscrowd": 2}, "iscrowd must be 0 or 1, got 2"),
        ({"areas": [1]}, "annotation 3: areas must have one item for each of 2 frames, got 1"),
        ({"bboxes": [[0, 0, 1], None]}, r"bbox must be \[x, y, width, height\], got 3 numbers"),
        (
            {"segmentations": [{"size": [3, 2], "counts": [6]}, None]},
            "segmentation size must be the picture's",
        ),
        ({"segmentations": [{"size": [2, 3], "counts": [7]}, None]}, "annotation 3, frame 0: segmentation: "),
        ({"segmentations": [[[0, 0, 1]], None]}, "polygon has 3 numbers"),
        ({"segmentations": ["x", None]}, "segmentation must be a list of polygons or a run-length mask"),
        ({"segmentations": "x"}, r"annotations\[0\].segmentations: Expected `array \| null`, got `str`"),
        ({"id": 2**70}, "annotation 3|Integer value out of range|id must fit 64 bits"),
    ],
)
def test_contradictions(tmp_path, change, message):
    path = written(tmp_path, entries(**change))
    with pytest.raises(FormatError, match=message) as error:
        youtube_vis.read(path)
    assert error.value.path == path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": None}, r"videos\[0\]: id must be an int or a str"),
        ({"length": 3}, "video 1: length must be the number of file_names, got 3 and 2 names"),
        ({"file_names": None, "length": 10**12}, "length must be the number of file_names"),
        ({"file_names": ["a", 5]}, "image 1/1: file_name must be a file's name, got 5"),
        ({"height": 0}, "height must be an int of 1 to"),
        ({"height": 2**24, "width": 2**24}, r"height \* width must be at most"),
        ({"image_ids": [1]}, "image_ids and frame_numbers must have 2 items each"),
        ({"image_ids": [1, 1]}, "image 1: id must be unique"),
        ({"frame_numbers": [0, 0]}, "frame_numbers must be different"),
        ({"frame_numbers": [0, -1]}, "frame_numbers must be ints of at least 0"),
    ],
)
def test_videos_that_contradict_themselves(tmp_path, change, message):
    content = entries()
    content["videos"][0] |= change
    with pytest.raises(FormatError, match=message):
        youtube_vis.read(written(tmp_path, content))
    content["videos"] *= 2


def test_other_contradictions(tmp_path):
    twice = entries()
    twice["annotations"] *= 2
    with pytest.raises(FormatError, match="annotation 3: id must be unique"):
        youtube_vis.read(written(tmp_path, twice))
    twice = entries()
    twice["videos"] *= 2
    with pytest.raises(FormatError, match="video 1: id must be unique"):
        youtube_vis.read(written(tmp_path, twice))
    half = entries()
    half["annotations"].append(half["annotations"][0] | {"id": 4, "score": 0.5})
    with pytest.raises(FormatError, match=r"annotation 3, frame 0: score must be a number .* got None"):
        youtube_vis.read(written(tmp_path, half))
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(FormatError, match="file must be JSON"):
        youtube_vis.read(tmp_path / "a.json")


def cocovid(**changes):
    content = entries()
    content["videos"] = [{"id": 1, "name": "a"}]
    content["images"] = [
        {"id": 10 + n, "file_name": f"{n}.jpg", "height": 2, "width": 3, "video_id": 1, "frame_id": n}
        for n in range(2)
    ]
    shape = {"size": [2, 3], "counts": [0, 6]}
    content["annotations"] = [
        {"id": 1 + n, "image_id": 10 + n, "category_id": 4, "instance_id": 8, "segmentation": shape} | changes
        for n in range(2)
    ]
    return content


def test_cocovid(tmp_path):
    path = written(tmp_path, cocovid())
    dataset = youtube_vis.read(path)
    assert [(record.id, record.video, record.frame) for record in dataset] == [(10, 1, 0), (11, 1, 1)]
    assert [record.instances.ids.tolist() for record in dataset] == [[8], [8]]
    assert detect(path) == "youtube_vis"
    for change, message in (
        ({"image_id": 5}, "annotation 1: image_id must be the id of a picture, got 5"),
        ({"id": 3}, "annotation 3: id must be unique"),
    ):
        with pytest.raises(FormatError, match=message):
            youtube_vis.read(written(tmp_path, cocovid(**change)))
    content = cocovid()
    del content["annotations"][0]["instance_id"]
    with pytest.raises(FormatError, match="instance_id must be an int"):
        youtube_vis.read(written(tmp_path, content))
    for key, value in (("video_id", 2), ("frame_id", -1), ("frame_id", 1)):
        content = cocovid()
        content["images"][0][key] = value
        with pytest.raises(FormatError, match=f"image 1.: {key} must be"):
            youtube_vis.read(written(tmp_path, content))
    content = cocovid()
    content["annotations"][1]["image_id"] = 10
    with pytest.raises(FormatError, match="image 10: track ids must be unique, got 8 twice"):
        youtube_vis.read(written(tmp_path, content))


def test_frames_that_no_file_can_hold(tmp_path):
    frames = [Record(None, (2, n + 3), Instances.empty((2, n + 3)), n, {}, "v", n) for n in range(2)]
    with pytest.raises(
        ValueError, match=r"frames of video 'v' must have one size, got \(2, 3\) and \(2, 4\)"
    ):
        youtube_vis.write(Dataset(frames, []), tmp_path / "a.json")
    assert not (tmp_path / "a.json").exists()


def test_sniff(tmp_path):
    assert youtube_vis.sniff(written(tmp_path, entries()))
    assert not coco.sniff(tmp_path / "a.json")
    for text in (b"", b"[]", b"{}", b'{"videos":1,"categories":[]}', b"\xff"):
        (tmp_path / "a.json").write_bytes(text)
        assert not youtube_vis.sniff(tmp_path / "a.json")
    assert not youtube_vis.sniff(tmp_path)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=150)
@given(data=st.data())
def test_any_change_of_a_file_is_read_or_refused(tmp_path_factory, data):
    content = data.draw(st.sampled_from([entries(), cocovid()]))
    place = content
    while True:  # down to a random place
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(list(keys)))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(JSON)
        break
    path = tmp_path_factory.mktemp("fuzz") / "a.json"
    path.write_text(json.dumps(content), "utf-8")
    with contextlib.suppress(FormatError):
        dataset = youtube_vis.read(path)
        with contextlib.suppress(ValueError):  # CocoVID objects may change their class
            youtube_vis.write(dataset, path)


def test_shared_files(shared, tmp_path):
    dataset = youtube_vis.read(shared / "data/video_traffic5/instances.json")
    assert [record.frame for record in dataset] == [0, 1, 2, 3, 4]
    assert dataset[0].path.is_file()
    assert dataset.classes == ("truck", "car")
    assert all(np.array_equal(r.instances.masks.areas, r.instances.extras["area"]) for r in dataset)
    youtube_vis.write(dataset, tmp_path / "a.json")
    again = youtube_vis.read(tmp_path / "a.json")
    assert [one.instances == other.instances for one, other in zip(dataset, again, strict=True)] == [True] * 5
    path = shared / "fixtures/formats/youtube_vis/mmtracking/ann.json"
    [record] = youtube_vis.read(path)
    assert detect(path) == "youtube_vis"
    x, y, width, height = json.loads(path.read_text("utf-8"))["annotations"][0]["bbox"]
    assert record.instances.boxes.tolist() == [[x, y, x + width, y + height]]
    assert record.instances.masks.boxes.tolist() == [[x, y, x + width, y + height]]
