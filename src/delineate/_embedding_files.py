"""Embeddings of pictures on disk: one file each, named by model and picture, the longest unused ones go first."""

from __future__ import annotations

import io
import logging
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from delineate.atomic import write_bytes

log = logging.getLogger("delineate")


class EmbeddingFiles:
    """A bounded folder of embeddings.

    Several processes may share it: files are written under a temporary name and renamed, and a damaged or vanished
    one is as good as none.

    Args:
        folder: Made if missing. Only files "*.embedding.npz" in it are looked at and removed.
        model: Digest of the model, part of the names.
        most: Bytes of all files together, at least 1.
    """

    def __init__(self, folder: Path, model: str, most: int) -> None:
        if most < 1:
            raise ValueError(f"EmbeddingFiles: most must be at least 1 byte, got {most}")
        self.folder, self.model, self.most = folder, model, most

    def get(self, key: bytes) -> tuple[NDArray[np.float32], dict[str, NDArray[Any]]] | None:
        """The embedding of a picture with the finer features beside it by name, or None.

        Args:
            key: Digest of the picture.
        """
        path = self._path(key)
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as content:
                found = {name: content[name] for name in content.files}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
            log.warning("%s: the stored embedding cannot be read and is made anew: %s", path, error)
            return None
        embedding = found.pop("embedding", None)
        if embedding is None or any(
            one.dtype != np.float32 or one.ndim != 4 for one in (embedding, *found.values())
        ):
            log.warning("%s: the stored embedding is none and is made anew", path)
            return None
        try:
            os.utime(path)  # used now
        except OSError:
            log.debug("%s: the time of use cannot be noted", path)
        return embedding, found

    def put(self, key: bytes, embedding: NDArray[np.float32], finer: Mapping[str, NDArray[Any]]) -> None:
        """Store an embedding; the longest unused files go until all fit. An embedding larger than all is not stored.

        Args:
            key: Digest of the picture.
            embedding: (1, C, h, w).
            finer: What else the encoder gave, by name; none of them is "embedding".

        Raises:
            OSError: The folder cannot be written.
        """
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, embedding=embedding, **finer)
        size = content.getbuffer().nbytes
        if size > self.most:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._trim(self.most - size)
        write_bytes(self._path(key), content.getvalue())

    def _path(self, key: bytes) -> Path:
        return self.folder / f"{self.model}-{key.hex()}.embedding.npz"

    def _trim(self, most: int) -> None:
        files = []
        for path in self.folder.glob("*.embedding.npz"):
            try:
                state = path.stat()
            except FileNotFoundError:  # another process was here
                continue
            files.append((state.st_mtime_ns, state.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= most:
                return
            path.unlink(missing_ok=True)
            total -= size
