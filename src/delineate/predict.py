"""`Predictor`: preprocess, run, decode. The one inference path, for our models and recognised ones."""

from __future__ import annotations

import contextlib
import difflib
import importlib.resources
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from delineate import download, runtimes, scene
from delineate.errors import RuntimeFailure, WeightsError
from delineate.image import read_image, to_rgb8
from delineate.instances import Instances
from delineate.modelfile import SIZES, Card, Preprocess, read_card
from delineate.panoptic import Panoptic
from delineate.postprocess import decode
from delineate.postprocess.decode import Placement, Thresholds
from delineate.postprocess.panoptic import Rules
from delineate.postprocess.semantic import ClassMap
from delineate.runtimes import Runtime

__all__ = ["Card", "Picture", "Pictures", "Placement", "Predictor", "Preprocess", "Thresholds", "embedded"]

Picture: TypeAlias = str | Path | bytes | NDArray[Any]
"""A file, a file's content, or pixels: whatever array `image.to_rgb8` takes."""

Pictures: TypeAlias = list[Any] | tuple[Any, ...]
"""Several of them. Any, because a list[Path] is no list[Picture] to a type checker."""


class Predictor:
    """A model ready to use.

    May be called from several threads at once; load it after forking, not before.

    Args:
        model: The name of an embedded model (see `embedded`) or of a published one that is ready in the cache
            (see `delineate.published`), a path to an ONNX file, or such a file's content: an export of ours,
            or a foreign one that is recognised (see `delineate.modelfile`). Or a network that is loaded
            already, which then is the runtime.
        runtime: One of `runtimes.NAMES`.
        score: Keep what scores above this; None = what the model file says.
        iou: Overlap from which the lesser of two boxes is dropped; None = what the model file says.
        max_detections: The best so many of a picture; None = what the model file says (for each tile of a
            large picture).
        classes: Names of the classes, in the model's order; None = what the model file says. Exports of
            torchvision say nothing: their first name is that of label 1.
        threads: Threads of one call, at least 1; None = as many CPUs as the process may use.

    Raises:
        WeightsError: There is no such model, or it is none that we know how to use.
        RuntimeFailure: The runtime refuses the file.
        ValueError: The model file names another number of classes than `classes`.
    """

    def __init__(
        self,
        model: str | Path | bytes | Runtime = "nuclei",
        *,
        runtime: str = "onnx",
        score: float | None = None,
        iou: float | None = None,
        max_detections: int | None = None,
        classes: Sequence[str] | None = None,
        threads: int | None = None,
    ) -> None:
        given = {"score": score, "iou": iou, "max_detections": max_detections}
        if isinstance(model, str | Path | bytes):
            self.runtime: Runtime = runtimes.load(runtime, _find(model), threads=threads)
        else:
            self.runtime = model
        self.source = "a model in memory" if isinstance(model, bytes) else str(model)
        try:
            self.card = read_card(self.runtime)
        except WeightsError as error:
            raise WeightsError(f"{self.source}: {error}") from error
        if classes is not None:
            self.card = _renamed(self.card, classes)
        self.thresholds: Thresholds = msgspec.structs.replace(
            self.card.thresholds, **{name: value for name, value in given.items() if value is not None}
        )
        self._threads = threads or 0
        self._most = max_detections

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; `Instances.labels` index into them."""
        return self.card.classes

    @property
    def stuff(self) -> tuple[str, ...]:
        """Names of the stuff of panoptic models; () of all others, and where the file names none."""
        return self.card.stuff

    @property
    def preprocess(self) -> Preprocess:
        """How a picture becomes the network's input."""
        return self.card.preprocess

    @property
    def decode(self) -> str:
        """The name of the function in `postprocess.decode` that reads the outputs."""
        return self.card.decode

    @property
    def licence(self) -> str:
        """Licence of the weights, as the file states it."""
        return self.card.licence

    @overload
    def predict(self, pictures: Picture) -> Instances: ...
    @overload
    def predict(self, pictures: Pictures) -> list[Instances]: ...
    def predict(self, pictures: Picture | Pictures) -> Instances | list[Instances]:
        """Find the objects of a picture.

        Args:
            pictures: A picture, or a list of pictures. Files are turned upright by their EXIF orientation;
                pixels deeper than 8 bits are stretched as `image.to_rgb8` says.

        Returns:
            The instances by falling score, on a canvas of the picture's own size; a list for a list.

        Raises:
            FormatError: A file is missing, damaged or not a picture.
            RuntimeFailure: The runtime failed (out of memory, for instance).
            WeightsError: The outputs are not what the model file promised.
        """
        if isinstance(pictures, list | tuple):
            return [self._predict(picture) for picture in pictures]
        return self._predict(pictures)

    def panoptic(self, picture: Picture, rules: Rules | None = None) -> Panoptic:
        """The panoptic picture of a model that finds things and stuff.

        Args:
            picture: As `predict` takes one.
            rules: What becomes a segment; None = what the model file says.

        Returns:
            Segments on a canvas of the picture's own size; labels from the number of `classes` on are `stuff`.

        Raises:
            WeightsError: The model knows no stuff, or its outputs are not what the file promised.
            FormatError: The file is missing, damaged or not a picture.
            RuntimeFailure: The runtime failed.
        """
        if self.decode != "panoptic":
            raise WeightsError(f"{self.source}: must be a panoptic model, got one that gives {self.decode}")
        try:
            return scene.panoptic(
                _pixels(picture),
                self.preprocess,
                self._run,
                thresholds=self.thresholds,
                classes=len(self.classes),
                rules=rules or self.card.panoptic,
                threads=self._threads,
            )
        except (ValueError, TypeError) as error:
            raise WeightsError(f"{self.source}: {error}") from error

    def class_map(self, picture: Picture) -> ClassMap:
        """The class of every pixel, by a model that names it.

        Args:
            picture: As `predict` takes one.

        Returns:
            On a canvas of the picture's own size: 0 is the background, n the class `classes[n - 1]`.

        Raises:
            WeightsError: The model gives no class map, or its outputs are not what the file promised.
            FormatError: The file is missing, damaged or not a picture.
            RuntimeFailure: The runtime failed.
        """
        if self.decode != "semantic":
            raise WeightsError(f"{self.source}: must be a semantic model, got one that gives {self.decode}")
        image = _pixels(picture)
        try:
            found = scene.class_map(image, self.preprocess, self._run, threads=self._threads)
        except (ValueError, TypeError) as error:
            raise WeightsError(f"{self.source}: {error}") from error
        if found.classes.max() > len(self.classes):
            raise WeightsError(
                f"{self.source}: outputs must be logits of the background and {len(self.classes)} classes, "
                f"got class {found.classes.max()}"
            )
        return found

    def _predict(self, picture: Picture) -> Instances:
        found = self.preprocess.segment(_pixels(picture), self._find, threads=self._threads)
        return found if self._most is None else found[: self._most]

    def _find(self, tensor: NDArray[np.float32], placement: Placement, size: tuple[int, int]) -> Instances:
        """One input through the network and the decode."""
        outputs = self._run(tensor, self.preprocess.place(size)[1])
        try:
            return decode.instances(
                self.card.decode,
                outputs,
                placement=placement,
                size=size,
                input_size=tensor.shape[2:],
                thresholds=self.thresholds,
                classes=len(self.classes),
                strides=self.card.strides,
                threads=self._threads,
            )
        except (ValueError, TypeError) as error:
            raise WeightsError(f"{self.source}: {error}") from error

    def _run(self, tensor: NDArray[np.float32], content: tuple[int, int] | None = None) -> list[NDArray[Any]]:
        """One picture through the network; a file with a fixed larger batch gets empty pictures beside it.

        `content`: (height, width) of the input without its padding, for networks that ask for it; None = all of it.
        """
        port = self.runtime.inputs[0]
        single = len(port.shape) == 3  # without a batch axis
        batch = 1 if single else port.shape[0] or 1
        array = tensor[0 if single else slice(None)].astype(port.dtype, copy=False)
        if batch > 1:
            array = np.concatenate([array, np.zeros((batch - 1, *array.shape[1:]), array.dtype)])
        inputs: dict[str, NDArray[Any]] = {port.name: array}
        if len(self.runtime.inputs) > 1:
            inputs[SIZES] = np.array([content or tensor.shape[2:]] * batch)
        try:
            outputs = list(self.runtime(inputs).values())
        except RuntimeFailure as error:
            if "alloc" not in str(error):
                raise
            raise RuntimeFailure(
                f"{error}. The picture is too large for the memory; cut it into tiles"
            ) from error
        return [output[:1] for output in outputs] if batch > 1 else outputs

    def __repr__(self) -> str:
        return f"Predictor({self.source!r}, classes={len(self.classes)}, licence={self.licence!r})"


def _renamed(card: Card, classes: Sequence[str]) -> Card:
    """A card with other names; only files that do not say how many classes they know leave their number open."""
    if len(classes) != len(card.classes) and (card.decode != "pasted" or not classes):
        raise ValueError(
            f"Predictor: classes must be {len(card.classes)} names, as the model predicts, got {len(classes)}"
        )
    return msgspec.structs.replace(card, classes=tuple(classes))


def _pixels(picture: Picture) -> NDArray[np.uint8]:
    """(H, W, 3) RGB."""
    if isinstance(picture, np.ndarray):
        if not picture.size:
            raise ValueError(f"Predictor.predict: a picture must have pixels, got shape {picture.shape}")
        return to_rgb8(picture)
    if isinstance(picture, str | Path | bytes):
        return read_image(picture)
    raise TypeError(
        f"Predictor.predict: a picture must be a path, bytes or an array, got {type(picture).__name__}"
    )


def embedded() -> tuple[str, ...]:
    """Names of the models that ship inside the package; promptable ones: see `delineate.prompt.embedded`."""
    folder = importlib.resources.files("delineate") / "weights"
    if not folder.is_dir():
        return ()
    names = [entry.name.removesuffix(".onnx") for entry in folder.iterdir() if entry.name.endswith(".onnx")]
    return tuple(sorted(name for name in names if not name.endswith(("_encoder", "_decoder"))))


def _find(model: str | Path | bytes) -> Path | bytes:
    """The model file that an argument means: an embedded name goes before a file of that name."""
    if isinstance(model, bytes):
        return model
    names = embedded()
    if isinstance(model, str) and model in names:
        entry = importlib.resources.files("delineate") / "weights" / f"{model}.onnx"
        return entry if isinstance(entry, Path) else entry.read_bytes()
    path = Path(model)
    if path.is_file():
        return path
    with contextlib.suppress(ValueError):  # no name
        ready = download.model_location(str(model))
        if ready.is_file():
            return ready
    known = ", ".join(names) or "none in this build"
    close = difflib.get_close_matches(str(model), names, n=1)
    remedy = f" Did you mean {close[0]!r}?" if close else ""
    raise WeightsError(
        "Predictor: model must be a file, the name of a published model that `delineate models download` made "
        f"ready, or that of an embedded one ({known}), got {str(model)!r}.{remedy}"
    )
