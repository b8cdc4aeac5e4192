"""JSON files of a folder, and their parts decoded as types. Serves `labelme`, `geojson`, `sav` ..."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from delineate.errors import FormatError
from delineate.formats import _class_table as class_table
from delineate.formats import _json_outline as json_outline


def files(folder: Path, ending: str = ".json") -> list[Path]:
    """All files of an ending in a folder and those below it, sorted, but for hidden ones and this package's own.

    Args:
        folder: Where to look.
        ending: In lower case; files may have it in any.
    """
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "."]
        names = [
            name for name in names if name[0] != "." and name not in (class_table.NAME, "delineate.json")
        ]
        found += [Path(place, name) for name in names if name.lower().endswith(ending)]
    return sorted(found)


def chosen(path: str | Path, what: str, classes: str = class_table.NAME) -> tuple[Path, list[Path]]:
    """The folder of a data set, and its files.

    Args:
        path: One file, or the folder. A folder without any file must hold the one that names the classes.
        what: Whose files they are, for the message.
        classes: Name of the file with the classes.

    Raises:
        FormatError: There is nothing.
    """
    path = Path(path)
    if path.is_file():
        return path.parent, [path]
    found = files(path)
    if not found and not (path / classes).is_file():
        raise FormatError(path, "", f"must be a {what} or a folder of them, got none.")
    return path, found


def keys(path: str | Path) -> Mapping[str, bytes]:
    """The keys of the object that a JSON file holds, with the beginnings of their values.

    Args:
        path: A .json file, or a folder, of which the first file is taken.

    Returns:
        Empty for anything else, and where nothing can be read.
    """
    path = Path(path)
    try:
        path = next(iter(files(path)), path) if path.is_dir() else path
        return (json_outline.values(path) or {}) if path.suffix.lower() == ".json" else {}
    except OSError:
        return {}


def decoded(path: Path, where: str, raw: msgspec.Raw, kind: object) -> Any:  # noqa: ANN401 - as the type says
    """A part of a file as that type.

    Args:
        path: The file, for the message.
        where: The place of the part, for the message.
        raw: The part.
        kind: Any type that msgspec knows.

    Raises:
        FormatError: It is of another type, or no JSON.
    """
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        raise FormatError(path, where + place.strip("`"), f"{message}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(path, where, f"must be JSON, got: {error}.") from error
