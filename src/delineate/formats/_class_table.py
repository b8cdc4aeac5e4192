"""Which object is of which class, beside formats without classes: `label_maps`, `png_per_object`, `davis` ...

`classes.json` in the root of a data set::

    {"classes": ["cell", "dust"], "objects": {"train/a": {"1": 0, "2": 1}}}

Objects are named by picture and by their number or file; with one class there need be none. Without the file, all are
of the class "object".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from delineate import atomic
from delineate.errors import FormatError

NAME = "classes.json"
_ALONE = ("object",)


class _Content(msgspec.Struct):
    classes: list[str]
    objects: dict[str, dict[str, int]] = {}


@dataclass(frozen=True, slots=True)
class ClassTable:
    """The classes of a data set, and of its objects.

    Args:
        path: The file.
        classes: Their names.
        objects: Picture -> object -> position of its class.
    """

    path: Path
    classes: tuple[str, ...] = _ALONE
    objects: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def labels(self, picture: str, objects: Sequence[str]) -> NDArray[np.int64]:
        """The class of each object of a picture; FormatError if one of several classes is not given."""
        known = self.objects.get(picture, {})
        found = np.array([known.get(name, 0 if len(self.classes) == 1 else -1) for name in objects], np.int64)
        wrong = np.flatnonzero((found < 0) | (found >= len(self.classes)))
        if len(wrong):
            text = f"class must be a position in classes, below {len(self.classes)}. Add it to this file."
            raise FormatError(self.path, f"objects: {picture}: {objects[wrong[0]]}", text)
        return found


def read(folder: Path) -> ClassTable:
    """The table of a data set."""
    path = folder / NAME
    try:
        content = msgspec.json.decode(path.read_bytes(), type=_Content)
    except FileNotFoundError:
        return ClassTable(path)
    except OSError as error:
        raise FormatError(path, "", f"file must be readable, got: {error.strerror}.") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(path, "", f"must be a table of classes: {error}.") from error
    if any(abs(n) >= 2**31 for known in content.objects.values() for n in known.values()):
        raise FormatError(path, "objects", "classes must be positions, got a number beyond 32 bits.")
    return ClassTable(path, tuple(content.classes), content.objects)


def write(
    folder: Path, classes: Sequence[str], objects: dict[str, dict[str, int]], *, always: bool = False
) -> None:
    """Write the table, unless it would say what its absence says; or `always`."""
    if tuple(classes) == _ALONE and not always:
        return
    content = _Content(list(classes), objects if len(classes) > 1 else {})
    atomic.write_bytes(folder / NAME, msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
