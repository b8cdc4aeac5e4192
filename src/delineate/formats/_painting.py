"""Masks painted over each other, as label maps have them. Serves every format whose objects cannot overlap."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from delineate import algebra
from delineate.errors import FormatError
from delineate.masks import Masks

_log = logging.getLogger("delineate")


def hidden(masks: Masks) -> int:
    """How many masks lose pixels when they are painted in their order, or have none.

    Args:
        masks: In the order of painting: later ones are on top.

    >>> hidden(Masks.from_counts([0, 3, 1, 1, 3], [0, 3, 5], (1, 4)))
    1
    """
    shown = algebra.resolve_overlaps(masks).areas
    return int(((shown < masks.areas) | (shown == 0)).sum())


def fitting(path: Path, video: object, ids: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Numbers of 1 to `most` for track ids: those that fit stay, the others get free ones, and the log says so.

    Args:
        path: What is written, for messages.
        video: The video, for messages.
        ids: (N,) all different.
        most: The largest number.

    Raises:
        FormatError: There are more than `most`.

    >>> fitting(Path("out"), "v", np.array([0, 2, 7]), 9)
    array([1, 2, 7])
    """
    if len(ids) > most:
        raise FormatError(
            path, str(video), f"tracks must be at most {most}, got {len(ids)}. Use youtube_vis or coco."
        )
    fits = (ids >= 1) & (ids <= most)
    if fits.all():
        return ids
    found = ids.copy()
    found[~fits] = np.setdiff1d(np.arange(1, most + 1), ids[fits])[: int((~fits).sum())]
    _log.warning(
        "%s: %s: %d track ids are not 1 to %d; they get other numbers", path, video, (~fits).sum(), most
    )
    return found
