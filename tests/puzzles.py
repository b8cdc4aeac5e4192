"""Small random datasets with everything that evaluation tends to get wrong, and their overlaps from dense masks."""

import numpy as np

from delineate import Dataset, Instances, Masks, Record

SIZE = (9, 11)


def scene(seed, classes=("cat", "dog", "cow", "emu")):
    """Truth and predictions: ties in score and overlap, crowds, empty pictures and masks, unused classes, odd ids."""
    rng = np.random.default_rng(seed)
    used = rng.choice(len(classes), rng.integers(1, len(classes) + 1), replace=False)
    sides = ([], [])
    for id_ in rng.permutation(30)[: rng.integers(1, 8)].tolist():
        known = np.array([_blob(rng) for _ in range(rng.choice([0, 1, 3, 8]))], bool).reshape(-1, *SIZE)
        found = [
            known[rng.integers(len(known))] ^ (rng.random(SIZE) < rng.choice([0, 0.05]))
            if len(known) and rng.random() < 0.7
            else _blob(rng)
            for _ in range(rng.choice([0, 2, 9, 25]))
        ]
        crowd = rng.random(len(known)) < 0.15
        labels = rng.choice(used, len(known))
        there = Instances.of(Masks.from_dense(known), labels=labels, crowd=crowd if crowd.any() else None)
        scores = rng.choice([0.1, 0.5, 0.5, 0.75, rng.random()], len(found))
        labels = rng.integers(0, len(classes), len(found))
        seen = Instances.of(
            Masks.from_dense(np.array(found, bool).reshape(-1, *SIZE)), labels=labels, scores=scores
        )
        for side, part in zip(sides, (there, seen), strict=True):
            side.append(Record(None, SIZE, part, id_))
    return tuple(Dataset(side, classes) for side in sides)


def overlaps(truth, found):
    """(found, truth) float64: IoU, or the share of the prediction that a crowd covers."""
    a, b = (
        item.masks.to_dense().reshape(len(item), SIZE[0] * SIZE[1]).astype(float) for item in (found, truth)
    )
    common = a @ b.T
    crowd = np.zeros(len(truth), bool) if truth.crowd is None else truth.crowd
    whole = np.where(crowd, a.sum(1)[:, None], a.sum(1)[:, None] + b.sum(1) - common)
    return np.divide(common, whole, out=np.zeros_like(common), where=whole > 0)


def _blob(rng):
    mask = np.zeros(SIZE, bool)
    if rng.random() < 0.03:
        return mask
    y, x = rng.integers(0, SIZE[0] - 2), rng.integers(0, SIZE[1] - 2)
    mask[y : y + rng.integers(1, 6), x : x + rng.integers(1, 6)] = True
    return mask
