"""From the logits of semantic and panoptic networks to class maps, parts of them, and panoptic pictures.

`combine` is the rule of Panoptic Feature Pyramid Networks (Kirillov et al. 2019, arXiv:1901.02446, section 4) as
detectron2 (Apache-2.0) computes it: things over stuff, certain things over doubtful ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from delineate import algebra
from delineate.instances import Instances
from delineate.intensity import intensities
from delineate.panoptic import Panoptic
from delineate.postprocess.decode import Placement

_CELLS = 1 << 22  # logits at picture size that exist at a time


class ClassMap(NamedTuple):
    """The likeliest class of every pixel.

    Attributes:
        classes: (H, W) int32, index of the class; of equals the first.
        scores: (H, W) float32, its probability.
    """

    classes: NDArray[np.int32]
    scores: NDArray[np.float32]


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What becomes a segment of a panoptic picture.

    >>> Rules(stuff_area=64)
    Rules(score=0.5, overlap=0.5, stuff_area=64)
    """

    score: float = 0.5  # objects that score less are left out
    overlap: float = 0.5  # and so are those of which better ones cover more than this share
    stuff_area: int = 4096  # stuff needs at least so many pixels

    def __post_init__(self) -> None:
        if not 0 <= self.score <= 1 or not 0 <= self.overlap <= 1 or self.stuff_area < 0:
            raise ValueError(
                "Rules: score and overlap must be within [0, 1] and stuff_area at least 0, "
                f"got {self.score}, {self.overlap}, {self.stuff_area}"
            )


def class_map(
    logits: NDArray[Any], *, placement: Placement, input_size: Sequence[int], size: Sequence[int]
) -> ClassMap:
    """The likeliest class of every picture pixel, from logits at a stride.

    Logits are interpolated bilinearly to the network's input, the picture's part is cut out and interpolated
    bilinearly to the picture, as the references do. No more than a band of the picture's logits exists at once.

    Args:
        logits: (C, h, w) or (1, C, h, w) floats, of the whole input.
        placement: Where the picture lies in the input.
        input_size: (height, width) of the input.
        size: (height, width) of the picture.

    Raises:
        ValueError: A shape does not fit, or a logit is not finite.

    >>> logits = np.float32([[[9, 0], [0, 0]], [[0, 9], [9, 9]]])
    >>> where = Placement(0.5, 0.5, 0, 0)
    >>> class_map(logits, placement=where, input_size=(2, 2), size=(4, 4)).classes
    array([[0, 0, 1, 1],
           [0, 0, 1, 1],
           [1, 1, 1, 1],
           [1, 1, 1, 1]], dtype=int32)
    """
    cells = np.asarray(logits)
    cells = cells[0] if cells.ndim == 4 and len(cells) == 1 else cells
    if cells.ndim != 3 or not cells.size or cells.dtype.kind != "f" or not np.isfinite(cells).all():
        raise ValueError(
            f"class_map: logits must be finite (C, h, w) floats, got {cells.dtype} {cells.shape}"
        )
    cells = cells.astype(np.float32, copy=False)
    scales = placement.scale_y, placement.scale_x
    starts = int(placement.top), int(placement.left)
    (rows, columns), (height, width) = (
        tuple(
            _stretch(
                cells.shape[1 + axis], int(input_size[axis]), starts[axis], scales[axis], int(size[axis])
            )
            for axis in range(2)
        ),
        (int(size[0]), int(size[1])),
    )
    across = cells @ columns.T  # (C, h, W)
    classes, scores = np.empty((height, width), np.int32), np.empty((height, width), np.float32)
    step = max(1, _CELLS // (len(cells) * width))
    for top in range(0, height, step):
        band = np.tensordot(rows[top : top + step], across, (1, 1))  # (rows, C, W)
        best = band.max(1)
        classes[top : top + step] = band.argmax(1)
        np.exp(band - best[:, None], out=band)
        scores[top : top + step] = 1 / band.sum(1)
    return ClassMap(classes, scores)


def parts(found: ClassMap, *, background: int | None = 0) -> Instances:
    """The connected parts of a class map as instances: what a semantic network can say of objects.

    Objects of one class that touch, even at a corner, are one instance.

    Args:
        found: The class map.
        background: A class that is no object; None = every class counts.

    Returns:
        By falling score, the mean probability under the part; ties by class, then column by column.

    >>> classes = np.array([[0, 2, 0, 2]], np.int32)
    >>> parts(ClassMap(classes, np.array([[1, 0.5, 1, 0.75]], np.float32))).scores
    array([0.75, 0.5 ], dtype=float32)
    """
    masks, values = algebra.from_label_map((found.classes + 1).astype(np.uint32))
    pieces, owners = algebra.components(masks)
    labels = values.astype(np.int64)[owners] - 1
    if background is not None:
        pieces, labels = pieces[labels != background], labels[labels != background]
    scores = intensities(pieces, found.scores).mean.astype(np.float32)
    order = np.argsort(-scores, kind="stable")
    return Instances.of(pieces[order], labels[order], scores[order])


def combine(things: Instances, semantic: ClassMap, stuff: ArrayLike, rules: Rules | None = None) -> Panoptic:
    """One panoptic picture of the objects and the class map of a network.

    By falling score (ties by position), an object takes those of its pixels that no better one has. It is left
    out when it scores less than `Rules.score`, when more than `Rules.overlap` of it is taken, or when nothing
    of it is left. Then each class of stuff, in the order of the semantic classes, takes the free pixels of the
    class map that are its own, if there are at least `Rules.stuff_area`. Other pixels are void.

    Args:
        things: Scored instances with masks.
        semantic: Class map of the same size.
        stuff: (K,) ints, what each semantic class is: the label of its segments, or -1 for classes that make no
            segment of their own (things, background).
        rules: None = `Rules()`, the published ones.

    Returns:
        Segments 1, 2, ... in the order in which they took their pixels. Scores are those of the objects; of
        stuff the mean probability of its pixels.

    Raises:
        ValueError: There are no masks or scores, sizes differ, or a class is not below K.

    >>> from delineate.masks import Masks
    >>> car = Instances.of(Masks.from_dense(np.array([[[1, 1, 0, 0]]], bool)), scores=[0.9])
    >>> sky = ClassMap(np.array([[1, 0, 1, 1]], np.int32), np.full((1, 4), 0.5, np.float32))
    >>> combine(car, sky, stuff=[-1, 7], rules=Rules(stuff_area=2)).map
    array([[1, 1, 2, 2]], dtype=int32)
    """
    rules = rules or Rules()
    labels_of = np.asarray(stuff)
    if things.masks is None or things.scores is None:
        raise ValueError("combine: things must have masks and scores")
    if semantic.classes.shape != things.size or semantic.scores.shape != things.size:
        raise ValueError(
            f"combine: semantic must have the size of things {things.size}, got {semantic.classes.shape}"
        )
    if labels_of.ndim != 1 or labels_of.dtype.kind not in "iu":
        raise ValueError(f"combine: stuff must be (K,) ints, got {labels_of.dtype} {labels_of.shape}")
    if semantic.classes.min() < 0 or semantic.classes.max() >= len(labels_of):
        raise ValueError(
            f"combine: stuff must have an entry for class {semantic.classes.max()}, got {len(labels_of)} entries"
        )
    canvas = np.zeros(things.size, np.int32)
    chosen = _paint(canvas, things, rules)
    free = canvas == 0
    counts = np.bincount(semantic.classes[free], minlength=len(labels_of))
    wanted = np.flatnonzero((labels_of >= 0) & (counts >= max(rules.stuff_area, 1)))
    numbers = np.zeros(len(labels_of), np.int32)
    numbers[wanted] = np.arange(len(chosen) + 1, len(chosen) + len(wanted) + 1)
    canvas[free] = numbers[semantic.classes[free]]
    sums = np.bincount(semantic.classes[free], semantic.scores[free], len(labels_of))[wanted]
    return Panoptic(
        canvas,
        np.arange(1, len(chosen) + len(wanted) + 1, dtype=np.int32),
        np.concatenate([things.labels[chosen], labels_of[wanted]]).astype(np.int64),
        np.arange(len(chosen) + len(wanted)) < len(chosen),
        scores=np.concatenate([things.scores[chosen], sums / counts[wanted]]).astype(np.float32),
    )


def _paint(canvas: NDArray[np.int32], things: Instances, rules: Rules) -> list[int]:
    """Objects onto an empty canvas, numbered from 1; gives their positions in that order."""
    chosen: list[int] = []
    masks, scores = things.masks, things.scores
    if masks is None or scores is None:
        return chosen
    areas = masks.areas
    for position in np.argsort(-scores, kind="stable").tolist():
        if scores[position] < rules.score:
            break
        if not areas[position]:
            continue
        y0, x0, shape = masks.crop(position)
        under = canvas[y0 : y0 + shape.shape[0], x0 : x0 + shape.shape[1]]
        free = shape & (under == 0)
        left = int(np.count_nonzero(free))
        if not left or (areas[position] - left) / areas[position] > rules.overlap:
            continue
        chosen.append(position)
        under[free] = len(chosen)
    return chosen


def _stretch(cells: int, side: int, start: int, scale: float, length: int) -> NDArray[np.float32]:
    """(length, cells): the weights of cells in picture pixels along one axis.

    Both interpolations in one matrix, which has at most four entries in a row where the picture is no smaller
    than its part of the input.
    """
    content = round(length * scale)
    if cells < 1 or length < 1 or content < 1 or not 0 <= start <= side - content:
        raise ValueError(
            f"class_map: the picture's {length} pixels must lie in the input's {side}, "
            f"got {content} from {start} on"
        )
    return _bilinear(content, length) @ _bilinear(cells, side)[start : start + content]


def _bilinear(source: int, target: int) -> NDArray[np.float32]:
    """(target, source): bilinear interpolation between pixel centres, constant beyond the outermost ones."""
    at = np.clip((np.arange(target) + 0.5) * (source / target) - 0.5, 0, source - 1)
    low = np.minimum(at.astype(np.int64), max(source - 2, 0))
    weights = np.zeros((target, source), np.float32)
    rows = np.arange(target)
    weights[rows, low] = 1 - (at - low)
    weights[rows, np.minimum(low + 1, source - 1)] += at - low
    return weights
