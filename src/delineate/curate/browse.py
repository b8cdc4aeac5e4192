"""Looking at a dataset: a contact sheet, and one self-contained web page."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from delineate import atomic
from delineate.curate.stats import ClassStats, Spread, Stats, stats
from delineate.dataset import Dataset, Record
from delineate.draw import colours, draw
from delineate.errors import FormatError
from delineate.image import read_image

_GREY = 96
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1200px; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; } caption { text-align: left; padding-bottom: .3rem; }
th, td { padding: .2rem .8rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child, td:has(.bar) { text-align: left; }
.bar { display: inline-block; height: .7em; vertical-align: baseline; }
p { color: #888; font-size: .85rem; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); gap: 1rem;
  align-items: start; }
figure { margin: 0; background: var(--soft); border-radius: 6px; overflow: hidden; }
figure img { width: 100%; display: block; }
figcaption { padding: .3rem .6rem; font-size: .85rem; overflow-wrap: anywhere; }
@media print { figure { break-inside: avoid; } }
"""


class _Bar(NamedTuple):
    """A share of 0 to 1 in the colour that a class is drawn in."""

    share: float
    colour: str


def thumbnail(record: Record, classes: Sequence[str], side: int) -> NDArray[np.uint8]:
    """The picture with its objects, scaled down; on grey where the picture cannot be read.

    Args:
        record: One record.
        classes: Class names.
        side: The longer side of the result is at most this, pixels.
    """
    try:
        if record.path is None:
            raise FormatError("", "", "no picture")
        pixels = read_image(record.path)
        if pixels.shape[:2] != record.size:
            raise FormatError(record.path, "", "another size")
    except FormatError:
        pixels = np.full((*record.size, 3), _GREY, np.uint8)
    if side < 1:
        raise ValueError(f"thumbnail: side must be at least 1 pixel, got {side}")
    scale = min(1.0, side / max(record.size))
    size = max(1, round(record.size[0] * scale)), max(1, round(record.size[1] * scale))
    found = record.instances
    # Drawn after scaling: outlines stay visible, and large pictures cost little.
    if size != record.size:
        pixels = np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BOX))
        boxes = found.boxes * np.array([size[1] / record.size[1], size[0] / record.size[0]] * 2, np.float32)
        masks = None if found.masks is None else found.masks.resize(size)
        found = found.replace(size=size, boxes=boxes, masks=masks)
    return draw(pixels, found, classes, labels=False)


def contact_sheet(dataset: Dataset, *, columns: int = 6, side: int = 240) -> NDArray[np.uint8]:
    """Thumbnails with overlays, row by row.

    Args:
        dataset: At least one picture.
        columns: Pictures in a row, at least 1.
        side: Of one thumbnail's cell, pixels.

    Returns:
        (H, W, 3) uint8.
    """
    if not len(dataset) or columns < 1:
        raise ValueError(
            f"contact_sheet: there must be a picture and a column, got {len(dataset)} and {columns}"
        )
    columns = min(columns, len(dataset))
    gap = max(2, side // 40)
    rows = -(-len(dataset) // columns)
    sheet = np.full((rows * (side + gap) + gap, columns * (side + gap) + gap, 3), 255, np.uint8)
    for n, record in enumerate(dataset):
        small = thumbnail(record, dataset.classes, side)
        top = gap + n // columns * (side + gap) + (side - small.shape[0]) // 2
        left = gap + n % columns * (side + gap) + (side - small.shape[1]) // 2
        sheet[top : top + small.shape[0], left : left + small.shape[1]] = small
    return sheet


def write_page(
    dataset: Dataset,
    path: str | Path,
    *,
    title: str = "Dataset",
    pictures: Iterable[Record] | None = None,
    side: int = 320,
) -> None:
    """Write one self-contained HTML page: the numbers of `stats`, and pictures with overlays.

    Args:
        dataset: What to show the numbers of.
        path: The HTML file.
        title: Heading.
        pictures: The records to show; None shows all. Each takes some 20 kB of the page.
        side: The longer side of a thumbnail, pixels.
    """
    shown = dataset if pictures is None else pictures
    with atomic.writing(path) as file:
        file.write(
            f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>".encode()
        )
        file.write(b"<meta name=viewport content='width=device-width,initial-scale=1'>")
        file.write(f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1>".encode())
        file.write(_numbers(stats(dataset)).encode())
        file.write(
            b"<p>Ranges are the median and, in brackets, the middle 80 %. Bars are in the colours of masks.</p>"
        )
        file.write(b"<h2>Pictures</h2><div class=sheet>")
        file.writelines(_figures(shown, dataset.classes, side))
        file.write(b"</div></html>\n")


def _figures(records: Iterable[Record], classes: Sequence[str], side: int) -> Iterator[bytes]:
    for record in records:
        content = io.BytesIO()
        Image.fromarray(thumbnail(record, classes, side)).save(content, "JPEG", quality=80)
        data = base64.b64encode(content.getvalue()).decode()
        text = f"{record.name}: {len(record.instances)} objects, {record.size[1]} x {record.size[0]}"
        text += f", {record.split}" if record.split else ""
        name = html.escape(text)
        yield f"<figure><img loading=lazy alt='{name}' src='data:image/jpeg;base64,{data}'>".encode()
        yield f"<figcaption>{name}</figcaption></figure>\n".encode()


def _numbers(found: Stats) -> str:
    rows = [
        ("pictures", str(found.pictures)),
        ("without objects", str(found.empty)),
        ("objects", str(found.objects)),
        ("crowd regions", str(found.crowds)),
        ("objects of several parts", str(found.parts)),
        ("objects with holes", str(found.holes)),
        ("objects that share pixels", str(found.overlapping)),
        ("objects per picture", spread(found.density)),
        ("covered by objects", spread(found.covered, percent=True)),
        ("height", spread(found.height)),
        ("width", spread(found.width)),
    ]
    parts = [_table("", ("", "all"), rows)]
    most = max((one.objects for one in found.classes.values()), default=0) or 1
    paints = colours(len(found.classes))
    classes = [
        _class_row(name, one, most, paint)
        for (name, one), paint in zip(found.classes.items(), paints, strict=True)
    ]
    headings = ("class", "objects", "", "crowds", "pictures", "small", "medium", "large", "area")
    parts.append(_table("Classes", headings, classes))
    if set(found.splits) - {""}:
        splits = [(name or "none", str(a), str(b)) for name, (a, b) in found.splits.items()]
        parts.append(_table("Splits", ("split", "pictures", "objects"), splits))
    return "".join(parts)


def spread(values: Spread | None, *, percent: bool = False) -> str:
    """Median and the middle eighty percent, in words for a table.

    Args:
        values: What to say.
        percent: Whether the values are shares.

    >>> spread(Spread(1, 2, 3, 40, 50))
    '3 (2 to 40)'
    """
    if values is None:
        return "-"
    scale, sign = (100, " %") if percent else (1, "")
    low, middle, high = (_short(value * scale) for value in (values.low, values.middle, values.high))
    return f"{middle} ({low} to {high}){sign}"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def _class_row(name: str, one: ClassStats, most: int, paint: NDArray[np.uint8]) -> list[str | _Bar]:
    counts = (one.crowds, one.pictures, one.small, one.medium, one.large)
    bar = _Bar(one.objects / most, "#" + paint.tobytes().hex())
    return [name, str(one.objects), bar, *map(str, counts), spread(one.area)]


def _table(caption: str, headings: Sequence[str], rows: Iterable[Sequence[str | _Bar]]) -> str:
    head = "".join(f"<th scope=col>{html.escape(text)}</th>" for text in headings)
    body = "".join("<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    title = f"<h2>{html.escape(caption)}</h2>" if caption else ""
    return f"{title}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(cell: str | _Bar) -> str:
    """A text, or a bar at least as wide as its colour can be seen."""
    if isinstance(cell, str):
        return html.escape(cell)
    return f"<span class=bar style='width:{8 + 112 * cell.share:.0f}px;background:{cell.colour}'></span>"
