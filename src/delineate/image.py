"""Pictures as arrays: (H, W, 3) uint8 RGB, upright, whatever the file holds.

How every kind of picture becomes 8-bit RGB (`to_rgb8` applies the same rules to arrays):

* 8-bit grey is repeated into three channels; palettes are resolved; CMYK, YCbCr and 1-bit are converted.
* Alpha is dropped: the stored colours stay, nothing is composited onto a background.
* Everything deeper than 8 bits, signed or float is stretched for display: the 0.1st and the 99.9th percentile
  of all finite values of the picture (all colours together, ranks rounded outwards) become 0 and 255. If the
  two are equal, the minimum and the maximum take their place; a constant picture becomes 0. nan becomes 0,
  infinities become 0 and 255.
* JPEG 2000, AVIF and colour PPM files deeper than 8 bits are cut to 8 by their decoder, without stretching.
* Of several pages, frames or layers the first is taken, and the log ("delineate") says so.

EXIF orientation is applied unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from delineate import _picture_files as files
from delineate import atomic
from delineate.errors import FormatError

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP"}
_FORMATS[".webp"] = "WEBP"

SUFFIXES = frozenset(_FORMATS) | {".gif", ".ppm", ".pgm", ".pbm", ".jp2", ".avif"}
"""What the names of picture files end in, in lower case. Reading goes by the content."""


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
    with files.opened(source) as picture:
        array = to_rgb8(picture.decode())
    if orient:
        array = files.turned(array, picture.orientation)
    # Writable, for whoever draws on it or hands it to torch; Pillow's own memory is not.
    return np.require(array, requirements=["C", "W"])


def read_size(source: str | Path | bytes, *, orient: bool = True) -> tuple[int, int]:
    """(height, width) that `read_image` would give, without decoding the picture.

    Args:
        source: The file, or its content.
        orient: As in `read_image`.

    Raises:
        FormatError: There is no such file, it is not a picture, or it is too large.
    """
    with files.opened(source) as picture:
        height, width = picture.size
        return (width, height) if orient and picture.orientation >= 5 else (height, width)


def read_label_map(
    source: str | Path | bytes, size: tuple[int, int] | None = None, colours: NDArray[np.uint8] | None = None
) -> NDArray[Any]:
    """Read a picture of numbers, such as a label map.

    One channel of any depth is taken as it is stored, and a palette gives its indices. Signed and float samples are
    taken if they are whole numbers from 0 to 2**32 - 1. Nothing is turned upright.

    Args:
        source: The file, or its content.
        size: (height, width) that it must have; another one is refused before anything is decoded.
        colours: (K, 3) RGB: in a picture of colours, the number of a pixel is the position of its colour here.
            None: pictures of colours are refused, unless they are grey.

    Returns:
        (H, W) uint8, uint16 or uint32, the narrowest that the file's kind of samples needs.

    Raises:
        FormatError: There is no such file, it is damaged or too large, or it holds colours or other numbers.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.fromarray(np.full((2, 3), 700, np.uint16)).save(Path(folder, "a.png"))
    ...     read_label_map(Path(folder, "a.png"))[0]
    array([700, 700, 700], dtype=uint16)
    """
    where = source if isinstance(source, str | Path) else "<bytes>"
    with files.opened(source, indices=True) as picture:
        if size is not None and picture.size != size:
            text = (
                f"size must be that of the picture {size} (height, width), got {picture.size}. Make it anew."
            )
            raise FormatError(where, "", text)
        array = picture.decode()
    return _whole_numbers(array, colours, where)


def read_label_maps(source: str | Path, size: tuple[int, int] | None = None) -> Iterator[NDArray[Any]]:
    """Read every page of a file as `read_label_map` reads the first, one after the other: stacks, as TIFF has them.

    Args:
        source: The file.
        size: (height, width) that each must have.

    Raises:
        FormatError: There is no such file, it is damaged or too large, or a page holds colours or other numbers.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first, *rest = [Image.fromarray(np.full((2, 3), n, np.uint16)) for n in (0, 700)]
    ...     first.save(Path(folder, "a.tif"), save_all=True, append_images=rest)
    ...     [int(page.max()) for page in read_label_maps(Path(folder, "a.tif"))]
    [0, 700]
    """
    for number, array in enumerate(files.pages(Path(source))):
        if size is not None and array.shape[:2] != size:
            text = f"size must be that of the picture {size} (height, width), got {array.shape[:2]}."
            raise FormatError(source, f"page {number}", text)
        yield _whole_numbers(array, None, source)


def _whole_numbers(array: NDArray[Any], colours: NDArray[np.uint8] | None, where: str | Path) -> NDArray[Any]:
    if array.ndim == 3:
        kept = array[:, :, : 1 if array.shape[2] <= 2 else 3]  # alpha is dropped, as elsewhere
        if colours is not None and kept.shape[2] == 3:
            return _positions(kept, colours, where)
        if (kept != kept[:, :, :1]).any():
            text = "picture must hold one number for each pixel, got colours. Save it as grey, or with a palette."
            raise FormatError(where, "", text)
        array = array[:, :, 0]
    unsigned = array.dtype.kind in "bu"
    width = min(array.dtype.itemsize, 4) if unsigned or array.dtype.itemsize == 2 else 4
    limit = 2**32 - 1
    if array.dtype.kind in "if" or array.dtype.itemsize > 4:
        with np.errstate(invalid="ignore"):
            wrong = ~((array >= 0) & (array <= limit) & (array == np.floor(array)))
        if wrong.any():
            text = f"numbers must be whole and from 0 to {limit}, got {array[wrong][0]}."
            raise FormatError(where, "", text)
    kind = {1: np.uint8, 2: np.uint16, 4: np.uint32}[width]
    return np.ascontiguousarray(array.astype(kind))


def _positions(array: NDArray[Any], colours: NDArray[np.uint8], where: str | Path) -> NDArray[np.uint16]:
    """(H, W) the position of each pixel's colour."""
    weights = np.array([2**32, 2**16, 1], np.int64)
    known, first = np.unique(colours.astype(np.int64) @ weights, return_index=True)
    codes = array.astype(np.int64) @ weights
    at = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    wrong = known[at] != codes
    if wrong.any():
        text = f"colours must be among {len(colours)} known ones, got {array[wrong][0].tolist()}."
        raise FormatError(where, "", text)
    positions: NDArray[np.uint16] = first[at].astype(np.uint16)
    return positions


def to_rgb8(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Any picture array as 8-bit RGB, by the rules of the module's text.

    Args:
        array: (H, W), (H, W, C) or (C, H, W) with 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha)
            channels, of any bool, integer or float dtype; uint8 is taken as it is.

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
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"write_image: path must end in {', '.join(_FORMATS)}, got {path.name!r}")
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise ValueError(
            f"write_image: array must be (H, W, 3) or (H, W) uint8, got {array.shape} {array.dtype}. "
            "Use to_rgb8"
        )
    if not array.size:
        raise ValueError(f"write_image: array must have pixels, got shape {array.shape}")
    # Level 1 writes PNG three times as fast as the default, for a few percent more bytes.
    options: dict[str, Any] = {"PNG": {"compress_level": 1}}.get(kind, {})
    if kind in ("JPEG", "WEBP"):
        options = {"quality": quality}
    with atomic.writing(path) as file:
        Image.fromarray(np.ascontiguousarray(array)).save(file, kind, **options)


def _stretched(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Stretch to 0..255, rounded half up."""
    if array.dtype.kind in "iu" and array.dtype.itemsize <= 2:
        return _stretched_by_table(array)
    values = array.astype(np.float64) if array.dtype != np.float32 else array
    finite = np.isfinite(values)
    kept = values.ravel() if finite.all() else values[finite]
    if not kept.size:
        return np.zeros(array.shape, np.uint8)
    first, last = _ranks(kept.size)
    ends = np.partition(kept, [first, last])
    low, high = float(ends[first]), float(ends[last])
    if low == high:
        low, high = float(kept.min()), float(kept.max())
    scaled = _scaled(values.astype(np.float64), low, high)
    return np.where(np.isnan(scaled), 0, scaled).astype(np.uint8)


def _stretched_by_table(array: NDArray[Any]) -> NDArray[np.uint8]:
    """The same for up to 16 bits, where all answers fit a table."""
    if not array.size:
        return np.zeros(array.shape, np.uint8)
    start = int(np.iinfo(array.dtype).min)
    places = (array.astype(np.int32) - start).astype(np.uint16)
    until = np.cumsum(np.bincount(places.ravel(), minlength=1))
    low, high = np.searchsorted(until, _ranks(array.size), side="right")
    if low == high:
        low, high = places.min(), places.max()
    table = _scaled(np.arange(2**16, dtype=np.float64), float(low), float(high)).astype(np.uint8)
    return table[places]


def _ranks(count: int) -> tuple[int, int]:
    """Positions of the 0.1st and the 99.9th percentile among sorted values, rounded outwards."""
    return (count - 1) // 1000, count - 1 - (count - 1) // 1000


def _scaled(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """low..high to 0..255, clipped and ready for truncation; nan stays."""
    if low == high:
        return np.zeros(values.shape)
    # Halves, because high - low of two finite numbers may be infinite.
    share = (values * 0.5 - low * 0.5) / (high * 0.5 - low * 0.5)
    scaled: NDArray[np.float64] = np.clip(share, 0, 1) * 255 + 0.5
    return scaled
