"""Pairs of networks under the names that others gave to what they take and give.

Known are Segment Anything's own export, samexporter's (what AnyLabeling and others read), ONNX Runtime's of SAM 2, and
what has the same parts: the picture is the encoder's only input, the embedding the smallest of its outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from delineate.errors import RuntimeFailure
from delineate.runtimes import Port, Runtime

_EMBEDDING = ("image_embeddings", "image_embed")
_KNOWN = ("point_coords", "point_labels", "mask_input", "has_mask_input", "orig_im_size")
_OTHER_NAMES = {
    "input_masks": "mask_input",
    "has_input_masks": "has_mask_input",
    "original_image_size": "orig_im_size",
}


class Encoder:
    """An encoder as `delineate.prompt` takes it.

    Attributes:
        side: Pixels per side of its input.
        embedding: Its own name of the embedding.
        finer: Names of what else it gives.
    """

    def __init__(self, network: Runtime) -> None:
        self._network = network
        pictures = [port for port in network.inputs if len(port.shape) == 4]
        shape = pictures[0].shape if len(pictures) == 1 else (None,) * 4
        if len(network.inputs) != 1 or shape[2] is None or shape[2] != shape[3]:
            raise RuntimeFailure(
                "PromptPredictor.load: the encoder must take images (1, 3, side, side) alone, "
                f"got {'; '.join(str(port) for port in network.inputs)}"
            )
        self.side: int = shape[2]
        self._image = pictures[0]
        maps = [port for port in network.outputs if len(port.shape) == 4]
        if not maps:
            raise RuntimeFailure(
                "PromptPredictor.load: the encoder must give an embedding (1, C, h, w), got none"
            )
        self.embedding = min(
            maps, key=lambda port: (port.name not in _EMBEDDING, port.shape[3] or 2**31)
        ).name
        self.finer = tuple(port.name for port in maps if port.name != self.embedding)

    def __call__(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """``images`` to ``image_embeddings`` and the finer features under their own names."""
        found = self._network({self._image.name: arrays["images"].astype(self._image.dtype, copy=False)})
        return {"image_embeddings": found[self.embedding], **{name: found[name] for name in self.finer}}


class Decoder:
    """A decoder as `delineate.prompt` takes it.

    Args:
        network: The decoder's file.
        encoder: Of the same pair.
        own: Whether the single mask stands before the candidates, as our own exports have it. Foreign decoders that
            give one mask or three are completed to that: by the mask itself, or by the best of the three.

    Attributes:
        prompts: Prompts per call; None = any number.
        finer: Names of the finer features that it takes.
    """

    def __init__(self, network: Runtime, encoder: Encoder, *, own: bool) -> None:
        self._network, self._own = network, own
        self._ports: dict[str, Port] = {}  # by the names that `delineate.prompt` knows
        for port in network.inputs:
            name = _OTHER_NAMES.get(port.name, port.name)
            if name in (encoder.embedding, "image_embeddings"):
                name = "image_embeddings"
            elif name not in _KNOWN and name not in encoder.finer:
                raise RuntimeFailure(
                    f"PromptPredictor.load: the decoder must take {', '.join(_KNOWN)} and what the encoder gives, "
                    f"got {port}"
                )
            self._ports[name] = port
        points = self._ports.get("point_coords")
        if points is None or len(points.shape) != 3 or "image_embeddings" not in self._ports:
            raise RuntimeFailure(
                "PromptPredictor.load: the decoder must take image_embeddings and point_coords (P, N, 2), "
                f"got {'; '.join(str(port) for port in network.inputs)}"
            )
        self.prompts = points.shape[0]
        self.finer = tuple(name for name in encoder.finer if name in self._ports)

    def __call__(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """As `delineate.prompt` says; what the network does not take is left out."""
        found = self._network(
            {port.name: arrays[name].astype(port.dtype, copy=False) for name, port in self._ports.items()}
        )
        masks, side = found.get("masks"), arrays["mask_input"].shape[2]
        # Without a size, masks are the logits before they are bounded.
        low = masks if masks is not None and masks.shape[2] == side else found.get("low_res_masks")
        if low is None:
            raise RuntimeFailure(
                f"PromptPredictor: the decoder must give low_res_masks, or masks of {side} cells per side, "
                f"got {', '.join(found)}"
            )
        ious = found["iou_predictions"]
        if not self._own and ious.shape[1] != 4:
            best = ious.argmax(1, keepdims=True)
            ious = np.concatenate((np.take_along_axis(ious, best, 1), ious), 1)
            low = np.concatenate((np.take_along_axis(low, best[..., None, None], 1), low), 1)
        return {"iou_predictions": ious, "low_res_masks": low}
