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

from delineate import models
from delineate.export import export
from delineate.modelfile import Preprocess
from delineate.models import mask_rcnn
from delineate.models._rcnn_export import Graph
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
        *("swin_t", "swinv2_t", "cascade_swin_b"),
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
    parity = export(
        model,
        path,
        preprocess=SHORTEST,
        classes=["a", "b"],
        thresholds=Thresholds(score=0.05, max_detections=100),
        licence="Apache-2.0",
        provenance={},
        samples=[nuclei(0, (60, 90), 5)[0]],
    )
    return path, parity


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


def test_the_file_predicts(file, model):
    predictor = Predictor(file[0])
    assert (predictor.decode, predictor.preprocess) == ("crops", SHORTEST)
    image = nuclei(1, (70, 80), 5)[0]
    found = predictor.predict(image)
    expected = models.segment(model, image, SHORTEST, predictor.thresholds)
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-2)
    assert found.labels.tolist() == expected.labels.tolist()
