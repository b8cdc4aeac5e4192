"""The JSON of YouTube-VIS and CocoVID files as frames and their entries. Serves `youtube_vis`."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from delineate.dataset import Record
from delineate.errors import FormatError
from delineate.formats import _coco_json as coco_json
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.tracks import ORDER

MAX_FRAMES = 10_000_000
NOTHING = msgspec.Raw(b"null")
_NOTHING = frozenset({b"null", b"[]"})


class Head(msgspec.Struct):
    """What a file says apart from its annotations. With "images" it is of the CocoVID flavour."""

    videos: list[dict[str, Any]]
    categories: list[msgspec.Raw]
    images: list[dict[str, Any]] | None = None
    info: Any = None
    licenses: Any = None


class Content(Head):
    """A whole file. The annotations stay text until the flavour is known."""

    annotations: msgspec.Raw = NOTHING


class Track(msgspec.Struct, gc=False):
    """One entry of "annotations" or of a results list: an object with one item per frame of its video."""

    video_id: int | str
    category_id: int
    segmentations: list[msgspec.Raw] | None = None
    id: int | None = None
    track_id: int | None = None
    bboxes: list[list[float] | None] | None = None
    areas: list[float | None] | None = None
    iscrowd: int | bool | None = None
    score: float | None = None


class Sighting(coco_json.Annotation, gc=False):
    """One entry of "annotations" in the CocoVID flavour: an object in one frame."""

    instance_id: int | None = None


@dataclass
class Frames:
    """The frames of all videos, and the entries that belong to each."""

    pictures: list[coco_json.Picture] = field(default_factory=list)
    places: list[tuple[int | str, int] | None] = field(default_factory=list)  # video and frame; None: a still
    of_video: dict[int | str, list[int]] = field(default_factory=dict)
    videos: list[dict[str, Any]] = field(default_factory=list)  # further keys of videos, with their ids


@dataclass
class Entries:
    """What is in the frames: one item per object and frame. Not shaped: the file has boxes only."""

    shaped: bool
    frames: list[int] = field(default_factory=list)
    items: list[coco_json.Annotation] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    order: list[int] = field(default_factory=list)

    def add(self, frame: int, item: coco_json.Annotation, name: str, order: int) -> None:
        """One more entry."""
        self.frames.append(frame)
        self.items.append(item)
        self.names.append(name)
        self.order.append(order)


T = TypeVar("T")


def decode(path: Path, raw: msgspec.Raw, kind: type[T]) -> T:
    """The "annotations" of a file."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        raise FormatError(path, "annotations" + place.strip("`"), f"{message}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(path, "annotations", f"must be JSON, got: {error}.") from error


def frames(path: Path, content: Head, roots: Sequence[Path]) -> Frames:
    """The frames that a file declares, video after video."""
    return (
        _of_images(path, content, roots) if content.images is not None else _of_videos(path, content, roots)
    )


def _of_videos(path: Path, content: Head, roots: Sequence[Path]) -> Frames:
    found = Frames()
    images: list[dict[str, Any]] = []
    for position, video in enumerate(content.videos):
        id_, rest = _video(path, video, position, found)
        where = f"video {id_}"
        names, length = rest.pop("file_names", None), rest.pop("length", None)
        if names is None and isinstance(length, int) and 0 <= length <= MAX_FRAMES:
            names = [None] * length
        if not isinstance(names, list) or (length is not None and length != len(names)):
            got = f"{length!r} and {len(names) if isinstance(names, list) else names!r} names"
            raise FormatError(path, where, f"length must be the number of file_names, got {got}.")
        size = {"height": rest.pop("height", None), "width": rest.pop("width", None)}
        still = rest.pop("still", False) is True and len(names) == 1
        ids = rest.pop("image_ids", [f"{id_}/{n}" for n in range(len(names))])
        numbers = rest.pop("frame_numbers", list(range(len(names))))
        if not (
            isinstance(ids, list) and isinstance(numbers, list) and len(ids) == len(numbers) == len(names)
        ):
            raise FormatError(path, where, f"image_ids and frame_numbers must have {len(names)} items each.")
        if any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in numbers):
            raise FormatError(path, where, "frame_numbers must be ints of at least 0.")
        if len(set(numbers)) < len(numbers):
            raise FormatError(path, where, "frame_numbers must be different, got one twice.")
        found.of_video[id_] = list(range(len(images), len(images) + len(names)))
        found.places += [None] if still else [(id_, n) for n in numbers]
        for name, picture in zip(names, ids, strict=True):
            images.append({"id": picture, **({} if name is None else {"file_name": name}), **size})
        if rest:
            found.videos.append({"id": id_, **rest})
    found.pictures = coco_json.pictures(path, images, roots)
    return found


def _of_images(path: Path, content: Head, roots: Sequence[Path]) -> Frames:
    found = Frames()
    for position, video in enumerate(content.videos):
        id_, rest = _video(path, video, position, found)
        found.of_video[id_] = []
        if rest:
            found.videos.append({"id": id_, **rest})
    found.pictures = coco_json.pictures(path, content.images or [], roots)
    seen: set[tuple[int | str, int]] = set()
    for n, picture in enumerate(found.pictures):
        video, number = picture.attributes.pop("video_id", None), picture.attributes.pop("frame_id", None)
        where = f"image {picture.id}"
        if isinstance(video, bool) or not isinstance(video, int | str) or video not in found.of_video:
            raise FormatError(path, where, f"video_id must be the id of a video, got {video!r}.")
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise FormatError(path, where, f"frame_id must be an int of at least 0, got {number!r}.")
        if (video, number) in seen:
            raise FormatError(path, where, f"frame_id must be unique in its video, got {number} twice.")
        seen.add((video, number))
        found.places.append((video, number))
        found.of_video[video].append(n)
    return found


def _video(
    path: Path, video: dict[str, Any], position: int, found: Frames
) -> tuple[int | str, dict[str, Any]]:
    rest = dict(video)
    id_ = rest.pop("id", None)
    if isinstance(id_, bool) or not isinstance(id_, int | str) or id_ == "":
        raise FormatError(path, f"videos[{position}]", f"id must be an int or a str, got {id_!r}.")
    if id_ in found.of_video:
        raise FormatError(path, f"video {id_}", "id must be unique, got it twice.")
    return id_, rest


def number(path: Path, items: Sequence[Track | Sighting]) -> None:
    """Check annotation ids and give one to those that have none."""
    given = Counter(item.id for item in items if item.id is not None)
    for id_, count in given.most_common(1):
        if count > 1:
            raise FormatError(path, f"annotation {id_}", "id must be unique, got it more than once.")
    following = itertools.count(max(given, default=0) + 1)
    for item in items:
        if item.id is None:
            item.id = next(following)


def spread(path: Path, tracks: Sequence[Track], known: Frames, what: str) -> Entries:
    """Tracks as entries of frames. A track that is nowhere leaves an empty mask in its first frame."""
    shaped = any(bytes(raw) not in _NOTHING for track in tracks for raw in track.segmentations or ())
    found = Entries(shaped=shaped or not any(box for track in tracks for box in track.bboxes or ()))
    for position, track in enumerate(tracks):
        name = f"{what} {position if what == 'result' else track.id}"
        if track.video_id not in known.of_video:
            raise FormatError(path, name, f"video_id must be the id of a video, got {track.video_id!r}.")
        at = known.of_video[track.video_id]
        columns = []
        for key in ("segmentations", "bboxes", "areas"):
            values = getattr(track, key)
            if values is not None and len(values) != len(at):
                text = f"{key} must have one item for each of {len(at)} frames, got {len(values)}."
                raise FormatError(path, name, text)
            columns.append(values or [None] * len(at))
        somewhere = False
        for n, (shape, box, area) in enumerate(zip(*columns, strict=True)):
            item = _item(track, shape, box, area)
            if coco_json.has_segmentation(item) if found.shaped else box is not None:
                found.add(at[n], item, f"{name}, frame {n}", position)
                somewhere = True
        if not somewhere and found.shaped and at:
            found.add(at[0], _item(track, None, None, None), name, position)
    return found


def _item(
    track: Track, shape: msgspec.Raw | None, box: list[float] | None, area: float | None
) -> coco_json.Annotation:
    return coco_json.Annotation(
        image_id="",
        category_id=track.category_id,
        id=track.id,
        segmentation=shape if shape is not None else NOTHING,
        bbox=box,
        area=area,
        iscrowd=track.iscrowd,
        score=track.score,
        track_id=track.id if track.track_id is None else track.track_id,
    )


def sightings(path: Path, items: Sequence[Sighting], known: Frames) -> Entries:
    """Entries of the CocoVID flavour."""
    at = {picture.id: n for n, picture in enumerate(known.pictures)}
    tracked = [item.instance_id is not None for item in items]
    found = Entries(shaped=not items or any(map(coco_json.has_segmentation, items)))
    number: dict[tuple[int | str, int], int] = {}
    for n, item in enumerate(items):
        name = f"annotation {item.id}"
        if item.image_id not in at:
            raise FormatError(path, name, f"image_id must be the id of a picture, got {item.image_id!r}.")
        if any(tracked) and not tracked[n]:
            text = "instance_id must be an int (all entries have one, or none), got none."
            raise FormatError(path, name, text)
        frame = at[item.image_id]
        place = known.places[frame]
        order = n
        if item.instance_id is not None and place is not None:
            item.track_id = item.instance_id
            order = number.setdefault((place[0], item.instance_id), n)
        found.add(frame, item, name, order)
    return found


def records(
    path: Path, known: Frames, entries: Entries, labels: Mapping[int, int], *, scored: bool
) -> list[Record]:
    """One record per frame with its entries in file order."""
    items, names = entries.items, entries.names
    for item, name in zip(items, names, strict=True):
        if item.category_id not in labels:
            raise FormatError(
                path, name, f"category_id must be the id of a category, got {item.category_id}."
            )
        if item.iscrowd not in (None, 0, 1):
            raise FormatError(path, name, f"iscrowd must be 0 or 1, got {item.iscrowd}.")
        if scored != (item.score is not None):
            text = f"score must be a number (all entries have one, or none), got {item.score}."
            raise FormatError(path, name, text)
    columns = coco_json.columns(path, items, names, labels, scored=scored, need_boxes=not entries.shaped)
    columns[ORDER] = np.array(entries.order, np.int64)
    groups: list[list[int]] = [[] for _ in known.pictures]
    for n, frame in enumerate(entries.frames):
        groups[frame].append(n)
    found = []
    for picture, place, at in zip(known.pictures, known.places, groups, strict=True):
        where = path, [items[n] for n in at], [names[n] for n in at], picture.size
        part = {name: column[at] for name, column in columns.items()}
        instances = _instances(part, coco_json.masks(*where) if entries.shaped else None, picture.size)
        ids = instances.ids
        if ids is not None and len(np.unique(ids)) < len(ids):
            twice = Counter(ids.tolist()).most_common(1)[0][0]
            raise FormatError(path, f"image {picture.id}", f"track ids must be unique, got {twice} twice.")
        video, position = (None, None) if place is None else place
        found.append(
            Record(picture.path, picture.size, instances, picture.id, picture.attributes, video, position)
        )
    return found


def _instances(part: dict[str, NDArray[Any]], masks: Masks | None, size: tuple[int, int]) -> Instances:
    spans, areas = part["bbox"], part["area"]
    if masks is not None:
        tight = masks.boxes.astype(np.float64)
        tight[:, 2:] -= tight[:, :2]
        spans = np.where(part["boxed"][:, None], spans, tight)
    own = spans[:, 2] * spans[:, 3] if masks is None else masks.areas
    extras = {"area": np.where(np.isnan(areas), own, areas), "bbox": spans, "annotation_id": part["id"]}
    extras[ORDER] = part[ORDER]
    if "score" in part:
        extras["score"] = part["score"]
    corners = np.hstack([spans[:, :2], spans[:, :2] + spans[:, 2:]])
    crowd = part["crowd"] if part["crowd"].any() else None
    ids = part["track_id"] if part["tracked"].all() else None
    return Instances(size, corners, part["label"], part.get("score"), masks, crowd, ids, extras)
