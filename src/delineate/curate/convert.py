"""A dataset from one format into another, with a certificate of what became of it."""

from __future__ import annotations

import hashlib
import inspect
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from delineate import formats
from delineate.curate.certificate import Certificate, compare
from delineate.curate.losses import Loss, losses
from delineate.dataset import Dataset
from delineate.errors import DelineateError, FormatError
from delineate.formats import coco
from delineate.formats._pictures import Placing, place

_log = logging.getLogger("delineate")


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Args:
        dataset: What was read.
        source: Name of the format it was in.
        target: Name of the format it is in now.
        lost: What the target cannot hold.
        certificate: What was read against what the target gives when it is read back.
        side: The file that keeps what was lost, or None where nothing was.
        unseen: What the format keeps only in a side file of its own, so what other tools will not see.
    """

    dataset: Dataset
    source: str
    target: str
    lost: tuple[Loss, ...]
    certificate: Certificate
    side: Path | None
    unseen: tuple[Loss, ...] = ()


def convert(
    source: str | Path,
    target: str | Path,
    to: str,
    *,
    origin: str | None = None,
    pictures: Placing | None = None,
    allow_loss: bool = False,
    progress: Callable[[str], object] | None = None,
) -> Conversion:
    """Convert a dataset, read it back and compare it object by object.

    What the target cannot hold is found first. If that is more than bookkeeping (see `losses.BOOKKEEPING`),
    nothing is written unless `allow_loss`. Whenever anything is lost, the whole dataset is kept in a side file
    next to the target; converting back takes it, as long as the target was not edited.

    Args:
        source: The dataset, a file or folder.
        target: The file to write, or the folder for formats that are one (must be empty or absent).
        to: Name of the format to write.
        origin: Name of the format of the source; None finds out.
        pictures: Whether to link, copy or leave the pictures. None: link for formats that have a place for
            pictures, leave for the others.
        allow_loss: Whether to write although something is lost.
        progress: Is told what begins: "Reading a.json" and so on.

    Raises:
        DelineateError: Something would be lost; the message lists what.
        FormatError: The source cannot be read, or the target is not empty.
    """
    source, target = Path(source), Path(target)
    module = formats.get(to)
    if not module.SUFFIX and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FormatError(
            target, "", f"target must be an empty or new folder for {to}, got one with content."
        )
    progress = progress or (lambda _: None)
    progress(f"Reading {source}")
    origin, dataset = read(source, origin)
    progress("Looking for what would be lost")
    lost = losses(dataset, module.KEEPS)
    if not allow_loss and any(loss.grave for loss in lost):
        lines = "".join(f"\n  {loss}" for loss in lost if loss.grave)
        raise DelineateError(
            f"{target}: {to} must hold all of the dataset, but would lose{lines}\nNothing was written. Allow the loss "
            "(allow_loss=True, --allow-loss) to write what it can and keep the rest in a side file."
        )
    if module.SUFFIX and target.resolve() == source.resolve():
        raise FormatError(target, "", "target must be another file than the source, got the same.")
    progress(f"Writing {target}")
    write(dataset, target, to, pictures)
    progress(f"Comparing {target}")
    certificate = compare(dataset, module.read(target), module.KEEPS)
    side = _write_side(dataset, target) if lost else None
    return Conversion(dataset, origin, to, tuple(lost), certificate, side, unseen(dataset, to))


def unseen(dataset: Dataset, to: str) -> tuple[Loss, ...]:
    """What a format keeps only in a side file of its own (``KEEPS_ALONE`` of its module), so what other tools miss.

    Args:
        dataset: What is written.
        to: Name of the format.

    Returns:
        One entry per kind; none for bookkeeping, and none for formats without a side file.

    >>> from delineate import Instances, Record
    >>> group = Instances((4, 6), [[0, 0, 4, 4]], [0], crowd=[True])
    >>> [str(loss) for loss in unseen(Dataset([Record(None, (4, 6), group, 1)], ["cell"]), "yolo")]
    ['crowd flags: 1 (first: 1, object 1)']
    """
    module = formats.get(to)
    alone: frozenset[str] = getattr(module, "KEEPS_ALONE", module.KEEPS)
    hidden = module.KEEPS - alone
    return tuple(loss for loss in losses(dataset, formats.KEEPABLE.keys() - hidden) if loss.grave)


def read(source: str | Path, origin: str | None = None) -> tuple[str, Dataset]:
    """The format's name and the dataset; from its side file, where there is one that is still true.

    Args:
        source: A file or folder.
        origin: Name of its format; None finds out.
    """
    source = Path(source)
    name = formats.detect(source) if origin is None else origin
    kept = _read_side(source)
    return name, formats.get(name).read(source) if kept is None else kept


def write(dataset: Dataset, target: str | Path, to: str, pictures: Placing | None = None) -> None:
    """Write a dataset and put its pictures where the format wants them.

    Formats without a place for pictures get them in a folder `images` beside the file.

    Args:
        dataset: What to write.
        target: The file, or an empty or new folder for formats that are one.
        to: Name of the format.
        pictures: Whether to link, copy or leave the pictures; None as `convert` says.

    Raises:
        FormatError: The target is a folder with content.
    """
    module, target = formats.get(to), Path(target)
    _check_free(target, to)
    target.parent.mkdir(parents=True, exist_ok=True)
    if "pictures" in inspect.signature(module.write).parameters:
        options: dict[str, Any] = {} if pictures is None else {"pictures": pictures}
        module.write(dataset, target, **options)
    else:
        module.write(_placed(dataset, target.parent / "images", pictures or "leave"), target)


def _check_free(target: Path, to: str) -> None:
    if not formats.get(to).SUFFIX and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FormatError(
            target, "", f"target must be an empty or new folder for {to}, got one with content."
        )


def _placed(dataset: Dataset, folder: Path, how: Placing) -> Dataset:
    """The pictures put into one folder, with as much of their path as tells them apart."""
    if how == "leave":
        return dataset
    paths = [record.path.resolve() for record in dataset if record.path is not None]
    if not paths:
        return dataset
    common = Path(os.path.commonpath([path.parent for path in paths]))
    records = []
    for record in dataset:
        if record.path is None:
            records.append(record)
            continue
        where = folder / record.path.resolve().relative_to(common)
        place(record.path, where, how)
        records.append(record.replace(path=where))
    return dataset.with_records(records)


def side_file(path: str | Path) -> Path:
    """Where the side file of a target lies: a.delineate.json beside a.json, delineate.json in a folder."""
    path = Path(path)
    return path / "delineate.json" if path.is_dir() else path.with_name(f"{path.stem}.delineate.json")


def _write_side(dataset: Dataset, target: Path) -> Path:
    side = side_file(target)
    info = {**_info(dataset), "delineate": {"digest": _digest(target)}}
    coco.write(Dataset(dataset.records, dataset.classes, {**dataset.attributes, "info": info}), side)
    return side


def _read_side(target: Path) -> Dataset | None:
    """The dataset of the side file; None where there is none, or it belongs to another state of the target."""
    side = side_file(target)
    if not side.is_file():
        return None
    dataset = coco.read(side)
    info = _info(dataset)
    if info.pop("delineate", None) != {"digest": _digest(target)}:
        _log.warning("%s was edited since %s was written, which is not used", target, side.name)
        return None
    rest = {name: value for name, value in dataset.attributes.items() if name != "info"}
    return Dataset(dataset.records, dataset.classes, rest | ({"info": info} if info else {}))


def _info(dataset: Dataset) -> dict[str, object]:
    info = dataset.attributes.get("info")
    return dict(info) if isinstance(info, Mapping) else {}


def _digest(path: Path) -> str:
    """SHA-256 over names and contents of a target, without its side file and its links."""
    side = side_file(path)
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    total = hashlib.sha256()
    for file in files:
        if file == side or file.is_symlink():
            continue
        total.update(file.relative_to(path.parent).as_posix().encode() + b"\0")
        with file.open("rb") as content:
            total.update(hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()
