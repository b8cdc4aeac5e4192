"""COCO panoptic: one JSON file, and one PNG of segment ids per picture (https://cocodataset.org/#format-data).

::

    {"images": [{"id": 5, "file_name": "a.jpg", "height": 480, "width": 640}],
     "categories": [{"id": 1, "name": "car", "isthing": 1}, {"id": 9, "name": "sky", "isthing": 0}],
     "annotations": [{"image_id": 5, "file_name": "a.png", "segments_info": [
       {"id": 3226956, "category_id": 1, "iscrowd": 0, "area": 1200, "bbox": [2, 1, 40, 30]},
       {"id": 6979964, "category_id": 9, "iscrowd": 0, "area": 90000, "bbox": [0, 0, 640, 200]}]}]}

The PNGs of ``val.json`` lie in the folder ``val``. A pixel's segment id is R + 256 G + 65536 B, 0 is void.
Predictions may leave out "images" and "categories", and segments may carry "score".

A panoptic data set is no `Dataset` of instances, so this module is not among `formats.names`.
"""

from __future__ import annotations

import functools
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from delineate import atomic
from delineate.errors import FormatError
from delineate.formats import _coco_json as coco_json
from delineate.formats import _coco_write as coco_write
from delineate.formats import _json_outline as json_outline
from delineate.image import read_image, write_image
from delineate.panoptic import Panoptic, PanopticDataset, PanopticRecord

_log = logging.getLogger("delineate")

KEEPS = frozenset({"maps", "segment ids", "void", "crowd", "scores", "things", "empty pictures"}) | {
    "picture ids",
    "picture attributes",
    "class order",
}
"""What ``read(write(dataset))`` preserves. Not kept: category ids and supercategories, stated areas and boxes
(they are counted anew), names of the PNGs, "info", "licenses"."""

MAX_ID = 2**24 - 1
"""The greatest segment id that three 8-bit channels can hold."""


class Segment(msgspec.Struct, gc=False):
    """One entry of "segments_info"."""

    id: int
    category_id: int
    iscrowd: int | bool = 0
    score: float | None = None


class Annotation(msgspec.Struct):
    """One entry of "annotations": the segments of one picture."""

    image_id: int | str
    file_name: str
    segments_info: list[Segment]


class Category(coco_json.Category):
    """One entry of "categories"."""

    isthing: int | bool


class _Head(msgspec.Struct):
    images: list[dict[str, Any]]
    categories: list[Category]


class _Content(_Head):
    annotations: list[Annotation]


class _Predictions(msgspec.Struct):
    annotations: list[Annotation]
    images: list[dict[str, Any]] = []
    categories: list[coco_json.Category] = []


def sniff(path: str | Path) -> bool:
    """Whether the file looks like COCO panoptic truth or predictions: its annotations have "segments_info".

    Args:
        path: Any file.
    """
    start = (json_outline.values(path) or {}).get("annotations", b"")
    return start.startswith(b"[") and b'"segments_info"' in start


def read(path: str | Path, maps: str | Path | None = None) -> PanopticDataset:
    """Read a COCO panoptic file. The PNGs stay unread: each is read, and checked, by its record.

    Records come in the order of "annotations". Labels are positions in the list of categories sorted by id.
    ``PanopticRecord.attributes`` holds the other keys of the picture.

    Args:
        path: The JSON file.
        maps: The folder of the PNGs; None for the folder named like the file without its ending.

    Raises:
        FormatError: The file is missing, not JSON, or contradicts itself; the message names the place. Reading
            a record raises it too, if its PNG is missing, has another size or other segments.
    """
    path = Path(path)
    content = coco_json.load(path, _Content)
    return _dataset(path, content, content.annotations, _folder(path, maps))


def read_predictions(path: str | Path, truth: str | Path, maps: str | Path | None = None) -> PanopticDataset:
    """Read predictions for the pictures of a truth file, which says what picture and category ids mean.

    Predictions that name their pictures and categories may have ids of their own: a picture is the one of its file's
    name where the truth has that name once, a category the one of its name.

    Args:
        path: The JSON file; only its "annotations" are needed.
        truth: The COCO panoptic file with pictures and categories.
        maps: The folder of the predicted PNGs; None for the folder named like the file without its ending.

    Raises:
        FormatError: As `read`; and if a category of the predictions is none of the truth.
    """
    path, truth = Path(path), Path(truth)
    content = coco_json.load(path, _Predictions)
    head = coco_json.load(truth, _Head)
    categories = _categories(path, content, head)
    pictures = _pictures_by_name(content, head)
    for entry in content.annotations:
        entry.image_id = pictures.get(entry.image_id, entry.image_id)
        for segment in entry.segments_info:
            segment.category_id = categories.get(segment.category_id, segment.category_id)
    return _dataset(path, head, content.annotations, _folder(path, maps), truth)


def _categories(path: Path, content: _Predictions, head: _Head) -> dict[int, int]:
    """Category id of the predictions -> that of the truth."""
    of_truth = {category.id: category.name for category in head.categories}
    if all(of_truth.get(category.id) in (None, category.name) for category in content.categories):
        return {}
    ids = {name: id_ for id_, name in of_truth.items()}
    for category in content.categories:
        if category.name not in ids or len(ids) < len(of_truth):
            text = (
                f"name must be the truth's {of_truth[category.id]!r}, got {category.name!r}."
                if category.id in of_truth
                else f"name must be one of the truth, got {category.name!r}."
            )
            raise FormatError(path, f"category {category.id}", text)
    return {category.id: ids[category.name] for category in content.categories}


def _pictures_by_name(content: _Predictions, head: _Head) -> dict[int | str, int | str]:
    """Picture id of the predictions -> that of the truth, where their files have one name that is there once."""
    known = [(_name(picture), picture.get("id")) for picture in head.images]
    counts = Counter(name for name, _ in known)
    ids = {name: id_ for name, id_ in known if name and counts[name] == 1 and isinstance(id_, int | str)}
    found: dict[int | str, int | str] = {}
    for picture in content.images:
        id_ = picture.get("id")
        if isinstance(id_, int | str) and _name(picture) in ids:
            found[id_] = ids[_name(picture)]
    return found


def _name(picture: dict[str, Any]) -> str:
    """The file's name without its folder; "" where it is not given."""
    name = picture.get("file_name")
    return name.replace("\\", "/").rpartition("/")[2] if isinstance(name, str) else ""


def write(dataset: PanopticDataset, path: str | Path) -> None:
    """Write a COCO panoptic file and the folder of its PNGs; one picture is in memory at a time.

    Every file appears whole or not at all, the JSON file last. Category ids are 1, 2, ... in the order of the
    classes. The PNGs of ``val.json`` go to the folder ``val``, named like the pictures, or numbered where two
    pictures have one name; other files there are left alone.

    Args:
        dataset: What to write.
        path: The JSON file; must have an ending.

    Raises:
        ValueError: A segment id is over 2**24 - 1, a label outside the classes.
    """
    path = Path(path)
    if not path.suffix:
        raise ValueError(f"coco_panoptic.write: path must have an ending (.json), got {path.name!r}")
    folder = path.with_suffix("")
    folder.mkdir(exist_ok=True)
    categories = [
        {"id": n, "name": name, "supercategory": "", "isthing": int(thing)}
        for n, (name, thing) in enumerate(zip(dataset.classes, dataset.things, strict=True), 1)
    ]
    with atomic.writing(path) as file:
        file.write(b'{"info":{},"licenses":[],"images":[\n')
        file.writelines(coco_write.lines(_image_entry(record, path.parent) for record in dataset))
        file.write(b'],"categories":[\n')
        file.writelines(coco_write.lines(categories))
        file.write(b'],"annotations":[\n')
        file.writelines(coco_write.lines(_annotations(dataset, folder)))
        file.write(b"]}\n")


def _folder(path: Path, maps: str | Path | None) -> Path:
    return path.with_suffix("") if maps is None else Path(maps)


def _dataset(
    path: Path, head: _Head, entries: Sequence[Annotation], folder: Path, truth: Path | None = None
) -> PanopticDataset:
    """Everything but the maps, checked."""
    source = truth or path
    classes, labels = coco_json.classes(source, head.categories)
    of_id = {category.id: category for category in head.categories}
    for category in head.categories:
        if category.isthing not in (0, 1):
            text = f"isthing must be 0 or 1, got {category.isthing}."
            raise FormatError(source, f"category {category.id}", text)
    things = [bool(of_id[id_].isthing) for id_ in labels]
    # The usual places of COCO's pictures; they need not exist.
    roots = [source.parent / "images", source.parent, source.parent / ".." / "images", source.parent]
    pictures = {picture.id: picture for picture in coco_json.pictures(source, head.images, roots)}
    seen: set[int | str] = set()
    records = []
    for position, entry in enumerate(entries):
        where = f"annotations[{position}]"
        picture = pictures.get(entry.image_id)
        if picture is None:
            text = f"image_id must be the id of a picture, got {entry.image_id!r}."
            raise FormatError(path, where, text)
        if entry.image_id in seen:
            text = f"image_id must be unique, got {entry.image_id!r} twice. A picture has one entry"
            raise FormatError(path, where, text)
        seen.add(entry.image_id)
        if not entry.file_name or "\0" in entry.file_name:
            raise FormatError(path, where, f"file_name must be a file's name, got {entry.file_name!r}.")
        _check_segments(path, entry, labels)
        map_ = folder / entry.file_name.replace("\\", "/")
        load = functools.partial(_load, path, map_, picture.size, entry, labels, things)
        records.append(PanopticRecord(picture.path, picture.size, load, picture.id, picture.attributes))
    if unannotated := len(pictures) - len(seen):
        _log.warning(
            "%s: %d of %d pictures have no annotation and are left out", path, unannotated, len(pictures)
        )
    return PanopticDataset(tuple(records), classes, tuple(things))


def _check_segments(path: Path, entry: Annotation, labels: dict[int, int]) -> None:
    seen: set[int] = set()
    scored = any(segment.score is not None for segment in entry.segments_info)
    limit = float(np.finfo(np.float32).max)
    for segment in entry.segments_info:
        where = f"image {entry.image_id}, segment {segment.id}"
        if not 1 <= segment.id <= MAX_ID:
            raise FormatError(path, where, f"id must be 1 to {MAX_ID}, got {segment.id}.")
        if segment.id in seen:
            raise FormatError(path, where, "id must be unique in its picture, got it twice.")
        seen.add(segment.id)
        if segment.category_id not in labels:
            text = f"category_id must be the id of a category, got {segment.category_id}."
            raise FormatError(path, where, text)
        if segment.iscrowd not in (0, 1):
            raise FormatError(path, where, f"iscrowd must be 0 or 1, got {segment.iscrowd}.")
        if scored and (segment.score is None or not abs(segment.score) <= limit):
            text = f"score must be a finite number (all segments of a picture have one), got {segment.score}."
            raise FormatError(path, where, text)


def _load(
    path: Path,
    map_: Path,
    size: tuple[int, int],
    entry: Annotation,
    labels: dict[int, int],
    things: list[bool],
) -> Panoptic:
    """Read one PNG. Must stay a module-level function: records are pickled."""
    where = f"image {entry.image_id}"
    if not map_.is_file():
        raise FormatError(path, where, f"map must be the PNG file {map_.as_posix()}, got no such file.")
    colours = read_image(map_, orient=False).astype(np.int32)
    if colours.shape[:2] != size:
        found = colours.shape[0], colours.shape[1]
        raise FormatError(path, where, f"map must have the picture's (height, width) {size}, got {found}.")
    segments = entry.segments_info
    kinds = np.array([labels[segment.category_id] for segment in segments], np.int64)
    scores = [segment.score for segment in segments if segment.score is not None]
    try:
        return Panoptic(
            colours[..., 0] + 256 * colours[..., 1] + 65536 * colours[..., 2],
            np.array([segment.id for segment in segments], np.int32),
            kinds,
            np.array(things, np.bool_)[kinds],
            np.array([bool(segment.iscrowd) for segment in segments], np.bool_),
            np.array(scores, np.float32) if scores else None,
        )
    except ValueError as error:  # map and table disagree
        raise FormatError(path, where, f"{str(error).removeprefix('Panoptic: ')}.") from error


def _image_entry(record: PanopticRecord, root: Path) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": record.id}
    if record.path is not None:
        entry["file_name"] = Path(os.path.relpath(record.path, root)).as_posix()
    entry |= {"height": record.size[0], "width": record.size[1]}
    return entry | {key: value for key, value in record.attributes.items() if key not in entry}


def stems(names: Iterable[str]) -> list[str]:
    """Names of the maps of pictures, without an ending: those of the pictures, or numbers where these do not do.

    Args:
        names: Of the pictures, without an ending.

    >>> stems(["x", "y"]), stems(["x", "X"])
    (['x', 'y'], ['000001', '000002'])
    """
    found = list(names)
    plain = all(
        stem.isprintable() and not set(stem) & set('/\\:*?"<>|') and stem.strip(".") for stem in found
    )
    if not plain or max(Counter(stem.lower() for stem in found).values(), default=0) > 1:
        return [f"{n:06}" for n in range(1, len(found) + 1)]
    return found


def _annotations(dataset: PanopticDataset, folder: Path) -> Iterator[dict[str, Any]]:
    """Writes each PNG and gives its entry."""
    names = stems(f"{record.id}" if record.path is None else record.path.stem for record in dataset)
    for record, stem in zip(dataset, names, strict=True):
        found = record.read()
        if len(found) and found.ids.max() > MAX_ID:
            raise ValueError(
                f"coco_panoptic.write: ids must be at most {MAX_ID}, got {found.ids.max()} in record {record.id!r}"
            )
        if len(found) and found.labels.max() >= len(dataset.classes):
            raise ValueError(
                f"coco_panoptic.write: labels must be below the number of classes {len(dataset.classes)}, "
                f"got {found.labels.max()} in record {record.id!r}"
            )
        channels = [found.map & 255, found.map >> 8 & 255, found.map >> 16]
        write_image(folder / f"{stem}.png", np.stack(channels, axis=2).astype(np.uint8))
        yield {"image_id": record.id, "file_name": f"{stem}.png", "segments_info": _segments(found)}


def _segments(found: Panoptic) -> list[dict[str, Any]]:
    boxes = _boxes(found)
    scores = None if found.scores is None else coco_write.shortest(found.scores)
    entries: list[dict[str, Any]] = []
    for n, id_ in enumerate(found.ids.tolist()):
        entry = {"id": id_, "category_id": int(found.labels[n]) + 1, "iscrowd": int(found.crowd[n])}
        entry |= {"area": int(found.areas[n]), "bbox": boxes[n]}
        entries.append(entry if scores is None else entry | {"score": scores[n]})
    return entries


def _boxes(found: Panoptic) -> list[list[int]]:
    """x, y, width, height of every segment, stuff too."""
    corners = found.to_instances(stuff=True).boxes.astype(np.int64)
    rows: list[list[int]] = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1).tolist()
    return rows
