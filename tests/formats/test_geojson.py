import json

import numpy as np
import pytest
import shapely
from nasty import SIZE, shapes

from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import geojson
from delineate.image import write_image
from delineate.instances import Instances
from delineate.masks import Masks

SQUARE = [[1, 1], [6, 1], [6, 5], [1, 5], [1, 1]]
HOLE = [[2, 2], [2, 4], [4, 4], [4, 2], [2, 2]]


def feature(kind="Polygon", coordinates=(SQUARE,), **properties):
    geometry = None if kind is None else {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


@pytest.fixture
def read(tmp_path):
    def read(*features, options=None, **head):
        content = {"type": "FeatureCollection", "features": features} | head
        (tmp_path / "a.geojson").write_text(json.dumps(content))
        return geojson.read(tmp_path / "a.geojson", **(options or {}))

    return read


def test_holes_and_parts_are_kept(read):
    other = [[8, 0], [9, 0], [9, 1], [8, 1], [8, 0]]
    found = read(
        feature(coordinates=[SQUARE, HOLE]), feature("MultiPolygon", [[SQUARE, HOLE], [other]]), feature(None)
    )
    dense = np.zeros((3, 5, 9), bool)
    dense[:2, 1:5, 1:6] = True
    dense[:2, 2:4, 2:4] = False
    dense[1, 0, 8] = True
    np.testing.assert_array_equal(found[0].instances.masks.to_dense(), dense)


@pytest.mark.parametrize(
    ("properties", "label"),
    [
        ({"classification": {"name": "Tumor", "color": [200, 0, 0]}}, "Tumor"),
        ({"classification": {"names": ["Tumor", "Positive"]}}, "Tumor: Positive"),
        ({"class": "roof", "label": "other"}, "roof"),
        ({"label": "roof"}, "roof"),
        ({"classification": None}, "object"),
        ({}, "object"),
    ],
)
def test_classes_as_qupath_and_others_say_them(read, properties, label):
    assert read(feature(**properties)).classes == (label,)


def test_measurements_are_attributes(read):
    more = {"objectType": "cell", "measurements": {"Area": 4.5}, "isLocked": True}
    found = read(feature(classification={"name": "Tumor"}, score=0.5, **more))[0].instances
    assert json.loads(found.extras["attributes"][0]) == more
    assert found.scores.tolist() == [0.5]
    some = read(feature(score=0.5), feature())[0].instances
    assert some.scores is None, "not all have one"
    assert json.loads(some.extras["attributes"][0]) == {"score": 0.5}


def test_lists_and_single_features_are_read(tmp_path):
    for content in ([feature()], feature()):
        (tmp_path / "a.json").write_text(json.dumps(content))
        assert geojson.sniff(tmp_path / "a.json")
        assert len(geojson.read(tmp_path / "a.json")[0].instances) == 1


def test_the_size_comes_from_the_best_source(read, tmp_path):
    assert read(feature())[0].size == (5, 6), "all polygons fit"
    write_image(tmp_path / "a.png", np.zeros((7, 8, 3), np.uint8))
    assert read(feature())[0].size == (7, 8)
    assert read(feature())[0].path == tmp_path / "a.png"
    assert read(feature(), imageHeight=9, imageWidth=10)[0].size == (9, 10)
    assert read(feature(), imageHeight=9, imageWidth=10, options={"size": (11, 12)})[0].size == (11, 12)
    (tmp_path / "a.png").unlink()
    assert read()[0].size == (1, 1)


def test_points_are_counted(read, caplog):
    assert len(read(feature("Point", [1, 2]), feature("Point", [1, 2]))[0].instances) == 0
    assert "2 features are a Point" in caplog.text


def test_maps_are_read_through_their_transform(tmp_path):
    """North is up, half a metre a pixel, turned a little: the polygons are where shapely moves them to."""
    transform = (0.5, 0.125, 1000.0, 0.25, -0.5, 5000.0)
    masks = Masks.from_dense(shapes())
    record = Record(None, SIZE, Instances.of(masks), 1)
    geojson.write(Dataset([record], ["roof"]), tmp_path / "map", transform=transform)
    geojson.write(Dataset([record], ["roof"]), tmp_path / "pixels")
    found = [
        json.loads((tmp_path / name / "1.geojson").read_text())["features"] for name in ("map", "pixels")
    ]
    for moved, own in zip(*found, strict=True):
        a, b, c, d, e, f = transform
        true = shapely.affinity.affine_transform(shapely.geometry.shape(own["geometry"]), [a, b, d, e, c, f])
        there = shapely.geometry.shape(moved["geometry"])
        assert there.normalize().equals_exact(true.normalize(), 1e-9)
        assert all(part.exterior.is_ccw for part in shapely.get_parts(there)), "as RFC 7946 asks for it"
    assert geojson.read(tmp_path / "map", transform=transform)[0].instances.masks == masks


def test_shapely_agrees_with_what_is_written(tmp_path):
    masks = Masks.from_dense(shapes())
    geojson.write(Dataset([Record(None, SIZE, Instances.of(masks), 1)], ["a"]), tmp_path / "out")
    written = json.loads((tmp_path / "out" / "1.geojson").read_text())["features"]
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    for one, dense in zip(written, masks.to_dense(), strict=True):
        polygon = shapely.geometry.shape(one["geometry"])
        np.testing.assert_array_equal(shapely.contains_xy(polygon, x.ravel(), y.ravel()).reshape(SIZE), dense)
        for part in shapely.get_parts(polygon):
            assert part.exterior.is_ccw, "as RFC 7946 asks for it"


@pytest.mark.parametrize("transform", [(0, 0, 0, 0, 0, 0), (1, 2, 0, 2, 4, 0), (float("nan"), 0, 0, 0, 1, 0)])
def test_a_transform_without_inverse_is_refused(read, transform):
    with pytest.raises(ValueError, match="inverted"):
        read(feature(), options={"transform": transform})


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (feature(coordinates=[[[1, 1], [2, 2], [1, 1]]]), r"features\[0\]: ring must have 3"),
        (feature(coordinates=[[]]), "positions"),
        (feature(coordinates=[[[1], [2], [3]]]), "positions must be two"),
        (feature(coordinates=[1, 2]), r"features\[0\].geometry.coordinates\[0\]"),
        (feature(coordinates=[[[0, 0], [1e300, 0], [1, 1]]]), "within 1e.09"),
        (feature(coordinates=[[[0, 0], [1e8, 0], [1, 1]]]), r"Give size=\(height, width\)"),
        ({"type": "Polygon"}, 'type must be "Feature"'),
        ({"type": "Feature", "geometry": {"type": 3}}, "features"),
    ],
)
def test_what_does_not_fit_is_named(read, one, text):
    with pytest.raises(FormatError, match=text):
        read(one)


@pytest.mark.parametrize(
    "head", [{"imageHeight": 0, "imageWidth": 4}, {"imageHeight": 2**24, "imageWidth": 2**24}]
)
def test_sizes_are_checked(read, head):
    with pytest.raises(FormatError, match="height (and width|. width) must be"):
        read(feature(), **head)


def test_other_json_is_not_claimed(tmp_path):
    for text in ("[]", "{}", "[1]", '{"type": "Topology"}', "x"):
        (tmp_path / "a.json").write_text(text)
        assert not geojson.sniff(tmp_path / "a.json")
