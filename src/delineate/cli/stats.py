"""``delineate stats``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from delineate import atomic
from delineate.cli import _datasets as datasets
from delineate.cli._progress import track, working
from delineate.curate.browse import spread, write_page
from delineate.curate.select import sample
from delineate.curate.stats import Stats, stats


def stats_command(
    source: Path,
    *,
    json: Annotated[Path | None, Parameter(help="Write all numbers to this file.")] = None,
    html: Annotated[Path | None, Parameter(help="Write a page with numbers and pictures.")] = None,
    pictures: Annotated[int, Parameter(help="How many pictures the page shows, drawn at random.")] = 48,
) -> int:
    """Counts and measures a dataset; see `delineate stats --help`."""
    name, dataset = datasets.load(source)
    with working("Measuring"):
        found = stats(dataset)
    _show(Console(highlight=False), f"{source} ({name})", found)
    if json is not None:
        atomic.write_bytes(json, msgspec.json.format(msgspec.json.encode(found.as_dict())) + b"\n")
    if html is not None:
        shown = sample(dataset, pictures)
        write_page(dataset, html, title=source.name, pictures=track(shown, "Drawing", len(shown)))
    return 0


def _show(console: Console, title: str, found: Stats) -> None:
    console.print(title, markup=False)
    table = Table(show_header=False)
    for heading, value in (
        ("pictures", f"{found.pictures}, {found.empty} without objects"),
        ("objects", f"{found.objects}, and {found.crowds} crowd regions"),
        ("objects per picture", spread(found.density)),
        ("covered by objects", spread(found.covered, percent=True)),
        ("height, width", f"{spread(found.height)}, {spread(found.width)}"),
        (
            "shapes",
            f"{found.parts} of several parts, {found.holes} with holes, {found.overlapping} overlap others",
        ),
    ):
        table.add_row(heading, value)
    console.print(table)
    table = Table(title="classes (area: the median, pixels)", title_justify="left")
    table.add_column("class", overflow="fold")
    for heading in ("objects", "crowds", "pictures", "small", "medium", "large", "area"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, one in found.classes.items():
        counts = (one.objects, one.crowds, one.pictures, one.small, one.medium, one.large)
        table.add_row(name, *map(str, counts), "-" if one.area is None else f"{one.area.middle:.0f}")
    console.print(table)
    if set(found.splits) - {""}:
        for name, (count, objects) in found.splits.items():
            console.print(f"{name or 'no split'}: {count} pictures, {objects} objects", markup=False)
