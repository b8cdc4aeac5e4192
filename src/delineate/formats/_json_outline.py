"""What a JSON file is about, found out without reading it whole into memory. Serves every format that is JSON.

All formats look at the same file one after the other: what was found last is remembered.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import msgspec

from delineate._native import _core

_SHOWN = 1 << 16
"""Bytes of a value that are looked at."""
_LARGEST = 1 << 30
"""Bytes of a damaged or unusual file that is read whole."""


def values(path: str | Path) -> Mapping[str, bytes] | None:
    """The keys of a top-level object, each with the beginning of its value; None if the file is none.

    Of a list only the first element is there: ``b"[...]"``, or ``b"[]"``. Other values end after 64 kB.
    """
    found = _outline(path)
    return None if found is None or "" in found else found


def first(path: str | Path) -> bytes | None:
    """The first element of a top-level list as ``b"[...]"``, or ``b"[]"``; None if the file is none."""
    found = _outline(path)
    return None if found is None else found.get("")


def _outline(path: str | Path) -> Mapping[str, bytes] | None:
    path = Path(path)
    try:
        if not path.is_file():
            return None
        state = path.stat()
        return _read(path, state.st_size, state.st_mtime_ns, state.st_ino)
    except OSError:
        return None


@functools.lru_cache(maxsize=4)
def _read(path: Path, *_: int) -> Mapping[str, bytes] | None:
    """The outline of the file in the state that the numbers stand for; a list has one value, without a key."""
    with path.open("rb", buffering=0) as file:
        found = _core.json_outline(file.fileno())
        if found is None:  # damaged, or only unusual: keys with escapes, byte order marks ...
            return _decoded(file)
        texts = {}
        for key, begin, length, first_begin, first_length in found[1]:
            file.seek(begin)
            is_list = file.read(1) == b"["
            file.seek(first_begin if is_list else begin)
            text = file.read(min(first_length, 1 << 26) if is_list else min(length, _SHOWN))
            texts[key] = b"[" + text + b"]" if is_list else text
        return MappingProxyType(texts)


def _decoded(file: BinaryIO) -> Mapping[str, bytes] | None:
    """The outline of a file that is read whole; None if it is no JSON, or too large for that."""
    if file.seek(0, os.SEEK_END) > _LARGEST:
        return None
    file.seek(0)
    data = file.read().removeprefix(b"\xef\xbb\xbf")
    kind: Any = list[msgspec.Raw] if data.lstrip()[:1] == b"[" else dict[str, msgspec.Raw]
    try:
        found = msgspec.json.decode(data, type=kind)
        whole = {"": data} if isinstance(found, list) else {key: bytes(value) for key, value in found.items()}
        lists = {key: text for key, text in whole.items() if text.lstrip()[:1] == b"["}
        firsts = {key: msgspec.json.decode(text, type=list[msgspec.Raw])[:1] for key, text in lists.items()}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    short = {key: b"[" + b"".join(map(bytes, first)) + b"]" for key, first in firsts.items()}
    return MappingProxyType({key: text[:_SHOWN] for key, text in whole.items()} | short)
