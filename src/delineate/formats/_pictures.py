"""Putting pictures where a folder format wants them. Serves every format that has a place for pictures."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from delineate import atomic
from delineate.dataset import Record
from delineate.errors import FormatError
from delineate.image import SUFFIXES

Placing: TypeAlias = Literal["link", "copy", "leave"]
"""What happens to pictures when a dataset is written: a symbolic link, a copy, or nothing."""


def place(source: Path, target: Path, how: Placing) -> None:
    """Put one picture at its place; a picture that is already there stays.

    Where the file system knows no links, a copy is made.

    Args:
        source: The picture.
        target: Where it shall be.
        how: "leave" does nothing.

    Raises:
        FormatError: The picture is not there, or the place is taken by another one.
    """
    if how == "leave" or target.resolve() == source.resolve():
        return
    if not source.is_file():
        raise FormatError(
            source, "", "picture must exist to be placed, got none. Write with pictures='leave'."
        )
    if target.is_symlink() or target.exists():
        if target.is_file() and _same(source, target):
            return
        raise FormatError(
            target, "", "place of a picture must be free, got another file. Choose an empty folder."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    if how == "link":
        try:
            target.symlink_to(os.path.relpath(source.resolve(), target.parent.resolve()))
            return
        except OSError:  # no links on this file system, or not allowed: a copy serves as well
            pass
    with source.open("rb") as file, atomic.writing(target) as copy:
        shutil.copyfileobj(file, copy, 1 << 20)


def _same(a: Path, b: Path) -> bool:
    if a.stat().st_size != b.stat().st_size:
        return False
    with a.open("rb") as one, b.open("rb") as two:
        while block := one.read(1 << 20):
            if block != two.read(1 << 20):
                return False
    return True


def inside(folder: Path, name: str, where: str, path: Path) -> Path:
    """The file of that name under a folder; a name that leads out of it is refused.

    Args:
        folder: Where it must lie.
        name: A relative path as a file says it; either slash.
        where: The place in the file, for the message.
        path: The file, for the message.

    Raises:
        FormatError: The name is empty, absolute, or leads outside.
    """
    parts = name.replace("\\", "/").split("/")
    absolute = name[:1] in ("/", "\\") or name[1:2] == ":"
    if not name.strip() or "\0" in name or absolute or ".." in parts:
        raise FormatError(path, where, f"name must lead to a file under {folder.name}, got {name!r}.")
    return folder.joinpath(*parts)


def beside(root: Path, name: str, *folders: str) -> Path:
    """The picture of that name in a folder or in one of its folders; where there is none, as if in the folder.

    Args:
        root: The folder of the file that names the picture.
        name: As the file says it; either slash.
        folders: Where else to look, relative to the root.
    """
    name = name.replace("\\", "/").replace("\0", "_")
    for folder in ("", *folders):
        found = root / folder / name
        try:
            if found.is_file():
                return found
        except OSError:  # a name that is too long for the file system
            continue
    return root / name


def names(records: Iterable[Record], *, by_split: bool) -> list[str]:
    """A file name for each picture; no two have one stem, also where upper and lower case are the same.

    A picture keeps its name if it can; the second and further ones of a stem get a number. Without a file, the
    id is the name, with ".png" after it.

    Args:
        records: The pictures.
        by_split: Whether names need to differ within each split only.
    """
    taken: dict[str | None, set[str]] = {}
    following: dict[tuple[str | None, str], int] = {}
    found = []
    for record in records:
        given = f"{record.id}.png" if record.path is None else record.path.name
        name = re.sub(r"[/\\:\x00-\x1f]", "_", given)
        stem, suffix = os.path.splitext(name)  # noqa: PTH122 - the name as a str
        if not stem.strip(". "):
            stem = f"_{stem}"
        split = record.split if by_split else None
        used = taken.setdefault(split, set())
        key = split, stem.casefold()
        choice = stem
        while choice.casefold() in used:
            following[key] = following.get(key, 1) + 1
            choice = f"{stem}_{following[key]}"
        used.add(choice.casefold())
        found.append(choice + suffix)
    return found


def folder_name(path: Path, split: str, *reserved: str) -> str:
    """The split as the name of a folder.

    Args:
        path: What is written, for the message.
        split: The name.
        reserved: Names that mean something else there.

    Raises:
        FormatError: It cannot name a folder there.
    """
    if re.search(r"[/\\:\x00-\x1f]", split) or not split.strip(". ") or split in reserved:
        raise FormatError(
            path, "", f"split must be fit for a folder's name, got {split!r}. Rename the split."
        )
    return split


def need_frames(name: str, dataset: Iterable[Record]) -> None:
    """Refuse records that are no frames of a video, or whose objects have no masks.

    Args:
        name: Of the format, for the message.
        dataset: The records.

    Raises:
        ValueError: There is one.
    """
    for record in dataset:
        if record.video is None or (record.count and record.instances.masks is None):
            text = f"{name}.write: records must be frames of a video with masks, got {record.id!r}"
            raise ValueError(text)


def listed(folder: Path) -> Iterator[Path]:
    """The picture files under a folder, also deeper, in the order of their paths; hidden ones are left out."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        for name in sorted(files):
            if name[0] != "." and os.path.splitext(name)[1].lower() in SUFFIXES:  # noqa: PTH122
                yield Path(place, name)
