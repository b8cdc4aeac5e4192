"""SAM 2 as a pair of ONNX files, with the names and the order that public exports have, so that clients take either.

The encoder gives finer features beside the embedding, and the decoder takes them. It ends points by itself, replaces
an unstable single mask, and gives ``masks`` at the size that ``orig_im_size`` says, or where that is left out, at the
decoder's own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

from delineate.models.sam import Prompts
from delineate.models.sam2 import CONVENTIONS, Features, Sam2, settled

IMAGE = "image"
FEATURES = "high_res_feats_0", "high_res_feats_1", "image_embed"  # of the encoder
SCENE = "image_embed", "high_res_feats_0", "high_res_feats_1"  # of the decoder
ANSWERS = "iou_predictions", "low_res_masks", "object_score_logits", "unbounded_masks"


class FinerEncoder(nn.Module):
    """Pictures to what `FEATURES` names."""

    def __init__(self, model: Sam2) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(1, 3, side, side) to the finest features, the middle ones and the embedding."""
        features = self.model.encode(image)
        return features.fine, features.middle, features.embedding


class FinerDecoder(nn.Module):
    """Features and prompts to what `ANSWERS` names."""

    def __init__(self, model: Sam2) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        image_embed: Tensor,
        high_res_feats_0: Tensor,
        high_res_feats_1: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Ended points, and the rest as Segment Anything takes it, to IoU, bounded logits, presence and logits."""
        encoder = self.model.prompt_encoder
        dense = has_mask_input * encoder.masks(mask_input) + (1 - has_mask_input) * encoder.no_mask()
        features = Features(image_embed, high_res_feats_0, high_res_feats_1)
        outputs = settled(self.model.answer(features, point_coords, point_labels, dense))
        return outputs.ious, bounded(outputs.logits), outputs.presence, outputs.logits


def add_ending(network: Any) -> None:  # noqa: ANN401  (onnx.ModelProto; onnx is optional)
    """Let the network end points by one of label -1, if there are any; torch would take for granted that there are.

    Args:
        network: Changed in place.
    """
    from onnx import helper, numpy_helper

    graph, nodes = network.graph, []
    for name, values in {
        "ending_start": np.array([0], np.int64),
        "ending_end": np.array([1], np.int64),
        "ending_zero": np.float32(0),
        "ending_label": np.float32(1),
    }.items():
        graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
    for name in ("point_coords", "point_labels"):
        parts = f"{name}_first", f"{name}_zero", f"{name}_none", f"{name}_ended"
        cut = [name, "ending_start", "ending_end", "ending_end"]  # of axis 1
        nodes.append(helper.make_node("Slice", cut, [parts[0]]))
        nodes.append(helper.make_node("Mul", [parts[0], "ending_zero"], [parts[1]]))
        label = "ending_zero" if name == "point_coords" else "ending_label"
        nodes.append(helper.make_node("Sub", [parts[1], label], [parts[2]]))
        for node in graph.node:
            for index, given in enumerate(node.input):
                if given == name:
                    node.input[index] = parts[3]
        nodes.append(helper.make_node("Concat", [name, parts[2]], [parts[3]], axis=1))
    nodes.extend(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)


def bounded(logits: Tensor) -> Tensor:
    """Logits as the reference gives them out."""
    return logits if CONVENTIONS.limit is None else logits.clamp(-CONVENTIONS.limit, CONVENTIONS.limit)


def add_masks(
    network: Any,  # noqa: ANN401  (onnx.ModelProto; onnx is optional)
    cells: int,
    logits: str = ANSWERS[-1],
) -> None:
    """Give the network ``masks``: logits at the size that ``orig_im_size`` says.

    Args:
        network: Changed in place.
        cells: Cells per side of the logits.
        logits: Their name; unbounded ones are an output no more, and the size may be left out, as SAM 2's clients do.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    graph = network.graph
    size = numpy_helper.from_array(np.array([cells, cells], np.float32), "orig_im_size")
    if logits == ANSWERS[-1]:
        graph.initializer.append(size)  # what is an input too is a default
    graph.input.append(helper.make_tensor_value_info(size.name, TensorProto.FLOAT, [2]))
    graph.node.extend(
        [
            helper.make_node("Shape", [logits], ["leading_lengths"], end=2),
            helper.make_node("Cast", [size.name], ["int_size"], to=TensorProto.INT64),
            helper.make_node("Concat", ["leading_lengths", "int_size"], ["lengths"], axis=0),
            helper.make_node(
                "Resize",
                [logits, "", "", "lengths"],
                ["masks"],
                mode="linear",
                coordinate_transformation_mode="half_pixel",
            ),
        ]
    )
    tokens = (
        next(one for one in graph.output if one.name == ANSWERS[0]).type.tensor_type.shape.dim[1].dim_value
    )
    outputs = [one for one in graph.output if one.name != ANSWERS[-1]]
    del graph.output[:]
    shape = ["prompts", tokens, "height", "width"]
    graph.output.extend([helper.make_tensor_value_info("masks", TensorProto.FLOAT, shape), *outputs])
    checker.check_model(network)


def expected(model: Sam2, images: Tensor, prompts: Prompts, size: tuple[int, int]) -> dict[str, Tensor]:
    """What the decoder's file must give for pictures (1, 3, side, side), with ``masks`` at a size."""
    outputs = settled(model(images, prompts))
    return {
        "low_res_masks": bounded(outputs.logits),
        "iou_predictions": outputs.ious,
        "object_score_logits": outputs.presence,
        "masks": nn.functional.interpolate(outputs.logits, size, mode="bilinear"),
    }
