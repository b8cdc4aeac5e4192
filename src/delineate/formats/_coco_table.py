"""COCO files read natively: entries as columns, segmentations left in the file. Serves `coco`.

Everything here is for files in which all is well. Where anything is not, the functions say None, and the reader
of `_coco_json` finds out what it is.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from delineate._native import _core
from delineate.dataset import Record
from delineate.formats import _coco_further as coco_further
from delineate.formats._coco_json import Picture
from delineate.table import Rows, Table

_log = logging.getLogger("delineate")
_HEAD = ("images", "categories", "info", "licenses")
_MISSING = np.iinfo(np.int64).min  # of an id
_SCANNED: dict[tuple[Path | int, ...], Mapping[str, tuple[int, int]]] = {}
"""State of a file -> where its sections lie. Evaluation reads a truth, and results that refer to it."""


@dataclass(frozen=True)
class Scan:
    """What a file holds.

    Args:
        path: The file.
        file: Still open.
        head: JSON: the object without its entries and without keys that nobody reads.
        count: Number of entries.
        columns: Of the entries, by name; a column that no entry has a value for is not there.
        names: The ids of pictures that are strings.
    """

    path: Path
    file: BinaryIO
    head: bytes
    count: int
    columns: dict[str, NDArray[Any]]
    names: list[str]


def scan(path: Path, file: BinaryIO, *, results: bool = False) -> Scan | None:
    """The entries of a COCO file, or of a results list.

    Args:
        path: Of the file.
        file: The file, open and unbuffered.
        results: Whether it is a list.
    """
    found = _core.coco_scan(file.fileno(), results)
    if found is None:
        return None
    count, columns, names, sections = found
    if len(_SCANNED) >= 8:
        _SCANNED.clear()
    _SCANNED[_state(path, file)] = sections
    return Scan(path, file, _joined(file, sections), count, columns, names)


def head(path: Path, file: BinaryIO) -> bytes | None:
    """`Scan.head` alone. A file that has been scanned and is still the same is not scanned again.

    Args:
        path: Of the file.
        file: The file, open and unbuffered.
    """
    sections = _SCANNED.get(_state(path, file))
    if sections is not None:
        return _joined(file, sections)
    found = scan(path, file)
    return None if found is None else found.head


def _state(path: Path, file: BinaryIO) -> tuple[Path | int, ...]:
    found = os.fstat(file.fileno())
    return path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _joined(file: BinaryIO, sections: Mapping[str, tuple[int, int]]) -> bytes:
    parts = []
    for key in _HEAD:
        if key in sections:
            begin, length = sections[key]
            file.seek(begin)
            parts.append(b'"%s":' % key.encode() + file.read(length))
    return b"{" + b",".join([*parts, b'"annotations":[]']) + b"}"


def records(
    scan: Scan, pictures: Sequence[Picture], labels: Mapping[int, int], *, results: bool = False
) -> tuple[Record, ...] | None:
    """One record per picture whose instances are made when somebody asks for them.

    Args:
        scan: The entries.
        pictures: In the order of the file.
        labels: Label of each category id; labels rise with ids.
        results: Whether the entries are results, completed as pycocotools' loadRes does it.
    """
    # In the order in which evaluation visits pictures, so that it takes the columns as they are.
    order = sorted(range(len(pictures)), key=lambda n: _rank(pictures[n].id))
    sizes = np.array([pictures[n].size for n in order], np.int64).reshape(-1, 2)
    places = _pictures(scan, [pictures[n].id for n in order])
    found = None if places is None else _label(scan.columns["category"], labels)
    if places is None or found is None:
        return None
    more = None if results else _more(scan)
    table = _table(scan, places, found, sizes, results=results)
    if table is None or (more is None and not results):
        return None
    if more:
        by_picture = np.argsort(places, kind="stable")
        table = dataclasses.replace(table, more={name: column[by_picture] for name, column in more.items()})
    ranks = {at: rank for rank, at in enumerate(order)}
    return tuple(
        Record.of_rows(Rows(table, ranks[n]), path=one.path, size=one.size, id=one.id, **one.fields)
        for n, one in enumerate(pictures)
    )


def _more(scan: Scan) -> dict[str, NDArray[Any]] | None:
    """Columns of further keys; None if they cannot be read."""
    lengths = scan.columns.get("entry_length")
    return (
        {} if lengths is None else coco_further.read(scan.file.fileno(), scan.columns["entry_start"], lengths)
    )


def _rank(id_: int | str) -> tuple[bool, int, str]:
    return (False, id_, "") if isinstance(id_, int) else (True, 0, id_)


def _found(values: NDArray[np.int64], known: Sequence[int]) -> NDArray[np.int64] | None:
    """Positions of all values in a rising list."""
    try:
        keys = np.array(known, np.int64)
    except OverflowError:
        return None
    at = np.searchsorted(keys, values)
    fine = at < len(keys)
    return at if fine.all() and (keys[at] == values).all() else None


def _pictures(scan: Scan, ids: Sequence[int | str]) -> NDArray[np.int64] | None:
    """The place of each entry's picture among `ids`: ints, rising, then strings."""
    numbers = [id_ for id_ in ids if isinstance(id_, int)]
    values, named = scan.columns["image"], scan.columns.get("named")
    if named is None:
        return _found(values, numbers)
    words = {id_: place for place, id_ in enumerate(ids) if isinstance(id_, str)}
    if not all(name in words for name in scan.names):
        return None
    by_name = np.array([words[name] for name in scan.names], np.int64)
    is_word = named.astype(bool)
    places = np.empty(scan.count, np.int64)
    places[is_word] = by_name[values[is_word]]
    rest = _found(values[~is_word], numbers)
    if rest is None:
        return None
    places[~is_word] = rest
    return places


def _label(categories: NDArray[np.int64], labels: Mapping[int, int]) -> NDArray[np.int32] | None:
    found = _found(categories, list(labels))
    return None if found is None else found.astype(np.int32)


def _numbers(scan: Scan, *, results: bool) -> NDArray[np.int64] | None:
    """The annotation ids; those that have none get one."""
    ids = scan.columns.get("id")
    if results or ids is None:
        return np.arange(1, scan.count + 1)
    missing = ids == _MISSING
    given = ids[~missing]
    if (np.diff(given) <= 0).any() and len(np.unique(given)) < len(given):
        return None
    if not missing.any():
        return ids
    last = max(int(given.max()), 0) if len(given) else 0
    if last > 2**62:
        return None
    ids[missing] = np.arange(last + 1, last + 1 + missing.sum())
    return ids


def _scored(scores: NDArray[np.float64] | None, count: int, *, results: bool) -> bool:
    """Whether the scores are right: all or none, and finite as float32."""
    if scores is None:
        return not results or count == 0
    # Without a score it is nan, which is not below either.
    return bool((np.abs(scores) <= np.finfo(np.float32).max).all())


def _right(spans: NDArray[np.float64] | None, boxed: NDArray[np.bool_]) -> bool:
    if spans is None:
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        ends = (spans[:, :2] + spans[:, 2:]).astype(np.float32)
        fine = np.isfinite(spans.astype(np.float32)).all(axis=1) & np.isfinite(ends).all(axis=1)
        fine &= (spans[:, 2:] >= 0).all(axis=1)
    return bool((fine | ~boxed).all())


def _table(
    scan: Scan,
    places: NDArray[np.int64],
    labels: NDArray[np.int32],
    sizes: NDArray[np.int64],
    *,
    results: bool,
) -> Table | None:
    given, count = scan.columns, scan.count
    numbers, scores = _numbers(scan, results=results), given.get("score")
    spans = given.get("box")
    boxed = np.zeros(count, bool) if spans is None else ~np.isnan(spans[:, 0])
    if numbers is None or not _scored(scores, count, results=results) or not _right(spans, boxed):
        return None
    if results and scores is None:
        scores = np.zeros(0)
    lengths = given.get("length")
    shaped = 0 if lengths is None else int(np.count_nonzero(lengths))
    if not shaped and not boxed.all():
        return None
    areas = given.get("area")
    if results:
        areas = spans[:, 2] * spans[:, 3] if spans is not None and boxed[0] else None
    order = None if (np.diff(places) >= 0).all() else np.argsort(places, kind="stable")

    def sorted_(column: NDArray[Any] | None) -> Any:  # noqa: ANN401 (None stays None)
        return column if column is None or order is None else column[order]

    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(places, minlength=len(sizes)))])
    texts: _core.MaskTexts | None = None
    mask_areas: NDArray[np.float64] | None = None
    # From here on in the order of the table.
    spans, areas, boxed = sorted_(spans), sorted_(areas), sorted_(boxed)
    if shaped or not count:
        nothing = np.zeros(count, np.int64), np.zeros(count, np.int32)
        starts, lengths = nothing if lengths is None else (sorted_(given["start"]), sorted_(lengths))
        texts = _core.MaskTexts(scan.file.fileno(), sizes.ravel(), offsets, starts, lengths)
        before = tuple(sorted_(given.get(name)) for name in ("size", "pixels", "tight"))
        filled = _measured(texts, sorted_(given.get("rle")), spans, areas, boxed, before)
        if filled is None:
            return None
        spans, areas, mask_areas = filled
    else:
        areas = _filled(areas, spans[:, 2] * spans[:, 3])
    if 0 < shaped < count:
        text = "%s: %d of %d entries have no segmentation; their masks are empty"
        _log.warning(text, scan.path, count - shaped, count)
    crowd = None if results else sorted_(given.get("crowd"))
    tracks = sorted_(given.get("track"))
    tracked = None if tracks is None else tracks != _MISSING
    return Table(
        path=scan.path,
        sizes=sizes,
        offsets=offsets,
        labels=sorted_(labels),
        spans=spans,
        areas=areas,
        numbers=sorted_(numbers),
        exact_scores=sorted_(scores),
        crowd=None if crowd is None else crowd.view(np.bool_),
        tracks=None if tracked is None else np.where(tracked, tracks, -1),
        tracked=tracked,
        texts=texts,
        mask_areas=mask_areas,
    )


def _measured(
    texts: _core.MaskTexts,
    rle: NDArray[np.uint8] | None,
    spans: NDArray[np.float64] | None,
    areas: NDArray[np.float64] | None,
    boxed: NDArray[np.bool_],
    before: tuple[NDArray[Any] | None, ...],
) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.float64] | None] | None:
    """Boxes and areas of all masks, counted where the file does not state them; None if a mask is not right.

    Polygons have been checked. Run-length masks are only now: most by comparing the size that they state.
    """
    unknown = np.ones(len(boxed), bool) if areas is None else np.isnan(areas)
    wanted = unknown | ~boxed
    if rle is not None:
        wanted |= rle.view(np.bool_)
    # Boxes of all masks spare evaluation to decode most of them.
    found, tight, broken = texts.measure(
        wanted.view(np.uint8), bool(wanted.all()) or not boxed.all(), *before
    )
    if len(broken):
        return None
    whole: Any = tight
    if spans is not None:
        whole = spans if boxed.all() else np.where(boxed[:, None], spans, tight)
    return whole, _filled(areas, found), found if wanted.all() else None


def _filled(areas: NDArray[np.float64] | None, own: NDArray[np.float64]) -> NDArray[np.float64]:
    """The areas of the file, and those of the objects where it does not say."""
    return own if areas is None else np.where(np.isnan(areas), own, areas)
