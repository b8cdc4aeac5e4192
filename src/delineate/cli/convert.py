"""``delineate convert``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from delineate import atomic
from delineate.cli._progress import working
from delineate.curate.convert import Conversion, convert
from delineate.curate.losses import Loss
from delineate.formats import KEEPABLE


def convert_command(
    source: Path,
    target: Path,
    *,
    to: Annotated[str, Parameter(help="The format to write: coco, yolo, voc ...")],
    origin: Annotated[
        str | None, Parameter(name="--from", help="The format of SOURCE; found out by default.")
    ] = None,
    pictures: Annotated[
        Literal["link", "copy", "leave"] | None,
        Parameter(help="Default: link for formats with a place for pictures, leave for the others."),
    ] = None,
    allow_loss: Annotated[
        bool, Parameter(negative="", help="Write even if the format cannot hold everything.")
    ] = False,
    json: Annotated[Path | None, Parameter(help="Write the certificate to this file.")] = None,
) -> int:
    """Converts a dataset; see `delineate convert --help`."""
    with working("Converting") as doing:
        done = convert(
            source, target, to, origin=origin, pictures=pictures, allow_loss=allow_loss, progress=doing
        )
    console = Console(highlight=False, soft_wrap=True)
    _show(console, done, source, target)
    if json is not None:
        content = {
            "source": source.as_posix(),
            "target": target.as_posix(),
            "from": done.source,
            "to": done.target,
            "lost": _as_dict(done.lost),
            "unseen": _as_dict(done.unseen),
            "certificate": done.certificate.as_dict(),
            "side_file": None if done.side is None else done.side.as_posix(),
        }
        atomic.write_bytes(json, msgspec.json.format(msgspec.json.encode(content)) + b"\n")
    return 0 if done.certificate.clean else 1


def _show_losses(console: Console, title: str, found: Sequence[Loss]) -> None:
    if not found:
        return
    table = Table(title=title, title_justify="left")
    for heading in ("what", "how many", "first"):
        table.add_column(heading)
    for loss in found:
        table.add_row(KEEPABLE[loss.kind], str(loss.count), loss.where)
    console.print(table)


def _as_dict(found: Sequence[Loss]) -> dict[str, object]:
    return {loss.kind: {"count": loss.count, "first": loss.where} for loss in found}


def _show(console: Console, done: Conversion, source: Path, target: Path) -> None:
    proof = done.certificate
    console.print(f"{source} ({done.source}) -> {target} ({done.target})", markup=False)
    explained = f"{proof.explained} changed by what is lost, " if proof.explained else ""
    console.print(
        f"read back and compared: {proof.pictures} pictures, {proof.objects} objects, {proof.exact} of them exact, "
        f"{explained}least IoU {proof.least_iou:.4f}"
    )
    _show_losses(console, f"what {done.target} cannot hold", done.lost)
    _show_losses(console, f"what other tools that read {done.target} do not see", done.unseen)
    if done.side is not None:
        console.print(f"All of it is kept in {done.side}; converting back uses it.", markup=False)
    if not proof.clean:
        console.print("Differences that the format does not explain:", style="red")
        for kind, count in proof.counts.items():
            console.print(f"  {kind}: {count}", markup=False)
        for example in proof.examples[:10]:
            console.print(f"  {example}", markup=False, style="dim")
