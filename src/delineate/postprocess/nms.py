"""Non-maximum suppression: of objects that overlap too much, the one with the highest score stays.

Greedy for boxes (`nms`) and masks (`mask_nms`); with scores that fall instead of objects that go (`soft_nms`,
`matrix_nms`); and all of them on `Instances` (`suppress`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from delineate._native import _core
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.pairs import Pairs, overlaps

Decay = Literal["gaussian", "linear"]
"""How a score falls with the IoU."""


def nms(
    boxes: ArrayLike, scores: ArrayLike, threshold: float, labels: ArrayLike | None = None
) -> NDArray[np.int64]:
    """The boxes that stay, by falling score; of equal scores the lower index comes first.

    Args:
        boxes: (N, 4) x0, y0, x1, y1, finite; used as float32. A box without area overlaps nothing.
        scores: (N,) without NaN.
        threshold: 0 to 1; a box goes when its IoU (float32) with one that stays is above it.
        labels: (N,) whole numbers; boxes of different labels leave each other alone.

    Returns:
        (K,) indices into `boxes`.

    >>> nms([[0, 0, 4, 4], [0, 0, 4, 5], [6, 0, 9, 4]], [0.5, 0.9, 0.7], threshold=0.5)
    array([1, 2])
    """
    corners = np.ascontiguousarray(boxes, np.float32)
    if corners.size == 0:
        corners = corners.reshape(0, 4)
    if corners.ndim != 2 or corners.shape[1] != 4:
        raise ValueError(f"nms: boxes must have shape (N, 4), got {corners.shape}.")
    if not np.isfinite(corners).all():
        raise ValueError(f"nms: boxes must be finite, got {corners[~np.isfinite(corners)][0]}.")
    flat = corners.ravel()
    order, classes = best_first(scores, len(corners)), check_labels(labels, len(corners))
    threshold = check_threshold(threshold)
    return _label_by_label(order, classes, lambda group: _core.boxes_nms(flat, group, threshold))


def mask_nms(
    masks: Masks, scores: ArrayLike, threshold: float, labels: ArrayLike | None = None
) -> NDArray[np.int64]:
    """The masks that stay, by falling score; of equal scores the lower index comes first.

    Args:
        masks: N masks; one without pixels overlaps nothing.
        scores: (N,) without NaN.
        threshold: 0 to 1; a mask goes when its IoU with one that stays is above it.
        labels: (N,) whole numbers; masks of different labels leave each other alone.

    Returns:
        (K,) indices into `masks`.

    >>> masks = Masks.from_counts([0, 4, 4, 0, 5, 3, 6, 2], [0, 3, 6, 8], (2, 4))
    >>> mask_nms(masks, [0.5, 0.9, 0.7], threshold=0.5)
    array([1, 2])
    """
    order, classes = best_first(scores, len(masks)), check_labels(labels, len(masks))
    threshold = check_threshold(threshold)
    if classes is None:
        return _core.masks_nms(masks.runs, order, threshold).view(np.int64)

    def within(group: NDArray[np.int64]) -> NDArray[np.int64]:
        return group[_core.masks_nms(masks[group].runs, np.arange(len(group)), threshold)]

    return _label_by_label(order, classes, within)


def soft_nms(
    objects: Masks | ArrayLike,
    scores: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    decay: Decay = "gaussian",
    sigma: float = 0.5,
    threshold: float = 0.3,
) -> NDArray[np.float64]:
    """Scores that fall for every better object that overlaps (Bodla et al., 2017, "Soft-NMS").

    The best object is final; the scores of those left are multiplied by exp(-IoU ** 2 / sigma) or, where IoU >=
    threshold, by 1 - IoU; and so on with the best of those left. Of equal scores the lower index comes first.

    Args:
        objects: N masks, or (N, 4) boxes x0, y0, x1, y1.
        scores: (N,) finite, at least 0.
        labels: (N,) whole numbers; objects of different labels leave each other alone.
        decay: "gaussian" or "linear".
        sigma: Above 0, of the gaussian; the smaller, the stricter.
        threshold: 0 to 1, of the linear decay.

    Returns:
        (N,) new scores, in the order of `objects`. Cut them where the old ones would be cut.

    >>> soft_nms([[0, 0, 4, 4], [0, 0, 4, 5], [6, 0, 9, 4]], [0.5, 0.9, 0.7], decay="linear").round(2)
    array([0.1, 0.9, 0.7])
    """
    found, values = _scored_pairs(objects, scores, labels)
    iou = found.value
    if decay == "linear":
        threshold = check_threshold(threshold)
        factors = np.where(iou >= threshold, 1 - iou, 1.0)
    else:
        factors = np.exp(-(iou**2) / _check_gaussian(decay, sigma))
    offsets, others, order = neighbours(found, len(values))
    return _core.soften(values, offsets, others, np.concatenate([factors, factors])[order])


def matrix_nms(
    objects: Masks | ArrayLike,
    scores: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    decay: Decay = "gaussian",
    sigma: float = 0.5,
) -> NDArray[np.float64]:
    """Scores that fall as matrix NMS has them (Wang et al., 2020, "SOLOv2", section 3.3).

    Object j is multiplied by the smallest f(IoU of i and j) / f(largest IoU of i with one better than i) of all
    i that are better than j; f is exp(-IoU ** 2 / sigma), or 1 - IoU. All at once, unlike `soft_nms`. Of equal
    scores the lower index is the better.

    Args:
        objects: N masks, or (N, 4) boxes x0, y0, x1, y1.
        scores: (N,) finite, at least 0.
        labels: (N,) whole numbers; objects of different labels leave each other alone.
        decay: "gaussian" or "linear".
        sigma: Above 0, of the gaussian, as in the paper; the authors' code calls its inverse sigma (2).

    Returns:
        (N,) new scores, in the order of `objects`.

    >>> matrix_nms([[0, 0, 4, 4], [0, 0, 4, 5], [6, 0, 9, 4]], [0.5, 0.9, 0.7], decay="linear").round(2)
    array([0.1, 0.9, 0.7])
    """
    found, values = _scored_pairs(objects, scores, labels)
    ranks = np.empty(len(values), np.int64)
    ranks[np.argsort(-values, kind="stable")] = np.arange(len(values))
    swap = ranks[found.first] > ranks[found.second]
    better, worse = (
        np.where(swap, *sides) for sides in ((found.second, found.first), (found.first, found.second))
    )
    most = np.zeros(len(values))
    np.maximum.at(most, worse, found.value)
    if decay == "linear":
        # One that is suppressed wholly says nothing: what suppresses it is there too.
        left = 1 - most[better]
        share = np.divide(1 - found.value, left, out=np.ones(len(left)), where=left > 0)
    else:
        share = np.exp((most[better] ** 2 - found.value**2) / _check_gaussian(decay, sigma))
    factors = np.ones(len(values))
    np.minimum.at(factors, worse, share)
    return values * factors


def suppress(
    instances: Instances,
    method: Literal["greedy", "soft", "matrix"] = "greedy",
    *,
    threshold: float = 0.5,
    decay: Decay = "gaussian",
    sigma: float = 0.5,
    min_score: float = 0.0,
    agnostic: bool = False,
) -> Instances:
    """Instances without those that others of their label overlap too much, by falling score.

    Overlap is that of the masks, or of the boxes where there are no masks.

    Args:
        instances: N scored instances.
        method: "greedy" as `nms` and `mask_nms`; "soft" as `soft_nms` and "matrix" as `matrix_nms`, which change
            the scores.
        threshold: 0 to 1; of "greedy", and of "soft" with linear decay.
        decay: Of "soft" and "matrix".
        sigma: Of the gaussian decay.
        min_score: Instances with a lower score are left out, after "soft" and "matrix" changed it.
        agnostic: Instances of different labels suppress each other too.

    >>> boxes = [[0, 0, 4, 4], [0, 0, 4, 5], [6, 0, 9, 4]]
    >>> found = Instances((10, 10), boxes, [0, 0, 1], [0.5, 0.9, 0.7])
    >>> suppress(found).scores, suppress(found, "soft", min_score=0.1).scores.round(2)
    (array([0.9, 0.7], dtype=float32), array([0.9 , 0.7 , 0.14], dtype=float32))
    """
    scores, objects = scored_objects(instances)
    labels = None if agnostic else instances.labels
    if method == "greedy":
        if isinstance(objects, Masks):
            kept = instances[mask_nms(objects, scores, threshold, labels)]
        else:
            kept = instances[nms(objects, scores, threshold, labels)]
    elif method == "soft":
        new = soft_nms(objects, scores, labels, decay=decay, sigma=sigma, threshold=threshold)
        kept = instances.replace(scores=new.astype(np.float32))
    elif method == "matrix":
        new = matrix_nms(objects, scores, labels, decay=decay, sigma=sigma)
        kept = instances.replace(scores=new.astype(np.float32))
    else:
        raise ValueError(f'suppress: method must be "greedy", "soft" or "matrix", got {method!r}.')
    values = np.asarray(kept.scores)
    order = np.argsort(-values, kind="stable")
    return kept[order[values[order] >= min_score]]


def scored_objects(instances: Instances) -> tuple[NDArray[np.float32], Masks | NDArray[np.float32]]:
    """Scores, and masks or else boxes, of instances that must be scored."""
    if instances.scores is None:
        raise ValueError("nms: instances must have scores, got none. Ground truth is not suppressed.")
    return instances.scores, instances.boxes if instances.masks is None else instances.masks


def neighbours(found: Pairs, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Pairs within one set from both sides: object i meets others[offsets[i]:offsets[i + 1]].

    Returns:
        (N + 1,) offsets; (2 P,) others; and (2 P,) where each came from: entry k < P from pair k, else from
        pair k - P.
    """
    owners = np.concatenate([found.first, found.second])
    order = np.argsort(owners, kind="stable").astype(np.int64)
    offsets = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(owners, minlength=count), out=offsets[1:])
    return offsets, np.concatenate([found.second, found.first])[order], order


def best_first(scores: ArrayLike, count: int) -> NDArray[np.int64]:
    """Indices of `count` scores by falling score, of equals the lower first; refuses NaN.

    >>> best_first([0.5, 0.9, 0.5], 3)
    array([1, 0, 2])
    """
    values = np.asarray(scores)
    if values.size == 0:
        values = values.reshape(-1).astype(np.float32)
    if values.shape != (count,) or values.dtype.kind not in "iuf":
        raise ValueError(f"nms: scores must be {count} numbers, got {values.dtype} {values.shape}.")
    if np.isnan(values).any():
        at = int(np.flatnonzero(np.isnan(values))[0])
        raise ValueError(f"nms: scores must be numbers, got NaN at index {at}.")
    return np.argsort(-values.astype(np.float64), kind="stable").astype(np.int64)


def check_labels(labels: ArrayLike | None, count: int) -> NDArray[Any] | None:
    """(N,) whole numbers, or None."""
    if labels is None:
        return None
    classes = np.asarray(labels)
    if classes.shape != (count,) or (classes.size and classes.dtype.kind not in "iu"):
        raise ValueError(f"nms: labels must be {count} whole numbers, got {classes.dtype} {classes.shape}.")
    return classes


def check_threshold(threshold: float) -> float:
    """A number within 0 to 1."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"nms: threshold must be within 0 to 1, got {threshold}.")
    return float(threshold)


def _check_gaussian(decay: str, sigma: float) -> float:
    if decay != "gaussian":
        raise ValueError(f'nms: decay must be "gaussian" or "linear", got {decay!r}.')
    if not 0 < sigma < np.inf:
        raise ValueError(f"nms: sigma must be above 0, got {sigma}.")
    return sigma


def _label_by_label(
    order: NDArray[np.int64],
    labels: NDArray[Any] | None,
    keep: Callable[[NDArray[np.int64]], NDArray[np.int64]],
) -> NDArray[np.int64]:
    """What `keep` leaves of each label's objects, which it is given best first."""
    if labels is None:
        return keep(order).view(np.int64)
    kept = np.zeros(len(order), np.bool_)
    by_label = order[np.argsort(labels[order], kind="stable")]
    for group in np.split(by_label, np.flatnonzero(np.diff(labels[by_label])) + 1):
        kept[keep(np.ascontiguousarray(group))] = True
    return order[kept[order]]


def _scored_pairs(
    objects: Masks | ArrayLike, scores: ArrayLike, labels: ArrayLike | None
) -> tuple[Pairs, NDArray[np.float64]]:
    """The overlapping pairs of one label, and the scores; all checked."""
    found = overlaps(objects)
    count = len(objects) if isinstance(objects, Masks) else len(np.asarray(objects))
    best_first(scores, count)
    values = np.ascontiguousarray(scores, np.float64).reshape(count)
    if not ((values >= 0) & (values < np.inf)).all():
        odd = values[(values < 0) | np.isinf(values)][0]
        raise ValueError(f"nms: scores must be finite and at least 0 where they are multiplied, got {odd}.")
    classes = check_labels(labels, count)
    if classes is None:
        return found, values
    same = classes[found.first] == classes[found.second]
    return Pairs(found.first[same], found.second[same], found.value[same]), values
