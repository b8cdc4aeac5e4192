"""YOLO text labels: a folder with data.yaml, pictures under images/ and text files under labels/.

The layout that Ultralytics' tools train on (https://docs.ultralytics.com/datasets/segment/)::

    data.yaml                       path: .
    images/train/a.png              train: images/train
    images/val/b.png                val: images/val
    labels/train/a.txt              names:
    labels/val/b.txt                  0: nucleus

Each line of a label file is one object, coordinates are shares of the width and height::

    0 0.1 0.1 0.4 0.1 0.4 0.3            class and the x, y of a polygon's corners (3 or more)
    0 0.25 0.2 0.3 0.2                   class and a box: centre x, y, width, height
    0 0.25 0.2 0.3 0.2 0.87              a prediction: a confidence comes last

A polygon is one ring, filled by the even-odd rule. Holes are cut open and parts are joined by bridges without
width, as converters of this ecosystem do it; reading them back gives the same pixels. A picture without a label
file has no objects.

What the text cannot hold (crowds, empty masks, ids, areas ...) goes into `delineate.labels.json` beside data.yaml, a
COCO file, which other tools do not look at. `read` takes each picture from it whose label file is still the one that
was written; an edited label file counts, and the log says so.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from delineate import atomic
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import _pictures, coco
from delineate.formats import _yolo_text as yolo_text
from delineate.formats import _yolo_yaml as yolo_yaml
from delineate.image import read_size

KEEPS = coco.KEEPS
"""What ``read(write(dataset))`` preserves."""
KEEPS_ALONE = frozenset(
    {
        "masks",
        "holes",
        "parts",
        "overlaps",
        "scores",
        "instance order",
        "class order",
        "empty pictures",
        "splits",
    }
)
"""What of it the text files hold by themselves, so what other tools see."""
SUFFIX = ""
SIDE_FILE = "delineate.labels.json"

_KEY = "delineate"  # of the side file's pictures: where the label file is, and what it held

_log = logging.getLogger("delineate")


class _Mark(msgspec.Struct):
    labels: str
    sha256: str


def sniff(path: str | Path) -> bool:
    """Whether it is a data.yaml with classes and splits, or a folder with one (or with classes.txt and labels/).

    Args:
        path: Any file or folder.
    """
    try:
        described = yolo_yaml.find(Path(path))
        if described is None:
            return False
        layout = yolo_yaml.load(described)
        return (
            described.name == "classes.txt" or bool(layout.splits) or (described.parent / SIDE_FILE).is_file()
        )
    except (FormatError, OSError, ValueError):
        return False


def read(path: str | Path) -> Dataset:
    """Read a data set from its data.yaml, or from images/ and labels/ with classes.txt.

    Records come split by split, in the order of their paths, with ids 1, 2, ...; those of the side file come
    first, in its order and with their ids. The key "valid" is the split "val". Lines with a box only have no
    mask: if no line of the data set has a polygon, all ``masks`` are None, else theirs are empty and the log says
    how many.

    Args:
        path: The data.yaml, or its folder.

    Raises:
        FormatError: There is no such file, a picture is missing or unreadable, or a line does not fit; the message
            names the place.
    """
    path = Path(path)
    described = yolo_yaml.find(path)
    if described is None:
        text = (
            "must be a data.yaml, or a folder with one (or with classes.txt, images/ and labels/), got none."
        )
        raise FormatError(path, "", text)
    layout = yolo_yaml.load(described)
    places = {picture: (split, label) for split, picture, label in yolo_yaml.pictures(layout)}
    known, attributes = _from_side_file(layout, {label for _, label in places.values()})
    following = itertools.count(max((r.id for r in known.values() if isinstance(r.id, int)), default=0) + 1)
    records = (*known.values(), *_from_text(layout, places, known, following))
    return Dataset(records, layout.classes, attributes)


def _from_text(
    layout: yolo_yaml.Layout,
    places: Mapping[Path, tuple[str | None, Path]],
    known: Mapping[Path, Record],
    ids: Iterator[int],
) -> list[Record]:
    """The pictures that the side file does not have."""
    parsed: dict[Path, list[yolo_text.Line]] = {}
    for picture, (_, label) in places.items():
        if label not in known:
            parsed[picture] = yolo_text.parse(label, _content(label) or b"", len(layout.classes))
    rows = [line for lines in parsed.values() for line in lines]
    shaped = sum(line.shape.ndim == 2 for line in rows)
    if 0 < shaped < len(rows):
        text = "%s: %d of %d objects are boxes; their masks are empty"
        _log.warning(text, layout.path, len(rows) - shaped, len(rows))
    with_masks = (
        shaped > 0 or not rows or any(record.instances.masks is not None for record in known.values())
    )
    scored = any(line.score is not None for line in rows)
    records = []
    for picture, lines in parsed.items():
        split, label = places[picture]
        if scored and any(line.score is None for line in lines):
            raise FormatError(label, "", "all objects of a data set must have a confidence, or none.")
        instances = yolo_text.instances(lines, read_size(picture), shaped=with_masks, scored=scored)
        records.append(Record(picture, instances.size, instances, next(ids), split=split))
    return records


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FormatError(path, "", f"label file must be readable, got: {error.strerror}.") from error


def _from_side_file(
    layout: yolo_yaml.Layout, labels: Collection[Path]
) -> tuple[dict[Path, Record], Mapping[str, object]]:
    """The pictures of the side file whose label files are as they were written, by label file."""
    path = layout.path.parent / SIDE_FILE
    if not path.is_file():
        return {}, {}
    try:
        side = coco.read(path)
    except FormatError as error:
        text = f"{error.message} Delete this file to read the label files alone."
        raise FormatError(error.path, error.item, text) from error
    if side.classes != layout.classes:
        _log.warning("%s: has other classes than %s; the label files are read", path, layout.path.name)
        return {}, {}
    found: dict[Path, Record] = {}
    edited = gone = 0
    for record in side:
        attributes = dict(record.attributes)
        label, digest = _mark(path, record, attributes.pop(_KEY, None))
        content = _content(label)
        if content is not None and _digest(content) == digest:
            found[label] = record.replace(attributes=attributes)
        elif label in labels:
            edited += 1
        else:
            gone += 1
    if edited:
        _log.warning("%s: %d label files were edited since; they are read instead of it", path, edited)
    if gone:
        _log.warning("%s: %d pictures are no longer in the data set; they are left out", path, gone)
    return found, side.attributes


def _mark(path: Path, record: Record, mark: object) -> tuple[Path, str]:
    """What the side file says of a picture's label file: where it is, and its digest."""
    where = f"image {record.id}"
    try:
        known = msgspec.convert(mark, _Mark)
    except msgspec.ValidationError as error:
        text = f'"{_KEY}" must say labels and sha256: {error}. Delete the file to do without it.'
        raise FormatError(path, where, text) from error
    return _pictures.inside(path.parent, known.labels, where, path), known.sha256


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write(
    dataset: Dataset, path: str | Path, *, pictures: _pictures.Placing = "link", side_file: bool = True
) -> None:
    """Write images/SPLIT, labels/SPLIT, data.yaml and the side file; the folder appears in one step.

    Pictures without a split go to "train". Crowd regions and empty masks are left out of the label files. The log
    says how many objects the label files do not hold exactly.

    Args:
        dataset: What to write.
        path: The folder; it must be new or empty.
        pictures: "link" and "copy" put the pictures under images/; "leave" leaves that to you.
        side_file: Whether to write what the text cannot hold.

    Raises:
        FormatError: A picture is missing, or a split cannot name a folder.
        FileExistsError: There is something in the folder.
    """
    path = Path(path)
    names = _pictures.names(dataset, by_split=True)
    splits: dict[str, None] = {}
    with atomic.writing_folder(path) as folder:
        placed, lost = [], 0
        for record, name in zip(dataset, names, strict=True):
            split = _pictures.folder_name(path, record.split or "train", *yolo_yaml.RESERVED)
            if split not in splits:
                splits[split] = None
                for kind in ("images", "labels"):
                    (folder / kind / split).mkdir(parents=True)
            picture, label = folder / "images" / split / name, Path("labels", split, name).with_suffix(".txt")
            content, missed = yolo_text.text(record.instances)
            lost += missed
            (folder / label).write_bytes(content)
            if record.path is not None:
                _pictures.place(record.path, picture, pictures)
            mark = _Mark(label.as_posix(), _digest(content))
            there = picture if record.path is not None and pictures != "leave" else record.path
            placed.append(
                record.replace(path=there, attributes={**record.attributes, _KEY: msgspec.to_builtins(mark)})
            )
        atomic.write_bytes(folder / "data.yaml", yolo_yaml.dump(dataset.classes, list(splits)))
        if side_file:
            coco.write(dataset.with_records(placed), folder / SIDE_FILE)
    _report(path, lost, list(splits), side_file=side_file)


def _report(path: Path, lost: int, splits: Sequence[str], *, side_file: bool) -> None:
    if lost:
        kept = f"{SIDE_FILE} keeps them" if side_file else "they are lost"
        text = "%s: label files hold %d objects not at all or with other pixels (crowds, empty masks); %s"
        _log.warning(text, path, lost, kept)
    if splits and "val" not in splits:
        _log.warning('%s: has no split "val", which training on it needs', path)
