"""Corners of shapes that annotation tools describe otherwise. Serves the formats that have such shapes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_MAX_CORNERS = 10_000
_SAGITTA = 0.02  # pixels between a side and the arc that it stands for


def ellipse(x: float, y: float, radii: tuple[float, float], angle: float = 0.0) -> NDArray[np.float64]:
    """(K, 2) corners of an ellipse, none of its sides further than 0.02 pixels from the arc.

    Args:
        x: Of the centre, pixels.
        y: Of the centre, pixels.
        radii: Along the ellipse's own axes, at least 0.
        angle: By which it is turned, radians, from x towards y (clockwise as displayed).
    """
    count = min(_MAX_CORNERS, max(16, math.ceil(math.pi * math.sqrt(max(radii) / (2 * _SAGITTA)))))
    turns = np.arange(count) * (2 * math.pi / count)
    corners = np.stack([radii[0] * np.cos(turns), radii[1] * np.sin(turns)], axis=1)
    moved: NDArray[np.float64] = turned(corners, angle) + np.array([x, y])
    return moved


def rectangle(x: float, y: float, width: float, height: float, angle: float = 0.0) -> NDArray[np.float64]:
    """(4, 2) corners of a rectangle, turned about its first corner.

    Args:
        x: Of the first corner, pixels.
        y: Of the first corner, pixels.
        width: Along the rectangle's own first side.
        height: Along its second side.
        angle: By which it is turned, radians, from x towards y.
    """
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64)
    moved: NDArray[np.float64] = turned(corners, angle) + np.array([x, y])
    return moved


def turned(points: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """Points turned about the origin, from x towards y.

    Args:
        points: (K, 2) x, y.
        angle: Radians.
    """
    sine, cosine = math.sin(angle), math.cos(angle)
    found: NDArray[np.float64] = points @ np.array([[cosine, sine], [-sine, cosine]])
    return found
