"""One set of instances out of several: those of other models, other scales, flipped pictures.

Weighted boxes fusion (Solovyev et al., 2019), and the same for masks: finds of one object vote for its pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from delineate._native import _core
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.postprocess.nms import check_threshold

_LARGEST_WEIGHT = 1e100  # times any float32 score, summed over any number of finds: still finite


def fuse(
    sets: Sequence[Instances],
    threshold: float = 0.55,
    *,
    weights: ArrayLike | None = None,
    agnostic: bool = False,
) -> Instances:
    """Fuse the finds of several models on one picture, by falling score.

    Best weighted score first (weight of the model times score; of equals the earlier set, then the lower index),
    each find joins the cluster of its label whose fused shape it overlaps best, with an IoU above the threshold,
    or begins a new one. The fused shape of a cluster is

    - of masks: the pixels on which finds with at least half of the cluster's weighted scores agree;
    - of boxes, where there are no masks: the mean of the corners, weighted by the weighted scores.

    The score of a cluster is the mean weighted score times min(models, finds) over the sum of the models'
    weights: an object that one of three models found gets a third of its score.

    Args:
        sets: The scored instances that each of S >= 1 models found, all of one size, with scores of at least 0;
            all with masks or none.
        threshold: 0 to 1.
        weights: (S,) above 0 and at most 1e100, how much each model counts; all 1 by default.
        agnostic: Finds of different labels are fused too; the best one's label stays.

    Returns:
        Instances with boxes (tight ones where there are masks), labels, scores and masks.

    >>> one = Instances((9, 9), [[0, 0, 4, 4], [5, 5, 9, 9]], [0, 1], [0.8, 0.6])
    >>> two = Instances((9, 9), [[0, 0, 4, 5]], [0], [0.8])
    >>> fused = fuse([one, two])
    >>> fused.boxes, fused.scores
    (array([[0. , 0. , 4. , 4.5],
           [5. , 5. , 9. , 9. ]], dtype=float32), array([0.8, 0.3], dtype=float32))
    """
    shares = _check_weights(weights, len(sets))
    threshold = check_threshold(threshold)
    if any(part.scores is None for part in sets):
        raise ValueError("fuse: sets must have scores, got a set without. Ground truth is not fused.")
    plain = [Instances(p.size, p.boxes, p.labels, p.scores, masks=p.masks) for p in sets]
    every = Instances.concat(plain)
    scores = np.asarray(every.scores, np.float64)
    if (scores < 0).any():
        raise ValueError(f"fuse: scores must be at least 0, got {scores.min()}.")
    votes = scores * np.repeat(shares, [len(part) for part in sets])
    order = np.argsort(-votes, kind="stable").astype(np.int64)
    labels = np.zeros_like(every.labels) if agnostic else every.labels
    masks, boxes = None, np.empty(0)
    if every.masks is not None:
        clusters, runs = _core.masks_fuse(every.masks.runs, order, labels, votes, threshold)
        masks = Masks(runs)
    else:
        corners = every.boxes.astype(np.float64).ravel()
        clusters, boxes = _core.boxes_fuse(corners, order, labels, votes, threshold)
    count = int(clusters.max()) + 1 if len(clusters) else 0
    members = np.bincount(clusters, minlength=count)
    fused = np.bincount(clusters, votes, count) / members * np.minimum(members, len(sets)) / shares.sum()
    firsts = np.empty(count, np.int64)
    firsts[clusters[order[::-1]]] = order[::-1]
    rows = np.argsort(-fused, kind="stable")
    chosen = every.labels[firsts[rows]], fused[rows].astype(np.float32)
    if masks is not None:
        return Instances.of(masks[rows], *chosen)
    return Instances(every.size, boxes.reshape(-1, 4)[rows].astype(np.float32), *chosen)


def _check_weights(weights: ArrayLike | None, count: int) -> NDArray[np.float64]:
    if count == 0:
        raise ValueError("fuse: sets must be at least one set of instances, got none.")
    if weights is None:
        return np.ones(count)
    shares = np.asarray(weights, np.float64)
    if shares.shape != (count,) or not ((shares > 0) & (shares <= _LARGEST_WEIGHT)).all():
        raise ValueError(
            f"fuse: weights must be {count} numbers above 0 (to {_LARGEST_WEIGHT:g}), one for each set, "
            f"got {weights!r}."
        )
    return shares
