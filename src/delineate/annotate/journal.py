"""Edits on the disk before they are answered: one JSON line each, flushed, read again after a kill."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from delineate import atomic


class Journal:
    """Lines that outlive the process. Not safe to use from two threads at once: `Store` has the lock.

    Args:
        path: The file; made at the first line.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     journal = Journal(Path(folder, "journal.jsonl"))
    ...     journal.append(b'{"a":1}')
    ...     journal.close()
    ...     [line for line in Journal(journal.path).lines()]
    [b'{"a":1}']
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None

    def lines(self) -> Iterator[bytes]:
        """The whole lines, in the order in which they were written; half of a last one is left out."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return
        for line in content.split(b"\n")[:-1]:
            if line:
                yield line

    def append(self, line: bytes) -> None:
        """Write a line; it is on the disk when this returns.

        Args:
            line: Without a line break.

        Raises:
            OSError: The disk is full or not writable; the line is then not in the journal.
        """
        if self._file is None:
            self._mend()
            self._file = self.path.open("ab", buffering=0)
        start = os.fstat(self._file.fileno()).st_size
        try:
            left = memoryview(line + b"\n")
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(start)
            raise

    def replace(self, lines: list[bytes]) -> None:
        """Keep these lines only, in one step."""
        self.close()
        atomic.write_bytes(self.path, b"".join(line + b"\n" for line in lines))

    def close(self) -> None:
        """Give the file back; a further line opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _mend(self) -> None:
        """Cut half of a last line off, so that the next one does not continue it."""
        if self.path.is_file():
            content = self.path.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]
            if whole != content:
                atomic.write_bytes(self.path, whole)
