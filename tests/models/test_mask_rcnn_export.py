"""Mask R-CNN as one ONNX file: equal to the model, made of ONNX's own operators, ready for the predictor."""

# ruff: noqa: E402  (torch is optional)

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic import nuclei

torch = pytest.importorskip("torch", reason="export needs the extra [torch]")
onnx = pytest.importorskip("onnx", reason="export needs the extra [torch]")

sys.path.insert(0, str(Path(__file__).parent))
from test_mask_rcnn import small

from delineate import export as exporting
from delineate import models
from delineate.export import export
from delineate.modelfile import Preprocess
from delineate.models import mask_rcnn
from delineate.models._rcnn_export import Graph
from delineate.nn import swin
from delineate.postprocess.decode import Thresholds
from delineate.predict import Predictor
from delineate.runtimes import load

SHORTEST = Preprocess(rule="shortest", size=(96, 128), rounding="floor", std=(0.5, 0.5, 0.5))


def spread(config):
    """A network whose scores differ: what all regions have in common decides nothing."""
    torch.manual_seed(0)
    model = mask_rcnn.build(config).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("cls_score.weight"):
                value.sub_(value.mean(1, keepdim=True)).mul_(20)
    return model


def inputs(size=(128, 160), content=(120, 130)):
    return torch.rand(1, 3, *size), torch.tensor([content])


@pytest.mark.parametrize(
    "variant",
    [
        *("r50_fpn", "r50_fpn_v2", "faster_r50_fpn", "r50_fpn_d2", "r50_c4", "cascade_r50_fpn"),
        *("swin_t", "swinv2_t", "cascade_swin_b", "cascade_swin_t_giou"),
    ],
)
def test_graph_equals_the_model(variant):
    model = spread(small(variant))
    given = inputs()
    with torch.no_grad():
        expected = model.export(*given)
        found = Graph(copy.deepcopy(model))(*given)
    assert (expected[1] > 0).any()
    assert len(found) == 3 + model.config.masks
    for ours, theirs in zip(found, expected, strict=False):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def model():
    return spread(small("r50_fpn_d2"))


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "a.onnx"
    return path, exported(model, path)


def exported(model, path, *, half=False):
    return export(
        model,
        path,
        preprocess=SHORTEST,
        classes=["a", "b"],
        thresholds=Thresholds(score=0.05, max_detections=100),
        licence="Apache-2.0",
        provenance={},
        samples=[nuclei(0, (60, 90), 5)[0]],
        half=half,
    )


def test_the_file_agrees_with_the_model(file):
    path, parity = file
    assert parity.pictures == 1
    assert parity.instances > 5
    assert parity.unmatched <= 2
    assert parity.self_test < 1e-4
    assert parity.score_drift < 1e-3
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert {"RoiAlign", "NonMaxSuppression"} <= kinds
    assert {node.domain for node in onnx.load(path).graph.node} <= {"", "ai.onnx"}


@pytest.mark.parametrize(("size", "content"), [((96, 64), (90, 64)), ((160, 192), (131, 192))])
def test_any_size(file, model, size, content):
    given = inputs(size, content)
    with torch.no_grad():
        expected = model.export(*given)
    found = load("onnx", file[0])({"images": given[0].numpy(), "sizes": given[1].numpy()})
    assert list(found) == ["boxes", "scores", "labels", "masks"]
    for ours, theirs in zip(found.values(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-4)


def test_half_precision(file, model, tmp_path):
    """Scores are rounded too, so that what scores near the threshold may come or go."""
    network = onnx.load(file[0])
    with pytest.MonkeyPatch.context() as patch:  # converting takes seconds, and once is enough
        patch.setattr(exporting, "_convert", lambda model: network)
        parity = exported(model, tmp_path / "half.onnx", half=True)
    assert parity.instances >= 0.9 * file[1].instances > 0
    assert parity.unmatched <= 0.2 * file[1].instances
    assert parity.mask_iou_min > 0.8
    assert 0 < parity.score_drift < 0.02
    assert 0 < parity.self_test < 0.02
    assert (tmp_path / "half.onnx").stat().st_size < 0.7 * file[0].stat().st_size
    assert Predictor(tmp_path / "half.onnx").card.parity["unmatched"] == parity.unmatched


@pytest.mark.parametrize("version", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_windows_of_maps_of_any_size(version, tmp_path):
    """Padding, shift and what keeps windows apart follow the picture, not the one that the exporter saw."""
    torch.manual_seed(0)
    backbone = swin.Swin(swin.SwinSize(8, (2,), (2,), window=3, version=version)).eval()
    dimensions = {2: torch.export.Dim("rows", min=2, max=512), 3: torch.export.Dim("columns", min=2, max=512)}
    with exporting.quiet():
        torch.onnx.export(
            _First(backbone),
            (torch.rand(1, 3, 64, 96),),
            tmp_path / "swin.onnx",
            dynamo=True,
            verbose=False,
            opset_version=exporting.OPSET,
            dynamic_shapes={"images": {axis: 4 * side for axis, side in dimensions.items()}},
        )
    runtime = load("onnx", tmp_path / "swin.onnx")
    for size in ((8, 12), (12, 12), (52, 16), (100, 124)):
        images = torch.rand(1, 3, *size)
        (found,) = runtime({"images": images.numpy()}).values()
        with torch.no_grad():
            np.testing.assert_allclose(found, backbone(images)[0].numpy(), rtol=1e-4, atol=1e-4)


class _First(torch.nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, images):
        return self.backbone(images)[0]


def test_the_file_predicts(file, model):
    predictor = Predictor(file[0])
    assert (predictor.decode, predictor.preprocess) == ("crops", SHORTEST)
    image = nuclei(1, (70, 80), 5)[0]
    found = predictor.predict(image)
    expected = models.segment(model, image, SHORTEST, predictor.thresholds)
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-2)
    assert found.labels.tolist() == expected.labels.tolist()
