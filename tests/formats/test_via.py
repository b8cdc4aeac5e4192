import json

import numpy as np
import pytest
from pycocotools import mask as pycocotools_mask

from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import via
from delineate.instances import Instances
from delineate.masks import Masks

SIZE = (30, 40)
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # of pycocotools


def region(name="rect", label="cell", **shape):
    shape = shape or {"x": 2, "y": 3, "width": 5, "height": 4}
    return {"shape_attributes": {"name": name} | shape, "region_attributes": {"class": label}}


def points(*pairs):
    return {"all_points_x": [x for x, _ in pairs], "all_points_y": [y for _, y in pairs]}


@pytest.fixture
def read(tmp_path):
    def read(*regions, options=None, **entry):
        content = {
            "filename": "a.png",
            "size": 7,
            "regions": list(regions),
            "height": SIZE[0],
            "width": SIZE[1],
        }
        (tmp_path / "a.json").write_text(json.dumps({"a.png7": content | entry}))
        return via.read(tmp_path / "a.json", **(options or {}))

    return read


def level(angle=0.0, centre=(20.5, 14.5), radii=(12, 5)):
    """Below 1 inside the ellipse."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    along = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
    across = -(x - centre[0]) * np.sin(angle) + (y - centre[1]) * np.cos(angle)
    return np.hypot(along / radii[0], across / radii[1])


def test_rectangles_keep_their_corners(read):
    found = read(region(x=2.5, y=3, width=5, height=4))[0].instances
    assert found.boxes.tolist() == [[2.5, 3, 7.5, 7]]
    assert read(region())[0].instances.masks.areas.tolist() == [20]


@pytest.mark.parametrize(
    ("one", "truth"),
    [
        (region("circle", cx=20.5, cy=14.5, r=9), level(radii=(9, 9))),
        (region("ellipse", cx=20.5, cy=14.5, rx=12, ry=5), level()),
        (region("ellipse", cx=20.5, cy=14.5, rx=12, ry=5, theta=0.5), level(0.5)),
    ],
)
def test_round_shapes_cover_the_pixels_inside(read, one, truth):
    drawn = read(one)[0].instances.masks.to_dense()[0]
    sure = np.abs(truth - 1) > 0.15
    np.testing.assert_array_equal(drawn[sure], (truth < 1)[sure])


def test_polylines_are_areas_where_they_are_closed(read, caplog):
    ring = [(2, 2), (20, 2), (20, 20), (2, 20)]
    closed, nearly, open_ = points(*ring, (2, 2)), points(*ring, (2, 3)), points(*ring)
    found = read(*(region("polyline", **one) for one in (closed, nearly, open_)), region("point", cx=1, cy=1))
    assert found[0].instances.masks.areas.tolist() == [18 * 18, 18 * 18]
    assert "1 polylines are open" in caplog.text
    assert "2 polylines are closed" in caplog.text
    assert "1 points have no area" in caplog.text


@pytest.mark.parametrize(
    ("attributes", "classes"),
    [
        ([{"name": "a"}, {"name": "b"}], ("a", "b")),
        ([{"name": "x1", "class": "a"}, {"name": "x2", "class": "b"}], ("a", "b")),
        ([{"name": "x1", "class": ""}, {"name": "x2", "class": "b"}], ("x1", "x2")),
        ([{"species": "a"}, {"species": "b", "age": "old"}], ("a", "b")),
        ([{"kind": {"a": True, "b": False}}, {"kind": {"b": True}}], ("a", "b")),
        ([{}, {"class": "b"}], ("b", "object")),
    ],
)
def test_the_class_is_what_most_regions_have(read, attributes, classes):
    regions = [region() | {"region_attributes": one} for one in attributes]
    assert read(*regions).classes == classes


def test_the_class_attribute_may_be_named(read):
    one = region() | {"region_attributes": {"class": "a", "age": "old"}}
    found = read(one, options={"attribute": "age"})
    assert found.classes == ("old",)
    assert json.loads(found[0].instances.extras["attributes"][0]) == {"class": "a"}


def test_projects_and_csv_say_the_same(tmp_path, read):
    found = read(
        region(), region("circle", label="ü, dot", cx=20, cy=14, r=5), file_attributes={"light": "dim"}
    )
    content = json.loads((tmp_path / "a.json").read_text())
    (tmp_path / "b.json").write_text(json.dumps({"_via_settings": {}, "_via_img_metadata": content}))
    lines = [
        "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
    ]
    [entry] = content.values()
    for n, one in enumerate(entry["regions"]):
        texts = [one["shape_attributes"], one["region_attributes"]]
        quoted = ['"' + json.dumps(text).replace('"', '""') + '"' for text in ({"light": "dim"}, *texts)]
        lines.append(f"a.png,7,{quoted[0]},2,{n},{quoted[1]},{quoted[2]}")
    lines.append('b.png,7,"{}",0,0,"{}","{}"')
    (tmp_path / "c.csv").write_text("\n".join(lines) + "\n", "utf-8")
    for name in ("b.json", "c.csv"):
        assert via.sniff(tmp_path / name)
        back = via.read(tmp_path / name, size=SIZE)
        assert back.classes == found.classes == ("cell", "ü, dot")
        assert back[0].instances.masks == found[0].instances.masks
        assert dict(back[0].attributes) == {"light": "dim"}
    assert [record.path.name for record in back] == ["a.png", "b.png"]


def test_real_files_agree_with_pycocotools(shared):
    root = shared / "fixtures" / "formats" / "via"
    found = via.read(root / "rice_via1" / "via_region_data.json")
    content = json.loads((root / "rice_via1" / "via_region_data.json").read_text())
    assert [len(record.instances) for record in found] == [len(one["regions"]) for one in content.values()]
    assert all(record.path.is_file() for record in found)
    for record, entry in zip(found, content.values(), strict=True):
        for mask, one in zip(record.instances.masks.to_dense(), entry["regions"].values(), strict=True):
            shape = one["shape_attributes"]
            ring = np.stack([shape["all_points_x"], shape["all_points_y"]], 1).ravel().tolist()
            [true] = pycocotools_mask.frPyObjects([ring], *record.size)
            np.testing.assert_array_equal(mask, pycocotools_mask.decode(true))
    made = via.read(root / "shapes_made_by_us" / "via_region_data.json")
    assert made.classes == ("circle", "ellipse", "rect", "triangle")
    lines = via.read(root / "polyline_via2" / "via_region_data.json", size=(2000, 2000))
    assert len(lines[0].instances) == 4


def test_sizes_of_missing_pictures(read, caplog):
    assert read(region(), height=None)[0].size == (7, 7)
    assert "their size is what the shapes fit into" in caplog.text
    assert read(region(), height=None, options={"size": (9, 9)})[0].size == (9, 9)


def test_what_is_written_other_readers_know(tmp_path):
    """Region by region as the balloon example of Mask R-CNN reads it: polygons of whole numbers and a class."""
    dense = np.zeros((2, *SIZE), bool)
    dense[0, 2:9, 2:9], dense[0, 4:6, 4:6], dense[1, 20:22, 4:6] = True, False, True
    dense[1, 25:28, 10:12] = True
    masks = Masks.concat([Masks.from_dense(dense), Masks.from_counts([SIZE[0] * SIZE[1]], [0, 1], SIZE)])
    instances = Instances.of(masks, [0, 1, 0]).replace(extras={"attributes": ['{"note": "x"}', "{}", "{}"]})
    records = [Record(None, SIZE, instances, n) for n in (5, "5")]
    via.write(Dataset(records, ["a", "b"]), tmp_path / "a.json")
    entries = list(json.loads((tmp_path / "a.json").read_text()).values())
    assert len(entries) == 2, "also where two records have one name"
    for one, true in zip(entries[0]["regions"], dense, strict=True):
        shape = one["shape_attributes"]
        ring = np.stack([shape["all_points_x"], shape["all_points_y"]], 1)
        assert ring.dtype.kind == "i"
        assert (Masks.from_polygons([[ring]], SIZE).to_dense()[0] == true).all()
    assert [one["region_attributes"] for one in entries[0]["regions"]] == [
        {"note": "x", "class": "a"},
        {"class": "b"},
    ]


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (region("star"), "region 0: name must be one of"),
        (region("circle", cx=1, cy=1), "r must be a number within 1e.08, got 'None'"),
        (region("circle", cx=1, cy=1, r=1e300), "r must be a number"),
        (region(x=True, y=1, width=1, height=1), "x must be a number"),
        (region("polygon", all_points_x=[1, 2, 3], all_points_y=[1, 2]), "lists of one length"),
        (region("polygon", **points((1, 1), (2, 2))), "3 points or more"),
        (region("polygon", all_points_x=["a"] * 3, all_points_y=[1] * 3), "all_points must be a number"),
        ({"region_attributes": {}}, "must have shape_attributes"),
        (5, "must have shape_attributes"),
    ],
)
def test_what_does_not_fit_is_named(read, one, text):
    with pytest.raises(FormatError, match=text):
        read(one)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"filename": ""}, "filename must be"),
        ({"regions": 5}, "regions must be"),
        ({"height": 0}, "height and width"),
        ({"height": 2**24, "width": 2**24}, "must be at most 4294967295"),
    ],
)
def test_pictures_are_checked(read, entry, text):
    with pytest.raises(FormatError, match=text):
        read(**entry)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "VIA's CSV"),
        ("", "VIA's CSV"),
        ('filename,file_attributes,region_shape_attributes,region_attributes\na,{},{,"{}"\n', "line 2"),
        (
            "filename,file_attributes,region_shape_attributes,region_attributes\na\n",
            "must have 4 values, got 1",
        ),
        ('filename,file_attributes,region_shape_attributes,region_attributes\n"a', "VIA's CSV"),
    ],
)
def test_damaged_csv_is_named(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(FormatError, match=message):
        via.read(tmp_path / "a.csv")


def test_version_3_is_refused(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"project": {}, "config": {}, "metadata": {}, "view": {}}))
    assert not via.sniff(tmp_path / "a.json")
    with pytest.raises(FormatError, match="version 3 of VIA as COCO"):
        via.read(tmp_path / "a.json")
