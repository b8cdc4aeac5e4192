"""Cell Tracking Challenge: a picture of 16-bit cell numbers for every frame, and a table of the tracks.

Described at https://celltrackingchallenge.net/datasets (naming and file content conventions)::

    01/t000.tif                     pictures of video 01
    01_GT/TRA/man_track000.tif      truth: cell numbers, 0 is background
    01_GT/TRA/man_track.txt         "3 31 91 1": number, first frame, last frame, mother (0: none)
    01_RES/mask000.tif, res_track.txt    the same of results
    classes.json                    only where there are other classes than "object"

A cell that divides ends; its daughters begin. The extra "parent" says from whom.
"""

from __future__ import annotations

import logging
import re
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
"""What ``read(write(dataset))`` preserves, and the extra "parent". Of cells under others only what shows is kept;
pictures are named by their number."""
SUFFIX = ""

PARENT = "parent"
"""Name of the extra: (N,) int64, the track id of the mother, 0 for none."""

_LARGEST = 2**16 - 1
_TABLES = {"man_track.txt": "man_track", "res_track.txt": "mask"}

_log = logging.getLogger("delineate")


def sniff(path: str | Path) -> bool:
    """Whether it is a folder with man_track.txt or res_track.txt at one of its places.

    Args:
        path: Any file or folder.
    """
    try:
        return bool(_places(Path(path)))
    except OSError:
        return False


def read(path: str | Path) -> Dataset:
    """Read truth (TRA) or results of one or several videos.

    Where a folder has both of a video, the truth is read. Records come video by video; their ids are
    ``"VIDEO/NUMBER"``, track ids the numbers of the cells, which come in rising order. ``extras`` has "parent".

    Args:
        path: The folder of a data set, or one with maps and their table.

    Raises:
        FormatError: There is no such folder, a map is damaged or has another size, or a cell is not in the table.
    """
    path = Path(path)
    places = _places(path)
    if not places and not (path / _class_table.NAME).is_file():
        text = (
            "must be a folder with 01_GT/TRA/man_track.txt or 01_RES/res_track.txt, got nothing of the kind."
        )
        raise FormatError(path, "", text)
    classes = _class_table.read(path)
    records = []
    for video, table in places.items():
        parents = _parents(table)
        images = _images(path, table, video)
        size = None
        for number, file in _maps(table).items():
            size = size or read_size(file, orient=False)
            masks, values = algebra.from_label_map(read_label_map(file, size))
            ids = values.astype(np.int64)
            strange = [id_ for id_ in ids.tolist() if id_ not in parents]
            if strange:
                raise FormatError(file, "", f"cells must be in {table.name}, got {strange[0]}.")
            labels = classes.labels(video, [str(id_) for id_ in ids.tolist()])
            extra = np.array([parents[id_] for id_ in ids.tolist()], np.int64)
            part = Instances.of(masks, labels, ids=ids, extras={PARENT: extra})
            records.append(Record(images.get(number), size, part, f"{video}/{number:03}", {}, video, number))
    return Dataset(tuple(records), classes.classes)


def write(dataset: Dataset, path: str | Path, *, pictures: _pictures.Placing = "link") -> None:
    """Write the truth of videos, VIDEO_GT/TRA, and their pictures, VIDEO; the folder appears in one step.

    Frames are named by their number. Track ids become the numbers of the cells; objects without, or with ids that are
    not 1 to 65535, get numbers that are free in their video. The extra "parent" says who the mother is. The log says
    how many cells lose pixels under later ones.

    Args:
        dataset: What to write; every record is a frame of a video. Crowds are left out, and the log says how many.
        path: The folder; it must be new or empty.
        pictures: "link" and "copy" put the pictures under VIDEO/; "leave" leaves that to you.

    Raises:
        FormatError: A picture is missing, a video cannot name a folder, or has more than 65535 tracks.
        FileExistsError: There is something in the folder.
        ValueError: A record belongs to no video, or masks are missing.
    """
    path = Path(path)
    _pictures.need_frames("ctc", dataset)
    objects: dict[str, dict[str, int]] = {}
    covered = crowds = 0
    with atomic.writing_folder(path) as root:
        for video, frames in dataset.videos().items():
            name = _pictures.folder_name(path, str(video))
            folder = root / f"{name}_GT" / "TRA"
            folder.mkdir(parents=True)
            plain = [record.replace(instances=_countable(record.instances)) for record in frames]
            found = tracks(plain)
            ids = fitting(path, video, found.ids, _LARGEST)
            objects[name] = {str(v): n for v, n in zip(ids.tolist(), found.labels.tolist(), strict=True)}
            for record, whole, rows in zip(plain, frames, found.rows, strict=True):
                masks = record.instances.masks or Masks.empty(record.size)
                array = algebra.to_label_map(masks, ids[rows])
                Image.fromarray(array).save(
                    folder / f"man_track{record.frame:03}.tif", compression="tiff_lzw"
                )
                covered += hidden(masks)
                crowds += len(whole.instances) - len(record.instances)
                if record.path is not None:
                    target = root / name / f"t{record.frame:03}{record.path.suffix.lower()}"
                    _pictures.place(record.path, target, pictures)
            (folder / "man_track.txt").write_text("".join(_lines(plain, ids, found.rows)), "ascii")
        _class_table.write(root, dataset.classes, objects, always=not objects)
    if covered or crowds:
        text = "%s: %d cells lose pixels under later ones, or have none; %d crowds are left out"
        _log.warning(text, path, covered, crowds)


def _countable(item: Instances) -> Instances:
    """Without crowds, and without scores, which may differ within a track."""
    kept = item if item.crowd is None else item[np.flatnonzero(~item.crowd)].replace(crowd=None)
    return kept.replace(scores=None)


def _lines(
    frames: list[Record], ids: NDArray[np.int64], rows: tuple[NDArray[np.int64], ...]
) -> Iterator[str]:
    """The table, by number."""
    seen: dict[int, list[int]] = {}
    parents: dict[int, int] = {}
    for record, part in zip(frames, rows, strict=True):
        given = record.instances.extras.get(PARENT)
        for n, id_ in enumerate(ids[part].tolist()):
            seen.setdefault(id_, []).append(record.frame or 0)
            if given is not None and given.ndim == 1 and given.dtype.kind in "iu":
                parents.setdefault(id_, int(given[n]))
    for id_ in sorted(seen):
        mother = parents.get(id_, 0)
        yield f"{id_} {min(seen[id_])} {max(seen[id_])} {mother if mother in seen else 0}\n"


def _places(path: Path) -> dict[str, Path]:
    """The table of each video."""
    if not path.is_dir():
        return {}
    for name in _TABLES:
        if (path / name).is_file():
            folder = path.absolute()
            whole = folder.parent.name if folder.name == "TRA" else folder.name
            return {re.sub(r"(_GT|_RES)$", "", whole) or whole: path / name}
    found = {}
    folders = sorted(item for item in path.iterdir() if item.is_dir())
    for folder in sorted(folders, key=lambda item: item.name.endswith("_GT")):
        for ending, inside in (("_RES", Path("res_track.txt")), ("_GT", Path("TRA", "man_track.txt"))):
            video = folder.name.removesuffix(ending)
            if folder.name.endswith(ending) and video and (folder / inside).is_file():
                found[video] = folder / inside  # the truth goes before results
    return dict(sorted(found.items()))


def _parents(table: Path) -> dict[int, int]:
    """The mother of every track."""
    try:
        lines = table.read_text("ascii").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(table, "", f"table must be readable text, got: {error}.") from error
    found: dict[int, int] = {}
    for position, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = re.fullmatch(r"\s*(\d{1,9})\s+(\d{1,9})\s+(\d{1,9})\s+(\d{1,9})\s*", line)
        if match is None or int(match[2]) > int(match[3]):
            text = f"line must be: number, first frame, last frame, mother; got {line[:60]!r}."
            raise FormatError(table, f"line {position}", text)
        if int(match[1]) in found:
            raise FormatError(table, f"line {position}", f"number must be unique, got {match[1]} twice.")
        found[int(match[1])] = int(match[4])
    return found


def _maps(table: Path) -> dict[int, Path]:
    """The maps beside a table by frame number."""
    start = _TABLES[table.name]
    found = {}
    for file in table.parent.iterdir():
        match = re.fullmatch(rf"{start}([0-9]{{3,9}})\.tiff?", file.name)
        if match:
            found[int(match[1])] = file
    return dict(sorted(found.items()))


def _images(path: Path, table: Path, video: str) -> dict[int, Path]:
    """The pictures of a video by frame number, inside the data set or beside the folder that was given."""
    for folder in (path / video, table.parent.parent / video, table.parent.parent.parent / video):
        if folder.is_dir():
            files = ((re.fullmatch(r"t([0-9]{3,9})", item.stem), item) for item in folder.iterdir())
            return {int(m[1]): item for m, item in files if m and item.suffix.lower() in SUFFIXES}
    return {}
