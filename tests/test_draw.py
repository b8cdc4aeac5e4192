import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delineate.draw import OKABE_ITO, colours, draw
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.panoptic import Panoptic


def eroded(mask):
    """The pixels whose four neighbours are covered too; outside the picture nothing is."""
    wide = np.pad(mask, 1)
    return mask & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]


def painted(image, masks, paints, alpha, outline):
    """The same overlay, pixel by pixel; large masks first."""
    result, weight = image.astype(np.int64), round(alpha * 256)
    for index in np.argsort([-mask.sum() for mask in masks], kind="stable"):
        inner = masks[index]
        for _ in range(outline):
            inner = eroded(inner)
        paint = np.int64(paints[index])
        result[inner] = (result[inner] * (256 - weight) + paint * weight + 128) >> 8
        result[masks[index] & ~inner] = paint
    return result.astype(np.uint8)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 2**32),
    st.tuples(st.integers(1, 20), st.integers(1, 150)),
    st.integers(0, 5),
    st.floats(0, 1),
    st.booleans(),
)
def test_equals_painting_every_pixel(seed, size, count, alpha, outline):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    y, x = np.mgrid[: size[0], : size[1]]
    masks = rng.random((count, *size)) < 0.2
    for mask in masks:  # ragged blobs of every size, up to the whole picture
        mask |= np.hypot(y - rng.uniform(0, size[0]), (x - rng.uniform(0, size[1])) / 5) < rng.uniform(0, 20)
    before = image.copy()
    found = Instances.of(Masks.from_dense(masks))
    result = draw(image, found, alpha=alpha, outline=outline)
    assert (result == painted(image, masks, colours(count), alpha, int(outline))).all()
    assert (image == before).all()


def test_outlines_are_two_pixels_wide_in_large_pictures():
    masks = np.zeros((1, 30, 1000), bool)
    masks[0, 2:25, 3:990] = True
    image = np.zeros((30, 1000, 3), np.uint8)
    expected = painted(image, masks, colours(1), 0.45, 2)
    assert (draw(image, Instances.of(Masks.from_dense(masks))) == expected).all()


def test_masks_at_the_border_are_closed_there():
    result = draw(
        np.zeros((5, 6), np.uint8), Instances.of(Masks.from_dense(np.ones((1, 5, 6), bool))), alpha=0
    )
    drawn = (result == OKABE_ITO[0]).all(axis=2)
    assert drawn.tolist() == (~eroded(np.ones((5, 6), bool))).tolist()


def test_small_objects_lie_on_top():
    masks = np.zeros((2, 6, 6), bool)
    masks[0, 2:4, 2:4] = True
    masks[1] = True
    result = draw(np.zeros((6, 6), np.uint8), Instances.of(Masks.from_dense(masks)), alpha=1.0)
    assert (result[2:4, 2:4] == OKABE_ITO[0]).all()
    assert (result[0] == OKABE_ITO[1]).all()


def test_no_objects_and_empty_masks():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    assert (draw(image, Instances.empty((5, 7))) == image).all()
    assert draw(image, Instances.empty((5, 7))) is not image
    nothing = Instances.of(Masks.from_dense(np.zeros((2, 5, 7), bool)))
    assert (draw(image, nothing, labels=False) == image).all()
    assert (draw(image, Instances.empty((5, 7)), ["a", "b"], labels=True) == image).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, bool])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
def test_any_picture(dtype, shape):
    result = draw(np.ones(shape, dtype), Instances.empty((5, 7)))
    assert result.shape == (5, 7, 3)
    assert result.dtype == np.uint8


def test_boxes_where_there_are_no_masks():
    found = Instances((9, 9), [[1, 2, 6, 7], [-3, -3, 2.4, 3], [20, 20, 30, 30], [4, 4, 4, 4]], [0, 1, 1, 0])
    result = draw(np.zeros((9, 9), np.uint8), found)
    first = (result == OKABE_ITO[0]).all(axis=2)
    expected = np.zeros((9, 9), bool)
    expected[2:7, 1:6] = True
    expected[3:6, 2:5] = False
    second = (result == OKABE_ITO[1]).all(axis=2)
    assert (first == (expected & ~second)).all()
    assert np.argwhere(second).max(axis=0).tolist() == [2, 1]


def test_colours_tell_classes_apart_or_objects():
    boxes = [[0, 0, 4, 4], [6, 0, 10, 4], [0, 6, 4, 10]]

    def paints(labels, palette=None):
        result = draw(np.zeros((12, 12), np.uint8), Instances((12, 12), boxes, labels), palette=palette)
        return [tuple(result[int(box[1]), int(box[0])].tolist()) for box in boxes]

    assert paints([4, 4, 4]) == [*OKABE_ITO[:3]]
    assert paints([4, 0, 4]) == [OKABE_ITO[4], OKABE_ITO[0], OKABE_ITO[4]]
    assert len(set(paints([10**12, 3, 4]))) == 3
    assert paints([0, 1, 2], palette=[(1, 2, 3), (4, 5, 6)]) == [(1, 2, 3), (4, 5, 6), (1, 2, 3)]


def test_colours_differ():
    table = colours(100).astype(int)
    assert table[:7].tolist() == [list(colour) for colour in OKABE_ITO]
    assert (table[:20] == colours(20)).all()
    color = pytest.importorskip("skimage.color")
    lab = color.rgb2lab(table[None] / 255)[0]
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=2) + 1000 * np.eye(100)
    assert distance.min() > 6
    assert distance[:40, :40].min() > 10
    assert lab[:, 0].min() > 41
    assert colours(0).shape == (0, 3)


def labelled(**options):
    """A picture of two classes; True where a label was written."""
    found = Instances((60, 200), [[10, 20, 90, 55], [110, 20, 190, 55]], [0, 1], [0.9, 0.8])
    image = np.full((60, 200), 100, np.uint8)
    plain = draw(image, found, ["cat", "dog"], labels=False)
    return bool((draw(image, found, **options) != plain).any())


def test_when_labels_are_written():
    assert labelled(classes=["cat", "dog"])
    assert not labelled()
    assert not labelled(classes=["cat", "dog"], labels=False)
    assert labelled(labels=True)
    one_class = Instances((60, 200), [[10, 20, 90, 55]], [0], [0.9])
    image = np.zeros((60, 200), np.uint8)
    assert (draw(image, one_class, ["cell"]) == draw(image, one_class)).all()
    assert (draw(image, one_class, ["cell"], labels=True) != draw(image, one_class)).any()
    crowd = Instances((60, 200), [[10, 20, 90, 55]] * 61, [0, 1] + [0] * 59)
    assert (draw(image, crowd, ["a", "b"]) == draw(image, crowd)).all()
    assert (draw(image, crowd[:60], ["a", "b"]) != draw(image, crowd[:60])).any()


def test_labels_do_not_cover_each_other():
    # Two objects in one place: the second label goes elsewhere, the others find no room.
    image = np.zeros((70, 120), np.uint8)
    boxes = [[20, 25, 60, 50]]
    seen = []
    for count in range(1, 8):
        found = Instances((70, 120), boxes * count, np.arange(count), [0.5] * count)
        result = draw(image, found, [f"class {k}" for k in range(count)], palette=[(255, 255, 255)])
        seen.append(int((result == 255).all(axis=2).sum()))
    assert seen[0] < seen[1] < seen[2]
    assert seen[3:] == seen[2:3] * 4


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (30, 12)])
def test_labels_without_room_are_left_out(size):
    found = Instances(size, [[0, 0, size[1], size[0]]], [0], [1.0])
    image = np.zeros(size, np.uint8)
    assert (draw(image, found, ["a long name"], labels=True) == draw(image, found, labels=False)).all()


def test_names_of_any_script_and_length():
    found = Instances((100, 900), [[5, 30, 400, 90], [450, 30, 800, 90]], [0, 1])
    assert draw(np.zeros((100, 900), np.uint8), found, ["клетка 細胞", "x" * 500]).shape == (100, 900, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 1.5}, r"alpha must be within \[0, 1\], got 1.5"),
        ({"alpha": float("nan")}, r"alpha must be within \[0, 1\], got nan"),
        ({"labels": "yes"}, "labels must be True, False or 'auto', got 'yes'"),
        ({"classes": ["a"]}, "classes must name label 1, got 1 names"),
        ({"palette": [1, 2, 3]}, r"palette must be \(K, 3\) levels within 0..255, K >= 1, got shape \(3,\)"),
        ({"palette": np.zeros((0, 3))}, r"got shape \(0, 3\)"),
        ({"palette": [[0, 0, 256]]}, r"palette must be \(K, 3\) levels within 0..255"),
        ({"image": np.zeros((4, 5))}, r"image must have the instances' size \(5, 7\), got \(4, 5\)"),
    ],
)
def test_wrong_arguments(options, message):
    given_ = {"image": np.zeros((5, 7)), "instances": Instances((5, 7), [[0, 0, 1, 1]] * 2, [0, 1])} | options
    with pytest.raises(ValueError, match=message):
        draw(given_.pop("image"), given_.pop("instances"), **given_)


def test_panoptic_classes_have_colours_objects_their_shades_and_void_none():
    """Two cars side by side in front of sky."""
    street = Panoptic(
        [[5, 5, 5, 5], [2, 2, 9, 0]],
        ids=[2, 9, 5],
        labels=[0, 0, 1],
        things=[True, True, False],
        scores=[0.9] * 3,
    )
    image = np.full((2, 4, 3), 7, np.uint8)
    result = draw(image, street, alpha=1, labels=False)
    lighter = np.rint(colours(1)[0] * 0.6 + 255 * 0.4).astype(np.uint8)
    want = {2: colours(3)[0], 9: lighter, 5: colours(3)[1], 0: image[0, 0]}
    assert all((result[y, x] == want[street.map[y, x]]).all() for y in range(2) for x in range(4))
    named = np.zeros((200, 300, 3), np.uint8)
    wide = Panoptic(
        np.kron(street.map, np.ones((100, 75), np.int32)), street.ids, street.labels, street.things
    )
    assert (draw(named, wide, ["car", "sky"]) != draw(named, wide, ["car", "sky"], labels=False)).any()
    with pytest.raises(ValueError, match=r"instances' size \(2, 4\), got \(3, 4\)"):
        draw(np.zeros((3, 4), np.uint8), street)


def test_a_legend_names_classes_counts_and_shares(monkeypatch):
    """Objects first, the most frequent on top, then stuff by area; in the colours of the classes."""
    seen = []
    monkeypatch.setattr("delineate.draw.with_legend", lambda canvas, entries: seen.append(entries) or canvas)
    map_ = np.repeat([[1, 2, 3, 4], [5, 5, 5, 6]], 50, axis=0)
    scene = Panoptic(map_, [1, 2, 3, 4, 5, 6], [0, 1, 1, 2, 3, 2], [True, True, True, False, False, False])
    draw(np.zeros((100, 4), np.uint8), scene, ["cat", "car", "sky", "road"], legend=True)
    table = colours(4).tolist()
    assert seen[0] == [
        (tuple(table[1]), "car", "2"),
        (tuple(table[0]), "cat", "1"),
        (tuple(table[3]), "road", "37.5 %"),
        (tuple(table[2]), "sky", "25.0 %"),
    ]
    draw(np.zeros((100, 4), np.uint8), scene, legend=False)
    assert seen[1] == []
