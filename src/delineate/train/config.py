"""The configuration of a training run: every number once, read from TOML, overridden by ``key=value``."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from delineate.errors import FormatError
from delineate.postprocess.panoptic import Rules
from delineate.transforms import Augment


class Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which pictures to learn from and to validate on: COCO files, or what says the class of every pixel."""

    root: str = ""  # prefix of the paths below; relative to the working directory
    train: str = ""  # annotations to learn from: a file or folder
    val: str = ""  # annotations to select the best checkpoint on, likewise
    balance: str = (
        ""  # draw pictures by the inverse square root of how often their value of this attribute occurs
    )
    cache: float = 4.0  # keep decoded pictures in memory up to so many gigabytes


class ModelChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which network."""

    name: str = "yolo_seg-11n"  # family-variant, see `delineate models`
    weights: str = ""  # a checkpoint to start from; "" = random
    freeze: int | None = (
        None  # so many layers of the backbone do not learn, stem first; None = as the variant has it
    )
    norms: Literal["learn", "fixed"] = "learn"  # fixed: batch norms keep their statistics and weights


class Optimiser(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the weights move."""

    kind: Literal["adamw", "sgd"] = "adamw"
    rate: float = 1e-3  # largest learning rate
    final: float = 0.01  # the last learning rate, as a part of `rate` (cosine)
    steps: tuple[float, ...] = ()  # epochs after which the rate falls to a tenth; () = the cosine
    layer_decay: float = 1.0  # rate of each layer of the backbone, as a part of the next one's
    warmup: float = 1.0  # epochs of linear rise
    momentum: float = 0.937  # of SGD; beta 1 of AdamW
    nesterov: bool = True  # of SGD
    decay: float = 0.01  # weight decay of weights (not of biases and norms)
    decay_all: bool = False  # of biases and norms, too
    clip: float = 10.0  # largest norm of the gradient
    accumulate: int = 1  # batches per step
    ema: float = 0.999  # decay of the averaged weights
    ema_ramp: int = 500  # steps over which that decay is reached


class Prompting(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How promptable models learn; other models do not look at it."""

    objects: int = 16  # objects asked for per picture, at most
    rounds: int = 11  # answers per object; each after the first adds a click where the one before was wrong
    boxes: float = 0.5  # share of the first prompts that are boxes; the others are clicks
    feedback: float = 1.0  # share of the rounds in which the last answer comes back as a mask prompt
    freeze: bool = False  # the picture encoder keeps its weights
    lora: int = 0  # rank of the low-rank changes to a frozen encoder's attention; 0 = none


class TrainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A training run. `load_config` reads it from TOML; unknown keys are errors.

    >>> TrainConfig().optimiser.rate
    0.001
    """

    data: Data = Data()
    model: ModelChoice = ModelChoice()
    optimiser: Optimiser = Optimiser()
    augment: Augment = Augment()
    prompts: Prompting = Prompting()
    panoptic: Rules = Rules()  # what becomes a segment, of panoptic models
    epochs: int = 100
    batch: int = 8
    size: int = 640  # side of the square training samples, input pixels; a multiple of the largest stride
    sides: tuple[int, ...] = ()  # instead: whole pictures, their shorter side drawn from these, input pixels
    longest: int = 1333  # with `sides`: limit of the longer side, input pixels
    plain_epochs: int = 0  # last epochs without mosaic and pasted objects
    samples: int = 0  # samples per epoch; 0 = as many as there are pictures
    seed: int = 0
    device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1"
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    threads: int = 0  # CPU threads of the network; 0 = all available
    workers: int = 2  # threads that prepare samples
    validate_every: int = 1  # epochs between validations
    score: float = 0.01  # detections below are left out of the validation
    iou: float = 0.6  # overlap above which the weaker of two boxes goes
    max_detections: int = 300  # per picture, in the validation
    scale: float = 1.0  # magnification of pictures at validation and prediction
    stretch: tuple[float, float] | None = None  # percentiles of a picture that become black and white
    tensorboard: bool = True  # write TensorBoard logs where the package is installed


def load_config(path: Path | None = None, overrides: Iterable[str] = ()) -> TrainConfig:
    """Reads a configuration.

    Args:
        path: A TOML file, or None for the defaults.
        overrides: ``"optimiser.rate=0.002"``; the value is read as TOML, or as a plain string where it is none.

    Returns:
        The checked configuration.

    Raises:
        FormatError: The file is no TOML, or a key or a value is not in the configuration.

    >>> load_config(overrides=["epochs=3", "optimiser.rate=0.01"]).epochs
    3
    """
    where = "configuration" if path is None else path
    table: dict[str, Any] = {}
    if path is not None:
        try:
            table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise FormatError(path, "", f"a configuration must be a readable TOML file: {error}.") from error
    for override in overrides:
        _set(table, override)
    try:
        config = msgspec.convert(table, TrainConfig)
    except msgspec.ValidationError as error:
        raise FormatError(where, "", _explain(str(error))) from error
    _check(config, where)
    return config


def _set(table: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ValueError(f"set: an override must look like key=value, got {override!r}.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = key.strip().split(".")
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise ValueError(f"set: {parent!r} in {override!r} must be a table of the configuration.")
    table[last] = value


def _check(config: TrainConfig, where: str | Path) -> None:
    for name in ("epochs", "batch", "size", "workers", "validate_every", "max_detections"):
        if getattr(config, name) < 1:
            raise FormatError(where, name, f"must be at least 1, got {getattr(config, name)}.")
    for name in ("rate", "clip", "accumulate"):
        if getattr(config.optimiser, name) <= 0:
            raise FormatError(
                where, f"optimiser.{name}", f"must be positive, got {getattr(config.optimiser, name)}."
            )
    if config.prompts.objects < 1 or config.prompts.rounds < 1 or config.prompts.lora < 0:
        raise FormatError(
            where, "prompts", "must have at least one object and one round, and lora of at least 0."
        )
    if any(side < 1 for side in config.sides) or config.longest < max(config.sides, default=1):
        raise FormatError(
            where, "sides", f"must be within 1..longest = {config.longest}, got {list(config.sides)}."
        )
    if not 0 < config.optimiser.layer_decay <= 1:
        raise FormatError(
            where, "optimiser.layer_decay", f"must be in (0, 1], got {config.optimiser.layer_decay}."
        )
    low, high = config.augment.scale
    if not 0 < low <= high:
        raise FormatError(
            where, "augment.scale", f"must be two rising positive numbers, got {low} and {high}."
        )


def _explain(message: str) -> str:
    """Adds the closest known key to msgspec's message about an unknown one."""
    if "unknown field" not in message:
        return f"{message}."
    wrong = message.split("`")[1]
    known = [
        field.name
        for struct in (TrainConfig, Data, ModelChoice, Optimiser, Augment, Prompting, Rules)
        for field in msgspec.structs.fields(struct)
    ]
    close = difflib.get_close_matches(wrong, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{message}.{hint}"
