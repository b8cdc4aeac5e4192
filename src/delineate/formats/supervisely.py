"""Supervisely's projects of pictures: a JSON file for each picture, and the classes in meta.json.

As https://docs.supervisely.com/data-organization/00_ann_format_navi describes them::

    meta.json               {"classes": [{"title": "cell", "shape": "bitmap", "color": "#FF0000"}], "tags": [...]}
    train/img/a.jpg         a folder for each data set of the project: a split; "ds0" is none
    train/ann/a.jpg.json    {"size": {"height": 800, "width": 1067}, "tags": [], "objects": [
      {"id": 7, "classTitle": "cell", "geometryType": "bitmap", "tags": [{"name": "sure", "value": 1}],
       "bitmap": {"data": "eJwB...", "origin": [44, 93]}},
      {"classTitle": "cell", "geometryType": "polygon",
       "points": {"exterior": [[730, 2104], [2479, 402], [3746, 1646]], "interior": [[[1907, 1255], ...]]}}]}

The data of a bitmap is a PNG, compressed by zlib, as base64; the origin (x, y) is its upper left pixel. Objects are
written as bitmaps, which are exact. Rectangles are read as well; lines, points, graphs and cuboids have no area.
"""

from __future__ import annotations

import base64
import json
import logging
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from delineate import atomic, codecs, outline
from delineate._picture_files import opened
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import _coco_json as coco_json
from delineate.formats import _coco_write as coco_write
from delineate.formats import _pictures
from delineate.formats import _sizes as sizes
from delineate.formats._json_parts import decoded
from delineate.instances import Instances
from delineate.masks import Masks

KEEPS = frozenset(
    {"masks", "holes", "parts", "overlaps", "annotation_id", "instance order", "class order"}
    | {"empty pictures", "splits"}
)
"""What ``read(write(dataset))`` preserves. Attributes of objects that are numbers or texts are tags."""
SUFFIX = ""

META, ALONE = "meta.json", "ds0"
"""The file of the classes, and the data set of pictures that belong to no split."""

_LARGEST = 1e7  # pixels from the corner
_log = logging.getLogger("delineate")


class _Class(msgspec.Struct):
    title: str


class _Meta(msgspec.Struct):
    classes: list[_Class]


class _Tag(msgspec.Struct):
    name: str
    value: str | int | float | None = None


class _Points(msgspec.Struct):
    exterior: list[tuple[float, float]]
    interior: list[list[tuple[float, float]]] = []


class _Bitmap(msgspec.Struct):
    data: str
    origin: tuple[int, int]


class _Object(msgspec.Struct, rename="camel"):
    class_title: str
    geometry_type: str | None = None
    id: int | None = None
    tags: list[_Tag] = []
    points: msgspec.Raw = msgspec.Raw(b"null")
    bitmap: _Bitmap | None = None

    @property
    def kind(self) -> str:
        """Old files do not say the type."""
        return self.geometry_type or ("bitmap" if self.bitmap is not None else "polygon")


class _Size(msgspec.Struct):
    height: int
    width: int


class _Content(msgspec.Struct):
    size: _Size
    objects: list[_Object]


def sniff(path: str | Path) -> bool:
    """Whether it is a folder with meta.json and, in a folder of it, ann/.

    Args:
        path: Any file or folder.
    """
    path = Path(path)
    try:
        return (path / META).is_file() and any(item.is_dir() for item in path.glob("*/ann"))
    except OSError:
        return False


def read(path: str | Path) -> Dataset:
    """Read all data sets of a project; ids of pictures are 1, 2, ... in the order of their names.

    ``extras["attributes"]`` has the tags of objects, ``Record.attributes`` nothing.

    Args:
        path: The folder of the project.

    Raises:
        FormatError: There is no such folder, or a file does not fit; the message names the object.
    """
    path = Path(path)
    if not (path / META).is_file():
        raise FormatError(path, "", f"must be a folder with {META}, got none.")
    classes = tuple(one.title for one in coco_json.load(path / META, _Meta).classes)
    records: list[Record] = []
    notices: Counter[str] = Counter()
    for folder in sorted(item for item in path.glob("*/ann") if item.is_dir()):
        for file in sorted(folder.glob("*.json")):
            content = coco_json.load(file, _Content)
            size = sizes.checked(file, "size", content.size.height, content.size.width)
            found = _instances(file, content.objects, size, classes, notices)
            picture = folder.parent / "img" / file.stem
            split = None if folder.parent.name == ALONE else folder.parent.name
            records.append(Record(picture, size, found, len(records) + 1, split=split))
    for text, count in notices.items():
        _log.warning("%s: %d %s", path, count, text)
    return Dataset(tuple(records), classes)


def _instances(
    file: Path,
    objects: Sequence[_Object],
    size: tuple[int, int],
    classes: Sequence[str],
    notices: Counter[str],
) -> Instances:
    numbers = {name: n for n, name in enumerate(classes)}
    shapes, kept = [], []
    for n, one in enumerate(objects):
        where = f"objects[{n}]"
        shape = _mask(file, where, one, size)
        if shape is None:
            notices[f"objects are a {one.kind[:40]}, which has no area; they are left out"] += 1
            continue
        if one.class_title not in numbers:
            text = f"classTitle must be a class of {META}, got {one.class_title[:60]!r}."
            raise FormatError(file, where, text)
        shapes.append(shape)
        kept.append(one)
    masks = Masks.concat([Masks.empty(size), *shapes])
    extras: dict[str, Any] = {}
    if any(one.tags for one in kept):
        said = [{tag.name: tag.value for tag in one.tags} for one in kept]
        extras["attributes"] = np.array([json.dumps(one, ensure_ascii=False) for one in said], np.str_)
    ids = [one.id for one in kept]
    if kept and all(id_ is not None and abs(id_) < 2**63 for id_ in ids):
        extras["annotation_id"] = np.array(ids, np.int64)
    return Instances.of(masks, [numbers[one.class_title] for one in kept], extras=extras)


def _mask(file: Path, where: str, one: _Object, size: tuple[int, int]) -> Masks | None:
    """The mask of an object; None for what has no area."""
    if one.kind == "bitmap":
        if one.bitmap is None:
            raise FormatError(file, where, "bitmap must be there, got none.")
        return _pasted(file, where, one.bitmap, size)
    if one.kind not in ("polygon", "rectangle"):
        return None
    points = decoded(file, f"{where}.points", one.points, _Points)
    rings = [np.array(ring, np.float64).reshape(-1, 2) for ring in (points.exterior, *points.interior)]
    if not all((np.abs(ring) <= _LARGEST).all() for ring in rings):
        raise FormatError(file, where, f"points must be within {_LARGEST:g} pixels, got larger ones.")
    if one.kind == "rectangle":
        if len(rings[0]) != 2:
            raise FormatError(file, where, f"rectangle must have 2 points, got {len(rings[0])}.")
        (x0, y0), (x1, y1) = rings[0].min(axis=0), rings[0].max(axis=0)
        rings = [np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])]
    for ring in rings:
        if len(ring) < 3:
            raise FormatError(file, where, f"polygon must have 3 points or more, got {len(ring)}.")
    return outline.fill([[outline.Polygon(rings[0], tuple(rings[1:]))]], size)


def _pasted(file: Path, where: str, bitmap: _Bitmap, size: tuple[int, int]) -> Masks:
    """The picture of a bitmap at its place."""
    x, y = bitmap.origin
    if max(abs(x), abs(y)) > _LARGEST:
        raise FormatError(file, where, f"origin must be within {_LARGEST:g} pixels, got {x}, {y}.")
    try:
        packed = base64.b64decode(bitmap.data, validate=True)
        inflate = zlib.decompressobj()
        content = inflate.decompress(
            packed, size[0] * size[1] + 65536
        )  # no bitmap is larger than its picture
        if not inflate.eof:
            raise FormatError(file, where, "data must be whole, and not larger than the picture.")
        with opened(content) as picture:
            if picture.size[0] * picture.size[1] > size[0] * size[1]:
                text = f"bitmap must not be larger than the picture {size}, got {picture.size}."
                raise FormatError(file, where, text)
            pixels = picture.decode()
    except (zlib.error, ValueError) as error:
        text = f"data must be base64 of a PNG that zlib compressed, got: {str(error).rstrip('.')}."
        raise FormatError(file, where, text) from error
    except FormatError as error:
        raise FormatError(file, where, error.message) from error
    colours = pixels.reshape(*pixels.shape[:2], -1)
    if colours.shape[2] in (2, 4):  # what is not transparent
        colours = colours[..., -1:]
    return Masks.from_dense((colours != 0).any(axis=2)[None]).translate(y, x, size)


def write(dataset: Dataset, path: str | Path, *, pictures: _pictures.Placing = "link") -> None:
    """Write meta.json, and img/ and ann/ for each split; all appear in one step.

    Objects without pixels are left out, as Supervisely knows none; the log says how many. Objects without masks are
    rectangles. Attributes that are numbers or texts become tags.

    Args:
        dataset: What to write.
        path: The folder; it must be new or empty.
        pictures: "link" and "copy" put the pictures under img/; "leave" leaves that to you.

    Raises:
        FormatError: A picture is missing, a split cannot name a folder, or two classes have one name.
        FileExistsError: There is something in the folder.
    """
    path = Path(path)
    if len(set(dataset.classes)) < len(dataset.classes):
        raise FormatError(path, "", "classes must have different names. Merge them with a taxonomy.")
    empty, tags = 0, dict[str, str]()
    with atomic.writing_folder(path) as root:
        (root / ALONE / "ann").mkdir(parents=True)
        for record, name in zip(dataset, _pictures.names(dataset, by_split=True), strict=True):
            split = ALONE if record.split is None else _pictures.folder_name(path, record.split, ALONE)
            for kind in ("img", "ann"):
                (root / split / kind).mkdir(parents=True, exist_ok=True)
            if record.path is not None:
                _pictures.place(record.path, root / split / "img" / name, pictures)
            objects = list(_objects(record.instances, dataset.classes, tags))
            empty += record.count - len(objects)
            size = {"height": record.size[0], "width": record.size[1]}
            content = {"description": "", "tags": [], "size": size, "objects": objects}
            (root / split / "ann" / f"{name}.json").write_bytes(coco_write.encode(content))
        boxed = any(record.count and record.instances.masks is None for record in dataset)
        shape = "any" if boxed else "bitmap"
        known = [
            {"title": one, "shape": shape, "color": f"#{(n * 2654435761) % 2**24:06X}"}
            for n, one in enumerate(dataset.classes, 1)
        ]
        meta = {
            "classes": known,
            "tags": [{"name": k, "value_type": v, "color": "#808080"} for k, v in tags.items()],
        }
        (root / META).write_bytes(msgspec.json.format(coco_write.encode(meta), indent=1) + b"\n")
    if empty:
        _log.warning("%s: %d objects have no pixels; they are left out", path, empty)


def _objects(found: Instances, classes: Sequence[str], tags: dict[str, str]) -> Iterator[dict[str, Any]]:
    texts = found.extras.get("attributes")
    ids = found.extras.get("annotation_id")
    for n, label in enumerate(found.labels.tolist()):
        shape = _shape(found, n)
        if shape is None:
            continue
        said = {} if texts is None else json.loads(str(texts[n]))
        entry: dict[str, Any] = {} if ids is None else {"id": int(ids[n])}
        yield entry | {"classTitle": classes[label], "tags": list(_tags(said, tags)), **shape}


def _tags(said: Mapping[str, object], tags: dict[str, str]) -> Iterator[dict[str, object]]:
    for name, value in said.items():
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            kind = "any_string" if isinstance(value, str) else "any_number"
            if tags.setdefault(name, kind) == kind:
                yield {"name": name, "value": value}


def _shape(found: Instances, n: int) -> dict[str, Any] | None:
    """The geometry of an object; None without pixels."""
    if found.masks is None:
        points = found.boxes[n].astype(np.float64).reshape(2, 2).tolist()
        return {"geometryType": "rectangle", "points": {"exterior": points, "interior": []}}
    mask = found.masks[[n]]
    if not mask.areas[0]:
        return None
    x0, y0, x1, y1 = mask.boxes[0].astype(int).tolist()
    content = codecs.to_png(mask.crop_to(y0, x0, y1 - y0, x1 - x0))[0]
    data = base64.b64encode(zlib.compress(content)).decode()
    return {"geometryType": "bitmap", "bitmap": {"data": data, "origin": [x0, y0]}}
