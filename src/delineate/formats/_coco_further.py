"""Keys of annotations beyond COCO's own, kept as columns. Serves `coco`.

"group" and "z_order" have columns of their own; everything else stays together as one JSON object.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

KNOWN = frozenset(
    {"id", "image_id", "category_id", "segmentation", "bbox", "area", "iscrowd", "score", "track_id"}
)
_NUMBERS = {"group": -1, "z_order": 0}
_LEAST, _MOST = -(2**63), 2**63 - 1


def read(
    descriptor: int, starts: NDArray[np.int64], lengths: NDArray[np.int32]
) -> dict[str, NDArray[Any]] | None:
    """The columns of the entries of a file, whose texts are known; None if one of them cannot be decoded.

    Args:
        descriptor: Of the open file.
        starts: (N,) where the text of each entry begins.
        lengths: (N,) bytes; 0 for an entry without further keys.
    """
    entries: list[Mapping[str, msgspec.Raw]] = []
    try:
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            entries.append(_entries.decode(os.pread(descriptor, length, start)) if length else {})
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return columns(entries)


def columns(entries: Sequence[Mapping[str, msgspec.Raw]]) -> dict[str, NDArray[Any]] | None:
    """Columns of N whole entries: "group", "z_order" (int64) and "attributes" (object, str); those that are used.

    None if a further key is not JSON in UTF-8.
    """
    try:
        further = [
            {key: msgspec.json.decode(value) for key, value in entry.items() if key not in KNOWN}
            for entry in entries
        ]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    found: dict[str, NDArray[Any]] = {
        name: np.full(len(entries), nothing, np.int64) for name, nothing in _NUMBERS.items()
    }
    used: set[str] = set()
    texts = ["{}"] * len(entries)
    for row, rest in enumerate(further):
        for name in _NUMBERS:
            value = rest.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and _LEAST <= value <= _MOST:
                found[name][row] = rest.pop(name)
                used.add(name)
        if rest:
            texts[row] = _encoder.encode(rest).decode()
            used.add("attributes")
    if "attributes" in used:
        found["attributes"] = np.array(texts, object)
    return {name: column for name, column in found.items() if name in used}


def keys(extras: Mapping[str, NDArray[Any]], count: int) -> Iterator[dict[str, Any]]:
    """The further keys of each of N instances, from their extras."""
    texts = extras.get("attributes")
    numbers = [(name, extras[name], nothing) for name, nothing in _NUMBERS.items() if name in extras]
    for row in range(count):
        entry: dict[str, Any] = {} if texts is None else _decoder.decode(str(texts[row]))
        entry |= {name: int(column[row]) for name, column, nothing in numbers if column[row] != nothing}
        yield {key: value for key, value in entry.items() if key not in KNOWN}


_entries = msgspec.json.Decoder(dict[str, msgspec.Raw])
_decoder = msgspec.json.Decoder(dict[str, Any])
_encoder = msgspec.json.Encoder()
