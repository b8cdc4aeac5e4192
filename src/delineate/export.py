"""From a torch model to one ONNX file that needs nothing else: it carries preprocessing, classes, licence.

The file takes pictures of any size that the network takes, in batches of any size; those of two-stage networks
one at a time. The outputs of one-stage networks have the layout of the Ultralytics exports, so that other
software reads them too; two-stage ones give boxes, scores, labels and mask logits (`postprocess.decode.crops`),
and logits of stuff where there are any; semantic ones logits of the classes at their stride. Two-stage ones
are made of ONNX's own operators, RoiAlign and NonMaxSuppression among them. Before it is written it is run with
ONNX Runtime and compared with the torch model; how far they are apart is part of the file.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from delineate import boxes, models
from delineate.atomic import write_bytes
from delineate.errors import MissingExtra, RuntimeFailure
from delineate.image import read_image, to_rgb8
from delineate.instances import Instances
from delineate.modelfile import KEY, SIZES, Card, Preprocess
from delineate.postprocess.decode import Thresholds
from delineate.postprocess.panoptic import Rules
from delineate.predict import Predictor
from delineate.runtimes import load

OPSET = 18
SMALL = 64  # float initialisers with fewer numbers stay float32: they are no size, but may be constants
_TOLERANCE = 0.02  # of class scores, on the self-test picture


class Parity(NamedTuple):
    """How far a file is from the model that it was exported from, over sample pictures.

    Attributes:
        pictures: Number of sample pictures.
        instances: Instances that both found: same class, masks that overlap by more than half (boxes, of a model
            without masks).
        unmatched: Instances that only one of them found.
        mask_iou_min: Least IoU of the masks (boxes) of one instance, 1 when there are none.
        mask_iou_mean: Mean of these.
        score_drift: Largest difference of the scores of one instance.
        self_test: Largest difference of any class score on a picture of noise.
    """

    pictures: int
    instances: int
    unmatched: int
    mask_iou_min: float
    mask_iou_mean: float
    score_drift: float
    self_test: float


class Exportable(Protocol):
    """What a model family offers for export."""

    def export(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What the file shall compute."""
        ...

    def fuse(self) -> nn.Module:
        """Fold what can be folded for inference."""
        ...


def export(  # noqa: PLR0913  (every one is a fact of the file)
    model: nn.Module,
    path: str | Path,
    *,
    preprocess: Preprocess,
    classes: Sequence[str],
    thresholds: Thresholds,
    licence: str,
    provenance: Mapping[str, Any],
    samples: Sequence[NDArray[np.uint8] | str | Path] = (),
    half: bool = False,
) -> Parity:
    """Write a model as an ONNX file.

    Args:
        model: A model of `delineate.models`; it is left as it is.
        path: The file to write or to replace. Written only when the exported network agrees with the model.
        preprocess: How a picture becomes the network's input.
        classes: Class names, one per class of the model; of a panoptic model those of its stuff may follow.
        thresholds: Which detections count, unless the user says otherwise.
        licence: Licence of the weights: an SPDX identifier or a sentence.
        provenance: Data, recipe, commit, ...; anything that JSON can hold. "name" becomes the model's name.
        samples: Pictures to compare the file with the model on: (H, W, 3) uint8 or paths.
        half: Store weights as float16, which halves the file. They are widened when the file is loaded, so
            that computation and speed are those of float32.

    Returns:
        The comparison, which the file carries too.

    Raises:
        MissingExtra: onnx or onnxscript is not installed.
        ValueError: The class names do not fit the model.
        RuntimeFailure: The exported network does not agree with the model.
        OSError: The file cannot be written.
    """
    config: Any = model.config
    count, stuff = config.classes, getattr(config, "stuff", 0)
    if len(classes) not in (count, count + stuff):
        also = f", or {count + stuff} with those of its stuff" if stuff else ""
        raise ValueError(
            f"export: classes must be {count} names, as the model predicts{also}, got {len(classes)}"
        )
    reference = copy.deepcopy(model).cpu().float().eval()
    card = Card(
        name=str(provenance.get("name", Path(path).stem)),
        classes=tuple(classes[:count]),
        stuff=tuple(classes[count:]),
        panoptic=getattr(config, "rules", Rules()),
        preprocess=preprocess,
        decode=models.family(model).DECODE,
        thresholds=thresholds,
        strides=tuple(cast("Any", model).config.strides),
        licence=licence,
        provenance=dict(provenance),
    )
    network = _convert(reference)
    if half:
        narrow(network.graph)
    content = _with_card(network, card)
    self_test = _self_test(reference, content)
    parity = _compare(reference, Predictor(content), samples, self_test)
    card = msgspec.structs.replace(card, parity={name: float(v) for name, v in parity._asdict().items()})
    write_bytes(path, _with_card(network, card))
    return parity


class _Wrapper(nn.Module):
    """The exported function as a module."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3, H, W) to `decoded` outputs."""
        return cast("Exportable", self.model).export(images)  # type: ignore[return-value]


class _Plan(NamedTuple):
    """What the exporter must know of a kind of network."""

    module: nn.Module
    inputs: dict[str, Tensor]  # examples
    shapes: dict[str, Any]  # what varies in each
    dimensions: dict[
        str, list[str | None]
    ]  # names of inputs' and outputs' axes; None: as the exporter finds them
    translations: dict[Any, Any]  # operators of ours to ONNX's


_HEADS: dict[str, list[str | None]] = {
    "output0": ["batch", None, "anchors"],
    "output1": ["batch", None, "mask_height", "mask_width"],
}
_LOGITS: dict[str, list[str | None]] = {"logits": ["batch", None, None, None]}


def _plan(model: nn.Module) -> _Plan:
    fused = cast("Exportable", copy.deepcopy(model)).fuse()
    stride = models.largest_stride(model)
    sides = [stride * torch.export.Dim(name, min=1, max=4096) for name in ("rows", "columns")]
    height, width = 5 * stride, 6 * stride  # a side or batch of 1 would become a constant
    pictures = ["batch", None, "height", "width"]
    if not models.takes_sizes(model):
        batch = torch.export.Dim("batch", min=1, max=4096)
        given = _HEADS if models.family(model).DECODE == "prototypes" else _LOGITS
        return _Plan(
            _Wrapper(fused).eval(),
            {"images": torch.rand(2, 3, height, width)},
            {"images": {0: batch, 2: sides[0], 3: sides[1]}},
            {"images": pictures, **given},
            {},
        )
    from delineate.models._rcnn_export import Graph, PanopticGraph, translations

    axes = {"boxes": 3, "scores": 2, "labels": 2, "masks": 4}
    graph: nn.Module
    if models.family(model).DECODE == "panoptic":
        graph = PanopticGraph(cast("Any", fused))
        axes["semantic"] = 4
    else:
        graph = Graph(cast("Any", fused))
        if not graph.model.config.masks:
            del axes["masks"]
    return _Plan(
        graph,
        {"images": torch.rand(1, 3, height, width), SIZES: torch.tensor([[height, width]])},
        {"images": {2: sides[0], 3: sides[1]}, SIZES: None},
        {
            "images": [None, *pictures[1:]],
            SIZES: [None, None],
            **{name: [None] * n for name, n in axes.items()},
        },
        translations(),
    )


def _convert(model: nn.Module) -> Any:  # noqa: ANN401  (onnx.ModelProto; onnx is optional)
    """An ONNX network with named dimensions and without traces of this machine."""
    try:
        import onnx
        import onnxscript  # noqa: F401  (torch needs it)
    except ImportError as error:
        raise MissingExtra("onnx and onnxscript", "torch") from error
    plan = _plan(model)
    with quiet():
        program = torch.onnx.export(
            plan.module,
            tuple(plan.inputs.values()),
            dynamo=True,
            external_data=False,
            verbose=False,
            opset_version=OPSET,
            input_names=list(plan.inputs),
            output_names=[name for name in plan.dimensions if name not in plan.inputs],
            dynamic_shapes=plan.shapes,
            custom_translation_table=plan.translations,
        )
    network = cast("Any", program).model_proto
    graph = network.graph
    for value in (*graph.input, *graph.output):
        _name_dimensions(value, plan.dimensions[value.name])
    clean(network)
    onnx.checker.check_model(network)
    return network


def clean(network: Any) -> None:  # noqa: ANN401
    """Remove what a network need not say: names of inner shapes, paths of this machine in stack traces."""
    graph = network.graph
    del graph.value_info[:], graph.metadata_props[:], network.metadata_props[:]
    for part in (network, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    network.producer_name, network.producer_version = "delineate", ""


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporter's remarks about itself; its errors still come."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def _name_dimensions(value: Any, names: Sequence[str | None]) -> None:  # noqa: ANN401
    for dimension, name in zip(value.type.tensor_type.shape.dim, names, strict=True):
        if name is not None:
            dimension.dim_param = name


def narrow(graph: Any, *, exact: bool = False) -> None:  # noqa: ANN401
    """Store weights as float16; runtimes fold the widening away when they load the file.

    Args:
        graph: The network, changed in place.
        exact: Only what loses nothing by it: weights that were made as coarse before, but not what the exporter
            computed from them, such as positions.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims, dtype=np.int64) < SMALL:
            continue
        wide = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            narrow = wide.astype(np.float16)
        if not np.isfinite(narrow).all() or (exact and (narrow != wide).any()):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(narrow, f"{name}.half"))
        casts.append(
            helper.make_node("Cast", [f"{name}.half"], [name], f"{name}.widen", to=TensorProto.FLOAT)
        )
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _with_card(network: Any, card: Card) -> bytes:  # noqa: ANN401
    """The file's content."""
    del network.metadata_props[:]
    network.metadata_props.add(key=KEY, value=card.to_json())
    return cast("bytes", network.SerializeToString())


@torch.inference_mode()
def _self_test(model: nn.Module, content: bytes) -> float:
    """Largest difference of a class score on noise, in a size and a batch that the exporter did not see."""
    stride = models.largest_stride(model)
    noise = torch.rand((1, 3, 3 * stride, 2 * stride), generator=torch.Generator().manual_seed(0))
    inputs = {"images": noise}
    if models.takes_sizes(model):
        inputs[SIZES] = torch.tensor([[3 * stride - 5, 2 * stride]])
    expected = cast("Exportable", model).export(*inputs.values())
    found = load("onnx", content)({name: value.numpy() for name, value in inputs.items()})
    for (name, have), want in zip(found.items(), expected, strict=False):
        if want.shape != have.shape:
            raise RuntimeFailure(f"export: {name} must have shape {tuple(want.shape)}, got {have.shape}")
    scores = _class_scores(model, [part.numpy() for part in expected])
    drift = float(np.abs(scores - _class_scores(model, list(found.values()))).max())
    if not drift <= _TOLERANCE:
        raise RuntimeFailure(
            f"export: class scores must agree within {_TOLERANCE}, they differ by {drift:.3g}"
        )
    return drift


def _class_scores(model: nn.Module, outputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """All probabilities in the outputs of a network."""
    kind = models.family(model).DECODE
    if kind == "prototypes":
        return np.asarray(outputs[0][:, 4 : 4 + cast("Any", model).config.classes])
    flat = [] if kind == "semantic" else [outputs[1].ravel()]
    if kind in ("semantic", "panoptic"):
        flat.append(torch.from_numpy(outputs[-1]).softmax(1).numpy().ravel())
    return np.concatenate(flat)


@torch.inference_mode()
def _compare(
    model: nn.Module,
    predictor: Predictor,
    samples: Sequence[NDArray[np.uint8] | str | Path],
    self_test: float,
) -> Parity:
    """Run both on every sample and match what they found."""
    card = predictor.card
    ious: list[float] = []
    drifts: list[float] = []
    unmatched = 0
    for sample in samples:
        image = to_rgb8(sample) if isinstance(sample, np.ndarray) else read_image(sample)
        expected = models.segment(model, image, card.preprocess, card.thresholds)
        pairs = _matches(expected, got := predictor.predict(image))
        unmatched += len(expected) + len(got) - 2 * len(pairs)
        ious.extend(iou for _, _, iou in pairs)
        drifts.extend(abs(float(_scores(expected)[i]) - float(_scores(got)[j])) for i, j, _ in pairs)
    return Parity(
        pictures=len(samples),
        instances=len(ious),
        unmatched=unmatched,
        mask_iou_min=min(ious, default=1.0),
        mask_iou_mean=float(np.mean(ious)) if ious else 1.0,
        score_drift=max(drifts, default=0.0),
        self_test=self_test,
    )


def _scores(instances: Instances) -> NDArray[np.float32]:
    return instances.scores if instances.scores is not None else np.zeros(len(instances), np.float32)


def _matches(expected: Instances, got: Instances) -> list[tuple[int, int, float]]:
    """Pairs of the same class that are each other's best overlap, and their IoU above one half."""
    if not len(expected) or not len(got):
        return []
    if expected.masks is None or got.masks is None:
        overlap = boxes.iou(expected.boxes, got.boxes)
    else:
        overlap = expected.masks.iou(got.masks)
    overlap = overlap * (expected.labels[:, None] == got.labels[None])
    best = overlap.argmax(1)
    pairs = [(i, int(j), float(overlap[i, j])) for i, j in enumerate(best) if overlap[:, j].argmax() == i]
    return [pair for pair in pairs if pair[2] > 0.5]
