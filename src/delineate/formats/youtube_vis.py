"""YouTube-VIS and OVIS: one JSON file for all videos (https://youtube-vos.org/dataset/vis/), and results lists.

::

    {"videos": [{"id": 1, "file_names": ["a/00000.jpg", "a/00005.jpg"], "height": 720, "width": 1280, "length": 2}],
     "categories": [{"id": 1, "name": "person"}],
     "annotations": [
      {"id": 7, "video_id": 1, "category_id": 1, "iscrowd": 0,
       "segmentations": [{"size": [720, 1280], "counts": "..."}, null],
       "bboxes": [[2, 1, 5, 4], null], "areas": [20, null]}]}

An annotation is an object with one item per frame of its video, null where it is not seen. A segmentation is
a run-length mask, compressed (str) or not (list), or a list of polygons.

The CocoVID flavour (as MMTracking has it) is read too: frames are listed in "images" with "video_id" and
"frame_id", and every annotation is an object in one frame, with "image_id" and "instance_id".

A results list is the bare form that evaluation servers take::

    [{"video_id": 1, "category_id": 1, "score": 0.9, "segmentations": [{"size": [720, 1280], "counts": "..."}, null]}]
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from delineate import atomic
from delineate.dataset import Dataset, Record
from delineate.formats import _coco_json as coco_json
from delineate.formats import _coco_write as coco_write
from delineate.formats import _json_outline as json_outline
from delineate.formats import _youtube_vis_json as vis_json
from delineate.tracks import Tracks, tracks

KEEPS = frozenset(
    {"boxes", "masks", "holes", "parts", "overlaps", "empty masks", "crowd", "scores", "ids", "area"}
    | {"instance order", "class order", "empty pictures", "picture ids", "videos", "info"}
)
"""What ``read(write(dataset))`` preserves. Not kept: polygons as drawn (masks keep their pixels), attributes of
pictures, category ids, unknown keys of annotations, annotation ids that differ within a track.
Records come back video by video."""
SUFFIX = ".json"


def sniff(path: str | Path) -> bool:
    """Whether the file looks like YouTube-VIS or CocoVID: a JSON object with the lists "videos" and "categories".

    Args:
        path: Any file.
    """
    keys = json_outline.values(path) or {}
    return all(keys.get(name, b"").startswith(b"[") for name in ("videos", "categories"))


def read(path: str | Path, images: str | Path | None = None) -> Dataset:
    """Read a YouTube-VIS, OVIS or CocoVID file.

    There is one record per frame, video after video in the order of the file; its id is ``"VIDEO/POSITION"``
    (CocoVID: the picture's own). ``Record.video`` is the video's id, ``Instances.ids`` are the annotation ids
    (CocoVID: the instance ids). Labels are positions in the list of categories sorted by id. Boxes and areas
    that a file leaves out come from the masks. An annotation without any segmentation has an empty mask in the
    first frame of its video, so that evaluation counts it. If no annotation of the file has segmentations, all
    ``masks`` are None. "annotations" may be null, as in test sets.

    The picture of a frame is looked for as ``JPEGImages/NAME`` and ``NAME`` beside the JSON file, then in
    ``SUBSET/JPEGImages`` and ``SUBSET`` there and one folder up (SUBSET.json, instances_SUBSET.json); it need
    not exist.

    Args:
        path: The JSON file.
        images: The folder that file names are relative to; None to look in the places above.

    Returns:
        The dataset; ``extras`` has "area", "annotation_id", "bbox", "score" as `coco.read` has them, and
        "track_order", the place of the annotation in the file. ``attributes`` has "info", "licenses", and
        under "videos" what else the file says of videos.

    Raises:
        FormatError: The file is missing, not JSON, or contradicts itself; the message names the place.
    """
    path = Path(path)
    content = coco_json.load(path, vis_json.Content)
    categories, more = coco_json.categories(path, content.categories)
    classes, labels = coco_json.classes(path, categories)
    known = vis_json.frames(path, content, _roots(path, images))
    if content.images is None:
        found = vis_json.decode(path, content.annotations, list[vis_json.Track] | None) or []  # type: ignore[arg-type]
        vis_json.number(path, found)
        entries = vis_json.spread(path, found, known, "annotation")
    else:
        seen = vis_json.decode(path, content.annotations, list[vis_json.Sighting])
        vis_json.number(path, seen)
        entries = vis_json.sightings(path, seen, known)
    scored = any(item.score is not None for item in entries.items)
    records = vis_json.records(path, known, entries, labels, scored=scored)
    head = {"info": content.info, "licenses": content.licenses, "videos": known.videos}
    head["categories"] = more if any(more) else None
    return Dataset(tuple(records), classes, {key: value for key, value in head.items() if value})


def read_results(path: str | Path, truth: str | Path) -> Dataset:
    """Read a results list: predictions for the videos of a truth file.

    Args:
        path: The JSON list.
        truth: The YouTube-VIS file with the videos and categories that the ids mean.

    Returns:
        One record per frame of the truth, in its order, also where nothing was found. Track ids are the places
        in the list, from 1.

    Raises:
        FormatError: The list does not fit the truth; the message names the place.
    """
    path, truth = Path(path), Path(truth)
    head = coco_json.load(truth, vis_json.Head)
    categories, _ = coco_json.categories(truth, head.categories)
    classes, labels = coco_json.classes(truth, categories)
    known = vis_json.frames(truth, head, _roots(truth, None))
    found = coco_json.load(path, list[vis_json.Track])
    for position, track in enumerate(found, 1):  # as the reference's loadRes does it
        track.id, track.track_id, track.iscrowd = position, None, None
        track.areas, track.bboxes = None, track.bboxes if track.segmentations is None else None
    entries = vis_json.spread(path, found, known, "result")
    return Dataset(tuple(vis_json.records(path, known, entries, labels, scored=True)), classes)


def write(dataset: Dataset, path: str | Path, images: str | Path | None = None) -> None:
    """Write a YouTube-VIS file; the same dataset always gives the same bytes.

    A picture that is no frame of a video becomes a video of one frame. Instances without ids are tracks of
    one frame. Category ids are 1, 2, ... in the order of the classes; annotation ids come from the extra
    "annotation_id" (if unique throughout, else 1, 2, ...). Three keys that other readers pass over keep what
    the format has no place for: "image_ids", "frame_numbers" (where frames are missing), "track_id".

    Args:
        dataset: What to write.
        path: The JSON file; replaced in one step.
        images: The folder that file names shall be relative to; None for the folder of the JSON file.

    Raises:
        ValueError: Frames of one video differ in size, or a track changes its class, score or crowd flag.
    """
    path = Path(path)
    root = path.parent if images is None else Path(images)
    videos = _videos(dataset)
    found = {video: tracks(frames) for video, frames in videos.items()}
    entries = [_video_entry(dataset, video, frames, root) for video, frames in videos.items()]
    head = {"info": dataset.attributes.get("info", {}), "licenses": dataset.attributes.get("licenses", [])}
    with atomic.writing(path) as file:
        file.write(coco_write.encode(head)[:-1] + b',"videos":[\n')
        file.writelines(coco_write.lines(entries))
        file.write(b'],"categories":[\n')
        file.writelines(coco_write.lines(coco_write.categories(dataset)))
        file.write(b'],"annotations":[\n')
        file.writelines(coco_write.lines(_annotations(videos, found)))
        file.write(b"]}\n")


def write_results(dataset: Dataset, path: str | Path, truth: str | Path | None = None) -> None:
    """Write the predictions of a dataset as a results list; the same dataset always gives the same bytes.

    Args:
        dataset: Predictions with masks and scores; ``Record.frame`` is the position in the video.
        path: The JSON file; replaced in one step.
        truth: The YouTube-VIS file whose category ids to use (classes are matched by name) and whose videos
            say how many frames there are. None: categories 1, 2, ..., and a video ends with its last record.

    Raises:
        ValueError: Scores or masks are missing, a track changes its class or score, or the truth lacks a
            video, a frame or a class.
    """
    videos = dataset.videos()
    lengths = {video: 1 + max(record.frame or 0 for record in frames) for video, frames in videos.items()}
    categories = {name: n for n, name in enumerate(dataset.classes, 1)}
    if truth is not None:
        lengths, categories = _of_truth(Path(truth), lengths)
    used = {int(label) for record in dataset for label in record.instances.labels}
    for name in (dataset.classes[label] for label in sorted(used)):
        if name not in categories:
            raise ValueError(
                f"youtube_vis.write_results: classes must be categories of {truth}, got {name!r}"
            )
    for record in dataset:
        item = record.instances
        if len(item) and (item.scores is None or item.masks is None or record.frame is None):
            raise ValueError(
                f"youtube_vis.write_results: instances must have scores and masks in frames of a video, got none "
                f"in record {record.id!r}"
            )

    def results() -> Iterator[dict[str, Any]]:
        for video, part in videos.items():
            found = tracks(part.records)
            shapes = _shapes(found, part.records, [record.frame or 0 for record in part], lengths[video])
            scores = _scores(found, part.records)
            for n, label in enumerate(found.labels.tolist()):
                entry = {"video_id": video, "category_id": categories[dataset.classes[label]]}
                yield entry | {"score": scores[n], "segmentations": shapes[n]}

    with atomic.writing(path) as file:
        file.write(b"[\n")
        file.writelines(coco_write.lines(results()))
        file.write(b"]\n")


def _roots(path: Path, images: str | Path | None) -> list[Path]:
    """Where the pictures of a file may lie; the last one is the fallback."""
    if images is not None:
        return [Path(images)]
    folder, above = path.parent, path.parent / ".."
    subset = path.stem.partition("_")[2] or path.stem
    inside = [place / subset for place in (folder, above)]
    return [
        folder / "JPEGImages",
        folder,
        *(part for place in inside for part in (place / "JPEGImages", place)),
        folder,
    ]


def _videos(dataset: Dataset) -> dict[int | str, tuple[Record, ...]]:
    """The frames of every video; a picture of no video is one by itself."""
    found: dict[int | str, tuple[Record, ...]] = {
        video: part.records for video, part in dataset.videos().items()
    }
    for record in dataset:
        if record.video is None:
            name: int | str = record.id
            while name in found:
                name = f"picture {name}"
            found[name] = (record,)
    return found


def _video_entry(dataset: Dataset, video: int | str, frames: Sequence[Record], root: Path) -> dict[str, Any]:
    sizes = {record.size for record in frames}
    if len(sizes) > 1:
        one, other = sorted(sizes)[:2]
        raise ValueError(
            f"youtube_vis.write: frames of video {video!r} must have one size, got {one} and {other}"
        )
    height, width = frames[0].size
    entry: dict[str, Any] = {"id": video, "height": height, "width": width, "length": len(frames)}
    names = [_relative(record, root) for record in frames]
    if any(names):
        entry["file_names"] = names
    known: Any = dataset.attributes.get("videos") or ()
    for more in known:
        if more.get("id") == video:
            entry = {**more, **entry}
    ids, numbers = [record.id for record in frames], [record.frame for record in frames]
    if ids != [f"{video}/{n}" for n in range(len(frames))]:
        entry["image_ids"] = ids
    if numbers == [None]:
        entry["still"] = True
    elif numbers != list(range(len(frames))):
        entry["frame_numbers"] = numbers
    return entry


def _relative(record: Record, root: Path) -> str | None:
    return None if record.path is None else Path(os.path.relpath(record.path, root)).as_posix()


def _annotations(
    videos: Mapping[int | str, Sequence[Record]], found: Mapping[int | str, Tracks]
) -> Iterator[dict[str, Any]]:
    """The entries of "annotations", video by video: the file is never whole in memory."""
    total = sum(map(len, found.values()))
    given = [id_ for video, frames in videos.items() for id_ in _extra(found[video], frames, "annotation_id")]
    own = len(given) == total == len(set(given))
    numbers = iter(map(int, given)) if own else itertools.count(1)
    for video, frames in videos.items():
        part = found[video]
        places = list(range(len(frames)))
        shapes = _shapes(part, frames, places, len(frames))
        boxes, areas = _spans(part, frames)
        scores = None if part.scores is None else _scores(part, frames)
        for n, (track, label, crowd) in enumerate(
            zip(part.ids.tolist(), part.labels.tolist(), part.crowd.tolist(), strict=True)
        ):
            height, width = frames[0].size
            entry: dict[str, Any] = {"id": next(numbers), "video_id": video, "category_id": label + 1}
            entry |= {"iscrowd": int(crowd), "height": height, "width": width, "length": len(frames)}
            if any(shapes[n]):
                entry["segmentations"] = shapes[n]
            entry |= {"bboxes": boxes[n], "areas": areas[n]}
            if track != entry["id"]:
                entry["track_id"] = track
            yield entry if scores is None else entry | {"score": scores[n]}


def _extra(part: Tracks, frames: Sequence[Record], name: str) -> list[Any]:
    """An extra of each track where it begins; fewer where some have none."""
    rows = ((frames[frame].instances.extras, row) for frame, row in part.first.tolist())
    return [extras[name][row].item() for extras, row in rows if name in extras]


def _scores(part: Tracks, frames: Sequence[Record]) -> list[float]:
    exact = _extra(part, frames, "score")
    own = np.zeros(0, np.float32) if part.scores is None else part.scores
    return coco_write.shortest(own, np.array(exact, np.float64) if len(exact) == len(part) else None)


def _shapes(part: Tracks, frames: Sequence[Record], places: Sequence[int], length: int) -> list[list[Any]]:
    """For each track one segmentation or None for each of `length` frames."""
    shapes: list[list[Any]] = [[None] * length for _ in range(len(part))]
    for record, rows, place in zip(frames, part.rows, places, strict=True):
        if record.instances.masks is not None:
            for track, shape in zip(rows.tolist(), record.instances.masks.to_rle(), strict=True):
                shapes[track][place] = shape
    return shapes


def _spans(part: Tracks, frames: Sequence[Record]) -> tuple[list[list[Any]], list[list[Any]]]:
    """For each track and frame the box as x, y, width, height, and the area."""
    boxes: list[list[Any]] = [[None] * len(frames) for _ in range(len(part))]
    areas: list[list[Any]] = [[None] * len(frames) for _ in range(len(part))]
    for place, (record, rows) in enumerate(zip(frames, part.rows, strict=True)):
        item = record.instances
        given = item.extras.get("area")
        if given is None and item.masks is not None:
            given = item.masks.areas
        for n, (track, box) in enumerate(
            zip(rows.tolist(), coco_write.xywh(item.boxes, item.extras.get("bbox")), strict=True)
        ):
            boxes[track][place] = box
            area = box[2] * box[3] if given is None else given[n].item()
            areas[track][place] = int(area) if area == int(area) else area  # whole as pycocotools has it
    return boxes, areas


def _of_truth(truth: Path, needed: Mapping[int | str, int]) -> tuple[dict[int | str, int], dict[str, int]]:
    """The length of each video, and the category id of each class."""
    head = coco_json.load(truth, vis_json.Head)
    categories, _ = coco_json.categories(truth, head.categories)
    known = vis_json.frames(truth, head, _roots(truth, None))
    lengths = {video: len(frames) for video, frames in known.of_video.items()}
    for video, length in needed.items():
        if length > lengths.get(video, 0):
            raise ValueError(
                f"youtube_vis.write_results: frames must be in {truth}, got frame {length - 1} of video {video!r}, "
                f"which has {lengths.get(video, 0)}"
            )
    return lengths, {category.name: category.id for category in reversed(categories)}
