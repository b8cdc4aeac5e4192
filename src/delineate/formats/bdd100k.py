"""BDD100K's bitmasks: pictures whose four channels say class, flags and number of each object.

The layout and the channels of https://doc.bdd100k.com/format.html::

    images/10k/train/a.jpg
    labels/ins_seg/bitmasks/train/a.png     also bitmasks/train/a.png, or such pictures in one folder
    classes.json                            only where there are other classes than BDD100K's

    R: class, from 1; 0 is background      G: truncated * 8 + occluded * 4 + crowd * 2 + ignored
    B, A: number of the object, B * 256 + A

Objects cannot overlap; where they do, the later one is on top in what is written.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from delineate import algebra, atomic
from delineate._picture_files import opened
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import _class_table as class_table
from delineate.formats import _pictures
from delineate.formats._painting import hidden
from delineate.image import SUFFIXES
from delineate.instances import Instances
from delineate.masks import Masks

KEEPS = frozenset(
    {"masks", "holes", "parts", "crowd", "ids", "class order", "empty pictures", "splits"},
)
"""What ``read(write(dataset))`` preserves, and the attributes of objects named in `FLAGS`. Of objects under others only
what shows is kept."""
SUFFIX = ""

CLASSES = ("pedestrian", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
"""BDD100K's classes 1 to 8."""
FLAGS = {"truncated": 8, "occluded": 4, "ignored": 1}
"""Attribute of an object -> its bit in G."""

_CROWD = 2
_PLACES = ("labels/ins_seg/bitmasks", "labels/seg_track_20/bitmasks", "ins_seg/bitmasks", "bitmasks")
_IMAGES = ("images/10k", "images/seg_track_20", "images")

_log = logging.getLogger("delineate")


def sniff(path: str | Path) -> bool:
    """Whether it is a folder with bitmasks at one of BDD100K's places, or a folder of such pictures.

    Args:
        path: Any file or folder.
    """
    try:
        root = _root(Path(path))
        if root is None:
            return False
        file = next(iter(_files(root)), None)
        if file is None:
            return root.name == "bitmasks"
        with opened(file) as picture:
            array = picture.decode()
        return _fits(array) and bool((array[..., 0] <= len(CLASSES)).all() or (root != Path(path)))
    except (OSError, FormatError):
        return False


def _fits(array: NDArray[np.generic]) -> bool:
    return array.ndim == 3 and array.shape[2] == 4 and array.dtype == np.uint8


def _root(path: Path) -> Path | None:
    """The folder that holds the bitmasks."""
    if not path.is_dir():
        return None
    for place in _PLACES:
        if (path / place).is_dir():
            return path / place
    named = path.absolute().name == "bitmasks"
    return path if named or any(file.suffix.lower() == ".png" for file in path.iterdir()) else None


def _files(root: Path) -> Iterator[Path]:
    return (file for file in _pictures.listed(root) if file.suffix.lower() == ".png")


def read(path: str | Path) -> Dataset:
    """Read the bitmasks of all splits; ids of pictures are 1, 2, ... in the order of their names.

    Objects come in the order of their numbers, which are their track ids (BDD100K's segmentation tracking gives an
    object one number in all frames). ``extras["attributes"]`` says which of `FLAGS` are set.

    Args:
        path: The root, or the folder of the bitmasks.

    Raises:
        FormatError: There is no such folder, or a picture is damaged, has other channels, or contradicts itself.
    """
    path = Path(path)
    root = _root(path)
    if root is None:
        raise FormatError(path, "", "must be a folder with bitmasks/SPLIT/a.png, got none.")
    above = next((p for p in (path, *root.parents) if (p / class_table.NAME).is_file()), path)
    classes = class_table.read(above).classes if (above / class_table.NAME).is_file() else CLASSES
    records: list[Record] = []
    for file in _files(root):
        inner = file.relative_to(root).with_suffix("")
        found = _instances(file, classes)
        split = inner.parts[0] if len(inner.parts) > 1 else None
        records.append(Record(_picture(root, inner), found.size, found, len(records) + 1, split=split))
    return Dataset(tuple(records), classes)


def _instances(file: Path, classes: Sequence[str]) -> Instances:
    with opened(file) as picture:
        array = picture.decode()
    if not _fits(array):
        raise FormatError(
            file, "", "bitmask must have four channels of 8 bits: class, flags and two for the number."
        )
    codes = array.astype(np.uint32) @ np.array([2**24, 2**16, 2**8, 1], np.uint32)
    codes[array[..., 0] == 0] = 0
    masks, values = algebra.from_label_map(codes)
    ids, labels, flags = (
        (values & 0xFFFF).astype(np.int64),
        (values >> 24).astype(np.int64) - 1,
        values >> 16 & 255,
    )
    for n in np.flatnonzero(labels >= len(classes))[:1]:
        raise FormatError(
            file, f"object {ids[n]}", f"class must be 1 to {len(classes)}, got {labels[n] + 1}."
        )
    order = np.argsort(ids, kind="stable")
    for n in np.flatnonzero(ids[order][1:] == ids[order][:-1])[:1]:
        raise FormatError(
            file, f"object {ids[order][n]}", "object must be of one class with one set of flags."
        )
    said = [{name: True for name, bit in FLAGS.items() if flag & bit} for flag in flags[order].tolist()]
    crowd = (flags[order] & _CROWD) > 0
    texts = np.array([json.dumps(one) for one in said], np.str_)
    extras = {"attributes": texts} if any(said) else {}
    return Instances.of(
        masks[order], labels[order], crowd=crowd if crowd.any() else None, ids=ids[order], extras=extras
    )


def _picture(root: Path, name: Path) -> Path:
    """The picture of that name under images/; where it would be, if there is none."""
    for above in root.parents:
        for folder in _IMAGES:
            place = (above / folder / name).parent
            if place.is_dir():
                files = (
                    place / f"{name.name}{end}" for one in sorted(SUFFIXES) for end in (one, one.upper())
                )
                return next((file for file in files if file.is_file()), place / f"{name.name}.jpg")
        if above.name not in ("labels", "ins_seg", "seg_track_20"):
            break
    return root.parent / "images" / name.parent / f"{name.name}.jpg"


def write(dataset: Dataset, path: str | Path, *, pictures: _pictures.Placing = "link") -> None:
    """Write labels/ins_seg/bitmasks/ and images/10k/, in folders for the splits; all appear in one step.

    Track ids become the numbers of the objects where a picture has different ones from 1 to 65535, else they are
    1, 2, ... in their order. The log says how many objects lose pixels under later ones, or have none.

    Args:
        dataset: What to write.
        path: The folder; it must be new or empty.
        pictures: "link" and "copy" put the pictures under images/10k; "leave" leaves that to you.

    Raises:
        FormatError: A picture is missing, a split cannot name a folder, or there are more than 255 classes or 65535
            objects in a picture.
        FileExistsError: There is something in the folder.
        ValueError: Objects have no masks.
    """
    path = Path(path)
    if len(dataset.classes) > 255:
        raise FormatError(path, "", f"classes must be at most 255, got {len(dataset.classes)}. Use coco.")
    covered = 0
    with atomic.writing_folder(path) as root:
        (root / _PLACES[0]).mkdir(parents=True)
        for record, name in zip(dataset, _pictures.names(dataset, by_split=True), strict=True):
            split = "" if record.split is None else _pictures.folder_name(path, record.split)
            masks = record.instances.masks
            if masks is None:
                raise ValueError(f"bdd100k.write: instances must have masks, got boxes only in {record.name}")
            file = root / _PLACES[0] / split / f"{Path(name).stem}.png"
            file.parent.mkdir(exist_ok=True)
            _write_map(file, masks, _codes(path, record))
            covered += hidden(masks)
            if record.path is not None:
                _pictures.place(record.path, root / _IMAGES[0] / split / name, pictures)
        if dataset.classes != CLASSES:
            class_table.write(root, dataset.classes, {}, always=True)
    if covered:
        _log.warning("%s: %d objects lose pixels under later ones, or have none", path, covered)


def _codes(path: Path, record: Record) -> NDArray[np.uint32]:
    """The four channels of each object as one number."""
    found = record.instances
    if len(found) > 0xFFFF:
        raise FormatError(path, record.name, f"objects must be at most 65535, got {len(found)}. Use coco.")
    ids = found.ids
    if (
        ids is None
        or len(np.unique(ids)) < len(ids)
        or (len(ids) and not 1 <= ids.min() <= ids.max() <= 0xFFFF)
    ):
        ids = np.arange(1, len(found) + 1)
    texts = found.extras.get("attributes")
    flags = np.zeros(len(found), np.int64) if found.crowd is None else found.crowd * _CROWD
    for n, text in enumerate([] if texts is None else texts.tolist()):
        said = json.loads(text)
        flags[n] |= sum(bit for name, bit in FLAGS.items() if said.get(name) is True)
    codes: NDArray[np.uint32] = (((found.labels + 1) << 24) | (flags << 16) | ids).astype(np.uint32)
    return codes


def _write_map(file: Path, masks: Masks, codes: NDArray[np.uint32]) -> None:
    array = algebra.to_label_map(masks, codes, dtype=np.uint32)
    channels = np.ascontiguousarray(array.astype(">u4")).view(np.uint8).reshape(*array.shape, 4)
    Image.fromarray(channels).save(file, compress_level=1)
