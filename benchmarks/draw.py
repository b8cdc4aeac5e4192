"""Overlays: 50 masks blended into a 1920 x 1080 picture, against the usual recipes.

    python benchmarks/draw.py --json draw.json

The recipes: opencv's addWeighted inside each mask's box (fast, where dense masks are at hand), and numpy over
the whole picture per mask (what most notebooks do). They start from dense masks, which cost them nothing
here; delineate starts from runs. No outlines, so that all do the same. opencv where installed
(requirements.txt).
"""

import numpy as np
from turns import options, report

from delineate.draw import colours, draw
from delineate.instances import Instances
from delineate.masks import Masks

try:
    import cv2
except ImportError:
    cv2 = None

SIZE, COUNT, ALPHA = (1080, 1920), 50, 0.5


def scene(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    dense = np.empty((COUNT, *SIZE), bool)
    for mask in dense:
        half = np.clip(np.exp(rng.normal(4.2, 0.7, 2)), 10, 400)
        centre = rng.uniform(0, 1, 2) * SIZE
        mask[:] = np.hypot((y - centre[0]) / half[0], (x - centre[1]) / half[1]) < 1 + 0.1 * np.sin(x / 7)
    dense = dense[dense.any(axis=(1, 2))]
    return image, dense[np.argsort(-dense.sum(axis=(1, 2)), kind="stable")]


def with_numpy(image, dense, paints):
    result = image.copy()
    for mask, paint in zip(dense, paints, strict=True):
        result[mask] = (result[mask] * (1 - ALPHA) + paint * ALPHA + 0.5).astype(np.uint8)
    return result


def with_opencv(image, dense, boxes, paints):
    result = image.copy()
    for mask, (x0, y0, x1, y1), paint in zip(dense, boxes, paints, strict=True):
        part = result[y0:y1, x0:x1]
        cover = np.full_like(part, paint)
        mixed = cv2.addWeighted(part, 1 - ALPHA, cover, ALPHA, 0)
        cv2.copyTo(mixed, mask[y0:y1, x0:x1].view(np.uint8), part)
    return result


def main() -> None:
    chosen = options(__doc__, rounds=15)
    image, dense = scene()
    found, paints = Instances.of(Masks.from_dense(dense)), colours(len(dense))
    boxes = found.boxes.astype(int).tolist()
    mine = draw(image, found, alpha=ALPHA, outline=False).astype(int)
    assert np.abs(mine - with_numpy(image, dense, paints)).max() <= 1
    job = {
        "delineate": lambda: draw(image, found, alpha=ALPHA, outline=False),
        "with outlines": lambda: draw(image, found, alpha=ALPHA),
        "numpy": lambda: with_numpy(image, dense, paints),
    }
    if cv2 is not None:
        cv2.setNumThreads(1)
        assert np.abs(mine - with_opencv(image, dense, boxes, paints)).max() <= 2
        job["opencv per box"] = lambda: with_opencv(image, dense, boxes, paints)
    print(f"{len(found)} masks of {found.masks.areas.mean():.0f} pixels on average")
    report({"overlay, 1920 x 1080": job}, chosen)


if __name__ == "__main__":
    main()
