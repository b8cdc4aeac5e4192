"""Masks in the encodings of other programs: PNG, Label Studio, CVAT, runs along rows, pairs of start and length.

All but PNG walk the runs. Everything read is checked: what does not fit the picture, was cut off or is no number
is a ValueError that names the mask.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from delineate import _mask_inputs as inputs
from delineate import _picture_files as files
from delineate._native import _core
from delineate.masks import Masks


def to_png(masks: Masks) -> list[bytes]:
    """Each mask as a PNG file of one bit per pixel, white where covered.

    One picture at a time is held as packed bits: H * W / 8 bytes.

    >>> to_png(Masks.from_dense(np.eye(3, dtype=bool)[None]))[0][1:4]
    b'PNG'
    """
    height, width = masks.size
    if len(masks) and not (height and width):
        raise ValueError(f"masks must have pixels to become PNG, got size {masks.size}.")
    return [_png(masks, i) for i in range(len(masks))]


def _png(masks: Masks, i: int) -> bytes:
    height, width = masks.size
    packed = np.zeros((height, -(-width // 8)), np.uint8)
    _core.masks_pack_rows(masks.runs, i, packed)
    file = io.BytesIO()
    Image.frombytes("1", (width, height), packed.tobytes()).save(file, "PNG")
    return file.getvalue()


def from_png(pictures: Sequence[bytes], size: tuple[int, int] | None = None) -> Masks:
    """Masks from the contents of picture files, one mask each; covered is what is not black.

    Any depth, palettes and colours are read; alpha is not looked at. PNG is usual, other formats are read too.

    Args:
        pictures: N contents of files.
        size: (height, width) that all must have; may be left out when there is at least one picture.

    Raises:
        FormatError: Not a picture, or a damaged one.
        ValueError: Pictures of different sizes.

    >>> masks = Masks.from_dense(np.eye(3, dtype=bool)[None])
    >>> from_png(to_png(masks)) == masks
    True
    """
    if size is None and len(pictures) == 0:
        raise ValueError("size must be given where there are no pictures, got None.")
    expected = None if size is None else inputs.check_size(size)
    parts: list[Masks] = []
    for i, content in enumerate(pictures):
        with files.opened(content) as picture:
            expected = expected or picture.size
            if picture.size != expected:
                raise ValueError(f"pictures[{i}]: size must be {expected}, got {picture.size}.")
            pixels = picture.decode()
        colours = pixels.reshape(*expected, -1)[..., : 1 if pixels.ndim == 2 or pixels.shape[2] < 3 else 3]
        parts.append(Masks.from_dense((colours != 0).any(2)[None]))
    return Masks.concat(parts) if parts else Masks.empty(expected or (0, 0))


def to_label_studio(masks: Masks) -> list[list[int]]:
    """The `rle` values of Label Studio's brush annotations (format "rle").

    Byte for byte what the `mask2rle` of label-studio-converter makes of 0 and 255: rle-pack of @thi.ng over the
    RGBA bytes of the picture, row by row.

    >>> to_label_studio(Masks.from_dense(np.ones((1, 1, 2), bool)))
    [[0, 0, 0, 8, 57, 27, 252, 255, 224]]
    """
    return [list(_core.masks_to_label_studio(masks.runs, i)) for i in range(len(masks))]


def from_label_studio(rle: Sequence[Sequence[int] | bytes], size: tuple[int, int]) -> Masks:
    """Masks from the `rle` values of Label Studio's brush annotations; covered is where alpha is not zero.

    Args:
        rle: For each of N masks its bytes, as whole numbers from 0 to 255 or as bytes.
        size: (height, width) of the picture: `original_height` and `original_width` of the annotation.

    >>> from_label_studio([[0, 0, 0, 8, 57, 27, 252, 255, 224]], (1, 2)).areas
    array([2])
    """
    streams: list[bytes] = []
    for i, values in enumerate(rle):
        try:
            streams.append(values if isinstance(values, bytes) else bytes(list(values)))
        except (TypeError, ValueError):
            raise ValueError(
                f"masks[{i}]: rle must be whole numbers from 0 to 255, got {values!r:.60}."
            ) from None
    return Masks(_core.masks_from_label_studio(*inputs.check_size(size), streams))


class CvatMask(NamedTuple):
    """A mask as CVAT writes it: runs inside a box, row by row, zeros first.

    `rle`, `left`, `top`, `width` and `height` are the attributes of a <mask> of "CVAT for images" (there, `rle` is
    joined by ", "); `points` is what its API, its SDK and its serverless functions exchange.
    """

    rle: Sequence[int] | str
    left: int
    top: int
    width: int
    height: int

    @property
    def points(self) -> list[int]:
        """The runs, then x and y of the first and of the last pixel of the box.

        >>> CvatMask([0, 4], left=3, top=1, width=2, height=2).points
        [0, 4, 3, 1, 4, 2]
        """
        runs = _numbers(self.rle, "rle")
        return [*runs, self.left, self.top, self.left + self.width - 1, self.top + self.height - 1]

    @classmethod
    def from_points(cls, points: Sequence[float]) -> CvatMask:
        """From runs followed by x and y of the first and of the last pixel of the box.

        >>> CvatMask.from_points([0, 4, 3, 1, 4, 2])
        CvatMask(rle=[0, 4], left=3, top=1, width=2, height=2)
        """
        numbers = _numbers(points, "points")
        if len(numbers) < 5:
            raise ValueError(f"points must be runs and 4 coordinates, got {len(numbers)} numbers.")
        *runs, left, top, right, bottom = numbers
        return cls(runs, left, top, right - left + 1, bottom - top + 1)


def to_cvat(masks: Masks) -> list[CvatMask]:
    """Each mask as CVAT writes it, cut to its tight box; equal to `cvat_sdk.masks.encode_mask`.

    A mask without pixels is one uncovered pixel at the corner of the picture.

    >>> to_cvat(Masks.from_counts([4, 2, 6], [0, 3], (3, 4)))
    [CvatMask(rle=[0, 2], left=1, top=1, width=1, height=2)]
    """
    counts, offsets, boxes = _core.masks_row_crops(masks.runs)
    runs, ends = counts.tolist(), offsets.tolist()
    return [
        CvatMask(runs[ends[i] : ends[i + 1]], x0, y0, x1 - x0, y1 - y0)
        for i, (x0, y0, x1, y1) in enumerate(boxes.tolist())
    ]


def from_cvat(shapes: Sequence[CvatMask], size: tuple[int, int]) -> Masks:
    """Masks from CVAT's runs.

    Args:
        shapes: N masks; `rle` may be the text of an XML file ("0, 4") or numbers.
        size: (height, width) of the picture.

    Raises:
        ValueError: A box leaves the picture or runs do not fill their box; the message names the mask.

    >>> from_cvat([CvatMask("0, 2", left=1, top=1, width=1, height=2)], (3, 4)).boxes
    array([[1., 1., 2., 3.]], dtype=float32)
    """
    size = inputs.check_size(size)
    runs, boxes = [], np.zeros((len(shapes), 4), np.int64)
    for i, shape in enumerate(shapes):
        runs.append(_numbers(shape.rle, f"masks[{i}]: rle"))
        left, top, width, height = _numbers(shape[1:], f"masks[{i}]: left, top, width, height", low=-_LARGEST)
        boxes[i] = left, top, left + width, top + height
    counts, offsets = _flat(runs)
    return Masks(_core.masks_from_row_crops(*size, counts.astype(np.uint32), offsets, boxes))


_LARGEST = (1 << 32) - 1


def _numbers(values: object, name: str, low: int = 0) -> list[int]:
    """Whole numbers of `low` to 2^32 - 1, out of a text, a list or an array; floats only where they are whole."""
    if isinstance(values, str):
        values = [
            int(word) if re.fullmatch("[0-9]{1,10}", word.strip()) else word for word in values.split(",")
        ]
    try:
        array = np.asarray(values)
        if array.size == 0:
            return []
        if array.ndim != 1 or array.dtype.kind not in "iuf":
            raise ValueError
        if not (low <= array.min() <= array.max() <= _LARGEST and (array % 1 == 0).all()):
            raise ValueError
    except (ValueError, OverflowError):
        raise ValueError(
            f"{name} must be whole numbers from {low} to {_LARGEST}, got {values!r:.60}."
        ) from None
    return [int(value) for value in array.tolist()]


def _flat(lists: Sequence[Sequence[int] | NDArray[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    offsets = np.zeros(len(lists) + 1, np.int64)
    np.cumsum([len(values) for values in lists], out=offsets[1:])
    return np.concatenate([np.empty(0, np.int64), *lists]).astype(np.int64), offsets


def to_row_counts(masks: Masks) -> list[NDArray[np.uint32]]:
    """The runs of each mask read row by row (C order), zeros first: (R,) counts that sum to H * W.

    `Masks.counts` are the same along columns, as COCO has them.

    >>> to_row_counts(Masks.from_counts([4, 2, 6], [0, 3], (3, 4)))
    [array([5, 1, 3, 1, 2], dtype=uint32)]
    """
    rows = Masks(_core.masks_transpose(masks.runs))
    return [rows.counts(i) for i in range(len(rows))]


def from_row_counts(counts: Sequence[ArrayLike], size: tuple[int, int]) -> Masks:
    """Masks from runs along rows.

    Args:
        counts: For each of N masks its counts, zeros and ones in turn, zeros first, row by row; they sum to
            H * W.
        size: (height, width) pixels.

    >>> from_row_counts([[5, 1, 3, 1, 2]], (3, 4)).boxes
    array([[1., 1., 2., 3.]], dtype=float32)
    """
    height, width = inputs.check_size(size)
    flat, offsets = _flat([_numbers(values, f"masks[{i}]: counts") for i, values in enumerate(counts)])
    return Masks(_core.masks_transpose(Masks.from_counts(flat, offsets, (width, height)).runs))


def to_start_lengths(masks: Masks) -> list[str]:
    """Each mask as "start length start length ...", as in Kaggle's competitions (Airbus, Data Science Bowl 2018).

    Starts count from 1, down the columns, one after the other; a mask without pixels is "".

    >>> to_start_lengths(Masks.from_counts([4, 2, 6], [0, 3], (3, 4)))
    ['5 2']
    """
    texts = []
    for i in range(len(masks)):
        counts = masks.counts(i).astype(np.int64)
        starts, lengths = np.cumsum(counts)[:-1:2] + 1, counts[1::2]
        texts.append(" ".join(map(str, np.stack([starts, lengths], 1).ravel().tolist())))
    return texts


def from_start_lengths(texts: Sequence[str], size: tuple[int, int]) -> Masks:
    """Masks from "start length start length ...", starts from 1 and down the columns.

    Args:
        texts: N texts; "" is a mask without pixels. Runs must rise and share no pixel.
        size: (height, width) pixels.

    >>> from_start_lengths(["5 2", ""], (3, 4)).areas
    array([2, 0])
    """
    height, width = inputs.check_size(size)
    runs = [_pairs(i, text, height * width) for i, text in enumerate(texts)]
    return Masks.from_counts(*_flat(runs), (height, width))


def _pairs(i: int, text: object, pixels: int) -> NDArray[np.int64]:
    """One text as counts along columns."""
    words = text.split() if isinstance(text, str) else None
    if words is None or len(words) % 2 or not all(re.fullmatch("[0-9]{1,15}", word) for word in words):
        raise ValueError(f'masks[{i}]: runs must be pairs "start length start length", got {text!r:.60}.')
    pairs = np.array(words, dtype=object).astype(np.int64).reshape(-1, 2)
    starts, ends = pairs[:, 0] - 1, pairs.sum(1) - 1
    edges = np.stack([starts, ends], 1).ravel()
    steps = np.diff(edges, prepend=0, append=pixels)
    wrong = np.flatnonzero((steps < 0) | np.append(pairs.ravel() < 1, False))
    if len(wrong):
        k = min(int(wrong[0]) // 2, len(pairs) - 1)
        raise ValueError(
            f"masks[{i}]: runs must rise from 1 to {pixels} and share no pixel, got {words[2 * k : 2 * k + 2]} at "
            f"pair {k}. Check the size of the picture."
        )
    return steps
