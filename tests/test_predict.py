import threading

import numpy as np
import pytest
from networks import ULTRALYTICS, head, network, segmenter, torchvision_detector
from PIL import Image

from delineate.dataset import Dataset, Record
from delineate.errors import FormatError, RuntimeFailure, WeightsError
from delineate.formats import coco
from delineate.image import read_image, write_image
from delineate.instances import Instances
from delineate.metrics.ap import evaluate
from delineate.modelfile import KEY, Card
from delineate.postprocess.decode import prototypes
from delineate.postprocess.panoptic import Rules
from delineate.predict import Placement, Predictor, Preprocess, Thresholds, embedded
from delineate.runtimes import Port


def native(pad=0.0, **changes):
    card = Card(
        name="bright",
        classes=("bright", "dark"),
        preprocess=Preprocess(rule="native", multiple=32, pad=pad),
        thresholds=Thresholds(max_detections=1000),
        licence="CC0-1.0",
    )
    return segmenter(shape=(1, 3, "h", "w"), metadata={KEY: card.to_json()}, **changes)


def picture(size=(48, 80), box=(10, 20, 60, 40)):
    """Black with a white rectangle x0, y0, x1, y1."""
    image = np.zeros((*size, 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    return image


@pytest.mark.parametrize("model", [segmenter, native])
def test_finds_what_is_bright(model):
    found = Predictor(model()).predict(picture())
    assert found.size == (48, 80)
    assert found.labels.tolist() == [0]
    assert found.scores.tolist() == [np.float32(0.9)]
    assert found.boxes.tolist() == [[0, 0, 80, 48]]
    y, x = np.nonzero(found.masks.to_dense()[0])
    # The network sees 4 x 4 cells of a picture shrunk by 2.5 at most: an edge may be off by half a cell.
    np.testing.assert_allclose([x.min(), y.min(), x.max() + 1, y.max() + 1], [10, 20, 60, 40], atol=5)


def test_native_pictures_of_any_size():
    predictor = Predictor(native(pad=255.0))
    for size in [(1, 1), (3, 100), (100, 3), (32, 32), (33, 65)]:
        found = predictor.predict(np.full(size, 255, np.uint8))
        assert found.size == size
        assert found.boxes.tolist() == [[0, 0, size[1], size[0]]]
        assert found.masks.areas.tolist() == [size[0] * size[1]]


def test_a_picture_without_objects():
    found = Predictor(segmenter()).predict(np.zeros((20, 30, 3), np.uint8))
    assert found == Instances.empty((20, 30), scored=True)


def test_every_form_of_a_picture(tmp_path):
    image = picture()
    write_image(tmp_path / "a.png", image)
    predictor = Predictor(segmenter())
    expected = predictor.predict(image)
    grey = image[..., 0]
    forms = [
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        (tmp_path / "a.png").read_bytes(),
        grey,
        grey[..., None],
        np.dstack([image, np.full(grey.shape, 9, np.uint8)]),
        grey.astype(np.uint16) * 200,
        grey.astype(np.float32) / 255,
        grey > 0,
    ]
    for form in forms:
        assert predictor.predict(form) == expected


def test_a_list_gives_a_list():
    predictor = Predictor(segmenter())
    images = [picture(), np.zeros((5, 6), np.uint8)]
    assert (
        predictor.predict(images)
        == predictor.predict(tuple(images))
        == [predictor.predict(image) for image in images]
    )
    assert predictor.predict([]) == []
    assert predictor.predict(images[:1]) == [predictor.predict(images[0])]


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (7, TypeError, "a picture must be a path, bytes or an array, got int"),
        ([None], TypeError, "got NoneType"),
        (np.zeros((0, 5), np.uint8), ValueError, r"a picture must have pixels, got shape \(0, 5\)"),
        (np.zeros((5, 6, 7), np.uint8), ValueError, r"got \(5, 6, 7\)"),
        (np.zeros((4, 5), np.complex64), TypeError, "got complex64"),
        ("nowhere.png", FormatError, r"nowhere\.png: "),
        (b"no picture", FormatError, "<bytes>"),
    ],
)
def test_wrong_pictures(wrong, error, message):
    with pytest.raises(error, match=message):
        Predictor(segmenter()).predict(wrong)


def test_a_fixed_larger_batch():
    predictor = Predictor(segmenter(shape=(4, 3, 32, 32)))
    assert predictor.predict(picture()) == Predictor(segmenter()).predict(picture())


def test_half_float_input():
    found = Predictor(segmenter(dtype=np.float16)).predict(picture())
    assert found.masks.areas[0] == pytest.approx(
        Predictor(segmenter()).predict(picture()).masks.areas[0], rel=0.02
    )


def test_thresholds_come_from_the_file_unless_given():
    boxes = [(0, 0, 9999, 9999), (0, 0, 9999, 9998), (0, 0, 40, 40)]
    predictor = Predictor(segmenter(boxes=boxes))
    assert predictor.thresholds == Thresholds()
    assert len(predictor.predict(picture())) == 2  # the second box is the first once more
    assert len(Predictor(segmenter(boxes=boxes), iou=1.0).predict(picture())) == 3
    assert len(Predictor(segmenter(boxes=boxes), score=0.95).predict(picture())) == 0
    assert len(Predictor(segmenter(boxes=boxes), max_detections=1).predict(picture())) == 1
    with pytest.raises(ValueError, match=r"score must be within \[0, 1\], got 25"):
        Predictor(segmenter(), score=25)


def test_what_a_predictor_says_of_itself():
    predictor = Predictor(native(), threads=1)
    assert predictor.classes == ("bright", "dark")
    assert predictor.licence == "CC0-1.0"
    assert predictor.decode == "prototypes"
    assert predictor.preprocess.rule == "native"
    assert predictor.card.name == "bright"
    assert repr(predictor) == "Predictor('a model in memory', classes=2, licence='CC0-1.0')"


@pytest.mark.parametrize("size", [(40, 50), (20, 25)])
@pytest.mark.parametrize("shape", [(3, "height", "width"), (3, 40, 50)])
def test_a_detector_of_torchvision(shape, size):
    picture = np.zeros((*size, 3), np.uint8)
    picture[4:12, 5:20] = 220
    predictor = Predictor(torchvision_detector(shape=shape), classes=["cell", "nucleus"])
    found = predictor.predict(picture)
    np.testing.assert_array_equal(found.masks.to_dense()[0], picture[..., 0] > 0)
    assert (found.boxes.tolist(), found.size) == ([[0, 0, size[1], size[0]]], size)
    assert [predictor.classes[label] for label in found.labels] == ["nucleus"]


def test_a_detector_without_masks():
    predictor = Predictor(torchvision_detector(masks=False))
    found = predictor.predict(np.zeros((30, 40, 3), np.uint8))
    assert (found.masks, predictor.classes[found.labels[0]]) == (None, "class 2")


def test_class_names_are_replaced():
    assert Predictor(segmenter(), classes=["a", "b"]).classes == ("a", "b")
    with pytest.raises(ValueError, match="classes must be 2 names, as the model predicts, got 1"):
        Predictor(segmenter(), classes=["a"])
    predictor = Predictor(torchvision_detector(label=3), classes=["a", "b"])
    with pytest.raises(WeightsError, match=r"labels must be within 1\.\.2, .* got 3. Name all classes"):
        predictor.predict(np.zeros((30, 40, 3), np.uint8))


def test_outputs_that_break_the_promise():
    model = network(
        {"output0": head([[0, 0, 9, 9]], [[0.9, 0.1]], np.ones((1, 4)))},
        metadata=ULTRALYTICS,
        proto_of_input=True,
        shape=(1, 3, 32, 32),
    )
    with pytest.raises(WeightsError, match="none of the known shapes for the 2 classes"):
        Predictor(model)


def test_unknown_models(tmp_path, monkeypatch):
    monkeypatch.setattr("delineate.predict.embedded", lambda: ("cells", "nuclei"))
    with pytest.raises(WeightsError, match=r"\(cells, nuclei\), got 'nucleus'\. Did you mean 'nuclei'\?"):
        Predictor("nucleus")
    with pytest.raises(WeightsError, match=r"\(cells, nuclei\), got '/nowhere/at\.onnx'\.$"):
        Predictor("/nowhere/at.onnx")
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"nothing")
    with pytest.raises(RuntimeFailure, match=r"bad\.onnx must be an ONNX model"):
        Predictor(bad)
    bad.write_bytes(network({"a": np.zeros(3, np.float32)}))
    with pytest.raises(WeightsError, match=r"bad\.onnx: the model must be an export of delineate"):
        Predictor(bad)


def test_embedded_models(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path)
    assert embedded() == ()
    with pytest.raises(WeightsError, match="none in this build"):
        Predictor("nuclei")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "nuclei.onnx").write_bytes(native())
    (tmp_path / "weights" / "README.md").write_text("...")
    assert embedded() == ("nuclei",)
    assert Predictor().licence == Predictor("nuclei").licence == "CC0-1.0"


def test_every_embedded_model_loads():
    for name in embedded():
        predictor = Predictor(name, threads=1)
        assert predictor.licence
        assert isinstance(predictor.predict(np.zeros((64, 64), np.uint8)), Instances)


def test_several_threads_may_share_a_predictor():
    predictor = Predictor(segmenter(), threads=1)
    images = [picture(box=(0, 0, 10 * k, 40)) for k in range(1, 9)]
    expected, results = predictor.predict(images), {}
    workers = [
        threading.Thread(target=lambda k=k: results.update({k: predictor.predict(images[k])}))
        for k in range(len(images))
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [results[k] for k in range(len(images))] == expected


def test_out_of_memory_has_a_remedy(monkeypatch):
    predictor = Predictor(segmenter())

    class Full:
        inputs = predictor.runtime.inputs

        def __call__(self, arrays):
            raise RuntimeFailure("Failed to allocate memory for requested buffer of size 99")

    monkeypatch.setattr(predictor, "runtime", Full())
    with pytest.raises(RuntimeFailure, match="too large for the memory; cut it into tiles"):
        predictor.predict(picture())


# --------------------------------------------------------------------- a real network (AGPL weights, never
# committed)


@pytest.fixture(scope="module")
def real(shared):
    return Predictor(shared / "weights" / "yolov8n-seg_int8.onnx", threads=1)


def test_a_real_export_is_recognised(real):
    assert len(real.classes) == 80
    assert real.classes[:2] == ("person", "bicycle")
    assert real.preprocess == Preprocess(rule="letterbox", size=(320, 320))
    assert real.licence.startswith("AGPL-3.0")


def test_a_real_network_sees_real_objects(real, shared):
    """Mask AP over the first pictures: far above what misplaced boxes, classes or masks could reach."""
    truth = coco.read(shared / "data" / "coco128_seg" / "train.json")[:20]
    labels = np.array([real.classes.index(name) for name in truth.classes])
    records = []
    for record in truth:
        found = real.predict(record.path)
        assert found.size == record.size
        known = np.isin(found.labels, labels)
        found = found[known].replace(
            labels=np.array([np.flatnonzero(labels == k)[0] for k in found.labels[known]], int)
        )
        records.append(Record(record.path, record.size, found, record.id))
    report = evaluate(truth, Dataset(tuple(records), truth.classes))
    assert report.ap50 > 0.4


def test_masks_of_a_real_network_equal_the_plain_way(real, shared):
    path = sorted((shared / "data" / "coco128_seg").rglob("*.jpg"))[0]
    image = read_image(path)
    tensor, placement = real.preprocess.apply(image)
    outputs = real._run(tensor)
    found = prototypes(
        outputs,
        placement=placement,
        size=image.shape[:2],
        input_size=(320, 320),
        thresholds=real.thresholds,
        classes=80,
    )
    assert found == real.predict(path)
    assert placement == Placement(240 / image.shape[0], 320 / image.shape[1], 40, 0)
    table, cells = outputs[0][0], outputs[1][0]
    anchors = [int(np.flatnonzero(table[4:84].max(axis=0) == score)[0]) for score in found.scores]
    logits = np.tensordot(table[84:, anchors].T, cells, 1)
    y = np.clip(((np.arange(image.shape[0]) + 0.5) * placement.scale_y + 40) / 4 - 0.5, 0, 79)
    x = np.clip((np.arange(image.shape[1]) + 0.5) * placement.scale_x / 4 - 0.5, 0, 79)
    rows, columns = np.minimum(y.astype(int), 78), np.minimum(x.astype(int), 78)
    upper = logits[:, rows] * (1 - (y - rows))[:, None] + logits[:, rows + 1] * (y - rows)[:, None]
    full = upper[..., columns] * (1 - (x - columns)) + upper[..., columns + 1] * (x - columns)
    x0, y0, x1, y1 = (found.boxes[:, k, None, None] for k in range(4))
    at_y, at_x = np.arange(image.shape[0])[:, None] + 0.5, np.arange(image.shape[1]) + 0.5
    expected = (full > 0) & (at_x >= x0) & (at_x < x1) & (at_y >= y0) & (at_y < y1)
    assert not ((found.masks.to_dense() != expected) & (np.abs(full) > 1e-4)).any()


class Painted:
    """A network of one class of things and two of stuff that sees what it is told, at the picture's own scale."""

    outputs = ()

    def __init__(self, boxes=(), scores=(), stuff=None, decode="panoptic", **card):
        card = {"classes": ("ball",), "panoptic": Rules(stuff_area=1), "stuff": ("sky", "sea"), **card}
        given = Card(
            name="painted",
            preprocess=Preprocess(rule="native", multiple=1),
            thresholds=Thresholds(score=0.1),
            decode=decode,
            **card,
        )
        self.inputs = (Port("images", (None, 3, None, None), "float32"),)
        if decode == "panoptic":
            self.inputs += (Port("sizes", (None, 2), "int64"),)
        self.metadata = {"delineate": given.to_json()}
        self._found = np.float32(boxes).reshape(-1, 4), np.float32(scores)
        self._stuff, self._decode = stuff, decode

    def __call__(self, arrays):
        images = arrays["images"]
        logits = np.zeros((1, 3, *images.shape[2:]), np.float32)
        if callable(self._stuff):
            logits = self._stuff(images)
        elif self._stuff is not None:
            logits[:, self._stuff] = 9
        if self._decode == "semantic":
            return {"logits": logits}
        boxes, scores = self._found
        masks = np.full((len(boxes), 28, 28), 9, np.float32)
        labels = np.zeros(len(boxes), np.int64)
        return {"boxes": boxes, "scores": scores, "labels": labels, "masks": masks, "semantic": logits}


def bright(images):
    """Sea where it is bright, sky where it is dark."""
    grey = images[:, :1]
    return np.concatenate([grey * 0 - 9, 9 * (0.5 - grey), 9 * (grey - 0.5)], axis=1)


PIXELS = np.repeat(np.array([[0, 0, 0, 255, 255, 255]], np.uint8), 4, axis=0)


def test_panoptic_pictures_without_objects_without_stuff_and_of_void_alone():
    stuff = Predictor(Painted(stuff=bright)).panoptic(PIXELS)
    assert stuff.map.tolist() == [[1, 1, 1, 2, 2, 2]] * 4
    assert stuff.labels.tolist() == [1, 2]
    assert not stuff.things.any()
    things = Predictor(Painted([[1, 1, 3, 3]], [0.9], stuff=0)).panoptic(PIXELS)
    assert (len(things), things.things.tolist(), int(things.areas[0])) == (1, [True], 4)
    void = Predictor(Painted(stuff=0)).panoptic(PIXELS)
    assert (len(void), int(void.map.max()), void.scores.shape) == (0, 0, (0,))
    doubtful = Predictor(Painted([[1, 1, 3, 3]], [0.4], stuff=0))
    assert len(doubtful.panoptic(PIXELS)) == 0
    assert len(doubtful.panoptic(PIXELS, Rules(score=0.3))) == 1


def test_the_rules_of_a_model_file_count_unless_others_are_given():
    predictor = Predictor(Painted(stuff=bright, panoptic=Rules(stuff_area=13)))
    assert len(predictor.panoptic(PIXELS)) == 0
    assert len(predictor.panoptic(PIXELS, Rules(stuff_area=12))) == 2
    assert predictor.stuff == ("sky", "sea")
    assert Predictor("nuclei").stuff == ()


def test_things_lie_over_things_and_stuff_by_the_published_rules():
    """The better one first; who loses more than half goes, who loses less keeps the rest (the paper's section 4)."""
    boxes = [[0, 0, 4, 4], [2, 0, 6, 4], [1, 0, 5, 4]]
    found = Predictor(Painted(boxes, [0.9, 0.8, 0.7], stuff=2)).panoptic(PIXELS)
    assert found.map.tolist() == [[1, 1, 1, 1, 2, 2]] * 4
    assert found.labels.tolist() == [0, 0]
    np.testing.assert_allclose(found.scores, [0.9, 0.8])


def test_panoptic_pictures_of_one_pixel_deep_grey_and_turned(tmp_path):
    predictor = Predictor(Painted([[0, 0, 1, 1]], [0.9], stuff=bright))
    assert predictor.panoptic(PIXELS[:1, :1]).map.tolist() == [[1]]
    sixteen = predictor.panoptic((PIXELS.astype(np.uint16) * 100) + 7)
    assert sixteen.map[0].tolist() == [1, 2, 2, 3, 3, 3]
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise
    Image.fromarray(np.kron(PIXELS, np.ones((8, 8), np.uint8))).save(
        tmp_path / "a.jpg", exif=exif, quality=100
    )
    turned = Predictor(Painted(stuff=bright)).panoptic(tmp_path / "a.jpg")
    assert turned.size == (48, 32)
    assert turned.map[0].tolist() == [1] * 32
    assert turned.map[-1].tolist() == [2] * 32


def test_class_maps():
    predictor = Predictor(Painted(stuff=bright, decode="semantic", classes=("a", "b")))
    found = predictor.class_map(PIXELS)
    assert found.classes.tolist() == [[1, 1, 1, 2, 2, 2]] * 4
    assert (found.scores > 0.9).all()
    with pytest.raises(WeightsError, match="must be a panoptic model, got one that gives semantic"):
        predictor.panoptic(PIXELS)
    few = Predictor(Painted(stuff=bright, decode="semantic"))
    with pytest.raises(WeightsError, match="logits of the background and 1 classes, got class 2"):
        few.class_map(PIXELS)
