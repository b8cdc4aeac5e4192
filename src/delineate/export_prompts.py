"""From a promptable torch model to a pair of ONNX files: encoder, and decoder with Segment Anything's signature.

The decoder takes ``image_embeddings``, ``point_coords`` (P, N, 2), ``point_labels`` (P, N), ``mask_input``
(P, 1, h, w), ``has_mask_input`` (1,) and ``orig_im_size`` (2,) height and width, all float32, and gives
``masks`` (logits at picture size), ``iou_predictions`` and ``low_res_masks``, each for all tokens. Clients of
segment-anything's own export send one prompt at a time (P = 1). Points are in pixels of the encoder's input;
where there is no box, the caller ends them with a point of label -1. Both files are run and compared with
the model before they are written.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from delineate._prompt_pairs import KEY
from delineate.atomic import write_bytes
from delineate.errors import MissingExtra, RuntimeFailure
from delineate.export import OPSET, SMALL, clean, narrow, quiet
from delineate.models._yolo_blocks import Conv
from delineate.models.sam import Prompts, Sam
from delineate.prompt import PromptCard
from delineate.runtimes import load

_TOLERANCE = 1e-3  # of the largest number of an output


class PromptParity(NamedTuple):
    """Largest differences of files and model on noise, as shares of the largest number of each output.

    Attributes:
        embedding: Of ``image_embeddings``.
        logits: Of ``low_res_masks``.
        ious: Of ``iou_predictions``.
        masks: Of ``masks``.
    """

    embedding: float
    logits: float
    ious: float
    masks: float


def export_promptable(
    model: Sam,
    encoder: str | Path,
    decoder: str | Path,
    *,
    card: PromptCard | None = None,
    half: bool = False,
) -> PromptParity:
    """Write a promptable model as two ONNX files.

    Args:
        model: A model of `delineate.models.sam`; it is left as it is.
        encoder: The file of the encoder to write or to replace: ``images`` (1, 3, side, side) to
            ``image_embeddings``. `delineate.prompt.prepare` makes its input.
        decoder: The file of the decoder. Both are written only when both agree with the model.
        card: What both files say of themselves; `PromptPredictor.load` follows it.
        half: Store weights as float16, which halves the files. They are widened when a file is loaded; the files
            are compared with a model of the same rounded weights.

    Returns:
        How far the files are from the model.

    Raises:
        TypeError: The model's decoder has another signature, as SAM 2's.
        MissingExtra: onnx or onnxscript is not installed.
        RuntimeFailure: An exported network does not agree with the model.
        OSError: A file cannot be written.
    """
    if not isinstance(cast("Any", model), Sam):
        kind = type(model).__module__.rpartition(".")[2]
        raise TypeError(f"export_promptable: model must be of the family sam or mobile_sam, got {kind}")
    try:
        import onnxscript  # noqa: F401  (torch needs it)
    except ImportError as error:
        raise MissingExtra("onnx and onnxscript", "torch") from error
    reference = copy.deepcopy(model).cpu().float().eval()
    _simplify(reference, half)
    first, second = (_content(make(reference), card, half) for make in (_encoder, _decoder))
    parity = _compare(reference, first, second)
    write_bytes(encoder, first)
    write_bytes(decoder, second)
    return parity


@torch.no_grad()
def _simplify(model: Sam, half: bool) -> None:
    """Batch norms become part of their convolutions, and weights as coarse as the files'."""
    for module in model.modules():
        if isinstance(module, Conv):
            module.fuse()
    for value in (*model.parameters(), *model.buffers()):
        coarse = value.half().float() if half and value.numel() >= SMALL else value
        if value.is_floating_point() and coarse.isfinite().all():
            value.copy_(coarse)


class _Encoder(nn.Module):
    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.encode(images)


class _Decoder(nn.Module):
    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        encoder = self.model.prompt_encoder
        tokens = encoder.points(point_coords, point_labels)
        dense = has_mask_input * encoder.masks(mask_input) + (1 - has_mask_input) * encoder.no_mask()
        shape = image_embeddings.shape[2:]
        dense = dense + encoder.drawn(point_coords, point_labels, shape)
        outputs = self.model.mask_decoder(image_embeddings + dense, encoder.grid(shape), tokens)
        return outputs.ious, outputs.logits


def _content(network: Any, card: PromptCard | None, half: bool) -> bytes:  # noqa: ANN401
    """The file's content."""
    if half:
        narrow(network.graph)
    if card is not None:
        network.metadata_props.add(key=KEY, value=card.to_json())
    return cast("bytes", network.SerializeToString())


def _encoder(model: Sam) -> Any:  # noqa: ANN401
    side = model.config.side
    with quiet():
        program = torch.onnx.export(
            _Encoder(model),
            (torch.rand(1, 3, side, side),),
            dynamo=True,
            external_data=False,
            verbose=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["image_embeddings"],
        )
    network = cast("Any", program).model_proto
    clean(network)
    return network


def _decoder(model: Sam) -> Any:  # noqa: ANN401  (onnx.ModelProto; onnx is optional)
    config = model.config
    prompts, points = (
        torch.export.Dim("prompts", min=1, max=4096),
        torch.export.Dim("points", min=1, max=4096),
    )
    arguments = (
        torch.rand(1, config.embedding, config.cells, config.cells),
        torch.rand(2, 3, 2),
        torch.zeros(2, 3),
        torch.rand(2, 1, 4 * config.cells, 4 * config.cells),
        torch.ones(1),
    )
    names = ["image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input"]
    shapes: list[dict[int, Any]] = [{}, {0: prompts, 1: points}, {0: prompts, 1: points}, {0: prompts}, {}]
    with quiet():
        program = torch.onnx.export(
            _Decoder(model),
            arguments,
            dynamo=True,
            external_data=False,
            verbose=False,
            opset_version=OPSET,
            input_names=names,
            output_names=["iou_predictions", "low_res_masks"],
            dynamic_shapes=dict(zip(names, shapes, strict=True)),
        )
    network = cast("Any", program).model_proto
    clean(network)
    _add_masks(network, config.side)
    return network


def _add_masks(network: Any, side: int) -> None:  # noqa: ANN401  (onnx.ModelProto; onnx is optional)
    """Give the network ``orig_im_size`` and ``masks``: logits to the canvas, its content, and to the picture."""
    from onnx import TensorProto, checker, helper, numpy_helper

    graph = network.graph

    def constant(name: str, value: Any) -> str:  # noqa: ANN401
        graph.initializer.append(numpy_helper.from_array(np.array(value), name))
        return name

    def node(kind: str, inputs: list[str], output: str, **options: Any) -> str:
        graph.node.append(helper.make_node(kind, inputs, [output], f"{output}_node", **options))
        return output

    size = "orig_im_size"
    graph.input.append(helper.make_tensor_value_info(size, TensorProto.FLOAT, [2]))
    canvas = constant("canvas_side", np.array([side], np.float32))
    longest = node("ReduceMax", [size], "longest_side", keepdims=1)
    scaled = node("Mul", [size, node("Div", [canvas, longest], "canvas_scale")], "scaled_size")
    rounded = node(
        "Floor", [node("Add", [scaled, constant("half", np.float32(0.5))], "raised_size")], "whole_size"
    )
    least = node("Max", [rounded, constant("one", np.float32(1))], "content_float")
    content = node("Cast", [least], "content_size", to=TensorProto.INT64)
    leading = node("Shape", ["low_res_masks"], "leading_lengths", end=2)
    sides = constant("canvas_sides", np.array([side, side], np.int64))
    linear = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    whole = node("Concat", [leading, sides], "canvas_lengths", axis=0)
    canvas = node("Resize", ["low_res_masks", "", "", whole], "canvas_masks", **linear)
    corner, axes = (
        constant("corner", np.array([0, 0], np.int64)),
        constant("plane_axes", np.array([2, 3], np.int64)),
    )
    cut = node("Slice", [canvas, corner, content, axes], "content_masks")
    target = node(
        "Concat", [leading, node("Cast", [size], "int_size", to=TensorProto.INT64)], "lengths", axis=0
    )
    node("Resize", [cut, "", "", target], "masks", **linear)
    tokens = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    shape = ["prompts", tokens, "height", "width"]
    graph.output.insert(0, helper.make_tensor_value_info("masks", TensorProto.FLOAT, shape))
    checker.check_model(network)


@torch.inference_mode()
def _compare(model: Sam, encoder: bytes, decoder: bytes) -> PromptParity:
    """Both files on noise, with other counts of prompts and points than the exporter saw."""
    config, random = model.config, torch.Generator().manual_seed(0)
    images = torch.rand((1, 3, config.side, config.side), generator=random) * 2 - 1
    embedding = model.encode(images)
    points = torch.rand((1, 2, 2), generator=random) * config.side
    labels, cells = torch.tensor([[1.0, -1.0]]), 4 * config.cells
    masks = torch.randn((1, 1, cells, cells), generator=random)
    got = load("onnx", encoder)({"images": images.numpy()})["image_embeddings"]
    drifts = [_drift("image_embeddings", embedding, got)]
    network, size = load("onnx", decoder), (config.side * 3 // 4, config.side // 3)
    worst = np.zeros(3)
    for given in (False, True):
        expected = model.decode(embedding, Prompts(points, labels, masks if given else None))
        content = torch.tensor([config.side, int(size[1] * config.side / size[0] + 0.5)])
        canvas = nn.functional.interpolate(expected.logits, (config.side,) * 2, mode="bilinear")
        full = nn.functional.interpolate(canvas[..., : content[0], : content[1]], size, mode="bilinear")
        outputs = network(
            {
                "image_embeddings": embedding.numpy(),
                "point_coords": points.numpy(),
                "point_labels": labels.numpy(),
                "mask_input": masks.numpy(),
                "has_mask_input": np.array([given], np.float32),
                "orig_im_size": np.array(size, np.float32),
            }
        )
        pairs = {"low_res_masks": expected.logits, "iou_predictions": expected.ious, "masks": full}
        found = [_drift(name, value, outputs[name]) for name, value in pairs.items()]
        worst = np.maximum(worst, found)
    return PromptParity(drifts[0], *(float(value) for value in worst))


def _drift(name: str, expected: Tensor, got: np.ndarray[Any, Any]) -> float:
    """Largest difference as a share of the largest number."""
    if expected.shape != got.shape:
        raise RuntimeFailure(
            f"export_promptable: {name} must have shape {tuple(expected.shape)}, got {got.shape}"
        )
    drift = float(np.abs(expected.numpy() - got).max() / max(float(expected.abs().max()), 1e-6))
    if not drift <= _TOLERANCE:
        raise RuntimeFailure(
            f"export_promptable: {name} must agree within {_TOLERANCE}, differs by {drift:.3g}"
        )
    return drift
