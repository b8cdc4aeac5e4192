"""Picture files opened and decoded without losing depth. Serves `image`, and `codecs` for masks in picture files.

Pillow reads almost everything. Three things it does differently from what `image` promises are put right
here: it cuts 16-bit RGB down to 8 bits, it warns where the process-wide limit of pixels is passed, and it
leaves some TIFF sample formats (float64, float RGB, separate 16-bit planes) unread; those go to tifffile, if
that is installed.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import itertools
import logging
import math
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from delineate.errors import FormatError

MAX_PIXELS = 1_000_000_000
"""Larger pictures are refused: a few kilobytes of a hostile file can claim any size."""
MAX_PAGES, MAX_STACK = 10_000, 4 * MAX_PIXELS
"""The same for files of many pages: how many, and pixels of all together."""

# What is read, in the order of trying. Left out on purpose: formats that start other programs (EPS), and
# those without a signature, which take random bytes for pictures.
FORMATS = {
    "PNG": "PngImagePlugin",
    "JPEG": "JpegImagePlugin",
    "TIFF": "TiffImagePlugin",
    "BMP": "BmpImagePlugin",
    "GIF": "GifImagePlugin",
    "WEBP": "WebPImagePlugin",
    "JPEG2000": "Jpeg2KImagePlugin",
    "PPM": "PpmImagePlugin",
    "AVIF": "AvifImagePlugin",
}
# TIFF tags.
_WIDTH, _BITS, _PHOTOMETRIC, _ORIENTATION, _PLANAR, _SAMPLE_FORMAT = 256, 258, 262, 274, 284, 339

# libtiff hands over samples in the machine's byte order; for these kinds Pillow unpacks them in the file's.
_NATIVE = {"F;32F": "F;32NF", "F;32BF": "F;32NF", "I;16S": "I;16NS", "I;16BS": "I;16NS"} | {
    "I;32S": "I;32NS",
    "I;32BS": "I;32NS",
}

_log = logging.getLogger("delineate")
# warnings.catch_warnings changes the state of the whole process: one thread at a time.
_quiet_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Picture:
    """An open picture file.

    Args:
        size: (height, width) as stored.
        orientation: EXIF orientation, 1 to 8; 1 is upright.
        decode: Gives the pixels as stored, (H, W) or (H, W, C) of any dtype.
    """

    size: tuple[int, int]
    orientation: int
    decode: Callable[[], NDArray[Any]]


@contextlib.contextmanager
def opened(source: str | Path | bytes, *, indices: bool = False) -> Iterator[Picture]:
    """Open a file (or its content) and read its header; whatever goes wrong is a FormatError.

    Args:
        source: The file, or its content.
        indices: Whether a picture with a palette gives its indices instead of its colours.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        yield _opened(io.BytesIO(source), "<bytes>", indices)
        return
    path = Path(source)
    try:
        file = path.open("rb")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or _words(error)
        raise FormatError(path, "", f"picture must be a readable file, got: {reason}.") from error
    with file:
        yield _opened(file, path, indices)


def pages(path: Path) -> Iterator[NDArray[Any]]:
    """The pixels of each page of a file as stored, palettes as indices; whatever goes wrong is a FormatError."""
    pixels = 0
    try:
        with path.open("rb") as file:
            for count, (size, decode) in enumerate(_each_page(file, path)):
                pixels += math.prod(size)
                if count >= MAX_PAGES or pixels > MAX_STACK:
                    text = f"picture must have at most {MAX_PAGES} pages and {MAX_STACK} pixels, got more."
                    raise FormatError(path, f"page {count}", text)
                yield decode()
    except FormatError:
        raise
    except Exception as error:  # decoders of damaged files fail in every way
        raise FormatError(path, "", f"picture must be whole, got: {_words(error)}.") from error


def _each_page(file: IO[bytes], where: Path) -> Iterator[tuple[tuple[int, int], Callable[[], NDArray[Any]]]]:
    """(height, width) and how to decode, page by page; decode before going on."""
    with _quiet():
        picture = _parsed(file, where)
    if picture is None:
        file.seek(0)
        for page in importlib.import_module("tifffile").TiffFile(file).pages:
            yield (int(page.imagelength), int(page.imagewidth)), page.asarray
        return
    for number in itertools.count():
        try:
            picture.seek(number)
        except EOFError:
            return
        yield picture.size[::-1], functools.partial(_pixels, picture, file, where, 1, True)


def _opened(file: IO[bytes], where: str | Path, indices: bool) -> Picture:
    try:
        picture = _by_pillow(file, where, indices)
        if picture is None:
            picture = _by_tifffile(file, where)
    except FormatError:
        raise
    except Exception as error:
        raise FormatError(where, "", f"picture must be readable, got: {_words(error)}.") from error
    height, width = picture.size
    if height * width > MAX_PIXELS:
        text = f"picture must have at most {MAX_PIXELS} pixels, got {height} x {width}. Cut it into tiles"
        raise FormatError(where, "", text)
    return Picture(picture.size, picture.orientation, functools.partial(_decoded, picture, where))


def _decoded(picture: Picture, where: str | Path) -> NDArray[Any]:
    try:
        array = picture.decode()
    except FormatError:
        raise
    except Exception as error:  # decoders of damaged files fail in every way
        raise FormatError(where, "", f"picture must be whole, got: {_words(error)}.") from error
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.shape[:2] != picture.size or array.ndim > 3 or channels > 4 or array.dtype.kind not in "biuf":
        text = f"picture must be {picture.size} numbers in 1 to 4 channels, got {array.shape} {array.dtype}."
        raise FormatError(where, "", text)
    return array


def _by_pillow(file: IO[bytes], where: str | Path, indices: bool) -> Picture | None:
    """None for a TIFF that Pillow cannot read, or would read wrongly."""
    with _quiet():
        picture = _parsed(file, where)
        if picture is None or (picture.format == "TIFF" and _has_deep_planes(picture)):
            return None
        orientation = _orientation(picture)
        with contextlib.suppress(Exception):  # a damaged later page does not spoil the first
            pages = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
            _report_pages(where, pages)
            picture.seek(0)
    width, height = picture.size
    if orientation >= 5 and getattr(picture, "tag_v2", {}).get(_WIDTH, width) != width:
        width, height = height, width  # of TIFF, newer Pillow gives the size of the turned picture
    return Picture((height, width), orientation, lambda: _pixels(picture, file, where, orientation, indices))


def _parsed(file: IO[bytes], where: str | Path) -> ImageFile.ImageFile | None:
    """The header read by Pillow; None for a TIFF of a kind unknown to it.

    Not Image.open: that warns from 89 megapixels on and refuses 179, by a limit that belongs to the whole
    process.
    """
    file.seek(0)
    prefix = file.read(16)
    if not prefix:
        raise FormatError(where, "", "picture must have content, got an empty file.")
    reason = "no known signature"
    for name, plugin in FORMATS.items():
        with contextlib.suppress(ImportError):  # older Pillow has no AVIF
            importlib.import_module(f"PIL.{plugin}")
        factory, accept = Image.OPEN.get(name, (None, None))
        accepted = factory is not None and accept is not None and accept(prefix)
        if isinstance(accepted, str):  # the format is known, but Pillow was built without it
            reason = accepted
        elif accepted and factory is not None:
            file.seek(0)
            try:
                return factory(file, "")
            except Exception as error:  # noqa: BLE001 - readers of damaged files fail in every way
                if name == "TIFF" and str(error) in ("unknown pixel mode", "unknown data organization"):
                    return None
                reason = _words(error)
    raise FormatError(where, "", f"file must be a whole picture ({', '.join(FORMATS)}), got: {reason}.")


def _pixels(
    picture: ImageFile.ImageFile, file: IO[bytes], where: str | Path, orientation: int, indices: bool
) -> NDArray[Any]:
    """Decode, without losing depth."""
    tags = getattr(picture, "tag_v2", {})
    facts = (tags.get(_BITS, (1,))[0], tags.get(_SAMPLE_FORMAT, (1,))[0], tags.get(_PHOTOMETRIC, 1))
    rawmode = _rawmode(picture)
    if rawmode == "LA;16B":  # grey and alpha, 16 bits each: four bytes, taken as they are
        _set_rawmode(picture, "RGBA")
        return np.asarray(picture).view(">u2")
    if rawmode in _NATIVE and picture.tile[0][0] == "libtiff":
        _set_rawmode(picture, _NATIVE[rawmode])
    if rawmode.partition(";")[2] in ("16B", "16L", "16N") and picture.mode in ("RGB", "RGBA"):
        array = _sixteen_bits(picture, file, where, rawmode)
    else:
        if indices and picture.mode == "P":
            array = np.asarray(picture)
        elif picture.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
            picture.load()
            picture.info.pop("transparency", None)  # dropped like all alpha; converting would warn about it
            array = np.asarray(picture.convert("RGB"))
        else:
            array = np.asarray(picture)
    if picture.format == "TIFF":
        array = _reinterpreted(array, *facts)
        if _orientation(picture) != orientation:
            # Pillow has turned it. Back again: 6 and 8 are each other's inverse, the rest are their own.
            array = turned(array, {6: 8, 8: 6}.get(orientation, orientation))
    return array


def _sixteen_bits(
    picture: ImageFile.ImageFile, file: IO[bytes], where: str | Path, rawmode: str
) -> NDArray[np.uint16]:
    """16-bit colours from a decoder that keeps one byte of two: decode for the high ones, then for the low.

    The raw mode says which byte Pillow keeps; told the opposite byte order, it keeps the low one.
    """
    base, _, order = rawmode.partition(";16")
    base = base.replace("a", "A")  # premultiplied colours stay as stored: one byte alone cannot be divided
    if order == "N":
        order = "L" if sys.byteorder == "little" else "B"
    _set_rawmode(picture, f"{base};16{order}")
    high = np.asarray(picture)
    with _quiet():
        again = _parsed(file, where)
    assert again is not None  # noqa: S101 - for the type checker; the same bytes were parsed before
    _set_rawmode(again, f"{base};16{'B' if order == 'L' else 'L'}")
    return np.asarray(again).astype(np.uint16) | (high.astype(np.uint16) << np.uint16(8))


def _rawmode(picture: ImageFile.ImageFile) -> str:
    """How Pillow will unpack the stored samples; "" where it does not say, or not the same for all tiles."""
    found = {tile[3][0] if isinstance(tile[3], tuple) else tile[3] for tile in picture.tile}
    mode = found.pop() if len(found) == 1 else ""
    return mode if isinstance(mode, str) else ""


def _set_rawmode(picture: ImageFile.ImageFile, rawmode: str) -> None:
    tiles: list[Any] = picture.tile  # named tuples in newer Pillow, plain ones in older
    for position, tile in enumerate(tiles):
        arguments = (rawmode, *tile[3][1:]) if isinstance(tile[3], tuple) else rawmode
        tiles[position] = getattr(type(tile), "_make", tuple)((*tile[:3], arguments))


def _reinterpreted(array: NDArray[Any], bits: int, sample_format: int, photometric: int) -> NDArray[Any]:
    """What Pillow's modes cannot say of a TIFF: signed bytes, unsigned 32 bits, deep inverted samples."""
    if array.ndim == 2 and bits == 8 and sample_format == 2:
        return array.view(np.int8)
    if array.dtype == np.int32 and bits == 32 and sample_format == 1:
        array = array.view(np.uint32)
    if photometric == 0 and array.itemsize > 1:  # white is zero; Pillow inverts 8 bits only
        return -array if array.dtype.kind == "f" else ~array
    return array


def _has_deep_planes(picture: ImageFile.ImageFile) -> bool:
    """Whether colours of more than 8 bits lie in separate planes, which Pillow decodes as if they had 8."""
    tags = getattr(picture, "tag_v2", {})
    return tags.get(_PLANAR) == 2 and len(picture.getbands()) > 1 and max(tags.get(_BITS, (1,))) > 8


def _by_tifffile(file: IO[bytes], where: str | Path) -> Picture:
    """A TIFF of a kind that Pillow does not know."""
    try:
        tifffile = importlib.import_module("tifffile")
    except ImportError as error:
        text = (
            "TIFF must be of a kind that Pillow reads, got another (float64, float RGB, separate 16-bit "
            "planes or the like). Run: pip install tifffile imagecodecs"
        )
        raise FormatError(where, "", text) from error
    file.seek(0)
    tiff = tifffile.TiffFile(file)
    page = tiff.pages[0]
    _report_pages(where, len(tiff.pages))
    expected = math.prod(page.chunked)
    if len(page.dataoffsets) != expected:  # tifffile would fill what is not there with zeros
        text = f"picture must be whole, got {len(page.dataoffsets)} of {expected} strips or tiles."
        raise FormatError(where, "", text)
    orientation = page.tags.get(_ORIENTATION)
    value = orientation.value if orientation is not None and orientation.value in range(1, 9) else 1

    def decode() -> NDArray[Any]:
        array: NDArray[Any] = np.asarray(page.asarray())
        if page.axes.startswith("S"):
            array = np.moveaxis(array, 0, -1)
        if page.photometric == 0:
            array = -array if array.dtype.kind == "f" else ~array
        return array

    return Picture((int(page.imagelength), int(page.imagewidth)), int(value), decode)


def turned(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The stored picture upright.

    Args:
        array: (H, W) or (H, W, C).
        orientation: EXIF orientation, 1 to 8.
    """
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array


def _orientation(picture: ImageFile.ImageFile) -> int:
    """The EXIF orientation, 1 (upright) where there is none or it makes no sense."""
    with contextlib.suppress(Exception):  # a damaged EXIF block does not spoil the picture
        # The general method: the one for PNG decodes the whole picture in search of a late block.
        value = Image.Image.getexif(picture).get(_ORIENTATION, 1)
        if value in range(1, 9):
            return int(value)
    return 1


def _report_pages(where: str | Path, pages: int) -> None:
    if pages > 1:
        _log.warning("%s: has %d pages or frames; only the first is read", where, pages)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Pillow warns about oddities of a file's metadata; what matters here is raised or logged."""
    with _quiet_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _words(error: BaseException) -> str:
    return (str(error) or type(error).__name__).rstrip(".")
