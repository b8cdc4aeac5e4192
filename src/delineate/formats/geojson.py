"""GeoJSON: polygons with holes, one file for each picture (RFC 7946), as QuPath and maps have them.

::

    {"type": "FeatureCollection", "imagePath": "a.tif", "imageHeight": 480, "imageWidth": 640, "features": [
      {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[1, 1], [4, 1], [4, 3.5], [1, 1]]]},
       "properties": {"objectType": "detection", "classification": {"name": "Tumor", "color": [200, 0, 0]},
        "measurements": {"Area": 4.5}}}]}

A list of features, as older QuPath writes it, and a single feature are read too. Polygons and multipolygons are
objects, a feature without geometry is one without pixels; points and lines are left out with a notice. The class is
QuPath's classification ("names" joined by ": "), else the property "class", "label" or "category", else "object".
"imagePath", "imageHeight" and "imageWidth" are this package's: other programs pass over them.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from delineate import atomic, outline
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import _class_table as class_table
from delineate.formats import _coco_json as coco_json
from delineate.formats import _coco_write as coco_write
from delineate.formats import _json_outline as json_outline
from delineate.formats import _json_parts as json_parts
from delineate.formats import _pictures
from delineate.formats import _sizes as sizes
from delineate.image import SUFFIXES, read_size
from delineate.instances import Instances
from delineate.masks import Masks

KEEPS = frozenset(
    {"masks", "holes", "parts", "overlaps", "empty masks", "scores", "attributes", "instance order"}
    | {"class order", "empty pictures", "splits"}
)
"""What ``read(write(dataset))`` preserves."""
SUFFIX = ""

Transform: TypeAlias = tuple[float, float, float, float, float, float]
"""a, b, c, d, e, f: the pixel (x, y) lies at (a x + b y + c, d x + e y + f) of the map, as rasterio has it."""

_LARGEST = 1e9
_ENDINGS = (".geojson", ".json")

_log = logging.getLogger("delineate")


class _Geometry(msgspec.Struct):
    type: str
    coordinates: msgspec.Raw = msgspec.Raw(b"[]")


class _Feature(msgspec.Struct):
    type: str = "Feature"
    geometry: _Geometry | None = None
    properties: dict[str, Any] | None = None


def sniff(path: str | Path) -> bool:
    """Whether it is a JSON file with GeoJSON's features, or a folder with .geojson files, or in its folders.

    Args:
        path: Any file or folder.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return bool(json_parts.files(path, ".geojson"))
        if path.suffix.lower() not in _ENDINGS:
            return False
        keys = json_outline.values(path)
        if keys is not None:
            return keys.get("type") in (b'"FeatureCollection"', b'"Feature"')
        first = msgspec.json.decode(json_outline.first(path) or b"[]", type=list[dict[str, Any]])
        return bool(first[0].get("type") == "Feature")
    except (OSError, IndexError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def read(
    path: str | Path, *, size: tuple[int, int] | None = None, transform: Transform | None = None
) -> Dataset:
    """Read a GeoJSON file, or all .geojson files of a folder.

    Classes are those of classes.json in the folder, then others in the order of their names. Ids of pictures are 1, 2,
    ... in the order of the files. ``extras["attributes"]`` has the properties apart from the classification.

    The size of a picture is `size`, or what the file says, or that of the picture of its name beside the file, or else
    the least that all polygons fit into.

    Args:
        path: The file or folder.
        size: (height, width) pixels of every picture.
        transform: How pixels lie on the map, where coordinates are those of a map; None: they are pixels.

    Raises:
        FormatError: There is no such file, or it does not fit; the message names the feature.
        ValueError: The transform has no inverse.
    """
    path = Path(path)
    inverse = None if transform is None else np.linalg.inv(_matrix(transform)).astype(np.float64)
    files = [path] if path.is_file() else json_parts.files(path, ".geojson")
    root = path.parent if path.is_file() else path
    listed = class_table.read(root) if (root / class_table.NAME).is_file() else None
    if not files and listed is None:
        raise FormatError(path, "", "must be a GeoJSON file or a folder of .geojson files, got none.")
    classes = list(listed.classes) if listed is not None else []
    notices: Counter[str] = Counter()
    loaded = [_load(file, inverse, notices) for file in files]
    names = {label for _, features in loaded for label, _, _ in features}
    classes += sorted(names - set(classes))
    records = []
    for n, (file, (head, features)) in enumerate(zip(files, loaded, strict=True), 1):
        picture = _picture(file, head)
        shapes = [shape for _, shape, _ in features]
        found = _instances(file, features, shapes, size or _size(file, head, picture, shapes), classes)
        above = file.relative_to(root).parts[:-1]
        records.append(Record(picture, found.size, found, n, split=above[0] if above else None))
    for text, count in notices.items():
        _log.warning("%s: %d %s", path, count, text)
    return Dataset(tuple(records), tuple(classes))


def _matrix(transform: Transform) -> NDArray[np.float64]:
    matrix = np.array([*transform, 0, 0, 1], np.float64).reshape(3, 3)
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < np.finfo(float).tiny:
        raise ValueError(f"geojson: transform must be six numbers that can be inverted, got {transform}.")
    return matrix


_Shape: TypeAlias = list[outline.Polygon]
_Found: TypeAlias = tuple[str, _Shape, dict[str, Any]]


def _load(
    file: Path, inverse: NDArray[np.float64] | None, notices: Counter[str]
) -> tuple[dict[str, Any], list[_Found]]:
    """What a file says of its picture, and label, polygons and properties of each feature."""
    raw = coco_json.load(file, msgspec.Raw)
    head: dict[str, Any] = {}
    if bytes(raw).lstrip()[:1] == b"[":
        features = json_parts.decoded(file, "", raw, list[_Feature])
    else:
        keys = json_parts.decoded(file, "", raw, dict[str, msgspec.Raw])
        kinds: dict[str, Any] = {"imagePath": str | None, "imageHeight": int | None, "imageWidth": int | None}
        for key, kind in kinds.items():
            head[key] = json_parts.decoded(file, key, keys[key], kind) if key in keys else None
        if "features" in keys:
            features = json_parts.decoded(file, "features", keys["features"], list[_Feature])
        else:
            features = [json_parts.decoded(file, "", raw, _Feature)]
    found: list[_Found] = []
    for n, feature in enumerate(features):
        where = f"features[{n}]"
        if feature.type != "Feature":
            raise FormatError(file, where, f'type must be "Feature", got {feature.type[:40]!r}.')
        kind = None if feature.geometry is None else feature.geometry.type
        if kind not in (None, "Polygon", "MultiPolygon"):
            notices[f"features are a {str(kind)[:40]}, which has no area; they are left out"] += 1
            continue
        properties = dict(feature.properties or {})
        label = _label(properties)
        found.append((label, _polygons(file, where, feature.geometry, inverse), properties))
    return head, found


def _label(properties: dict[str, Any]) -> str:
    """The class; a classification is taken out of the properties."""
    given = properties.get("classification")
    if isinstance(given, Mapping):
        names = given.get("names")
        if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
            given = ": ".join(names)
        else:
            given = given.get("name")
    if isinstance(given, str):
        del properties["classification"]
        return given
    values = (properties.get(key) for key in ("class", "label", "category"))
    return next((value for value in values if isinstance(value, str)), "object")


def _polygons(
    file: Path, where: str, geometry: _Geometry | None, inverse: NDArray[np.float64] | None
) -> _Shape:
    if geometry is None:
        return []
    kind: Any = list[list[list[float]]] if geometry.type == "Polygon" else list[list[list[list[float]]]]
    parts = json_parts.decoded(file, f"{where}.geometry.coordinates", geometry.coordinates, kind)
    shape = []
    for part in [parts] if geometry.type == "Polygon" else parts:
        rings = [_ring(file, where, ring, inverse) for ring in part]
        if rings:
            shape.append(outline.Polygon(rings[0], tuple(rings[1:])))
    return shape


def _ring(
    file: Path, where: str, positions: Sequence[Sequence[float]], inverse: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    if min(map(len, positions), default=0) < 2:
        raise FormatError(file, where, "positions must be two numbers or more, got fewer.")
    points = np.array([position[:2] for position in positions], np.float64)
    if (points[0] == points[-1]).all():
        points = points[:-1]
    if len(points) < 3:
        raise FormatError(file, where, f"ring must have 3 corners or more, got {len(points)}.")
    if inverse is not None:
        points = points @ inverse[:2, :2].T + inverse[:2, 2]
    if not (np.abs(points) <= _LARGEST).all():
        text = f"coordinates must be within {_LARGEST:g} pixels, got larger ones. Check the transform."
        raise FormatError(file, where, text)
    return points


def _picture(file: Path, head: Mapping[str, Any]) -> Path | None:
    name = head.get("imagePath")
    if name:
        return _pictures.beside(file.parent, name)
    for suffix in SUFFIXES:
        for one in (suffix, suffix.upper()):
            if file.with_suffix(one).is_file():
                return file.with_suffix(one)
    return None


def _size(
    file: Path, head: Mapping[str, Any], picture: Path | None, shapes: Sequence[_Shape]
) -> tuple[int, int]:
    sides: tuple[Any, Any] = head.get("imageHeight"), head.get("imageWidth")
    if None in sides and picture is not None and picture.is_file():
        return read_size(picture)
    if None in sides:
        corners = [part.exterior.max(axis=0) for shape in shapes for part in shape]
        width, height = np.max(corners, axis=0).tolist() if corners else (1, 1)
        sides = max(1, math.ceil(height)), max(1, math.ceil(width))
    return sizes.checked(file, "", *sides, "Give size=(height, width), or the transform of a map.")


def _instances(
    file: Path,
    features: Sequence[_Found],
    shapes: Sequence[_Shape],
    size: tuple[int, int],
    classes: Sequence[str],
) -> Instances:
    numbers = {name: n for n, name in enumerate(classes)}
    labels = np.array([numbers[label] for label, _, _ in features], np.int64)
    scores: list[Any] = [properties.get("score") for _, _, properties in features]
    scored = bool(scores) and all(
        isinstance(score, int | float) and not isinstance(score, bool) and abs(score) < _LARGEST
        for score in scores
    )
    if scored:
        for _, _, properties in features:
            del properties["score"]
    texts = [json.dumps(properties, ensure_ascii=False) for _, _, properties in features]
    try:
        made = Instances.of(outline.fill(shapes, size), labels, scores if scored else None)
    except ValueError as error:
        raise FormatError(file, "features", str(error)) from error
    return made.replace(extras={"attributes": np.array(texts, np.str_)}) if texts else made


def write(
    dataset: Dataset,
    path: str | Path,
    *,
    transform: Transform | None = None,
    pictures: _pictures.Placing = "link",
) -> None:
    """Write a .geojson file for each picture and classes.json, in folders for the splits; all appear in one step.

    Polygons run along the edges of the pixels, with holes: they are exact.

    Args:
        dataset: What to write.
        path: The folder; it must be new or empty.
        transform: How pixels lie on the map; None: coordinates are pixels, as QuPath has them.
        pictures: "link" and "copy" put the pictures beside their files; "leave" points to where they are.

    Raises:
        FormatError: A picture is missing, or a split cannot name a folder.
        FileExistsError: There is something in the folder.
        ValueError: The transform has no inverse.
    """
    path = Path(path)
    matrix = None if transform is None else _matrix(transform)
    with atomic.writing_folder(path) as root:
        for record, name in zip(dataset, _pictures.names(dataset, by_split=True), strict=True):
            folder = root if record.split is None else root / _pictures.folder_name(path, record.split)
            folder.mkdir(exist_ok=True)
            there = folder / name
            if record.path is not None and pictures == "leave":
                there = record.path
            elif record.path is not None:
                _pictures.place(record.path, there, pictures)
            where = Path(os.path.relpath(there, folder)).as_posix()
            head = {"imagePath": where, "imageHeight": record.size[0], "imageWidth": record.size[1]}
            with (folder / name).with_suffix(".geojson").open("wb") as file:
                start = coco_write.encode({"type": "FeatureCollection", **head})
                file.write(start[:-1] + b',"features":[\n')
                file.writelines(coco_write.lines(_features(record.instances, dataset.classes, matrix)))
                file.write(b"]}\n")
        class_table.write(root, dataset.classes, {}, always=True)


def _features(
    found: Instances, classes: Sequence[str], matrix: NDArray[np.float64] | None
) -> Iterator[dict[str, Any]]:
    masks = Masks.from_boxes(found.boxes, found.size) if found.masks is None else found.masks
    scores = None if found.scores is None else coco_write.shortest(found.scores)
    texts = found.extras.get("attributes")
    for n, parts in enumerate(outline.polygons(masks)):
        if matrix is not None:
            parts = [_moved(part, matrix) for part in parts]
        coordinates = [part.coordinates() for part in parts]
        geometry: dict[str, Any] | None = None
        if len(parts) == 1:
            geometry = {"type": "Polygon", "coordinates": coordinates[0]}
        elif parts:
            geometry = {"type": "MultiPolygon", "coordinates": coordinates}
        properties: dict[str, Any] = {} if texts is None else json.loads(str(texts[n]))
        properties["classification"] = {"name": classes[found.labels[n]]}
        if scores is not None:
            properties["score"] = scores[n]
        yield {"type": "Feature", "geometry": geometry, "properties": properties}


def _moved(part: outline.Polygon, matrix: NDArray[np.float64]) -> outline.Polygon:
    turn = int(np.sign(np.linalg.det(matrix)))  # where north is up, rings must run the other way round
    exterior, *holes = ((ring @ matrix[:2, :2].T + matrix[:2, 2])[::turn] for ring in part.rings)
    return outline.Polygon(exterior, tuple(holes))
