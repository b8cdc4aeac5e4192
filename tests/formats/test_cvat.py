import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from nasty import SIZE, shapes
from shapely import affinity, geometry

from delineate import formats
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import cvat
from delineate.instances import Instances
from delineate.masks import Masks

HEAD = "<meta><task><labels><label><name>cell</name></label></labels></task></meta>"
VIDEO = """<meta><task><name>drive</name><size>5</size><start_frame>0</start_frame><stop_frame>4</stop_frame>
<original_size><width>40</width><height>30</height></original_size></task></meta>"""


@pytest.fixture
def read(tmp_path):
    def read(body, head=HEAD):
        (tmp_path / "a.xml").write_text(
            f"<annotations><version>1.1</version>{head}{body}</annotations>", "utf-8"
        )
        return cvat.read(tmp_path / "a.xml")

    return read


def picture(*elements, size=(30, 40)):
    return f'<image id="0" name="a.png" width="{size[1]}" height="{size[0]}">{"".join(elements)}</image>'


def frames(*elements):
    return f'<track id="7" label="cell">{"".join(elements)}</track>'


def box(frame, x, outside=0, kind="box", more=""):
    return f'<{kind} frame="{frame}" keyframe="1" outside="{outside}" xtl="{x}" ytl="2" xbr="{x + 4}" ybr="8" {more}/>'


# Shapes


def test_mask_runs_are_those_of_the_specification(read):
    """Runs along the rows of the box, zeros first."""
    pixels = np.array([[0, 1, 1], [1, 0, 1]], bool)
    found = read(
        picture('<mask label="cell" occluded="0" rle="1, 3, 1, 1" left="5" top="4" width="3" height="2"/>')
    )
    expected = np.zeros((30, 40), bool)
    expected[4:6, 5:8] = pixels
    np.testing.assert_array_equal(found[0].instances.masks.to_dense()[0], expected)


@pytest.mark.parametrize("degrees", [0, 30, 90, 200.5])
def test_boxes_turn_clockwise_about_their_centre(read, degrees):
    text = f'<box label="cell" occluded="0" xtl="8" ytl="10" xbr="28" ybr="18" rotation="{degrees}"/>'
    found = read(picture(text))[0].instances
    true = affinity.rotate(geometry.box(8, 10, 28, 18), degrees, origin="center")  # y down: clockwise
    y, x = np.mgrid[:30, :40] + 0.5
    inside = np.array([true.contains(geometry.Point(*at)) for at in zip(x.ravel(), y.ravel(), strict=True)])
    near = np.array(
        [true.exterior.distance(geometry.Point(*at)) < 0.8 for at in zip(x.ravel(), y.ravel(), strict=True)]
    )
    drawn = found.masks.to_dense()[0].ravel()
    np.testing.assert_array_equal(drawn[~near], inside[~near])
    if not degrees:
        assert found.boxes.tolist() == [[8, 10, 28, 18]]


def test_ellipses_cover_the_pixels_inside(read):
    found = read(picture('<ellipse label="cell" cx="20.5" cy="14.5" rx="12" ry="5" rotation="30"/>'))[
        0
    ].instances
    y, x = np.mgrid[:30, :40] + 0.5
    angle = np.deg2rad(30)
    along = (x - 20.5) * np.cos(angle) + (y - 14.5) * np.sin(angle)
    across = -(x - 20.5) * np.sin(angle) + (y - 14.5) * np.cos(angle)
    level = np.hypot(along / 12, across / 5)
    sure = np.abs(level - 1) > 0.15
    np.testing.assert_array_equal(found.masks.to_dense()[0][sure], (level < 1)[sure])


def test_attributes_have_the_types_of_the_head(read, shared):
    found = cvat.read(shared / "fixtures" / "formats" / "cvat" / "images_task" / "train.xml")
    first = found[0].instances
    assert json.loads(first.extras["attributes"][0]) == {
        "occluded": True,
        "a1": True,
        "a2": "v3",
        "a3": "0003",
        "a4": 2.4,
    }
    assert first.extras["z_order"].tolist() == [1]
    assert first.masks.areas.tolist() == [8]
    assert [record.path.is_file() for record in found] == [True, True]
    assert found.classes[:2] == ("label1", "label2")


def test_what_has_no_area_is_counted(read, caplog):
    line = '<polyline label="cell" points="1,1;2,2"/>'
    assert len(read(picture(line, line))[0].instances) == 0
    assert "2 elements <polyline>" in caplog.text


def test_real_masks_agree_with_numpy(shared):
    path = shared / "fixtures" / "formats" / "cvat" / "masks" / "annotations.xml"
    found = cvat.read(path)
    assert [len(record.instances) for record in found] == [9, 0, 0, 0, 0, 0]
    assert {record.split for record in found} == {"Train"}
    for n, node in enumerate(ET.parse(path).getroot().find("image")):
        if node.tag != "mask":
            continue
        runs = np.array(node.get("rle").split(","), int)
        values = np.repeat(np.arange(len(runs)) % 2, runs).astype(bool)
        left, top, width, height = (int(node.get(name)) for name in ("left", "top", "width", "height"))
        dense = np.zeros((1080, 1920), bool)
        dense[top : top + height, left : left + width] = values.reshape(height, width)
        assert found[0].instances.masks[[n]] == Masks.from_dense(dense[None])


# Tracks


def lefts(dataset):
    return {record.frame: record.instances.boxes[:, 0].tolist() for record in dataset}


def test_boxes_move_in_straight_lines_between_keyframes(read):
    found = read(frames(box(0, 2), box(2, 8), box(3, 8, outside=1)), VIDEO)
    assert lefts(found) == {0: [2], 1: [5], 2: [8], 3: [], 4: []}
    assert [(record.video, record.id, record.size) for record in found] == [
        ("drive", n, (30, 40)) for n in range(5)
    ]
    assert found[1].instances.ids.tolist() == [7]


def test_a_track_stays_to_the_end_of_the_video(read):
    assert lefts(read(frames(box(3, 2)), VIDEO)) == {0: [], 1: [], 2: [], 3: [2], 4: [2]}


def test_polygons_move_masks_stay(read):
    polygon = '<polygon frame="{}" outside="0" points="{}"/>'
    moved = frames(polygon.format(0, "0,0;4,0;4,4;0,4"), polygon.format(2, "8,0;12,0;12,4;8,4"))
    assert lefts(read(moved, VIDEO)) == {0: [0], 1: [4], 2: [8], 3: [8], 4: [8]}
    mask = '<mask frame="{}" outside="0" rle="0, 4" left="{}" top="0" width="2" height="2"/>'
    assert lefts(read(frames(mask.format(0, 0), mask.format(2, 8)), VIDEO)) == {
        0: [0],
        1: [0],
        2: [8],
        3: [8],
        4: [8],
    }
    unlike = frames(polygon.format(0, "0,0;4,0;4,4;0,4"), polygon.format(2, "8,0;12,0;12,4"))
    assert lefts(read(unlike, VIDEO))[1] == [0]


def test_angles_go_the_shorter_way_round(read):
    turned = frames(box(0, 10, more='rotation="350"'), box(2, 10, more='rotation="10"'))
    found = read(turned, VIDEO)
    assert found[1].instances.masks == read(frames(box(0, 10)), VIDEO)[1].instances.masks


def test_steps_of_frames_and_their_pictures(shared):
    found = cvat.read(shared / "fixtures" / "formats" / "cvat" / "video")
    assert [record.frame for record in found] == [10, 13, 16, 19]
    assert [record.path and record.path.name for record in found] == [
        *("frame_000010.png", "frame_000013.png", "frame_000016.png"),
        None,
    ]
    assert [len(record.instances) for record in found] == [1, 0, 0, 0], "outside from frame 13 on"


def test_tracks_come_back(tmp_path):
    masks = Masks.from_dense(shapes())
    rows = {0: [0, 1], 1: [1], 2: [0, 1, 2], 5: [2]}
    records = []
    for frame, picked in rows.items():
        attributes = [json.dumps({"n": n, "list": [1], "occluded": n == 0}) for n in picked]
        extras = {"attributes": attributes, "z_order": picked, "group": [4] * len(picked)}
        found = Instances.of(masks[picked], np.array(picked) % 2).replace(
            ids=np.array(picked) + 10, extras=extras
        )
        records.append(Record(None, SIZE, found, frame, {}, "drive", frame))
    cvat.write(Dataset(records, ["ä", "b"]), tmp_path / "a.xml", tracks=True)
    back = cvat.read(tmp_path / "a.xml")
    assert back.classes == ("ä", "b")
    assert [record.frame for record in back] == [0, 1, 2, 3, 4, 5]
    for record in back:
        true = next((one for one in records if one.frame == record.frame), None)
        if true is None:
            assert len(record.instances) == 0
            continue
        assert record.instances.masks == true.instances.masks
        assert record.instances.ids.tolist() == true.instances.ids.tolist()
        assert record.instances.labels.tolist() == true.instances.labels.tolist()
        for name in ("z_order", "group"):
            assert record.instances.extras[name].tolist() == true.instances.extras[name].tolist()
        assert [json.loads(text) for text in record.instances.extras["attributes"]] == [
            json.loads(text) for text in true.instances.extras["attributes"]
        ]


def test_tracks_need_one_video(tmp_path):
    records = [Record(None, (4, 4), Instances.empty((4, 4)), n, {}, f"v{n}", 0) for n in range(2)]
    with pytest.raises(ValueError, match="frames of one video"):
        cvat.write(Dataset(records, []), tmp_path / "a.xml", tracks=True)


# Writing


def test_other_parsers_read_what_is_written(tmp_path):
    found = Instances(
        (6, 7), [[1, 2, 3.5, 4]], [0], extras={"group": [0], "attributes": ['{"a\\"<": "x\\n&", "b": [1]}']}
    )
    cvat.write(Dataset([Record(None, (6, 7), found, "k")], ['c\t"1<']), tmp_path / "a.xml")
    [node] = ET.parse(tmp_path / "a.xml").getroot().find("image")
    assert (node.tag, node.get("label"), node.get("xbr")) == ("box", 'c\t"1<', "3.5")
    assert node.get("group_id") == "1", "CVAT has no group 0"
    assert [(one.get("name"), one.text) for one in node] == [('a"<', "x\n&"), ("b", "[1]")]
    back = cvat.read(tmp_path / "a.xml")
    assert back.classes == ('c\t"1<',)
    assert json.loads(back[0].instances.extras["attributes"][0]) == {'a"<': "x\n&", "b": [1]}
    assert back[0].instances.boxes.tolist() == [[1, 2, 3.5, 4]]


def test_attributes_of_mixed_types_come_back(tmp_path):
    values = [
        {"v": 3},
        {"v": "3"},
        {"v": True},
        {"v": None},
        {"occluded": False, "source": 4},
        {"source": "manual"},
    ]
    extras = {"attributes": [json.dumps(value) for value in values]}
    found = Instances((6, 7), [[1, 2, 3, 4]] * len(values), [0] * len(values), extras=extras)
    cvat.write(Dataset([Record(None, (6, 7), found, 5)], ["cell"]), tmp_path / "a.xml")
    back = cvat.read(tmp_path / "a.xml")[0].instances.extras["attributes"]
    assert [json.loads(text) for text in back] == values


# Hostile files


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (
            picture('<mask label="cell" rle="0, 5" left="5" top="4" width="2" height="2"/>'),
            "line 1: .*rle must sum to 4",
        ),
        (picture('<mask label="cell" rle="0, 4" left="39" top="4" width="2" height="2"/>'), "masks"),
        (picture('<mask label="cell" rle="" left="1" top="4" width="-2" height="2"/>'), "at least 1"),
        (
            picture('<mask label="cell" rle="99999999999" left="1" top="4" width="2" height="2"/>'),
            "whole numbers",
        ),
        (picture('<box label="cell" xtl="nan" ytl="1" xbr="3" ybr="3"/>'), "xtl must be a number"),
        (
            picture('<box label="cell" xtl="1" ytl="1" xbr="3"/>'),
            "ybr must be a number within 1e.09, got none",
        ),
        (picture('<box xtl="1" ytl="1" xbr="3" ybr="3"/>'), "label must be"),
        (picture('<polygon label="cell" points="1,1;2,2"/>'), "3 or more pairs"),
        (picture('<polygon label="cell" points="1,1;2,2;inf,3"/>'), "3 or more pairs"),
        (picture('<star label="cell"/>'), "element must be one of"),
        (picture(size=(0, 5)), "height must be"),
        (picture(size=(2**24, 2**24)), "pixels"),
        ('<image id="x" name="a" width="3" height="3"/>', "id must be a number"),
        (frames(box(0, 2)), "original_size"),
    ],
)
def test_what_does_not_fit_is_named(read, body, text):
    with pytest.raises(FormatError, match=text):
        read(body)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("<stop_frame>4<", "<stop_frame>99999999<"), "frames must be at most"),
        (("<stop_frame>4<", "<stop_frame>-4<"), "stop_frame must be"),
        (("<width>40<", "<width>0<"), "width must be"),
    ],
)
def test_heads_of_videos_are_checked(read, change, text):
    with pytest.raises(FormatError, match=text):
        read(frames(box(0, 2)), VIDEO.replace(*change))


def test_too_many_shapes_are_refused(read, monkeypatch):
    monkeypatch.setattr("delineate.formats._cvat_tracks._MAX_SHAPES", 3)
    with pytest.raises(FormatError, match="at most 3 shapes"):
        read(frames(box(0, 2)), VIDEO)


def test_entities_are_refused(tmp_path):
    (tmp_path / "a.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>')
    with pytest.raises(FormatError, match="no document type"):
        cvat.read(tmp_path / "a.xml")


def test_the_folder_of_an_export_is_recognised(tmp_path, shared):
    assert formats.detect(shared / "fixtures" / "formats" / "cvat" / "video") == "cvat"
    (tmp_path / "a.xml").write_text("<annotation><size/></annotation>")
    assert not cvat.sniff(tmp_path / "a.xml"), "that is VOC"
