"""CVAT's XML, version 1.1, for images and for video (https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/).

::

    <annotations><version>1.1</version>
     <meta><task><labels><label><name>cell</name></label></labels></task></meta>
     <image id="0" name="a.png" width="640" height="480">
      <polygon label="cell" occluded="0" points="1.00,1.00;4.00,1.00;4.00,3.50" z_order="0" group_id="2"/>
      <mask label="cell" occluded="0" rle="0, 4, 3, 2" left="7" top="5" width="3" height="3" z_order="0"/>
      <box label="cell" occluded="0" xtl="1" ytl="2" xbr="4" ybr="5" rotation="30">
       <attribute name="kind">round</attribute></box>
     </image>
     <track id="0" label="cell">
      <polygon frame="3" keyframe="1" outside="0" points="..."/></track></annotations>

Polygons, boxes, ellipses and masks are objects; polylines, points, cuboids and skeletons are left out with a notice.
A track has a shape at keyframes: boxes, ellipses and polygons of as many corners move in straight lines between them,
all others stay. It is seen from its first keyframe to one that is "outside", or to the end of the video.

CVAT's "COCO 1.0" export is COCO, where each mask has iscrowd = 1: read it with `coco`; `delineate check` names
it, and mends it with --fix and --single-objects.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from delineate import atomic, codecs
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import _coco_write as coco_write
from delineate.formats import _cvat_shapes as cvat_shapes
from delineate.formats import _cvat_tracks as cvat_tracks
from delineate.formats import _pictures
from delineate.formats import _sizes as sizes
from delineate.formats import _xml as xml
from delineate.instances import Instances
from delineate.tracks import tracks as tracks_of

KEEPS = frozenset(
    {"masks", "holes", "parts", "overlaps", "empty masks", "group", "z_order", "attributes"}
    | {"instance order", "class order", "empty pictures", "splits"}
)
"""What ``read(write(dataset))`` preserves."""
SUFFIX = ".xml"

_log = logging.getLogger("delineate")


def sniff(path: str | Path) -> bool:
    """Whether it is an XML file whose first element is <annotations>, or a folder with such an annotations.xml.

    Args:
        path: Any file or folder.
    """
    try:
        with _file(Path(path)).open("rb") as file:
            start = file.read(4096)
    except OSError:
        return False
    return (
        re.match(rb"(\xef\xbb\xbf)?\s*(<\?[^>]*>|<!--.*?-->|\s)*<annotations[\s>/]", start, re.DOTALL)
        is not None
    )


def _file(path: Path) -> Path:
    return path / "annotations.xml" if path.is_dir() else path


def read(path: str | Path) -> Dataset:
    """Read a CVAT file.

    Classes are those that the file lists, then others in the order of their shapes. Ids of pictures are those of
    the file; frames of videos have their numbers, or "VIDEO/FRAME" where there are several videos. ``Instances.ids``
    are the ids of tracks. Groups, painting order, attributes, "occluded" and "source" are in ``extras``; subsets
    are splits. Pictures are looked for beside the file and in "images"; they need not exist.

    Args:
        path: The XML file, or a folder with annotations.xml.

    Raises:
        FormatError: The file is missing, not XML, or an element does not fit; the message names its line.
    """
    path = _file(Path(path))
    root = xml.read(path)
    if root.tag != "annotations":
        raise FormatError(path, "", f"first element must be <annotations>, got <{root.tag}>.")
    known = cvat_shapes.labels(root)
    notices: Counter[str] = Counter()
    records = [_record(path, node, known, notices) for node in root.all("image")]
    ids = [record.id for record in records]
    if len(set(ids)) < len(ids):
        records = [record.replace(id=n) for n, record in enumerate(records, 1)]
    if root.first("track") is not None:
        frames = cvat_tracks.read(path, root, known, notices)
        taken = {record.id for record in records}
        if any(record.id in taken for record in frames):
            frames = [record.replace(id=f"{record.video}/{record.frame}") for record in frames]
        records += frames
    for kind, count in notices.items():
        _log.warning("%s: %d elements <%s> have no area of their own; they are left out", path, count, kind)
    return Dataset(tuple(records), tuple(known.names))


def _record(path: Path, node: xml.Node, known: cvat_shapes.Labels, notices: Counter[str]) -> Record:
    size = (_side(path, node, "height"), _side(path, node, "width"))
    if math.prod(size) > sizes.MAX_PIXELS:
        text = f"picture must have at most {sizes.MAX_PIXELS} pixels."
        raise FormatError(path, f"line {node.line}", text)
    parsed = (cvat_shapes.parse(path, child, None, known, notices) for child in node.children)
    found = [shape for shape in parsed if shape is not None]
    instances = cvat_shapes.instances(path, found, known, size)
    name, subset = node.attributes.get("name"), node.attributes.get("subset")
    split = None if subset in (None, "", "default") else subset
    picture = _pictures.beside(path.parent, name, "images", f"images/{subset}") if name else None
    return Record(picture, size, instances, cvat_shapes.whole(path, node, "id"), split=split)


def _side(path: Path, node: xml.Node, name: str) -> int:
    value = cvat_shapes.whole(path, node, name)
    if not 1 <= value <= sizes.MAX_SIDE:
        text = f"{name} must be a whole number from 1 to {sizes.MAX_SIDE}, got {value}."
        raise FormatError(path, f"line {node.line}", text)
    return value


def write(dataset: Dataset, path: str | Path, *, tracks: bool = False) -> None:
    """Write a CVAT file; the same dataset always gives the same bytes.

    Masks are written as runs, boxes without masks as boxes. CVAT has no group 0: one gets the next free number of
    its picture. Ids of pictures are written where all are whole numbers, else they are 0, 1, ...

    Args:
        dataset: What to write.
        path: The XML file; replaced in one step.
        tracks: "CVAT for video": all records must be the frames of one video, of one size.

    Raises:
        ValueError: A text has characters that XML cannot hold. With tracks: there are several videos or sizes, or
            a track changes its class.
    """
    path = Path(path)
    names = dict(enumerate(dataset.classes))
    lines = _video(dataset, names) if tracks else _images(dataset, path.parent, names)
    with atomic.writing(path) as file:
        file.write(b'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n')
        file.writelines(line.encode() + b"\n" for line in lines)
        file.write(b"</annotations>\n")


def _quoted(value: object) -> str:
    """A value between quotation marks."""
    return '"' + xml.escaped(str(value)).replace("\n", "&#10;").replace("\t", "&#9;") + '"'


def _element(tag: str, attributes: Mapping[str, object]) -> str:
    return " ".join([f"<{tag}", *(f"{name}={_quoted(value)}" for name, value in attributes.items())])


def _images(dataset: Dataset, root: Path, names: Mapping[int, str]) -> Iterator[str]:
    kinds = _kinds(dataset)
    yield from _head(dataset, kinds, {"size": len(dataset), "mode": "annotation"})
    own = all(isinstance(record.id, int) for record in dataset)
    for n, record in enumerate(dataset):
        entry: dict[str, Any] = {"id": record.id if own else n}
        entry["name"] = coco_write.image_entry(record, root).get("file_name", "")
        if record.split is not None:
            entry["subset"] = record.split
        entry |= {"width": record.size[1], "height": record.size[0]}
        yield "  " + _element("image", entry) + ">"
        for row, shape in enumerate(_shapes(record.instances)):
            own_label = {"label": names[int(record.instances.labels[row])]}
            yield from _shape(record.instances, row, shape, own_label, kinds)
        yield "  </image>"


def _video(dataset: Dataset, names: Mapping[int, str]) -> Iterator[str]:
    videos = dataset.videos()
    if len(videos) > 1 or sum(map(len, videos.values())) != len(dataset):
        raise ValueError(f"cvat.write: records must be the frames of one video, got {len(videos)} and others")
    sizes = {record.size for record in dataset}
    if len(sizes) > 1:
        raise ValueError(f"cvat.write: frames must have one size, got {sorted(sizes)[:2]}")
    height, width = next(iter(sizes), (1, 1))
    name, part = next(iter(videos.items()), ("empty", dataset))
    records = part.records
    span = [records[place].frame or 0 for place in (0, -1)] if records else [0, 0]
    kinds = _kinds(dataset)
    head = {"name": name, "size": span[1] - span[0] + 1, "mode": "interpolation"}
    more = [f"<original_size><width>{width}</width><height>{height}</height></original_size>"]
    yield from _head(dataset, kinds, head | {"start_frame": span[0], "stop_frame": span[1]}, more)
    found = tracks_of(records)
    shapes = [_shapes(record.instances) for record in records]
    rows: list[dict[int, int]] = [{} for _ in range(len(found))]
    for position, owners in enumerate(found.rows):
        for row, track in enumerate(owners.tolist()):
            rows[track][position] = row
    for n, label in enumerate(found.labels.tolist()):
        yield "  " + _element("track", {"id": int(found.ids[n]), "label": names[label]}) + ">"
        for position, row, frame, outside in cvat_tracks.keyframes(records, rows[n]):
            own = {"frame": frame, "keyframe": 1, "outside": int(outside)}
            yield from _shape(records[position].instances, row, shapes[position][row], own, kinds)
        yield "  </track>"


def _kinds(dataset: Dataset) -> dict[tuple[int, str], str]:
    """Class and attribute -> its kind in CVAT: that of all its values, else a text."""
    kinds: dict[tuple[int, str], str] = {}
    for record in dataset:
        texts: Any = record.instances.extras.get("attributes", [])
        for label, text in zip(record.instances.labels.tolist() if len(texts) else [], texts, strict=True):
            for name, value in json.loads(str(text)).items():
                kind = _kind(value)
                if kinds.setdefault((label, name), kind) != kind:
                    kinds[label, name] = "text"
    return kinds


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "checkbox"
    return "number" if isinstance(value, int | float) else "text"


def _head(
    dataset: Dataset,
    kinds: Mapping[tuple[int, str], str],
    task: Mapping[str, object],
    more: Sequence[str] = (),
) -> Iterator[str]:
    yield "  <meta>\n    <task>"
    for name, value in task.items():
        yield f"      <{name}>{xml.escaped(str(value))}</{name}>"
    yield from (f"      {line}" for line in more)
    yield "      <labels>"
    for label, name in enumerate(dataset.classes):
        yield f"        <label><name>{xml.escaped(name)}</name><attributes>"
        for (owner, key), kind in kinds.items():
            if owner == label:
                inner = (
                    f"<name>{xml.escaped(key)}</name><mutable>True</mutable><input_type>{kind}</input_type>"
                )
                yield f"          <attribute>{inner}<default_value></default_value><values></values></attribute>"
        yield "        </attributes></label>"
    yield "      </labels>\n    </task>\n  </meta>"


_Drawn = tuple[str, dict[str, Any]]


def _shapes(found: Instances) -> list[_Drawn]:
    """The kind of each object and its own keys."""
    if found.masks is None:
        corners = [[str(value) for value in box] for box in found.boxes]
        return [("box", dict(zip(("xtl", "ytl", "xbr", "ybr"), box, strict=True))) for box in corners]
    drawn: list[_Drawn] = []
    for one in codecs.to_cvat(found.masks):
        own = {"rle": ", ".join(map(str, one.rle)), "left": one.left, "top": one.top}
        drawn.append(("mask", own | {"width": one.width, "height": one.height}))
    return drawn


def _shape(
    found: Instances,
    row: int,
    drawn: _Drawn,
    own: Mapping[str, object],
    kinds: Mapping[tuple[int, str], str],
) -> Iterator[str]:
    """The lines of one object."""
    given = json.loads(str(found.extras["attributes"][row])) if "attributes" in found.extras else {}
    entry: dict[str, Any] = {**own, "occluded": int(given.get("occluded") is True), **drawn[1]}
    if entry["occluded"]:
        del given["occluded"]
    if isinstance(given.get("source"), str):
        entry["source"] = given.pop("source")
    if "z_order" in found.extras:
        entry["z_order"] = int(found.extras["z_order"][row])
    groups = found.extras.get("group")
    if groups is not None and groups[row] >= 0:
        entry["group_id"] = int(groups[row] if groups[row] else groups.max() + 1)
    start = "    " + _element(drawn[0], entry)
    if not given:
        yield f"{start}/>"
        return
    yield f"{start}>"
    for name, value in given.items():
        kind = kinds[int(found.labels[row]), name]
        plain = kind == _kind(value) and (kind != "text" or isinstance(value, str))
        text = value if isinstance(value, str) and plain else json.dumps(value, ensure_ascii=False)
        attributes = {"name": name} if plain else {"name": name, "type": "json"}
        yield f"      {_element('attribute', attributes)}>{xml.escaped(text)}</attribute>"
    yield f"    </{drawn[0]}>"
