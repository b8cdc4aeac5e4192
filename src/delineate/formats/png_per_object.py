"""One picture file for each object, as the 2018 Data Science Bowl has it: a folder for each picture.

::

    stage1_train/00071198d/images/00071198d.png
    stage1_train/00071198d/masks/07a9bf1d7.png      white where the object is
    stage1_train/00071198d/masks/0e548d0af.png
    classes.json                                    only where there are other classes than "object"

(https://www.kaggle.com/c/data-science-bowl-2018/data). The folder around the folders of pictures is their split; they
may lie in the root as well. Objects may overlap. A picture without a folder masks/ is not annotated and is left out;
one whose file is not there is as large as its masks.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

from delineate import atomic, codecs
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import _class_table, _pictures
from delineate.image import read_size
from delineate.instances import Instances
from delineate.masks import Masks

KEEPS = frozenset(
    {"masks", "holes", "parts", "overlaps", "empty masks"}
    | {"instance order", "class order", "empty pictures", "splits"}
)
"""What ``read(write(dataset))`` preserves."""
SUFFIX = ""

_log = logging.getLogger("delineate")


def sniff(path: str | Path) -> bool:
    """Whether it is a folder with folders of pictures, each with one picture in images/ and others in masks/.

    Args:
        path: Any file or folder.
    """
    try:
        for _, folder in itertools.islice(_folders(Path(path)), 5):
            if (folder / "masks").is_dir():
                pictures = list(itertools.islice(_pictures.listed(folder / "images"), 2))
                same = [mask for mask in _masks(folder) if mask.stem == pictures[0].stem] if pictures else []
                return len(pictures) == 1 and not same
    except OSError:
        pass
    return False


def _folders(root: Path) -> Iterator[tuple[str | None, Path]]:
    """(split, folder) of every picture, in the order of the names."""
    for folder in _inner(root):
        if (folder / "images").is_dir():
            yield None, folder
        else:
            yield from ((folder.name, inner) for inner in _inner(folder) if (inner / "images").is_dir())


def _inner(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(inner for inner in folder.iterdir() if inner.is_dir() and inner.name[0] != ".")


def _masks(folder: Path) -> list[Path]:
    return list(_pictures.listed(folder / "masks"))


def read(path: str | Path) -> Dataset:
    """Read the folders of all pictures, ids 1, 2, ... in the order of their names, objects in that of their files.

    Args:
        path: The root; its folders are pictures, or splits with pictures in them.

    Raises:
        FormatError: There is no such folder, or a mask does not fit its picture.
    """
    path = Path(path)
    table = _class_table.read(path)
    records: list[Record] = []
    bare = sizeless = found = 0
    for split, folder in _folders(path):
        found += 1
        if not (folder / "masks").is_dir():
            bare += 1
            continue
        files = _masks(folder)
        picture = _picture(folder)
        if picture is None and not files:
            sizeless += 1
            continue
        picture, source = (
            (folder / "images" / f"{folder.name}.png", files[0]) if picture is None else (picture,) * 2
        )
        labels = table.labels(_key(split, folder.name), [file.name for file in files])
        instances = Instances.of(_objects(files, read_size(source, orient=source == picture)), labels)
        records.append(Record(picture, instances.size, instances, len(records) + 1, split=split))
    if not found and not table.path.is_file():
        raise FormatError(path, "", "must be a folder of folders with images/ and masks/, got none.")
    if bare:
        _log.warning("%s: %d of %d pictures have no folder masks; they are left out", path, bare, found)
    if sizeless:
        _log.warning("%s: %d pictures have neither file nor objects; they are left out", path, sizeless)
    return Dataset(tuple(records), table.classes)


def _key(split: str | None, name: str) -> str:
    return name if split is None else f"{split}/{name}"


def _picture(folder: Path) -> Path | None:
    """The picture, if it is there."""
    pictures = list(itertools.islice(_pictures.listed(folder / "images"), 2))
    if len(pictures) > 1:
        raise FormatError(folder / "images", "", "must hold one picture, got more.")
    return pictures[0] if pictures else None


def _objects(files: list[Path], size: tuple[int, int]) -> Masks:
    """The mask of each file."""
    found = []
    for file in files:
        try:
            found.append(codecs.from_png([file.read_bytes()], size))
        except OSError as error:
            raise FormatError(file, "", f"mask must be readable, got: {error.strerror}.") from error
        except FormatError as error:
            raise FormatError(file, error.item, error.message) from error
        except ValueError as error:
            text = f"mask must have the size of its picture: {str(error).partition(': ')[2]}"
            raise FormatError(file, "", text) from error
    return Masks.concat(found) if found else Masks.empty(size)


def write(dataset: Dataset, path: str | Path, *, pictures: _pictures.Placing = "link") -> None:
    """Write a folder for each picture, in folders for the splits; all appear in one step.

    Args:
        dataset: What to write.
        path: The folder; it must be new or empty.
        pictures: "link" and "copy" put the pictures under images/; "leave" leaves that to you.

    Raises:
        FormatError: A picture is missing, or a split cannot name a folder.
        FileExistsError: There is something in the folder.
        ValueError: Objects have no masks.
    """
    path = Path(path)
    objects: dict[str, dict[str, int]] = {}
    with atomic.writing_folder(path) as root:
        for record, name in zip(dataset, _pictures.names(dataset, by_split=True), strict=True):
            split = None if record.split is None else _pictures.folder_name(path, record.split)
            key = _key(split, Path(name).stem)
            folder = root / key
            (folder / "images").mkdir(parents=True)
            (folder / "masks").mkdir()
            if record.path is not None:
                _pictures.place(record.path, folder / "images" / name, pictures)
            objects[key] = _write_masks(record, folder / "masks")
        _class_table.write(root, dataset.classes, objects)


def _write_masks(record: Record, folder: Path) -> dict[str, int]:
    """One file for each object; returns their classes by name."""
    found = record.instances
    if found.masks is None:
        raise ValueError(f"png_per_object.write: instances must have masks, got boxes only in {record.name}")
    classes: dict[str, int] = {}
    for n, label in enumerate(found.labels.tolist()):
        name = f"object_{n + 1:06d}.png"
        (folder / name).write_bytes(codecs.to_png(found.masks[[n]])[0])
        classes[name] = label
    return classes
