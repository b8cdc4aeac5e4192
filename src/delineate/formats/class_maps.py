"""Class maps: for each picture a second one whose pixels are the numbers of their classes, as semantic networks learn.

::

    images/a.jpg       class_maps/a.png           also annotations/, labels/ or masks/, folders in both alike
    class_names.txt                               a name a line, that of number 0 first; there or one folder up
    JPEGImages/a.jpg   SegmentationClass/a.png    Pascal VOC; without class_names.txt the background and its classes
    ImageSets/Segmentation/train.txt              names of pictures, one a line

255 is void, if the list has no name for it; so are classes that are called void, unlabeled, unknown or ignore. What is
read is a `PanopticDataset` whose classes are all stuff, so this module is not among `formats.names`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from delineate.errors import FormatError
from delineate.formats import _pictures
from delineate.formats import _voc_files as voc_files
from delineate.formats.voc import CLASSES, VOID
from delineate.image import SUFFIXES, read_label_map, read_size
from delineate.panoptic import Panoptic, PanopticDataset, PanopticRecord

KEEPS = frozenset({"maps", "void", "class order"})
"""What is read; nothing is written."""

NAMES = "class_names.txt"
_MAPS = ("class_maps", "annotations", "labels", "masks", "SegmentationClass")
_IMAGES = ("images", "JPEGImages")
_NOBODY_KNOWS = ("void", "unlabeled", "unlabelled", "unknown", "ignore", "__ignore__")


class _Layout(NamedTuple):
    root: Path
    maps: Path
    images: Path
    wanted: Path | None  # a list of names; None = all maps


def sniff(path: str | Path) -> bool:
    """Whether it is a folder (or a list) of this layout, with names of the classes.

    Args:
        path: Any file or folder.
    """
    layout = _layout(Path(path))
    return layout is not None and (_names_file(layout) is not None or layout.maps.name == "SegmentationClass")


def read(path: str | Path) -> PanopticDataset:
    """Read a folder of this layout. The maps stay unread: each is read, and checked, by its record.

    Args:
        path: The folder; one of the folders of maps, or a folder in it (``annotations/training``); or a list of
            pictures, such as ``VOC2012/ImageSets/Segmentation/train.txt``.

    Raises:
        FormatError: There is no such folder, no list of classes, or a map has no picture. Reading a record raises it
            too, if its map is damaged or has a number without a name.
    """
    path = Path(path)
    layout = _layout(path)
    if layout is None:
        text = (
            f"must be a folder with images/ and one of {', '.join(_MAPS)}, or a list of pictures, got none."
        )
        raise FormatError(path, "", text)
    names = _names(layout)
    known = [name for name in names if name.lower() not in _NOBODY_KNOWS]
    table = np.array([known.index(name) if name in known else -1 for name in names], np.int64)
    pictures = {
        file.relative_to(layout.images).with_suffix("").as_posix(): file
        for file in _pictures.listed(layout.images)
    }
    records: list[PanopticRecord] = []
    for name, file in _maps(layout):
        if name not in pictures:
            raise FormatError(
                file, "", f"map must have its picture {name} in {layout.images}, got none. Put it there."
            )
        size = read_size(file, orient=False)
        load = functools.partial(_load, file, size, table)
        records.append(PanopticRecord(pictures[name], size, load, len(records) + 1))
    return PanopticDataset(tuple(records), tuple(known), (False,) * len(known))


def _layout(path: Path) -> _Layout | None:
    if path.is_file():
        lists = (
            path.suffix == ".txt"
            and path.parent.name == "Segmentation"
            and path.parents[1].name == "ImageSets"
        )
        found = _layout(path.parents[2]) if lists else None
        return None if found is None else found._replace(wanted=path)
    for name in _MAPS:
        if (path / name).is_dir() and (images := _images(path)) is not None:
            return _Layout(path, path / name, images, None)
    for folder in (path, *path.parents):
        if path.is_dir() and folder.name in _MAPS and (images := _images(folder.parent)) is not None:
            images = images / path.relative_to(folder)
            return _Layout(folder.parent, path, images, None) if images.is_dir() else None
    return None


def _images(root: Path) -> Path | None:
    return next((root / name for name in _IMAGES if (root / name).is_dir()), None)


def _names_file(layout: _Layout) -> Path | None:
    return next(
        (root / NAMES for root in (layout.root, layout.root.parent) if (root / NAMES).is_file()), None
    )


def _names(layout: _Layout) -> list[str]:
    """The name of each number."""
    file = _names_file(layout)
    if file is None:
        if layout.maps.name != "SegmentationClass":
            text = (
                f"there must be a list of classes, a name a line, number 0 first. Write {layout.root / NAMES}"
            )
            raise FormatError(layout.root, "", text)
        return ["background", *CLASSES]
    try:
        names = [line.strip() for line in file.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(file, "", f"list must be readable UTF-8 text, got: {error}.") from error
    while names and not names[-1]:
        names.pop()
    told = [name for name in names if name.lower() not in _NOBODY_KNOWS]
    if not told or "" in told or len(set(told)) < len(told):
        raise FormatError(
            file, "", f"classes must have a name of their own each, one a line, got {names[:20]}."
        )
    return names


def _maps(layout: _Layout) -> Iterator[tuple[str, Path]]:
    """Name and file of each map."""
    if layout.wanted is None:
        for file in _pictures.listed(layout.maps):
            yield file.relative_to(layout.maps).with_suffix("").as_posix(), file
        return
    for number, line in enumerate(layout.wanted.read_text("utf-8-sig").splitlines(), 1):
        if name := line.strip():
            _pictures.inside(layout.root, name, f"line {number}", layout.wanted)
            files = [layout.maps / f"{name}{suffix}" for suffix in SUFFIXES]
            there = next((file for file in files if file.is_file()), None)
            if there is None:
                raise FormatError(
                    layout.wanted, f"line {number}", f"{name} must have a map in {layout.maps}, got none."
                )
            yield name, there


def _load(file: Path, size: tuple[int, int], table: NDArray[np.int64]) -> Panoptic:
    """Read one map. Must stay a module-level function: records are pickled."""
    numbers = read_label_map(file, size, voc_files.palette())
    last = int(numbers.max())
    if last >= len(table):
        if len(table) <= VOID:
            unnamed = numbers[(numbers >= len(table)) & (numbers != VOID)]
            last = int(unnamed.max()) if len(unnamed) else -1
        if last >= len(table):
            text = (
                f"numbers must be below {len(table)}, or 255 for void, got {last}. Add its name to {NAMES}."
            )
            raise FormatError(file, "", text)
    labels = np.full(max(len(table), VOID + 1), -1)
    labels[: len(table)] = table
    map_ = (labels[numbers] + 1).astype(np.int32)
    ids = np.unique(map_)
    ids = ids[ids > 0]
    return Panoptic(map_, ids, ids.astype(np.int64) - 1, np.zeros(len(ids), bool))
