"""Annotation formats, one module each; the folder is the registry.

A format module has ``KEEPS`` (what a round trip preserves), ``sniff(path)``, ``read(path)`` and
``write(dataset, path)``.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from pathlib import Path
from typing import Protocol, cast

from delineate.dataset import Dataset
from delineate.errors import FormatError


class Format(Protocol):
    """What a format module offers. Reading and writing may take further options by keyword."""

    KEEPS: frozenset[str]

    def sniff(self, path: str | Path, /) -> bool:
        """Whether the file looks like this format; never raises for what is in a file."""

    def read(self, path: str | Path, /) -> Dataset:
        """Read a data set; `FormatError` names the file and the place that does not fit."""

    def write(self, dataset: Dataset, path: str | Path, /) -> None:
        """Write a data set in one step: wholly or not at all."""


# Modules that read and write something else than a `Dataset`; they are used by their own name.
_APART = frozenset({"coco_panoptic"})


def names() -> list[str]:
    """The names of all formats of a `Dataset`; `coco_panoptic` holds a `PanopticDataset` and stands apart.

    >>> names()
    ['coco']
    """
    found = {module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")}
    return sorted(found - _APART)


def get(name: str) -> Format:
    """The format of that name.

    Args:
        name: One of `names`.

    Raises:
        ValueError: There is none of that name.

    >>> "masks" in get("coco").KEEPS
    True
    """
    known = names()
    if name not in known:  # only names of the folder are ever imported
        close = difflib.get_close_matches(name, known, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"formats.get: name must be one of {', '.join(known)}, got {name!r}.{hint}")
    return cast("Format", importlib.import_module(f"{__name__}.{name}"))


def detect(path: str | Path) -> str:
    """The name of the format that a file is in.

    Args:
        path: A file or folder.

    Raises:
        FormatError: There is nothing at the path, or no format knows it.
    """
    path = Path(path)
    if not path.exists():
        raise FormatError(path, "", "file must exist, got none.")
    for name in names():
        if get(name).sniff(path):
            return name
    raise FormatError(path, "", f"file must be in a known format ({', '.join(names())}), got none of them.")
