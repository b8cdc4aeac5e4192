"""The model families: one file each, and this folder is the registry.

``build("yolo_seg-11n")`` takes the module ``yolo_seg`` of this folder and the entry ``11n`` of its
``VARIANTS``. A module whose name begins with an underscore is a part that families share. Nothing registers
itself, and no string from outside is imported.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray

from delineate.download import Remote
from delineate.errors import WeightsError
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.modelfile import Preprocess
from delineate.models._checkpoint import read_checkpoint
from delineate.postprocess.decode import Placement, Thresholds, instances


class Target(NamedTuple):
    """The objects of one picture, on the canvas that the network sees.

    Attributes:
        boxes: (N, 4) float32, xyxy input pixels, half-open.
        labels: (N,) int64 class indices.
        masks: N masks on the input canvas, or None when the picture has boxes only.
        size: Height and width of the picture on the canvas, without the padding at the bottom and the right;
            None = it fills the canvas.
        semantic: (H, W) ints, the class of every pixel of the canvas as the family counts them (0 is the
            background, or everything that is an object), -1 where it is unknown; None = what the masks say.
    """

    boxes: torch.Tensor
    labels: torch.Tensor
    masks: Masks | None
    size: tuple[int, int] | None = None
    semantic: torch.Tensor | None = None


class Weights(NamedTuple):
    """One published checkpoint of a family.

    Attributes:
        url: Where its publisher offers it.
        checksum: "sha256:" or "md5:" with the hexadecimal digits that the publisher states (see
            `download.Remote`), or None when none are stated.
        licence: SPDX identifier of the weights' own licence.
        classes: Number of classes that it predicts.
        box_ap: Published box AP (percent, COCO val2017), or None.
        mask_ap: Published mask AP (percent, COCO val2017), or None.
        size: About how many bytes it has, or None.
        variant: The entry of `VARIANTS` that it fits, where several checkpoints do; "" = the one of its own name.
    """

    url: str
    checksum: str | None
    licence: str
    classes: int
    box_ap: float | None
    mask_ap: float | None
    size: int | None = None
    variant: str = ""

    @property
    def remote(self) -> Remote:
        """The file, as `download.fetch` takes it.

        >>> weights = Weights("https://example.org/a.pth", None, "MIT", 80, 37.9, 34.6, 170_000_000)
        >>> str(weights.remote)
        'a.pth: COCO val2017 box AP 37.9, mask AP 34.6; about 170.0 MB, licence MIT, from https://example.org/a.pth'
        """
        figures = [
            f"{name} AP {value}"
            for name, value in (("box", self.box_ap), ("mask", self.mask_ap))
            if value is not None
        ]
        about = f"COCO val2017 {', '.join(figures)}" if figures else ""
        return Remote(self.url, self.checksum, self.size, self.licence, about)


def families() -> list[str]:
    """The model families, in alphabetical order.

    >>> "yolo_seg" in families()
    True
    """
    return sorted(entry.name for entry in pkgutil.iter_modules(__path__) if not entry.name.startswith("_"))


def takes_prompts(name: str | torch.nn.Module) -> bool:
    """Whether models of a family segment what prompts point at, and know no classes.

    Args:
        name: Name of the family, or a model of it.

    Raises:
        ValueError: If there is no such family.

    >>> takes_prompts("sam"), takes_prompts("yolo_seg")
    (True, False)
    """
    return bool(getattr(family(name), "PROMPTS", False))


def family(name: str | torch.nn.Module) -> ModuleType:
    """The module of one family.

    Args:
        name: Name of the family, or a model of it.

    Raises:
        ValueError: If there is no such family.

    >>> family("yolo_seg") is family(build("yolo_seg-test"))
    True
    """
    if isinstance(name, torch.nn.Module):
        name = type(name).__module__.rpartition(".")[2]
    if name not in families():
        raise ValueError(f"models: family must be one of {_choices(name, families())}")
    return importlib.import_module(f"{__name__}.{name}")


def names() -> list[str]:
    """Every model that `build` accepts, "family-variant", in alphabetical order.

    >>> "yolo_seg-11n" in names()
    True
    """
    return sorted(f"{name}-{variant}" for name in families() for variant in family(name).VARIANTS)


def build(name: str, **changes: Any) -> torch.nn.Module:
    """A freshly initialised model.

    Args:
        name: "family-variant", as `names` lists them.
        **changes: Fields of the family's `Config` that differ from the variant, such as ``classes=3`` (which
            families that know no classes ignore).

    Raises:
        ValueError: If there is no such model, no such field, or a value out of range.

    >>> build("yolo_seg-test", classes=3).config.classes
    3
    """
    prefix, _, variant = name.partition("-")
    if prefix not in families() or variant not in family(prefix).VARIANTS:
        raise ValueError(f"models.build: name must be one of {_choices(name, names())}")
    module = family(prefix)
    if takes_prompts(prefix):
        changes.pop("classes", None)
    known = [field.name for field in dataclasses.fields(module.Config)]
    for field in changes:
        if field not in known:
            raise ValueError(f"models.build: options of {prefix!r} must be among {_choices(field, known)}")
    model: torch.nn.Module = module.build(dataclasses.replace(module.VARIANTS[variant], **changes))
    return model


class Loaded(NamedTuple):
    """A model out of a checkpoint.

    Attributes:
        model: In eval mode, float32.
        name: What `build` calls it.
        classes: Class names.
        header: What a checkpoint of ours says of its run (see `train.checkpoint.Header`); empty for other files.
    """

    model: torch.nn.Module
    name: str
    classes: tuple[str, ...]
    header: dict[str, Any]


def load(path: str | Path, name: str | None = None, classes: Sequence[str] = ()) -> Loaded:
    """The model that a checkpoint holds: one of our training runs, or an official file of a family.

    The file is only read: no code in it runs, and nothing is allocated before its shapes are known to fit.

    Args:
        path: A `.safetensors`, `.pt`, `.pth` or `.pkl` file.
        name: "family-variant", as `names` lists them; None = what the file says, or what its tensors fit.
        classes: Class names; empty = what the file says.

    Raises:
        WeightsError: If the file is damaged, hostile, or fits no model of this package.
        OSError: If the file cannot be opened.
    """
    contents = read_checkpoint(path)
    classes = tuple(classes) or contents.classes
    if not classes:
        raise WeightsError(f"{path}: must name its classes, got none. Use load_weights on a built model.")
    stated = name or contents.header.get("model")
    candidates = _candidates(contents.tensors) if stated is None else [str(stated)]
    changes = contents.header.get("architecture", {})
    for candidate in candidates:
        try:
            with torch.device("meta"):
                model = build(candidate, **{"classes": len(classes), **changes})
        except (ValueError, TypeError, AttributeError) as error:
            raise WeightsError(f"{path}: header must name a model of this package: {error}") from error
        wanted = {key: value.shape for key, value in model.state_dict().items()}
        tensors = _official(model, contents.tensors)
        if wanted == {key: value.shape for key, value in tensors.items()}:
            family(model).check_contents(model, contents)
            model.load_state_dict({key: _plain(value) for key, value in tensors.items()}, assign=True)
            return Loaded(model.eval(), candidate, tuple(classes), contents.header)
    raise WeightsError(
        f"{path}: {len(contents.tensors)} tensors for {len(classes)} classes must fit "
        f"{'a model of this package' if stated is None else stated}, but names or shapes differ."
    )


def _candidates(tensors: dict[str, torch.Tensor]) -> list[str]:
    """Names of the models that a file could be of: those of families with a part of the same name."""
    found: list[str] = []
    for name in families():
        if takes_prompts(name):
            continue
        with torch.device("meta"):
            model = build(f"{name}-test")
        parts = {key.partition(".")[0] for key in model.state_dict()}
        if not parts.isdisjoint(key.partition(".")[0] for key in _official(model, tensors)):
            found.extend(f"{name}-{variant}" for variant in sorted(family(name).VARIANTS))
    return found


def _official(model: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A file's tensors under the names of the model, where the family knows other names for them."""
    official = getattr(family(model), "official", None)
    return tensors if official is None else cast("dict[str, torch.Tensor]", official(model, tensors))


def load_weights(model: torch.nn.Module, path: str | Path) -> list[str]:
    """Start a model from a checkpoint, also from one with another number of classes.

    Tensors that depend on the classes keep their initial values where their shapes differ; every other tensor
    must fit.

    Args:
        model: The model to fill, in place.
        path: A `.safetensors`, `.pt`, `.pth` or `.pkl` file.

    Returns:
        One line per decision that the user should know of; empty when everything fitted.

    Raises:
        WeightsError: If the file is damaged or of another architecture. The model is unchanged then.
        OSError: If the file cannot be opened.
    """
    contents = read_checkpoint(path)
    module = family(model)
    own = model.state_dict()
    given = _official(model, contents.tensors)
    absent, foreign = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys())
    if absent or foreign:
        raise WeightsError(
            f"{path}: tensors must be those of the model, got {len(absent)} missing{_example(absent)} "
            f"and {len(foreign)} unknown{_example(foreign)}. Choose the variant of the file."
        )
    reset = [name for name, value in own.items() if value.shape != given[name].shape]
    wrong = [name for name in reset if not module.depends_on_classes(name)]
    if wrong:
        got, want = tuple(given[wrong[0]].shape), tuple(own[wrong[0]].shape)
        raise WeightsError(
            f"{path}: {wrong[0]} must have shape {want}, got {got}. Choose the variant of the file."
        )
    module.check_contents(model, contents)
    model.load_state_dict({name: own[name] if name in reset else _plain(given[name]) for name in own})
    if not reset:
        return []
    return [
        f"{path}: kept {len(own) - len(reset)} of {len(own)} tensors; {len(reset)} depend on the number of "
        f"classes and start anew{_example(reset)}"
    ]


def _plain(value: torch.Tensor) -> torch.Tensor:
    """Floats as float32, in memory of their own."""
    return value.to(torch.float32 if value.is_floating_point() else value.dtype, copy=True)


def _example(found: list[str]) -> str:
    return f" (such as {found[0]})" if found else ""


def largest_stride(model: torch.nn.Module) -> int:
    """Input sides must be multiples of this many pixels.

    >>> largest_stride(build("yolo_seg-test"))
    16
    """
    config: Any = model.config
    return int(max(config.strides))


def takes_sizes(model: torch.nn.Module) -> bool:
    """Whether a model must know where its pictures end and their padding begins: `forward(images, sizes)`.

    >>> takes_sizes(build("mask_rcnn-test")), takes_sizes(build("yolo_seg-test"))
    (True, False)
    """
    return family(model).DECODE in ("crops", "panoptic")


def to_device(target: Target, device: torch.device) -> Target:
    """The same target with its tensors on `device`; masks stay where they are."""
    return target._replace(
        boxes=target.boxes.to(device, non_blocking=True), labels=target.labels.to(device, non_blocking=True)
    )


@torch.inference_mode()
def segment(
    model: torch.nn.Module, image: NDArray[np.uint8], preprocess: Preprocess, thresholds: Thresholds
) -> Instances:
    """What a model, in eval mode, finds in a picture: the same path as an exported file, with torch as the runtime.

    Args:
        model: A model of this package.
        image: (H, W, 3) uint8 RGB.
        preprocess: How the picture becomes the network's input.
        thresholds: Which detections count.

    >>> picture = np.zeros((20, 30, 3), np.uint8)
    >>> nothing = Thresholds(score=1.0)
    >>> segment(build("yolo_seg-test").eval(), picture, Preprocess(rule="native", multiple=16), nothing)
    Instances(0, size=(20, 30), scores, masks)
    """
    network: Any = model
    kind, device = family(model).DECODE, next(network.parameters()).device

    def find(tensor: NDArray[np.float32], placement: Placement, size: tuple[int, int]) -> Instances:
        inputs = [torch.from_numpy(tensor).to(device)]
        if takes_sizes(model):
            inputs.append(torch.tensor([preprocess.place(size)[1]], device=device))
        outputs = network.export(*inputs)
        return instances(
            kind,
            [output.float().cpu().numpy() for output in outputs],
            placement=placement,
            size=size,
            input_size=tensor.shape[2:],
            thresholds=thresholds,
            classes=network.config.classes,
            strides=network.config.strides,
        )

    return preprocess.segment(image, find)


def _choices(got: str, known: list[str]) -> str:
    """The tail of a message: what is allowed, what came, and the closest match."""
    close = difflib.get_close_matches(got, known, n=1)
    return f"{', '.join(known)}, got {got!r}." + (f" Did you mean {close[0]!r}?" if close else "")


__all__ = [
    "Loaded",
    "Target",
    "Weights",
    "build",
    "families",
    "family",
    "largest_stride",
    "load",
    "load_weights",
    "names",
    "segment",
    "takes_prompts",
    "takes_sizes",
    "to_device",
]
