"""Everything that is wrong with a dataset, collected rather than raised one by one, and mended where it can be."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from delineate import formats, pairs
from delineate.curate import _check_coco as check_coco
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.image import read_image, read_size
from delineate.instances import Instances

DUPLICATE_IOU = 0.95
BOX_TOLERANCE = 2.0
"""Pixels that a side of a box may be off its mask; annotators' boxes are rounded."""

KINDS = MappingProxyType(
    {
        **check_coco.KINDS,
        "unreadable annotations": "Mend the file at the place named; nothing behind it was looked at.",
        "missing picture": "Put the file where the annotations say, or take the entry out.",
        "unreadable picture": "Replace the file by an intact copy.",
        "wrong size": "Correct the size in the annotations, or use the picture that was annotated.",
        "turned picture": "The file's EXIF tag turns the picture; the annotations were made without. Strip the tag.",
        "empty mask": "Delete the object, or draw it. --fix deletes it.",
        "duplicate object": "Keep one of the two. --fix deletes the later one where all pixels agree.",
        "box disagrees": "Take the box of the mask. --fix does.",
        "outside": "Cut the box at the border of the picture. --fix takes the box of the mask.",
        "all crowd": "crowd marks groups that evaluation ignores. If these are single objects (CVAT exports masks as "
        "crowds), --fix with --single-objects clears the flag.",
        "duplicate picture": "Keep one of the files; metrics count the other twice.",
        "leakage": "The same picture is in two parts: what is measured on one is learned from the other. Take it out "
        "of one.",
        "unused class": "Nothing to do if it is meant; training wastes an output on it.",
        "duplicate class": "Give the classes different names, or merge them with a taxonomy.",
    }
)
"""Kind of problem -> remedy."""
_WARNINGS = frozenset(
    {"polygon crosses itself", "polygon not checked", "unused class", "duplicate picture", "box disagrees"}
    | {"outside", "all crowd", "duplicate object"}
)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Args:
        kind: A word of `KINDS`.
        where: File, picture and object.
        text: What was expected and what is there.
    """

    kind: str
    where: str
    text: str

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return KINDS[self.kind]

    @property
    def error(self) -> bool:
        """Whether it makes results wrong, rather than only suspicious.

        >>> Problem("missing picture", "a.png", "file must exist").error, Problem("unused class", "", "").error
        (True, False)
        """
        return self.kind not in _WARNINGS


Progress = Callable[[Iterable[Any], int], Iterable[Any]]


def check(path: str | Path, *, pixels: bool = True, progress: Progress | None = None) -> list[Problem]:
    """All problems of a dataset's files, and of what they say.

    Args:
        path: A dataset in any known format.
        pixels: Whether to decode every picture; otherwise only its header is read.
        progress: Wraps the walk over the pictures, given it and their number.

    Raises:
        FormatError: There is nothing at the path, or no format knows it.
    """
    return check_together([path], pixels=pixels, progress=progress)[0]


def check_together(
    paths: Sequence[str | Path], *, pixels: bool = True, progress: Progress | None = None
) -> list[list[Problem]]:
    """All problems of several files that must not share pictures, such as the parts of a split.

    Args:
        paths: Datasets in any known format.
        pixels: Whether to decode every picture; otherwise only its header is read.
        progress: Wraps the walk over the pictures of each, given it and their number.

    Returns:
        The problems of each path, in their order. Leakage between two of them stands with the later one.

    Raises:
        FormatError: There is nothing at a path, or no format knows it.
    """
    known = [Path(path) for path in paths]
    problems, readable = [], {}
    for place, path in enumerate(known):
        found, dataset = _check_file(path, pixels, progress)
        problems.append(found)
        if dataset is not None:
            readable[place] = dataset
    owners = [place for place, dataset in readable.items() for _ in dataset]
    records = [record for dataset in readable.values() for record in dataset]
    for first, second in _same_files(records):
        one, other = owners[first], owners[second]
        if one != other:
            text = f"is the same picture as {records[first].path} of {known[one]}"
            problems[other].append(Problem("leakage", records[second].name, text))
    return problems


def _check_file(path: Path, pixels: bool, progress: Progress | None) -> tuple[list[Problem], Dataset | None]:
    """What is wrong, and what could be read."""
    coco = formats.detect(path) == "coco"
    problems = [Problem(*found) for found in check_coco.problems(path)] if coco else []
    try:
        dataset, _ = mended(path) if problems else (formats.read(path), {})
    except FormatError as error:
        return [*problems, Problem("unreadable annotations", _place(path, error), error.message)], None
    return [*problems, *check_dataset(dataset, pixels=pixels, progress=progress)], dataset


def mended(path: str | Path) -> tuple[Dataset, dict[str, int]]:
    """A dataset without the entries that its reader would refuse, and how many of them there were.

    Args:
        path: A dataset in any known format; entries are mended in COCO files only.

    Raises:
        FormatError: It cannot be read.
    """
    path = Path(path)
    if formats.detect(path) != "coco":
        return formats.read(path), {}
    content, done = check_coco.repaired(path)
    return (check_coco.read(path, content) if done else formats.read(path)), dict(done)


def _place(path: Path, error: FormatError) -> str:
    name = path.name if error.path == path else str(error.path)
    return f"{name}: {error.item}" if error.item else name


def check_dataset(
    dataset: Dataset,
    *,
    pixels: bool = True,
    progress: Progress | None = None,
) -> list[Problem]:
    """All problems of a dataset that was read, and of its pictures.

    Args:
        dataset: Any dataset.
        pixels: Whether to decode every picture; otherwise only its header is read.
        progress: Wraps the walk over the pictures, given it and their number.

    >>> record = Record(Path("none.png"), (4, 6), Instances.empty((4, 6)), 1)
    >>> [problem.kind for problem in check_dataset(Dataset([record], ["cell"]))]
    ['missing picture', 'unused class']
    """
    found: list[Problem] = []
    with ThreadPoolExecutor(2, thread_name_prefix="check") as pool:
        looked: Iterable[list[Problem]] = pool.map(lambda record: [*_picture(record, pixels)], dataset)
        if progress is not None:
            looked = progress(looked, len(dataset))
        for record, here in zip(dataset, looked, strict=True):
            found += here
            found += _objects(record)
    found += _duplicate_pictures(dataset)
    found += _classes(dataset)
    return found


def _picture(record: Record, pixels: bool) -> Iterator[Problem]:
    if record.path is None:
        return
    if not record.path.is_file():
        yield Problem("missing picture", record.name, f"file must exist, got none at {record.path}")
        return
    try:
        upright, stored = read_size(record.path), read_size(record.path, orient=False)
        if pixels:
            read_image(record.path)
    except FormatError as error:
        yield Problem("unreadable picture", record.name, error.message)
        return
    if record.size != upright:
        kind = "turned picture" if record.size == stored else "wrong size"
        sizes = [f"{height} x {width}" for height, width in (record.size, upright)]
        yield Problem(kind, record.name, f"annotations must be of its {sizes[1]} pixels, got {sizes[0]}")


def _objects(record: Record) -> Iterator[Problem]:
    found = record.instances
    height, width = record.size
    beyond = (found.boxes[:, :2] < 0).any(axis=1) | (found.boxes[:, 2:] > np.array([width, height])).any(
        axis=1
    )
    for n in np.flatnonzero(beyond):
        yield Problem(
            "outside", _object(record, n), f"box must lie in the picture, got {found.boxes[n].tolist()}"
        )
    if found.masks is None:
        return
    areas = found.masks.areas
    for n in np.flatnonzero(areas == 0):
        yield Problem("empty mask", _object(record, n), "mask must have pixels, got none")
    off = np.abs(found.boxes - found.masks.boxes).max(axis=1, initial=0)
    for n in np.flatnonzero((off > BOX_TOLERANCE) & (areas > 0) & ~beyond):
        text = f"box must fit the mask, got {_rounded(found.boxes[n])} for {_rounded(found.masks.boxes[n])}"
        yield Problem("box disagrees", _object(record, n), text)
    for first, second, iou in _duplicates(found, DUPLICATE_IOU):
        text = f"covers the same as object {first + 1} of the same class (IoU {iou:.3f})"
        yield Problem("duplicate object", _object(record, second), text)


def _rounded(box: NDArray[np.float32]) -> list[float]:
    return [round(value, 1) for value in box.tolist()]


def _object(record: Record, place: int | np.signedinteger[Any]) -> str:
    return f"{record.name}, object {place + 1}"


def _duplicates(found: Instances, limit: float) -> list[tuple[int, int, float]]:
    if found.masks is None:
        return []
    near = pairs.overlaps(found.masks, min_value=limit)
    return [
        (int(a), int(b), float(iou))
        for a, b, iou in zip(*near, strict=True)
        if found.labels[a] == found.labels[b]
    ]


def _duplicate_pictures(dataset: Dataset) -> Iterator[Problem]:
    """Pictures of equal content within a dataset: leakage if their splits differ."""
    records = list(dataset)
    for one, other in _same_files(records):
        first, record = records[one], records[other]
        split = first.split != record.split
        text = f"is the same file as {first.path}"
        text += f", which is in split {first.split}, this in {record.split}" if split else ""
        yield Problem("leakage" if split else "duplicate picture", record.name, text)


def _same_files(records: Sequence[Record]) -> Iterator[tuple[int, int]]:
    """Places of the first picture of some content and of each later one; only files of equal length are read."""
    by_length: dict[int, list[tuple[int, Path]]] = defaultdict(list)
    for place, record in enumerate(records):
        if record.path is not None and record.path.is_file():
            by_length[record.path.stat().st_size].append((place, record.path))
    for alike in by_length.values():
        seen: dict[str, int] = {}
        for place, path in alike if len(alike) > 1 else ():
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            first = seen.setdefault(content, place)
            if first != place:
                yield first, place


def _classes(dataset: Dataset) -> Iterator[Problem]:
    for name, count in Counter(dataset.classes).items():
        if count > 1:
            yield Problem(
                "duplicate class", name, f"classes must have different names, got {name!r} {count} times"
            )
    objects, crowds = np.zeros((2, len(dataset.classes)), np.int64)
    for record in dataset:
        np.add.at(objects, record.instances.labels, 1)
        if record.instances.crowd is not None:
            np.add.at(crowds, record.instances.labels[record.instances.crowd], 1)
    for name, count, crowd in zip(dataset.classes, objects, crowds, strict=True):
        if count == 0:
            yield Problem("unused class", name, "no object has this class")
        elif crowd == count:
            yield Problem("all crowd", name, f"all {count} objects are marked as crowd")


def fix(dataset: Dataset, *, single_objects: bool = False) -> tuple[Dataset, dict[str, int]]:
    """Mend what has one right answer.

    Objects without pixels and objects that repeat another one of their class pixel for pixel go; boxes more
    than `BOX_TOLERANCE` off, or outside the picture, become those of the mask.

    Args:
        dataset: Any dataset; it is not changed.
        single_objects: Also clear all crowd flags.

    Returns:
        The mended dataset, and how many objects were changed by kind of problem.

    >>> from delineate.masks import Masks
    >>> record = Record(None, (4, 6), Instances.of(Masks.from_counts([24], [0, 1], (4, 6))), 1)
    >>> fix(Dataset([record], ["cell"]))
    (Dataset(1 records, 0 instances, 1 classes), {'empty mask': 1})
    """
    done: Counter[str] = Counter()
    records = []
    for record in dataset:
        found = record.instances
        if found.masks is not None:
            empty = found.masks.areas == 0
            again = {b for _, b, _ in _duplicates(found, math.nextafter(1, 0))}
            done["empty mask"] += int(empty.sum())
            done["duplicate object"] += len(again)
            found = found[[n for n in range(len(found)) if not empty[n] and n not in again]]
            found = _with_right_boxes(record.size, found, done)
        if single_objects and found.crowd is not None:
            done["all crowd"] += int(found.crowd.sum())
            found = found.replace(crowd=None)
        records.append(record.replace(instances=found))
    return dataset.with_records(records), {kind: count for kind, count in done.items() if count}


def _with_right_boxes(size: tuple[int, int], found: Instances, done: Counter[str]) -> Instances:
    assert found.masks is not None  # noqa: S101 - for the type checker
    tight = found.masks.boxes
    beyond = (found.boxes < 0).any(axis=1) | (found.boxes[:, 2:] > np.array(size[::-1])).any(axis=1)
    wrong = beyond | (np.abs(found.boxes - tight).max(axis=1, initial=0) > BOX_TOLERANCE)
    if not wrong.any():
        return found
    done["box disagrees"] += int(wrong.sum())
    boxes = np.where(wrong[:, None], tight, found.boxes)
    return found.replace(boxes=boxes, extras={k: v for k, v in found.extras.items() if k != "bbox"})
