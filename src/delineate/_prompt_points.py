"""Points and boxes of a user as the decoder of a promptable network takes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from delineate._prompt_pictures import Conventions


def tokens(
    points: ArrayLike | None,
    labels: ArrayLike | None,
    boxes: ArrayLike | None,
    scale: tuple[float, float],
    conventions: Conventions,
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Points with corners of boxes as the decoder takes them, (P, N, 2) and (P, N), in pixels of the input.

    Args:
        points: As `PromptPredictor.predict` takes them, like `labels` and `boxes`.
        labels: Of the points.
        boxes: Corners.
        scale: Pixels of the input per pixel of the picture, along x and y.
        conventions: What the model understands.

    >>> tokens(None, None, [0, 0, 8, 4], (0.5, 0.5), Conventions())
    (array([[[0., 0.],
            [4., 2.]]], dtype=float32), array([[2., 3.]], dtype=float32))
    """
    if (points is None) != (labels is None):
        raise ValueError("PromptPredictor.predict: points and labels must come together")
    coords, kinds = [], []
    if points is not None and labels is not None:
        xy, signs = np.asarray(points, np.float64), np.asarray(labels, np.float32)
        xy, signs = (xy[None] if xy.ndim == 2 else xy), (signs[None] if signs.ndim == 1 else signs)
        if xy.shape != (*signs.shape, 2) or signs.ndim != 2:
            raise ValueError(
                "PromptPredictor.predict: points must have shape (N, 2) or (P, N, 2) with labels (N,) or (P, N), "
                f"got {np.shape(points)} and {np.shape(labels)}"
            )
        if not np.isin(signs, (-1, 0, 1)).all():
            raise ValueError(f"PromptPredictor.predict: labels must be 1, 0 or -1, got {np.unique(signs)}")
        if not conventions.negative and (signs == 0).any():
            raise ValueError(
                "PromptPredictor.predict: labels must be 1 or -1, as this model knows no points outside of the "
                "object, got 0. Draw a box or click on a part of the object instead"
            )
        coords.append(xy)
        kinds.append(signs)
    if boxes is not None:
        corners = np.asarray(boxes, np.float64)
        if corners.ndim not in (1, 2) or corners.shape[-1] != 4:
            raise ValueError(
                f"PromptPredictor.predict: boxes must have shape (4,) or (P, 4), got {corners.shape}"
            )
        corners = corners.reshape(-1, 4)
        coords.append(corners.reshape(-1, 2, 2))
        kinds.append(np.tile(np.array([2, 3], np.float32), (len(corners), 1)))
    if not coords:
        return None, None
    if conventions.ending == "unboxed" and boxes is None:
        coords.append(np.zeros((len(coords[0]), 1, 2)))
        kinds.append(np.full((len(kinds[0]), 1), -1, np.float32))
    if len({len(part) for part in coords}) > 1:
        raise ValueError(
            "PromptPredictor.predict: points and boxes must be of as many prompts, "
            f"got {' and '.join(str(len(part)) for part in coords)}"
        )
    whole, signs = np.concatenate(coords, 1), np.concatenate(kinds, 1)
    if not np.isfinite(whole).all():
        raise ValueError("PromptPredictor.predict: points and boxes must be finite")
    whole[signs >= 0] *= scale
    if conventions.points is not None and signs.shape[1] > conventions.points:
        whole, signs = _fewer(whole, signs, conventions.points)
    return whole.astype(np.float32), signs


def _fewer(
    coords: NDArray[np.float64], kinds: NDArray[np.float32], most: int
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Prompts of at most so many points, without the ones that are none where they are too many."""
    given = int((kinds >= 0).sum(1).max(initial=0))
    if given > most:
        raise ValueError(
            f"PromptPredictor.predict: points must be at most {most} for this model, where a box counts as two, "
            f"got {given}. Leave some out"
        )
    order = np.argsort(kinds < 0, axis=1, kind="stable")[:, :most]
    return np.take_along_axis(coords, order[..., None], 1), np.take_along_axis(kinds, order, 1)
