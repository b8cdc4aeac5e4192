"""Truth and predictions on disk, brought together. Serves `eval`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from delineate.dataset import Dataset
from delineate.errors import FormatError
from delineate.formats import coco
from delineate.instances import Instances


def truth_of(path: Path) -> Dataset:
    """The true objects of a COCO file."""
    _check_file(path)
    return coco.read(path)


def is_results_list(path: Path) -> bool:
    """Whether a JSON file is a bare list, as COCO, LVIS and YouTube-VIS want results; otherwise it is a dataset."""
    try:
        with path.open("rb") as file:
            return file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    except OSError as error:
        raise FormatError(path, "", f"cannot be read: {error.strerror}.") from error


def predictions_of(path: Path, truth: Path, known: Dataset) -> tuple[Dataset, list[str]]:
    """The predictions with the truth's record ids, and what to say about it."""
    _check_file(path)
    if is_results_list(path):
        return coco.read_results(path, truth), []
    found = _aligned(path, coco.read(path), known)
    unscored = [record for record in found if len(record.instances) and record.instances.scores is None]
    if unscored:
        message = "annotations must have scores, got none. The truth comes first, then the predictions."
        raise FormatError(path, f"image {unscored[0].id}", message)
    missing = len(known) - len(found)
    if not missing:
        return found, []
    return found, [
        f"{missing} of {len(known)} pictures are not in {path.name}; their objects count as missed."
    ]


def _check_file(path: Path) -> None:
    """Formats that are folders have to become COCO files first."""
    if path.is_dir():
        text = f"must be a file, got a folder. Make one: delineate convert {path} FILE.json --to coco"
        raise FormatError(path, "", text)


def _aligned(path: Path, found: Dataset, known: Dataset) -> Dataset:
    """Ids of two files need not agree: pictures are the same if their file names are, or else their ids."""
    names = Counter(record.path.name for record in known if record.path is not None)
    by_name = {record.path.name: record.id for record in known if record.path is not None}
    ids = {record.id for record in known}
    records = []
    for record in found:
        name = None if record.path is None else record.path.name
        match = by_name[name] if name is not None and names[name] == 1 else record.id
        if match not in ids:
            message = f"picture must be one of the truth, got the unknown name {name!r} and id."
            raise FormatError(path, f"image {record.id}", message)
        records.append(record.replace(id=match))
    twice = [match for match, count in Counter(record.id for record in records).items() if count > 1]
    if twice:
        raise FormatError(path, "", f"pictures must be different, got two for {twice[0]!r} of the truth.")
    return found.with_records(records)


def check_masks(iou: str, sides: dict[Path, Dataset]) -> None:
    for path, dataset in sides.items():
        if iou != "box" and any(item.masks is None and len(item) for item in _instances(dataset)):
            raise FormatError(path, "", "has boxes only. Compare boxes with --iou box.")


def _instances(dataset: Dataset) -> Iterator[Instances]:
    return (record.instances for record in dataset)
