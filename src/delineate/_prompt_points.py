"""Points and boxes of a user as the decoder of a promptable network takes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def tokens(
    points: ArrayLike | None, labels: ArrayLike | None, boxes: ArrayLike | None, scale: tuple[float, float]
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Points with corners of boxes as the decoder takes them, (P, N, 2) and (P, N), in pixels of the input.

    Args:
        points: As `PromptPredictor.predict` takes them, like `labels` and `boxes`.
        labels: Of the points.
        boxes: Corners.
        scale: Pixels of the input per pixel of the picture, along x and y.

    >>> tokens(None, None, [0, 0, 8, 4], (0.5, 0.5))
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
    elif coords:  # the decoder was trained with a point that is none wherever there is no box
        coords.append(np.zeros((len(coords[0]), 1, 2)))
        kinds.append(np.full((len(kinds[0]), 1), -1, np.float32))
    if not coords:
        return None, None
    if len({len(part) for part in coords}) > 1:
        raise ValueError(
            "PromptPredictor.predict: points and boxes must be of as many prompts, "
            f"got {' and '.join(str(len(part)) for part in coords)}"
        )
    whole = np.concatenate(coords, 1)
    if not np.isfinite(whole).all():
        raise ValueError("PromptPredictor.predict: points and boxes must be finite")
    whole[np.concatenate(kinds, 1) >= 0] *= scale
    return whole.astype(np.float32), np.concatenate(kinds, 1)
