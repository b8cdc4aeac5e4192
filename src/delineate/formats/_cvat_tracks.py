"""Tracks of CVAT's XML for video: shapes at keyframes and what lies between them. Serves `cvat`."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from delineate.dataset import Record
from delineate.errors import FormatError
from delineate.formats import _cvat_shapes as cvat_shapes
from delineate.formats import _sizes as sizes
from delineate.formats import _xml as xml
from delineate.image import SUFFIXES

_MAX_FRAMES = 1_000_000
_MAX_SHAPES = 2_000_000  # of all tracks in all frames


@dataclass(frozen=True, slots=True)
class Video:
    """One video as the head of a file describes it.

    Args:
        id: Of its task, None where the file has one task only.
        name: What records call it.
        size: (height, width) pixels.
        frames: Their numbers.
        split: The subset that it is of, or None.
    """

    id: str | None
    name: str
    size: tuple[int, int]
    frames: range
    split: str | None


def read(path: Path, root: xml.Node, known: cvat_shapes.Labels, notices: Counter[str]) -> list[Record]:
    """The frames of the videos of a file, also those without objects."""
    videos = _videos(path, root)
    pictures = {key.casefold(): file for key, file in _pictures(path.parent)}
    total = 0
    records = []
    for video in videos:
        shown: dict[int, list[tuple[int, cvat_shapes.Shape]]] = {}
        for position, track in enumerate(root.all("track")):
            if len(videos) > 1 and track.attributes.get("task_id") != video.id:
                continue
            number = cvat_shapes.whole(path, track, "id", str(position))
            for frame, shape in _frames(path, track, video, known, notices):
                shown.setdefault(frame, []).append((number, shape))
                total += 1
                if total > _MAX_SHAPES:
                    text = f"tracks must have at most {_MAX_SHAPES} shapes in all frames. Cut the video."
                    raise FormatError(path, f"line {track.line}", text)
        for frame in video.frames:
            found = shown.get(frame, [])
            ids = [number for number, _ in found]
            made = cvat_shapes.instances(path, [shape for _, shape in found], known, video.size, ids)
            id_ = frame if len(videos) == 1 else f"{video.name}/{frame}"
            picture = pictures.get(f"frame_{frame:06d}")
            records.append(Record(picture, video.size, made, id_, {}, video.name, frame, video.split))
    return records


def _pictures(folder: Path) -> Iterator[tuple[str, Path]]:
    for place in (folder, folder / "images"):
        try:
            files = sorted(place.iterdir())
        except OSError:
            continue
        yield from ((file.stem, file) for file in files if file.suffix.lower() in SUFFIXES)


def _videos(path: Path, root: xml.Node) -> list[Video]:
    meta = root.first("meta")
    parts = [] if meta is None else meta.children
    tasks = [part for part in parts if part.tag in ("task", "job")]
    for project in (part for part in parts if part.tag == "project"):
        listed = project.first("tasks")
        tasks += [] if listed is None else listed.all("task")
    tasks = [task for task in tasks if task.first("original_size") is not None]
    if not tasks:
        text = (
            "file with tracks must say its original_size (width, height) in meta. Export it for video again."
        )
        raise FormatError(path, "meta", text)
    source = None if meta is None else meta.value("source")
    named: Counter[str] = Counter()
    videos = []
    for task in tasks:
        id_ = task.value("id")
        name = task.value("name") or source or task.value("source") or path.stem
        named[name] += 1
        if named[name] > 1:
            name = f"{name} {named[name]}"
        subset = task.value("subset")
        split = None if subset in (None, "", "default") else subset
        videos.append(Video(id_, name, _size(path, task), _range(path, task, root), split))
    return videos


def _size(path: Path, task: xml.Node) -> tuple[int, int]:
    node = task.first("original_size")
    assert node is not None  # noqa: S101 - for the type checker
    sides = []
    for name in ("height", "width"):
        text = node.value(name) or ""
        if not re.fullmatch("[0-9]{1,8}", text) or not 1 <= int(text) <= sizes.MAX_SIDE:
            text = f"{name} must be a whole number from 1 to {sizes.MAX_SIDE}, got {text[:40]!r}."
            raise FormatError(path, f"line {node.line}", text)
        sides.append(int(text))
    if sides[0] * sides[1] > sizes.MAX_PIXELS:
        text = f"frames must have at most {sizes.MAX_PIXELS} pixels."
        raise FormatError(path, f"line {node.line}", text)
    return sides[0], sides[1]


def _range(path: Path, task: xml.Node, root: xml.Node) -> range:
    """The numbers of the frames: start_frame to stop_frame in the steps of the filter."""
    where = f"line {task.line}"
    last = max((_frame(path, node) for track in root.all("track") for node in track.children), default=0)
    values = []
    for name, default in (("start_frame", "0"), ("stop_frame", str(last))):
        text = task.value(name) or default
        if not re.fullmatch("[0-9]{1,15}", text):
            raise FormatError(path, where, f"{name} must be a whole number of at least 0, got {text[:40]!r}.")
        values.append(int(text))
    step = re.fullmatch(r"step\s*=\s*([1-9][0-9]{0,8})", task.value("frame_filter") or "step=1")
    found = range(values[0], values[1] + 1, int(step[1]) if step else 1)
    if len(found) > _MAX_FRAMES:
        raise FormatError(path, where, f"frames must be at most {_MAX_FRAMES}, got {len(found)}.")
    return found


def _frame(path: Path, node: xml.Node) -> int:
    found = cvat_shapes.whole(path, node, "frame")
    if found < 0:
        raise FormatError(path, f"line {node.line}", f"frame must be at least 0, got {found}.")
    return found


def _frames(
    path: Path,
    track: xml.Node,
    video: Video,
    known: cvat_shapes.Labels,
    notices: Counter[str],
) -> Iterator[tuple[int, cvat_shapes.Shape]]:
    """The shape of a track in each frame where it is seen."""
    label = track.attributes.get("label")
    if label is None:
        raise FormatError(path, f"line {track.line}", "label must be the name of a class, got none.")
    keys: dict[int, tuple[cvat_shapes.Shape, bool]] = {}
    for node in track.children:
        shape = cvat_shapes.parse(path, node, label, known, notices)
        if shape is not None:
            keys[_frame(path, node)] = shape, node.attributes.get("outside") == "1"
    order = sorted(keys)
    for at, following in itertools.zip_longest(order, order[1:]):
        shape, outside = keys[at]
        if outside:
            continue
        end = video.frames.stop if following is None else following
        first = at if at in video.frames or not video.frames else _after(video.frames, at)
        for frame in range(first, min(end, video.frames.stop), video.frames.step):
            if frame == at or following is None:
                yield frame, shape
            else:
                yield frame, cvat_shapes.between(shape, keys[following][0], (frame - at) / (following - at))


def _after(frames: range, at: int) -> int:
    """The first frame that is not before a number."""
    return max(frames.start, frames.start + -(-(at - frames.start) // frames.step) * frames.step)


def keyframes(records: Sequence[Record], rows: Mapping[int, int]) -> Iterator[tuple[int, int, int, bool]]:
    """Position of the record, row, frame, and whether it leaves: each shape, and one more where it is gone.

    Args:
        records: The frames of a video in their order.
        rows: Position of a record -> row of the track in it, rising.
    """
    frames = {position: records[position].frame or 0 for position in rows}
    last = records[-1].frame or 0
    shown = set(frames.values())
    for position, row in rows.items():
        frame = frames[position]
        yield position, row, frame, False
        if frame + 1 not in shown and frame < last:
            yield position, row, frame + 1, True
