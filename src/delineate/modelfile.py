"""What a model file says about itself: how to prepare a picture, what comes out, and under which licence.

Our own exports carry one metadata entry, ``delineate``, a JSON document: the `Card`. The files of others are
recognised by what they have: exports of Ultralytics segmentation models by their metadata, nameless
YOLO-seg networks and torchvision's detectors by the shapes of their outputs; they get a card made up from that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from delineate._foreign_models import KEY, LONGEST, recognise, takes_pictures, unknown
from delineate._native import _core
from delineate.errors import WeightsError
from delineate.instances import Instances
from delineate.postprocess.decode import Kind, Placement, Thresholds
from delineate.postprocess.panoptic import Rules
from delineate.postprocess.tiles import Tile, segment_tiled, tiles
from delineate.runtimes import Runtime

__all__ = ["FORMAT", "KEY", "SIZES", "Card", "Preprocess", "read_card"]

FORMAT = 1
SIZES = "sizes"  # the second input of two-stage networks: (N, 2) int64 height and width without the padding


class Preprocess(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a picture becomes a network's input: resize, pad, reorder, normalise.

    ``letterbox``: resized to fit into `size` with its proportions kept, padded on both sides. ``native``:
    resized by `scale` (1 = every pixel as it is), padded at the bottom and the right to a multiple of
    `multiple`. ``shortest``: resized so that its shorter side is `size[0]`, or so that its longer one is
    `size[1]` where that is smaller, padded likewise; its padding is 0 in the input, whatever `pad` says.

    Before that, `stretch` may spread the contrast: those percentiles of all its values become black and
    white, for pictures whose brightness means nothing.

    Resizing is bilinear with half-pixel centres and no antialias, in float: what cv2's INTER_LINEAR does but
    for its rounding, so results differ from it by less than one grey level. A picture that needs no resizing
    is copied exactly. With `antialias` it is Pillow's instead: the filter is widened by the factor by which the
    picture shrinks, and the result is rounded to grey levels. Input = (grey / 255 - mean) / std per channel; the
    padding of the first two rules is treated likewise.

    >>> Preprocess(size=(320, 320)).apply(np.zeros((100, 200, 3), np.uint8))[1]
    Placement(scale_y=1.6, scale_x=1.6, top=80, left=0)
    """

    rule: Literal["letterbox", "native", "shortest"] = "letterbox"
    size: tuple[int, int] = (
        640,
        640,
    )  # letterbox: (height, width) of the input; shortest: (shorter, longer side)
    scale: float = 1.0  # native: input pixels per picture pixel
    multiple: int = 32  # native, shortest: the input's sides are multiples of this (the largest stride)
    tile: int = 1024  # native: larger pictures are segmented in tiles of this side, input pixels
    overlap: int = (
        128  # native: what neighbouring tiles share at least, input pixels; more than a large object
    )
    pad: float = 114.0  # grey level around the picture
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)  # of grey / 255, in the order of `channels`
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    channels: Literal["rgb", "bgr"] = "rgb"
    stretch: tuple[float, float] | None = None  # percentiles; None = the picture as it is
    antialias: bool = False  # resize as Pillow does
    rounding: Literal["nearest", "floor"] = (
        "nearest"  # of the resized picture's sides; shortest: halves go up
    )

    def __post_init__(self) -> None:
        if not all(1 <= side <= 2**15 for side in self.size):
            raise ValueError(f"Preprocess: size must be (height, width) within 1..32768, got {self.size}")
        if not 1e-3 <= self.scale <= 1e3:
            raise ValueError(f"Preprocess: scale must be within 0.001..1000, got {self.scale}")
        if not 1 <= self.multiple <= self.tile <= 2**15:
            raise ValueError(
                "Preprocess: multiple and tile must hold 1 <= multiple <= tile <= 32768, "
                f"got {self.multiple} and {self.tile}"
            )
        if not 0 <= self.overlap <= self.tile // 2:
            raise ValueError(
                f"Preprocess: overlap must be within 0..tile / 2, got {self.overlap} of {self.tile}"
            )
        if self.stretch is not None and not 0 <= self.stretch[0] < self.stretch[1] <= 100:
            raise ValueError(f"Preprocess: stretch must be two rising percentiles, got {self.stretch}")
        numbers = self.pad, *self.mean, *self.std
        if not all(np.isfinite(numbers)) or min(self.std) <= 0:
            raise ValueError(f"Preprocess: pad, mean, std must be finite and std positive, got {numbers}")

    def stretched(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture with its contrast stretched as `stretch` says; the very picture where it says nothing.

        Black and white are kept at least 16 grey levels apart, so that the noise of an empty picture stays
        faint.

        Args:
            image: (H, W, 3) uint8.

        >>> dark = np.arange(0, 64, 4, np.uint8).repeat(3).reshape(1, 16, 3)
        >>> Preprocess(stretch=(0, 100)).stretched(dark)[0, :3, 0]
        array([ 0, 17, 34], dtype=uint8)
        """
        if self.stretch is None:
            return image
        image = np.ascontiguousarray(image)
        counts = np.cumsum(_core.count_levels(image))
        low, high = (float(np.searchsorted(counts, share / 100 * counts[-1])) for share in self.stretch)
        high = max(high, low + 16)
        curve = np.clip((np.arange(256) - low) * (255 / (high - low)), 0, 255) + 0.5
        result = np.empty_like(image)
        _core.map_levels(image, curve.astype(np.uint8), result)
        return result

    def place(self, size: Sequence[int]) -> tuple[tuple[int, int], tuple[int, int], Placement]:
        """Where a picture goes.

        Args:
            size: (height, width) of the picture.

        Returns:
            (height, width) of the input, (height, width) of the resized picture, and its place there.

        >>> Preprocess(rule="native", multiple=32).place((100, 60))
        ((128, 64), (100, 60), Placement(scale_y=1.0, scale_x=1.0, top=0, left=0))
        """
        height, width = int(size[0]), int(size[1])
        fitting = min(self.size[0] / height, self.size[1] / width)
        if self.rule == "shortest":
            content = self._shortest(height, width)
        else:
            scale = fitting if self.rule == "letterbox" else self.scale
            content = max(1, round(height * scale)), max(1, round(width * scale))
        if self.rule == "letterbox":
            canvas = self.size
            # Of an odd rest the larger half goes below and to the right.
            top, left = (canvas[0] - content[0]) // 2, (canvas[1] - content[1]) // 2
        else:
            canvas = (
                -(-content[0] // self.multiple) * self.multiple,
                -(-content[1] // self.multiple) * self.multiple,
            )
            top = left = 0
        return canvas, content, Placement(content[0] / height, content[1] / width, top, left)

    def _shortest(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the resized picture, with the references' arithmetic."""
        if self.rounding == "floor":
            scale = min(self.size[0] / min(height, width), self.size[1] / max(height, width))
            sides = height * scale, width * scale
        else:
            scale = self.size[0] / min(height, width)
            longest = max(height * scale, width * scale)
            if longest > self.size[1]:
                scale *= self.size[1] / longest
            sides = height * scale + 0.5, width * scale + 0.5
        return max(1, int(sides[0])), max(1, int(sides[1]))

    def apply(
        self, image: NDArray[np.uint8], *, threads: int = 1, out: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], Placement]:
        """Make the network's input from a picture, in one pass.

        Args:
            image: (H, W, 3) uint8 RGB.
            threads: Threads; 0 = as many as the process may use.
            out: (1, 3, h, w) float32, C order, to write into: memory that is used again costs a third of fresh memory.

        Returns:
            (1, 3, h, w) float32 (`out` if given), and where the picture lies in it.

        Raises:
            ValueError: The shape does not fit or the picture is empty.
            TypeError: The dtype does not fit.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ValueError(
                f"Preprocess.apply: image must have shape (H, W, 3), at least one pixel, got {image.shape}"
            )
        if image.dtype != np.uint8:
            raise TypeError(
                f"Preprocess.apply: image must be uint8, got {image.dtype}. Convert with image.to_rgb8"
            )
        image = self.stretched(image)
        canvas, content, placement = self.place(image.shape[:2])
        if self.antialias and content != image.shape[:2]:
            picture = Image.fromarray(image).resize(content[::-1], Image.Resampling.BILINEAR)
            image = np.asarray(picture)
        tensor = np.empty((1, 3, *canvas), np.float32) if out is None else out
        if tensor.shape != (1, 3, *canvas) or tensor.dtype != np.float32 or not tensor.flags.carray:
            raise ValueError(
                f"Preprocess.apply: out must be a C-ordered float32 array of shape {(1, 3, *canvas)}, "
                f"got {tensor.dtype} {tensor.shape}"
            )
        gain = tuple(1 / (255 * std) for std in self.std)
        bias = tuple(-mean / std for mean, std in zip(self.mean, self.std, strict=True))
        _core.letterbox(
            np.ascontiguousarray(image),
            tensor,
            (int(placement.top), int(placement.left), *content),
            gain,
            bias,
            self.pad,
            self.channels == "bgr",
            threads,
        )
        if self.rule == "shortest":
            tensor[:, :, content[0] :] = 0
            tensor[:, :, :, content[1] :] = 0
        return tensor, placement

    def segment(
        self,
        image: NDArray[np.uint8],
        find: Callable[[NDArray[np.float32], Placement, tuple[int, int]], Instances],
        *,
        threads: int = 1,
    ) -> Instances:
        """Take a picture of any size through a network: contrast first, then tile by tile where it is large.

        Args:
            image: (H, W, 3) uint8 RGB.
            find: Called with an input, where its pixels lie in it, and their (height, width); finds the objects.
            threads: Threads of the preparation; 0 = as many as the process may use.

        Returns:
            The instances on the canvas of the whole picture.
        """
        plain = msgspec.structs.replace(self, stretch=None)

        def one(pixels: NDArray[np.uint8]) -> Instances:
            tensor, placement = plain.apply(pixels, threads=threads)
            return find(tensor, placement, (pixels.shape[0], pixels.shape[1]))

        image = self.stretched(image)
        return one(image) if self.rule != "native" else segment_tiled(image, one, *self._tiling())

    def tiles(self, size: Sequence[int]) -> list[Tile]:
        """The windows in which a picture goes through the network, in the order of `segment`.

        Args:
            size: (height, width) of the picture.

        >>> [tile.left for tile in Preprocess(rule="native", tile=64, overlap=16).tiles((50, 100))]
        [0, 36]
        """
        if self.rule != "native":
            return [Tile(0, 0, int(size[0]), int(size[1]))]
        return tiles(size, *self._tiling())

    def _tiling(self) -> tuple[int, int]:
        """Side and overlap of tiles, picture pixels."""
        side = max(1, round(self.tile / self.scale))
        return side, min(side - 1, round(self.overlap / self.scale))


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """The self-description of a model file.

    >>> card = Card(name="cells", classes=("cell",), preprocess=Preprocess(), thresholds=Thresholds())
    >>> Card.from_json(card.to_json()) == card
    True
    """

    format: int = FORMAT
    name: str
    classes: tuple[str, ...]
    stuff: tuple[str, ...] = ()  # classes without objects, of panoptic models
    preprocess: Preprocess
    decode: Kind = "prototypes"
    thresholds: Thresholds
    panoptic: Rules = Rules()  # what becomes a segment, of panoptic models
    strides: tuple[int, ...] = (8, 16, 32)  # of the anchor grids, level by level
    licence: str = ""  # of the weights
    provenance: dict[str, Any] = {}  # data, recipe, commit, ...: whatever the exporter knows
    parity: dict[str, float] = {}  # how far the file is from the model it was exported from

    def __post_init__(self) -> None:
        if not self.classes:
            raise ValueError("Card: classes must hold at least one name, got none")
        if not self.strides or min(self.strides) < 1:
            raise ValueError(f"Card: strides must be positive, got {self.strides}")

    def to_json(self) -> str:
        """The metadata entry's text."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a metadata entry.

        Args:
            text: The JSON document.

        Raises:
            WeightsError: It is damaged, or of a newer format.
        """
        try:
            version = msgspec.json.decode(text, type=_Version).format
            if version != FORMAT:
                raise WeightsError(
                    f"the model's card must have format {FORMAT}, got {version}. Update delineate"
                )
            return msgspec.json.decode(text, type=cls)
        except (msgspec.DecodeError, RecursionError) as error:
            raise WeightsError(
                f"the model's card must be readable, got: {error}. Export the model anew"
            ) from error


class _Version(msgspec.Struct):
    format: int


def read_card(runtime: Runtime) -> Card:
    """The card of a loaded model: its own, or one made up for a recognised foreign export.

    Args:
        runtime: The loaded model.

    Raises:
        WeightsError: The model is none that we know how to use; the message says what it has.
    """
    if not runtime.inputs or not takes_pictures(runtime.inputs[0]):
        raise unknown(runtime, "it does not take pictures (N, 3, height, width) or one (3, height, width)")
    own = runtime.metadata.get(KEY)
    card = _foreign(runtime) if own is None else Card.from_json(own[:LONGEST])
    wanted_inputs = [SIZES] if card.decode in ("crops", "panoptic") else []
    if [port.name for port in runtime.inputs[1:]] != wanted_inputs:
        raise unknown(runtime, f"its inputs after the pictures must be {wanted_inputs}")
    sides = runtime.inputs[0].shape[-2:]
    wanted: tuple[int | None, ...] = (
        card.preprocess.size if card.preprocess.rule == "letterbox" else (None, None)
    )
    if any(side is not None and side != want for side, want in zip(sides, wanted, strict=True)):
        raise WeightsError(
            f"the model's input must take {card.preprocess.rule} pictures as its card says, "
            f"got a fixed input {runtime.inputs[0]}. Export it with dynamic height and width"
        )
    return card


def _foreign(runtime: Runtime) -> Card:
    """A card for a file that has none."""
    found = recognise(runtime)
    whole = Preprocess(rule="native", multiple=1, tile=2**15)
    return Card(
        name=found.name,
        classes=found.classes,
        preprocess=whole if found.size is None else Preprocess(rule="letterbox", size=found.size),
        decode=found.decode,
        thresholds=Thresholds(),
        licence=found.licence,
        provenance=dict(found.provenance),
    )
