"""Segment Anything's SA-1B: one JSON file for each picture, beside it (https://ai.meta.com/datasets/segment-anything).

::

    {"image": {"image_id": 1, "width": 1500, "height": 2250, "file_name": "sa_1.jpg"},
     "annotations": [
      {"id": 5, "segmentation": {"size": [2250, 1500], "counts": "..."}, "bbox": [3, 1, 40, 20], "area": 411,
       "predicted_iou": 0.97, "stability_score": 0.98, "crop_box": [0, 0, 1500, 2250], "point_coords": [[4, 5]]}]}

Objects have no class: all are "object", unless `classes.json` in the folder says which is of which.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from delineate import atomic
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import _class_table as class_table
from delineate.formats import _coco_json as coco_json
from delineate.formats import _coco_write as coco_write
from delineate.formats import _json_parts as json_parts
from delineate.formats import _pictures
from delineate.formats import _sizes as sizes
from delineate.instances import Instances
from delineate.masks import Masks

KEEPS = frozenset(
    {"masks", "holes", "parts", "overlaps", "empty masks", "boxes", "area", "annotation_id", "attributes"}
    | {"instance order", "class order", "empty pictures", "picture ids", "picture attributes", "splits"}
)
"""What ``read(write(dataset))`` preserves."""
SUFFIX = ""

_OBJECT_KEYS = frozenset({"id", "segmentation", "bbox", "area"})
_PICTURE_KEYS = frozenset({"image_id", "width", "height", "file_name"})


class _Object(msgspec.Struct):
    segmentation: coco_json.Rle
    id: int | None = None
    bbox: tuple[float, float, float, float] | None = None
    area: float | None = None


class _Picture(msgspec.Struct):
    width: int
    height: int
    file_name: str
    image_id: int | str | None = None


class _Content(msgspec.Struct):
    image: dict[str, Any]
    annotations: list[dict[str, Any]]


def sniff(path: str | Path) -> bool:
    """Whether it is a JSON object with "image" and "annotations", or a folder whose first JSON file is one.

    Args:
        path: Any file or folder.
    """
    keys = json_parts.keys(path)
    return [keys.get(name, b"")[:1] for name in ("image", "annotations")] == [b"{", b"["]


def read(path: str | Path) -> Dataset:
    """Read one file, or all of a folder; folders in it are splits.

    ``extras["attributes"]`` has the predicted IoU, the stability score and whatever else an object has. Ids of pictures
    are theirs if all have different ones, else 1, 2, ... in the order of the files.

    Args:
        path: The file or folder.

    Raises:
        FormatError: There is no such file, or it does not fit; the message names the annotation.
    """
    root, files = json_parts.chosen(path, "JSON file of SA-1B")
    table = class_table.read(root)
    records = [_record(file, root, table) for file in files]
    ids = [record.id for record in records]
    if len(set(ids)) < len(ids) or "" in ids:
        records = [record.replace(id=n) for n, record in enumerate(records, 1)]
    return Dataset(tuple(records), table.classes)


def _record(file: Path, root: Path, table: class_table.ClassTable) -> Record:
    content = coco_json.load(file, _Content)
    head = _converted(file, "image", content.image, _Picture)
    size = sizes.checked(file, "image", head.height, head.width)
    objects = [
        _converted(file, f"annotations[{n}]", one, _Object) for n, one in enumerate(content.annotations)
    ]
    place = file.relative_to(root).with_suffix("").as_posix()
    numbers = [n if one.id is None else one.id for n, one in enumerate(objects)]
    try:
        masks = Masks.from_rle([dict(one.segmentation) for one in objects], size)
        found = _instances(masks, objects, content.annotations, numbers)
        found = found.replace(labels=table.labels(place, list(map(str, numbers))))
    except (ValueError, OverflowError) as error:
        raise FormatError(file, "annotations", f"{str(error).rstrip('.')}.") from error
    more = {key: value for key, value in content.image.items() if key not in _PICTURE_KEYS}
    above = file.relative_to(root).parts[:-1]
    id_ = file.stem if head.image_id is None else head.image_id
    picture = _pictures.beside(file.parent, head.file_name)
    return Record(
        picture, size, found, file.stem if id_ == "" else id_, more, split=above[0] if above else None
    )


def _converted(file: Path, where: str, value: object, kind: type[Any]) -> Any:  # noqa: ANN401 - as the type says
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise FormatError(file, where, f"{error}.") from error


def _instances(
    masks: Masks, objects: Sequence[_Object], given: Sequence[Mapping[str, Any]], numbers: Sequence[int]
) -> Instances:
    boxes = masks.boxes.astype(np.float64)
    for n, one in enumerate(objects):
        if one.bbox is not None:
            x, y, width, height = one.bbox
            boxes[n] = x, y, x + width, y + height
    texts = [{key: value for key, value in one.items() if key not in _OBJECT_KEYS} for one in given]
    extras: dict[str, Any] = {
        "annotation_id": np.array(numbers, np.int64),
        "attributes": np.array([json.dumps(one, ensure_ascii=False) for one in texts], np.str_),
    }
    areas = [one.area for one in objects]
    if all(area is not None for area in areas):
        extras["area"] = np.array(areas, np.float64)
    labels = np.zeros(len(objects), np.int64)
    return Instances(
        masks.size, boxes.astype(np.float32), labels, masks=masks, extras=extras if objects else {}
    )


def write(dataset: Dataset, path: str | Path, *, pictures: _pictures.Placing = "link") -> None:
    """Write a JSON file for each picture and classes.json, in folders for the splits; all appear in one step.

    Annotation ids are those of the extra "annotation_id" where a picture has different ones, else 0, 1, ...

    Args:
        dataset: What to write.
        path: The folder; it must be new or empty.
        pictures: "link" and "copy" put the pictures beside their files; "leave" points to where they are.

    Raises:
        FormatError: A picture is missing, or a split cannot name a folder.
        FileExistsError: There is something in the folder.
    """
    path = Path(path)
    classes: dict[str, dict[str, int]] = {}
    with atomic.writing_folder(path) as root:
        for record, name in zip(dataset, _pictures.names(dataset, by_split=True), strict=True):
            folder = root if record.split is None else root / _pictures.folder_name(path, record.split)
            folder.mkdir(exist_ok=True)
            there = record.path
            if there is not None and pictures != "leave":
                _pictures.place(there, folder / name, pictures)
                there = folder / name
            file = folder / f"{Path(name).stem}.json"
            where = name if there is None else Path(os.path.relpath(there, folder)).as_posix()
            image = {
                "image_id": record.id,
                "width": record.size[1],
                "height": record.size[0],
                "file_name": where,
            }
            more = {key: value for key, value in record.attributes.items() if key not in _PICTURE_KEYS}
            found = list(_annotations(record.instances))
            with file.open("wb") as opened:
                opened.write(b'{"image":' + coco_write.encode(image | more) + b',"annotations":[\n')
                opened.writelines(coco_write.lines(found))
                opened.write(b"]}\n")
            labels = record.instances.labels.tolist()
            of = {str(one["id"]): label for one, label in zip(found, labels, strict=True)}
            classes[file.relative_to(root).with_suffix("").as_posix()] = of
        class_table.write(root, dataset.classes, classes, always=True)


def _annotations(found: Instances) -> Iterator[dict[str, Any]]:
    masks = Masks.from_boxes(found.boxes, found.size) if found.masks is None else found.masks
    numbers = found.extras.get("annotation_id")
    if numbers is None or len(set(numbers.tolist())) < len(found):
        numbers = np.arange(len(found))
    areas = found.extras.get("area", masks.areas)
    texts = found.extras.get("attributes")
    for n, (rle, box) in enumerate(zip(masks.to_rle(), coco_write.xywh(found.boxes), strict=True)):
        entry = {"id": int(numbers[n]), "segmentation": rle, "bbox": box, "area": areas[n].item()}
        more = {} if texts is None else json.loads(str(texts[n]))
        yield entry | {key: value for key, value in more.items() if key not in _OBJECT_KEYS}
