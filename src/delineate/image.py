"""Pictures as arrays: (H, W, 3) uint8 RGB, upright, whatever the file holds.

How every kind of picture becomes 8-bit RGB (`to_rgb8` applies the same rules to arrays):

* 8-bit grey is repeated into three channels; palettes are resolved; CMYK, YCbCr and 1-bit are converted.
* Alpha is dropped: the stored colours stay, nothing is composited onto a background.
* Everything deeper than 8 bits, signed or float is stretched for display: the 0.1st and the 99.9th percentile of
  all finite values of the picture (all channels together) become 0 and 255. If the two are equal, the minimum and
  the maximum take their place; a constant picture becomes 0. nan becomes 0, infinities 0 or 255.
* Of several pages, frames or layers the first is taken, and the log ("delineate") says so.

EXIF orientation is applied unless told otherwise.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from delineate import atomic
from delineate.errors import FormatError

MAX_PIXELS = 1_000_000_000
"""Larger pictures are refused: a few kilobytes of a hostile file can claim any size."""

LOW_PERCENTILE, HIGH_PERCENTILE = 0.1, 99.9

# What is read, in the order of trying. Left out on purpose: formats that start other programs (EPS), and those
# without a signature, which take random bytes for pictures.
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000", "PPM", "AVIF")
_ORIENTATION = 274  # the EXIF and TIFF tag
_FORMAT_BY_SUFFIX = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF"} | {
    ".bmp": "BMP",
    ".webp": "WEBP",
}

_log = logging.getLogger("delineate")
# warnings.catch_warnings changes the state of the whole process: one thread at a time.
_quiet_lock = threading.Lock()


def read_image(source: str | Path | bytes, *, orient: bool = True) -> NDArray[np.uint8]:
    """Read a picture.

    Args:
        source: The file, or its content.
        orient: Whether to turn the picture upright as its EXIF orientation says.

    Returns:
        (H, W, 3) uint8, RGB, C-contiguous. See the module's text for deep, grey and transparent pictures.

    Raises:
        FormatError: There is no such file, it is not a picture, it is damaged or too large.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_image(Path(folder, "a.png"), np.full((4, 6), 7, np.uint8))
    ...     read_image(Path(folder, "a.png"))[0, 0]
    array([7, 7, 7], dtype=uint8)
    """
    with _opened(source) as (picture, where):
        orientation = _orientation(picture)
        try:
            array = _pixels(picture)
        except FormatError:
            raise
        except Exception as error:  # decoders of damaged files fail in every way
            raise FormatError(where, "", f"picture must be whole, got: {_words(error)}.") from error
        array = to_rgb8(array)
        applied = picture.format == "TIFF" and _orientation(picture) == 1  # Pillow turns TIFF by itself
    if orient and not applied:
        array = _turned(array, orientation)
    elif applied and not orient:
        # Back again. 6 and 8 are each other's inverse, the rest are their own.
        array = _turned(array, {6: 8, 8: 6}.get(orientation, orientation))
    return np.ascontiguousarray(array)


def read_size(source: str | Path | bytes, *, orient: bool = True) -> tuple[int, int]:
    """(height, width) that `read_image` would give, without decoding the picture.

    Args:
        source: The file, or its content.
        orient: As in `read_image`.

    Raises:
        FormatError: There is no such file, it is not a picture, or it is too large.
    """
    with _opened(source) as (picture, _):
        width, height = picture.size
        turns = _orientation(picture) >= 5
        if picture.format == "TIFF":  # Pillow gives the turned size
            return (height, width) if orient or not turns else (width, height)
        return (width, height) if orient and turns else (height, width)


def to_rgb8(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Any picture array as 8-bit RGB, by the rules of the module's text.

    Args:
        array: (H, W), (H, W, C) or (C, H, W) with 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha) channels, of
            any bool, integer or float dtype; uint8 is taken as it is.

    Returns:
        (H, W, 3) uint8; a new array, or the given one if nothing is to be done.

    >>> to_rgb8(np.array([[0.0, 0.5, 1.0]]))[..., 0]
    array([[  0, 128, 255]], dtype=uint8)
    """
    array = np.asarray(array)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"to_rgb8: array must hold bools, ints or floats, got {array.dtype}")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim == 3 and array.shape[2] not in (1, 2, 3, 4) and array.shape[0] in (1, 2, 3, 4):
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4):
        raise ValueError(
            f"to_rgb8: array must be (H, W), (H, W, 1 to 4) or (1 to 4, H, W), got {array.shape}"
        )
    colours = array[:, :, : 1 if array.shape[2] <= 2 else 3]
    if colours.dtype == np.bool_:
        colours = colours.astype(np.uint8) * np.uint8(255)
    elif colours.dtype != np.uint8:
        colours = _stretched(colours)
    if colours.shape[2] == 1:
        colours = np.repeat(colours, 3, axis=2)
    return np.ascontiguousarray(colours)


def write_image(path: str | Path, array: NDArray[np.uint8], *, quality: int = 95) -> None:
    """Write a picture; the file appears in one step, whole.

    Args:
        path: The file; its ending says the format (.png, .jpg, .tif, .bmp, .webp).
        array: (H, W, 3) or (H, W) uint8.
        quality: Of JPEG and WebP, 1 to 100.
    """
    path = Path(path)
    kind = _FORMAT_BY_SUFFIX.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"write_image: path must end in {', '.join(_FORMAT_BY_SUFFIX)}, got {path.name!r}")
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise ValueError(
            f"write_image: array must be (H, W, 3) or (H, W) uint8, got {array.shape} {array.dtype}. Use to_rgb8"
        )
    if not array.size:
        raise ValueError(f"write_image: array must have pixels, got shape {array.shape}")
    # Level 1 writes PNG three times as fast as the default, for a few percent more bytes.
    options: dict[str, Any] = {"PNG": {"compress_level": 1}}.get(kind, {})
    if kind in ("JPEG", "WEBP"):
        options = {"quality": quality}
    with atomic.writing(path) as file:
        Image.fromarray(np.ascontiguousarray(array)).save(file, kind, **options)


@contextlib.contextmanager
def _opened(source: str | Path | bytes) -> Iterator[tuple[Image.Image, str | Path]]:
    """The picture with its header read, and its name for messages."""
    if isinstance(source, bytes | bytearray | memoryview):
        with _parsed(io.BytesIO(source), "<bytes>") as picture:
            yield picture, "<bytes>"
        return
    path = Path(source)
    try:
        file = path.open("rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FormatError(path, "", f"picture must be a readable file, got: {reason}.") from error
    with file, _parsed(file, path) as picture:
        yield picture, path


@contextlib.contextmanager
def _parsed(file: Any, where: str | Path) -> Iterator[Image.Image]:  # noqa: ANN401: file or BytesIO
    # Not Image.open: it warns from 89 megapixels on and refuses 179, by a limit that belongs to the whole process.
    with _quiet():
        Image.init()
        prefix = file.read(16)
        if not prefix:
            raise FormatError(where, "", "picture must have content, got an empty file.")
        picture, reason = None, "no known signature"
        for name in _FORMATS:
            factory, accept = Image.OPEN.get(name, (None, None))
            accepted = factory is not None and (accept is None or accept(prefix))
            if isinstance(accepted, str):  # known, but Pillow was built without it
                reason = accepted
            elif accepted and factory is not None:
                file.seek(0)
                try:
                    picture = factory(file, "")
                    break
                except Exception as error:  # decoders of damaged files fail in every way
                    reason = _words(error)
        if picture is None:
            raise FormatError(where, "", f"file must be a picture ({', '.join(_FORMATS)}), got: {reason}.")
        width, height = picture.size
        if width * height > MAX_PIXELS:
            raise FormatError(
                where, "", f"picture must have at most {MAX_PIXELS} pixels, got {width} x {height}."
            )
        with contextlib.suppress(
            Exception
        ):  # a damaged later page or EXIF block does not spoil the first page
            picture.getexif()
            pages = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
            if pages > 1:
                _log.warning("%s: has %d pages or frames; only the first is read", where, pages)
            picture.seek(0)
    with picture:
        yield picture


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Pillow warns about oddities of a file's metadata; what matters here is raised or logged."""
    with _quiet_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _words(error: BaseException) -> str:
    return (str(error) or type(error).__name__).rstrip(".")


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) where there is none or it makes no sense."""
    with contextlib.suppress(Exception):
        value = picture.getexif().get(_ORIENTATION, 1)
        if value in range(1, 9):
            return int(value)
    return 1


def _turned(array: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The picture upright."""
    if orientation >= 5:
        array = array.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array


def _pixels(picture: Image.Image) -> NDArray[Any]:
    """Decode, without losing depth."""
    if picture.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV", "RGBX"):
        picture.load()
        picture.info.pop("transparency", None)  # dropped like all alpha; converting would warn about it
        picture = picture.convert("RGB")
    return np.asarray(picture)


def _stretched(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Percentile stretch to 0..255, rounded half up."""
    if array.dtype.kind == "f":
        finite = np.isfinite(array)
        values = array if finite.all() else array[finite]
        array = np.nan_to_num(array, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    else:
        values = array
    if not values.size:
        return np.zeros(array.shape, np.uint8)
    low, high = np.percentile(values, [LOW_PERCENTILE, HIGH_PERCENTILE])
    if low == high:
        low, high = float(values.min()), float(values.max())
    if low == high:
        return np.zeros(array.shape, np.uint8)
    scaled = (array.astype(np.float64) - low) * (255.0 / (high - low))
    return (np.clip(scaled, 0, 255) + 0.5).astype(np.uint8)
