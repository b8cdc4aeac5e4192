"""Random truths with predictions that are wrong in every way, for tests of what looks behind the curves."""

from __future__ import annotations

import numpy as np

from delineate.dataset import Dataset, Record
from delineate.instances import Instances
from delineate.masks import Masks

CLASSES = ("cell", "dust", "thread")


def scene(seed=0, *, pictures=6, crowd=0.1, ties=False, size=(40, 48), classes=CLASSES, attributes=None):
    """A truth and predictions for it: shifted, doubled, of another class, half right, invented; some missed.

    Args:
        seed: Of everything random.
        pictures: How many records; one in five has no truth, one in five no predictions.
        crowd: Share of crowds in the truth.
        ties: Whether scores repeat.
        size: (height, width).
        classes: Names.
        attributes: Called with the picture's number, gives its attributes.
    """
    rng = np.random.default_rng(seed)
    truths, found = [], []
    for number in range(pictures):
        count = 0 if rng.random() < 0.2 else int(rng.integers(1, 9))
        masks = [_box(rng, size) for _ in range(count)]
        labels = rng.integers(0, len(classes), count)
        guesses, guessed = [], []
        for mask, label in zip(masks, labels, strict=True):
            for _ in range(int(rng.choice([0, 1, 2], p=[0.15, 0.6, 0.25]))):
                shift = rng.integers(-4, 5, 2) if rng.random() < 0.7 else (0, 0)
                guesses.append(np.roll(mask, shift, (0, 1)))
                guessed.append(label if rng.random() < 0.75 else rng.integers(0, len(classes)))
        for _ in range(int(rng.integers(0, 3))):
            guesses.append(_box(rng, size))
            guessed.append(rng.integers(0, len(classes)))
        if rng.random() < 0.2:
            guesses, guessed = [], []
        scores = rng.random(len(guesses)).astype(np.float32)
        if ties:
            scores = np.round(scores * 4) / 4
        extra = {} if attributes is None else attributes(number)
        flags = rng.random(count) < crowd
        truths.append(_record(number, size, masks, labels, {"crowd": flags}, extra))
        found.append(_record(number, size, guesses, guessed, {"scores": scores}, {}))
    return Dataset(truths, classes), Dataset(found, classes)


def repeated(dataset, weights):
    """The dataset in which picture i occurs weights[i] times, copies following one another."""
    records = [record for record, weight in zip(dataset, weights, strict=True) for _ in range(weight)]
    return dataset.with_records(record.replace(id=place) for place, record in enumerate(records))


def _box(rng, size):
    mask = np.zeros(size, bool)
    height, width = rng.integers(5, 16, 2)
    y, x = rng.integers(0, size[0] - height), rng.integers(0, size[1] - width)
    mask[y : y + height, x : x + width] = True
    return mask


def _record(number, size, masks, labels, fields, attributes):
    stacked = Masks.from_dense(np.array(masks, bool).reshape(-1, *size))
    instances = Instances.of(stacked, np.array(labels, np.int64).reshape(-1), **fields)
    return Record(f"images/{number}.png", size, instances, number, attributes)
