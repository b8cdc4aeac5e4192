"""What a folder holds: its pictures, and annotations in one format that shall stay as it is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from delineate import formats
from delineate.dataset import Dataset
from delineate.errors import FormatError
from delineate.formats._pictures import listed

DEFAULT = "annotations.json"
"""The COCO file that is made where there are no annotations."""

IN_PLACE = ("coco", "labelme", "yolo")
"""Formats that edits are written back to; annotations in others are taken over into `DEFAULT`."""

PRIVATE = ".delineate"
"""The folder inside the annotated one that holds journal, lock, token, backup and what was reviewed."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the annotations of a folder are and where they go.

    Args:
        format: The format that is written: one of `IN_PLACE`.
        path: The file or folder that is written.
        dataset: What there is already.
        origin: The file or folder that was read, where that is another one than `path`, else None.
    """

    format: str
    path: Path
    dataset: Dataset
    origin: Path | None = None


def pictures(root: Path, dataset: Dataset) -> dict[str, Path]:
    """The pictures under a folder, by their path relative to it; hidden ones left out.

    Args:
        root: The folder.
        dataset: Its annotations: pictures that they name, and that lie in the folder, come along even if missing.

    Returns:
        Relative path with "/" -> file, in the order of the paths.
    """
    found = {path.relative_to(root).as_posix(): path for path in listed(root) if path.is_file()}
    for record in dataset:
        name = relative(root, record.path)
        if name is not None:
            found.setdefault(name, root / name)
    return dict(sorted(found.items()))


def relative(root: Path, path: Path | None) -> str | None:
    """The path relative to the folder with "/", or None where it is none or leads out of the folder.

    >>> relative(Path("a"), Path("a/b/../c.png")), relative(Path("a"), Path("a/../c.png"))
    ('c.png', None)
    """
    if path is None:
        return None
    name = Path(os.path.relpath(path, root)).as_posix()
    return None if name == ".." or name.startswith("../") or Path(name).is_absolute() else name


def source(root: Path, annotations: Path | None = None) -> Source:
    """Find the annotations of a folder.

    Looked for, in this order: the file that is given; `DEFAULT`; what the folder as a whole is (YOLO, LabelMe ...);
    a single annotation file in it. Where there is none, `DEFAULT` will be made.

    Args:
        root: The folder.
        annotations: The file to use, or None.

    Raises:
        FormatError: A file cannot be read, or there are several to choose from.
    """
    if annotations is not None and not annotations.exists():
        return Source("coco", annotations, Dataset((), ()))
    chosen = annotations or _find(root)
    if chosen is None:
        return Source("coco", root / DEFAULT, Dataset((), ()))
    name = formats.detect(chosen)
    dataset = formats.get(name).read(chosen)
    apart = name == "labelme" and any(
        r.path is None or not r.path.with_suffix(".json").is_file() for r in dataset
    )
    if name in IN_PLACE and (name == "coco" or chosen.is_dir()) and not apart:
        return Source(name, chosen, dataset)
    if name == "yolo":
        return Source(name, chosen.parent, dataset)
    target = root / DEFAULT  # also for files of LabelMe that are not named like their pictures
    if target.exists() and chosen != target:
        text = f"{name} cannot be written in place, and {DEFAULT} exists already. Move one of them away."
        raise FormatError(chosen, "", text)
    return Source("coco", target if chosen != target else root / "annotations.coco.json", dataset, chosen)


def _find(root: Path) -> Path | None:
    if (root / DEFAULT).is_file():
        return root / DEFAULT
    try:
        name = formats.detect(root)
    except FormatError:
        name = ""
    if name:
        return root
    found = [path for path in sorted(root.iterdir()) if path.is_file() and _known(path)]
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        text = f"folder must have one annotation file, got {names}. Choose one: --annotations {found[0].name}"
        raise FormatError(root, "", text)
    return found[0] if found else None


def _known(path: Path) -> bool:
    if path.name.startswith(".") or path.suffix.lower() not in {
        ".json",
        ".xml",
        ".parquet",
        ".geojson",
        ".csv",
    }:
        return False
    try:
        formats.detect(path)
    except FormatError:
        return False
    return True
