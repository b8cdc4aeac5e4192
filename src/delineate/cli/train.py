"""``delineate train``."""

from __future__ import annotations

import difflib
import importlib.util
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from msgspec.structs import replace
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from delineate.cli._published import fetch, looks_published
from delineate.errors import FormatError, MissingExtra

if TYPE_CHECKING:
    from delineate.train import Progress, TrainConfig


def train_command(
    config: Annotated[
        Path | None, Parameter(help="A TOML file; what it leaves out keeps its default.")
    ] = None,
    /,
    *,
    out: Annotated[Path, Parameter(help="Folder for checkpoints and logs.")] = Path("runs/train"),
    set_: Annotated[
        tuple[str, ...], Parameter(name="--set", negative="", help="Change one setting: optimiser.rate=0.001")
    ] = (),
    resume: Annotated[
        bool, Parameter(negative="", help="Go on from the last completed epoch in --out.")
    ] = False,
    accept_licence: Annotated[
        str,
        Parameter(
            help="Licence of published weights to start from that you accept, if it is no permissive one."
        ),
    ] = "",
    offline: Annotated[bool, Parameter(negative="", help="Never download weights.")] = False,
) -> int:
    """Trains a model; see `delineate train --help`."""
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra("torch", "torch")
    from delineate.train import fit, load_config

    settings = _with_weights(load_config(config, set_), accept_licence, offline=offline)
    console = Console(stderr=True)
    started = time.monotonic()
    with _Display(console) as display:
        best = fit(settings, out, resume=resume, on_progress=display)
    sys.stdout.write(f"{best}  {settings.epochs} epochs  {time.monotonic() - started:.0f} s\n")
    return 0


def _with_weights(settings: TrainConfig, accepted: str, *, offline: bool) -> TrainConfig:
    """The settings with the file of the published weights that they name, fetched if it is not there.

    Raises:
        FormatError: There is neither a file nor a published model of that name, or it is another architecture.
        DownloadError: The licence is not accepted, or the file cannot be had.
    """
    name = settings.model.weights
    if not looks_published(name) or Path(name).exists():
        return settings
    from delineate import published

    try:
        found = published.find(name)
    except ValueError as error:
        close = difflib.get_close_matches(name, published.names(), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        text = f"must be a file or the name of a published model, got {name!r}.{hint}"
        raise FormatError("configuration", "model.weights", text) from error
    if found.model != settings.model.name:
        text = f"{name} is made for {found.model}, got {settings.model.name}. Set model.name={found.model}"
        raise FormatError("configuration", "model.name", text)
    path = fetch(name, accepted, offline=offline)
    sys.stderr.write(f"Starting from {name}, whose licence is {found.weights.licence}\n")
    return replace(settings, model=replace(settings.model, weights=str(path)))


class _Display:
    """A progress bar on a terminal; a line per epoch everywhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = Bar(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  {task.fields[left]} left"),
            console=console,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("train", epoch="", loss=0.0, left="")

    def __enter__(self) -> _Display:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, progress: Progress) -> None:
        left = time.strftime("%H:%M:%S", time.gmtime(max(0.0, progress.seconds_left)))
        loss = progress.losses["loss"]
        epoch = f"{progress.epoch}/{progress.epochs}"
        self.bar.update(
            self.task, total=progress.steps, completed=progress.step, epoch=epoch, loss=loss, left=left
        )
        if progress.step == progress.steps:
            figures = {**progress.losses, **progress.metrics}
            text = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
            self.console.print(f"epoch {epoch}  {text}  {left} left", highlight=False)
