"""How well objects are followed: HOTA, CLEAR and identity measures, counted as TrackEval does.

HOTA: Luiten et al., HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking, IJCV 2021. CLEAR:
Bernardin and Stiefelhagen, Evaluating Multiple Object Tracking Performance, 2008; its soft form for masks
(sMOTSA): Voigtlaender et al., MOTS, CVPR 2019. Identity: Ristani et al., Performance Measures and a Data Set for
Multi-Target, Multi-Camera Tracking, 2016.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from delineate import boxes
from delineate.dataset import Dataset, Record
from delineate.instances import Instances
from delineate.metrics import _track_counts as counts
from delineate.metrics._track_counts import ALPHAS
from delineate.metrics.columns import Flags, Floats, Ints, Kind, class_lookup
from delineate.metrics.video import paired_videos

IGNORE = "ignore"
"""The class whose crowds are ignore regions for objects of every class, as in MOTS files."""


@dataclass(frozen=True, eq=False, repr=False)
class Tracking:
    """What was counted in some videos; the sum of two is that of both together. Ratios of nothing are 0 (loca: 1).

    Args:
        matches: (7, 19), a row each, at each of `ALPHAS`: matched detections; true objects without a match;
            detections without a match; sum of the IoU of matches; sums over matches of the IoU of their two
            tracks (counted in matches), of the share of the true track, of the share of the predicted track.
        clear: Matched, missed and false detections at IoU 0.5 with tracks carried on, switches of identity,
            fragmentations, and tracks that are mostly tracked (over 80 % of frames), partly, mostly lost (under
            20 %): eight ints.
        overlap: Sum of the IoU of the matches in `clear`.
        identity: Detections on the right track, missed and false ones, after an optimal assignment of whole
            tracks: three ints.
    """

    matches: Floats
    clear: Ints
    overlap: float
    identity: Ints

    @classmethod
    def sum(cls, parts: Iterable[Tracking]) -> Tracking:
        """Several together; none give zeros.

        Args:
            parts: What to add up.
        """
        rows = list(parts)
        return cls(
            np.sum([np.zeros((7, len(ALPHAS))), *(row.matches for row in rows)], axis=0),
            np.sum([np.zeros(8, np.int64), *(row.clear for row in rows)], axis=0),
            float(np.sum([row.overlap for row in rows])),
            np.sum([np.zeros(3, np.int64), *(row.identity for row in rows)], axis=0),
        )

    @property
    def curves(self) -> Mapping[str, Floats]:
        """(19,) each, over `ALPHAS`: hota, deta, assa, detre, detpr, assre, asspr, loca."""
        matched, missed, false, located, associated, recall, precision = self.matches
        some = np.maximum(1, matched)
        deta = matched / np.maximum(1, matched + missed + false)
        assa = associated / some
        return MappingProxyType(
            {
                "hota": np.sqrt(deta * assa),
                "deta": deta,
                "assa": assa,
                "detre": matched / np.maximum(1, matched + missed),
                "detpr": matched / np.maximum(1, matched + false),
                "assre": recall / some,
                "asspr": precision / some,
                "loca": np.maximum(1e-10, located) / np.maximum(1e-10, matched),
            }
        )

    @property
    def hota(self) -> float:
        """Mean HOTA over `ALPHAS`: the geometric mean of detection and association accuracy."""
        return float(self.curves["hota"].mean())

    @property
    def mota(self) -> float:
        """(tp - fp - switches) / objects; on masks it is called MOTSA. May be negative."""
        tp, missed, false, switches = self.clear[:4].tolist()
        return float((tp - false - switches) / (tp + missed)) if tp + missed else 0.0

    @property
    def smota(self) -> float:
        """(sum of IoU - fp - switches) / objects; on masks it is called sMOTSA."""
        tp, missed, false, switches = self.clear[:4].tolist()
        return float((self.overlap - false - switches) / (tp + missed)) if tp + missed else 0.0

    @property
    def motp(self) -> float:
        """Mean IoU of matches at IoU 0.5; on masks it is called MOTSP."""
        return float(self.overlap / max(1, self.clear[0]))

    @property
    def idf1(self) -> float:
        """Tp / (tp + fp / 2 + fn / 2) of identities."""
        tp, missed, false = self.identity.tolist()
        return float(tp / max(1.0, tp + 0.5 * false + 0.5 * missed))

    @property
    def idp(self) -> float:
        """Precision of identities."""
        tp, _, false = self.identity.tolist()
        return float(tp / max(1, tp + false))

    @property
    def idr(self) -> float:
        """Recall of identities."""
        tp, missed, _ = self.identity.tolist()
        return float(tp / max(1, tp + missed))

    def as_dict(self) -> dict[str, float | int]:
        """All numbers as plain values; curves as their mean."""
        means = {name: float(curve.mean()) for name, curve in self.curves.items()}
        names = ("tp", "fn", "fp", "switches", "fragments", "mostly_tracked", "partly_tracked", "mostly_lost")
        numbers = dict(zip(names, self.clear.tolist(), strict=True))
        ids = dict(zip(("idtp", "idfn", "idfp"), self.identity.tolist(), strict=True))
        ratios = {name: getattr(self, name) for name in ("mota", "smota", "motp", "idf1", "idp", "idr")}
        return means | ratios | numbers | ids

    def __repr__(self) -> str:
        return f"Tracking(HOTA {self.hota:.4f}, MOTA {self.mota:.4f}, IDF1 {self.idf1:.4f})"


@dataclass(frozen=True, eq=False, repr=False)
class TrackingReport:
    """What `evaluate_tracking` found.

    Args:
        iou: "mask" or "box".
        parts: (class, video) -> what was counted there; only classes with objects or detections.
        notices: What a reader of the numbers must know, in words; empty if there is nothing.
    """

    iou: Kind
    parts: Mapping[tuple[str, int | str], Tracking]
    notices: tuple[str, ...]

    @property
    def all(self) -> Tracking:
        """All classes and videos together (TrackEval: averaged over detections)."""
        return Tracking.sum(self.parts.values())

    @property
    def classes(self) -> dict[str, Tracking]:
        """Each class over all videos."""
        return self._groups(0)

    @property
    def videos(self) -> dict[int | str, Tracking]:
        """Each video over all classes."""
        return self._groups(1)

    def _groups(self, place: int) -> dict[Any, Tracking]:
        names = dict.fromkeys(key[place] for key in self.parts)
        return {
            name: Tracking.sum(p for key, p in self.parts.items() if key[place] == name) for name in names
        }

    def as_dict(self) -> dict[str, object]:
        """All numbers as plain values, ready for JSON."""
        return {
            "iou": self.iou,
            "all": self.all.as_dict(),
            "classes": [{"name": name, **part.as_dict()} for name, part in self.classes.items()],
            "videos": [{"name": name, **part.as_dict()} for name, part in self.videos.items()],
            "notices": list(self.notices),
        }

    def __repr__(self) -> str:
        return f"TrackingReport({self.iou}, {self.all!r})"


def evaluate_tracking(truth: Dataset, predictions: Dataset, *, iou: Kind = "mask") -> TrackingReport:
    """HOTA, CLEAR and identity measures of tracks, equal to TrackEval's (to rounding).

    Records are matched by id and grouped by ``Record.video``; classes are matched by name and evaluated one by
    one. Crowds of the truth are ignore regions for their class (those of the class "ignore" for every class): a
    detection that matches nothing at IoU 0.5 and lies in them by more than half is left out. Scores have no
    effect: choose the detections before. Where two assignments of one frame are equally good, TrackEval may
    take the other.

    Args:
        truth: What is right, with track ids.
        predictions: What was found, with track ids.
        iou: What overlaps: "mask" or "box".

    Raises:
        ValueError: The datasets do not belong together, records belong to no video, ids or masks are missing.

    >>> from delineate.masks import Masks
    >>> part = Instances.of(Masks.from_dense(np.ones((1, 4, 4), bool)), ids=[7])
    >>> there = [Record(None, (4, 4), part, n, {}, "a", n) for n in range(4)]
    >>> seen = [record.replace(instances=part.replace(ids=[record.frame // 2])) for record in there]
    >>> report = evaluate_tracking(Dataset(there, ["cell"]), Dataset(seen, ["cell"]))
    >>> report.all
    Tracking(HOTA 0.7071, MOTA 0.7500, IDF1 0.5000)
    """
    if iou not in ("mask", "box"):
        raise ValueError(f'evaluate_tracking: iou must be "mask" or "box", got {iou!r}')
    lookup, notices = class_lookup("evaluate_tracking", truth.classes, predictions.classes)
    ignore = [label for label, name in enumerate(truth.classes) if name == IGNORE]
    parts: dict[tuple[int, int | str], Tracking] = {}
    for video in paired_videos("evaluate_tracking", truth, predictions):
        frames = [_frame(*pair, lookup, iou) for pair in zip(video.truth, video.found, strict=True)]
        present = [frame.labels[~frame.crowd] for frame in frames] + [frame.found_labels for frame in frames]
        for label in np.unique(np.concatenate([np.zeros(0, np.int64), *present])).tolist():
            if label >= 0:  # -1: a predicted class that the truth does not know
                parts[label, video.name] = _counted([_step(frame, [label, *ignore], iou) for frame in frames])
    named = {
        (truth.classes[label], name): parts[label, name] for label, name in sorted(parts, key=lambda k: k[0])
    }
    return TrackingReport(iou, MappingProxyType(named), tuple(notices))


@dataclass(frozen=True, eq=False)
class _Frame:
    """One frame with G true objects and D detections, of all classes."""

    truth: Instances
    found: Instances
    labels: Ints
    found_labels: Ints
    crowd: Flags
    overlap: Floats  # (G, D)


def _frame(known: Record, seen: Record, lookup: Ints, iou: Kind) -> _Frame:
    truth, found = known.instances, seen.instances
    crowd = np.zeros(len(truth), np.bool_) if truth.crowd is None else truth.crowd
    for name, item, needed in (
        ("truth", truth, ~crowd),
        ("predictions", found, np.ones(len(found), np.bool_)),
    ):
        if needed.any() and item.ids is None:
            raise ValueError(
                f"evaluate_tracking: {name} must have track ids, got none in record {known.id!r}"
            )
        if iou == "mask" and len(item) and item.masks is None:
            raise ValueError(f'evaluate_tracking: {name} must have masks, got boxes only. Pass iou="box"')
    if not len(truth) or not len(found):
        overlap = np.zeros((len(truth), len(found)))
    elif truth.masks is not None and found.masks is not None and iou == "mask":
        overlap = truth.masks.iou(found.masks)
    else:
        overlap = boxes.iou(truth.boxes.astype(np.float64), found.boxes.astype(np.float64))
    return _Frame(truth, found, truth.labels, lookup[found.labels], crowd, overlap)


def _step(frame: _Frame, labels: Sequence[int], iou: Kind) -> counts.Step:
    """The objects of labels[0] and the detections of it that are no excused ones; all labels may excuse."""
    rows = np.flatnonzero((frame.labels == labels[0]) & ~frame.crowd)
    columns = np.flatnonzero(frame.found_labels == labels[0])
    excusing = np.flatnonzero(frame.crowd & np.isin(frame.labels, labels))
    if len(excusing) and len(columns):
        overlap = frame.overlap[np.ix_(rows, columns)]
        # As many matches as possible go first, then overlap, as in TrackEval.
        gains = np.where(overlap >= 0.5 - counts.EPSILON, overlap + 10000, 0)
        free = np.ones(len(columns), np.bool_)
        free[counts.assigned(gains)[1]] = False
        columns = columns[~(free & (_within(frame, excusing, columns, iou) > 0.5 + counts.EPSILON))]
    empty = np.zeros(0, np.int64)
    ids = empty if frame.truth.ids is None else frame.truth.ids[rows]
    found = empty if frame.found.ids is None else frame.found.ids[columns]
    for name, values in (("truth", ids), ("predictions", found)):
        if len(np.unique(values)) < len(values):
            twice = next(value for value in values.tolist() if (values == value).sum() > 1)
            raise ValueError(f"evaluate_tracking: ids of {name} must be unique in a frame, got {twice} twice")
    return counts.Step(ids, found, frame.overlap[np.ix_(rows, columns)])


def _counted(steps: Sequence[counts.Step]) -> Tracking:
    """All measures of one class in one video."""
    known, count, found_count = counts.numbered(steps)
    clear, overlap = counts.clear(known, count)
    hota = counts.hota(known, count, found_count)
    return Tracking(hota, clear, overlap, counts.identity(known, count, found_count))


def _within(frame: _Frame, regions: Ints, columns: Ints, iou: Kind) -> Floats:
    """How much of each detection lies in the regions: in all of them together (masks), or in one of them (boxes)."""
    found, truth = frame.found[columns], frame.truth[regions]
    if found.masks is not None and truth.masks is not None and iou == "mask":
        return found.masks.iou(truth.masks.union(), crowd=[True])[:, 0]
    low = np.maximum(found.boxes[:, None, :2], truth.boxes[None, :, :2]).astype(np.float64)
    high = np.minimum(found.boxes[:, None, 2:], truth.boxes[None, :, 2:]).astype(np.float64)
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    areas = np.prod(found.boxes[:, 2:].astype(np.float64) - found.boxes[:, :2], axis=1)
    share: Floats = (shared / np.where(areas > 0, areas, np.inf)[:, None]).max(axis=1)
    return share
