"""The tracks of a video: which instances of its frames are one object."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from delineate.dataset import Record

ORDER = "track_order"
"""Name of the extra ((N,) int64) that says the order of tracks, where the frames alone leave it open."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Tracks:
    """T objects followed over F frames, each with one label, one score and one crowd flag throughout.

    Args:
        ids: (T,) int64, the track ids.
        labels: (T,) int64.
        scores: (T,) float32, or None for ground truth.
        crowd: (T,) bool.
        rows: F arrays (N,) int64: for each instance of the frame the number of its track, 0 to T - 1.
        first: (T, 2) int64, frame and row where the track begins.
    """

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32] | None
    crowd: NDArray[np.bool_]
    rows: tuple[NDArray[np.int64], ...]
    first: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Tracks({len(self)} in {len(self.rows)} frames)"


def tracks(frames: Sequence[Record]) -> Tracks:
    """The tracks of the frames of one video.

    Tracks come in the order of the extra `ORDER` where there is one; else so that every frame keeps the order
    of its instances, as far as the frames agree about it, and earlier tracks come first. An instance of a
    frame without ids is a track of its own, with an id after the greatest one.

    Args:
        frames: The records of one video, in frame order (``Dataset.videos``). N = 0 everywhere gives T = 0.

    Raises:
        ValueError: An id is twice in one frame, a track changes its label, score or crowd flag, or only some
            frames have scores.

    >>> from delineate.dataset import Record
    >>> from delineate.instances import Instances
    >>> one = Instances((4, 6), [[0, 0, 1, 1], [0, 0, 2, 2]], [3, 5], ids=[8, 4])
    >>> found = tracks([Record(None, (4, 6), part, n, {}, "a", n) for n, part in enumerate([one[1:], one])])
    >>> found.ids, found.labels, found.rows
    (array([8, 4]), array([3, 5]), (array([1]), array([0, 1])))
    """
    ids, places = _ids(frames), _places(frames)
    distinct, begin, number = np.unique(ids, return_index=True, return_inverse=True)
    number = number.ravel()
    columns: dict[str, NDArray[Any]] = {
        "label": _column(frames, "labels", 0, np.int64),
        "crowd flag": _column(frames, "crowd", False, np.bool_),
    }
    having = [frame.instances.scores is not None for frame in frames if len(frame.instances)]
    scored = any(having)
    if scored and not all(having):
        raise ValueError("tracks: scores must be given in all frames or in none, got them in some")
    if scored:
        columns["score"] = _column(frames, "scores", 0, np.float32)
    for name, values in columns.items():
        for row in np.flatnonzero(values != values[begin][number])[:1]:
            raise ValueError(
                f"tracks: {name} of track {ids[row]} must be the same in all frames, got {values[begin][number[row]]} "
                f"and {values[row]} (record {frames[places[row, 0]].id!r})"
            )
    chain = _order(frames, places, begin, number)
    rank = np.empty(len(chain), np.int64)
    rank[chain] = np.arange(len(chain))
    ends = np.cumsum([len(frame.instances) for frame in frames])
    at = begin[chain]
    return Tracks(
        distinct[chain],
        columns["label"][at],
        columns["score"][at] if scored else None,
        columns["crowd flag"][at],
        tuple(np.split(rank[number], ends[:-1])) if len(frames) else (),
        places[at],
    )


def _ids(frames: Sequence[Record]) -> NDArray[np.int64]:
    """The track id of every instance, frame after frame."""
    known = [frame.instances.ids for frame in frames if frame.instances.ids is not None]
    fresh = itertools.count(max((int(ids.max()) for ids in known if len(ids)), default=0) + 1)
    parts = [np.zeros(0, np.int64)]
    for frame in frames:
        ids = frame.instances.ids
        if ids is None:
            ids = np.array([next(fresh) for _ in range(len(frame.instances))], np.int64)
        elif len(np.unique(ids)) < len(ids):
            values, counts = np.unique(ids, return_counts=True)
            raise ValueError(
                f"tracks: ids must be unique in a frame, got {values[counts > 1][0]} twice in record {frame.id!r}"
            )
        parts.append(ids)
    return np.concatenate(parts)


def _places(frames: Sequence[Record]) -> NDArray[np.int64]:
    """(N, 2) frame and row of every instance."""
    rows = [(n, row) for n, frame in enumerate(frames) for row in range(len(frame.instances))]
    return np.array(rows, np.int64).reshape(-1, 2)


def _column(frames: Sequence[Record], name: str, absent: object, dtype: type[np.generic]) -> NDArray[Any]:
    parts: list[NDArray[Any]] = [np.zeros(0, dtype)]
    for frame in frames:
        values = getattr(frame.instances, name)
        parts.append(np.full(len(frame.instances), absent, dtype) if values is None else values)
    return np.concatenate(parts)


def _order(
    frames: Sequence[Record], places: NDArray[np.int64], begin: NDArray[np.int64], number: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Track numbers (as `number` has them) in the order in which tracks shall come."""
    full = [frame.instances for frame in frames if len(frame.instances)]
    given = [part.extras[ORDER] for part in full if ORDER in part.extras]
    if full and len(given) == len(full) and all(v.ndim == 1 and v.dtype.kind in "iu" for v in given):
        return np.lexsort((begin, np.concatenate(given)[begin]))
    following: list[list[int]] = [[] for _ in begin]
    waiting = np.zeros(len(begin), np.int64)
    for a, b in np.flatnonzero(places[1:, 0] == places[:-1, 0])[:, None] + np.arange(2):
        following[number[a]].append(int(number[b]))
        waiting[number[b]] += 1
    # Earliest track first among those that no frame puts behind a later one; a circle is broken at its earliest.
    ready = [(int(begin[n]), n) for n in np.flatnonzero(waiting == 0).tolist()]
    heapq.heapify(ready)
    rest = iter(np.argsort(begin).tolist())
    done = np.zeros(len(begin), np.bool_)
    chain: list[int] = []
    while len(chain) < len(begin):
        n = heapq.heappop(ready)[1] if ready else next(n for n in rest if not done[n])
        if done[n]:
            continue
        done[n] = True
        chain.append(n)
        for other in following[n]:
            waiting[other] -= 1
            if waiting[other] == 0 and not done[other]:
                heapq.heappush(ready, (int(begin[other]), other))
    return np.array(chain, np.int64)
