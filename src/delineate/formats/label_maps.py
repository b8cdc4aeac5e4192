"""Label maps: for each picture a second one whose pixels are the numbers of the objects, 0 where there is none.

Cellpose, StarDist and napari exchange them, as PNG or TIFF of 8, 16 or 32 bits. Two ways of naming are read::

    images/a.tif      masks/a.tif       StarDist; also labels/ and label_maps/, and in folders of splits
                      labels/a.tif      maps alone, as napari saves them
    a.tif             a_cp_masks.png    Cellpose, in one folder; also _masks and _labels
    classes.json                        only where there are other classes than "object"

A TIFF of several pages is a stack (Z, Y, X): a video, whose frames are the layers and whose tracks are the numbers.

Objects of a map cannot overlap; where they do, the later one is on top in what is written.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from delineate import algebra, atomic
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import _class_table, _pictures
from delineate.formats._painting import hidden
from delineate.image import SUFFIXES, read_label_map, read_label_maps, read_size
from delineate.instances import Instances

KEEPS = frozenset({"masks", "holes", "parts", "instance order", "class order", "empty pictures", "splits"})
"""What ``read(write(dataset))`` preserves. Of objects under others only what shows is kept."""
SUFFIX = ""

_FOLDERS = ("masks", "labels", "label_maps")
_ENDINGS = ("_cp_masks", "_masks", "_labels")

_log = logging.getLogger("delineate")


def sniff(path: str | Path) -> bool:
    """Whether it is a folder with pictures and maps that are named in one of these ways.

    Args:
        path: Any file or folder.
    """
    try:
        pairs = (pair for _, folder in _places(Path(path)) for pair in _pairs(folder))
        picture, file, _ = next((pair for pair in pairs if pair[1] is not None), (None, None, ""))
        if picture is not None and file is not None and not picture.is_file():
            read_label_map(file)  # maps alone may be any pictures
        return file is not None
    except (OSError, FormatError):
        return False


def _places(root: Path) -> Iterator[tuple[str | None, Path]]:
    """(split, folder) where pairs may lie: the root itself, then its folders."""
    if not root.is_dir():
        return
    yield None, root
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and folder.name[0] != "." and folder.name not in ("images", *_FOLDERS):
            yield folder.name, folder


def _pairs(folder: Path) -> Iterator[tuple[Path, Path | None, str]]:
    """(picture, its map or None, its name) of one folder; a map without a picture is refused.

    Where there are maps only, the pictures are said to be where they would be.
    """
    there = [folder / name for name in _FOLDERS if (folder / name).is_dir()]
    images = list(_pictures.listed(folder / "images")) if there else []
    for place in there:
        maps = list(_pictures.listed(place))
        if not images:
            for file in maps:
                name = file.relative_to(place).with_suffix("")
                yield folder / "images" / name.with_name(f"{name.name}.png"), file, name.as_posix()
        else:
            yield from _matched(place, images, maps, folder / "images")
    if there or (folder / "images").is_dir():
        return
    files = _flat(folder)
    maps = [file for file in files if file.stem.endswith(_ENDINGS)]
    wanted = {_bare(file.stem) for file in maps}
    yield from _matched(folder, [file for file in files if file.stem in wanted], maps, folder)


def _flat(folder: Path) -> list[Path]:
    found = [file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.name[0] != "."]
    return sorted(found)


def _bare(stem: str) -> str:
    for ending in _ENDINGS:
        if stem.endswith(ending):
            return stem.removesuffix(ending)
    return stem


def _matched(
    where: Path, images: list[Path], maps: list[Path], root: Path
) -> Iterator[tuple[Path, Path | None, str]]:
    """Pictures with the maps of their names, folders below included."""
    by_name = {file.relative_to(root).with_suffix("").as_posix(): file for file in images}
    found: dict[str, Path] = {}
    for file in maps:
        name = file.relative_to(where).with_suffix("").as_posix()
        name = name if name in by_name and root != where else _bare(name)
        if name in found:
            raise FormatError(
                file, "", f"there must be one map for each picture, got {found[name].name} as well."
            )
        found[name] = file
    if not set(found) & set(by_name):
        return  # other things, such as one picture for each object
    for name, file in found.items():
        if name not in by_name:
            raise FormatError(
                file, "", f"map must have its picture {name} in {root}, got none. Put it there."
            )
    for name, picture in by_name.items():
        yield picture, found.get(name), name


def read(path: str | Path) -> Dataset:
    """Read pictures and their maps; folders in the root are splits. Ids are 1, 2, ... in the order of the names.

    The objects of a picture come in the order of their numbers. The records of a stack have no path of their own:
    ``attributes["stack"]`` says which file it is, ``frame`` the layer. A picture without a map is not annotated: it is
    left out, and the log says how many there are.

    Args:
        path: The folder.

    Raises:
        FormatError: There is no such folder, a map is damaged, has another size than its picture, or has none.
    """
    path = Path(path)
    table = _class_table.read(path)
    records: list[Record] = []
    bare = found = 0
    for split, folder in _places(path):
        for picture, file, name in _pairs(folder):
            found += 1
            if file is None:
                bare += 1
                continue
            key = name if split is None else f"{split}/{name}"
            layers = _layers(picture, file, table, key)
            for n, layer in enumerate(layers):
                record = Record(picture, layer.size, layer, len(records) + 1, split=split)
                if len(layers) > 1:
                    stack = {"stack": picture.relative_to(path).as_posix()}
                    record = record.replace(path=None, attributes=stack, video=key, frame=n)
                records.append(record)
    if not found and not table.path.is_file():
        text = "must be a folder with images/ and masks/, or with pictures and their *_cp_masks, got none."
        raise FormatError(path, "", text)
    if bare:
        _log.warning("%s: %d of %d pictures have no map; they are left out", path, bare, found)
    return Dataset(tuple(records), table.classes)


def _layers(picture: Path, file: Path, table: _class_table.ClassTable, key: str) -> list[Instances]:
    """The objects of a map; of a stack those of each layer, with their numbers as track ids."""
    size = read_size(picture) if picture.is_file() else None
    stack = file.suffix.lower() in (".tif", ".tiff")
    arrays = read_label_maps(file, size) if stack else [read_label_map(file, size)]
    layers = [algebra.from_label_map(array) for array in arrays]
    found = []
    for masks, values in layers:
        labels = table.labels(key, [str(value) for value in values.tolist()])
        ids = values.astype(np.int64) if len(layers) > 1 else None
        found.append(Instances.of(masks, labels, ids=ids))
    return found


def write(dataset: Dataset, path: str | Path, *, pictures: _pictures.Placing = "link") -> None:
    """Write images/ and masks/ (in folders for the splits), which appear in one step.

    Maps are PNG of 16 bits, or TIFF of 32 where a picture has more than 65535 objects; objects are numbered
    1, 2, ... in their order. The log says how many objects lose pixels under later ones, or have none.

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
    covered = 0
    with atomic.writing_folder(path) as root:
        for record, name in zip(dataset, _pictures.names(dataset, by_split=True), strict=True):
            split = (
                "" if record.split is None else _pictures.folder_name(path, record.split, "images", *_FOLDERS)
            )
            stem = Path(name).stem
            for kind in ("images", "masks"):
                (root / split / kind).mkdir(parents=True, exist_ok=True)
            found = record.instances
            if found.masks is None:
                raise ValueError(
                    f"label_maps.write: instances must have masks, got boxes only in {record.name}"
                )
            if record.path is not None:
                _pictures.place(record.path, root / split / "images" / name, pictures)
            _write_map(root / split / "masks" / stem, algebra.to_label_map(found.masks, dtype=np.uint32))
            covered += hidden(found.masks)
            key = f"{split}/{stem}" if split else stem
            objects[key] = {str(n): label for n, label in enumerate(found.labels.tolist(), 1)}
        _class_table.write(root, dataset.classes, objects)
    if covered:
        _log.warning("%s: %d objects lose pixels under later ones, or have none", path, covered)


def _write_map(path: Path, array: NDArray[np.uint32]) -> None:
    if array.size and array.max() >= 2**16:
        Image.fromarray(array.astype(np.int32)).save(path.with_name(path.name + ".tif"))
    else:
        Image.fromarray(array.astype(np.uint16)).save(path.with_name(path.name + ".png"))
