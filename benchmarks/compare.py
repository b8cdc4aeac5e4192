"""The bootstrap of `eval --against`: 20 draws of 300 pictures, against evaluating each draw as a dataset.

    python benchmarks/compare.py --json compare.json

Then the size of COCO's validation set, once: 1000 draws of 5000 pictures with 250 000 detections in 80 classes, two
runs. Boxes: what overlaps is decided before the draws, so masks take the same time.
"""

import time

import numpy as np
from turns import options, report

from delineate.dataset import Dataset, Record
from delineate.instances import Instances
from delineate.metrics import compare, evaluate, verdicts

SIZE, CLASSES = (640, 640), 80


def boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corner = rng.uniform(0, 400, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(10, 200, (count, 2))], axis=1)


def scene(pictures: int, seed: int = 0) -> tuple[Dataset, Dataset]:
    """About 7 objects a picture; 50 detections: three around each object, the rest anywhere."""
    rng = np.random.default_rng(seed)
    known, found = [], []
    for number in range(pictures):
        count = int(rng.integers(0, 15))
        there, labels = boxes(rng, count), rng.integers(0, CLASSES, count)
        near = np.repeat(np.arange(count), 3)
        seen = np.concatenate([there[near] + rng.normal(0, 8, (len(near), 4)), boxes(rng, 50 - len(near))])
        seen = np.concatenate(
            [np.minimum(seen[:, :2], seen[:, 2:]), np.maximum(seen[:, :2], seen[:, 2:])], axis=1
        )
        guessed = np.concatenate([labels[near], rng.integers(0, CLASSES, 50 - len(near))])
        known.append(Record(None, SIZE, Instances(SIZE, there, labels), number))
        found.append(Record(None, SIZE, Instances(SIZE, seen, guessed, scores=rng.random(50)), number))
    names = [str(label) for label in range(CLASSES)]
    return Dataset(known, names), Dataset(found, names)


def drawn(dataset: Dataset, places: np.ndarray) -> Dataset:
    records = (dataset[int(place)].replace(id=number) for number, place in enumerate(np.sort(places)))
    return dataset.with_records(records)


def each_draw(truth: Dataset, runs: list[Dataset], draws: np.ndarray) -> list[float]:
    return [evaluate(drawn(truth, row), drawn(run, row), iou="box").ap for row in draws for run in runs]


if __name__ == "__main__":
    chosen = options(__doc__, rounds=3)
    truth, found = scene(300)
    fewer = found.with_records(r.replace(instances=r.instances[::2]) for r in found)
    draws = np.random.default_rng(0).integers(0, 300, (20, 300))
    job = {
        "delineate": lambda: compare(
            verdicts(truth, fewer, iou="box"), verdicts(truth, found, iou="box"), resamples=20
        ),
        "each draw evaluated": lambda: each_draw(truth, [fewer, found], draws),
    }
    report({"20 draws of 300 pictures, two runs": job}, chosen)
    judged = verdicts(*scene(5000), iou="box")
    start = time.process_time()
    compare(judged, judged, resamples=1000)
    print(f"1000 draws of 5000 pictures, two runs: {time.process_time() - start:.1f} s CPU")
