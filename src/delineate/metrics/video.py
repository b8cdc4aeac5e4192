"""Average precision of tracks, as YouTube-VIS defines it (Yang et al., Video Instance Segmentation, ICCV 2019).

It is COCO's protocol with videos for pictures and tracks for objects: the intersection and the union of two
tracks are summed over all frames, and a track's area is its mean over the frames where it has any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from delineate._native import _core
from delineate.dataset import Dataset, Record
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.metrics import ap
from delineate.metrics._protocol import protocol
from delineate.metrics.columns import FIELDS, Columns, Fields, Flags, Floats, Ints, class_lookup
from delineate.tracks import Tracks, tracks

VIDEO_AREA_RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"all": (0.0, 1e10), "small": (0.0, 16384.0), "medium": (16384.0, 65536.0), "large": (65536.0, 1e10)}
)
"""Mean areas of tracks in pixels, both ends included; 128 x 128 and 256 x 256 are the borders."""


def evaluate_videos(
    truth: Dataset,
    predictions: Dataset,
    *,
    fields: Fields = FIELDS,
    max_detections: Sequence[int] = (1, 10, 100),
    thresholds: Iterable[float] = ap.THRESHOLDS,
    recalls: Iterable[float] = ap.RECALLS,
    area_ranges: Mapping[str, tuple[float, float]] = VIDEO_AREA_RANGES,
) -> ap.Report:
    """YouTube-VIS average precision and recall of tracks, equal to its reference evaluation to the last bit.

    Records are matched by id and grouped by ``Record.video``; classes are matched by name, tracks are
    ``Instances.ids``. A predicted track has one score in all of its frames. A detection on a crowd is ignored
    (its overlap is the ordinary one, unlike in COCO). Equal scores and overlaps keep the order of tracks (see
    `delineate.tracks.tracks`), and of video ids between videos. The file formats of this package keep the order
    of the file.

    Args:
        truth: What is right. N = 0 everywhere gives an undefined report (-1).
        predictions: What was found, with scores.
        fields: Names of the extras to use, see `Fields`. The area of a track is the mean of ``fields.area`` (or
            else of its masks' areas) over the frames where that is not 0.
        max_detections: Limits on the tracks of one class in one video.
        thresholds: IoU thresholds in (0, 1].
        recalls: Recall levels in [0, 1], ascending.
        area_ranges: Name -> (least, greatest) area in pixels, both included.

    Returns:
        The report; its ``pictures`` are videos, its ``objects`` and ``detections`` tracks.

    Raises:
        ValueError: The datasets do not belong together, records belong to no video, masks or scores are missing,
            or a track changes its class or score.

    >>> from delineate.masks import Masks
    >>> part = Instances.of(Masks.from_dense(np.ones((1, 4, 4), bool)), ids=[7])
    >>> there = [Record(None, (4, 4), part, n, {}, "a", n) for n in range(4)]
    >>> seen = [record.replace(instances=part.replace(scores=[0.9])) for record in there[:3]]
    >>> report = evaluate_videos(Dataset(there, ["cell"]), Dataset(seen, ["cell"]))
    >>> report.ar_100, report.recall[:, 0, 0, -1].tolist()
    (0.6, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    """
    rules = protocol(thresholds, recalls, area_ranges, max_detections)
    lookup, notices = class_lookup("evaluate_videos", truth.classes, predictions.classes)
    videos = paired_videos("evaluate_videos", truth, predictions)
    known = _Side.of([video.truth for video in videos], fields)
    found = _Side.of([video.found for video in videos], fields)
    if len(found.labels) and not found.scored:
        raise ValueError(
            "evaluate_videos: predictions must have scores, got None. Pass truth first, predictions second"
        )
    lost = known.lost & ~known.crowd
    if lost.any():
        notices.append(
            f"{int(lost.sum())} true tracks have the annotation id 0; a track matched to one of them counts as "
            "false, as in the reference. Number annotations from 1."
        )
    labels = lookup[found.labels]
    places = [
        np.repeat(np.arange(len(videos)) * max(1, len(truth.classes)), np.diff(s.offsets))
        for s in (known, found)
    ]
    table = Columns(
        ids=tuple(video.name for video in videos),
        truths=_core.Truths(
            known.offsets,
            known.labels,
            known.areas,
            known.crowd.astype(np.uint8),
            known.lost.astype(np.uint8),
        ),
        detections=_core.Detections(found.offsets, labels, found.scores, found.areas),
        overlap=_core.tube_overlap(
            known.masks, known.tube_of, len(known.labels), found.masks, found.tube_of, len(found.labels)
        ),
        truth_cells=(places[0] + known.labels)[~known.crowd],
        detection_cells=(places[1] + labels)[labels >= 0],
        notices=tuple(notices),
    )
    return ap.report(table, rules, iou="mask", classes=truth.classes, unit="videos")


@dataclass(frozen=True)
class Video:
    """One video with its true and its predicted frames, in frame order; equally many of both."""

    name: int | str
    truth: tuple[Record, ...]
    found: tuple[Record, ...]


def paired_videos(where: str, truth: Dataset, predictions: Dataset) -> list[Video]:
    """The videos of two datasets side by side, in the order of their ids, numbers before names.

    Frames are those of the truth; one without a prediction record has no detections.

    Args:
        where: Name of the caller, for messages.
        truth: What is right; every record belongs to a video.
        predictions: What was found; records are matched by id.

    Raises:
        ValueError: A record belongs to no video or is unknown to the truth, or sizes differ.
    """
    stray = [record.id for record in truth if record.video is None]
    if stray:
        raise ValueError(
            f"{where}: records of truth must be frames of a video, got {stray[0]!r}. Set video and frame"
        )
    by_id = {record.id: record for record in predictions}
    unknown = by_id.keys() - {record.id for record in truth}
    if unknown:
        raise ValueError(
            f"{where}: predictions must be about records of truth, got {len(unknown)} unknown ids, such as "
            f"{min(unknown, key=str)!r}"
        )

    def match(record: Record) -> Record:
        found = by_id.get(record.id)
        if found is None:
            return record.replace(instances=Instances.empty(record.size, scored=True))
        if found.size != record.size:
            raise ValueError(
                f"{where}: predictions of record {record.id!r} must have the size of its truth {record.size}, "
                f"got {found.size}"
            )
        return found

    def order(name: int | str) -> tuple[bool, int, str]:
        return (False, name, "") if isinstance(name, int) else (True, 0, name)

    groups = truth.videos()
    return [
        Video(name, groups[name].records, tuple(map(match, groups[name])))
        for name in sorted(groups, key=order)
    ]


@dataclass(frozen=True)
class _Side:
    """All tracks of one dataset, video after video, and all masks, frame after frame."""

    offsets: Ints
    labels: Ints
    scores: Floats
    scored: bool
    crowd: Flags
    areas: Floats
    lost: Flags
    masks: tuple[_core.Runs, ...]
    tube_of: Ints

    @classmethod
    def of(cls, videos: Sequence[Sequence[Record]], fields: Fields) -> _Side:
        found = [tracks(frames) for frames in videos]
        offsets = np.concatenate(
            [np.zeros(1, np.int64), np.cumsum([len(one) for one in found], dtype=np.int64)]
        )
        items = [record.instances for frames in videos for record in frames]
        for item in items:
            if len(item) and item.masks is None:
                raise ValueError("evaluate_videos: tracks must have masks, got boxes only.")
        pairs = list(zip(videos, found, strict=True))
        return cls(
            offsets,
            np.concatenate([np.zeros(0, np.int64), *(one.labels for one in found)]),
            np.concatenate([np.zeros(0), *(_scores(frames, one, fields) for frames, one in pairs)]),
            all(one.scores is not None for one in found if len(one)),
            np.concatenate([np.zeros(0, np.bool_), *(one.crowd for one in found)]),
            np.concatenate([np.zeros(0), *(_areas(frames, one, fields) for frames, one in pairs)]),
            np.concatenate([np.zeros(0, np.bool_), *(_lost(frames, one, fields) for frames, one in pairs)]),
            tuple((Masks.empty(item.size) if item.masks is None else item.masks).runs for item in items),
            np.concatenate(
                [np.zeros(0, np.int64)]
                + [rows + start for one, start in zip(found, offsets, strict=False) for rows in one.rows]
            ),
        )


def _begins(frames: Sequence[Record], found: Tracks, name: str | None) -> Iterator[float | None]:
    """An extra of each track in its first frame, None where there is none."""
    for frame, row in found.first.tolist():
        values = None if name is None else frames[frame].instances.extras.get(name)
        yield None if values is None or values.ndim != 1 else float(values[row])


def _scores(frames: Sequence[Record], found: Tracks, fields: Fields) -> Floats:
    """Scores with all bits of the file, where that has rounded to the instances' own."""
    if found.scores is None:
        return np.zeros(len(found))
    kept = _begins(frames, found, fields.score)
    return np.array(
        [
            float(own) if exact is None or np.float32(exact) != own else exact
            for own, exact in zip(found.scores, kept, strict=True)
        ],
        np.float64,
    )


def _lost(frames: Sequence[Record], found: Tracks, fields: Fields) -> Flags:
    return np.array([value == 0 for value in _begins(frames, found, fields.id)], np.bool_)


def _areas(frames: Sequence[Record], found: Tracks, fields: Fields) -> Floats:
    """Mean over the frames where there is any area, in the order of frames: as the reference sums it."""
    parts = [np.zeros(0)]
    for record in frames:
        item = record.instances
        given = None if fields.area is None else item.extras.get(fields.area)
        own = np.zeros(len(item)) if item.masks is None else item.masks.areas
        parts.append((own if given is None or given.shape != own.shape else given).astype(np.float64))
    values = np.concatenate(parts)
    owner = np.concatenate([np.zeros(0, np.int64), *found.rows])
    kept = np.flatnonzero(values)
    kept = kept[np.argsort(owner[kept], kind="stable")]
    bounds = np.searchsorted(owner[kept], np.arange(1, len(found)))
    return np.array(
        [part.mean() if len(part) else 0.0 for part in np.split(values[kept], bounds)][: len(found)],
        np.float64,
    )
