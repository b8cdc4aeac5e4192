"""LabelMe, versions 4 to 7: one JSON file for each picture, beside it (https://github.com/wkentaro/labelme).

::

    {"version": "5.5.0", "flags": {}, "imagePath": "a.jpg", "imageData": null, "imageHeight": 480, "imageWidth": 640,
     "shapes": [
      {"label": "cell", "shape_type": "polygon", "points": [[1, 1], [4, 1], [4, 3.5]], "group_id": null, "flags": {}},
      {"label": "cell", "shape_type": "mask", "points": [[0, 0], [9, 4]], "group_id": 3, "mask": "iVBORw0K..."}]}

Polygons, rectangles (two corners), circles (centre and a point of the circle), turned rectangles (their corners) and
masks (a PNG between the first and the last pixel) are objects; points and lines have no area and are left out with a
notice, as are shapes labelled "__ignore__". Shapes of one label and one group_id are the parts of one object. A folder
of such files is a dataset, its folders are splits, and "labels.txt" in it lists the classes.

LabelMe carries keys that it does not know from loading to saving. Objects are written with "score", "iscrowd",
"track_id", "annotation_id", "area", "group", "z_order" and "bbox" where there is something to say; pictures with
"image_id", "video" and "frame".
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from delineate import algebra, atomic
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import _coco_json as coco_json
from delineate.formats import _coco_write as coco_write
from delineate.formats import _json_parts as json_parts
from delineate.formats import _labelme_shapes as labelme_shapes
from delineate.formats import _pictures
from delineate.formats import _sizes as sizes
from delineate.image import read_size
from delineate.instances import Instances

KEEPS = frozenset(
    {"masks", "holes", "parts", "overlaps", "empty masks", "boxes", "scores", "crowd", "ids", "area"}
    | {"annotation_id", "group", "z_order", "attributes", "instance order", "class order", "empty pictures"}
    | {"picture ids", "picture attributes", "videos", "splits"}
)
"""What ``read(write(dataset))`` preserves."""
SUFFIX = ""

_LISTED = "labels.txt"  # the classes, in a folder of files
_IGNORED, _BACKGROUND = "__ignore__", "_background_"
_PICTURE_KEYS = {"version", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth"}
_OWN_PICTURE_KEYS = {"image_id", "video", "frame"}
_SHAPE_KEYS = {"label", "points", "shape_type", "group_id", "mask"}
_NUMBERS: dict[str, Any] = {"annotation_id": np.int64, "area": np.float64, "z_order": np.int64}

_log = logging.getLogger("delineate")


def sniff(path: str | Path) -> bool:
    """Whether it is a JSON object with "shapes" and "imagePath", or a folder whose first JSON file is one.

    Args:
        path: Any file or folder.
    """
    keys = json_parts.keys(path)
    return keys.get("shapes", b"").startswith(b"[") and "imagePath" in keys


def read(path: str | Path) -> Dataset:
    """Read a LabelMe file, or all of a folder; JSON files without "shapes" are left out with a notice.

    Classes are those of "labels.txt" in the folder, then the others in the order of their names. Ids of pictures
    are 1, 2, ... in the order of the files, unless each has an "image_id" of its own. ``extras["group"]`` is the
    group_id where objects of several labels share it. What an object has besides is in ``extras["attributes"]``,
    a description for instance.

    Args:
        path: The file or folder.

    Raises:
        FormatError: There is no such file, or it does not fit; the message names the shape.
    """
    root, files = json_parts.chosen(path, "LabelMe file", _LISTED)
    notices: Counter[str] = Counter()
    found = [one for file in files if (one := _load(file, notices, alone=file == Path(path))) is not None]
    classes = _classes(root / _LISTED)
    labels = {shape.label for _, shapes, _ in found for shape in shapes}
    classes += sorted(labels - set(classes))
    numbers = {name: n for n, name in enumerate(classes)}
    ids: list[Any] = [keys.get("image_id") for _, _, keys in found]
    own = len(set(map(str, ids))) == len(ids) and all(_fits(id_) for id_ in ids)
    records = []
    for n, (file, shapes, keys) in enumerate(found):
        above = file.relative_to(root).parts[:-1]
        id_ = ids[n] if own else n + 1
        records.append(_record(file, shapes, keys, numbers, id_, above[0] if above else None))
    for text, count in notices.items():
        _log.warning("%s: %d %s", path, count, text)
    return Dataset(tuple(records), tuple(classes))


def _fits(id_: object) -> bool:
    return isinstance(id_, str | int) and not isinstance(id_, bool) and id_ != ""


def _classes(path: Path) -> list[str]:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(path, "", f"list of labels must be readable UTF-8 text, got: {error}.") from error
    names = [line for line in lines if line.strip() and line not in (_IGNORED, _BACKGROUND)]
    return list(dict.fromkeys(names))


_Loaded = tuple[Path, list[labelme_shapes.Shape], dict[str, Any]]


def _load(file: Path, notices: Counter[str], *, alone: bool) -> _Loaded | None:
    """The shapes with an area of one file, and its other keys; "size" is the picture's, "path" where it is."""
    raws = coco_json.load(file, dict[str, msgspec.Raw])
    if "shapes" not in raws:
        if alone:
            raise FormatError(file, "", 'file must have the key "shapes", got a JSON object without it.')
        notices['JSON files have no "shapes"; they are left out'] += 1
        return None
    shapes = []
    for n, raw in enumerate(json_parts.decoded(file, "shapes", raws["shapes"], list[dict[str, msgspec.Raw]])):
        shape = labelme_shapes.parse(file, f"shapes[{n}]", raw)
        if shape.kind in labelme_shapes.LINES:
            notices["points and lines have no area; they are left out"] += 1
        elif shape.label == _IGNORED:
            notices[f'shapes are labelled "{_IGNORED}"; they are left out'] += 1
        else:
            shapes.append(shape)
    keys = {
        key: json_parts.decoded(file, key, raw, Any) for key, raw in raws.items() if key not in _PICTURE_KEYS
    }
    picture, keys["size"] = _picture(file, raws)
    return file, shapes, keys | {"path": picture}


def _picture(file: Path, raws: Mapping[str, msgspec.Raw]) -> tuple[Path | None, tuple[int, int]]:
    """The picture's file and its size: as said, or else that of the picture inside or beside the file."""
    kinds: dict[str, Any] = {"imagePath": str | None, "imageHeight": int | None, "imageWidth": int | None}
    name, height, width = (
        json_parts.decoded(file, key, raws[key], kind) if key in raws else None for key, kind in kinds.items()
    )
    if name is not None and "\0" in str(name):
        raise FormatError(file, "imagePath", "must be the name of a file, got one with a NUL.")
    path = None if not name else Path(os.path.normpath(file.parent / str(name).replace("\\", "/")))
    content = raws.get("imageData")
    if height is None and width is None and content is not None and bytes(content) != b"null":
        try:
            text: str = json_parts.decoded(file, "imageData", content, str)
            return path, read_size(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError) as error:
            raise FormatError(file, "imageData", f"must be a picture in base64, got: {error}.") from error
        except FormatError as error:
            raise FormatError(file, "imageData", error.message) from error
    if height is None and width is None and path is not None:
        return path, read_size(path)
    return path, sizes.checked(file, "imageHeight, imageWidth", height, width)


def _record(
    file: Path,
    shapes: Sequence[labelme_shapes.Shape],
    keys: dict[str, Any],
    numbers: Mapping[str, int],
    id_: int | str,
    split: str | None,
) -> Record:
    path, size = keys.pop("path"), keys.pop("size")
    if not keys.get("flags"):
        keys.pop("flags", None)
    video, frame = keys.get("video"), keys.get("frame")
    if _fits(video) and isinstance(frame, int) and not isinstance(frame, bool) and frame >= 0:
        del keys["video"], keys["frame"]
    else:
        video = frame = None
    if keys.get("image_id") == id_:
        del keys["image_id"]
    try:
        instances = _instances(file, shapes, numbers, size)
    except ValueError as error:
        raise FormatError(file, "shapes", str(error)) from error
    return Record(path, size, instances, id_, keys, video, frame, split)


def _instances(
    file: Path, shapes: Sequence[labelme_shapes.Shape], numbers: Mapping[str, int], size: tuple[int, int]
) -> Instances:
    """The objects of one picture, in the order of their first shapes."""
    objects: dict[tuple[str, int, int], int] = {}
    owners = []
    for n, shape in enumerate(shapes):
        key = (shape.label, 0, n) if shape.group is None else (shape.label, 1, shape.group)
        owners.append(objects.setdefault(key, len(objects)))
    parts = labelme_shapes.fill(file, shapes, size)
    masks = algebra.merge(parts, np.array(owners, np.int64), len(objects))
    _, starts, counts = np.unique(np.array(owners, np.int64), return_index=True, return_counts=True)
    first = [shapes[n] for n in starts.tolist()]
    boxes = masks.boxes.astype(np.float64)
    for n, shape in enumerate(first):
        if shape.kind == "rectangle" and counts[n] == 1:
            boxes[n] = np.concatenate([shape.points.min(axis=0), shape.points.max(axis=0)])
    labels = np.array([numbers[shape.label] for shape in first], np.int64)
    columns = _columns(first, boxes)
    return Instances(size, columns.pop("bbox").astype(np.float32), labels, masks=masks, **columns)


def _columns(first: Sequence[labelme_shapes.Shape], boxes: NDArray[np.float64]) -> dict[str, Any]:
    """What the other keys of the objects' first shapes say, as the fields of `Instances`."""
    more = [dict(shape.more) for shape in first]
    for entry in more:
        for key in ("description", "flags"):
            if not entry.get(key):
                entry.pop(key, None)
    extras: dict[str, Any] = {}
    for key, kind in _NUMBERS.items():
        values = _taken(more, key, kind)
        if values is not None:
            extras[key] = values
    shared = Counter(number for _, number in {(shape.label, shape.group) for shape in first})
    groups = [
        n if n is not None and n >= 0 and shared[n] > 1 else -1 for n in (shape.group for shape in first)
    ]
    given = _taken(more, "group", np.int64)
    if given is not None or max(groups, default=-1) >= 0:
        extras["group"] = np.array(groups, np.int64) if given is None else given
    crowd = [entry.pop("iscrowd", 0) in (1, True) for entry in more]
    for n, entry in enumerate(more):
        box = entry.get("bbox")
        if isinstance(box, list) and len(box) == 4 and all(_number(one, np.float32) for one in box):
            corners = [box[0], box[1], box[0] + box[2], box[1] + box[3]]
            if min(box[2:]) >= 0 and all(_number(one, np.float32) for one in corners):
                boxes[n] = corners
                del entry["bbox"]
    scores, ids = _taken(more, "score", np.float32), _taken(more, "track_id", np.int64)
    texts = [json.dumps(entry, ensure_ascii=False) for entry in more]
    extras["attributes"] = np.array(texts, np.str_)
    return {
        "bbox": boxes,
        "scores": scores,
        "ids": ids,
        "crowd": crowd if any(crowd) else None,
        "extras": extras,
    }


def _taken(
    more: Sequence[dict[str, Any]], key: str, kind: type[np.int64 | np.floating[Any]]
) -> NDArray[Any] | None:
    """A key that all objects have with a fitting number, taken out of their keys; else it stays there."""
    values = [entry.get(key) for entry in more]
    if not values or not all(_number(value, kind) for value in values):
        return None
    for entry in more:
        del entry[key]
    return np.array(values, kind)


def _number(value: object, kind: type[np.int64 | np.floating[Any]]) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if kind is np.int64:
        return isinstance(value, int) and abs(value) < 2**63
    return abs(value) <= float(np.finfo(kind).max)  # type: ignore[type-var]


def write(dataset: Dataset, path: str | Path, *, pictures: _pictures.Placing = "link") -> None:
    """Write a JSON file for each picture and labels.txt, in folders for the splits; all appear in one step.

    Parts are polygons along the edges of the pixels, joined by a group_id; objects with holes or without pixels
    are masks; where there are no masks, boxes are rectangles.

    Args:
        dataset: What to write.
        path: The folder; it must be new or empty.
        pictures: "link" and "copy" put the pictures beside their files; "leave" points to where they are.

    Raises:
        FormatError: A picture is missing, a split cannot name a folder, or a class has a line break in its name.
        FileExistsError: There is something in the folder.
    """
    path = Path(path)
    for name in dataset.classes:
        if len(name.splitlines()) != 1 or not name.strip() or name in (_IGNORED, _BACKGROUND):
            raise FormatError(
                path, "", f"class must have a name of one line in labels.txt, got {name!r}. Rename it."
            )
    with atomic.writing_folder(path) as root:
        for record, name in zip(dataset, _pictures.names(dataset, by_split=True), strict=True):
            folder = root if record.split is None else root / _pictures.folder_name(path, record.split)
            folder.mkdir(exist_ok=True)
            there = record.path
            if there is not None and pictures != "leave":
                _pictures.place(there, folder / name, pictures)
                there = folder / name
            content = _content(record, dataset.classes)
            content["imagePath"] = None if there is None else Path(os.path.relpath(there, folder)).as_posix()
            (folder / name).with_suffix(".json").write_bytes(
                msgspec.json.format(coco_write.encode(content), indent=2)
            )
        (root / _LISTED).write_text("\n".join([_IGNORED, _BACKGROUND, *dataset.classes]) + "\n", "utf-8")


def _content(record: Record, classes: Sequence[str]) -> dict[str, Any]:
    reserved = _PICTURE_KEYS | _OWN_PICTURE_KEYS
    more = {key: value for key, value in record.attributes.items() if key not in reserved}
    own: dict[str, Any] = {"image_id": record.id}
    if record.video is not None:
        own |= {"video": record.video, "frame": record.frame}
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": _shapes(record.instances, classes),
        "imagePath": None,
        "imageData": None,
        "imageHeight": record.size[0],
        "imageWidth": record.size[1],
        **more,
        **own,
    }


def _shapes(found: Instances, classes: Sequence[str]) -> list[dict[str, Any]]:
    if found.masks is None:
        drawn, unlike = labelme_shapes.rectangles(found.boxes), np.zeros(len(found), bool)
    else:
        drawn, unlike = labelme_shapes.outlines(found.masks), (found.boxes != found.masks.boxes).any(axis=1)
    boxes = coco_write.xywh(found.boxes)
    scores = None if found.scores is None else coco_write.shortest(found.scores)
    shapes = []
    for n, parts in enumerate(drawn):
        own: dict[str, Any] = {}
        if "attributes" in found.extras:
            given = json.loads(str(found.extras["attributes"][n]))
            own |= {key: value for key, value in given.items() if key not in _SHAPE_KEYS}
        for key in (*_NUMBERS, "group"):
            if key in found.extras:
                own[key] = found.extras[key][n].item()
        if scores is not None:
            own["score"] = scores[n]
        if found.ids is not None:
            own["track_id"] = int(found.ids[n])
        if found.crowd is not None and found.crowd[n]:
            own["iscrowd"] = 1
        if unlike[n]:
            own["bbox"] = boxes[n]
        common = {"label": classes[found.labels[n]], "group_id": n if len(parts) > 1 else None}
        for k, part in enumerate(parts):
            shapes.append({**common, **part, "description": "", "flags": {}, **(own if k == 0 else {})})
    return shapes
