"""``delineate merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from delineate.cli import _datasets as datasets
from delineate.curate.taxonomy import merge, read_taxonomy
from delineate.errors import DelineateError


def merge_command(
    sources: Annotated[tuple[str, ...], Parameter(help="Datasets, each as PATH or NAME=PATH.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="The dataset to write.")],
    taxonomy: Annotated[
        Path | None, Parameter(help="TOML file that says what becomes of the classes of each NAME.")
    ] = None,
    to: datasets.To = None,
    pictures: datasets.Pictures = None,
) -> int:
    """Merges datasets; see `delineate merge --help`."""
    found, kinds, paths = {}, [], []
    for source in sources:
        name, _, path = source.rpartition("=")
        name = name or Path(path).stem
        if name in found:
            raise DelineateError(
                f"merge: names of datasets must differ, got {name!r} twice. Write NAME=PATH."
            )
        kind, found[name] = datasets.load(Path(path))
        kinds.append(kind)
        paths.append(Path(path))
    merged = merge(found, None if taxonomy is None else read_taxonomy(taxonomy))
    datasets.save(merged, out, to or kinds[0], pictures, paths)
    return 0
