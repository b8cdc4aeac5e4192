"""Writing files and folders so that a reader never meets half of one.

The new content goes to a temporary file in the target's own folder, is flushed to the disk and then renamed
over the target in one step. If the writer fails, the target keeps its former content (or stays absent) and
the temporary file is removed. Folders are made in the same way, but their files are not flushed one by one:
a killed process leaves no half of a folder, a power failure may.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file for writing bytes; it takes its place when the ``with`` block ends without an error.

    A link is followed, an existing file's permissions are kept, and something that is not a plain file (a
    pipe, ``/dev/stdout``) is written to directly. Folders are not created.

    Args:
        path: The file to write or to replace.

    Raises:
        OSError: The folder does not exist, is not writable, or the disk is full.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with writing(Path(folder, "a.txt")) as file:
    ...         _ = file.write(b"whole")
    ...     Path(folder, "a.txt").read_bytes(), os.listdir(folder)
    (b'whole', ['a.txt'])
    """
    target = Path(os.path.realpath(path))
    mode = _mode(target)
    if mode is not None and stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "path must be a file, got a folder", str(path))
    if mode is not None and not stat.S_ISREG(mode):
        with target.open("wb") as file:
            yield file
        return
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the folder to write into does not exist", str(target.parent))
    # The dot hides the file from globs, the random part keeps two writers apart.
    temporary = target.with_name(f".{target.name[:200]}.{os.urandom(6).hex()}.part")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            temporary.chmod(stat.S_IMODE(mode))
        os.replace(temporary, target)  # noqa: PTH105 - the one call that this module exists for
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a whole file at once, as `writing` does.

    Args:
        path: The file to write or to replace.
        data: Its content.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_bytes(Path(folder, "a.txt"), b"whole")
    ...     Path(folder, "a.txt").read_bytes()
    b'whole'
    """
    with writing(path) as file:
        file.write(data)


@contextlib.contextmanager
def writing_folder(path: str | Path) -> Iterator[Path]:
    """Make a folder; it takes its place with all its files when the ``with`` block ends without an error.

    What is given to write into lies beside the target: relative links out of it stay right.

    Args:
        path: The folder; it must not exist, or be empty. The folder around it must exist.

    Raises:
        OSError: The folder has something in it, is not writable, or the disk is full.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with writing_folder(Path(folder, "new")) as inside:
    ...         _ = Path(inside, "a.txt").write_text("whole")
    ...     Path(folder, "new", "a.txt").read_text(), os.listdir(folder)
    ('whole', ['new'])
    """
    target = Path(os.path.realpath(path))
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        text = "folder must be new or empty, got one with something in it. Choose another one"
        raise FileExistsError(errno.EEXIST, text, str(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the folder to write into does not exist", str(target.parent))
    temporary = target.with_name(f".{os.urandom(6).hex()}.part")
    temporary.mkdir()
    try:
        yield temporary
        if target.exists():
            target.rmdir()
        os.replace(temporary, target)  # noqa: PTH105 - as above
    except BaseException:
        import shutil  # with all its archives: for failures only

        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync_folder(target.parent)


def _mode(path: Path) -> int | None:
    """The type and permission bits of what lies at the path, None where there is nothing."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system can (Windows cannot open folders)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
