"""Cityscapes as a panoptic dataset: what every pixel is, from the pictures of ids that `cityscapes` describes.

The classes are the 19 that its benchmarks evaluate, in the order of their ids; pixels of all others are void. Ids below
1000 of classes with instances are groups that nobody told apart: crowds. Where a ``labels.json`` lists other classes
with instances, those are the things.

A panoptic data set is no `Dataset` of instances, so this module is not among `formats.names`.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from delineate.errors import FormatError
from delineate.formats import cityscapes
from delineate.image import read_label_map, read_size
from delineate.panoptic import Panoptic, PanopticDataset, PanopticRecord

KEEPS = frozenset({"maps", "void", "crowd", "things", "class order"})
"""What is read; nothing is written."""

_STUFF = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23)
_THINGS = (24, 25, 26, 27, 28, 31, 32, 33)
_IDS = "_instanceIds.png"


def sniff(path: str | Path) -> bool:
    """Whether it is a folder with gtFine or gtCoarse, such a folder itself, or one in it.

    Args:
        path: Any file or folder.
    """
    return _truth(Path(path)) is not None


def read(path: str | Path) -> PanopticDataset:
    """Read a folder of this layout. The maps stay unread: each is read, and checked, by its record.

    Args:
        path: The folder above gtFine (or gtCoarse), that folder itself, or one in it: ``gtFine/train``.

    Raises:
        FormatError: There is no such folder, or none of its pictures of instances. Reading a record raises it too, if
            its map is damaged.
    """
    path = Path(path)
    truth = _truth(path)
    if truth is None:
        raise FormatError(
            path, "", "must be a folder with gtFine or gtCoarse, or one of its folders, got none."
        )
    root = truth.parent
    inside = path if truth in (path, *path.parents) else truth
    files = sorted(file for file in inside.rglob(f"*{_IDS}") if file.is_file())
    if not files:
        text = f"must have pictures of instances, *{_IDS}, got none. Make them: cityscapesscripts' json2instanceImg.py"
        raise FormatError(path, "", text)
    names, numbers, things = _classes(root)
    records: list[PanopticRecord] = []
    for file in files:
        stem = file.relative_to(truth).as_posix().removesuffix(f"_{truth.name}{_IDS}")
        size = read_size(file, orient=False)
        load = functools.partial(_load, file, size, numbers, things)
        picture = cityscapes.picture_of(root / "leftImg8bit", stem)
        records.append(PanopticRecord(picture, size, load, len(records) + 1))
    return PanopticDataset(tuple(records), names, tuple(things.tolist()))


def _truth(path: Path) -> Path | None:
    """The folder gtFine or gtCoarse that a path means."""
    for folder in (path / "gtFine", path / "gtCoarse", path, *path.parents):
        if folder.name in ("gtFine", "gtCoarse") and folder.is_dir() and (path.is_dir()):
            return folder
    return None


def _classes(root: Path) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.bool_]]:
    """Names, numbers and which are things."""
    known = dict(enumerate((*cityscapes.STUFF, *cityscapes.THINGS)))
    listed = cityscapes.classes_of(root)
    things = {number: known[number] for number in _THINGS} if listed is None else listed
    both = {number: known[number] for number in _STUFF if number not in things} | things
    order = sorted(both)
    flags = np.array([number in things for number in order], bool)
    return tuple(both[number] for number in order), np.array(order, np.int64), flags


def _load(
    file: Path, size: tuple[int, int], numbers: NDArray[np.int64], things: NDArray[np.bool_]
) -> Panoptic:
    """Read one map. Must stay a module-level function: records are pickled."""
    values, places = np.unique(read_label_map(file, size), return_inverse=True)
    values = values.astype(np.int64)
    single = values >= 1000
    owners = np.where(single, values // 1000, values)
    labels = np.searchsorted(numbers, owners)
    labels = np.where(np.isin(owners, numbers), labels, -1)
    kept = labels >= 0
    ids = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    # Stuff with a number of its own (class * 1000 + n) is one segment all the same.
    for label in np.unique(labels[kept & ~things[labels]]).tolist():
        ids[labels == label] = ids[labels == label][0]
    shown, first = np.unique(ids[kept], return_index=True)
    own = labels[kept][first]
    crowd = things[own] & ~single[kept][first]
    return Panoptic(ids[places].reshape(size), shown, own, things[own], crowd)
