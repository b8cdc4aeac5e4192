"""Roboflow's COCO exports: one folder for each split, with the pictures and their COCO file.

::

    train/_annotations.coco.json    train/a.jpg ...
    valid/_annotations.coco.json    valid/b.jpg ...
    test/_annotations.coco.json     test/c.jpg ...

(https://docs.roboflow.com/datasets/dataset-versions/exporting-data). The first category often is a root with the id 0
that no object belongs to and that the others name as their supercategory. Roboflow's YOLO exports are read by `yolo`,
its Pascal VOC exports by `voc`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from delineate import atomic
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import _pictures, coco

KEEPS = coco.KEEPS
"""What ``read(write(dataset))`` preserves: what each COCO file does."""
SUFFIX = ""

_NAME = "_annotations.coco.json"

_log = logging.getLogger("delineate")


def sniff(path: str | Path) -> bool:
    """Whether it is a folder that holds such a COCO file, or whose folders do.

    Args:
        path: Any file or folder.
    """
    return bool(_files(Path(path)))


def _files(path: Path) -> dict[str | None, Path]:
    """The COCO file of each split; "train", "val" and "test" come first."""
    try:
        if not path.is_dir():
            return {}
        folders = [path, *sorted(folder for folder in path.iterdir() if folder.is_dir())]
    except OSError:
        return {}
    order = {"train": 0, "val": 1, "test": 2}
    found = {_split(folder, path): folder / _NAME for folder in folders if (folder / _NAME).is_file()}
    return dict(sorted(found.items(), key=lambda item: (order.get(item[0] or "", 3), item[0] or "")))


def _split(folder: Path, root: Path) -> str | None:
    if folder == root:
        return None
    return "val" if folder.name == "valid" and not (root / "val" / _NAME).is_file() else folder.name


def read(path: str | Path) -> Dataset:
    """Read all splits as one dataset; the folder "valid" is the split "val".

    A root category is dropped: the one of id 0 (so, the first) if no object is of it and all others name it as
    their supercategory. The classes are those of the first split, then what further splits have more. Where two
    splits use one picture id, all are numbered anew, 1, 2, ...

    Args:
        path: The folder with the splits, or a folder of one split.

    Raises:
        FormatError: There is no such folder, or one of the COCO files does not fit.
    """
    path = Path(path)
    files = _files(path)
    if not files:
        raise FormatError(path, "", f"must be a folder with */{_NAME}, got none.")
    parts = [_without_root(coco.read(file, file.parent)) for file in files.values()]
    classes, more = _classes(parts)
    counts = Counter(record.id for part in parts for record in part)
    renumbered = any(count > 1 for count in counts.values())
    records: list[Record] = []
    for split, part in zip(files, parts, strict=True):
        labels = np.array([classes.index(name) for name in part.classes], np.int64)
        for record in part:
            found = record.instances
            if part.classes != classes:
                found = found.replace(labels=labels[found.labels])
            id_ = len(records) + 1 if renumbered else record.id
            records.append(record.replace(instances=found, split=split, id=id_))
    head = {key: value for part in reversed(parts) for key, value in part.attributes.items()}
    return Dataset(tuple(records), classes, head | ({"categories": more} if any(more) else {}))


def _without_root(part: Dataset) -> Dataset:
    """The classes without Roboflow's root."""
    more = _further(part)
    used = any((record.instances.labels == 0).any() for record in part)
    root = part.classes[0] if part.classes else None
    rest = [entry.get("supercategory") for entry in more[1:]]
    if used or not rest or more[0].get("supercategory") != "none" or any(name != root for name in rest):
        return part
    records = tuple(
        record.replace(instances=record.instances.replace(labels=record.instances.labels - 1))
        for record in part
    )
    return Dataset(records, part.classes[1:], {**part.attributes, "categories": more[1:]})


def _further(part: Dataset) -> Sequence[dict[str, object]]:
    """What a dataset knows of its classes, one mapping for each."""
    more = part.attributes.get("categories") or [{} for _ in part.classes]
    assert isinstance(more, list)  # noqa: S101 - for the type checker; coco.read makes it
    return more


def _classes(parts: Sequence[Dataset]) -> tuple[tuple[str, ...], list[dict[str, object]]]:
    """The classes of all splits, and what is known of each."""
    if all(part.classes == parts[0].classes for part in parts):
        return parts[0].classes, list(_further(parts[0]))
    found: dict[str, dict[str, object]] = {}
    for part in parts:
        for name, entry in zip(part.classes, _further(part), strict=True):
            found.setdefault(name, entry)
    _log.warning("splits have different classes; together they have %d", len(found))
    return tuple(found), list(found.values())


def write(dataset: Dataset, path: str | Path, *, pictures: _pictures.Placing = "link") -> None:
    """Write a folder for each split, which all appear in one step; the split "val" is the folder "valid".

    Args:
        dataset: What to write. Pictures without a split lie in the folder itself, with a COCO file of their own.
        path: The folder; it must be new or empty.
        pictures: "link" and "copy" put the pictures beside their COCO file; "leave" leaves that to you.

    Raises:
        FormatError: A picture is missing, or a split cannot name a folder.
        FileExistsError: There is something in the folder.
    """
    path = Path(path)
    names = _pictures.names(dataset, by_split=True)
    groups: dict[str | None, list[Record]] = {} if len(dataset) else {None: []}
    with atomic.writing_folder(path) as folder:
        for record, name in zip(dataset, names, strict=True):
            place = _folder(folder, path, record.split)
            place.mkdir(exist_ok=True)
            there = record.path
            if record.path is not None and pictures != "leave":
                there = place / name
                _pictures.place(record.path, there, pictures)
            groups.setdefault(record.split, []).append(record.replace(path=there))
        for split, records in groups.items():
            coco.write(dataset.with_records(records), _folder(folder, path, split) / _NAME)


def _folder(folder: Path, path: Path, split: str | None) -> Path:
    if split is None:
        return folder
    return folder / _pictures.folder_name(path, "valid" if split == "val" else split)
