"""Published files: fetched once, verified, kept in the user's cache folder.

A download says first what will come. It goes on where an earlier one stopped, survives dropped connections,
and takes its final name only when its checksum is right; a second process that wants the same file waits for
the first. Nothing is fetched twice, and nothing that was not asked for.

Environment: ``DELINEATE_CACHE`` is the cache folder, ``DELINEATE_OFFLINE=1`` forbids downloads, and proxies
are those of ``HTTPS_PROXY`` and its kin.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from delineate._transfer import Progress, transfer
from delineate.errors import DownloadError

__all__ = ["Progress", "Remote", "cache_folder", "fetch", "is_offline", "location", "model_location"]

_DIGESTS = {"sha256": 64, "md5": 32}  # hexadecimal digits
_SLACK = 1.05  # published sizes are rounded
_MODELS = "models-1"  # the number rises when other files are made from the same checkpoints
_NAME = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}"
_LARGEST = 16 << 30  # bytes that a file of unknown size may have


class Remote(NamedTuple):
    """A file that somebody publishes.

    Attributes:
        url: Where, http or https. The last part of its path is the name in the cache.
        checksum: "sha256:" or "md5:" and hexadecimal digits: all of them, or the first ones where the publisher
            states no more. None when nothing is published.
        size: About how many bytes, as published; None when unknown.
        licence: SPDX identifier of the file's own licence.
        about: What it is, in a few words, for the announcement.
        folder: Its folder in the cache, for files whose names say little; "" = none of its own.

    >>> Remote("https://example.org/files/cells-0a1b2c3d.pth", "sha256:0a1b2c3d", None, "MIT").name
    'cells-0a1b2c3d.pth'
    """

    url: str
    checksum: str | None
    size: int | None
    licence: str
    about: str = ""
    folder: str = ""

    @property
    def name(self) -> str:
        """The file's name."""
        return unquote(urlsplit(self.url).path).replace("\\", "/").rpartition("/")[2]

    def __str__(self) -> str:
        size = f"about {self.size / 1e6:.1f} MB" if self.size else "size not published"
        about = f"{self.about}; " if self.about else ""
        return f"{self.name}: {about}{size}, licence {self.licence}, from {self.url}"


def cache_folder() -> Path:
    """Where downloads are kept: ``DELINEATE_CACHE``, or ``delineate`` in the cache folder of the platform.

    That is ``XDG_CACHE_HOME`` or ``~/.cache``; ``~/Library/Caches`` on macOS, ``%LOCALAPPDATA%`` on Windows.
    The folder need not exist.
    """
    chosen = os.environ.get("DELINEATE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "delineate"
    variable, fallback = (
        ("LOCALAPPDATA", "AppData/Local") if os.name == "nt" else ("XDG_CACHE_HOME", ".cache")
    )
    folder = Path(os.environ.get(variable, ""))
    return (folder if folder.is_absolute() else Path.home() / fallback) / "delineate"


def location(file: Remote) -> Path:
    """Where a file lies in the cache, or may be put by hand.

    Args:
        file: The file.

    Raises:
        ValueError: If the address is none of http or https, or names no file, or the folder is no plain name.

    >>> location(Remote("https://example.org/cells.pth", None, None, "MIT")).name
    'cells.pth'
    """
    if urlsplit(file.url).scheme not in ("http", "https") or file.name in ("", ".", ".."):
        raise ValueError(f"download: url must be http or https and name a file, got {file.url!r}")
    if file.folder and not re.fullmatch(_NAME, file.folder):
        raise ValueError(
            f"download: folder must be letters, digits, '.', '-' and '_', got {file.folder[:100]!r}"
        )
    return cache_folder() / "weights" / file.folder / file.name


def model_location(name: str) -> Path:
    """Where the model file of that name lies, once it was made from a published checkpoint.

    Args:
        name: "family-entry"; letters, digits, ".", "-" and "_".

    Raises:
        ValueError: If it is no such name.

    >>> model_location("mask_rcnn-r50_fpn").name
    'mask_rcnn-r50_fpn.onnx'
    """
    if not re.fullmatch(_NAME, name):
        raise ValueError(f"download: name must be letters, digits, '.', '-' and '_', got {name[:100]!r}")
    return cache_folder() / _MODELS / f"{name}.onnx"


def is_offline() -> bool:
    """Whether ``DELINEATE_OFFLINE`` forbids downloads."""
    return os.environ.get("DELINEATE_OFFLINE", "").strip().lower() not in ("", "0", "false", "no", "off")


def fetch(
    file: Remote,
    *,
    announce: Callable[[Remote], None] | None = None,
    progress: Progress | None = None,
    offline: bool | None = None,
    attempts: int = 5,
    timeout: float = 30.0,
) -> Path:
    """The file in the cache; fetched if it is not there.

    Whatever is in the cache is verified before it is given out, also what was put there by hand.

    Args:
        file: Which one.
        announce: Called before a download begins, not for a file that is there. May raise to prevent it.
        progress: Called as bytes arrive.
        offline: Never fetch; None = what ``DELINEATE_OFFLINE`` says.
        attempts: Connections in a row that may bring nothing new before it is given up.
        timeout: Seconds of silence after which a connection counts as dropped.

    Returns:
        Path of the verified file.

    Raises:
        DownloadError: If downloads are off, the server refuses, the connection keeps dropping, the disk is too
            small, or the content is not what was published. What is broken is removed.
        ValueError: If the address or the checksum is malformed.
        OSError: If the cache folder cannot be written.
    """
    path = location(file)
    _digest(file.checksum)
    if path.is_file():
        return _verified(file, path)
    if is_offline() if offline is None else offline:
        raise DownloadError(
            f"{file.name}: must be in the cache, downloads are off. Fetch {file.url} elsewhere and put it at {path}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.with_name(f".{path.name}.lock")):
        if path.is_file():  # another process was faster
            return _verified(file, path)
        if announce is not None:
            announce(file)
        part = path.with_name(f".{path.name}.part")
        most = int(file.size * _SLACK) if file.size else _LARGEST
        free = shutil.disk_usage(path.parent).free + (part.stat().st_size if part.exists() else 0)
        if file.size and free < file.size:
            raise DownloadError(
                f"{file.name}: needs {file.size} bytes in {path.parent}, {free} are free. Make room, or set "
                "DELINEATE_CACHE to a larger disk"
            )
        try:
            resumed = transfer(file.url, part, most, attempts=attempts, timeout=timeout, progress=progress)
            if resumed and _mismatch(
                file, part
            ):  # a part of another version of the file: once from the start
                part.unlink()
                transfer(file.url, part, most, attempts=attempts, timeout=timeout, progress=progress)
        except DownloadError as error:
            raise DownloadError(f"{file.name}: {error}. Or put the file at {path} by hand") from error
        wrong = _mismatch(file, part)
        if wrong:
            part.unlink()
            raise DownloadError(
                f"{file.name}: {wrong}. What came from {file.url} was removed; the connection or the server is "
                f"altering it. Try again, or put the file at {path} by hand"
            )
        os.replace(part, path)  # noqa: PTH105 - atomic, as in delineate.atomic
    return path


def _verified(file: Remote, path: Path) -> Path:
    wrong = _mismatch(file, path)
    if wrong:
        raise DownloadError(f"{path}: {wrong}. Remove the file to have it fetched again")
    return path


def _digest(checksum: str | None) -> tuple[str, str]:
    """Algorithm and digits of a checksum; empty digits match everything."""
    if checksum is None:
        return "sha256", ""
    kind, _, digits = checksum.partition(":")
    if (
        kind not in _DIGESTS
        or not 6 <= len(digits) <= _DIGESTS[kind]
        or set(digits) - set("0123456789abcdef")
    ):
        raise ValueError(f"download: checksum must be sha256: or md5: and digits, got {checksum!r}")
    return kind, digits


def _mismatch(file: Remote, path: Path) -> str:
    """What is wrong with the content, "" when it is what was published."""
    kind, digits = _digest(file.checksum)
    if not digits:
        return ""
    with path.open("rb") as content:
        found = hashlib.file_digest(content, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
    if found.startswith(digits):
        return ""
    return f"{kind} must begin with {digits}, got {found} over {path.stat().st_size} bytes"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes; it ends with the process, whatever ends that."""
    with path.open("ab") as file:
        if sys.platform == "win32":
            import msvcrt

            while True:
                try:
                    msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
                    break
                except OSError:  # after ten seconds of waiting
                    continue
            try:
                yield
            finally:
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
            yield
