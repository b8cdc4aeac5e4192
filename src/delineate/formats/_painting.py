"""Masks painted over each other, as label maps have them. Serves every format whose objects cannot overlap."""

from __future__ import annotations

from delineate import algebra
from delineate.masks import Masks


def hidden(masks: Masks) -> int:
    """How many masks lose pixels when they are painted in their order, or have none.

    Args:
        masks: In the order of painting: later ones are on top.

    >>> hidden(Masks.from_counts([0, 3, 1, 1, 3], [0, 3, 5], (1, 4)))
    1
    """
    shown = algebra.resolve_overlaps(masks).areas
    return int(((shown < masks.areas) | (shown == 0)).sum())
