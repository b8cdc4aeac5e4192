"""VGG Image Annotator, versions 1 and 2: one JSON file, or CSV (https://www.robots.ox.ac.uk/~vgg/software/via/).

::

    {"a.png34372": {"filename": "a.png", "size": 34372, "file_attributes": {}, "regions": [
      {"shape_attributes": {"name": "polygon", "all_points_x": [1, 4, 4], "all_points_y": [1, 1, 3]},
       "region_attributes": {"class": "cell"}}]}}

Version 1 has regions as an object, {"0": {...}}; a project has all this under "_via_img_metadata". Polygons,
rectangles, circles and ellipses are objects, and so are polylines that are closed (their ends are closer than 2 % of
their length). Open polylines and points have no area: they are left out with a notice.

VIA does not say how large a picture is: the picture must lie beside the file, or else the size is the least that all
shapes fit into. Files of this package say it as "height" and "width", which VIA passes over.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from delineate import atomic
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import _coco_json as coco_json
from delineate.formats import _coco_write as coco_write
from delineate.formats import _json_outline as json_outline
from delineate.formats import _pictures
from delineate.formats import _rings as rings
from delineate.formats import _sizes as sizes
from delineate.formats import _yolo_text as yolo_text
from delineate.image import read_size
from delineate.instances import Instances
from delineate.masks import Masks

KEEPS = frozenset(
    {
        "masks",
        "holes",
        "parts",
        "overlaps",
        "attributes",
        "instance order",
        "empty pictures",
        "picture attributes",
    }
)
"""What ``read(write(dataset))`` preserves. Holes are cut open and parts joined by bridges without width."""
SUFFIX = ".json"

CLASS_NAMES = ("class", "class_name", "label", "name", "class_id", "category", "type")
"""Region attributes that are usually the class, the likeliest first."""

_AREAS = ("polygon", "rect", "circle", "ellipse", "polyline")
_LARGEST = 1e8
_CLOSED = 0.02
_COLUMNS = ("filename", "file_attributes", "region_shape_attributes", "region_attributes")

_log = logging.getLogger("delineate")


@dataclass(frozen=True, slots=True)
class _Region:
    """One shape: its place for messages, its corners, an exact box where it is a rectangle, and its attributes."""

    where: str
    ring: NDArray[np.float64]
    upright: bool
    attributes: dict[str, Any]


def sniff(path: str | Path) -> bool:
    """Whether it is a JSON file of VIA's pictures or a project, or a CSV file with its columns.

    Args:
        path: Any file.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".csv":
            with path.open("rb") as file:
                head = file.readline(4096).decode("utf-8-sig")
            return set(_COLUMNS) <= {name.strip(' "#\r\n') for name in head.split(",")}
        if path.suffix.lower() != ".json":
            return False
        keys = json_outline.values(path) or {}
        if "_via_img_metadata" in keys:
            return True
        first = next(iter(keys.values()), b"")  # its beginning, if it is long
        return first[:1] == b"{" and all(name in first for name in (b'"filename"', b'"regions"'))
    except (OSError, UnicodeDecodeError):
        return False


def read(path: str | Path, *, attribute: str | None = None, size: tuple[int, int] | None = None) -> Dataset:
    """Read a VIA file.

    Classes come in the order of their names, ids of pictures are 1, 2, ... ``extras["attributes"]`` has the other
    attributes of regions, ``Record.attributes`` those of files.

    Args:
        path: The JSON or CSV file. Pictures are looked for beside it and in "images".
        attribute: The region attribute that is the class; None: the one that most regions have, of `CLASS_NAMES` the
            first if there are several. Regions without it are of the class "object".
        size: (height, width) pixels of pictures that are not there.

    Raises:
        FormatError: The file is missing, not VIA's, or a region does not fit; the message names it.
    """
    path = Path(path)
    entries = list(_csv(path) if path.suffix.lower() == ".csv" else _json(path))
    notices: Counter[str] = Counter()
    loaded = [(_regions(path, where, entry, notices), where, entry) for where, entry in entries]
    every = [region for regions, _, _ in loaded for region in regions]
    key = _class_attribute(every) if attribute is None else attribute
    labels = [[_label(region.attributes, key) for region in regions] for regions, _, _ in loaded]
    classes = sorted({label for found in labels for label in found})
    for region in every:
        if _label(region.attributes, key, "") != "":
            del region.attributes[key]
    numbers = {name: n for n, name in enumerate(classes)}
    records: list[Record] = []
    for (regions, where, entry), names in zip(loaded, labels, strict=True):
        name = entry.get("filename")
        if not isinstance(name, str) or not name:
            raise FormatError(path, where, f"filename must be a name, got {str(name)[:40]!r}.")
        picture = _pictures.beside(path.parent, name, "images")
        canvas = _size(path, where, entry, picture, size, regions, notices)
        found = _instances(path, where, regions, [numbers[label] for label in names], canvas)
        given = entry.get("file_attributes")
        attributes = given if isinstance(given, dict) else {}
        records.append(Record(picture, canvas, found, len(records) + 1, attributes))
    for text, count in notices.items():
        _log.warning("%s: %d %s", path, count, text)
    return Dataset(tuple(records), tuple(classes))


def _json(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The place and the entry of each picture."""
    content = coco_json.load(path, dict[str, Any])
    pictures = content.get("_via_img_metadata", content)
    if not isinstance(pictures, dict):
        raise FormatError(path, "_via_img_metadata", "must be an object of pictures.")
    for key, entry in pictures.items():
        if not isinstance(entry, dict) or "regions" not in entry:
            text = "must be a picture with filename and regions. Export version 3 of VIA as COCO instead."
            raise FormatError(path, str(key)[:80], text)
        yield str(key)[:80], entry


def _csv(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The same of a CSV file, whose lines are regions."""
    found: dict[str, dict[str, Any]] = {}
    try:
        rows = csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline=""), strict=True)
        head = [name.strip().lstrip("#") for name in next(rows, [])]
        places = [head.index(name) for name in _COLUMNS]
        for row in rows:
            if not row:
                continue
            line = f"line {rows.line_num}"
            if len(row) < len(head):
                raise FormatError(path, line, f"line must have {len(head)} values, got {len(row)}.")
            name, *texts = (row[place] for place in places)
            values = [_decoded(path, line, text) for text in texts]
            entry = found.setdefault(name, {"filename": name, "file_attributes": values[0], "regions": []})
            if values[1]:
                entry["regions"].append({"shape_attributes": values[1], "region_attributes": values[2]})
    except OSError as error:
        raise FormatError(path, "", f"file must be readable, got: {error.strerror}.") from error
    except (ValueError, csv.Error) as error:
        raise FormatError(path, "", f"file must be VIA's CSV in UTF-8, got: {error}.") from error
    yield from found.items()


def _decoded(path: Path, line: str, text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise FormatError(path, line, f"attributes must be JSON objects: {error}.") from error


def _regions(path: Path, where: str, entry: Mapping[str, Any], notices: Counter[str]) -> list[_Region]:
    given = entry["regions"]
    if isinstance(given, dict):
        given = list(given.values())
    if not isinstance(given, list):
        raise FormatError(path, where, "regions must be a list or an object.")
    found = []
    for n, region in enumerate(given):
        place = f"{where}: region {n}"
        parts = (
            (region.get("shape_attributes"), region.get("region_attributes"))
            if isinstance(region, dict)
            else ()
        )
        if not parts or not isinstance(parts[0], dict):
            raise FormatError(path, place, "must have shape_attributes.")
        kind = parts[0].get("name")
        if kind == "point":
            notices["points have no area; they are left out"] += 1
            continue
        if kind not in _AREAS:
            text = f"name must be one of {', '.join(_AREAS)}, point, got {str(kind)[:40]!r}."
            raise FormatError(path, place, text)
        ring = _ring(path, place, kind, parts[0])
        if kind == "polyline" and not _is_closed(ring):
            notices["polylines are open and have no area; they are left out"] += 1
            continue
        if kind == "polyline":
            notices["polylines are closed; they are read as areas"] += 1
        found.append(_Region(place, ring, kind == "rect", parts[1] if isinstance(parts[1], dict) else {}))
    return found


def _ring(path: Path, place: str, kind: str, shape: Mapping[str, Any]) -> NDArray[np.float64]:
    """The corners of a shape."""

    def number(value: object, name: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:
            text = f"{name} must be a number within {_LARGEST:g}, got {str(value)[:40]!r}."
            raise FormatError(path, place, text)
        return float(value)

    def numbers(*names: str) -> list[float]:
        return [number(shape.get(name), name) for name in names]

    if kind == "rect":
        return rings.rectangle(*numbers("x", "y", "width", "height"))
    if kind == "circle":
        x, y, radius = numbers("cx", "cy", "r")
        return rings.ellipse(x, y, (abs(radius), abs(radius)))
    if kind == "ellipse":
        x, y, rx, ry = numbers("cx", "cy", "rx", "ry")
        return rings.ellipse(x, y, (abs(rx), abs(ry)), number(shape.get("theta", 0), "theta"))
    columns = [shape.get("all_points_x"), shape.get("all_points_y")]
    if not all(isinstance(column, list) for column in columns) or len(columns[0] or ()) != len(
        columns[1] or ()
    ):
        raise FormatError(path, place, "all_points_x and all_points_y must be lists of one length.")
    points = [[number(value, "all_points") for value in column or ()] for column in columns]
    if len(points[0]) < 3 and kind == "polygon":
        raise FormatError(path, place, f"polygon must have 3 points or more, got {len(points[0])}.")
    return np.array(points, np.float64).T.reshape(-1, 2)


def _is_closed(ring: NDArray[np.float64]) -> bool:
    if len(ring) < 3:
        return False
    length = float(np.hypot(*np.diff(ring, axis=0).T).sum())
    return float(np.hypot(*(ring[-1] - ring[0]))) <= _CLOSED * length


def _class_attribute(regions: Sequence[_Region]) -> str:
    """The attribute that says the class: what most regions have, of those the likeliest name."""
    counts: Counter[str] = Counter()
    for region in regions:
        counts.update(name for name in region.attributes if _label(region.attributes, name, "") != "")
    ranks = {name: n for n, name in enumerate(CLASS_NAMES)}
    order = sorted(
        counts, key=lambda name: (-counts[name], ranks.get(name.strip().casefold(), len(ranks)), name)
    )
    return order[0] if order else CLASS_NAMES[0]


def _label(attributes: Mapping[str, Any], key: str, default: str = "object") -> str:
    """The value of an attribute; of check boxes the one that is set."""
    value = attributes.get(key)
    if isinstance(value, dict):
        chosen = [name for name, one in value.items() if one]
        value = chosen[0] if len(chosen) == 1 else None
    return value if isinstance(value, str) and value else default


def _size(
    path: Path,
    where: str,
    entry: Mapping[str, Any],
    picture: Path,
    size: tuple[int, int] | None,
    regions: Sequence[_Region],
    notices: Counter[str],
) -> tuple[int, int]:
    sides: tuple[Any, Any] = entry.get("height"), entry.get("width")
    if None in sides and size is not None:
        sides = size
    elif None in sides and picture.is_file():
        return read_size(picture)
    elif None in sides:
        notices[
            "pictures are not there; their size is what the shapes fit into. Give size=(height, width)"
        ] += 1
        corner = np.max([region.ring.max(axis=0) for region in regions], axis=0) if regions else np.ones(2)
        sides = max(1, math.ceil(corner[1])), max(1, math.ceil(corner[0]))
    return sizes.checked(path, where, *sides)


def _instances(
    path: Path, where: str, regions: Sequence[_Region], labels: Sequence[int], size: tuple[int, int]
) -> Instances:
    masks = Masks.from_polygons([[region.ring] for region in regions], size)
    boxes = masks.boxes.copy()
    for n, region in enumerate(regions):
        if region.upright:
            boxes[n] = np.concatenate([region.ring.min(axis=0), region.ring.max(axis=0)])
    texts = np.array([json.dumps(region.attributes, ensure_ascii=False) for region in regions], np.str_)
    extras = {"attributes": texts} if regions else {}
    try:
        return Instances(size, boxes, np.array(labels, np.int64), masks=masks, extras=extras)
    except ValueError as error:
        raise FormatError(path, where, f"{error}.") from error


def write(dataset: Dataset, path: str | Path) -> None:
    """Write a JSON file of version 2 with a polygon for each object; the same dataset always gives the same bytes.

    Objects without pixels are left out, and the log says how many; without masks, boxes are rectangles.

    Args:
        dataset: What to write.
        path: The JSON file; replaced in one step.
    """
    path = Path(path)
    lost, taken = 0, set[str]()
    with atomic.writing(path) as file:
        file.write(b"{\n")
        for record in dataset:
            shapes = _shapes(record.instances)
            lost += shapes.count(None)
            key, entry = _entry(record, shapes, dataset.classes, path.parent)
            start = b",\n" if taken else b""
            while key in taken:  # two records of one picture
                key += "_"
            taken.add(key)
            file.write(start + msgspec.json.encode(key) + b":" + coco_write.encode(entry))
        file.write(b"\n}\n")
    if lost:
        _log.warning("%s: %d objects have no pixels and are left out", path, lost)


def _shapes(found: Instances) -> list[dict[str, Any] | None]:
    if found.masks is None:
        corners = found.boxes.astype(np.float64).tolist()
        return [{"name": "rect", "x": x, "y": y, "width": a - x, "height": b - y} for x, y, a, b in corners]
    shapes: list[dict[str, Any] | None] = []
    for ring in yolo_text.single_rings(found.masks):
        if ring is None:
            shapes.append(None)
            continue
        xs, ys = ([int(v) if v.is_integer() else v for v in column] for column in ring.T.tolist())
        shapes.append({"name": "polygon", "all_points_x": xs, "all_points_y": ys})
    return shapes


def _entry(
    record: Record, shapes: Sequence[dict[str, Any] | None], classes: Sequence[str], root: Path
) -> tuple[str, dict[str, Any]]:
    name = coco_write.image_entry(record, root).get("file_name", str(record.id))
    try:
        size = -1 if record.path is None else record.path.stat().st_size
    except OSError:
        size = -1
    texts = record.instances.extras.get("attributes")
    regions = []
    for n, shape in enumerate(shapes):
        if shape is not None:
            given = {} if texts is None else json.loads(str(texts[n]))
            given[CLASS_NAMES[0]] = classes[record.instances.labels[n]]
            regions.append({"shape_attributes": shape, "region_attributes": given})
    entry = {"filename": name, "size": size, "regions": regions, "file_attributes": dict(record.attributes)}
    return f"{name}{size}", entry | {"height": record.size[0], "width": record.size[1]}
