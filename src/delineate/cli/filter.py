"""``delineate filter``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from delineate.cli import _datasets as datasets
from delineate.curate.select import select


def filter_command(
    source: Path,
    target: Path,
    *,
    classes: Annotated[str | None, Parameter(help="Classes to keep, comma-separated.")] = None,
    splits: Annotated[str | None, Parameter(help="Splits to keep, comma-separated.")] = None,
    min_area: Annotated[float, Parameter(help="Leave out smaller objects (pixels).")] = 0,
    max_area: Annotated[float, Parameter(help="Leave out larger objects (pixels).")] = float("inf"),
    crowd: Annotated[bool, Parameter(help="Keep crowd regions.")] = True,
    empty: Annotated[bool, Parameter(help="Keep pictures that have no objects left.")] = True,
    to: datasets.To = None,
    pictures: datasets.Pictures = None,
) -> int:
    """Keeps some objects of a dataset; see `delineate filter --help`."""
    name, dataset = datasets.load(source)
    chosen = select(
        dataset,
        classes=_names(classes),
        splits=_names(splits),
        min_area=min_area,
        max_area=max_area,
        crowd=crowd,
        empty=empty,
    )
    datasets.save(chosen, target, to or name, pictures, [source])
    return 0


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]
