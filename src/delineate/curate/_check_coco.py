"""Every problem of a COCO file, where its reader stops at the first; and the file without them. Serves `check`."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from delineate import atomic
from delineate._native import _core
from delineate.curate._crossings import crossing
from delineate.dataset import Dataset
from delineate.errors import FormatError
from delineate.formats import _coco_json as coco_json
from delineate.formats import coco
from delineate.masks import Masks

KINDS = {
    "duplicate id": "Number the entries anew. --fix does so for annotations; of equal pictures it keeps the first.",
    "dangling picture id": "Add the picture, or delete the annotation. --fix deletes it.",
    "unknown class": "Add the category, or correct the annotation. --fix deletes it.",
    "polygon too short": "A polygon needs 3 points. --fix deletes it.",
    "polygon out of bounds": "Cut it at the border of the picture. --fix moves its points to the border.",
    "polygon crosses itself": "Draw it again: readers disagree about what is inside.",
    "polygon not checked": "Nothing, if you know it; it has so many edges above each other that crossings were not "
    "looked for.",
    "bad box": "A box is [x, y, width, height], finite, not negative. --fix takes the mask's.",
    "bad mask": "Its size must be the picture's, and its counts must fill it. --fix deletes it.",
    "bad entry": "Mend or delete it; it lacks what every entry needs. --fix deletes it.",
}
_FAR = 1.0  # pixels beyond the border that rounding explains
_HUGE = 1e30
_BLOCK = 1 << 22  # bytes of annotations that are looked at together
_ENTRIES = 1000
_BETWEEN = re.compile(rb"\}\s*,\s*\{")

Found = tuple[str, str, str]
Json = dict[str, Any]
Points = NDArray[np.float64]


def problems(path: Path) -> list[Found]:
    """(kind, where, text) of all that is wrong with the entries of a COCO file, which is never whole in memory."""
    with coco_json.opened(path) as file:
        outline = _core.json_outline(file.fileno())
        spans = {} if outline is None else {key: (begin, length) for key, begin, length, *_ in outline[1]}
        if not {"images", "categories", "annotations"} <= spans.keys():  # damaged, or only unusual
            return [found for found, _ in _walk(*_parts(_load(path)))]
        heads = []
        for name in ("images", "categories"):
            begin, length = spans[name]
            file.seek(begin)
            heads.append(_entries(path, name, file.read(length)))
        blocks = _streamed(path, file, *spans["annotations"])
        return [found for found, _ in _walk(heads[0], heads[1], blocks)]


def _entries(path: Path, name: str, text: bytes) -> list[Json]:
    try:
        entries: list[Json] = msgspec.json.decode(text, type=list[dict[str, Any]])
        return entries
    except msgspec.ValidationError as error:
        raise FormatError(path, name, "must be a list of objects.") from error


def _streamed(path: Path, file: BinaryIO, begin: int, length: int) -> Iterator[list[Json]]:
    """The entries of a list that begins there, some at a time."""
    file.seek(begin + 1)
    left, text = length - 2, b""
    while left:
        block = file.read(min(_BLOCK, left))
        left = left - len(block) if block else 0
        text += block
        ends = (
            [match.start() + 1 for match in _BETWEEN.finditer(text, max(0, len(text) - _BLOCK))]
            if left
            else []
        )
        for end in ends[:-6:-1]:  # one inside of an entry does not decode
            with contextlib.suppress(msgspec.DecodeError):
                yield _entries(path, "annotations", b"[" + text[:end] + b"]")
                text = text[end:].lstrip(b" \t\r\n,")
                break
    yield _entries(path, "annotations", b"[" + text + b"]")


def _parts(content: Json) -> tuple[list[Json], list[Json], Iterator[list[Json]]]:
    """Pictures, categories and blocks of annotations."""
    entries: list[Json] = content["annotations"]
    blocks = (entries[begin : begin + _ENTRIES] for begin in range(0, len(entries), _ENTRIES))
    return content["images"], content["categories"], blocks


def repaired(path: Path) -> tuple[Json, Counter[str]]:
    """The content without its problems, and how many of each kind were mended."""
    content = _load(path)
    done: Counter[str] = Counter()
    dead: set[int] = set()
    renumber = False
    for (kind, _, _), entry in list(_walk(*_parts(content))):
        done[kind] += 1
        if kind in ("polygon too short", "polygon out of bounds"):
            continue  # mended below, all at once
        if kind == "bad box":
            entry.pop("bbox", None)
        elif kind == "duplicate id" and "image_id" in entry:
            renumber = True
        elif kind in ("polygon crosses itself", "polygon not checked"):
            done[kind] -= 1
        else:
            dead.add(id(entry))
    for name in ("images", "categories", "annotations"):
        content[name] = [entry for entry in content[name] if id(entry) not in dead]
    sizes = {entry["id"]: (entry.get("height"), entry.get("width")) for entry in content["images"]}
    for entry in content["annotations"]:
        _mend_polygons(entry, sizes[entry["image_id"]])
    if renumber:
        for number, entry in enumerate(content["annotations"], 1):
            entry["id"] = number
    return content, Counter({kind: count for kind, count in done.items() if count})


def read(path: Path, content: Json) -> Dataset:
    """The dataset of a repaired content; its pictures are looked for from where the file lies."""
    found = coco_json.pictures(path, content["images"], coco.roots(path))
    entries = [
        entry if picture.path is None else entry | {"file_name": str(picture.path.resolve())}
        for entry, picture in zip(content["images"], found, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, path.name)
        atomic.write_bytes(file, msgspec.json.encode(content | {"images": entries}))
        return coco.read(file)


def _load(path: Path) -> Json:
    content: Json = coco_json.load(path, dict[str, Any])
    for name in ("images", "categories", "annotations"):
        entries = content.get(name)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise FormatError(path, name, "must be a list of objects.")
    return content


def _walk(
    images: list[Json], categories: list[Json], blocks: Iterable[list[Json]]
) -> Iterator[tuple[Found, Json]]:
    """Every problem with the entry that has it."""
    yield from _heads(images, "image", "file_name")
    yield from _heads(categories, "category", "name")
    pictures = {entry["id"]: entry for entry in reversed(images) if _key(entry)}  # the first of an id
    sizes = {id_: (entry.get("height"), entry.get("width")) for id_, entry in pictures.items()}
    known = {entry.get("id") for entry in categories if _key(entry)}
    seen: set[object] = set()
    first = 0
    for block in blocks:
        crossed = _crossed(_rings(block))
        for place, entry in enumerate(block):
            id_ = entry.get("id")
            where = f"annotations[{first + place}]" if id_ is None else f"annotation {id_}"
            image = entry.get("image_id")
            if not _is_id(image) or not isinstance(entry.get("category_id"), int):
                yield ("bad entry", where, "must have an image_id and a category_id"), entry
                continue
            if image not in sizes:
                text = f"image_id must be the id of a picture, got {image!r}"
                yield ("dangling picture id", where, text), entry
                continue
            where = f"{pictures[image].get('file_name') or image}, {where}"
            if id_ is not None and (not isinstance(id_, int) or id_ in seen):
                yield ("duplicate id", where, f"id must be unique, got {id_!r} again"), entry
            seen.add(id_ if isinstance(id_, int) else None)
            if entry["category_id"] not in known:
                text = f"category_id must be the id of a category, got {entry['category_id']}"
                yield ("unknown class", where, text), entry
                continue
            for kind, text in (*_box(entry.get("bbox")), *_shape(entry.get("segmentation"), sizes[image])):
                yield (kind, where, text), entry
            for kind, text in crossed.get(place, ()):
                yield (kind, where, text), entry
        first += len(block)


def _is_id(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _key(entry: Json) -> bool:
    return _is_id(entry.get("id"))


def _heads(entries: list[Json], noun: str, name: str) -> Iterator[tuple[Found, Json]]:
    seen = set()
    for place, entry in enumerate(entries):
        where = f"{noun} {entry.get('id', f'[{place}]')}"
        if not _key(entry) or not isinstance(entry.get(name, ""), str):
            yield ("bad entry", where, f"must have an id and a {name}, got {entry.get('id')!r}"), entry
        elif entry["id"] in seen:
            yield ("duplicate id", where, f"id must be unique, got {entry['id']!r} again"), entry
        else:
            seen.add(entry["id"])


def _box(box: object) -> Iterator[tuple[str, str]]:
    if box is None or box == []:
        return
    fine = isinstance(box, list) and len(box) == 4 and all(_is_number(value) for value in box)
    if not fine or min(box[2:]) < 0:  # type: ignore[index]
        yield "bad box", f"bbox must be [x, y, width, height], finite, not negative, got {str(box)[:80]}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _HUGE


def _shape(shape: object, size: tuple[object, object]) -> Iterator[tuple[str, str]]:
    """What is wrong with a mask, but for polygons that cross themselves."""
    if isinstance(shape, dict):
        if isinstance(size[0], int) and isinstance(size[1], int):
            yield from _runs(shape, (size[0], size[1]))
        return
    if shape is None:
        return
    if not isinstance(shape, list) or not all(isinstance(part, list) for part in shape):
        yield "bad mask", f"segmentation must be polygons or a run-length mask, got {str(shape)[:80]}"
        return
    for part in shape:
        points = _points(part)
        if points is None:
            yield "bad mask", f"polygon must be finite numbers, got {str(part)[:80]}"
            return
        if len(part) < 6 or len(part) % 2:
            text = f"polygon must be 3 points (6 numbers) or more, got {len(part)} numbers"
            yield "polygon too short", text
        elif isinstance(size[0], int) and isinstance(size[1], int):
            off = float(max((-points).max(), (points - (size[1], size[0])).max()))
            if off > _FAR:
                text = f"polygon must lie in the picture, got a point {off:g} pixels outside"
                yield "polygon out of bounds", text


def _points(part: Sequence[object]) -> Points | None:
    """(K, 2) x, y of a polygon, without the last number of an odd count; None where one is no finite number."""
    if not {*map(type, part)} <= {int, float}:
        return None
    try:
        numbers = np.array(part, np.float64)
    except OverflowError:  # a whole number beyond all floats
        return None
    return numbers[: len(part) // 2 * 2].reshape(-1, 2) if (np.abs(numbers) < _HUGE).all() else None


def _rings(entries: Sequence[Json]) -> dict[tuple[int, int], Points]:
    """The polygons of some entries by place of the entry and of the part, as far as they are polygons."""
    found = {}
    for place, entry in enumerate(entries):
        shape = entry.get("segmentation")
        for n, part in enumerate(shape if isinstance(shape, list) else ()):
            points = (
                _points(part) if isinstance(part, list) and len(part) >= 6 and len(part) % 2 == 0 else None
            )
            if points is not None:
                found[place, n] = points
    return found


def _crossed(rings: dict[tuple[int, int], Points]) -> dict[int, list[tuple[str, str]]]:
    """What is wrong with edges of rings, by place of their entry."""
    found: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for ((place, _), ring), bad, unknown in zip(rings.items(), *crossing([*rings.values()]), strict=True):
        if bad:
            text = f"polygon of {len(ring)} points must not cross itself"
            found[place].append(("polygon crosses itself", text))
        elif unknown:
            text = f"polygon of {len(ring)} points was not searched for crossings: too many pairs of edges"
            found[place].append(("polygon not checked", text))
    return found


def _runs(shape: Json, size: tuple[int, int]) -> Iterator[tuple[str, str]]:
    if shape.get("size") != list(size):
        yield "bad mask", f"size must be the picture's {list(size)}, got {shape.get('size')}"
        return
    try:
        Masks.from_rle([shape], size)
    except (ValueError, TypeError, KeyError) as error:
        yield "bad mask", str(error).removeprefix("masks[0]: ")


def _mend_polygons(entry: Json, size: tuple[Any, Any]) -> None:
    shape = entry.get("segmentation")
    if not isinstance(shape, list):
        return
    height, width = size
    parts = [part for part in shape if len(part) >= 6 and len(part) % 2 == 0]
    if isinstance(height, int) and isinstance(width, int):
        limits = (width, height)
        parts = [[min(max(value, 0), limits[n % 2]) for n, value in enumerate(part)] for part in parts]
    entry["segmentation"] = parts
