import csv

import numpy as np
import pytest
import synthetic
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import regionprops

from delineate.instances import Instances
from delineate.masks import Masks
from delineate.measure import measure, write_csv

# Our name, and scikit-image's.
PROPERTIES = {
    "area_px": "area",
    "perimeter_px": "perimeter",
    "equivalent_diameter_px": "equivalent_diameter_area",
    "axis_major_px": "axis_major_length",
    "axis_minor_px": "axis_minor_length",
    "eccentricity": "eccentricity",
    "area_convex_px": "area_convex",
    "solidity": "solidity",
    "feret_max_px": "feret_diameter_max",
}
COLUMNS = [
    "label",
    "score",
    "area_px",
    "x0_px",
    "y0_px",
    "x1_px",
    "y1_px",
    "centroid_x_px",
    "centroid_y_px",
    "perimeter_px",
    "equivalent_diameter_px",
    "axis_major_px",
    "axis_minor_px",
    "eccentricity",
    "orientation_rad",
    "area_convex_px",
    "solidity",
    "convexity",
    "feret_max_px",
    "feret_max_angle_rad",
    "feret_min_px",
    "feret_min_angle_rad",
]


def one(mask):
    return Instances.of(Masks.from_dense(np.asarray(mask, bool)[None]))


def assert_same_direction(ours, region):
    """Up to half a turn; of a shape without a longer axis, any."""
    if region.axis_major_length - region.axis_minor_length > 1e-6:
        assert np.sin(ours - region.orientation) == pytest.approx(0, abs=1e-6)


def assert_equals_skimage(dense):
    found = measure(Instances.of(Masks.from_dense(dense)))
    for n, mask in enumerate(dense):
        (region,) = regionprops(mask.astype(np.uint8))
        for ours, theirs in PROPERTIES.items():
            assert found[ours][n] == pytest.approx(region[theirs], rel=1e-9, abs=1e-6), ours
        assert (found["centroid_y_px"][n], found["centroid_x_px"][n]) == pytest.approx(region.centroid)
        assert_same_direction(found["orientation_rad"][n], region)
        y0, x0, y1, x1 = region.bbox
        assert [found[f"{side}_px"][n] for side in ("x0", "y0", "x1", "y1")] == [x0, y0, x1, y1]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 14), st.integers(1, 14), st.floats(0.1, 0.95), st.integers(0, 2**32 - 1))
def test_random_masks_equal_skimage(height, width, density, seed):
    dense = np.random.default_rng(seed).random((3, height, width)) < density
    dense[:, 0, 0] = True  # scikit-image has no regions without pixels
    assert_equals_skimage(dense)


@pytest.mark.parametrize("style", synthetic.STYLES)
def test_nuclei_equal_skimage(style):
    _, truth = synthetic.nuclei(seed=7, style=style)
    assert_equals_skimage(truth.masks.to_dense())


@pytest.mark.parametrize(
    "shape",
    [
        np.ones((1, 1)),
        np.ones((1, 9)),
        np.ones((9, 1)),
        np.eye(6),
        np.ones((4, 4)),
        np.pad(np.ones((3, 3)), 1),
    ],
)
def test_hand_drawn_masks_equal_skimage(shape):
    assert_equals_skimage(np.asarray(shape, bool)[None])


def test_precision_does_not_depend_on_the_place():
    shape = np.ones((1, 31), bool)
    far = Masks.from_dense(shape[None]).translate(9000, 15000, (10_000, 16_000))
    near, moved = measure(one(shape)), measure(Instances.of(far))
    assert moved["axis_minor_px"][0] == near["axis_minor_px"][0] == 0
    assert moved["eccentricity"][0] == near["eccentricity"][0] == 1
    assert moved["centroid_x_px"][0] == 15015
    assert moved["centroid_y_px"][0] == 9000


def test_columns_and_types():
    found = measure(one(np.ones((2, 3))))
    assert list(found) == COLUMNS
    assert found["label"].dtype == np.int64
    assert found["area_px"].dtype == found["area_convex_px"].dtype == np.int64
    assert np.isnan(found["score"]).all()


def test_nothing_measures_nothing():
    found = measure(Instances.empty((4, 5)))
    assert list(found) == COLUMNS
    assert all(column.shape == (0,) for column in found.values())


def test_an_empty_mask_has_no_place():
    found = measure(one(np.zeros((4, 5))))
    without = [name for name, column in found.items() if np.isnan(column[0])]
    shapeless = ["eccentricity", "orientation_rad", "solidity", "convexity"]
    angles = ["feret_max_angle_rad", "feret_min_angle_rad"]
    assert without == ["score", "centroid_x_px", "centroid_y_px", *shapeless, *angles]
    assert found["area_px"][0] == found["axis_major_px"][0] == found["equivalent_diameter_px"][0] == 0


def test_boxes_are_those_of_the_instances():
    found = one(np.ones((4, 5))).replace(boxes=[[0.5, 1, 9, 9.25]])
    assert measure(found)["y1_px"].tolist() == [9.25]


def test_micrometres():
    _, truth = synthetic.nuclei()
    pixels, microns = measure(truth), measure(truth, pixel_size=0.5)
    lengths = [name for name in COLUMNS if name.endswith("_px") and not name.startswith("area")]
    factors = dict.fromkeys(lengths, 0.5) | {"area_px": 0.25, "area_convex_px": 0.25}
    assert [name.replace("_um2", "_px").replace("_um", "_px") for name in microns] == COLUMNS
    for name, in_microns in zip(COLUMNS, microns.values(), strict=True):
        np.testing.assert_allclose(in_microns, pixels[name] * factors.get(name, 1), rtol=1e-12, err_msg=name)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 14), st.integers(1, 14), st.floats(0.1, 0.95), st.integers(0, 2**32 - 1))
def test_pixels_that_are_not_square_equal_skimage(height, width, density, seed):
    dense = np.random.default_rng(seed).random((height, width)) < density
    dense[0, 0] = True
    found = measure(one(dense), pixel_size=(0.3, 1.7))
    (region,) = regionprops(dense.astype(np.uint8), spacing=(1.7, 0.3))
    for ours, theirs in PROPERTIES.items():
        if ours != "perimeter_px":  # scikit-image has none for such pixels
            name = ours.replace("_px", "_um2" if ours.startswith("area") else "_um")
            assert found[name][0] == pytest.approx(region[theirs], rel=1e-9, abs=1e-6), ours
    assert (found["centroid_y_um"][0], found["centroid_x_um"][0]) == pytest.approx(region.centroid)
    assert_same_direction(found["orientation_rad"][0], region)
    y0, x0, y1, x1 = region.bbox
    corners = [found[f"{side}_um"][0] for side in ("x0", "y0", "x1", "y1")]
    assert corners == pytest.approx([0.3 * x0, 1.7 * y0, 0.3 * x1, 1.7 * y1])


def test_a_rectangle_of_tall_pixels():
    found = measure(one(np.pad(np.ones((4, 7)), 1)), pixel_size=(0.5, 2))
    assert found["area_um2"].tolist() == [28]
    assert found["perimeter_um"][0] == pytest.approx(2 * 6 * 0.5 + 2 * 3 * 2)
    assert found["feret_min_um"].tolist() == [3.5]
    assert found["feret_min_angle_rad"][0] == pytest.approx(np.pi / 2)
    assert found["solidity"].tolist() == found["convexity"].tolist() == [1]


def test_convexity():
    y, x = np.ogrid[-30:31, -30:31]
    disc, ring = y**2 + x**2 <= 30**2, y**2 + x**2 <= 20**2
    star = disc & ~((abs(y) > 5) & (abs(x) > 5))
    values = [measure(one(shape))["convexity"][0] for shape in (np.ones((5, 9)), disc, disc & ~ring, star)]
    assert values[0] == 1
    assert values[1] > 0.93
    assert values[2] < 0.6  # the hole's border counts
    assert values[3] == pytest.approx(0.8, abs=0.06)
    assert [measure(one(shape))["convexity"][0] for shape in (np.ones((1, 1)), np.eye(5))] == [1, 1]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64, bool])
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_intensities_equal_skimage(dtype, channels):
    rng = np.random.default_rng(0)
    image = (rng.random((40, 50, channels or 1)) * 300).astype(dtype)
    image = image[..., 0] if channels is None else image
    dense = rng.random((3, 40, 50)) < [[[0.5]], [[0.1]], [[0.01]]]
    found = measure(Instances.of(Masks.from_dense(dense)), image=image)
    assert list(found)[: len(COLUMNS)] == COLUMNS
    for n, mask in enumerate(dense):
        (region,) = regionprops(mask.astype(np.uint8), intensity_image=image.astype(np.float64))
        for name in ("mean", "min", "max", "std", "median"):
            theirs = np.atleast_1d(region[f"intensity_{name}"])
            for c, value in enumerate(theirs):
                column = f"intensity_{name}" if channels is None else f"intensity_{name}_{c}"
                assert found[column][n] == pytest.approx(value, rel=1e-6), column
    assert len(found) == len(COLUMNS) + 6 * (channels or 1)


@pytest.mark.parametrize("pixel_size", [0, -1, float("nan"), float("inf"), (1, 0), (1, 2, 3), "1"])
def test_pixel_size_must_make_sense(pixel_size):
    with pytest.raises(ValueError, match="pixel_size must be above 0, one number or"):
        measure(Instances.empty((4, 5)), pixel_size=pixel_size)


def test_boxes_alone_cannot_be_measured():
    with pytest.raises(ValueError, match="instances must have masks, got boxes only"):
        measure(Instances((4, 5), [], []))


# The table


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_table_of_several_pictures(tmp_path):
    path = tmp_path / "objects.csv"
    _, first = synthetic.nuclei(seed=1)
    first = first.replace(scores=np.linspace(0.9, 0.1, len(first)), labels=np.arange(len(first)) % 2)
    _, second = synthetic.nuclei(seed=2)
    pictures = [("a, b.png", first), ("empty.png", Instances.empty((4, 5))), ("ü\n.png", second)]
    assert write_csv(path, iter(pictures), ["round", "long"]) == len(first) + len(second)
    found = rows(path)
    assert list(found[0]) == ["image", "object", "class", "score", *COLUMNS[2:]]
    assert [row["image"] for row in found] == ["a, b.png"] * len(first) + ["ü\n.png"] * len(second)
    assert [int(row["object"]) for row in found] == [*range(1, len(first) + 1), *range(1, len(second) + 1)]
    assert [row["class"] for row in found[:3]] == ["round", "long", "round"]
    assert found[0]["score"] == "0.9"
    assert found[-1]["score"] == ""
    expected = measure(first)
    for n in range(len(first)):
        assert found[n]["area_px"] == str(expected["area_px"][n])
        assert float(found[n]["eccentricity"]) == pytest.approx(expected["eccentricity"][n], abs=5e-5)


EMPTY = ["", "", "0", "", "", "0", "", "0", ""]  # from eccentricity on, of an empty mask


def test_numbers_are_plain(tmp_path):
    path = tmp_path / "objects.csv"
    masks = Masks.from_dense(np.zeros((1, 4, 5), bool))
    write_csv(path, [("a.png", Instances.of(masks, scores=[1e-9]))], ["round"], pixel_size=0.25)
    (row,) = rows(path)
    assert list(row.values()) == ["a.png", "1", "round", "0", *["0"] * 5, "", "", *["0"] * 4, *EMPTY]
    assert list(row)[4:7] == ["area_um2", "x0_um", "y0_um"]


def test_a_table_without_objects_has_a_head(tmp_path):
    path = tmp_path / "objects.csv"
    assert write_csv(path, [], []) == 0
    assert path.read_text() == ",".join(["image", "object", "class", "score", *COLUMNS[2:]]) + "\n"


def test_names_that_are_not_text_are_written_somehow(tmp_path):
    path = tmp_path / "objects.csv"
    write_csv(path, [("\udcff.png", one(np.ones((2, 2))))], ["round"])
    assert rows(path)[0]["image"] == "\\udcff.png"


def test_every_label_has_a_name(tmp_path):
    with pytest.raises(ValueError, match=r"classes must name every label, got 0 for label 0 in a\.png"):
        write_csv(tmp_path / "objects.csv", [("a.png", one(np.ones((2, 2))))], [])


def test_a_failure_on_the_way_leaves_no_table(tmp_path):
    def pictures():
        yield "a.png", one(np.ones((2, 2)))
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_csv(tmp_path / "objects.csv", pictures(), ["round"])
    assert list(tmp_path.iterdir()) == []
