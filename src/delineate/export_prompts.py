"""From a promptable torch model to a pair of ONNX files: encoder, and decoder with Segment Anything's signature.

The decoder takes ``image_embeddings``, ``point_coords`` (P, N, 2), ``point_labels`` (P, N), ``mask_input``
(P, 1, h, w), ``has_mask_input`` (1,) and ``orig_im_size`` (2,) height and width, all float32, and gives
``masks`` (logits at picture size), ``iou_predictions`` and ``low_res_masks``, each for all tokens. Clients of
segment-anything's own export send one prompt at a time (P = 1). Points are in pixels of the encoder's input;
where there is no box, the caller ends them with a point of label -1. Both files are run and compared with
the model before they are written.

EfficientSAM's decoder reads no mask prompts (``mask_input`` and ``has_mask_input`` are taken, as clients send
them), takes any number of points, of which the first six count, and gives the best candidate as the single mask.
Its points are in pixels of the stretched picture.

SAM 2's pairs have the names that public exports of it have (`_export_finer`): ``image`` to ``high_res_feats_0``,
``high_res_feats_1`` and ``image_embed``, which the decoder takes beside the prompts. It needs no point of label -1.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from delineate import _export_finer as finer
from delineate import models
from delineate._prompt_pairs import KEY
from delineate.atomic import write_bytes
from delineate.errors import MissingExtra, RuntimeFailure
from delineate.export import OPSET, SMALL, clean, narrow, quiet
from delineate.models._yolo_blocks import Conv
from delineate.models.efficient_sam import EfficientSam
from delineate.models.sam import Config, Prompts, Sam
from delineate.models.sam2 import Sam2
from delineate.prompt import Conventions, PromptCard
from delineate.runtimes import load

_TOLERANCE = 1e-3  # of the largest number of an output


class PromptParity(NamedTuple):
    """Largest differences of files and model on noise, as shares of the largest number of each output.

    Attributes:
        embedding: Of ``image_embeddings``, and of what else the encoder gives.
        logits: Of ``low_res_masks``.
        ious: Of ``iou_predictions``.
        masks: Of ``masks``.
    """

    embedding: float
    logits: float
    ious: float
    masks: float


def export_promptable(
    model: Sam | Sam2,
    encoder: str | Path,
    decoder: str | Path,
    *,
    card: PromptCard | None = None,
    half: bool = False,
) -> PromptParity:
    """Write a promptable model as two ONNX files.

    Args:
        model: A model of `delineate.models` that takes prompts; it is left as it is.
        encoder: The file of the encoder to write or to replace: ``images`` (1, 3, side, side) to
            ``image_embeddings``. `delineate.prompt.Conventions.prepare` makes its input.
        decoder: The file of the decoder. Both are written only when both agree with the model.
        card: What both files say of themselves; `PromptPredictor.load` follows it. Where it states no conventions of
            its own (thresholds of everything mode, for instance) they are the family's.
        half: Store weights as float16, which halves the files. They are widened when a file is loaded; the files
            are compared with a model of the same rounded weights.

    Returns:
        How far the files are from the model.

    Raises:
        TypeError: The model takes no prompts.
        MissingExtra: onnx or onnxscript is not installed.
        RuntimeFailure: An exported network does not agree with the model.
        OSError: A file cannot be written.
    """
    if not isinstance(cast("Any", model), Sam | Sam2):
        kind = type(model).__module__.rpartition(".")[2]
        raise TypeError(f"export_promptable: model must be of a family that takes prompts, got {kind}")
    try:
        import onnxscript  # noqa: F401  (torch needs it)
    except ImportError as error:
        raise MissingExtra("onnx and onnxscript", "torch") from error
    reference = copy.deepcopy(model).cpu().float().eval()
    _simplify(reference, half)
    family = models.family(model)
    if card is None and not family.CONVENTIONS.masks:  # nothing else in the files says so
        card = PromptCard(name=family.__name__.rpartition(".")[2])
    if card is not None and card.conventions == Conventions():
        card = msgspec.structs.replace(card, conventions=family.CONVENTIONS)
    parts = _parts(reference)
    first, second = (_content(make(parts, reference.config), card, half) for make in (_encoder, _decoder))
    parity = _compare(reference, parts, first, second)
    write_bytes(encoder, first)
    write_bytes(decoder, second)
    return parity


@torch.no_grad()
def _simplify(model: nn.Module, half: bool) -> None:
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


class _ClickDecoder(nn.Module):
    """Of a family that knows no masks as prompts: they are taken, as clients send them, and nothing reads them."""

    def __init__(self, model: EfficientSam) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,  # noqa: ARG002
        has_mask_input: Tensor,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor]:
        outputs = self.model.settle(self.model.answer(image_embeddings, point_coords, point_labels))
        return outputs.ious, outputs.logits


class _Parts(NamedTuple):
    """Both networks with the names of what they take and give."""

    encoder: nn.Module
    image: str
    features: tuple[str, ...]  # of the encoder
    decoder: nn.Module
    scene: tuple[str, ...]  # the same, as the decoder takes them
    answers: tuple[str, ...]


def _parts(model: Sam | Sam2) -> _Parts:
    if isinstance(model, Sam2):
        networks = finer.FinerEncoder(model), finer.FinerDecoder(model)
        return _Parts(networks[0], finer.IMAGE, finer.FEATURES, networks[1], finer.SCENE, finer.ANSWERS)
    name, answers = ("image_embeddings",), ("iou_predictions", "low_res_masks")
    decoder = _ClickDecoder(model) if isinstance(model, EfficientSam) else _Decoder(model)
    return _Parts(_Encoder(model), "images", name, decoder, name, answers)


def _content(network: Any, card: PromptCard | None, half: bool) -> bytes:  # noqa: ANN401
    """The file's content."""
    if half:
        narrow(network.graph, exact=True)
    if card is not None:
        network.metadata_props.add(key=KEY, value=card.to_json())
    return cast("bytes", network.SerializeToString())


def _network(
    module: nn.Module,
    arguments: tuple[Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    shapes: list[dict[int, Any]] | None = None,
) -> Any:  # noqa: ANN401  (onnx.ModelProto; onnx is optional)
    with quiet():
        program = torch.onnx.export(
            module,
            arguments,
            dynamo=True,
            external_data=False,
            verbose=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=shapes,
        )
    network = cast("Any", program).model_proto
    clean(network)
    return network


def _encoder(parts: _Parts, config: Config) -> Any:  # noqa: ANN401
    picture = torch.rand(1, 3, config.side, config.side)
    return _network(parts.encoder, (picture,), [parts.image], parts.features)


def _decoder(parts: _Parts, config: Config) -> Any:  # noqa: ANN401
    prompts, points = (
        torch.export.Dim("prompts", min=1, max=4096),
        torch.export.Dim("points", min=1, max=4096),
    )
    width, cells = config.embedding, config.cells
    scene = [(width, cells), (width // 8, 4 * cells), (width // 4, 2 * cells)][: len(parts.scene)]
    arguments = (
        *(torch.rand(1, channels, side, side) for channels, side in scene),
        torch.rand(2, 3, 2),
        torch.zeros(2, 3),
        torch.rand(2, 1, 4 * cells, 4 * cells),
        torch.ones(1),
    )
    names = [*parts.scene, "point_coords", "point_labels", "mask_input", "has_mask_input"]
    own: list[dict[int, Any]] = [{0: prompts, 1: points}, {0: prompts, 1: points}, {0: prompts}, {}]
    network = _network(parts.decoder, arguments, names, parts.answers, [*({} for _ in scene), *own])
    if len(scene) > 1:
        finer.add_ending(network)
        finer.add_masks(network, 4 * cells)
    elif isinstance(parts.decoder, _ClickDecoder):  # pictures fill the whole input
        finer.add_masks(network, 4 * cells, parts.answers[-1])
    else:
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
def _compare(model: Sam | Sam2, parts: _Parts, encoder: bytes, decoder: bytes) -> PromptParity:
    """Both files on noise, with other counts of prompts and points than the exporter saw."""
    config, random = model.config, torch.Generator().manual_seed(0)
    images = torch.rand((1, 3, config.side, config.side), generator=random) * 2 - 1
    made = parts.encoder(images)
    features = dict(zip(parts.features, (made,) if isinstance(made, Tensor) else made, strict=True))
    points = torch.rand((1, 2, 2), generator=random) * config.side
    labels, cells = torch.tensor([[1.0, -1.0]]), 4 * config.cells
    masks = torch.randn((1, 1, cells, cells), generator=random)
    got = load("onnx", encoder)({parts.image: images.numpy()})
    embedding = max(_drift(name, value, got[name]) for name, value in features.items())
    network, size = load("onnx", decoder), (config.side * 3 // 4, config.side // 3)
    worst = np.zeros(3)
    for given in (False, True):
        expected = _expected(model, images, Prompts(points, labels, masks if given else None), size)
        outputs = network(
            {
                **{name: value.numpy() for name, value in features.items()},
                "point_coords": points.numpy(),
                "point_labels": labels.numpy(),
                "mask_input": masks.numpy(),
                "has_mask_input": np.array([given], np.float32),
                "orig_im_size": np.array(size, np.float32),
            }
        )
        drifts = {name: _drift(name, value, outputs[name]) for name, value in expected.items()}
        worst = np.maximum(worst, [drifts[name] for name in ("low_res_masks", "iou_predictions", "masks")])
    return PromptParity(embedding, *(float(value) for value in worst))


def _expected(
    model: Sam | Sam2, images: Tensor, prompts: Prompts, size: tuple[int, int]
) -> dict[str, Tensor]:
    """What a decoder's file must give."""
    if isinstance(model, Sam2):
        return finer.expected(model, images, prompts, size)
    side = model.config.side
    if isinstance(model, EfficientSam):
        outputs = model.settle(model(images, prompts._replace(masks=None)))
        masks = nn.functional.interpolate(outputs.logits, size, mode="bilinear")
        return {"low_res_masks": outputs.logits, "iou_predictions": outputs.ious, "masks": masks}
    outputs = model(images, prompts)
    content = torch.tensor([side, int(size[1] * side / size[0] + 0.5)])
    canvas = nn.functional.interpolate(outputs.logits, (side, side), mode="bilinear")
    full = nn.functional.interpolate(canvas[..., : content[0], : content[1]], size, mode="bilinear")
    return {"low_res_masks": outputs.logits, "iou_predictions": outputs.ious, "masks": full}


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
