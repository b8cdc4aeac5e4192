"""Scalabel, as BDD100K has it: one JSON list of frames, or an object with "frames" (https://doc.scalabel.ai/format.html).

::

    {"frames": [{"name": "a.jpg", "videoName": "v1", "frameIndex": 0, "size": {"width": 1280, "height": 720},
      "labels": [{"id": "16", "category": "car", "score": 0.9, "attributes": {"crowd": false},
       "box2d": {"x1": 818, "y1": 402, "x2": 873, "y2": 428},
       "rle": {"size": [720, 1280], "counts": "..."},
       "poly2d": [{"vertices": [[818.9, 413.0], [824.5, 406.9], [826.1, 405.3]], "types": "LLL", "closed": true}]}]}],
     "config": {"imageSize": {"width": 1280, "height": 720}, "categories": [{"name": "car"}]}}

A mask is the "rle", else the closed polygons; vertices of type "C" are the control points of cubic curves. Boxes
include their last pixel: x2 + 1 and y2 + 1 are x1 and y1 here. Labels without box, polygon
or rle are left out with a notice.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from delineate import atomic
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import _coco_json as coco_json
from delineate.formats import _coco_write as coco_write
from delineate.formats import _json_outline as json_outline
from delineate.formats import _pictures
from delineate.formats import _sizes as sizes
from delineate.formats._json_parts import decoded
from delineate.image import read_size
from delineate.instances import Instances
from delineate.masks import Masks

KEEPS = frozenset(
    {"masks", "holes", "parts", "overlaps", "empty masks", "boxes", "scores", "attributes", "instance order"}
    | {"class order", "empty pictures", "picture attributes"}
)
"""What ``read(write(dataset))`` preserves."""
SUFFIX = ".json"

_STEPS = 16  # sides of a curve
_LARGEST = 1e9

_log = logging.getLogger("delineate")


class _Box(msgspec.Struct):
    x1: float
    y1: float
    x2: float
    y2: float


class _Poly(msgspec.Struct):
    vertices: list[tuple[float, float]]
    types: str = ""
    closed: bool = True


class _Label(msgspec.Struct):
    id: str | int | None = None
    category: str | None = None
    score: float | None = None
    attributes: dict[str, Any] | None = None
    box2d: _Box | None = None
    poly2d: list[_Poly] | None = None
    rle: coco_json.Rle | None = None


class _Size(msgspec.Struct):
    width: int
    height: int


class _Frame(msgspec.Struct):
    name: str
    labels: list[_Label] | None = None
    size: _Size | None = None
    attributes: dict[str, Any] | None = None
    videoName: str | None = None  # noqa: N815 - as the file has it
    frameIndex: int | None = None  # noqa: N815


class _Category(msgspec.Struct):
    name: str


class _Config(msgspec.Struct):
    categories: list[_Category] = []
    imageSize: _Size | None = None  # noqa: N815


class _Content(msgspec.Struct):
    frames: list[_Frame]
    config: _Config | None = None


def sniff(path: str | Path) -> bool:
    """Whether it is a JSON list of frames with "name" and "labels", or an object with the list "frames".

    Args:
        path: Any file.
    """
    path = Path(path)
    try:
        if path.suffix.lower() != ".json":
            return False
        keys = json_outline.values(path)
        if keys is not None:
            return keys.get("frames", b"")[:1] == b"["
        first = msgspec.json.decode(json_outline.first(path) or b"[]", type=list[dict[str, msgspec.Raw]])
        return {"name", "labels"} <= first[0].keys()
    except (OSError, IndexError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def read(path: str | Path, *, size: tuple[int, int] | None = None) -> Dataset:
    """Read a Scalabel file.

    Classes are those of the config, then others in the order of their labels. Ids of pictures are 1, 2, ... Ids of
    labels are track ids where a frame is of a video and all are whole numbers. ``extras["attributes"]`` has the
    attributes of labels; "crowd" among them is the crowd flag.

    Args:
        path: The JSON file. Pictures are looked for beside it and in "images".
        size: (height, width) of pictures where neither the file nor the picture says it.

    Raises:
        FormatError: The file is missing, not Scalabel's, or a label does not fit; the message names it.
    """
    path = Path(path)
    raw = coco_json.load(path, msgspec.Raw)
    if bytes(raw).lstrip()[:1] == b"[":
        content = _Content(decoded(path, "frames", raw, list[_Frame]))
    else:
        content = decoded(path, "", raw, _Content)
    config = content.config or _Config()
    classes = {one.name: n for n, one in enumerate(reversed(config.categories))}
    classes = {name: n for n, name in enumerate(reversed(classes))}
    notices: Counter[str] = Counter()
    records: list[Record] = []
    for frame in content.frames:
        where = f"frame {frame.name[:80]}"
        try:
            records.append(_record(path, where, frame, config, size, classes, len(records) + 1, notices))
        except (ValueError, TypeError, OverflowError) as error:
            raise FormatError(path, where, f"{str(error).rstrip('.')}.") from error
    for text, count in notices.items():
        _log.warning("%s: %d %s", path, count, text)
    return Dataset(tuple(records), tuple(classes))


def _record(
    path: Path,
    where: str,
    frame: _Frame,
    config: _Config,
    size: tuple[int, int] | None,
    classes: dict[str, int],
    number: int,
    notices: Counter[str],
) -> Record:
    drawn = [one for one in frame.labels or [] if one.box2d or one.poly2d or one.rle]
    if len(drawn) < len(frame.labels or []):
        notices["labels have no box, polygon or rle; they are left out"] += len(frame.labels or []) - len(
            drawn
        )
    picture = _pictures.beside(path.parent, frame.name, "images")
    canvas = _size(path, where, frame, config, picture, size)
    shaped = any(one.rle or one.poly2d for one in drawn) or not drawn
    masks = Masks.concat([Masks.empty(canvas), *(_mask(one, canvas) for one in drawn)])
    boxes = masks.boxes.copy()
    for n, one in enumerate(drawn):
        if one.box2d is not None:
            boxes[n] = one.box2d.x1, one.box2d.y1, one.box2d.x2 + 1, one.box2d.y2 + 1
    labels = [classes.setdefault(one.category or "object", len(classes)) for one in drawn]
    given = [dict(one.attributes or {}) for one in drawn]
    crowd = np.array([one.pop("crowd", False) is True for one in given], bool)
    scores = [one.score for one in drawn if one.score is not None]
    ids = [int(one.id) for one in drawn if one.id is not None and str(one.id).isdecimal()]
    video = frame.videoName or None
    tracked = video is not None and drawn and len(set(ids)) == len(drawn)
    texts = np.array([json.dumps(one, ensure_ascii=False) for one in given], np.str_)
    found = Instances(
        canvas,
        boxes,
        np.array(labels, np.int64),
        np.array(scores, np.float32) if drawn and len(scores) == len(drawn) else None,
        masks if shaped else None,
        crowd if crowd.any() else None,
        np.array(ids, np.int64) if tracked else None,
        {"attributes": texts} if drawn else {},
    )
    index = None if video is None else max(0, frame.frameIndex or 0)
    return Record(picture, canvas, found, number, frame.attributes or {}, video, index)


def _size(
    path: Path, where: str, frame: _Frame, config: _Config, picture: Path, size: tuple[int, int] | None
) -> tuple[int, int]:
    said = frame.size or config.imageSize
    runs = next((tuple(one.rle["size"]) for one in frame.labels or [] if one.rle), None)
    sides = (said.height, said.width) if said is not None else runs or size
    if sides is None and picture.is_file():
        return read_size(picture)
    if sides is None:
        raise FormatError(
            path, where, "size must be known, got none. Put the picture beside it, or give size=."
        )
    if len(sides) != 2:
        raise FormatError(path, where, f"size must be height and width, got {sides}.")
    return sizes.checked(path, where, *sides)


def _mask(label: _Label, size: tuple[int, int]) -> Masks:
    if label.rle is not None:
        return Masks.from_rle([dict(label.rle)], size)
    rings = [_ring(poly) for poly in label.poly2d or [] if poly.closed and len(poly.vertices) >= 3]
    return Masks.from_polygons([rings], size)


def _ring(poly: _Poly) -> NDArray[np.float64]:
    """The corners of a polygon, its curves as straight sides."""
    points = np.array(poly.vertices, np.float64)
    if not (np.abs(points) <= _LARGEST).all():
        raise ValueError(f"vertices must be within {_LARGEST:g} pixels, got larger ones")
    if "C" not in poly.types:
        return points
    shares = np.linspace(0, 1, _STEPS + 1)[1:-1, None]
    corners: list[NDArray[np.float64]] = []
    n = 0
    while n < len(points):
        if poly.types[n : n + 2] == "CC" and n:
            a, b, c, d = (
                points[n - 1],
                points[n],
                points[(n + 1) % len(points)],
                points[(n + 2) % len(points)],
            )
            rest = 1 - shares
            corners.append(rest**3 * a + 3 * rest**2 * shares * b + 3 * rest * shares**2 * c + shares**3 * d)
            n += 2
        else:
            corners.append(points[n : n + 1])
            n += 1
    return np.concatenate(corners)


def write(dataset: Dataset, path: str | Path) -> None:
    """Write an object with "frames" and "config"; the same dataset always gives the same bytes.

    Args:
        dataset: What to write.
        path: The JSON file; replaced in one step.
    """
    path = Path(path)
    config = {"categories": [{"name": name} for name in dataset.classes]}
    with atomic.writing(path) as file:
        file.write(b'{"frames":[\n')
        file.writelines(coco_write.lines(_frames(dataset, path.parent)))
        file.write(b'],"config":' + coco_write.encode(config) + b"}\n")


def _frames(dataset: Dataset, root: Path) -> Iterator[dict[str, Any]]:
    for record in dataset:
        name = coco_write.image_entry(record, root).get("file_name", str(record.id))
        entry: dict[str, Any] = {"name": name, "size": {"width": record.size[1], "height": record.size[0]}}
        if record.video is not None:
            entry |= {"videoName": str(record.video), "frameIndex": record.frame}
        entry["attributes"] = dict(record.attributes)
        yield entry | {"labels": list(_labels(record.instances, dataset.classes))}


def _labels(found: Instances, classes: Sequence[str]) -> Iterator[dict[str, Any]]:
    runs: Sequence[Any] = [None] * len(found) if found.masks is None else found.masks.to_rle()
    scores = None if found.scores is None else coco_write.shortest(found.scores)
    texts = found.extras.get("attributes")
    for n, box in enumerate(found.boxes.astype(np.float64).tolist()):
        given = {} if texts is None else json.loads(str(texts[n]))
        if found.crowd is not None and found.crowd[n]:
            given["crowd"] = True
        entry: dict[str, Any] = {
            "id": str(n if found.ids is None else found.ids[n]),
            "category": classes[found.labels[n]],
            "attributes": given,
            "box2d": {"x1": box[0], "y1": box[1], "x2": box[2] - 1, "y2": box[3] - 1},
        }
        if runs[n] is not None:
            entry["rle"] = runs[n]
        yield entry if scores is None else entry | {"score": scores[n]}
