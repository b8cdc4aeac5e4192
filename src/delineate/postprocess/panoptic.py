"""Panoptic pictures from the instances and the class map of a network.

`combine` is the rule of Panoptic Feature Pyramid Networks (Kirillov et al. 2019, arXiv:1901.02446, section 4) as
detectron2 (Apache-2.0) computes it: things over stuff, certain things over doubtful ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from delineate.instances import Instances
from delineate.panoptic import Panoptic
from delineate.postprocess.decode import Placement, Thresholds, crops
from delineate.postprocess.semantic import ClassMap, class_map


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


def panoptic(
    outputs: Sequence[NDArray[Any]],
    *,
    placement: Placement,
    size: Sequence[int],
    input_size: Sequence[int],
    thresholds: Thresholds,
    classes: int,
    rules: Rules | None = None,
    threads: int = 0,
) -> Panoptic:
    """The panoptic picture of a network that gives detections with small masks and logits of stuff.

    Args:
        outputs: Boxes, scores, labels and mask logits as `decode.crops` takes them, and logits (1, 1 + S, h, w)
            of the things all together and of S classes of stuff.
        placement: Where the picture lies in the input.
        size: (height, width) of the picture.
        input_size: (height, width) of the input.
        thresholds: Which detections are looked at.
        classes: C, classes of things.
        rules: What becomes a segment; None = `Rules()`.
        threads: Threads for the masks; 0 = as many as the process may use.

    Returns:
        Labels below C are things, C to C + S - 1 the stuff.

    Raises:
        ValueError: The shapes are not those.
    """
    things, semantic = halves(
        outputs,
        placement=placement,
        size=size,
        input_size=input_size,
        thresholds=thresholds,
        classes=classes,
        threads=threads,
    )
    return combine(things, semantic, stuff_labels(outputs, classes), rules)


def halves(
    outputs: Sequence[NDArray[Any]],
    *,
    placement: Placement,
    size: Sequence[int],
    input_size: Sequence[int],
    thresholds: Thresholds,
    classes: int,
    threads: int = 0,
) -> tuple[Instances, ClassMap]:
    """The objects and the class map that `combine` makes a panoptic picture of; arguments as `panoptic` has them.

    Raises:
        ValueError: The shapes are not those.
    """
    if len(outputs) != 5 or outputs[4].ndim < 3 or outputs[4].shape[-3] < 1:
        shapes = [array.shape for array in outputs]
        raise ValueError(
            f"panoptic: outputs must be those of `decode.crops` and logits of stuff, got {shapes}"
        )
    things = crops(
        outputs[:4], placement=placement, size=size, thresholds=thresholds, classes=classes, threads=threads
    )
    return things, class_map(outputs[4], placement=placement, input_size=input_size, size=size)


def stuff_labels(outputs: Sequence[NDArray[Any]], classes: int) -> NDArray[np.int64]:
    """(1 + S,) what each class of the map is: C and on, and -1 for the first, the things all together."""
    stuff = np.arange(outputs[4].shape[-3], dtype=np.int64) + classes - 1
    stuff[0] = -1
    return stuff


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
