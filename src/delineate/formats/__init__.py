"""Annotation formats, one module each; the folder is the registry.

A format module has ``KEEPS`` (what a round trip preserves, in the words of `KEEPABLE`), ``SUFFIX`` (of its
file; empty: it is a folder), ``sniff(path)``, ``read(path)`` and ``write(dataset, path)``. One that keeps things in
a side file of its own, which other tools do not read, also has ``KEEPS_ALONE``: what it preserves without that file.

What formats know beyond the fields of `Record` and `Instances` travels in these places:

- ``Record.attributes``: further keys of the picture, JSON values.
- ``Dataset.attributes``: "info" and "licenses" as COCO has them; "categories": for each class a mapping of
  its further keys (colour, supercategory, frequency ...).
- ``Instances.extras``: "area" (N,) float64 and "annotation_id" (N,) int64 of the file; "group" (N,) int64,
  where objects of one number >= 0 belong together and -1 stands alone; "z_order" (N,) int64, painted in rising
  order; "attributes" (N,) str, each the JSON object of an annotation's further keys, "{}" for none.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, cast

from delineate.dataset import Dataset
from delineate.errors import FormatError
from delineate.panoptic import PanopticDataset

KEEPABLE = MappingProxyType(
    {
        "masks": "the pixels of masks",
        "holes": "holes in masks",
        "parts": "masks of several parts",
        "overlaps": "pixels that belong to several objects",
        "empty masks": "objects without pixels",
        "boxes": "boxes that are not the tight box of their mask",
        "scores": "scores",
        "crowd": "crowd flags",
        "ids": "track ids",
        "instance order": "the order of the objects of a picture",
        "class order": "the order of classes, also of those without objects",
        "empty pictures": "pictures without objects",
        "picture ids": "the ids of pictures",
        "picture attributes": "further keys of pictures",
        "info": "further keys of the dataset and of its classes",
        "videos": "which frame of which video a picture is",
        "splits": "which split a picture belongs to",
        "area": "areas as annotated",
        "annotation_id": "ids of annotations",
        "group": "groups of objects",
        "z_order": "painting order as annotated",
        "attributes": "further keys of objects",
    }
)
"""What a format may keep -> what that is called in messages."""


class Format(Protocol):
    """What a format module offers. Reading and writing may take further options by keyword."""

    KEEPS: frozenset[str]
    SUFFIX: str

    def sniff(self, path: str | Path, /) -> bool:
        """Whether the file looks like this format; never raises for what is in a file."""

    def read(self, path: str | Path, /) -> Dataset:
        """Read a data set; `FormatError` names the file and the place that does not fit."""

    def write(self, dataset: Dataset, path: str | Path, /) -> None:
        """Write a data set in one step: wholly or not at all."""


# Modules that read and write something else than a `Dataset`; they are used by their own name.
_APART = frozenset({"coco_panoptic", "cityscapes_panoptic", "class_maps"})


def names() -> list[str]:
    """The names of all formats of a `Dataset`; those of a `PanopticDataset` stand apart (`read_panoptic`).

    >>> "coco" in names()
    True
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
        import difflib  # rarely needed

        close = difflib.get_close_matches(name, known, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"formats.get: name must be one of {', '.join(known)}, got {name!r}.{hint}")
    return cast("Format", importlib.import_module(f"{__name__}.{name}"))


def detect(path: str | Path) -> str:
    """The name of the format that a file or folder is in.

    Args:
        path: A file or folder.

    Raises:
        FormatError: There is nothing at the path, or no format knows it.
    """
    path = Path(path)
    if not path.exists():
        raise FormatError(path, "", "file must exist, got none.")
    name = _sniffed(path)
    if name is None:
        # Imported here: it reads by the formats, which are not there before this module is.
        from delineate.formats import _unknown

        raise _unknown.problem(path, names(), _sniffed)
    return name


def _sniffed(path: Path) -> str | None:
    return next((name for name in names() if get(name).sniff(path)), None)


def read(path: str | Path, format: str | None = None) -> Dataset:  # noqa: A002 - what users call it
    """Read a dataset in any known format.

    Args:
        path: A file or folder.
        format: One of `names`; None finds out by itself.

    Raises:
        FormatError: There is nothing at the path, no format knows it, or it contradicts itself.
    """
    return get(detect(path) if format is None else format).read(path)


def read_panoptic(path: str | Path) -> PanopticDataset | None:
    """Read what says the class of every pixel: COCO panoptic, Cityscapes, or folders of class maps.

    Args:
        path: A file or folder, as `coco_panoptic.read`, `cityscapes_panoptic.read` or `class_maps.read` takes it.

    Returns:
        The dataset; None if it looks like none of them.

    Raises:
        FormatError: It contradicts itself.
    """
    from delineate.formats import cityscapes_panoptic, class_maps, coco_panoptic

    if coco_panoptic.sniff(path):
        return coco_panoptic.read(path)
    if cityscapes_panoptic.sniff(path):
        return cityscapes_panoptic.read(path)
    return class_maps.read(path) if class_maps.sniff(path) else None


def write(dataset: Dataset, path: str | Path, format: str) -> None:  # noqa: A002
    """Write a dataset; what the format cannot hold is left out (its ``KEEPS`` says what stays).

    Args:
        dataset: What to write.
        path: The file, or the folder for formats whose ``SUFFIX`` is empty.
        format: One of `names`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(Dataset([], ["nucleus"]), Path(folder, "a.json"), "coco")
    ...     read(Path(folder, "a.json")).classes
    ('nucleus',)
    """
    get(format).write(dataset, path)
