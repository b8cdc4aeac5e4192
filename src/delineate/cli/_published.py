"""Making a published model ready, with words and a bar."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypedDict

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from delineate import download
from delineate.errors import MissingExtra
from delineate.predict import embedded


def ready(model: str, accepted: str, *, offline: bool, promptable: bool = False) -> None:
    """Make sure that `Predictor` knows the model; what is no name of a published one is left to its message.

    Args:
        model: What the user wrote: a file, or a name.
        accepted: The licence that the user accepts.
        offline: Whether the user forbids downloads.
        promptable: Whether a model that takes prompts will do.

    Raises:
        MissingExtra: It may be a published one, and torch is not there to read it.
    """
    if model in embedded() or Path(model).exists() or not looks_published(model):
        return
    made = (model, f"{model}_decoder") if promptable else (model,)
    if any(download.model_location(name).is_file() for name in made):
        return
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra("torch", "torch")
    from delineate import models, published

    if model in published.names() and (promptable or not models.takes_prompts(model.partition("-")[0])):
        prepare(model, fetch(model, accepted, offline=offline))


def looks_published(model: str) -> bool:
    """Whether a text has the form of "family-entry" and is no name of a file."""
    family, dash, entry = model.partition("-")
    return bool(dash and family and entry) and not (set(model) & set("/\\")) and Path(model).suffix != ".onnx"


def fetch(name: str, accepted: str, *, offline: bool = False) -> Path:
    """The checkpoint of a published model; what is downloaded is said before, on stderr."""
    from delineate import published

    with _downloading() as told:
        return published.checkpoint(name, accepted=accepted, offline=offline or None, **told)


def fetch_encoder(name: str) -> Path:
    """The folder of a published encoder of texts; what is downloaded is said before, on stderr."""
    from delineate import clip

    with _downloading() as told:
        return clip.fetch(name, **told)


class _Told(TypedDict):
    announce: Callable[[download.Remote], None]
    progress: download.Progress


@contextlib.contextmanager
def _downloading() -> Iterator[_Told]:
    """What a download tells, as words and a bar on stderr."""
    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(
        TextColumn("{task.description}"), *columns, console=console, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("Downloading", total=None, visible=False)

        def announce(file: download.Remote) -> None:
            sys.stderr.write(f"Downloading {file}\n")

        def progress(here: int, total: int | None) -> None:
            bar.update(task, completed=here, total=total, visible=True)

        yield {"announce": announce, "progress": progress}


def prepare(name: str, checkpoint: Path) -> Path:
    """The ONNX file (of promptable models the encoder), made from the checkpoint at the first time."""
    from delineate import published

    console = Console(stderr=True)
    with console.status(f"Making {name} ready (once)"):
        return published.prepare(name, checkpoint)
