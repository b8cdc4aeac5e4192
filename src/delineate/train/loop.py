"""The one training loop: any model of `delineate.models`, CPU or GPU, resumable to the bit.

A run lives in a folder: ``config.toml`` is what it was started with, ``last.safetensors`` where it stands,
``best.safetensors`` its best epoch (by mask AP, panoptic quality, mean IoU, or the answers to three clicks),
``metrics.csv`` a row per epoch, ``tensorboard/`` the same as curves.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from delineate import models
from delineate.errors import DelineateError, RuntimeFailure
from delineate.modelfile import Preprocess
from delineate.models import Target
from delineate.models._lora import merged
from delineate.postprocess.decode import Thresholds
from delineate.train import checkpoint, prompts, truth
from delineate.train.checkpoint import AVERAGE, MODEL, OPTIMISER, Average, Header
from delineate.train.config import TrainConfig
from delineate.train.data import Batch, Canvas, Pictures, batches
from delineate.train.logs import Logs
from delineate.train.optim import learning_rate, make_optimiser, prepare, set_rate, train_mode
from delineate.train.truth import Truth
from delineate.train.validate import DECIDING, figures

log = logging.getLogger("delineate")


@dataclass(frozen=True)
class Progress:
    """What a run reports after every step, and with `metrics` after every epoch."""

    epoch: int  # counted from 1
    epochs: int
    step: int  # batches of this epoch done
    steps: int  # batches of an epoch
    losses: dict[str, float]  # means over the epoch so far, weighted as they are summed
    rate: float  # learning rate
    seconds_left: float  # estimate for the whole run
    metrics: dict[str, float] = field(default_factory=dict)  # at the end of a validated epoch


@dataclass
class _Run:
    """The moving parts of a run."""

    config: TrainConfig
    classes: tuple[str, ...]
    stuff: tuple[str, ...]
    model: Any  # of `delineate.models`
    average: Average
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    device: torch.device
    precision: torch.dtype
    epoch: int = 0  # epochs completed
    step: int = 0  # optimiser steps done
    best: float = -1.0

    @property
    def prompted(self) -> bool:
        return models.takes_prompts(self.model)

    def losses(self, images: Tensor, targets: list[Target]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = (
            prompts.losses(self.model, images, targets, self.config.prompts)
            if self.prompted
            else self.model.losses(images, targets)
        )
        return found


def fit(
    config: TrainConfig,
    folder: Path,
    *,
    resume: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Path:
    """Trains a model.

    Args:
        config: The whole configuration.
        folder: Where checkpoints and logs go; made if missing.
        resume: Continue the run in `folder` from its last completed epoch. The outcome is the same to the bit as
            without the interruption (on a CPU, with the same number of threads).
        on_progress: Called after every step and every epoch.

    Returns:
        The path of the best checkpoint.

    Raises:
        FormatError: The data cannot be trained on (missing pictures, no objects, other classes in the validation set).
        RuntimeFailure: Out of memory, or the loss is no longer a number; the message names the remedy.
        DelineateError: `folder` holds another run, or none to resume.
        ValueError: The model is of a family that cannot be trained.
    """
    with torch.device("meta"):
        planned: Any = models.build(config.model.name)
    prompts.check(planned, config.prompts)
    canvas = _canvas(planned)
    learnt, selecting = truth.read(config, planned)
    train = _pictures(config, learnt, canvas)
    val = None if selecting is None else _pictures(config, selecting, canvas, learnt=False)
    _prepare_folder(folder, config, resume)
    run = _start(config, learnt)
    if resume:
        _load(run, folder / "last.safetensors")
    logs = Logs(folder, run.epoch, config.tensorboard)
    started, first = time.monotonic(), run.epoch
    try:
        while run.epoch < config.epochs:
            share = run.epoch - first

            def left(done: float, share: int = share) -> float:
                return (time.monotonic() - started) / (share + done) * (config.epochs - first - share - done)

            losses = _train_epoch(run, train, on_progress, left)
            run.epoch += 1
            metrics = _validate(run, val) if _is_due(run, val) else {}
            _save(run, folder, metrics)
            logs.write(run.epoch, {**losses, **metrics, "rate": _rate(run)})
            steps = _steps(run, len(train.dataset))
            on_progress(
                Progress(run.epoch, config.epochs, steps, steps, losses, _rate(run), left(1.0), metrics)
            )
    finally:
        logs.close()
    return folder / "best.safetensors"


def _canvas(model: Any) -> Canvas | None:  # noqa: ANN401
    """What a promptable model makes of pictures."""
    if not models.takes_prompts(model):
        return None
    return Canvas(model.config.side, models.family(model).CONVENTIONS)


def _pictures(config: TrainConfig, truth: Truth, canvas: Canvas | None, *, learnt: bool = True) -> Pictures:
    """The pictures of a dataset; those that are learnt from are seen as prediction sees them."""
    view = Preprocess(stretch=config.stretch) if learnt or canvas else None
    cache = config.data.cache if learnt else config.data.cache / 4
    return Pictures(truth.dataset, cache, view, canvas=canvas, roles=truth.roles)


def _prepare_folder(folder: Path, config: TrainConfig, resume: bool) -> None:
    last = folder / "last.safetensors"
    if resume and not last.is_file():
        raise DelineateError(
            f"{folder}: there is no last.safetensors to resume from. Start the run without resume."
        )
    if not resume and last.is_file():
        raise DelineateError(f"{folder}: holds a run already. Resume it, or name another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_bytes(msgspec.json.format(msgspec.json.encode(config)) + b"\n")


def _start(config: TrainConfig, learnt: Truth) -> _Run:
    torch.manual_seed(config.seed)
    if config.threads:
        torch.set_num_threads(config.threads)
    device = _device(config.device)
    more: dict[str, Any] = {"stuff": len(learnt.stuff), "rules": config.panoptic} if learnt.stuff else {}
    model = models.build(config.model.name, classes=len(learnt.classes), **more)
    if config.model.weights:
        for line in models.load_weights(model, Path(config.model.weights)):
            log.warning("%s", line)
    prompts.adapt(model, config.prompts)
    prepare(model, config.model)
    model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    precision = _precision(config.precision, device)
    optimiser = make_optimiser(model, config.optimiser)
    return _Run(
        config=config,
        classes=learnt.classes,
        stuff=learnt.stuff,
        model=model,
        average=Average(model, config.optimiser.ema, config.optimiser.ema_ramp),
        optimiser=optimiser,
        scaler=torch.amp.GradScaler(device.type, enabled=precision is torch.float16),
        device=device,
        precision=precision,
    )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device: must be auto, cpu, cuda or cuda:N, got {name!r}.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RuntimeFailure(f"device: {name} was asked for, but this torch sees no GPU. Use device=cpu.")
    return device


def _precision(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


def _steps(run: _Run, pictures: int) -> int:
    return -(-(run.config.samples or pictures) // run.config.batch)


def _rate(run: _Run) -> float:
    return max(float(group["lr"]) for group in run.optimiser.param_groups)


def _train_epoch(
    run: _Run, pictures: Pictures, on_progress: Callable[[Progress], None], left: Callable[[float], float]
) -> dict[str, float]:
    """One pass over the pictures; returns the mean losses."""
    config = run.config
    train_mode(run.model, config.model)
    torch.manual_seed(config.seed * 1_000_003 + run.epoch)
    preprocess = None if run.prompted else preprocess_of(run.model, config)
    steps = _steps(run, len(pictures.dataset))
    sums: dict[str, float] = {}
    for index, batch in enumerate(batches(pictures, config, run.epoch, preprocess)):
        set_rate(run.optimiser, learning_rate(config.optimiser, run.epoch + index / steps, config.epochs))
        with _readable_failures(config):
            losses = _backward(run, batch)
            last = index + 1 == steps
            if (index + 1) % config.optimiser.accumulate == 0 or last:
                _step(run)
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value
        if not math.isfinite(losses["loss"]):
            raise RuntimeFailure(
                f"epoch {run.epoch + 1}, batch {index + 1}: the loss is {losses['loss']}. Lower optimiser.rate, or "
                "resume with precision=float32."
            )
        means = {name: value / (index + 1) for name, value in sums.items()}
        done = left((index + 1) / steps)
        if not last:
            on_progress(Progress(run.epoch + 1, config.epochs, index + 1, steps, means, _rate(run), done))
    return means


def _backward(run: _Run, batch: Batch) -> dict[str, float]:
    images = batch.images.to(run.device, non_blocking=True, memory_format=torch.channels_last)
    targets = [models.to_device(target, run.device) for target in batch.targets]
    with torch.autocast(run.device.type, dtype=run.precision, enabled=run.precision is not torch.float32):
        losses: dict[str, Tensor] = run.losses(images, targets)
        loss = torch.stack(list(losses.values())).sum()
    run.scaler.scale(loss / run.config.optimiser.accumulate).backward()  # type: ignore[no-untyped-call]
    return {"loss": float(loss.detach()), **{name: float(value.detach()) for name, value in losses.items()}}


def _step(run: _Run) -> None:
    run.scaler.unscale_(run.optimiser)
    nn.utils.clip_grad_norm_(run.model.parameters(), run.config.optimiser.clip)
    run.scaler.step(run.optimiser)
    run.scaler.update()
    run.optimiser.zero_grad(set_to_none=True)
    run.step += 1
    run.average.update(run.model, run.step)


@contextmanager
def _readable_failures(config: TrainConfig) -> Iterator[None]:
    """Turns torch's out-of-memory errors into one that names the remedy."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if (
            isinstance(error, torch.OutOfMemoryError)
            or "not enough memory" in text
            or "can't allocate" in text
        ):
            raise RuntimeFailure(
                f"out of memory with batch={config.batch} and size={config.size}. Lower batch (and raise "
                "optimiser.accumulate by as much, to learn the same), or lower size."
            ) from error
        raise


def _is_due(run: _Run, val: Pictures | None) -> bool:
    return val is not None and (run.epoch % run.config.validate_every == 0 or run.epoch == run.config.epochs)


def _validate(run: _Run, val: Pictures | None) -> dict[str, float]:
    if val is None:
        return {}
    config = run.config
    kept = {name: value.clone() for name, value in run.model.state_dict().items()}
    run.model.load_state_dict(run.average.tensors)
    run.model.eval()
    try:
        if run.prompted:
            return prompts.validate(run.model, val)
        thresholds = Thresholds(score=config.score, iou=config.iou, max_detections=config.max_detections)
        return figures(run.model, val, preprocess_of(run.model, config), thresholds, config.panoptic)
    finally:
        run.model.load_state_dict(kept)


def preprocess_of(model: nn.Module, config: TrainConfig) -> Preprocess:
    """How pictures are presented to a model trained with `config`.

    Whole, by their largest shorter side, where it learnt from whole pictures; else at their own scale. Padded to its
    largest stride; colours as the model wants them.
    """
    own = getattr(model.config, "preprocess", Preprocess())
    multiple = models.largest_stride(model)
    if config.sides:
        size = max(config.sides), config.longest
        return replace(own, rule="shortest", size=size, multiple=multiple, stretch=config.stretch)
    return replace(own, rule="native", scale=config.scale, multiple=multiple, stretch=config.stretch)


def _save(run: _Run, folder: Path, metrics: dict[str, float]) -> None:
    deciding = "clicks3_iou" if run.prompted else DECIDING.get(truth.kind_of(run.model), "mask_ap")
    score = metrics.get(deciding, math.nan)
    improved = not math.isnan(score) and score > run.best
    if improved:
        run.best = score
    header = Header(
        model=run.config.model.name,
        architecture=dataclasses.asdict(run.model.config),
        classes=list(run.classes),
        stuff=list(run.stuff),
        epoch=run.epoch,
        step=run.step,
        metrics=metrics,
        best=run.best,
        config=msgspec.to_builtins(run.config),
    )
    if improved or not (folder / "best.safetensors").exists() or run.best < 0:
        checkpoint.write(folder / "best.safetensors", merged(run.average.tensors), header)
    tensors = {
        **checkpoint.prefixed(run.model.state_dict(), MODEL),
        **checkpoint.prefixed(run.average.tensors, AVERAGE),
        **checkpoint.prefixed(checkpoint.optimiser_tensors(run.optimiser), OPTIMISER),
    }
    if run.scaler.is_enabled():
        tensors["scale"] = torch.tensor(run.scaler.get_scale())
    checkpoint.write(folder / "last.safetensors", tensors, header)


def _load(run: _Run, path: Path) -> None:
    tensors, header = checkpoint.read(path)
    classes = *run.classes, *run.stuff
    if (*header.classes, *header.stuff) != classes or header.model != run.config.model.name:
        raise DelineateError(
            f"{path}: the run to resume must train {run.config.model.name} on the classes {list(classes)}, "
            f"got {header.model} on {[*header.classes, *header.stuff]}."
        )
    run.model.load_state_dict(checkpoint.part(tensors, MODEL))
    for name, value in checkpoint.part(tensors, AVERAGE).items():
        run.average.tensors[name].copy_(value)
    checkpoint.load_optimiser(run.optimiser, checkpoint.part(tensors, OPTIMISER))
    if "scale" in tensors and run.scaler.is_enabled():
        run.scaler.update(float(tensors["scale"]))
    run.epoch, run.step, run.best = header.epoch, header.step, header.best
