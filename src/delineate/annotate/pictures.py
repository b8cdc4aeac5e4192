"""Pictures as the page shows them: upright 8-bit views, tiles of large ones, thumbnails; a bounded cache behind."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from delineate.errors import FormatError
from delineate.image import read_image, read_size

MAX_PIXELS = 250_000_000
"""Larger pictures are refused here; `delineate tile` cuts them."""

VIEW_SIDE = 2048
"""A picture whose longer side is not above this is sent whole; of others a view of at most this size, and tiles."""

TILE = 512
THUMBNAIL = 224
_LOSSLESS = 1_500_000  # pixels up to which a whole picture is sent without loss


class Gallery:
    """Decoded pictures, kept while they are needed. Safe to use from several threads.

    Args:
        path: Number of a picture to its file; KeyError where there is none.
        held: Bytes of decoded pictures that are kept besides the last one.
        thumbnails: How many thumbnails are kept.
    """

    def __init__(self, path: Callable[[int], Path], *, held: int = 400 << 20, thumbnails: int = 4000) -> None:
        self._path, self._held, self._most = path, held, thumbnails
        self._levels: OrderedDict[int, tuple[str, list[NDArray[np.uint8]]]] = OrderedDict()
        self._thumbnails: OrderedDict[tuple[int, str], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._decoding: dict[int, threading.Lock] = {}
        self._few = threading.Semaphore(2)  # thumbnails at once: pictures matter more
        self._decoders = threading.Semaphore(2)  # pictures at once: each may take a gigabyte

    def version(self, number: int) -> str:
        """Changes when the file does.

        Raises:
            KeyError: There is no such picture.
            FormatError: The file is gone.
        """
        path = self._path(number)
        try:
            status = path.stat()
        except OSError as error:
            raise FormatError(path, "", f"picture must be there, got: {error.strerror}.") from error
        return f"{status.st_mtime_ns:x}-{status.st_size:x}"

    def pixels(self, number: int) -> NDArray[np.uint8]:
        """The picture, (H, W, 3) uint8, upright.

        Raises:
            KeyError: There is no such picture.
            FormatError: It cannot be read, or is too large.
        """
        return self._pyramid(number)[0]

    def _pyramid(self, number: int) -> list[NDArray[np.uint8]]:
        """The picture and its halves, as many as were asked for so far."""
        version = self.version(number)
        with self._lock:
            known = self._levels.get(number)
            if known is not None and known[0] == version:
                self._levels.move_to_end(number)
                return known[1]
            decoding = self._decoding.setdefault(number, threading.Lock())
        with decoding:
            with self._lock:
                known = self._levels.get(number)
            if known is not None and known[0] == version:
                return known[1]
            with self._decoders:
                made = [_read(self._path(number))]
            with self._lock:
                self._levels[number] = version, made
                self._levels.move_to_end(number)
                self._forget()
            return made

    def _forget(self) -> None:
        sizes = {n: sum(level.nbytes for level in levels) for n, (_, levels) in self._levels.items()}
        while len(self._levels) > 1 and sum(sizes.values()) > self._held:
            number, _ = self._levels.popitem(last=False)
            del sizes[number]

    def _level(self, number: int, level: int) -> NDArray[np.uint8]:
        levels = self._pyramid(number)
        while (known := len(levels)) <= level:
            following = np.asarray(Image.fromarray(levels[known - 1]).reduce(2))
            with self._lock:
                if len(levels) == known:  # else another thread was quicker
                    levels.append(following)
        return levels[level]

    def view(self, number: int) -> tuple[bytes, str]:
        """The whole picture, halved until it is at most `VIEW_SIDE` on its longer side, and its media type.

        Small pictures come as PNG without loss, others as JPEG.
        """
        pixels, level = self.pixels(number), 0
        while max(pixels.shape[:2]) > VIEW_SIDE:
            level += 1
            pixels = self._level(number, level)
        if level or pixels.shape[0] * pixels.shape[1] > _LOSSLESS:
            return _encoded(Image.fromarray(pixels), "JPEG"), "image/jpeg"
        return _encoded(Image.fromarray(pixels), "PNG"), "image/png"

    def tile(self, number: int, level: int, column: int, row: int) -> bytes:
        """A tile of `TILE` pixels a side as JPEG; at the right and lower border it is smaller.

        Args:
            number: The picture.
            level: How often the picture was halved: 0 is full size.
            column: From the left.
            row: From the top.

        Raises:
            KeyError: There is no such picture or tile.
        """
        if not 0 <= level <= 12:
            raise KeyError(level)
        pixels = self._level(number, level)[
            row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE
        ]
        if min(row, column) < 0 or not pixels.size:
            raise KeyError((level, column, row))
        return _encoded(Image.fromarray(np.ascontiguousarray(pixels)), "JPEG")

    def thumbnail(self, number: int) -> bytes:
        """The picture as a JPEG of at most `THUMBNAIL` pixels a side."""
        key = number, self.version(number)
        with self._lock:
            if key in self._thumbnails:
                self._thumbnails.move_to_end(key)
                return self._thumbnails[key]
        with self._few:
            made = _encoded(self._small(number), "JPEG")
        with self._lock:
            self._thumbnails[key] = made
            while len(self._thumbnails) > self._most:
                self._thumbnails.popitem(last=False)
        return made

    def _small(self, number: int) -> Image.Image:
        path = self._path(number)
        side = THUMBNAIL, THUMBNAIL
        if path.suffix.lower() in (".jpg", ".jpeg"):
            try:
                with Image.open(path, formats=["JPEG"]) as file:  # decodes an eighth of a large one
                    file.draft("RGB", (THUMBNAIL * 2, THUMBNAIL * 2))
                    file.thumbnail(side)
                    return ImageOps.exif_transpose(file).convert("RGB")
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                pass  # `read_image` knows what to say
        with self._lock:
            known = self._levels.get(number)
        small = Image.fromarray(known[1][0] if known else _read(path))
        small.thumbnail(side, Image.Resampling.BILINEAR, reducing_gap=2)
        return small


def _read(path: Path) -> NDArray[np.uint8]:
    height, width = read_size(path)
    if height * width > MAX_PIXELS:
        text = (
            f"picture must have at most {MAX_PIXELS} pixels, got {width} x {height}. Cut it: delineate tile"
        )
        raise FormatError(path, "", text)
    return read_image(path)


def _encoded(picture: Image.Image, format: str) -> bytes:  # noqa: A002
    file = io.BytesIO()
    if format == "PNG":
        picture.save(file, "PNG", compress_level=1)
    else:
        picture.save(file, "JPEG", quality=92, subsampling=0)
    return file.getvalue()
