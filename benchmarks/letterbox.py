"""A picture to a network's input: resize, pad, normalise, reorder; against the recipes with opencv.

    python benchmarks/letterbox.py --json letterbox.json

The recipes are cv2.resize + copyMakeBorder + dnn.blobFromImage, and the same with numpy's transpose and
division instead of the blob, which is what most people run. Both round to whole grey levels in between;
delineate does not. All but `out=` put their result into fresh memory, which costs more than the work itself.
Needs opencv (requirements.txt beside this file).
"""

import cv2
import numpy as np
from turns import options, report

from delineate.predict import Preprocess


def boxed(image: np.ndarray) -> np.ndarray:
    """(640, 640, 3) uint8: the picture resized and padded."""
    height, width = image.shape[:2]
    scale = min(640 / height, 640 / width)
    size = round(width * scale), round(height * scale)
    small = image if size == (width, height) else cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    top, left = (640 - size[1]) // 2, (640 - size[0]) // 2
    edges = top, 640 - size[1] - top, left, 640 - size[0] - left
    return cv2.copyMakeBorder(small, *edges, cv2.BORDER_CONSTANT, value=(114, 114, 114))


def with_blob(image: np.ndarray) -> np.ndarray:
    return cv2.dnn.blobFromImage(boxed(image), 1 / 255)


def with_numpy(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(boxed(image).transpose(2, 0, 1)[None]).astype(np.float32) / 255


def main() -> None:
    chosen = options(__doc__, rounds=41)
    cv2.setNumThreads(1)
    preprocess, rng, jobs = Preprocess(), np.random.default_rng(0), {}
    tensor = np.zeros((1, 3, 640, 640), np.float32)
    for name, size in {
        "1920 x 1080": (1080, 1920),
        "810 x 1080": (1080, 810),
        "640 x 480, no resizing": (480, 640),
        "320 x 240, enlarged": (240, 320),
        "4000 x 3000": (3000, 4000),
    }.items():
        image = rng.integers(0, 256, (*size, 3), np.uint8)
        difference = np.abs(preprocess.apply(image)[0] - with_blob(image)).max() * 255
        assert difference < 1, difference
        jobs[f"{name} -> 1 x 3 x 640 x 640"] = {
            "delineate": lambda image=image: preprocess.apply(image),
            "delineate, out=": lambda image=image: preprocess.apply(image, out=tensor),
            "opencv blob": lambda image=image: with_blob(image),
            "opencv + numpy": lambda image=image: with_numpy(image),
        }
    report(jobs, chosen)


if __name__ == "__main__":
    main()
