"""Random pairs of label maps, truth and prediction, by numpy alone."""

import numpy as np


def label_maps(seed: int, size=(40, 50)) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) uint16 each: touching objects, splits, merges, shifts, misses, gaps in the labels; sometimes nothing."""
    rng = np.random.default_rng(seed)
    truth, found = np.zeros(size, np.uint16), np.zeros(size, np.uint16)
    for label in rng.permutation(60)[: rng.choice([0, 1, 12, 30])] + 1:
        y, x = rng.integers(0, size[0] - 4), rng.integers(0, size[1] - 4)
        height, width = rng.integers(2, 12, 2)
        truth[y : y + height, x : x + width] = label
        kind = rng.choice(["same", "shift", "half", "merge", "miss"], p=[0.3, 0.35, 0.1, 0.1, 0.15])
        dy, dx = rng.integers(-2, 3, 2) if kind == "shift" else (0, 0)
        y, x = max(0, y + dy), max(0, x + dx)
        if kind != "miss":
            found[y : y + height, x : x + width] = 70 - label if kind != "merge" else 99
        if kind == "half":
            found[y : y + height, x : x + width // 2] = 100 + label
    if rng.random() < 0.1:
        found[:] = 0
    return truth, found
