"""The JSON of a COCO file as typed structures, and its pieces turned into arrays and masks. Serves `coco`."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypedDict, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from delineate.errors import FormatError
from delineate.formats._sizes import MAX_PIXELS, MAX_SIDE
from delineate.masks import Masks


class Rle(TypedDict):
    """One run-length mask: counts as a compressed string or as a list of numbers."""

    size: list[int]
    counts: str | list[int]


Segmentation = list[list[float]] | Rle | None
"""Polygons (parts of one object), a run-length mask, or nothing."""


class Annotation(msgspec.Struct, gc=False):
    """One entry of "annotations" or of a results list. The segmentation stays text at first."""

    image_id: int | str
    category_id: int
    id: int | None = None
    segmentation: msgspec.Raw = msgspec.Raw()
    bbox: list[float] | None = None
    area: float | None = None
    iscrowd: int | bool | None = None
    score: float | None = None
    track_id: int | None = None


class Category(msgspec.Struct):
    """One entry of "categories"."""

    id: int
    name: str


class Head(msgspec.Struct):
    """What a file says apart from its annotations."""

    images: list[dict[str, Any]]
    categories: list[Category]


class Content(msgspec.Struct):
    """A whole file."""

    images: list[dict[str, Any]]
    categories: list[msgspec.Raw]
    annotations: list[Annotation]
    info: Any = None
    licenses: Any = None


class Loose(msgspec.Struct):
    """The entries of a file with all their keys."""

    annotations: list[dict[str, msgspec.Raw]]


class Picture(msgspec.Struct):
    """One checked entry of "images"."""

    id: int | str
    path: Path | None
    size: tuple[int, int]
    attributes: dict[str, Any]
    video: int | str | None = None
    frame: int | None = None
    split: str | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """The further fields of its `Record`."""
        return {
            "attributes": dict(self.attributes),
            "video": self.video,
            "frame": self.frame,
            "split": self.split,
        }


T = TypeVar("T")
_NOTHING = frozenset({b"", b"null", b"[]", b"[[]]", b"{}"})
_SEGMENTATIONS = msgspec.json.Decoder(list[Segmentation])


def opened(path: Path) -> BinaryIO:
    """The file, open for reading without a buffer."""
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        raise FormatError(path, "", f"file must be readable, got: {error.strerror}.") from error


def load(path: Path, kind: type[T], data: bytes | None = None) -> T:
    """Decode one JSON file; FormatError names the place that does not fit.

    Args:
        path: The file.
        kind: What it must hold.
        data: Its content, or the part of it that counts; None to read it.
    """
    if data is None:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise FormatError(path, "", f"file must be readable, got: {error.strerror}.") from error
    data = data.removeprefix(b"\xef\xbb\xbf")  # a byte order mark, as Windows editors leave it
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        if data.lstrip()[:1] == b"[" and kind != list[Annotation]:
            text = (
                "file must be a COCO object, got a list. A results list goes with its truth: `delineate eval TRUTH "
                "RESULTS`, or read_results in Python."
            )
            raise FormatError(path, "", text) from error
        if data.lstrip()[:1] == b"{" and kind == list[Annotation]:
            text = "file must be a results list, got an object. Read a COCO file with read"
            raise FormatError(path, "", text) from error
        # "Expected `int`, got `str` - at `$.annotations[17].category_id`": the place goes in front.
        message, _, place = str(error).partition(" - at `$")
        raise FormatError(path, place.strip("`.").removeprefix("."), f"{message}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(path, "", f"file must be JSON, got: {error}.") from error


def is_federated(images: bytes, categories: bytes) -> bool:
    """Whether the JSON of these two lists is that of LVIS, which `lvis` reads."""
    return b'"neg_category_ids"' in images[:100_000] or b'"frequency"' in categories[:100_000]


def categories(path: Path, raws: Sequence[msgspec.Raw]) -> tuple[list[Category], list[dict[str, object]]]:
    """The entries of "categories", and for each class (so in the order of ids) its further keys."""
    data = b"[" + b",".join(map(bytes, raws)) + b"]"
    try:
        entries = msgspec.json.decode(data, type=list[Category])
        whole = msgspec.json.decode(data, type=list[dict[str, object]])
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        raise FormatError(path, "categories" + place.strip("`"), f"{message}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(path, "categories", f"must be JSON, got: {error}.") from error
    ranks = sorted(range(len(entries)), key=lambda n: entries[n].id)
    # Writers of COCO put an empty supercategory where there is none.
    usual = {"id", "name"}, {"supercategory": ""}
    more = [
        {key: value for key, value in whole[n].items() if key not in usual[0] and {key: value} != usual[1]}
        for n in ranks
    ]
    return entries, more


def classes(path: Path, categories: Sequence[Category]) -> tuple[tuple[str, ...], dict[int, int]]:
    """Class names in the order of the category ids, and the label of each id."""
    ordered = sorted(categories, key=lambda category: category.id)
    labels = {category.id: label for label, category in enumerate(ordered)}
    if len(labels) < len(ordered):
        twice = Counter(category.id for category in ordered).most_common(1)[0][0]
        raise FormatError(path, f"category {twice}", "id must be unique, got it twice.")
    return tuple(category.name for category in ordered), labels


def pictures(path: Path, entries: Sequence[dict[str, Any]], roots: Sequence[Path]) -> list[Picture]:
    """The checked entries of "images", in file order."""
    found: list[Picture] = []
    seen: set[int | str] = set()
    places = [str(root) for root in roots[:-1] if root.is_dir()] + [str(roots[-1])]
    for position, entry in enumerate(entries):
        rest = dict(entry)
        id_ = rest.pop("id", None)
        if type(id_) is not int and (not isinstance(id_, str) or not id_):
            raise FormatError(path, f"images[{position}]", f"id must be an int or a str, got {id_!r}.")
        where = f"image {id_}"
        if id_ in seen:
            raise FormatError(path, where, "id must be unique, got it twice.")
        seen.add(id_)
        name = rest.pop("file_name", None)
        if name is not None and (not isinstance(name, str) or "\0" in name or not name):
            raise FormatError(path, where, f"file_name must be a file's name, got {name!r}.")
        picture = None if name is None else resolve(name, places)
        height, width = rest.pop("height", None), rest.pop("width", None)
        size = _size(path, where, height, width, picture)
        found.append(Picture(id_, picture, size, rest, *_part(rest)))
    return found


def _part(rest: dict[str, Any]) -> tuple[int | str | None, int | None, str | None]:
    """Video, frame and split, taken out of a picture's further keys where they are what `Record` has."""
    if rest.keys().isdisjoint(("video", "frame", "split")):
        return None, None, None
    video, frame, split = rest.get("video"), rest.get("frame"), rest.get("split")
    numbers = [value for value in (video, frame) if isinstance(value, bool)]
    if numbers or not isinstance(video, int | str) or video == "" or not isinstance(frame, int) or frame < 0:
        video = frame = None
    if not isinstance(split, str) or not split:
        split = None
    for name, value in (("video", video), ("frame", frame), ("split", split)):
        if value is not None:
            del rest[name]
    return video, frame, split


def resolve(name: str, roots: Sequence[str]) -> Path:
    """The picture's file: the first place where it exists, or else the last root's."""
    for spelling in dict.fromkeys((name, name.replace("\\", "/"))):
        for root in roots:
            # Plain strings: per picture and root, pathlib takes ten times as long as asking the disk.
            candidate = os.path.join(root, spelling)  # noqa: PTH118
            if os.path.isfile(candidate):  # noqa: PTH113
                return Path(os.path.normpath(candidate))
    return Path(os.path.normpath(os.path.join(roots[-1], name)))  # noqa: PTH118


def _size(path: Path, where: str, height: object, width: object, picture: Path | None) -> tuple[int, int]:
    if type(height) is int is type(width) and 0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE:
        if height * width <= MAX_PIXELS:
            return height, width
        text = f"height * width must be at most {MAX_PIXELS}, got {height} * {width}."
        raise FormatError(path, where, text)
    if height is None and width is None and picture is not None and picture.is_file():
        from delineate.image import read_size  # with Pillow, which most files are read without

        return read_size(picture)
    sides = (("height", height), ("width", width))
    name, value = next((n, v) for n, v in sides if type(v) is not int or not 1 <= v <= MAX_SIDE)
    raise FormatError(path, where, f"{name} must be an int of 1 to {MAX_SIDE}, got {value!r}.")


def has_segmentation(entry: Annotation) -> bool:
    """Whether the entry says anything about its shape."""
    raw = bytes(entry.segmentation)
    return len(raw) > 64 or raw.translate(None, b" \t\r\n") not in _NOTHING


def masks(path: Path, entries: Sequence[Annotation], names: Sequence[str], size: tuple[int, int]) -> Masks:
    """One mask per entry of one picture; an entry without a segmentation gets an empty mask.

    Args:
        path: The file, for messages.
        entries: The picture's entries.
        names: How messages call them.
        size: (height, width) of the picture.
    """
    raws = [bytes(entry.segmentation) if has_segmentation(entry) else b"null" for entry in entries]
    try:
        found = _SEGMENTATIONS.decode(b"[" + b",".join(raws) + b"]")
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$[")
        position = int(re.match(r"\d*", place)[0] or 0)  # type: ignore[index]
        text = f"segmentation must be a list of polygons or a run-length mask: {message}."
        raise FormatError(path, names[position], text) from error
    except UnicodeDecodeError as error:
        broken = next(n for n, raw in enumerate(raws) if raw.decode(errors="replace").encode() != raw)
        text = "segmentation must be text in UTF-8, got other bytes."
        raise FormatError(path, names[broken], text) from error
    ready = [_checked(path, name, item, size) for name, item in zip(names, found, strict=True)]
    try:
        return Masks.from_coco(ready, size)
    except (ValueError, TypeError):
        for name, item in zip(names, ready, strict=True):  # which one?
            try:
                Masks.from_coco([item], size)
            except (ValueError, TypeError) as error:
                text = str(error).replace("masks[0]: ", "segmentation: ")
                raise FormatError(path, name, text) from error
        raise


def _checked(path: Path, name: str, item: Segmentation, size: tuple[int, int]) -> list[list[float]] | Rle:
    if isinstance(item, dict):
        if item["size"] != list(size):
            text = (
                f"segmentation size must be the picture's [height, width] {list(size)}, got {item['size']}."
            )
            raise FormatError(path, name, text)
        return item
    parts = [part for part in item or () if part]
    for part in parts:
        if len(part) < 6 or len(part) % 2:
            text = f"polygon has {len(part)} numbers; it must have an even count of at least 6."
            raise FormatError(path, name, text)
    if not parts:
        return Rle(size=list(size), counts=[size[0] * size[1]])
    return parts


def boxes(
    path: Path, entries: Sequence[Annotation], names: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(N, 4) float64 xywh as written, and (N,) bool: which entries have a box."""
    rows = [entry.bbox or None for entry in entries]
    for name, row in zip(names, rows, strict=True):
        if row is not None and len(row) != 4:
            raise FormatError(path, name, f"bbox must be [x, y, width, height], got {len(row)} numbers.")
    array = np.array([row or (0, 0, 0, 0) for row in rows], np.float64).reshape(-1, 4)
    ends = array[:, :2] + array[:, 2:]
    with np.errstate(over="ignore"):
        fine = np.isfinite(np.hstack([array, ends]).astype(np.float32)).all(axis=1)
    fine &= (array[:, 2:] >= 0).all(axis=1)
    for position in np.flatnonzero(~fine)[:1]:
        text = f"bbox must be finite with width and height of at least 0, got {rows[position]}."
        raise FormatError(path, names[position], text)
    return array, np.array([row is not None for row in rows], bool)


def columns(
    path: Path,
    entries: Sequence[Annotation],
    names: Sequence[str],
    labels: Mapping[int, int],
    *,
    scored: bool,
    need_boxes: bool,
) -> dict[str, NDArray[Any]]:
    """All entries as arrays with one row each.

    Returns:
        bbox (N, 4) float64 xywh, boxed (whether there is a box), area (nan where there is none), label, id,
        crowd, track_id (-1 where there is none), tracked; score if scored.
    """
    spans, boxed = boxes(path, entries, names)
    if need_boxes and not boxed.all():
        name = names[int(np.flatnonzero(~boxed)[0])]
        raise FormatError(path, name, "entry must have a bbox or a segmentation, got neither.")
    for entry, name in zip(entries, names, strict=True):
        for key, value in (("id", entry.id), ("track_id", entry.track_id)):
            if value is not None and not -(2**63) <= value < 2**63:
                raise FormatError(path, name, f"{key} must fit 64 bits, got {value}.")
    found = {
        "bbox": spans,
        "boxed": boxed,
        "area": np.array([np.nan if entry.area is None else entry.area for entry in entries], np.float64),
        "label": np.array([labels[entry.category_id] for entry in entries], np.int64),
        "id": np.array([entry.id for entry in entries], np.int64),
        "crowd": np.array([bool(entry.iscrowd) for entry in entries], np.bool_),
        "track_id": np.array([-1 if e.track_id is None else e.track_id for e in entries], np.int64),
        "tracked": np.array([entry.track_id is not None for entry in entries], np.bool_),
    }
    if scored:
        found["score"] = np.array([entry.score for entry in entries], np.float64)
        for position in np.flatnonzero(np.abs(found["score"]) > np.finfo(np.float32).max)[:1]:
            text = f"score must be finite as float32, got {found['score'][position]}."
            raise FormatError(path, names[position], text)
    return found
