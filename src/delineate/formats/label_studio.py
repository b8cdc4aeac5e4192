"""Label Studio: one JSON list of tasks (https://labelstud.io/guide/export.html#Label-Studio-JSON-format).

::

    [{"id": 5, "data": {"image": "a.png"}, "annotations": [{"result": [
       {"id": "x1", "type": "brushlabels", "from_name": "tag", "to_name": "image",
        "original_width": 6, "original_height": 4, "image_rotation": 0,
        "value": {"format": "rle", "rle": [0, 0, 0, 96], "brushlabels": ["cell"]}},
       {"id": "x2", "type": "polygonlabels", "original_width": 6, "original_height": 4,
        "value": {"points": [[10, 10], [50, 10], [50, 75]], "polygonlabels": ["cell"]}}]}]}]

Coordinates are percent of the picture. Brushes are exact; polygons, rectangles and ellipses are filled as
pycocotools fills polygons. Of several annotations the first that was not cancelled counts, an approved one
("ground_truth") before it; a task that has predictions only is read as predictions, with scores.
"""

from __future__ import annotations

import logging
import math
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from delineate import atomic, codecs
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import _coco_write as coco_write
from delineate.formats import _json_outline as json_outline
from delineate.formats import _rings as rings
from delineate.formats import _sizes as sizes
from delineate.image import SUFFIXES, read_size
from delineate.instances import Instances
from delineate.masks import Masks

KEEPS = frozenset(
    {"masks", "holes", "parts", "overlaps", "empty masks", "scores", "instance order", "empty pictures"}
    | {"picture ids", "picture attributes"}
)
"""What ``read(write(dataset))`` preserves."""
SUFFIX = ".json"

_log = logging.getLogger("delineate")
_KINDS = ("brush", "polygon", "rectangle", "ellipse")
_OWN = ("image", "width", "height", "id")


def sniff(path: str | Path) -> bool:
    """Whether it is a JSON list of tasks: objects with "data" and "annotations" or "predictions".

    Args:
        path: Any file.
    """
    try:
        tasks = msgspec.json.decode(json_outline.first(path) or b"[]", type=list[dict[str, msgspec.Raw]])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return bool(tasks) and "data" in tasks[0] and bool({"annotations", "predictions"} & tasks[0].keys())


def read(path: str | Path) -> Dataset:
    """Read the tasks of a Label Studio export.

    Classes come in the order of their first region. Relations, choices, key points and texts have no area and
    are left out, as are regions on turned pictures; the log says how many.

    Args:
        path: The JSON file. Pictures are looked for beside it by the path in "data", and by its last part (also
            without the eight letters that an upload puts in front); they need not exist where regions tell the
            size.

    Raises:
        FormatError: The file is missing, not JSON, or contradicts itself; the message names the place.
    """
    path = Path(path)
    tasks = _decode(path, list[dict[str, Any]])
    classes: dict[str, int] = {}
    left_out: dict[str, int] = {}
    records = []
    for place, task in enumerate(tasks):
        where = f"task {task.get('id', f'[{place}]')}"
        records.append(_record(path, where, task, place, classes, left_out))
    for kind, count in left_out.items():
        _log.warning("%s: %d results of kind %s have no area and are left out", path, count, kind)
    try:
        return Dataset(tuple(records), tuple(classes))
    except ValueError as error:
        raise FormatError(path, "", f"{error}.") from error


def _decode(path: Path, kind: Any) -> Any:  # noqa: ANN401 - as the kind says
    try:
        data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
        return msgspec.json.decode(data, type=kind)
    except OSError as error:
        raise FormatError(path, "", f"file must be readable, got: {error.strerror}.") from error
    except msgspec.ValidationError as error:
        raise FormatError(path, "", f"file must be a list of tasks, got: {error}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(path, "", f"file must be JSON, got: {error}.") from error


def _record(
    path: Path,
    where: str,
    task: Mapping[str, Any],
    place: int,
    classes: dict[str, int],
    left_out: dict[str, int],
) -> Record:
    data = task.get("data")
    if not isinstance(data, dict):
        raise FormatError(path, where, f"data must be an object, got {str(data)[:40]!r}.")
    results, scored = _results(path, where, task)
    picture = _picture(path, data)
    regions = [*_regions(path, where, results, left_out)]
    size = _size(path, where, data, regions, picture)
    masks, labels, scores = [Masks.empty(size)], [], []
    for region, item in regions:
        masks.append(_mask(path, region, item, size))
        labels.append(classes.setdefault(_label(path, region, item, results), len(classes)))
        scores.append(_number(path, region, item.get("score", 0), "score") if scored else 0)
    instances = Instances.of(Masks.concat(masks), np.array(labels, np.int64), scores if scored else None)
    attributes = {key: value for key, value in data.items() if key not in _OWN}
    id_ = data.get("id", task.get("id", place + 1))
    if isinstance(id_, bool) or not isinstance(id_, int | str) or id_ == "":
        raise FormatError(path, where, f"id must be an int or a str, got {id_!r}.")
    return Record(picture, size, instances, id_, attributes)


def _results(path: Path, where: str, task: Mapping[str, Any]) -> tuple[list[Any], bool]:
    """The results that count, and whether they are predictions."""
    for key in ("annotations", "predictions"):
        found = task.get(key) or []
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise FormatError(path, where, f"{key} must be a list of objects.")
        chosen = [one for one in found if not one.get("was_cancelled")]
        chosen.sort(key=lambda one: not one.get("ground_truth"))  # stable: the approved one first
        if len(chosen) > 1:
            _log.warning("%s: %s: %d %s; the first one counts", path, where, len(chosen), key)
        if chosen:
            results = chosen[0].get("result")
            if not isinstance(results, list) or not all(isinstance(one, dict) for one in results):
                raise FormatError(path, where, f"{key}: result must be a list of objects.")
            return results, key == "predictions"
    return [], "annotations" not in task


def _picture(path: Path, data: Mapping[str, Any]) -> Path | None:
    """The picture of a task: the first text in its data that is a file's name."""
    for value in (data.get("image"), *data.values()):
        if not isinstance(value, str) or "\0" in value:
            continue
        link = urllib.parse.urlsplit(value) if "://" in value or value.startswith("/data/") else None
        # Files of a local storage are named in the query: /data/local-files/?d=folder/a.png
        name = value if link is None else urllib.parse.parse_qs(link.query).get("d", [link.path])[0]
        if Path(name).suffix.lower() not in SUFFIXES:
            continue
        last = Path(name).name
        for candidate in (name, last, f"images/{last}", last.partition("-")[2] if last[8:9] == "-" else last):
            if (path.parent / candidate).is_file():
                return path.parent / candidate
        return path.parent / (name if link is None else last)
    return None


def _regions(
    path: Path, where: str, results: Sequence[Mapping[str, Any]], left_out: dict[str, int]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The results that have an area, with what messages call them."""
    for number, item in enumerate(results):
        kind = str(item.get("type", "")).removesuffix("labels")
        region = f"{where}, result {item.get('id', number)}"
        if kind not in _KINDS:
            if kind:  # "labels" alone names the class of another result
                left_out[kind] = left_out.get(kind, 0) + 1
        elif item.get("image_rotation"):
            _log.warning(
                "%s: %s: picture is turned by %s degrees; left out", path, region, item["image_rotation"]
            )
        else:
            yield region, item


def _size(
    path: Path,
    where: str,
    data: Mapping[str, Any],
    regions: Sequence[tuple[str, Mapping[str, Any]]],
    picture: Path | None,
) -> tuple[int, int]:
    said = [(item.get("original_height"), item.get("original_width"), region) for region, item in regions]
    if not said and "height" in data and "width" in data:
        said = [(data["height"], data["width"], where)]
    found = {sizes.checked(path, place, height, width) for height, width, place in said}
    if not found and picture is not None and picture.is_file():
        return read_size(picture)
    if len(found) != 1:
        text = f"results must have one original_height and original_width, got {len(found)} of them"
        raise FormatError(path, where, f"{text}. Put the picture beside the file, if there are none.")
    return found.pop()


def _mask(path: Path, region: str, item: Mapping[str, Any], size: tuple[int, int]) -> Masks:
    value = item.get("value")
    if not isinstance(value, dict):
        raise FormatError(path, region, f"value must be an object, got {str(value)[:40]!r}.")
    kind = str(item["type"]).removesuffix("labels")
    if kind != "brush":
        return Masks.from_polygons([[_ring(path, region, kind, value, size)]], size)
    try:
        return codecs.from_label_studio([value["rle"]], size)
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise FormatError(path, region, f"value.rle must be a brush: {error}.") from error


def _ring(
    path: Path, region: str, kind: str, value: Mapping[str, Any], size: tuple[int, int]
) -> NDArray[np.float64]:
    """The corners of a shape in pixels."""
    per_cent = np.array([size[1], size[0]]) / 100

    def numbers(*names: str) -> list[float]:
        return [_number(path, region, value.get(name, 0), name) for name in names]

    if kind == "polygon":
        points = value.get("points")
        try:
            ring = np.array(points, np.float64) * per_cent
        except (ValueError, TypeError) as error:
            raise FormatError(path, region, "points must be pairs of numbers.") from error
        if ring.ndim != 2 or ring.shape[1] != 2 or len(ring) < 3 or not (np.abs(ring) < 1e9).all():
            raise FormatError(path, region, f"polygon must be 3 points or more, got {str(points)[:60]}.")
        return ring
    # Turned in pixels, not in percent: a square stays a square on a picture that is none.
    angle = math.radians(numbers("rotation")[0])
    x, y = np.array(numbers("x", "y")) * per_cent
    if kind == "ellipse":
        rx, ry = np.array(numbers("radiusX", "radiusY")) * per_cent
        return rings.ellipse(x, y, (abs(rx), abs(ry)), angle)
    width, height = np.array(numbers("width", "height")) * per_cent
    return rings.rectangle(x, y, width, height, angle)


def _number(path: Path, region: str, value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        raise FormatError(path, region, f"{name} must be a number below 1e9, got {str(value)[:40]!r}.")
    return float(value)


def _label(path: Path, region: str, item: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> str:
    """The first label of a region; labels may stand in another result of the same id."""
    same = [one for one in results if one.get("id") == item.get("id") and one is not item]
    for one in (item, *same):
        kind, value = one.get("type"), one.get("value")
        names = value.get(str(kind)) if isinstance(value, dict) else None
        if str(kind).endswith("labels") and isinstance(names, list) and names and isinstance(names[0], str):
            if len(names) > 1:
                _log.warning("%s: %s: %d labels; the first one counts", path, region, len(names))
            return names[0]
    return "object"


def write(dataset: Dataset, path: str | Path) -> None:
    """Write tasks with a brush for each object; the same dataset always gives the same bytes.

    Records with scores become predictions, the others annotations.

    Args:
        dataset: What to write.
        path: The JSON file; replaced in one step.
    """
    path = Path(path)
    scored = any(record.instances.scores is not None for record in dataset)
    with atomic.writing(path) as file:
        file.write(b"[\n")
        file.writelines(coco_write.lines(_tasks(dataset, path.parent, scored)))
        file.write(b"]\n")


def _tasks(dataset: Dataset, root: Path, scored: bool) -> Iterator[dict[str, Any]]:
    for number, record in enumerate(dataset, 1):
        entry = coco_write.image_entry(record, root)
        data: dict[str, Any] = {"id": record.id, "height": record.size[0], "width": record.size[1]}
        if "file_name" in entry:
            data["image"] = entry["file_name"]
        data |= {key: value for key, value in record.attributes.items() if key not in _OWN}
        result = [*_brushes(record.instances, dataset.classes, number)]
        key = "predictions" if scored else "annotations"
        yield {
            "id": record.id if isinstance(record.id, int) else number,
            "data": data,
            key: [{"result": result}],
        }


def _brushes(found: Instances, classes: Sequence[str], task: int) -> Iterator[dict[str, Any]]:
    masks = Masks.from_boxes(found.boxes, found.size) if found.masks is None else found.masks
    for n, rle in enumerate(codecs.to_label_studio(masks)):
        item: dict[str, Any] = {
            "id": f"{task}-{n + 1}",
            "type": "brushlabels",
            "from_name": "tag",
            "to_name": "image",
            "original_width": found.size[1],
            "original_height": found.size[0],
            "image_rotation": 0,
            "value": {"format": "rle", "rle": rle, "brushlabels": [classes[found.labels[n]]]},
        }
        if found.scores is not None:
            item["score"] = float(str(found.scores[n]))
        yield item
