"""What to say about a file or folder that no format knows. Serves `delineate.formats`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from delineate.errors import FormatError
from delineate.formats import coco_panoptic

_MOST = 20  # annotation files and folders of a folder that are tried
_LARGEST = 1 << 26  # bytes of a file that is read to say where it is no JSON


def problem(path: Path, names: Iterable[str], known: Callable[[Path], str | None]) -> FormatError:
    """The error for a path that no format knows, with what is there instead and what to do.

    Args:
        path: A file or folder that exists.
        names: The names of the formats.
        known: Gives the format of a path, or None.
    """
    if path.is_dir():
        if not any(path.iterdir()):
            return FormatError(path, "", "folder must hold a dataset, got an empty one.")
        folders = sorted(inner for inner in path.iterdir() if inner.is_dir())
        files = itertools.chain(sorted(path.glob("*.json")), folders, sorted(path.glob("*/*.json")))
        for file in itertools.islice(files, _MOST):
            if (name := known(file)) is not None:
                text = f"folder must be a dataset in itself, got one with others in it. Name {file} ({name})."
                return FormatError(path, "", text)
    elif coco_panoptic.sniff(path):
        text = (
            "file must hold instances, got panoptic segments. `delineate eval` and "
            "delineate.formats.coco_panoptic read them."
        )
        return FormatError(path, "", text)
    elif path.suffix.lower() == ".json" and path.stat().st_size <= _LARGEST:
        try:
            content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
            msgspec.json.decode(content, type=msgspec.Raw)
        except OSError as error:
            return FormatError(path, "", f"file must be readable, got: {error.strerror}.")
        except msgspec.DecodeError as error:
            return FormatError(path, "", f"file must be JSON, got: {str(error).rstrip('.')}.")
        if content.lstrip()[:1] == b"[" and b'"image_id"' in content[:65536]:
            text = (
                "file must name its pictures and classes, got a results list. It goes with its truth: "
                "`delineate eval TRUTH RESULTS`, or read_results in Python."
            )
            return FormatError(path, "", text)
    return FormatError(path, "", f"file must be in a known format ({', '.join(names)}), got none of them.")
