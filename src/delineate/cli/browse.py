"""``delineate browse``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from delineate.cli import _datasets as datasets
from delineate.cli._progress import track, working
from delineate.curate.browse import contact_sheet, write_page
from delineate.curate.select import sample
from delineate.errors import DelineateError
from delineate.image import write_image

SHEETS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")


def browse_command(
    source: Path,
    target: Annotated[Path, Parameter(help="A web page (.html) or a contact sheet (.png, .jpg).")],
    *,
    count: Annotated[int | None, Parameter(help="Draw so many pictures at random; all by default.")] = None,
    seed: Annotated[int, Parameter(help="Another seed draws other pictures.")] = 0,
    side: Annotated[int, Parameter(help="The longer side of a thumbnail, pixels.")] = 320,
) -> int:
    """Shows a dataset with its masks; see `delineate browse --help`."""
    _, dataset = datasets.load(source)
    chosen = dataset if count is None else sample(dataset, count, seed=seed)
    if not len(chosen):
        raise DelineateError(f"{source}: dataset must have pictures to show, got none.")
    if target.suffix.lower() in (".html", ".htm"):
        shown = track(chosen, "Drawing", len(chosen))
        write_page(dataset, target, title=source.name, pictures=shown, side=side)
    elif target.suffix.lower() not in SHEETS:
        raise DelineateError(
            f"{target}: TARGET must end in .html, or for a contact sheet in {', '.join(SHEETS)}."
        )
    else:
        with working("Drawing"):
            write_image(target, contact_sheet(chosen, side=side))
    Console(highlight=False, soft_wrap=True).print(f"{target}: {len(chosen)} pictures", markup=False)
    return 0
