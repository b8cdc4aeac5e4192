"""``delineate tile``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from delineate.cli import _datasets as datasets
from delineate.cli._progress import track
from delineate.curate.tile import join, tile
from delineate.errors import DelineateError, FormatError
from delineate.postprocess.tiles import tiles


def tile_command(
    source: Path,
    target: Path,
    *,
    side: Annotated[int, Parameter(help="Largest height and width of a tile, pixels.")] = 1024,
    overlap: Annotated[int, Parameter(help="Pixels that neighbours share at least.")] = 0,
    min_part: Annotated[
        float, Parameter(help="Leave out parts with a smaller share of their object, 0 to 1.")
    ] = 0.0,
    empty: Annotated[bool, Parameter(help="Write tiles without objects, too.")] = True,
    undo: Annotated[bool, Parameter(name="--join", negative="", help="Put tiles together again.")] = False,
    to: datasets.To = None,
) -> int:
    """Cuts large pictures into tiles; see `delineate tile --help`."""
    name, dataset = datasets.load(source)
    if undo:
        datasets.save(join(dataset), target, to or name, "leave", [source])
        return 0
    if target.suffix:
        raise DelineateError(f"{target}: TARGET must be a folder: tiles are many files. Name a folder.")
    if target.exists() and any(target.iterdir()):
        raise FormatError(target, "", "target must be an empty or new folder, got one with content.")
    made = tile(dataset, target / "images", side=side, overlap=overlap, min_part=min_part, empty=empty)
    count = sum(len(tiles(record.size, side, overlap)) for record in dataset)
    records = list(track(made, "Cutting", count))
    datasets.save(dataset.with_records(records), target / "annotations.json", to or "coco", "leave", [source])
    return 0
