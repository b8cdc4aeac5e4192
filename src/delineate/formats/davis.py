"""DAVIS and YouTube-VOS: a picture of object numbers with a palette for every frame (https://davischallenge.org).

::

    JPEGImages/480p/judo/00000.jpg     (the folder of the resolution may be missing)
    Annotations/480p/judo/00000.png    0 is background; 255 is void: here a crowd
    ImageSets/2017/val.txt             names of videos, one a line: a split
    classes.json                       only where there are other classes than "object"

Where a video has no number but 0 and 255, as in DAVIS 2016, 255 is its one object, number 1. Objects cannot
overlap; where they do, the later one is on top in what is written.
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
from delineate.formats._painting import fitting, hidden
from delineate.image import SUFFIXES, read_label_map, read_size
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.tracks import tracks

KEEPS = frozenset({"masks", "holes", "parts", "ids", "class order", "empty pictures", "videos"})
"""What ``read(write(dataset))`` preserves. Of objects under others only what shows is kept; pictures are named by
their number."""
SUFFIX = ""

VOID = 255
_MAPS, _IMAGES, _SETS = "Annotations", "JPEGImages", "ImageSets"

_log = logging.getLogger("delineate")


def sniff(path: str | Path) -> bool:
    """Whether it is a folder with maps in ``Annotations``, or a folder of numbered maps with a palette.

    Args:
        path: Any file or folder.
    """
    path = Path(path)
    try:
        voc = (path / "SegmentationObject").is_dir() or any((path / _MAPS).glob("*.xml"))
        if (path / _MAPS).is_dir() and not voc:
            return bool(_videos(path)) or ((path / _IMAGES).is_dir() and not any((path / _MAPS).iterdir()))
        files = _maps(path) if path.is_dir() else []
        if not files or not all(file.stem.isdecimal() for file in files):
            return False
        with Image.open(files[0]) as picture:
            return picture.mode == "P"
    except (OSError, ValueError, FormatError):
        return False


def read(path: str | Path) -> Dataset:
    """Read a data set, a folder of results (a folder of maps for each video), or the maps of one video.

    Records come video by video; their ids are ``"VIDEO/NAME"``. ``Record.frame`` is the number that the file's name
    is, or its position where names of a video are no numbers. Track ids are the numbers of the objects.

    Args:
        path: The folder.

    Raises:
        FormatError: There is no such folder, or a map is damaged or has another size than the others.
    """
    path = Path(path)
    found = _videos(path)
    if not found and not (path / _MAPS).is_dir():
        text = "must be a folder with Annotations/VIDEO/00000.png, or with such maps, got none."
        raise FormatError(path, "", text)
    table = _class_table.read(path)
    splits = _splits(path)
    records = []
    for video, maps in found.items():
        images = _images(path, maps[0].parent)
        numbers = [int(file.stem) for file in maps if file.stem.isdecimal() and len(file.stem) <= 9]
        if len(set(numbers)) < len(maps):
            numbers = list(range(len(maps)))
        parts = list(_decoded(maps))
        alone = {int(v) for _, values in parts for v in values} == {VOID}
        for file, number, (masks, values) in zip(maps, numbers, parts, strict=True):
            crowd = (values == VOID) & (not alone)
            ids = np.where(alone, 1, values).astype(np.int64)
            instances = Instances.of(
                masks,
                table.labels(video, [str(id_) for id_ in ids.tolist()]),
                crowd=crowd if crowd.any() else None,
                ids=ids,
            )
            picture = images.get(file.stem)
            name = f"{video}/{file.stem}"
            records.append(Record(picture, masks.size, instances, name, {}, video, number, splits.get(video)))
    return Dataset(tuple(records), table.classes)


def write(dataset: Dataset, path: str | Path, *, pictures: _pictures.Placing = "link") -> None:
    """Write Annotations/, JPEGImages/ and ImageSets/; the folder appears in one step.

    Frames are named by their number. Track ids become the numbers of the objects; objects without, or with ids that
    are not 1 to 254, get numbers that are free in their video. Crowds become void. The log says how many objects lose
    pixels under later ones.

    Args:
        dataset: What to write; every record is a frame of a video.
        path: The folder; it must be new or empty.
        pictures: "link" and "copy" put the pictures under JPEGImages/; "leave" leaves that to you.

    Raises:
        FormatError: A picture is missing, a video or split cannot name a file, or a video has more than 254 tracks.
        FileExistsError: There is something in the folder.
        ValueError: A record belongs to no video, or masks are missing.
    """
    path = Path(path)
    _pictures.need_frames("davis", dataset)
    objects: dict[str, dict[str, int]] = {}
    sets: dict[str, list[str]] = {}
    covered = 0
    with atomic.writing_folder(path) as root:
        (root / _MAPS).mkdir()
        (root / _IMAGES).mkdir()
        for video, frames in dataset.videos().items():
            name = _pictures.folder_name(path, str(video))
            found = tracks([r.replace(instances=r.instances.replace(scores=None)) for r in frames])
            values = np.full(len(found.ids), VOID, np.int64)
            values[~found.crowd] = fitting(path, video, found.ids[~found.crowd], VOID - 1)
            objects[name] = {str(v): n for v, n in zip(values.tolist(), found.labels.tolist(), strict=True)}
            (root / _MAPS / name).mkdir()
            for record, rows in zip(frames, found.rows, strict=True):
                masks = record.instances.masks or Masks.empty(record.size)
                _write_map(
                    root / _MAPS / name / f"{record.frame:05}.png", algebra.to_label_map(masks, values[rows])
                )
                covered += hidden(masks)
                if record.path is not None:
                    target = root / _IMAGES / name / f"{record.frame:05}{record.path.suffix.lower()}"
                    _pictures.place(record.path, target, pictures)
            for split in {record.split for record in frames if record.split is not None}:
                sets.setdefault(split, []).append(name)
        _class_table.write(root, dataset.classes, objects)
        for split, names in sorted(sets.items()):
            (root / _SETS).mkdir(exist_ok=True)
            file = root / _SETS / f"{_pictures.folder_name(path, split)}.txt"
            file.write_text("".join(f"{name}\n" for name in names), "utf-8")
    if covered:
        _log.warning("%s: %d objects lose pixels under later ones, or have none", path, covered)


def _maps(folder: Path) -> list[Path]:
    files = (file for file in folder.iterdir() if file.suffix.lower() == ".png" and file.name[0] != ".")
    return sorted(files, key=lambda file: (len(file.stem) if file.stem.isdecimal() else 0, file.stem))


def _videos(path: Path) -> dict[str, list[Path]]:
    """The maps of each video in the order of their names."""
    if not path.is_dir():
        return {}
    root = path / _MAPS if (path / _MAPS).is_dir() else path
    folders = sorted(item for item in root.iterdir() if item.is_dir() and item.name[0] != ".")
    if folders and not any(_maps(folder) for folder in folders):  # one folder per resolution: the first one
        inner = [sorted(item for item in folder.iterdir() if item.is_dir()) for folder in folders]
        folders = next((items for items in inner if items), [])
    found = {folder.name: maps for folder in folders if (maps := _maps(folder))}
    if not found and root == path and (maps := _maps(path)):
        return {path.absolute().name: maps}
    return found


def _images(path: Path, folder: Path) -> dict[str, Path]:
    """The pictures of a video by stem; they lie as its maps do, with another word for the first folder."""
    parts = list(folder.parts)
    for place in range(len(parts) - 1, -1, -1):
        if parts[place] == _MAPS:
            other = Path(*parts[:place], _IMAGES, *parts[place + 1 :])
            if path in (other, *other.parents) and other.is_dir():
                return {file.stem: file for file in other.iterdir() if file.suffix.lower() in SUFFIXES}
    return {}


def _decoded(maps: list[Path]) -> Iterator[tuple[Masks, NDArray[np.uint32]]]:
    size = read_size(maps[0], orient=False)
    for file in maps:
        array = read_label_map(file, size)
        if array.dtype != np.uint8:
            raise FormatError(file, "", f"map must have 8 bits, got {array.dtype}. Is this another format?")
        yield algebra.from_label_map(array)


def _splits(path: Path) -> dict[str, str]:
    """The split of each video that is in exactly one list of the newest year."""
    sets = path / _SETS
    if not sets.is_dir():
        return {}
    folder = max((item for item in sets.iterdir() if item.is_dir()), default=sets)
    lists: dict[str, list[str]] = {}
    for file in sorted(folder.glob("*.txt")):
        try:
            names = file.read_text("utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise FormatError(file, "", f"list must be readable text, got: {error}.") from error
        for name in filter(None, map(str.strip, names)):
            lists.setdefault(name, []).append(file.stem)
    return {name: given[0] for name, given in lists.items() if len(given) == 1}


def _write_map(path: Path, array: NDArray[np.uint16]) -> None:
    picture = Image.fromarray(array.astype(np.uint8), "P")
    picture.putpalette(_palette())
    with path.open("wb") as file:
        picture.save(file, "PNG", compress_level=1)


def _palette() -> list[int]:
    """The colours that Pascal VOC and DAVIS give to numbers: their bits, dealt out to red, green and blue."""
    return [
        sum(((number >> (3 * place + channel)) & 1) << (7 - place) for place in range(3))
        for number in range(256)
        for channel in range(3)
    ]
