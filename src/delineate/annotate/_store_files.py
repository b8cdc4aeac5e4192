"""The lock of a folder, whether a file is still as it was, and what is in there to begin with. Serves `store`."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec

from delineate.dataset import Dataset, Record
from delineate.errors import DelineateError, FormatError


class Busy(DelineateError):  # noqa: N818 - what it is
    """Another server annotates the folder."""


def locked(path: Path, root: Path) -> Any:  # noqa: ANN401 - an open file
    """The lock file, open and locked; closing it, or the end of the process, gives it free. Makes its folder."""
    try:
        path.parent.mkdir(exist_ok=True)
        file = path.open("a")
    except OSError as error:
        text = f"folder must be writable, got: {error.strerror}. Edits are kept in {path.parent.name}: copy the folder."
        raise FormatError(root, "", text) from error
    try:
        with contextlib.suppress(ImportError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise Busy(f"{root}: folder is open in another `delineate annotate`. Close that one first.") from None
    return file


def signature(path: Path) -> tuple[int, int] | None:
    """Changes when somebody writes the file; None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - one call
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def back_up(path: Path, kept: Path) -> None:
    """Keep what was there before this tool wrote for the first time; an empty file where there was nothing."""
    if kept.exists():
        return
    kept.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        shutil.copy2(path, kept)
    elif not path.exists():
        kept.touch()


def _extras(record: Record) -> Any:  # noqa: ANN401 - columns by name
    return record.instances.extras if record.rows is None else record.rows.extras


def following_id(dataset: Dataset) -> int:
    """The annotation id after the largest one."""
    ids = [_extras(record).get("annotation_id") for record in dataset]
    return max((int(column.max()) for column in ids if column is not None and len(column)), default=0) + 1


def is_scored(record: Record) -> bool:
    """Whether its instances have scores."""
    if record.rows is not None:
        return "score" in record.rows.extras
    return record.instances.scores is not None and len(record.instances) > 0


def read_list(path: Path) -> list[str]:
    """A JSON list of names; none where there is no such file, or a damaged one."""
    try:
        content = msgspec.json.decode(path.read_bytes(), type=list[str])
    except (OSError, msgspec.MsgspecError):
        return []
    return content
