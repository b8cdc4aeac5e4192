"""Putting pictures where a folder format wants them. Serves every format that has a place for pictures."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Literal, TypeAlias

from delineate import atomic
from delineate.errors import FormatError

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
