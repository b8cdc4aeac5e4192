"""Segment what points, boxes and masks point at: one encoding per picture, a light decoder per prompt.

The networks are two callables of named arrays, with the names of the ONNX exports of Segment Anything
(arXiv:2304.02643): an encoder (``images`` to ``image_embeddings``) and a decoder (``image_embeddings``,
``point_coords``, ``point_labels``, ``mask_input``, ``has_mask_input``, ``orig_im_size`` to ``iou_predictions``
and ``low_res_masks``; other outputs are not looked at). A pair of ONNX files is such a pair
(`PromptPredictor.load`), and `delineate.models.sam.networks` makes one of a torch model. Answers equal those
of the package segment-anything on the same weights.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from delineate._embedding_files import EmbeddingFiles
from delineate._prompt_pairs import Pair, PromptCard, embedded
from delineate._prompt_pictures import (
    MEAN,
    SAM2,
    STD,
    Conventions,
    fitted,
    mask_logits,
    prepare,
    prepare_square,
)
from delineate._prompt_points import tokens
from delineate.image import to_rgb8
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.modelfile import Preprocess
from delineate.postprocess.upsample import upsample

__all__ = [
    "MEAN",
    "SAM2",
    "STD",
    "Conventions",
    "Encoded",
    "Network",
    "PromptCard",
    "PromptPredictor",
    "embedded",
    "fitted",
    "mask_logits",
    "prepare",
    "prepare_square",
]

Network = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]
"""Named arrays in, named arrays out; every `delineate.runtimes.Runtime` is one."""


class Encoded(NamedTuple):
    """A picture as the decoder needs it.

    Attributes:
        embedding: (1, C, h, w) float32.
        size: (height, width) of the picture.
        content: (height, width) that the resized picture takes in the network's input.
        finer: What else the encoder gives, by name; the decoder takes it too.
    """

    embedding: NDArray[np.float32]
    size: tuple[int, int]
    content: tuple[int, int]
    finer: Mapping[str, NDArray[Any]] = MappingProxyType({})


class PromptPredictor:
    """Answers prompts on one picture at a time.

    Points and boxes are x, y in pixels of the picture, as segment-anything takes them: whole numbers are pixel
    centres. A batch of prompts has one more axis in front; all prompts of a batch are of the same kind.

    Args:
        encoder: ``images`` (1, 3, side, side) float32 to ``image_embeddings`` (1, C, h, w).
        decoder: See the module.
        side: Pixels per side of the encoder's input.
        batch: Prompts per call of the decoder, at least 1; 1 for decoders that take no more.
        remember: Embeddings of so many pictures are kept, found again by the pictures' content; at least 1.
        stretch: Percentiles of a picture that become black and white, where the model was trained so.
        conventions: What the model makes of pictures and prompts; None = as Segment Anything.

    Attributes:
        card: What the files say of the model; None where they say nothing.
    """

    def __init__(
        self,
        encoder: Network,
        decoder: Network,
        *,
        side: int = 1024,
        batch: int = 64,
        remember: int = 8,
        stretch: tuple[float, float] | None = None,
        conventions: Conventions | None = None,
    ) -> None:
        for name, value in (("side", side), ("batch", batch), ("remember", remember)):
            if value < 1:
                raise ValueError(f"PromptPredictor: {name} must be at least 1, got {value}")
        self.side, self.batch, self.remember = side, batch, remember
        self.conventions = conventions or Conventions()
        self._encoder, self._decoder = encoder, decoder
        self._known: OrderedDict[bytes, Encoded] = OrderedDict()
        self._current: Encoded | None = None
        self._preprocess = Preprocess(stretch=stretch)
        self._files: EmbeddingFiles | None = None
        self.card: PromptCard | None = None

    @classmethod
    def load(
        cls,
        encoder: str | Path | bytes,
        decoder: str | Path | bytes | None = None,
        *,
        remember: int = 8,
        folder: str | Path | None = None,
        folder_bytes: int = 2**30,
    ) -> PromptPredictor:
        """The predictor of a pair of ONNX files.

        Args:
            encoder: Path or content of the file that takes ``images``; without `decoder`, the name of an embedded
                pair (see `embedded`).
            decoder: Path or content of a decoder with the signature of Segment Anything.
            remember: As in the class.
            folder: Where embeddings are kept beyond this process, found again by the content of model and picture;
                None for nowhere.
            folder_bytes: What they may take there; the longest unused go first.

        Raises:
            RuntimeFailure: A file cannot be loaded, or has another signature.
            WeightsError: There is no such embedded pair, or its card cannot be read.
            OSError: A file cannot be read.
        """
        pair = Pair(encoder, decoder)
        few = 4  # prompts of a call: files make their own masks at the side of the input too, which takes memory
        predictor = cls(
            pair.encoder,
            pair.decoder,
            side=pair.side,
            batch=few if pair.prompts is None else pair.prompts,
            remember=remember,
            stretch=pair.card.stretch if pair.card else None,
            conventions=pair.conventions,
        )
        predictor.card = pair.card
        if folder is not None:
            predictor._files = EmbeddingFiles(Path(folder), pair.digest, folder_bytes)
        return predictor

    def set_image(self, image: NDArray[Any]) -> Encoded:
        """Choose the picture that `predict` speaks of. It is encoded unless its embedding is remembered.

        Args:
            image: (H, W, 3) uint8 RGB, or what `delineate.image.to_rgb8` takes.

        Returns:
            The picture's encoding, which `predict` uses from now on.
        """
        picture = np.ascontiguousarray(to_rgb8(image))
        shape = str(picture.shape[:2]).encode()[:16]
        key = hashlib.blake2b(picture.data, digest_size=16, salt=shape).digest()
        found = self._known.pop(key, None) or self._stored(key, picture)
        self._known[key] = found
        while len(self._known) > self.remember:
            self._known.popitem(last=False)
        self.use(found)
        return found

    def encode(self, image: NDArray[Any]) -> Encoded:
        """Encode a picture, without remembering it or speaking of it.

        Args:
            image: As for `set_image`.
        """
        picture = self._preprocess.stretched(to_rgb8(image))
        size = picture.shape[0], picture.shape[1]
        found = dict(self._encoder({"images": self.conventions.prepare(picture, self.side)}))
        embedding = np.asarray(found.pop("image_embeddings"), np.float32)
        return Encoded(embedding, size, self.conventions.content(size, self.side), found)

    def _stored(self, key: bytes, picture: NDArray[np.uint8]) -> Encoded:
        """The encoding of a picture out of the folder, or a new one into it."""
        kept = None if self._files is None else self._files.get(key)
        if kept is not None:
            embedding, finer = kept
            size = picture.shape[0], picture.shape[1]
            return Encoded(embedding, size, self.conventions.content(size, self.side), finer)
        made = self.encode(picture)
        if self._files is not None:
            self._files.put(key, made.embedding, made.finer)
        return made

    def use(self, picture: Encoded) -> None:
        """Choose the picture that `predict` speaks of, by an encoding that this predictor made."""
        self._current = picture

    def predict(
        self,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        boxes: ArrayLike | None = None,
        mask: ArrayLike | Masks | None = None,
        *,
        multimask: bool = True,
        keep_logits: bool = False,
        least_iou: float | None = None,
    ) -> Instances:
        """The masks that prompts ask for.

        Args:
            points: (N, 2) or (P, N, 2) x, y.
            labels: (N,) or (P, N): 1 inside the object, 0 outside, -1 no point (to fill up a batch).
            boxes: (4,) or (P, 4) x0, y0, x1, y1.
            mask: P masks at picture size, or logits (h, w) or (P, h, w) as ``extras["logits"]`` has them.
            multimask: True for the candidates of an ambiguous prompt, False for the one mask.
            keep_logits: Whether ``extras["logits"]`` shall hold the (N, h, w) logits at low resolution.
            least_iou: Answers whose predicted IoU is not above this are left out, before their masks are made.

        Returns:
            Prompt after prompt, all candidates of each in the network's order, also empty ones. Scores are the
            predicted IoU, which is not bounded; ``extras`` has ``prompt`` (index into the batch) and
            ``stability`` (how little the area depends on the threshold, 0 to 1).

        Raises:
            ValueError: If no picture is set, no prompt given, shapes do not fit, or the model does not understand
                prompts of the kind (see `Conventions`).
        """
        if self._current is None:
            raise ValueError("PromptPredictor.predict: a picture must be set first. Call set_image")
        scene = self._current
        scale = scene.content[1] / scene.size[1], scene.content[0] / scene.size[0]
        coords, kinds = tokens(points, labels, boxes, scale, self.conventions)
        hints = self._hints(mask, scene)
        count = len(coords) if coords is not None else len(hints) if hints is not None else 0
        if coords is None and hints is None:
            raise ValueError("PromptPredictor.predict: points, boxes or mask must be given, got none")
        if hints is not None and len(hints) != count:
            raise ValueError(
                f"PromptPredictor.predict: mask must hold one mask per prompt, got {len(hints)} for {count}"
            )
        if coords is None or kinds is None:
            coords, kinds = np.zeros((count, 0, 2), np.float32), np.zeros((count, 0), np.float32)
        chosen = slice(1, None) if multimask else slice(0, 1)
        parts = []
        for start in range(0, count, self.batch):
            some = slice(start, start + self.batch)
            logits, ious = self._decode(
                scene, coords[some], kinds[some], None if hints is None else hints[some]
            )
            logits, ious = logits[:, chosen], ious[:, chosen]
            owners, ranks = np.nonzero(np.ones_like(ious, bool) if least_iou is None else ious > least_iou)
            flat, ious = logits[owners, ranks].astype(np.float32, copy=False), ious[owners, ranks]
            whole, limit = self.conventions.whole, self.conventions.limit
            side = flat.shape[1] if whole else self.side  # of what is interpolated to the picture
            content = (side, side) if whole else scene.content
            found = upsample(flat, side=side, content=content, size=scene.size)
            extras: dict[str, ArrayLike] = {"prompt": owners + start, "stability": found.stability}
            if keep_logits:
                extras["logits"] = flat if limit is None else flat.clip(-limit, limit)
            parts.append(Instances.of(found.masks, scores=ious, extras=extras))
        return Instances.concat(parts) if parts else Instances.empty(scene.size, scored=True)

    def _decode(
        self,
        scene: Encoded,
        coords: NDArray[np.float32],
        kinds: NDArray[np.float32],
        hints: NDArray[np.float32] | None,
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Logits (P, T, h, w) and predicted IoU (P, T) of a few prompts."""
        cells = 4 * scene.embedding.shape[2]
        nothing = np.zeros((len(coords), 1, cells, cells), np.float32)
        outputs = self._decoder(
            {
                "image_embeddings": scene.embedding,
                **scene.finer,
                "point_coords": coords,
                "point_labels": kinds,
                "mask_input": nothing if hints is None else hints[:, None],
                "has_mask_input": np.array([hints is not None], np.float32),
                "orig_im_size": np.ones(2, np.float32),  # masks at picture size are made here, as runs
            }
        )
        return outputs["low_res_masks"], outputs["iou_predictions"]

    def _hints(self, mask: ArrayLike | Masks | None, scene: Encoded) -> NDArray[np.float32] | None:
        """Mask prompts as logits (P, h, w)."""
        if mask is None:
            return None
        if not self.conventions.masks:
            raise ValueError(
                "PromptPredictor.predict: mask must be None, as this model knows no masks as prompts. "
                "Ask with the mask's box, or with points in it"
            )
        cells = 4 * scene.embedding.shape[2]
        if isinstance(mask, Masks):
            if mask.size != scene.size:
                raise ValueError(
                    f"PromptPredictor.predict: mask must be on the picture's canvas {scene.size}, got {mask.size}"
                )
            return mask_logits(mask, scene.content, self.side, cells)
        hints = np.asarray(mask, np.float32)
        hints = hints[None] if hints.ndim == 2 else hints
        if hints.ndim != 3 or hints.shape[1:] != (cells, cells):
            raise ValueError(
                f"PromptPredictor.predict: mask must be Masks or logits ({cells}, {cells}), got shape {hints.shape}"
            )
        return hints
