"""Rings that cross themselves, many at a time. Serves `check`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

_BLOCK = 1 << 19  # pairs of edges compared at a time
_MOST = 1 << 26  # pairs of a call; rings whose edges all overlap would take forever


def crossing(rings: Sequence[Points]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(N,) whether two edges of each ring cross properly, touching is no crossing; and (N,) whether that is unknown.

    Edges of a ring are compared where they overlap along x, so time follows the number of edges for rings that do
    not run to and fro. After 67 million comparisons the rest is not looked at.

    Args:
        rings: N times (K, 2) finite x, y, without the first point at the end.

    >>> bow = np.array([[0, 0], [2, 2], [2, 0], [0, 2]], float)
    >>> crossing([bow, bow[[0, 2, 1, 3]]])
    (array([ True, False]), array([False, False]))
    """
    found, unknown = np.zeros((2, len(rings)), bool)
    if not len(rings):
        return found, unknown
    owner = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    a = np.concatenate(rings)
    b = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    low, high = np.minimum(a, b), np.maximum(a, b)
    order = np.lexsort((low[:, 0], owner))
    owner = owner[order]
    a, b, low, high = (values[order] for values in (a, b, low, high))
    done = 0
    for stop, i, j in _pairs(owner, low[:, 0], high[:, 0]):
        done = stop
        near = (low[i, 1] <= high[j, 1]) & (low[j, 1] <= high[i, 1])
        near &= ~found[owner[i]]
        i, j = i[near], j[near]
        apart = _turn(a[i], b[i], a[j]) * _turn(a[i], b[i], b[j]) < 0
        across = _turn(a[j], b[j], a[i]) * _turn(a[j], b[j], b[i]) < 0
        found[owner[i[apart & across]]] = True
    unknown[owner[done:]] = True
    return found, unknown & ~found


def _pairs(
    owner: NDArray[np.int64], low: Points, high: Points
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """Edges i < j of one ring that overlap along x, and how many edges are done with them.

    Edges come ring by ring, by rising `low`.
    """
    values, ranks = np.unique(np.concatenate([low, high]), return_inverse=True)
    keys = owner * len(values) + ranks.reshape(2, -1)
    until = np.searchsorted(keys[0], keys[1], side="right")  # the first edge behind the end of each
    counts = until - np.arange(len(owner)) - 1
    ends = np.cumsum(counts)
    begin = 0
    while begin < len(owner) and (begin == 0 or ends[begin - 1] < _MOST):
        done = int(ends[begin - 1]) if begin else 0
        stop = max(begin + 1, int(np.searchsorted(ends, done + _BLOCK, side="right")))
        i = np.repeat(np.arange(begin, stop), counts[begin:stop])
        j = (
            np.arange(len(i))
            - np.repeat(ends[begin:stop] - counts[begin:stop] - done, counts[begin:stop])
            + i
            + 1
        )
        yield stop, i, j
        begin = stop


def _turn(a: Points, b: Points, c: Points) -> Points:
    """The sign of the turn a, b, c."""
    u, v = b - a, c - a
    turn: Points = np.sign(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
    return turn
