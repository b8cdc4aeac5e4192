"""``delineate check``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from delineate import atomic, formats
from delineate.cli import _datasets as datasets
from delineate.cli._progress import track
from delineate.curate.check import KINDS, Problem, check_together, fix, mended
from delineate.errors import DelineateError


def check_command(
    paths: Annotated[
        tuple[Path, ...], Parameter(help="Datasets; of several also the pictures that they share are found.")
    ],
    /,
    *,
    json: Annotated[Path | None, Parameter(help="Write all problems to this file.")] = None,
    pixels: Annotated[bool, Parameter(help="Decode every picture, not only its header.")] = True,
    fix_to: Annotated[
        Path | None, Parameter(name="--fix", help="Write a mended dataset here; the original stays as it is.")
    ] = None,
    single_objects: Annotated[
        bool, Parameter(negative="", help="With --fix: clear all crowd flags.")
    ] = False,
) -> int:
    """Checks a dataset; see `delineate check --help`."""
    if fix_to is not None and len(paths) > 1:
        raise DelineateError(f"--fix mends one dataset at a time, got {len(paths)}.")
    console = Console(highlight=False, soft_wrap=True)
    problems = check_together(
        paths, pixels=pixels, progress=lambda items, total: track(items, "Checking", total)
    )
    for path, found in zip(paths, problems, strict=True):
        _show(console, path, found)
    if json is not None:
        entries = [
            {
                "path": path.as_posix(),
                "kind": one.kind,
                "where": one.where,
                "problem": one.text,
                "remedy": one.remedy,
                "error": one.error,
            }
            for path, found in zip(paths, problems, strict=True)
            for one in found
        ]
        content = {"paths": [path.as_posix() for path in paths], "problems": entries}
        atomic.write_bytes(json, msgspec.json.format(msgspec.json.encode(content)) + b"\n")
    if fix_to is not None:
        dataset, done = mended(paths[0])
        dataset, more = fix(dataset, single_objects=single_objects)
        for kind, count in (Counter(done) + Counter(more)).items():
            console.print(f"mended {count} x {kind}", markup=False)
        datasets.save(dataset, fix_to, formats.detect(paths[0]), None, list(paths))
    return 1 if any(one.error for found in problems for one in found) else 0


def _show(console: Console, path: Path, problems: list[Problem]) -> None:
    if not problems:
        console.print(f"{path}: nothing is wrong", markup=False)
        return
    table = Table(title=f"{path}", title_justify="left")
    table.add_column("problem")
    table.add_column("how many", justify="right")
    table.add_column("first")
    table.add_column("what to do")
    firsts: dict[str, Problem] = {}
    for one in problems:
        firsts.setdefault(one.kind, one)
    counts = Counter(one.kind for one in problems)
    for kind in sorted(firsts, key=lambda kind: (not firsts[kind].error, list(KINDS).index(kind))):
        style: Literal["red", "yellow"] = "red" if firsts[kind].error else "yellow"
        one = firsts[kind]
        table.add_row(kind, str(counts[kind]), f"{one.where}: {one.text}", one.remedy, style=style)
    console.print(table)
