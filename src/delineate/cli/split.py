"""``delineate split``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from delineate import formats
from delineate.cli import _datasets as datasets
from delineate.curate.select import split
from delineate.errors import DelineateError


def split_command(
    source: Path,
    target: Annotated[
        Path,
        Parameter(help="A folder; or one file, for formats whose files say which split a picture is of."),
    ],
    *,
    parts: Annotated[str, Parameter(help="Names and shares of the parts.")] = "train=0.8,val=0.2",
    group: Annotated[
        str | None, Parameter(help="Pictures with the same value of this attribute stay together.")
    ] = None,
    seed: Annotated[int, Parameter(help="Another seed deals out otherwise.")] = 0,
    to: datasets.To = None,
    pictures: datasets.Pictures = None,
) -> int:
    """Splits a dataset; see `delineate split --help`."""
    name, dataset = datasets.load(source)
    to = to or name
    dealt = split(dataset, _shares(parts), seed=seed, group=group)
    suffix = formats.get(to).SUFFIX
    if "splits" in formats.get(to).KEEPS and (not suffix or target.suffix == suffix):
        datasets.save(dealt, target, to, pictures, [source])
        return 0
    target.mkdir(parents=True, exist_ok=True)
    for part in _shares(parts):
        mine = dealt.with_records(record.replace(split=None) for record in dealt if record.split == part)
        datasets.save(mine, target / f"{part}{suffix}", to, pictures, [source])
    return 0


def _shares(text: str) -> dict[str, float]:
    shares = {}
    for item in text.split(","):
        name, _, share = item.partition("=")
        try:
            shares[name.strip()] = float(share)
        except ValueError as error:
            raise DelineateError(f"--parts must be like train=0.8,val=0.2, got {text!r}.") from error
    return shares
