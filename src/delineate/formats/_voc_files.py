"""The files of Pascal VOC: XML, lists and palette pictures, and where they are. Serves `voc`."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from delineate.errors import FormatError
from delineate.formats import _pictures, _xml
from delineate.formats import _sizes as sizes
from delineate.image import SUFFIXES
from delineate.instances import Instances

NO_CLASSES = ("_background_", "background", "__ignore__")

_FIELDS = ("pose", "truncated", "difficult", "occluded")


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture: its files, None where there is none (the picture need not exist)."""

    stem: str
    split: str | None
    picture: Path
    objects: Path | None = None
    classes: Path | None = None
    xml: Path | None = None


@dataclass(frozen=True, slots=True)
class Box:
    """One object of an XML file; the box is x0, y0, x1, y1."""

    where: str
    name: str
    box: tuple[float, float, float, float]
    attributes: str


@dataclass(frozen=True, slots=True)
class Said:
    """What an XML file says."""

    size: tuple[int, int] | None
    objects: list[Box]


def is_tree(root: Path) -> bool:
    """Whether it is the layout of the development kit."""
    if not (root / "JPEGImages").is_dir():
        return False
    texts = root / "Annotations"  # DAVIS has a folder for each video there
    return (root / "SegmentationObject").is_dir() or (
        texts.is_dir() and not any(item.is_dir() for item in texts.iterdir())
    )


def has_flat_files(root: Path) -> bool:
    """Whether the folder, or one of its folders, has VOC's XML files."""
    if not root.is_dir():
        return False
    first = next((file for place in _flat_places(root) for file in islice(place.glob("*.xml"), 1)), None)
    if first is None:
        return False
    with first.open("rb") as file:
        return re.search(rb"<annotation[\s>]", file.read(4096)) is not None


def _flat_places(root: Path) -> list[Path]:
    return [root, *sorted(folder for folder in root.iterdir() if folder.is_dir() and folder.name[0] != ".")]


def tree(root: Path) -> list[Entry]:
    """The pictures of the development kit's layout."""
    pictures = _by_stem(root / "JPEGImages", SUFFIXES)
    kinds = {kind: _by_stem(root / kind, {".png"}) for kind in ("SegmentationObject", "SegmentationClass")}
    xml = _by_stem(root / "Annotations", {".xml"})
    shaped = bool(kinds["SegmentationObject"]) or (root / "ImageSets" / "Segmentation").is_dir()
    splits = _splits(root, "Segmentation" if shaped else "Main")
    stems = dict.fromkeys([*splits, *(kinds["SegmentationObject"] if shaped else xml)])
    return [
        Entry(
            stem,
            splits.get(stem),
            pictures.get(stem, root / "JPEGImages" / f"{stem}.jpg"),
            kinds["SegmentationObject"].get(stem),
            kinds["SegmentationClass"].get(stem),
            xml.get(stem),
        )
        for stem in stems
    ]


def flat(root: Path) -> list[Entry]:
    """XML files beside their pictures; folders are splits."""
    entries = []
    for place in _flat_places(root):
        pictures = _by_stem(place, SUFFIXES)
        split = None if place == root else "val" if place.name == "valid" else place.name
        for stem, file in _by_stem(place, {".xml"}).items():
            entries.append(Entry(stem, split, pictures.get(stem, place / f"{stem}.jpg"), xml=file))
    return entries


def _by_stem(folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    files = [file for file in folder.iterdir() if file.suffix.lower() in suffixes and file.name[0] != "."]
    return {file.stem: file for file in sorted(files)}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(path, "", f"list must be readable UTF-8 text, got: {error}.") from error


def _splits(root: Path, kind: str) -> dict[str, str | None]:
    """Picture -> split, from the lists; "trainval" is no split of its own."""
    found: dict[str, str | None] = {}
    folder = root / "ImageSets" / kind
    # Main also has lists per class ("cat_train.txt"), which have a number after each name.
    files = sorted(folder.glob("*.txt")) if kind == "Segmentation" else [folder / f"{n}.txt" for n in _MAIN]
    order = {"train": 0, "val": 1, "test": 2, "trainval": 9}
    for file in sorted(files, key=lambda file: order.get(file.stem, 3)):
        for number, line in enumerate(_lines(file) if file.is_file() else [], 1):
            if stem := line.strip():
                _pictures.inside(root, stem, f"line {number}", file)
                found.setdefault(stem, None if file.stem == "trainval" else file.stem)
    return found


_MAIN = ("train", "val", "test", "trainval")


def class_names(root: Path) -> tuple[list[str] | None, NDArray[np.uint8]]:
    """The classes without the background, and the colours of the background and of each class.

    From class_names.txt, or from labelmap.txt as CVAT writes it (name:r,g,b:parts:actions). None and VOC's colours
    where there is neither.
    """
    path = root / "class_names.txt"
    if path.is_file():
        names = [line.strip() for line in _lines(path)]
        return [name for name in names if name and name not in NO_CLASSES], palette()
    path = root / "labelmap.txt"
    if not path.is_file():
        return None, palette()
    names, colours = [], [(0, 0, 0)]
    for number, line in enumerate(_lines(path), 1):
        fields = line.split(":")
        if not line.strip() or line.startswith("#") or fields[0].strip() in NO_CLASSES:
            continue
        match = re.fullmatch(
            r"\s*(\d{1,3}),\s*(\d{1,3}),\s*(\d{1,3})\s*", fields[1] if len(fields) > 1 else ""
        )
        colour = [int(one) for one in match.groups()] if match else [256]
        if max(colour) > 255:
            raise FormatError(path, f"line {number}", f"must be name:red,green,blue, got {line[:60]!r}.")
        names.append(fields[0].strip())
        colours.append((colour[0], colour[1], colour[2]))
    return names, np.array(colours, np.uint8)


def boxes(path: Path) -> Said:
    """Read one XML file."""
    root = _xml.read(path)
    if root.tag != "annotation":
        raise FormatError(path, f"line {root.line}", f"root must be <annotation>, got <{root.tag[:40]}>.")
    return Said(_size(path, root.first("size")), [_box(path, node) for node in root.all("object")])


def _size(path: Path, node: _xml.Node | None) -> tuple[int, int] | None:
    if node is None:
        return None
    height, width = (_number(path, node, key) for key in ("height", "width"))
    if not (height.is_integer() and width.is_integer() and min(height, width) >= 1):
        text = f"size must be whole numbers of at least 1, got {height:g} and {width:g}."
        raise FormatError(path, f"line {node.line}", text)
    if max(height, width) > sizes.MAX_SIDE or height * width > sizes.MAX_PIXELS:
        raise FormatError(path, f"line {node.line}", f"size must be smaller, got {height:g} x {width:g}.")
    return int(height), int(width)


def _number(path: Path, node: _xml.Node, key: str) -> float:
    text = node.value(key)
    try:
        value = math.nan if text is None else float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= 1e9:
        got = "none" if text is None else repr(text[:40])
        raise FormatError(path, f"line {node.line}", f"{key} must be a number of at most 1e9, got {got}.")
    return value


def _box(path: Path, node: _xml.Node) -> Box:
    where = f"line {node.line}"
    name, box = node.value("name"), node.first("bndbox")
    if not name:
        raise FormatError(path, where, "object must have a name, got none.")
    if box is None:
        raise FormatError(path, where, "object must have a bndbox, got none.")
    x0, y0, x1, y1 = (_number(path, box, key) for key in ("xmin", "ymin", "xmax", "ymax"))
    x0, y0 = x0 - 1, y0 - 1  # they count from 1 and include their last pixel
    if x0 > x1 or y0 > y1:
        raise FormatError(path, f"line {box.line}", "bndbox must have xmin <= xmax and ymin <= ymax.")
    more = {
        child.tag: child.text.strip()
        for child in node.children
        if child.tag not in ("name", "bndbox", "part")
    }
    more = {key: value for key, value in more.items() if value and value not in ("0", "Unspecified")}
    return Box(where, name, (x0, y0, x1, y1), json.dumps(more, ensure_ascii=False))


def dump(
    name: str,
    size: tuple[int, int],
    found: Instances,
    classes: Sequence[str],
    attributes: Sequence[Mapping[str, object]],
) -> str:
    """One XML file."""
    lines = [
        f"<annotation>\n  <filename>{_xml.escaped(name)}</filename>",
        f"  <size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>",
        f"  <segmented>{int(found.masks is not None)}</segmented>",
    ]
    for box, label, more in zip(
        found.boxes.astype(np.float64).tolist(), found.labels, attributes, strict=True
    ):
        corners = {"xmin": box[0] + 1, "ymin": box[1] + 1, "xmax": box[2], "ymax": box[3]}
        lines.append(f"  <object>\n    <name>{_xml.escaped(classes[label])}</name>")
        given = {"pose": "Unspecified", "truncated": 0, "difficult": 0} | {
            k: more[k] for k in _FIELDS if k in more
        }
        lines += [f"    <{key}>{_xml.escaped(str(value))}</{key}>" for key, value in given.items()]
        inner = "".join(f"<{key}>{_short(value)}</{key}>" for key, value in corners.items())
        lines.append(f"    <bndbox>{inner}</bndbox>\n  </object>")
    return "\n".join([*lines, "</annotation>\n"])


def _short(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def write_lists(root: Path, lists: Mapping[str, Sequence[str]], classes: Sequence[str], kind: str) -> None:
    """ImageSets and class_names.txt."""
    folder = root / "ImageSets" / kind
    folder.mkdir(parents=True)
    for split, stems in lists.items():
        (folder / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems), "utf-8")
    (root / "class_names.txt").write_text("\n".join(["_background_", *classes]) + "\n", "utf-8")


def write_palette(path: Path, array: NDArray[np.uint8]) -> None:
    """A picture of numbers in VOC's colours."""
    picture = Image.frombytes("P", array.shape[::-1], array.tobytes())
    picture.putpalette(palette().ravel().tolist())
    picture.save(path, "PNG")


@functools.cache
def palette() -> NDArray[np.uint8]:
    """(256, 3) VOC's colours, read-only: the bits of the number, dealt to red, green and blue from the top bit down."""
    numbers = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            colours[:, channel] |= (((numbers >> (3 * place + channel)) & 1) << (7 - place)).astype(np.uint8)
    colours.flags.writeable = False
    return colours
