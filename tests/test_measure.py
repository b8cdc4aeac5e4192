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
]


def one(mask):
    return Instances.of(Masks.from_dense(np.asarray(mask, bool)[None]))


def assert_equals_skimage(dense):
    found = measure(Instances.of(Masks.from_dense(dense)))
    for n, mask in enumerate(dense):
        (region,) = regionprops(mask.astype(np.uint8))
        for ours, theirs in PROPERTIES.items():
            assert found[ours][n] == pytest.approx(region[theirs], rel=1e-9, abs=1e-6), ours
        assert (found["centroid_y_px"][n], found["centroid_x_px"][n]) == pytest.approx(region.centroid)
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
    assert found["area_px"].dtype == np.int64
    assert np.isnan(found["score"]).all()


def test_nothing_measures_nothing():
    found = measure(Instances.empty((4, 5)))
    assert list(found) == COLUMNS
    assert all(column.shape == (0,) for column in found.values())


def test_an_empty_mask_has_no_place():
    found = measure(one(np.zeros((4, 5))))
    without = [name for name, column in found.items() if np.isnan(column[0])]
    assert without == ["score", "centroid_x_px", "centroid_y_px", "eccentricity"]
    assert found["area_px"][0] == found["axis_major_px"][0] == found["equivalent_diameter_px"][0] == 0


def test_boxes_are_those_of_the_instances():
    found = one(np.ones((4, 5))).replace(boxes=[[0.5, 1, 9, 9.25]])
    assert measure(found)["y1_px"].tolist() == [9.25]


def test_micrometres():
    _, truth = synthetic.nuclei()
    pixels, microns = measure(truth), measure(truth, pixel_size=0.5)
    units = {"area_um2": 4, "label": 1, "score": 1, "eccentricity": 1}
    assert [name.replace("_um2", "_px").replace("_um", "_px") for name in microns] == COLUMNS
    for (name, in_microns), in_pixels in zip(microns.items(), pixels.values(), strict=True):
        np.testing.assert_allclose(in_microns * units.get(name, 2), in_pixels, rtol=1e-12)


@pytest.mark.parametrize("pixel_size", [0, -1, float("nan"), float("inf")])
def test_pixel_size_must_make_sense(pixel_size):
    with pytest.raises(ValueError, match="pixel_size must be above 0 micrometres, got"):
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


def test_numbers_are_plain(tmp_path):
    path = tmp_path / "objects.csv"
    masks = Masks.from_dense(np.zeros((1, 4, 5), bool))
    write_csv(path, [("a.png", Instances.of(masks, scores=[1e-9]))], ["round"], pixel_size=0.25)
    (row,) = rows(path)
    assert list(row.values()) == ["a.png", "1", "round", "0", *["0"] * 5, "", "", *["0"] * 4, ""]
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
