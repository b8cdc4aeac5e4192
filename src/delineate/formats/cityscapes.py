"""Cityscapes: pictures of ids, or polygons, for each picture (https://www.cityscapes-dataset.com/dataset-overview).

::

    leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png
    gtFine/train/aachen/aachen_000000_000019_gtFine_instanceIds.png     16 bits: class * 1000 + n, n from 0
    gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png        8 bits: class
    gtFine/train/aachen/aachen_000000_000019_gtFine_polygons.json
    labels.json, which is not Cityscapes' own                           [{"id": 34, "name": "tram"}]

    {"imgHeight": 1024, "imgWidth": 2048, "objects": [{"label": "car", "polygon": [[25, 10], [23, 11], [22, 13]]}]}

Classes 24 to 33 have instances. An id below 1000 is a class without instances, or a region of several objects that
nobody told apart ("cargroup"): a crowd. The numbers are those of the definitions that Cityscapes publishes
(``labels.py`` of cityscapesScripts); `labels.json` lists the classes of other data.

Polygons are read where there is no picture of ids. They are painted in their order, as Cityscapes' own scripts do it
(PIL's polygons, borders included): later ones, also those of classes without instances, cover earlier ones.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from delineate import algebra, atomic
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import _coco_json as coco_json
from delineate.formats import _pictures
from delineate.formats._painting import hidden
from delineate.image import SUFFIXES, read_label_map
from delineate.instances import Instances
from delineate.masks import Masks

KEEPS = frozenset({"masks", "holes", "parts", "class order", "empty pictures", "splits"})
"""What ``read(write(dataset))`` preserves. Crowds of one class become one; of objects under others only what
shows is kept."""
SUFFIX = ""

STUFF = (
    *(
        "unlabeled",
        "ego vehicle",
        "rectification border",
        "out of roi",
        "static",
        "dynamic",
        "ground",
        "road",
    ),
    *(
        "sidewalk",
        "parking",
        "rail track",
        "building",
        "wall",
        "fence",
        "guard rail",
        "bridge",
        "tunnel",
        "pole",
    ),
    *("polegroup", "traffic light", "traffic sign", "vegetation", "terrain", "sky"),
)
"""Classes 0 to 23."""
THINGS = (
    *("person", "rider", "car", "truck", "bus", "caravan", "trailer", "train", "motorcycle", "bicycle"),
)
"""Classes 24 to 33, which have instances."""

_FIRST = len(STUFF)
_LAST = 64  # 64 * 1000 + 999 is the last number that fits 16 bits with all its instances
_LICENSE_PLATE = "license plate"  # class -1, which is never painted
_TABLE = "labels.json"
_CITY = re.compile(r"([^_.]+)_[0-9]{6}_[0-9]{6}$")  # Cityscapes' own names
_IDS, _POLYGONS = "_instanceIds.png", "_polygons.json"
_MAX_PIXELS = 2**27  # of a canvas for polygons
_LARGEST = 2**24

_log = logging.getLogger("delineate")


class _Label(msgspec.Struct):
    id: int
    name: str


class _Object(msgspec.Struct):
    label: str
    polygon: list[tuple[float, float]]
    deleted: int | bool = False


class _Content(msgspec.Struct):
    imgHeight: int  # noqa: N815 - as the file has it
    imgWidth: int  # noqa: N815
    objects: list[_Object]


@dataclass(frozen=True, slots=True)
class _Table:
    """Class names and their numbers; readers add classes that they meet in polygons."""

    names: list[str]
    numbers: list[int]

    def place(self, number: int) -> int | None:
        return self.numbers.index(number) if number in self.numbers else None


def sniff(path: str | Path) -> bool:
    """Whether it is a folder with gtFine or gtCoarse.

    Args:
        path: Any file or folder.
    """
    return _truth(Path(path)) is not None


def _truth(path: Path) -> Path | None:
    for folder in (path / "gtFine", path / "gtCoarse", path):
        if folder.name in ("gtFine", "gtCoarse") and folder.is_dir():
            return folder
    return None


def read(path: str | Path) -> Dataset:
    """Read a folder of this layout; ids are 1, 2, ... in the order of splits, cities and names.

    Classes without instances are left out. Classes are those of labels.json, else Cityscapes' ten, then those that
    polygons name besides.

    Args:
        path: The folder above gtFine (or gtCoarse), or that folder itself.

    Raises:
        FormatError: There is no such folder, or a file does not fit.
    """
    path = Path(path)
    truth = _truth(path)
    if truth is None:
        raise FormatError(path, "", "must be a folder with gtFine or gtCoarse, got none.")
    root = truth.parent
    table = _table(root / _TABLE)
    stems: dict[str, Path] = {}
    for ending in (_POLYGONS, _IDS):  # so that pictures of ids come before polygons
        for file in truth.rglob(f"*{ending}"):
            if file.is_file():
                stems[file.relative_to(truth).as_posix().removesuffix(ending)] = file
    notices: Counter[str] = Counter()
    records: list[Record] = []
    for stem, file in sorted(stems.items()):
        made = _from_ids(file, table, notices) if file.name.endswith(_IDS) else _from_polygons(file, table)
        parts = Path(stem).parts[:-1]
        picture = picture_of(root / "leftImg8bit", stem.removesuffix(f"_{truth.name}"))
        split = parts[0] if len(parts) > 1 else None
        records.append(Record(picture, made.size, made, len(records) + 1, split=split))
    for text, count in notices.items():
        _log.warning("%s: %d %s", path, count, text)
    return Dataset(tuple(records), tuple(table.names))


def _table(path: Path) -> _Table:
    if not path.is_file():
        return _Table(list(THINGS), list(range(_FIRST, _FIRST + len(THINGS))))
    labels = coco_json.load(path, list[_Label])
    numbers = [label.id for label in labels]
    if len(set(numbers)) < len(numbers) or not all(0 < number <= _LAST for number in numbers):
        raise FormatError(path, "", f"ids must be unique and from 1 to {_LAST}, got {numbers[:20]}.")
    return _Table([label.name for label in labels], numbers)


def classes_of(root: Path) -> dict[int, str] | None:
    """Number -> name of the classes with instances that labels.json lists; None without that file.

    Args:
        root: The folder above gtFine.
    """
    if not (root / _TABLE).is_file():
        return None
    table = _table(root / _TABLE)
    return dict(zip(table.numbers, table.names, strict=True))


def picture_of(folder: Path, stem: str) -> Path:
    """The picture of that place and name under the folder, whether it ends in "_leftImg8bit" or not."""
    place = (folder / stem).parent
    name = (folder / stem).name
    for end in ("_leftImg8bit", ""):
        for suffix in SUFFIXES:
            for kind in (suffix, suffix.upper()):
                if (place / f"{name}{end}{kind}").is_file():
                    return place / f"{name}{end}{kind}"
    return place / (f"{name}_leftImg8bit.png" if _CITY.match(name) else f"{name}.png")


def _from_ids(file: Path, table: _Table, notices: Counter[str]) -> Instances:
    masks, values = algebra.from_label_map(read_label_map(file))
    keep, labels, crowd = [], [], []
    for n, value in enumerate(values.tolist()):
        number = value if value < 1000 else value // 1000
        place = table.place(number)
        if place is not None:
            keep.append(n)
            labels.append(place)
            crowd.append(value < 1000)
        elif value >= 1000:
            notices[f"objects are of class {number}, which has no instances; they are left out"] += 1
    found = masks[np.array(keep, np.int64)]
    return Instances.of(
        found, np.array(labels, np.int64), crowd=np.array(crowd, bool) if any(crowd) else None
    )


def _from_polygons(file: Path, table: _Table) -> Instances:
    content = coco_json.load(file, _Content)
    height, width = content.imgHeight, content.imgWidth
    if not (0 < height <= _MAX_PIXELS and 0 < width <= _MAX_PIXELS and height * width <= _MAX_PIXELS):
        text = f"picture must have 1 to {_MAX_PIXELS} pixels, got height {height} and width {width}."
        raise FormatError(file, "imgHeight", text)
    canvas = Image.new("I", (width, height), 0)
    draw = ImageDraw.Draw(canvas)
    labels, crowd = [], []
    for n, one in enumerate(content.objects):
        label, group = one.label, False
        if label not in STUFF and label not in table.names and label.endswith("group"):
            label, group = label.removesuffix("group"), True
        if one.deleted or label == _LICENSE_PLATE:
            continue
        points = np.array(one.polygon, np.float64).reshape(-1, 2)
        if len(points) < 3 or not (np.abs(points) <= _LARGEST).all():
            text = f"polygon must have 3 corners or more within {_LARGEST}, got {len(points)}."
            raise FormatError(file, f"objects[{n}]", text)
        if label in STUFF:
            draw.polygon(list(map(tuple, points.tolist())), fill=0)
            continue
        if label not in table.names:
            table.names.append(label)
            table.numbers.append(_LAST + len(table.names))
        labels.append(table.names.index(label))
        crowd.append(group)
        draw.polygon(list(map(tuple, points.tolist())), fill=len(labels))
    masks, values = algebra.from_label_map(np.asarray(canvas).astype(np.uint32))
    shown = values.astype(np.int64) - 1
    flags = np.array(crowd, bool)[shown]
    return Instances.of(masks, np.array(labels, np.int64)[shown], crowd=flags if flags.any() else None)


def write(dataset: Dataset, path: str | Path, *, pictures: _pictures.Placing = "link") -> None:
    """Write pictures of instances and classes in the layout above, which appear in one step.

    Classes of Cityscapes' names have its numbers, others 34 and on; labels.json lists them unless they are just
    Cityscapes' ten. Later objects are on top, crowd regions below all; the log says how many objects lose pixels, or
    have none. Pictures keep their names; the city is what stands before the first "_", as in Cityscapes.

    Args:
        dataset: What to write.
        path: The folder; it must be new or empty.
        pictures: "link" and "copy" put the pictures into leftImg8bit; "leave" leaves that to you.

    Raises:
        FormatError: There are more than 1000 objects of a class in a picture, more classes than 16 bits have room for,
            a split cannot name a folder, or a picture is missing.
        FileExistsError: There is something in the folder.
    """
    path = Path(path)
    numbers = _numbers(path, dataset.classes)
    covered = 0
    with atomic.writing_folder(path) as root:
        for folder in ("gtFine", "leftImg8bit"):
            (root / folder).mkdir()
        for record, name in zip(dataset, _pictures.names(dataset, by_split=True), strict=True):
            stem = Path(name).stem.removesuffix("_leftImg8bit")
            city = _CITY.match(stem)
            place = Path(city[1] if city else "default")
            if record.split is not None:
                place = _pictures.folder_name(path, record.split) / place
            if record.path is not None:
                _pictures.place(record.path, root / "leftImg8bit" / place / name, pictures)
            (root / "gtFine" / place).mkdir(parents=True, exist_ok=True)
            target = root / "gtFine" / place / f"{stem}_gtFine"
            if target.with_name(target.name + _IDS).exists():
                raise FormatError(
                    path, name, f'pictures must not differ in "_leftImg8bit" alone, got {stem} twice.'
                )
            covered += _write_maps(path, target, record, numbers)
        if dataset.classes != THINGS:
            labels = [
                _Label(number, name) for number, name in zip(numbers.tolist(), dataset.classes, strict=True)
            ]
            atomic.write_bytes(
                root / _TABLE, msgspec.json.format(msgspec.json.encode(labels), indent=1) + b"\n"
            )
    if covered:
        _log.warning("%s: %d objects lose pixels under later ones, or have none", path, covered)


def _numbers(path: Path, classes: Sequence[str]) -> NDArray[np.int64]:
    known = {name: _FIRST + n for n, name in enumerate(THINGS)}
    following = _FIRST + len(THINGS)
    numbers: list[int] = []
    for name in classes:
        number = known.pop(name, following)
        following += number == following
        numbers.append(number)
    if following > _LAST + 1:
        text = f"classes must be at most {_LAST + 1 - _FIRST - len(THINGS)} besides Cityscapes' own. Use label_maps."
        raise FormatError(path, "", text)
    return np.array(numbers, np.int64)


def _write_maps(path: Path, target: Path, record: Record, numbers: NDArray[np.int64]) -> int:
    """Both pictures of one record; how many objects lose pixels."""
    found = record.instances
    if found.masks is None:
        raise ValueError(
            f"cityscapes.write: instances must have masks in all records, got none in {record.name}"
        )
    crowd = np.zeros(len(found), bool) if found.crowd is None else found.crowd
    classes = numbers[found.labels]
    values = classes.copy()
    for number in np.unique(classes[~crowd]).tolist():
        same = np.flatnonzero((classes == number) & ~crowd)
        if len(same) > 1000:
            text = f"objects of a class must be at most 1000, got {len(same)}. Use label_maps or coco."
            raise FormatError(path, record.name, text)
        values[same] = number * 1000 + np.arange(len(same))
    order = np.argsort(~crowd, kind="stable")  # crowds first: below the others
    masks: Masks = found.masks[order]
    for kind, painted, depth in (("instanceIds", values, np.uint16), ("labelIds", classes, np.uint8)):
        array = algebra.to_label_map(masks, painted[order], dtype=depth)
        Image.fromarray(array).save(target.with_name(f"{target.name}_{kind}.png"))
    return hidden(masks)
