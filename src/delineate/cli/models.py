"""``delineate models``."""

from __future__ import annotations

import importlib.resources
import importlib.util
import sys
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from delineate import clip, prompt
from delineate.cli._published import fetch, fetch_encoder, prepare
from delineate.errors import MissingExtra
from delineate.predict import Predictor, embedded


def models_command(
    action: Annotated[
        Literal["list", "download"], Parameter(help="List all models, or download published ones.")
    ] = "list",
    names: Annotated[tuple[str, ...], Parameter(negative="", help="Published models to download.")] = (),
    /,
    *,
    accept_licence: Annotated[
        str, Parameter(help="Licence of the weights that you accept, where it is no permissive one.")
    ] = "",
) -> int:
    """Lists models and makes published ones ready; see `delineate models --help`."""
    torch = importlib.util.find_spec("torch") is not None
    if action == "download":
        if not names:
            sys.stderr.write("delineate models: download what? Name models of `delineate models`.\n")
            return 2
        if not torch and not set(names) <= set(clip.PUBLISHED):
            raise MissingExtra("torch", "torch")
        for name in names:
            _download(name, accept_licence)
        return 0
    if names:
        sys.stderr.write(f"delineate models: list takes no names, got {' '.join(names)}.\n")
        return 2
    console = Console()
    console.print("Embedded models (ready, offline)", style="italic")
    console.print(_embedded(), "")
    console.print(
        "Encoders of texts (delineate models download NAME, then predict --text WORDS)", style="italic"
    )
    console.print(_encoders(), "")
    if torch:
        _list_published(console)
    else:
        console.print(
            "Published models, and architectures to train: run pip install 'delineate[torch]' to see them.",
            markup=False,
        )
    return 0


def _download(name: str, accepted: str) -> None:
    if name in clip.PUBLISHED:
        sys.stdout.write(f"{name}  {fetch_encoder(name)}\n")
        return
    path = fetch(name, accepted)
    prepare(name, path)
    sys.stdout.write(f"{name}  {path}\n")


def _embedded() -> Table:
    table = _table("name", "classes", "licence", "size")
    for name in embedded():
        predictor = Predictor(name)
        table.add_row(name, ", ".join(predictor.classes), predictor.licence, _size(f"{name}.onnx"))
    for name in prompt.embedded():
        card = prompt.PromptPredictor.load(name).card
        files = f"{name}_encoder.onnx", f"{name}_decoder.onnx"
        table.add_row(name, "what is clicked", card.licence if card else "", _size(*files))
    return table


def _encoders() -> Table:
    table = _table("name", "licence", "size", "here")
    for name, files in clip.PUBLISHED.items():
        size = sum(file.size or 0 for file in files)
        table.add_row(name, files[0].licence, f"{size / 1e6:.0f} MB", "yes" if clip.is_ready(name) else "")
    return table


def _table(*headings: str) -> Table:
    """A table without lines, which leaves the longest names room on 80 columns: they are to be typed."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        numeric = heading in ("size", "box", "mask")
        table.add_column(heading, justify="right" if numeric else "left", no_wrap=True, overflow="ignore")
    return table


def _list_published(console: Console) -> None:
    """Published models with what they weigh and are worth, then the architectures."""
    from delineate import models, published

    table = _table("name", "licence", "size", "box", "mask", "here")
    for name in published.names():
        found = published.find(name)
        weights = found.weights
        table.add_row(
            name,
            weights.licence,
            f"{weights.size / 1e6:.0f} MB" if weights.size else "",
            "" if weights.box_ap is None else str(weights.box_ap),
            "" if weights.mask_ap is None else str(weights.mask_ap),
            "yes" if found.path.is_file() else "",
        )
    console.print("Published models and their AP (delineate models download NAME)", style="italic")
    console.print(table, "")
    for title, prompts in (("Architectures to train", False), ("Architectures that take prompts", True)):
        names = [
            name
            for name in models.names()
            if models.takes_prompts(name.partition("-")[0]) is prompts and not name.endswith("-test")
        ]
        console.print(f"{title}: {', '.join(names)}", markup=False, highlight=False)


def _size(*files: str) -> str:
    """What files of the package take."""
    folder = importlib.resources.files("delineate") / "weights"
    return f"{sum(len((folder / file).read_bytes()) for file in files) / 1e6:.1f} MB"
