"""Export to ONNX: the file agrees with the model, describes itself, and names no path of the machine."""

# ruff: noqa: E402  (torch is optional)

import msgspec
import numpy as np
import pytest
from synthetic import nuclei

torch = pytest.importorskip("torch", reason="export needs the extra [torch]")
onnx = pytest.importorskip("onnx", reason="export needs the extra [torch]")

from delineate import export as exporting
from delineate import models
from delineate.errors import RuntimeFailure
from delineate.export import Parity, export
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.modelfile import Preprocess
from delineate.models import Target
from delineate.postprocess.decode import Thresholds
from delineate.predict import Predictor
from delineate.runtimes import load

NATIVE = Preprocess(rule="native", multiple=16)


@pytest.fixture(scope="module")
def model():
    """A tiny model that has seen two pictures, so that it finds something."""
    torch.manual_seed(0)
    model = models.build("yolo_seg-test")
    drawn = [nuclei(seed, (64, 64), 5, radius=(4, 12)) for seed in range(2)]
    images = torch.stack([torch.from_numpy(image).permute(2, 0, 1) / 255 for image, _ in drawn])
    targets = [
        Target(torch.from_numpy(truth.boxes.copy()), torch.from_numpy(truth.labels.copy()), truth.masks)
        for _, truth in drawn
    ]
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(40):
        optimiser.zero_grad()
        sum(model.losses(images, targets).values()).backward()
        optimiser.step()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the statistics of just these pictures
            module.reset_running_stats()
    with torch.no_grad():
        model(images)
    return model


def samples():
    return [
        nuclei(seed, size, 5, radius=(4, 12))[0]
        for seed, size in [(0, (64, 64)), (1, (64, 64)), (3, (50, 90))]
    ]


def exported(model, path, **changes):
    facts = {
        "preprocess": NATIVE,
        "classes": ["nucleus", "other"],
        "thresholds": Thresholds(score=0.2),
        "licence": "Apache-2.0",
        "provenance": {"name": "tiny", "data": "drawn"},
        "samples": samples(),
    }
    return export(model, path, **facts | changes)


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    """Parity, path and half of two exports."""
    folder = tmp_path_factory.mktemp("export")
    model.train()
    whole = exported(model, folder / "whole.onnx")
    assert model.training  # left as it was
    network = onnx.load(folder / "whole.onnx")
    with pytest.MonkeyPatch.context() as patch:  # converting takes seconds, and once is enough
        patch.setattr(exporting, "_convert", lambda model: network)
        half = exported(model, folder / "half.onnx", half=True)
    return {"whole": (whole, folder / "whole.onnx"), "half": (half, folder / "half.onnx")}


@pytest.mark.parametrize(("name", "iou", "drift"), [("whole", 0.999, 1e-3), ("half", 0.9, 0.03)])
def test_the_file_agrees_with_the_model(files, name, iou, drift):
    parity, path = files[name]
    assert parity.pictures == 3
    assert parity.instances >= 6
    assert parity.unmatched <= (name == "half")
    assert parity.mask_iou_min >= iou
    assert parity.score_drift <= drift
    assert parity.self_test <= drift
    predictor = Predictor(path)
    assert predictor.card.parity == {key: float(value) for key, value in parity._asdict().items()}


def test_the_file_describes_itself(files):
    predictor = Predictor(files["whole"][1])
    assert predictor.card.name == "tiny"
    assert predictor.classes == ("nucleus", "other")
    assert predictor.licence == "Apache-2.0"
    assert predictor.preprocess == NATIVE
    assert predictor.thresholds == Thresholds(score=0.2)
    assert predictor.card.strides == (4, 8, 16)
    assert predictor.card.provenance == {"name": "tiny", "data": "drawn"}


def test_the_file_predicts(files):
    image, truth = nuclei(0, (64, 64), 5, radius=(4, 12))
    found = Predictor(files["whole"][1]).predict(image)
    assert found.masks.iou(truth.masks).max(0).min() > 0.7


@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (3, 3, 48, 32), (2, 3, 32, 160)])
def test_every_size_and_batch(files, model, shape):
    images = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model.eval().export(images)
    got = load("onnx", files["whole"][1])({"images": images.numpy()})
    for want, have in zip(expected, got.values(), strict=True):
        np.testing.assert_allclose(have, want.numpy(), rtol=1e-3, atol=1e-3)


def test_half_precision_halves_the_file(files):
    whole, half = (files[name][1].stat().st_size for name in ("whole", "half"))
    weights = 4 * 198_626
    assert whole - half > 0.4 * weights


def test_the_file_holds_no_trace_of_the_machine(files):
    for _, path in files.values():
        content = path.read_bytes()
        assert not [
            word for word in (b"/home", b"/root", b"/work", b"site-packages", b".py") if word in content
        ]
        network = onnx.load_from_string(content)
        assert [prop.key for prop in network.metadata_props] == ["delineate"]
        names = [d.dim_param or d.dim_value for d in network.graph.input[0].type.tensor_type.shape.dim]
        assert names == ["batch", 3, "height", "width"]


def test_class_names_must_fit(model, tmp_path):
    with pytest.raises(ValueError, match="classes must be 2 names, as the model predicts, got 1"):
        exported(model, tmp_path / "a.onnx", classes=["nucleus"])
    assert not (tmp_path / "a.onnx").exists()


def test_a_file_that_disagrees_is_refused(files, model):
    other = models.build("yolo_seg-test")
    torch.nn.init.ones_(other.head.cv3[0][2].bias)
    with pytest.raises(RuntimeFailure, match=r"class scores must agree within 0\.02, they differ by"):
        exporting._self_test(other.eval(), files["whole"][1].read_bytes())


def test_a_file_of_another_shape_is_refused(files):
    other = models.build("yolo_seg-test", prototypes=4)
    with pytest.raises(RuntimeFailure, match=r"output0 must have shape \(1, 10, \d+\), got \(1, 14, \d+\)"):
        exporting._self_test(other.eval(), files["whole"][1].read_bytes())


def striped(spans, labels=None):
    """Instances of whole columns, from start to stop."""
    masks = np.zeros((len(spans), 4, 40), bool)
    for index, (start, stop) in enumerate(spans):
        masks[index, :, start:stop] = True
    chosen = Masks.from_dense(masks)
    return Instances.of(chosen, labels=np.asarray(labels or [0] * len(spans)))


@pytest.mark.parametrize(
    ("first", "second", "labels", "pairs"),
    [
        ([], [(0, 9)], [0], []),
        ([(0, 10), (20, 30)], [(20, 30), (0, 9)], [0, 0], [(0, 1, 0.9), (1, 0, 1.0)]),
        ([(0, 10)], [(0, 10)], [1], []),  # another class
        ([(0, 10)], [(6, 16)], [0], []),  # less than half
        ([(0, 10), (1, 10)], [(0, 10)], [0], [(0, 0, 1.0)]),  # one each
    ],
)
def test_matching(first, second, labels, pairs):
    assert exporting._matches(striped(first), striped(second, labels)) == pairs


def test_matching_without_masks():
    first, second = (
        Instances((4, 40), np.float32(boxes), np.array(labels), np.ones(len(boxes), np.float32))
        for boxes, labels in (
            ([[0, 0, 10, 4], [20, 0, 30, 4], [5, 0, 9, 4]], [0, 1, 0]),
            ([[20, 0, 30, 4], [0, 0, 9, 4]], [1, 0]),
        )
    )
    found = exporting._matches(first, second)
    assert [pair[:2] for pair in found] == [(0, 1), (1, 0)]
    np.testing.assert_allclose([pair[2] for pair in found], [0.9, 1.0])


def test_parity_of_no_samples():
    empty = exporting._compare(models.build("yolo_seg-test"), _Idle(), [], 0.0)
    assert empty == Parity(0, 0, 0, 1.0, 1.0, 0.0, 0.0)
    assert msgspec.json.encode(empty._asdict())


class _Idle:
    card = None
