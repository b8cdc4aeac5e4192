import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import ULTRALYTICS, head, network, segmenter, torchvision_detector
from PIL import Image

from delineate.errors import WeightsError
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.modelfile import KEY, Card, Preprocess, read_card
from delineate.postprocess.decode import Placement, Thresholds
from delineate.runtimes.onnx import OnnxRuntime

CARD = Card(
    name="cells", classes=("cell",), preprocess=Preprocess(size=(32, 32)), thresholds=Thresholds(score=0.4)
)


def resized(image, content):
    """Bilinear with half-pixel centres and no antialias, in float64."""
    image = np.float64(image)
    for axis, length in enumerate(content):
        count = image.shape[axis]
        at = np.clip((np.arange(length) + 0.5) * count / length - 0.5, 0, count - 1)
        low = np.floor(at).astype(int)
        weight = (at - low).reshape(-1, *[1] * (2 - axis))
        image = (
            image.take(low, axis) * (1 - weight) + image.take(np.minimum(low + 1, count - 1), axis) * weight
        )
    return image


def letterboxed(image, preprocess):
    """What `Preprocess.apply` promises, written down plainly."""
    canvas, content, placement = preprocess.place(image.shape[:2])
    levels = np.full((*canvas, 3), preprocess.pad, np.float64)
    rows, columns = (
        slice(int(start), int(start) + n) for start, n in zip(placement[2:], content, strict=True)
    )
    levels[rows, columns] = resized(image, content)
    if preprocess.channels == "bgr":
        levels = levels[..., ::-1]
    return ((levels / 255 - preprocess.mean) / preprocess.std).transpose(2, 0, 1)[None]


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.tuples(st.integers(1, 80), st.integers(1, 80)),
    st.sampled_from(["rgb", "bgr"]),
    st.integers(0, 3),
)
def test_letterbox_equals_the_plain_way(size, target, channels, threads):
    image = np.random.default_rng(sum(size)).integers(0, 256, (*size, 3), np.uint8)
    preprocess = Preprocess(
        size=target, channels=channels, pad=99.5, mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0)
    )
    tensor, placement = preprocess.apply(image, threads=threads)
    assert tensor.dtype == np.float32
    assert tensor.shape == (1, 3, *target)
    np.testing.assert_allclose(tensor, letterboxed(image, preprocess), atol=2e-6)
    assert placement == preprocess.place(size)[2]


@pytest.mark.parametrize("size", [(1080, 1920), (97, 61), (33, 640), (2000, 3)])
def test_differs_from_cv2_by_less_than_a_grey_level(size):
    """cv2.INTER_LINEAR on uint8: weights in 2048ths, both passes exact, then rounded to whole grey levels."""
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    preprocess = Preprocess(size=(64, 96), mean=(0, 0, 0), std=(1 / 255,) * 3)  # grey levels come out
    tensor, placement = preprocess.apply(image)
    content = preprocess.place(size)[1]
    levels = image.astype(np.int64)
    for axis, length in enumerate(content):
        count = image.shape[axis]
        at = np.clip((np.arange(length) + 0.5) * count / length - 0.5, 0, count - 1)
        low = np.floor(at).astype(int)
        weight = np.rint((at - low) * 2048).astype(np.int64).reshape(-1, *[1] * (2 - axis))
        levels = (
            levels.take(low, axis) * (2048 - weight)
            + levels.take(np.minimum(low + 1, count - 1), axis) * weight
        )
    levels = (levels + (1 << 21)) >> 22
    top, left = int(placement.top), int(placement.left)
    ours = tensor[0, :, top : top + content[0], left : left + content[1]].transpose(1, 2, 0)
    difference = np.abs(ours - levels)
    assert difference.max() < 0.75
    assert difference.mean() < 0.26  # the rounding alone: 1/4


@pytest.mark.parametrize("preprocess", [Preprocess(size=(48, 64)), Preprocess(rule="native", multiple=16)])
@pytest.mark.parametrize("threads", [1, 2])
def test_without_resizing_every_level_is_kept(preprocess, threads):
    image = np.random.default_rng(2).integers(0, 256, (48, 64, 3), np.uint8)
    tensor, placement = preprocess.apply(image, threads=threads)
    assert placement == Placement(1.0, 1.0, 0, 0)
    assert (tensor[0] == image.transpose(2, 0, 1) * np.float32(1 / 255)).all()


def test_strided_pictures():
    image = np.random.default_rng(3).integers(0, 256, (40, 50, 3), np.uint8)
    preprocess = Preprocess(size=(64, 64))
    expected = preprocess.apply(np.ascontiguousarray(image[::2, ::-1]))[0]
    assert (preprocess.apply(image[::2, ::-1])[0] == expected).all()


def test_writing_into_given_memory():
    image = np.random.default_rng(6).integers(0, 256, (30, 40, 3), np.uint8)
    preprocess = Preprocess(size=(32, 48))
    batch = np.full((3, 3, 32, 48), np.nan, np.float32)
    tensor, _ = preprocess.apply(image, out=batch[1:2])
    assert tensor.base is batch
    assert (batch[1:2] == preprocess.apply(image)[0]).all()
    assert np.isnan(batch[[0, 2]]).all()
    for wrong in (
        batch[0],
        batch[:1].astype(np.float64),
        batch[:1, :, :, ::2],
        batch[:1].transpose(0, 1, 3, 2),
    ):
        with pytest.raises(
            ValueError, match=r"out must be a C-ordered float32 array of shape \(1, 3, 32, 48\), got "
        ):
            preprocess.apply(image, out=wrong)


def test_letterbox_places_like_ultralytics():
    # r = min(640 / 1080, 640 / 810); an odd rest puts the larger half below and to the right.
    assert Preprocess().place((1080, 810)) == (
        (640, 640),
        (640, 480),
        Placement(640 / 1080, 480 / 810, 0, 80),
    )
    assert Preprocess(size=(33, 32)).place((16, 16)) == ((33, 32), (32, 32), Placement(2.0, 2.0, 0, 0))
    assert Preprocess(size=(35, 32)).place((16, 16)) == ((35, 32), (32, 32), Placement(2.0, 2.0, 1, 0))
    assert Preprocess(size=(32, 32)).place((1, 5000)) == ((32, 32), (1, 32), Placement(1.0, 0.0064, 15, 0))


def test_padding_is_grey_and_normalised():
    tensor, _ = Preprocess(size=(8, 16), pad=51, mean=(0.2, 0.1, 0), std=(1, 1, 2)).apply(
        np.zeros((8, 8, 3), np.uint8)
    )
    np.testing.assert_allclose(tensor[0, :, 0, 0], [0, 0.1, 0.1], atol=1e-7)
    np.testing.assert_allclose(tensor[0, :, 3, 4], [-0.2, -0.1, 0], atol=1e-7)
    np.testing.assert_allclose(tensor[0, :, 7, 15], [0, 0.1, 0.1], atol=1e-7)


def test_native_pads_at_the_bottom_and_the_right():
    preprocess = Preprocess(rule="native", scale=0.5, multiple=32)
    assert preprocess.place((101, 60)) == ((64, 32), (50, 30), Placement(50 / 101, 0.5, 0, 0))
    image = np.random.default_rng(4).integers(0, 256, (101, 60, 3), np.uint8)
    np.testing.assert_allclose(preprocess.apply(image)[0], letterboxed(image, preprocess), atol=1e-6)
    assert preprocess.place((1, 1))[:2] == ((32, 32), (1, 1))


def test_large_native_pictures_go_through_in_tiles():
    preprocess = Preprocess(rule="native", multiple=8, tile=64, overlap=16, scale=0.5, stretch=(0, 100))
    image = np.full((100, 200, 3), 30, np.uint8)
    image[40:50, 120:140] = 90
    seen = []

    def find(tensor, placement, size):
        seen.append((tensor.shape, placement, size))
        assert tensor.max() <= 1
        bright = np.kron(tensor[0, 0] > 0.5, np.ones((2, 2), bool))[: size[0], : size[1]]
        masks = Masks.from_dense(bright[None])
        return Instances.of(masks, scores=[0.9])[masks.areas > 0]

    found = preprocess.segment(image, find)
    assert [size for _, _, size in seen] == [(100, 128), (100, 128)]
    assert {shape for shape, _, _ in seen} == {(1, 3, 56, 64)}
    assert found.masks.areas.tolist() == [200]
    assert found.masks.boxes.tolist() == [[120, 40, 140, 50]]


def test_stretch():
    rng = np.random.default_rng(5)
    image = rng.normal(60, 10, (41, 33, 3)).clip(0, 255).astype(np.uint8)
    preprocess = Preprocess(rule="native", stretch=(1.0, 99.0))
    low, high = np.percentile(np.float64(image), (1, 99), method="inverted_cdf")
    expected = np.clip((image - low) * (255 / (high - low)), 0, 255) + 0.5
    stretched = preprocess.stretched(image)
    assert (stretched == expected.astype(np.uint8)).all()
    assert (preprocess.stretched(image[::-1, ::-1]) == stretched[::-1, ::-1]).all()
    assert (preprocess.apply(image)[0] == Preprocess(rule="native").apply(stretched)[0]).all()
    # The noise of an empty picture is not blown up to the full range.
    assert preprocess.stretched(np.full((4, 4, 3), 7, np.uint8)).max() == 0
    assert preprocess.stretched(rng.integers(7, 9, (40, 40, 3), np.uint8)).max() == 16
    assert Preprocess().stretched(image) is image


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (
            np.zeros((4, 4), np.uint8),
            ValueError,
            r"image must have shape \(H, W, 3\), at least one pixel, got \(4, 4\)",
        ),
        (np.zeros((4, 4, 4), np.uint8), ValueError, r"got \(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, r"got \(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.float32), TypeError, "image must be uint8, got float32"),
    ],
)
def test_wrong_pictures(image, error, message):
    with pytest.raises(error, match=message):
        Preprocess().apply(image)


@pytest.mark.parametrize(
    "values",
    [
        {"size": (0, 5)},
        {"size": (40_000, 5)},
        {"scale": 0.0},
        {"scale": float("nan")},
        {"multiple": 0},
        {"tile": 16},
        {"overlap": 600},
        {"std": (1.0, 0.0, 1.0)},
        {"mean": (0.0, float("inf"), 0.0)},
        {"pad": float("nan")},
        {"stretch": (5.0, 5.0)},
        {"stretch": (5.0, 101.0)},
    ],
)
def test_preprocess_is_checked(values):
    with pytest.raises(ValueError, match=f"Preprocess: .*{next(iter(values))}.* got "):
        Preprocess(**values)


def test_preprocess_survives_json():
    preprocess = Preprocess(rule="native", scale=0.5, mean=(0.1, 0.2, 0.3), stretch=(0.1, 99.9))
    assert msgspec.json.decode(msgspec.json.encode(preprocess), type=Preprocess) == preprocess
    with pytest.raises(msgspec.ValidationError, match="unknown field `colour`"):
        msgspec.json.decode(b'{"colour": 1}', type=Preprocess)


def test_card_survives_json():
    card = msgspec.structs.replace(
        CARD,
        provenance={"data": "dsb2018", "epochs": 3, "häh": ["中"]},
        parity={"iou": 0.999},
        strides=(4, 8),
    )
    assert Card.from_json(card.to_json()) == card
    assert b'"decode":"prototypes"' in card.to_json().encode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be readable"),
        ("{", "must be readable"),
        ("[]", "Expected `object`"),
        ('{"format": 2, "anything": 1}', "must have format 1, got 2. Update delineate"),
        ('{"format": 1, "name": "x"}', "missing required field"),
        (CARD.to_json().replace('"cell"', "7"), "Expected `str`, got `int`"),
        (CARD.to_json().replace('["cell"]', "[]"), "classes must hold at least one name"),
        (CARD.to_json().replace("[8,16,32]", "[0]"), "strides must be positive"),
        (CARD.to_json().replace('"prototypes"', '"os.system"'), "Invalid enum value 'os.system'"),
        (CARD.to_json().replace('"score":0.4', '"score":4'), r"score must be within \[0, 1\], got 4"),
        (CARD.to_json().replace('"parity":{}', '"provenance":' + "[" * 5000), "must be readable"),
    ],
)
def test_damaged_cards(text, message):
    with pytest.raises(WeightsError, match=message):
        Card.from_json(text)


def card_of(model):
    return read_card(OnnxRuntime(model, threads=1))


def test_our_own_export():
    assert card_of(segmenter(metadata={KEY: CARD.to_json()})) == CARD


def test_a_fixed_input_must_fit_the_card():
    with pytest.raises(
        WeightsError, match=r"must take letterbox pictures .* fixed input images \(1, 3, 64, 32\)"
    ):
        card_of(segmenter(shape=(1, 3, 64, 32), metadata={KEY: CARD.to_json()}))
    native = msgspec.structs.replace(CARD, preprocess=Preprocess(rule="native"))
    with pytest.raises(WeightsError, match="must take native pictures"):
        card_of(segmenter(metadata={KEY: native.to_json()}))
    assert card_of(segmenter(shape=(1, 3, "h", "w"), metadata={KEY: native.to_json()})) == native


def test_ultralytics_export():
    card = card_of(segmenter())
    assert card.classes == ("bright", "dark")
    assert card.preprocess == Preprocess(rule="letterbox", size=(32, 32), pad=114.0)
    assert card.thresholds == Thresholds(score=0.25, iou=0.7, max_detections=300)
    assert card.licence == "AGPL-3.0 License (https://ultralytics.com/license), by Ultralytics"
    assert card.name == "Ultralytics YOLOv8n-seg model trained on things.yaml"
    assert card.provenance["producer"] == "Ultralytics 8.4.33"


def test_the_input_size_comes_from_the_graph_then_the_metadata():
    dynamic = ("batch", 3, "height", "width")
    assert card_of(segmenter(shape=(1, 3, 64, 96))).preprocess.size == (64, 96)
    assert card_of(segmenter(shape=dynamic)).preprocess.size == (32, 32)
    for stated in ("", "seven", "[1]", '["a", 2]'):
        assert card_of(
            segmenter(shape=dynamic, metadata=ULTRALYTICS | {"imgsz": stated})
        ).preprocess.size == (640, 640)


@pytest.mark.parametrize("names", ["{0: 'a', 1: 'b'}", "{1: 'b', 0: 'a'}", "['a', 'b']", '("a", "b")'])
def test_class_names(names):
    assert card_of(segmenter(metadata=ULTRALYTICS | {"names": names})).classes == ("a", "b")


@pytest.mark.parametrize(
    "names",
    [
        "",
        "{",
        "{0: 'a', 2: 'b'}",
        "{0: 1, 1: 2}",
        "[]",
        "'ab'",
        "{}",
        "__import__('os')",
        "(" * 10_000,
        "[1, [2, 3]]",
    ],
)
def test_class_names_that_are_none(names):
    with pytest.raises(WeightsError, match="metadata 'names' must"):
        card_of(segmenter(metadata=ULTRALYTICS | {"names": names}))


def zeros(*shapes):
    return {f"output{index}": np.zeros(shape, np.float32) for index, shape in enumerate(shapes)}


@pytest.mark.parametrize(
    ("shapes", "classes"),
    [
        ([(1, 39, 84), (1, 32, 8, 8)], 3),
        ([(84, 67), (84, 32), (32, 64)], None),  # flattened prototypes and no names: could be anything
        ([(84, 67), (84, 32), (1, 32, 8, 8)], 3),
    ],
)
def test_nameless_networks_are_known_by_their_shapes(shapes, classes):
    model = network(zeros(*shapes), shape=(1, 3, 64, 64))
    if classes is None:
        with pytest.raises(WeightsError, match="none of the known shapes"):
            card_of(model)
        return
    card = card_of(model)
    assert card.classes == ("class 0", "class 1", "class 2")
    assert card.licence == "not stated in the file"


@pytest.mark.parametrize(
    "shapes",
    [
        [(1, 39, 84), (1, 32, 8, 8)],
        [(1, 84, 39), (1, 32, 8, 8)],
        [(84, 99), (1, 32, 8, 8)],
        [(84, 99), (32, 256)],
        [(84, 67), (84, 32), (32, 256)],
    ],
)
def test_networks_with_names(shapes):
    model = network(zeros(*shapes), shape=(1, 3, 64, 64), metadata={"names": "['a', 'b', 'c']"})
    assert card_of(model).classes == ("a", "b", "c")


@pytest.mark.parametrize("masks", [True, False])
def test_torchvision_export(masks):
    card = card_of(torchvision_detector(masks=masks))
    assert (card.name, card.decode, card.licence) == (
        "torchvision detector",
        "pasted",
        "not stated in the file",
    )
    assert (card.preprocess.rule, card.preprocess.multiple) == ("native", 1)
    assert card.preprocess.place((1200, 1801))[:2] == ((1200, 1801), (1200, 1801))
    assert card.classes[:2] == ("class 1", "class 2")
    assert len(card.classes) == 90


def test_torchvision_export_of_one_size():
    card = card_of(torchvision_detector(shape=(3, 48, 64)))
    assert (card.preprocess.rule, card.preprocess.size) == ("letterbox", (48, 64))
    with pytest.raises(WeightsError, match="one side of its pictures is fixed"):
        card_of(torchvision_detector(shape=(3, 48, "width")))


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ({"outputs": zeros((1, 39, 84)), "metadata": {}}, "none of the known shapes"),
        (
            {"outputs": zeros((1, 39, 84), (1, 32, 8, 8)), "metadata": ULTRALYTICS},
            "shapes for the 2 classes that it names",
        ),
        ({"outputs": zeros((1, 300, 38), (1, 32, 8, 8)), "metadata": {}}, "none of the known shapes"),
        (
            {"outputs": zeros((1, 38, 84), (1, 32, 8, 8)), "metadata": ULTRALYTICS | {"end2end": "True"}},
            "own suppression",
        ),
        (
            {"outputs": zeros((1, 6, 84)), "metadata": ULTRALYTICS | {"task": "detect"}},
            "task is 'detect', which has no masks",
        ),
        ({"outputs": zeros((1, 10)), "shape": (1, 10), "metadata": {}}, "does not take pictures"),
        (
            {"outputs": {"a": np.zeros((1, 38, 9), np.int64), "b": np.zeros((1, 32, 8, 8), np.int64)}},
            "known shapes",
        ),
        ({"outputs": zeros((1, 32, 8, 8), (1, 32, 8, 8))}, "known shapes"),
        ({"outputs": zeros((1, 32, 8, 8))}, "known shapes"),
        ({"outputs": zeros((2, 4), (2,)), "shape": (3, 64, 64)}, "known shapes for a picture"),
        ({"outputs": zeros((2, 4), (2,), (2,)), "shape": (3, "h", "w")}, "known shapes for a picture"),
        ({"outputs": zeros((9, 67), (9, 32), (9, 4), (1, 32, 8, 8))}, "known shapes"),
    ],
)
def test_unknown_models_are_described(model, why):
    with pytest.raises(
        WeightsError, match=rf"{why}.*Its inputs: images .*; its outputs: .*Recognised are: "
    ) as caught:
        card_of(network(**model))
    assert "output" in str(caught.value)


def test_head_helper_round_trip():
    array = head([[0, 0, 4, 2]], [[0.5]], [[1.0]])
    assert array.tolist() == [[[2], [1], [4], [2], [0.5], [1]]]


@pytest.mark.parametrize(
    ("rounding", "size", "content", "canvas"),
    [
        ("floor", (427, 640), (800, 1199), (800, 1216)),
        ("floor", (500, 333), (1201, 800), (1216, 800)),
        ("floor", (100, 1000), (133, 1333), (160, 1344)),
        ("nearest", (427, 640), (800, 1199), (800, 1216)),
        ("nearest", (333, 500), (800, 1201), (800, 1216)),
        ("nearest", (334, 501), (800, 1200), (800, 1216)),
        ("nearest", (1000, 100), (1333, 133), (1344, 160)),
        ("floor", (1, 4000), (1, 1333), (32, 1344)),
    ],
)
def test_the_shorter_side_decides(rounding, size, content, canvas):
    rule = Preprocess(rule="shortest", size=(800, 1333), rounding=rounding)
    found, resized, placement = rule.place(size)
    assert (found, resized) == (canvas, content)
    assert placement == (content[0] / size[0], content[1] / size[1], 0, 0)


def test_padding_beside_the_shorter_side_is_zero_after_normalising():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    rule = Preprocess(rule="shortest", size=(48, 80), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    tensor, _ = rule.apply(image)
    assert tensor.shape == (1, 3, 64, 64)
    assert not tensor[:, :, 48:].any()
    assert not tensor[..., 60:].any()
    plain = Preprocess(rule="native", scale=1.2, mean=rule.mean, std=rule.std)
    np.testing.assert_allclose(tensor[..., :48, :60], plain.apply(image)[0][..., :48, :60], atol=1e-6)


def test_antialias_is_pillows():
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    rule = Preprocess(
        rule="shortest",
        size=(32, 64),
        antialias=True,
        channels="bgr",
        mean=(0.4, 0.5, 0.6),
        std=(1 / 255,) * 3,
    )
    small = np.asarray(Image.fromarray(image).resize((43, 32), Image.Resampling.BILINEAR)).astype(np.float32)
    want = (small[..., ::-1] - np.array([0.4, 0.5, 0.6], np.float32) * 255).transpose(2, 0, 1)
    tensor, _ = rule.apply(image)
    np.testing.assert_allclose(tensor[0, :, :32, :43], want, atol=1e-3)
    same = rule.apply(image[:32, :43])[0][0, :, :32, :43]  # needs no resizing, and is copied
    np.testing.assert_allclose(same[0], image[:32, :43, 2] - 0.4 * 255, atol=1e-3)
