"""The shapes of CVAT's XML as masks, and the steps between keyframes. Serves `cvat`."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from delineate import codecs
from delineate.errors import FormatError
from delineate.formats import _rings as rings
from delineate.formats import _xml as xml
from delineate.instances import Instances
from delineate.masks import Masks

KINDS = ("box", "polygon", "ellipse", "mask")
_FURTHER = ("polyline", "points", "cuboid", "skeleton", "tag")
_LARGEST = 1e9
_NAMES = {
    "box": ("xtl", "ytl", "xbr", "ybr"),
    "ellipse": ("cx", "cy", "rx", "ry"),
    "mask": ("left", "top", "width", "height"),
}


@dataclass(frozen=True, slots=True)
class Labels:
    """What the head of a file says: names of classes, and of which kind their attributes are.

    Args:
        names: In the order of the file; readers add those that they meet.
        kinds: (class, attribute) -> "number", "checkbox" or another kind, whose values are texts.
    """

    names: dict[str, int] = field(default_factory=dict)
    kinds: dict[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape as the file has it.

    Args:
        where: Its place, for messages.
        kind: One of `KINDS`.
        label: Its class.
        points: A polygon's (K, 2) x, y; of others the four numbers and the angle in degrees, (5,).
        rle: The runs of a mask.
        group: Its group, -1 for none.
        z_order: Its place in the painting order, None where the file does not say it.
        more: Its further keys, JSON values.
    """

    where: str
    kind: str
    label: str
    points: NDArray[np.float64]
    rle: str
    group: int
    z_order: int | None
    more: Mapping[str, Any]


def labels(root: xml.Node) -> Labels:
    """The classes that a file lists in its head, of a task, a project or a job."""
    found = Labels()
    meta = root.first("meta")
    for part in [] if meta is None else meta.children:
        listed = part.first("labels")
        for node in [] if listed is None else listed.all("label"):
            name = node.first("name")
            if name is None:
                continue
            found.names.setdefault(name.text, len(found.names))
            attributes = node.first("attributes")
            for one in [] if attributes is None else attributes.all("attribute"):
                found.kinds[name.text, one.value("name") or ""] = one.value("input_type") or "text"
    return found


def parse(
    path: Path, node: xml.Node, label: str | None, known: Labels, notices: Counter[str]
) -> Shape | None:
    """Check one element; None for what has no area, which is counted.

    Args:
        path: The file, for messages.
        node: A child of an image or a track.
        label: The class where its parent says it.
        known: The head of the file; a new class is added.
        notices: How many elements of each kind are left out.
    """
    where = f"line {node.line}"
    if node.tag not in KINDS:
        if node.tag in _FURTHER:
            notices[node.tag] += 1
            return None
        raise FormatError(
            path, where, f"element must be one of {', '.join(KINDS + _FURTHER)}, got {node.tag!r}."
        )
    label = node.attributes.get("label") if label is None else label
    if label is None:
        raise FormatError(path, where, "label must be the name of a class, got none.")
    label = label or "object"
    known.names.setdefault(label, len(known.names))
    rle = node.attributes.get("rle", "")
    if node.tag == "polygon":
        points = _points(path, node)
    else:
        numbers = [number(path, node, name) for name in _NAMES[node.tag]]
        points = np.array([*numbers, number(path, node, "rotation", "0")])
    z_order = whole(path, node, "z_order", "0") if "z_order" in node.attributes else None
    group = whole(path, node, "group_id", "0")
    more = _more(path, node, label, known.kinds)
    return Shape(where, node.tag, label, points, rle, group if group > 0 else -1, z_order, more)


def number(path: Path, node: xml.Node, name: str, default: str | None = None) -> float:
    """An attribute of an element as a number."""
    text = node.attributes.get(name, default)
    try:
        value = math.nan if text is None else float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= _LARGEST:
        what = "none" if text is None else repr(text[:40])
        raise FormatError(
            path, f"line {node.line}", f"{name} must be a number within {_LARGEST:g}, got {what}."
        )
    return value


def whole(path: Path, node: xml.Node, name: str, default: str | None = None) -> int:
    """An attribute of an element as a whole number."""
    value = number(path, node, name, default)
    if value != int(value):
        raise FormatError(path, f"line {node.line}", f"{name} must be a whole number, got {value}.")
    return int(value)


def _points(path: Path, node: xml.Node) -> NDArray[np.float64]:
    words = [pair.split(",") for pair in node.attributes.get("points", "").split(";")]
    try:
        points = np.array(words, np.float64)
    except ValueError:
        points = np.zeros((0, 0))
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3 or not (np.abs(points) <= _LARGEST).all():
        got = node.attributes.get("points", "")[:40]
        text = f'points must be 3 or more pairs "x,y;x,y;x,y" within {_LARGEST:g}, got {got!r}.'
        raise FormatError(path, f"line {node.line}", text)
    return points


def _more(path: Path, node: xml.Node, label: str, kinds: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    more: dict[str, Any] = {}
    if node.attributes.get("occluded") == "1":
        more["occluded"] = True
    if "source" in node.attributes:
        more["source"] = node.attributes["source"]
    for one in node.all("attribute"):
        name = one.attributes.get("name")
        if name is None:
            raise FormatError(path, f"line {one.line}", "attribute must have a name, got none.")
        more[name] = _value(path, one, kinds.get((label, name)))
    return more


def _value(path: Path, node: xml.Node, kind: str | None) -> object:
    """The value of an attribute: a text, unless the head says that it is a number or a checkbox."""
    text = node.text
    if node.attributes.get("type") == "json":
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            raise FormatError(path, f"line {node.line}", f"attribute must be JSON: {error}.") from error
    if kind == "checkbox" and text.strip().lower() in ("true", "false"):
        return text.strip().lower() == "true"
    if kind == "number":
        try:
            value = msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text
        return value if isinstance(value, int | float) and not isinstance(value, bool) else text
    return text


def fill(path: Path, shapes: Sequence[Shape], size: tuple[int, int]) -> Masks:
    """One mask for each shape; what lies outside the picture is cut."""
    outlines = [[] if shape.kind == "mask" else [ring(shape)] for shape in shapes]
    filled = Masks.from_polygons(outlines, size)
    at = [n for n, shape in enumerate(shapes) if shape.kind == "mask"]
    if not at:
        return filled
    runs = [codecs.CvatMask(shapes[n].rle, *map(_int, shapes[n].points[:4])) for n in at]
    for n, one in zip(at, runs, strict=True):
        if min(one.width, one.height) < 1:
            raise FormatError(path, shapes[n].where, "width and height of a mask must be at least 1.")
    try:
        masks = codecs.from_cvat(runs, size)
    except (ValueError, OverflowError) as error:
        place = shapes[at[0]].where + (f" to {shapes[at[-1]].where}" if len(at) > 1 else "")
        raise FormatError(path, place, str(error)) from error
    order = np.arange(len(shapes))
    order[at] = len(shapes) + np.arange(len(at))
    return Masks.concat([filled, masks])[order]


def _int(value: float) -> int:
    return math.floor(value)


def ring(shape: Shape) -> NDArray[np.float64]:
    """The corners of a polygon, a box or an ellipse."""
    if shape.kind == "polygon":
        return shape.points
    a, b, c, d, degrees = shape.points.tolist()
    angle = math.radians(degrees)
    if shape.kind == "ellipse":
        return rings.ellipse(a, b, (abs(c), abs(d)), angle)
    centre = np.array([(a + c) / 2, (b + d) / 2])
    corners = np.array([(a, b), (c, b), (c, d), (a, d)])
    moved: NDArray[np.float64] = rings.turned(corners - centre, angle) + centre if degrees else corners
    return moved


def instances(
    path: Path,
    shapes: Sequence[Shape],
    known: Labels,
    size: tuple[int, int],
    ids: Sequence[int] | None = None,
) -> Instances:
    """The shapes of one picture as its objects; upright boxes keep their corners."""
    masks = fill(path, shapes, size)
    boxes = masks.boxes.copy()
    for n, shape in enumerate(shapes):
        if shape.kind == "box" and not shape.points[4]:
            x0, y0, x1, y1 = shape.points[:4].tolist()
            boxes[n] = min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)
    extras: dict[str, Any] = {
        "attributes": np.array(
            [json.dumps(dict(shape.more), ensure_ascii=False) for shape in shapes], np.str_
        )
    }
    extras["group"] = np.array([shape.group for shape in shapes], np.int64)
    if any(shape.z_order is not None for shape in shapes):
        extras["z_order"] = np.array([shape.z_order or 0 for shape in shapes], np.int64)
    numbers = np.array([known.names[shape.label] for shape in shapes], np.int64)
    try:
        tracked = None if ids is None else np.array(ids, np.int64)
        return Instances(size, boxes, numbers, masks=masks, ids=tracked, extras=extras if shapes else {})
    except ValueError as error:
        raise FormatError(path, shapes[0].where if shapes else "", f"{error}.") from error


def between(a: Shape, b: Shape, share: float) -> Shape:
    """A shape on the way from one keyframe to the next; masks and unlike polygons stay as they are.

    Args:
        a: The keyframe before.
        b: The keyframe after.
        share: How far, from 0 to 1.
    """
    if a.kind != b.kind or a.kind == "mask" or a.points.shape != b.points.shape:
        return a
    step = b.points - a.points
    if a.kind != "polygon":
        step[4] = (step[4] + 180) % 360 - 180  # the shorter way round
    return replace(a, points=a.points + share * step)
