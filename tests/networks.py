"""Tiny ONNX networks, built on the fly, that behave like the real ones."""

import numpy as np
import pytest

from delineate.modelfile import KEY, Card


def network(outputs, *, shape=(1, 3, 32, 32), metadata=None, dtype=np.float32, proto_of_input=False):
    """An ONNX file that answers with constants, whatever the picture.

    Args:
        outputs: Name -> array.
        shape: Of the input `images`; names stand for dynamic dimensions.
        metadata: Custom entries of the file.
        dtype: Of the input.
        proto_of_input: Whether to give prototypes "output1" made from the picture: (1, 3, h / 4, w / 4), the
            mean of 4 x 4 pixels minus one half.
    """
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype
    image = helper.make_tensor_value_info("images", kinds(np.dtype(dtype)), shape)
    nodes, results = [], []
    if proto_of_input:
        nodes += [
            helper.make_node("Cast", ["images"], ["real"], to=onnx.TensorProto.FLOAT),
            helper.make_node("AveragePool", ["real"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
            helper.make_node("Constant", [], ["half"], value=onnx.numpy_helper.from_array(np.float32(0.5))),
            helper.make_node("Sub", ["pooled", "half"], ["output1"]),
        ]
        results.append(
            helper.make_tensor_value_info("output1", onnx.TensorProto.FLOAT, [shape[0], 3, "mh", "mw"])
        )
    for name, array in outputs.items():
        nodes.append(
            helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(np.asarray(array)))
        )
        results.append(helper.make_tensor_value_info(name, kinds(array.dtype), array.shape))
    graph = helper.make_graph(nodes, "tiny", [image], sorted(results, key=lambda value: value.name))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, dict(metadata or {}))
    return model.SerializeToString()


def head(boxes, scores, coefficients):
    """(1, 4 + K + M, A) from xyxy boxes, (A, K) scores and (A, M) coefficients."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    columns = [
        (boxes[:, :2] + boxes[:, 2:]) / 2,
        boxes[:, 2:] - boxes[:, :2],
        np.asarray(scores),
        np.asarray(coefficients),
    ]
    return np.concatenate(columns, axis=1).T[None].astype(np.float32)


ULTRALYTICS = {
    "description": "Ultralytics YOLOv8n-seg model trained on things.yaml",
    "author": "Ultralytics",
    "license": "AGPL-3.0 License (https://ultralytics.com/license)",
    "version": "8.4.33",
    "task": "segment",
    "stride": "32",
    "imgsz": "[32, 32]",
    "names": "{0: 'bright', 1: 'dark'}",
    "end2end": "False",
}


def segmenter(*, shape=(1, 3, 32, 32), metadata=ULTRALYTICS, dtype=np.float32, boxes=((0, 0, 9999, 9999),)):
    """A network that finds one "bright" object per box: the pixels whose mean is above one half."""
    count = len(boxes)
    answer = head(boxes, np.tile([0.9, 0.1], (count, 1)), np.ones((count, 3)))
    batch = shape[0] if isinstance(shape[0], int) else 1
    return network(
        {"output0": np.repeat(answer, batch, axis=0)},
        shape=shape,
        metadata=metadata,
        dtype=dtype,
        proto_of_input=True,
    )


def torchvision_detector(*, shape=(3, "height", "width"), masks=True, label=2):
    """As `torch.onnx.export` writes torchvision's Mask R-CNN: one object, whose mask is how bright the picture is.

    Without the names that a user may give to outputs, which then are numbers.
    """
    onnx = pytest.importorskip("onnx")
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    image = helper.make_tensor_value_info("image.1", real, shape)
    answer = {"1032": np.float32([[0, 0, 9999, 9999]]), "1002": np.array([label]), "1001": np.float32([0.9])}
    nodes = [
        helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(array))
        for name, array in answer.items()
    ]
    results = [
        helper.make_tensor_value_info("1032", real, ["n", 4]),
        helper.make_tensor_value_info("1002", onnx.TensorProto.INT64, ["n"]),
        helper.make_tensor_value_info("1001", real, ["n"]),
    ]
    if masks:
        axes = onnx.numpy_helper.from_array(np.array([0]), "axes")
        nodes += [
            helper.make_node("ReduceMean", ["image.1"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Unsqueeze", ["mean", "axes"], ["1377"]),
        ]
        results.append(helper.make_tensor_value_info("1377", real, ["n", "one", "h", "w"]))
    constants = [axes] if masks else []
    graph = helper.make_graph(nodes, "main_graph", [image], results, initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def instant_export(model, path, *, preprocess, classes, thresholds, licence, provenance):
    """Stands for `delineate.export.export`, which takes half a minute: a `segmenter` with the card of the model."""
    assert len(classes) == model.config.classes
    card = Card(
        name=provenance["name"],
        classes=tuple(classes),
        preprocess=preprocess,
        thresholds=thresholds,
        licence=licence,
        provenance=provenance,
    )
    path.write_bytes(segmenter(shape=(1, 3, "h", "w"), metadata={KEY: card.to_json()}))
