"""One class in one video: tracks numbered, matched and counted. Serves `tracking`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from delineate._native import _core
from delineate.metrics.columns import Floats, Ints

# The very expression of TrackEval: 0.15 and others are neighbours of the decimal numbers.
ALPHAS: tuple[float, ...] = tuple(np.arange(0.05, 0.99, 0.05).tolist())
"""The 19 localisation thresholds of HOTA, 0.05 to 0.95."""
EPSILON = float(np.finfo("float").eps)


@dataclass(frozen=True, eq=False)
class Step:
    """One frame of one class: track ids of G objects and D detections, and their (G, D) overlap."""

    ids: Ints
    found: Ints
    overlap: Floats


def numbered(steps: Sequence[Step]) -> tuple[list[Step], int, int]:
    """Track ids as numbers from 0, and how many true and predicted tracks there are."""
    rows, count = _numbers([step.ids for step in steps])
    columns, found_count = _numbers([step.found for step in steps])
    overlaps = [step.overlap for step in steps]
    return [Step(*one) for one in zip(rows, columns, overlaps, strict=True)], count, found_count


def _numbers(frames: Sequence[Ints]) -> tuple[list[Ints], int]:
    values, inverse = np.unique(np.concatenate([np.zeros(0, np.int64), *frames]), return_inverse=True)
    ends = np.cumsum([len(ids) for ids in frames])
    return np.split(inverse.ravel(), ends[:-1]), len(values)


def assigned(gains: Floats) -> tuple[Ints, Ints]:
    """Rows and columns of the one-to-one assignment of the greatest total gain; gains of 0 are never taken."""
    columns = _core.assign(np.ascontiguousarray(gains, np.float64))
    rows = np.flatnonzero(columns >= 0)
    return rows, columns[rows]


def _lengths(steps: Sequence[Step], count: int, found_count: int) -> tuple[Floats, Floats]:
    """In how many frames each track is."""
    both = (([s.ids for s in steps], count), ([s.found for s in steps], found_count))
    lengths, found = (
        np.bincount(np.concatenate([np.zeros(0, np.int64), *ids]), minlength=n).astype(np.float64)
        for ids, n in both
    )
    return lengths, found


def hota(steps: Sequence[Step], count: int, found_count: int) -> Floats:
    lengths, found_lengths = _lengths(steps, count, found_count)
    together = np.zeros((count, found_count))
    for step in steps:  # how well tracks go together over the whole video, before anything is matched
        s = step.overlap
        whole = s.sum(0)[None, :] + s.sum(1)[:, None] - s
        share = np.divide(s, whole, out=np.zeros_like(s), where=whole > EPSILON)
        together[np.ix_(step.ids, step.found)] += share
    alignment = together / np.maximum(lengths[:, None] + found_lengths[None, :] - together, EPSILON)
    pairs: list[Ints] = [np.zeros(0, np.int64)]
    overlaps: list[Floats] = [np.zeros(0)]
    for step in steps:
        rows, columns = assigned(alignment[np.ix_(step.ids, step.found)] * step.overlap)
        pairs.append(step.ids[rows] * max(1, found_count) + step.found[columns])
        overlaps.append(step.overlap[rows, columns])
    pair, overlap = np.concatenate(pairs), np.concatenate(overlaps)
    matches = np.zeros((7, len(ALPHAS)))
    for a, alpha in enumerate(ALPHAS):
        near = overlap >= alpha - EPSILON
        keys, times = np.unique(pair[near], return_counts=True)
        own, other = lengths[keys // max(1, found_count)], found_lengths[keys % max(1, found_count)]
        hits = near.sum()
        sums = [(times * times / over).sum() for over in (own + other - times, own, other)]
        matches[:, a] = [hits, lengths.sum() - hits, found_lengths.sum() - hits, overlap[near].sum(), *sums]
    return matches


def clear(steps: Sequence[Step], count: int) -> tuple[Ints, float]:
    present, tracked, begun = np.zeros((3, count), np.int64)
    last = np.full(count, -1)  # the detection's track at the last match, for switches
    before = np.full(count, -1)  # and in the frame before, to be carried on and for fragments
    matched = missed = false = switches = 0
    total = 0.0
    for step in steps:
        present[step.ids] += 1
        if not len(step.ids) or not len(step.found):
            missed += len(step.ids)
            false += len(step.found)
            continue
        carried = step.found[None, :] == before[step.ids][:, None]
        gains = np.where(step.overlap >= 0.5 - EPSILON, 1000.0 * carried + step.overlap, 0)
        rows, columns = assigned(gains)
        ids, found = step.ids[rows], step.found[columns]
        switches += int(((last[ids] >= 0) & (last[ids] != found)).sum())
        tracked[ids] += 1
        begun[ids] += before[ids] < 0
        last[ids] = found
        before[:] = -1
        before[ids] = found
        matched += len(ids)
        missed += len(step.ids) - len(ids)
        false += len(step.found) - len(ids)
        total += float(step.overlap[rows, columns].sum())
    share = tracked[present > 0] / present[present > 0]
    most = int((share > 0.8).sum())
    part = int((share >= 0.2).sum()) - most
    fragments = int((begun[begun > 0] - 1).sum())
    counts = [matched, missed, false, switches, fragments, most, part, count - most - part]
    return np.array(counts, np.int64), total


def identity(steps: Sequence[Step], count: int, found_count: int) -> Ints:
    together = np.zeros((count, found_count))
    for step in steps:
        together[np.ix_(step.ids, step.found)] += step.overlap >= 0.5
    lengths, found_lengths = _lengths(steps, count, found_count)
    right = together[assigned(together)].sum()
    return np.array([right, lengths.sum() - right, found_lengths.sum() - right]).astype(np.int64)
