"""The shapes of LabelMe files as masks, and masks as shapes. Serves `labelme`."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from delineate import codecs, outline
from delineate.errors import FormatError
from delineate.formats._json_parts import decoded
from delineate.masks import Masks

OUTLINES = ("polygon", "rectangle", "circle", "mask", "rotation", "oriented_rectangle")
LINES = ("point", "points", "line", "linestrip")
"""Kinds without an area."""

_KNOWN = ("label", "points", "shape_type", "group_id", "mask")
_MAX_CORNERS = 10_000  # of a circle
_LARGEST = 1e7  # pixels from the corner; masks are filled from up to 1e8


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape as the file has it.

    Args:
        where: Its place, for messages.
        label: Its class.
        kind: One of the kinds above.
        points: (K, 2) x, y.
        group: The number that joins the parts of an object, or None.
        mask: The picture file of a "mask", as base64 text.
        more: All other keys.
    """

    where: str
    label: str
    kind: str
    points: NDArray[np.float64]
    group: int | None
    mask: str | None
    more: dict[str, Any]


def parse(path: Path, where: str, raws: Mapping[str, msgspec.Raw]) -> Shape:
    """Check one entry of "shapes"."""

    def value(key: str, kind: object, default: object = None) -> Any:  # noqa: ANN401 - as above
        return decoded(path, f"{where}.{key}", raws[key], kind) if key in raws else default

    label = value("label", str)
    if label is None:
        raise FormatError(path, where, "label must be the name of a class, got none.")
    kind = value("shape_type", str | None) or "polygon"
    if kind not in OUTLINES + LINES:
        text = f"shape_type must be one of {', '.join(OUTLINES + LINES)}, got {kind[:40]!r}."
        raise FormatError(path, where, text)
    points = np.array(value("points", list[tuple[float, float]], []), np.float64).reshape(-1, 2)
    if not (np.abs(points) <= _LARGEST).all():
        raise FormatError(path, where, f"points must be within {_LARGEST:g} pixels, got larger ones.")
    least, most = {"rectangle": (2, 4), "circle": (2, 2), "mask": (2, 2)}.get(kind, (3, len(points)))
    if kind in OUTLINES and not least <= len(points) <= max(most, least):
        text = f"{kind} must have {least} points{' or more' if most != least else ''}, got {len(points)}."
        raise FormatError(path, where, text)
    group = value("group_id", int | None)
    if group is not None and abs(group) >= 2**63:
        raise FormatError(path, where, f"group_id must fit 64 bits, got {group}.")
    more = {key: decoded(path, f"{where}.{key}", raw, Any) for key, raw in raws.items() if key not in _KNOWN}
    return Shape(where, label, kind, points, group, value("mask", str | None), more)


def fill(path: Path, shapes: Sequence[Shape], size: tuple[int, int]) -> Masks:
    """One mask for each shape; what lies outside the picture is cut."""
    rings = [[] if shape.kind == "mask" else [_ring(shape)] for shape in shapes]
    filled = Masks.from_polygons(rings, size)
    at = [n for n, shape in enumerate(shapes) if shape.kind == "mask"]
    if not at:
        return filled
    pasted = [_pasted(path, shapes[n], size) for n in at]
    order = np.arange(len(shapes))
    order[at] = len(shapes) + np.arange(len(at))
    return Masks.concat([filled, *pasted])[order]


def _ring(shape: Shape) -> NDArray[np.float64]:
    if shape.kind == "rectangle" and len(shape.points) != 4:
        (x0, y0), (x1, y1) = shape.points.min(axis=0), shape.points.max(axis=0)
        return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    if shape.kind != "circle":
        return shape.points
    centre, edge = shape.points
    radius = float(np.hypot(*(edge - centre)))
    # As many corners as keep each side within 0.02 pixels of the arc.
    count = min(_MAX_CORNERS, max(16, math.ceil(math.pi * math.sqrt(radius / 0.04))))
    turns = np.arange(count) * (2 * math.pi / count)
    corners: NDArray[np.float64] = centre + radius * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    return corners


def _pasted(path: Path, shape: Shape, size: tuple[int, int]) -> Masks:
    """The picture of a mask at its place."""
    if shape.mask is None:
        raise FormatError(path, shape.where, "mask must be a picture in base64, got none.")
    (x0, y0), (x1, y1) = np.floor(shape.points).astype(np.int64).tolist()
    expected = y1 - y0 + 1, x1 - x0 + 1
    if min(expected) < 1:
        raise FormatError(path, shape.where, "points of a mask must be its first and its last pixel.")
    try:
        found = codecs.from_png([base64.b64decode(shape.mask, validate=True)], expected)
    except (binascii.Error, ValueError) as error:
        text = f"mask must be a picture of {expected} pixels (height, width) in base64, got: {error}"
        raise FormatError(path, shape.where, text.rstrip(".") + ".") from error
    except FormatError as error:
        raise FormatError(path, shape.where, f"mask: {error.message}") from error
    return found.translate(y0, x0, size)


def outlines(masks: Masks) -> list[list[dict[str, Any]]]:
    """For each mask its shapes: a polygon for each part, or a mask where polygons cannot say it (holes, no pixels)."""
    found: list[list[dict[str, Any]]] = []
    for n, parts in enumerate(outline.polygons(masks)):
        if parts and not any(part.holes for part in parts):
            found.append([{"points": part.exterior.tolist(), "shape_type": "polygon"} for part in parts])
        else:
            found.append([_picture(masks[n : n + 1])])
    return found


def _picture(mask: Masks) -> dict[str, Any]:
    x0, y0, x1, y1 = mask.boxes[0].astype(int).tolist() if mask.areas[0] else (0, 0, 1, 1)
    content = codecs.to_png(mask.crop_to(y0, x0, y1 - y0, x1 - x0))[0]
    points = [[float(x0), float(y0)], [float(x1 - 1), float(y1 - 1)]]
    return {"points": points, "shape_type": "mask", "mask": base64.b64encode(content).decode()}


def rectangles(boxes: NDArray[np.float32]) -> list[list[dict[str, Any]]]:
    """A rectangle for each box."""
    corners = boxes.astype(np.float64).reshape(-1, 2, 2).tolist()
    return [[{"points": points, "shape_type": "rectangle"}] for points in corners]
