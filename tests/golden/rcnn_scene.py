"""A scene for the losses of two-stage detectors, from formulas alone: objects, anchors, proposals, outputs of heads."""

import numpy as np

SIZE = (96, 128)
CLASSES = 3
OBJECTS = [  # one list per picture; the third has none
    [(8, 10, 40, 50), (30, 30, 78, 90), (90.5, 5.25, 110, 30)],
    [(60, 20, 120, 80)],
    [],
]
LABELS = [[0, 2, 1], [1], []]


def wave(*shape, seed=0.0, scale=1.0):
    """Numbers in [-scale, scale] without a generator."""
    count = int(np.prod(shape))
    values = np.sin(np.arange(count) * 1.7 + seed) * np.cos(np.arange(count) * 0.31 + 2 * seed)
    return (scale * values).reshape(shape).astype(np.float32)


def anchors():
    """(A, 4) of three shapes at two scales on a grid."""
    found = []
    for stride, size in ((8, 24), (16, 56)):
        for y in range(0, SIZE[0], stride):
            for x in range(0, SIZE[1], stride):
                for ratio in (0.5, 1.0, 2.0):
                    height, width = size * ratio**0.5 / 2, size / ratio**0.5 / 2
                    found.append((x - width, y - height, x + width, y + height))
    return np.array(found, np.float32)


def proposals(picture):
    """(n, 4): near the objects and elsewhere."""
    found = []
    for index, box in enumerate(OBJECTS[picture]):
        jitter = wave(12, 4, seed=index + picture, scale=9)
        found += list(np.array(box, np.float32) + jitter)
    corners = np.abs(wave(20, 2, seed=picture + 5.0, scale=60))
    found += list(np.concatenate((corners, corners + 12 + np.abs(wave(20, 2, seed=3.0, scale=30))), 1))
    return np.array(found, np.float32).reshape(-1, 4)


def masks(picture):
    """(N, H, W) bool: an ellipse in every box, the second one with a hole."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    found = []
    for index, (x0, y0, x1, y1) in enumerate(OBJECTS[picture]):
        distance = ((columns - (x0 + x1) / 2) / (x1 - x0)) ** 2 + ((rows - (y0 + y1) / 2) / (y1 - y0)) ** 2
        found.append((distance <= 0.25) & ~((index == 1) & (distance < 0.03)))
    return np.array(found, bool).reshape(-1, *SIZE)
