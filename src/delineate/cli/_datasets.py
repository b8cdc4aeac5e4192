"""What the commands on datasets share: reading any format, writing, and saying what a format cannot hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from delineate import formats
from delineate.cli._progress import working
from delineate.curate import convert
from delineate.curate.losses import losses
from delineate.dataset import Dataset
from delineate.errors import FormatError

To = Annotated[str | None, Parameter(help="The format to write; that of the source by default.")]
Pictures = Annotated[
    Literal["link", "copy", "leave"] | None,
    Parameter(help="Default: link for formats with a place for pictures, leave for the others."),
]


def load(source: Path) -> tuple[str, Dataset]:
    """The name of the format of a dataset, and what is in it."""
    with working(f"Reading {source}"):
        return convert.read(source)


def save(
    dataset: Dataset,
    target: Path,
    to: str,
    pictures: Literal["link", "copy", "leave"] | None,
    sources: Sequence[Path],
) -> None:
    """Write a dataset, never over what it was made of; print what was written and what the format could not hold."""
    if target.resolve() in [source.resolve() for source in sources]:
        raise FormatError(target, "", "target must be another file than the source, got the same.")
    console = Console(highlight=False, soft_wrap=True)
    with working(f"Writing {target}") as doing:
        convert.write(dataset, target, to, pictures)
        doing("Looking for what is lost")
        lost, unseen = losses(dataset, formats.get(to).KEEPS), convert.unseen(dataset, to)
    objects = sum(record.count for record in dataset)
    console.print(f"{target} ({to}): {len(dataset)} pictures, {objects} objects", markup=False)
    for loss in lost:
        if loss.grave:
            console.print(f"Note: {to} cannot hold {loss}", style="yellow", markup=False)
    for loss in unseen:
        console.print(f"Note: other tools that read {to} do not see {loss}", style="yellow", markup=False)
