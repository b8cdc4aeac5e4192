"""SA-V's masklets: files made by hand, and Meta's own examples."""

import json

import numpy as np
import pytest

from delineate import formats
from delineate.errors import FormatError
from delineate.formats import sav
from delineate.instances import Instances
from delineate.masks import Masks

SIZE = (4, 6)
DENSE = np.zeros((2, *SIZE), bool)
DENSE[0, 1:3, 1:4] = DENSE[1, 0, 0] = True
SQUARE, POINT = Masks.from_dense(DENSE).to_rle()
NOTHING = {"size": list(SIZE), "counts": Masks.from_counts([24], [0, 1], SIZE).to_rle()[0]["counts"]}


def content(**changes):
    return {
        "video_id": "v",
        "video_height": 4.0,
        "video_width": 6.0,
        "video_split": "val",
        "masklet": [[SQUARE, NOTHING], [SQUARE, POINT], [NOTHING, NOTHING]],
        "masklet_id": [0, 7],
        "masklet_type": ["manual", "auto"],
        "masklet_stability_score": [[0.5, None], [None, 1.0], [None, None]],
    } | changes


def save(path, **changes):
    path.write_text(json.dumps(content(**changes)), "utf-8")
    return path


def test_frames_have_what_can_be_seen(tmp_path):
    dataset = formats.read(save(tmp_path / "v_manual.json"))
    assert formats.detect(tmp_path) == "sav"
    assert [(r.id, r.video, r.frame, r.split) for r in dataset] == [
        (f"v/{n:05}", "v", n, "val") for n in range(3)
    ]
    assert [record.instances.ids.tolist() for record in dataset] == [[0], [0, 7], []]
    assert dataset[1].instances.masks == Masks.from_dense(DENSE)
    assert [json.loads(text) for text in dataset[1].instances.extras["attributes"]] == [
        {"type": "manual"},
        {"type": "auto", "stability_score": 1.0},
    ]
    assert dataset.classes == ("object",)


def test_written_files_say_the_same(tmp_path):
    dataset = sav.read(save(tmp_path / "v_auto.json"))
    sav.write(dataset, tmp_path / "out")
    said = json.loads((tmp_path / "out" / "v_manual.json").read_bytes())
    given = content()
    assert said["masklet"] == given["masklet"][:3]
    assert {key: said[key] for key in given} == given
    assert said["masklet_visibility_changes"] == [1, 1]
    assert said["masklet_first_appeared_frame"] == [0.0, 1.0]
    assert said["masklet_size_abs"] == [6.0, 1.0]
    assert sav.read(tmp_path / "out") == dataset


def test_files_of_one_video_stay_apart(tmp_path):
    save(tmp_path / "v_manual.json")
    save(tmp_path / "v_auto.json")
    assert list(sav.read(tmp_path).videos()) == ["v_auto", "v_manual"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masklet_id": [0]}, r"masklet\[0\]: frame must have a mask for each of 1 ids, got 2"),
        ({"masklet_id": [3, 3]}, "masklet_id: ids must be different"),
        ({"masklet_id": [3, 2**64]}, "ids must be different and fit 64 bits"),
        ({"video_height": 4.5}, "height and width must be whole numbers of 1 to 16777216, got 4.5 and 6.0"),
        ({"video_height": 1e300}, "height and width must be whole"),
        ({"video_height": 5}, r"masklet\[0\]: .*size"),
        ({"masklet": [[{"size": [4, 6], "counts": "zz~~"}, NOTHING]]}, r"masklet\[0\]: "),
        ({"masklet": 3}, "masklet: Expected `array`, got `int`"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, changes, message):
    with pytest.raises(FormatError, match=message):
        sav.read(save(tmp_path / "v_manual.json", **changes))


def test_videos_must_be_of_one_piece(tmp_path):
    dataset = sav.read(save(tmp_path / "v_manual.json"))
    one, *rest = dataset
    larger = one.replace(instances=Instances.empty((9, 9)))
    with pytest.raises(FormatError, match="must have one size, got several"):
        sav.write(dataset.with_records([larger, *rest]), tmp_path / "a")
    sav.write(dataset.with_records([one.replace(split="train"), *rest]), tmp_path / "b")
    assert {record.split for record in sav.read(tmp_path / "b")} == {None}
    with pytest.raises(ValueError, match="must be frames of a video with masks"):
        sav.write(dataset.with_records([one.replace(video=None, frame=None)]), tmp_path / "a")
    with pytest.raises(FormatError, match="frames must be at most 1000000"):
        sav.write(dataset.with_records([one.replace(frame=10**7)]), tmp_path / "a")


@pytest.mark.parametrize("kind", ["manual", "auto"])
def test_examples_of_meta(shared, tmp_path, kind):
    file = shared / "data" / "sav_masklets" / f"sav_000001_{kind}.json"
    dataset = formats.read(file)
    sav.write(dataset, tmp_path / "out")
    said, given = (json.loads(one.read_bytes()) for one in (tmp_path / "out/sav_000001_manual.json", file))
    assert [Masks.from_rle(row) for row in said["masklet"]] == [
        Masks.from_rle(row) for row in given["masklet"]
    ]
    for key in ("masklet_id", "masklet_type", "masklet_num", "masklet_frame_count", "video_split"):
        assert said[key] == given[key], key
    for key in ("masklet_first_appeared_frame", "masklet_visibility_changes"):
        assert said[key] == given[key], key
    np.testing.assert_allclose(said["masklet_size_abs"], given["masklet_size_abs"], rtol=1e-6)
    if kind == "auto":
        there = np.array(Masks.from_rle(given["masklet"][50]).areas) > 0
        scores = [np.array(one["masklet_stability_score"][50])[there] for one in (said, given)]
        np.testing.assert_array_equal(*scores)
