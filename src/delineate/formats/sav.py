"""SA-V, the data set of Segment Anything 2: one JSON file of masklets for each video (https://ai.meta.com/datasets/segment-anything-video).

::

    sav_000001_manual.json      also sav_000001_auto.json
    sav_000001/00000.jpg        pictures of the annotated frames, if somebody took them out of the video
    classes.json                only where there are other classes than "object"

    {"video_id": "sav_000001", "video_height": 848.0, "video_width": 480.0, "video_split": "train",
     "masklet": [[{"size": [848, 480], "counts": "Y4<Qj05..."}, ...], ...], "masklet_id": [0, 1, ...],
     "masklet_type": ["manual", ...], "masklet_stability_score": [null, ...], ...}

"masklet" has a list for each annotated frame (every fourth of the video), and in it one mask for each object, empty
where the object cannot be seen.
"""

from __future__ import annotations

import json
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
from delineate.formats import _class_table as class_table
from delineate.formats import _coco_json as coco_json
from delineate.formats import _coco_write as coco_write
from delineate.formats import _json_parts as json_parts
from delineate.formats import _pictures
from delineate.formats import _sizes as sizes
from delineate.image import SUFFIXES
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.tracks import ORDER, tracks

KEEPS = frozenset({"masks", "holes", "parts", "overlaps", "ids", "class order", "empty pictures", "videos"})
"""What ``read(write(dataset))`` preserves, and the split of a video whose frames all have one. Pictures are named by
their number."""
SUFFIX = ""

_KINDS = ("_manual", "_auto")
_LAST_FRAME = 1_000_000


class _Content(msgspec.Struct):
    video_height: float
    video_width: float
    masklet: list[list[coco_json.Rle]]
    masklet_id: list[int]
    video_id: str = ""
    video_split: str = ""
    masklet_type: list[str] = []
    masklet_stability_score: list[Any] = []


def sniff(path: str | Path) -> bool:
    """Whether it is a JSON object with "masklet" and "masklet_id", or a folder whose first JSON file is one.

    Args:
        path: Any file or folder.
    """
    return {"masklet", "masklet_id"} <= json_parts.keys(path).keys()


def read(path: str | Path) -> Dataset:
    """Read one file, or all of a folder.

    Records are the annotated frames, video by video; ``Record.frame`` is the place in the list, the id is
    ``"VIDEO/FRAME"``. Videos are called by their "video_id", or by their files where several share one (manual
    and auto). Objects are there where they have pixels. ``extras["attributes"]`` says "type" and, if known,
    "stability_score".

    Args:
        path: The file or folder.

    Raises:
        FormatError: There is no such file, or it does not fit; the message names the place.
    """
    root, files = json_parts.chosen(path, "JSON file of masklets")
    table = class_table.read(root)
    contents = [coco_json.load(file, _Content) for file in files]
    names = [content.video_id or file.stem for file, content in zip(files, contents, strict=True)]
    shared = {name for name, count in Counter(names).items() if count > 1}
    records: list[Record] = []
    for file, content, name in zip(files, contents, names, strict=True):
        records += _frames(file, content, file.stem if name in shared else name, table)
    return Dataset(tuple(records), table.classes)


def _frames(file: Path, content: _Content, video: str, table: class_table.ClassTable) -> Iterator[Record]:
    size = sizes.checked(file, "video_height", content.video_height, content.video_width)
    ids = content.masklet_id
    if len(set(ids)) < len(ids) or any(abs(id_) >= 2**63 for id_ in ids):
        raise FormatError(file, "masklet_id", "ids must be different and fit 64 bits.")
    labels = table.labels(video, [str(id_) for id_ in ids])
    pictures = _numbered(file)
    for n, shapes in enumerate(content.masklet):
        where = f"masklet[{n}]"
        if len(shapes) != len(ids):
            text = f"frame must have a mask for each of {len(ids)} ids, got {len(shapes)}."
            raise FormatError(file, where, text)
        try:
            masks = Masks.from_rle([dict(shape) for shape in shapes], size)
        except (ValueError, TypeError, OverflowError) as error:
            raise FormatError(file, where, f"{str(error).rstrip('.')}.") from error
        seen = np.flatnonzero(masks.areas)
        texts = [json.dumps(_attributes(content, n, int(place)), ensure_ascii=False) for place in seen]
        extras: dict[str, Any] = {"attributes": np.array(texts, np.str_), ORDER: seen.astype(np.int64)}
        found = Instances.of(masks, labels, ids=np.array(ids, np.int64), extras={})[seen]
        found = found.replace(extras=extras if texts else {})
        split = content.video_split or None
        yield Record(pictures.get(n), size, found, f"{video}/{n:05}", {}, video, n, split)


def _attributes(content: _Content, frame: int, place: int) -> dict[str, object]:
    """What is said of one object in one frame."""
    said: dict[str, object] = {}
    if place < len(content.masklet_type):
        said["type"] = content.masklet_type[place]
    scores = content.masklet_stability_score
    row = scores[frame] if frame < len(scores) else None
    if isinstance(row, list) and place < len(row) and isinstance(row[place], int | float):
        said["stability_score"] = row[place]
    return said


def _numbered(file: Path) -> dict[int, Path]:
    """The pictures in the folder of a file's video."""
    stems = (file.stem, *(file.stem.removesuffix(kind) for kind in _KINDS))
    folder = next((file.parent / stem for stem in stems if (file.parent / stem).is_dir()), None)
    if folder is None:
        return {}
    named = ((item.stem, item) for item in sorted(folder.iterdir()) if item.suffix.lower() in SUFFIXES)
    return {int(stem): item for stem, item in named if stem.isdecimal() and len(stem) <= 9}


def write(dataset: Dataset, path: str | Path, *, pictures: _pictures.Placing = "link") -> None:
    """Write VIDEO_manual.json, the pictures in VIDEO/, and classes.json; the folder appears in one step.

    Frames before and between those of a video are there, without objects. Objects without track ids get numbers that
    are free in their video.

    Args:
        dataset: What to write; every record is a frame of a video.
        path: The folder; it must be new or empty.
        pictures: "link" and "copy" put the pictures into the folders of the videos; "leave" leaves that to you.

    Raises:
        FormatError: A picture is missing, frames of a video differ in size, or a video cannot name a file.
        FileExistsError: There is something in the folder.
        ValueError: A record belongs to no video, or masks are missing.
    """
    path = Path(path)
    _pictures.need_frames("sav", dataset)
    objects: dict[str, dict[str, int]] = {}
    with atomic.writing_folder(path) as root:
        for video, frames in dataset.videos().items():
            name = _pictures.folder_name(path, str(video))
            content, objects[name] = _masklets(path, name, list(frames))
            (root / f"{name}{_KINDS[0]}.json").write_bytes(coco_write.encode(content))
            for record in frames:
                if record.path is not None:
                    target = root / name / f"{record.frame:05}{record.path.suffix.lower()}"
                    _pictures.place(record.path, target, pictures)
        class_table.write(root, dataset.classes, objects, always=not objects)


def _masklets(path: Path, name: str, frames: Sequence[Record]) -> tuple[dict[str, Any], dict[str, int]]:
    """The content of a file, and the class of each object."""
    size, last = frames[0].size, frames[-1].frame or 0
    if {record.size for record in frames} != {size}:
        raise FormatError(path, name, "frames of a video must have one size, got several.")
    splits = {record.split for record in frames}
    if last > _LAST_FRAME:
        raise FormatError(path, name, f"frames must be at most {_LAST_FRAME}, got {last}.")
    found = tracks([r.replace(instances=r.instances.replace(scores=None, crowd=None)) for r in frames])
    nothing = Masks.empty(size)
    blank = Masks.concat([nothing, Masks.from_counts([size[0] * size[1]], [0, 1], size)]).to_rle()[0]
    rows = [[blank] * len(found.ids) for _ in range(last + 1)]
    areas = np.zeros((last + 1, len(found.ids)), np.int64)
    kinds = ["manual"] * len(found.ids)
    scores: list[list[float | None]] = [[None] * len(found.ids) for _ in range(last + 1)]
    for record, places in zip(frames, found.rows, strict=True):
        masks = record.instances.masks or nothing
        at = record.frame or 0
        texts = record.instances.extras.get("attributes")
        for n, (place, rle) in enumerate(zip(places.tolist(), masks.to_rle(), strict=True)):
            rows[at][place], areas[at, place] = rle, masks.areas[n]
            said = {} if texts is None else json.loads(str(texts[n]))
            kinds[place] = said["type"] if isinstance(said.get("type"), str) else kinds[place]
            scores[at][place] = said.get("stability_score")
    scored = any(score is not None for row in scores for score in row)
    content = {
        "video_id": name,
        "video_height": float(size[0]),
        "video_width": float(size[1]),
        "video_resolution": float(size[0] * size[1]),
        "video_split": (frames[0].split if len(splits) == 1 else None) or "",
        "masklet": rows,
        "masklet_id": found.ids.tolist(),
        "masklet_num": len(found.ids),
        "masklet_type": kinds,
        "masklet_stability_score": scores if scored else [None] * len(found.ids),
        "masklet_frame_count": [last + 1] * len(found.ids),
    }
    labels = {str(id_): label for id_, label in zip(found.ids.tolist(), found.labels.tolist(), strict=True)}
    return content | _summary(areas, size), labels


def _summary(areas: NDArray[np.int64], size: tuple[int, int]) -> dict[str, list[float]]:
    """What SA-V says of each masklet: first frame, changes of visibility after it, mean area where it is visible."""
    seen = areas > 0
    changes = (seen[1:] != seen[:-1]).sum(axis=0) - (seen.any(axis=0) & ~seen[0])
    mean = areas.sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    return {
        "masklet_first_appeared_frame": seen.argmax(axis=0).astype(float).tolist(),
        "masklet_visibility_changes": changes.tolist(),
        "masklet_size_abs": mean.round(10).tolist(),
        "masklet_size_rel": (mean / (size[0] * size[1])).round(10).tolist(),
    }
