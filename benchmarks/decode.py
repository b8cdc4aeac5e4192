"""A YOLO-seg head and its prototypes to COCO runs, against the common way written out beside it.

    python benchmarks/decode.py --json decode.json

100 objects, head (1, 116, 8400), prototypes (1, 32, 160, 160), picture 1920 x 1080. The common way is written
with torch as its users do: coefficients times prototypes, upsample every mask to the network's input and on
to the picture in float, threshold, crop to the box, encode with pycocotools; mask by mask, which is faster
than all at once, because the memory is used again. Where opencv is installed, its resize of the box's part
alone is shown too, the best of the usual recipes. Needs torch and pycocotools (requirements.txt beside this
file).
"""

import numpy as np
import torch
from pycocotools import mask as coco
from turns import options, report

from delineate._native import _core
from delineate.masks import Masks
from delineate.postprocess.decode import Placement, Thresholds, prototypes

try:
    import cv2
except ImportError:
    cv2 = None

SIZE, INPUT = (1080, 1920), (640, 640)
PLACEMENT = Placement(1 / 3, 1 / 3, 140, 0)
THRESHOLDS = Thresholds(score=0.25, iou=0.7, max_detections=300)


def outputs(objects: int, seed: int = 0) -> list[np.ndarray]:
    """A head with objects of COCO-like sizes, each seen by four anchors, over a background of low scores."""
    rng = np.random.default_rng(seed)
    head = np.empty((116, 8400), np.float32)
    head[:4] = rng.uniform(5, 635, (4, 8400))
    head[4:84] = rng.beta(0.5, 60, (80, 8400))
    head[84:] = rng.normal(0, 0.3, (32, 8400))
    anchors = rng.permutation(8400)
    # A grid of places, so that no object suppresses another.
    grid = int(np.ceil(objects**0.5))
    for index in range(objects):
        width, height = np.clip(np.exp(rng.normal(3.7, 0.7, 2)), 8, 300)
        x, y = (index % grid + 0.5) * 640 / grid, 140 + (index // grid + 0.5) * 360 / grid
        label, coefficients = rng.integers(80), rng.normal(0, 0.3, 32)
        for anchor in anchors[4 * index : 4 * index + 4]:
            head[:4, anchor] = np.array([x, y, width, height]) + rng.normal(0, 0.5, 4)
            head[4 + label, anchor] = rng.uniform(0.3, 0.95)
            head[84:, anchor] = coefficients
    coarse = torch.from_numpy(rng.normal(0, 1, (1, 32, 20, 20)).astype(np.float32))
    cells = torch.nn.functional.interpolate(coarse, size=(160, 160), mode="bicubic")
    cells[:, 0] += 8  # a few large blobs rather than noise
    head[84] = np.abs(head[84])
    return [head[None], np.ascontiguousarray(cells.numpy())]


def ours(arrays):
    return prototypes(
        arrays, placement=PLACEMENT, size=SIZE, input_size=INPUT, thresholds=THRESHOLDS, classes=80, threads=1
    )


def suppressed(arrays):
    """Boxes in the input, scores, labels and coefficients after greedy suppression per class, in numpy."""
    head = arrays[0][0].T
    scores, labels = head[:, 4:84].max(axis=1), head[:, 4:84].argmax(axis=1)
    chosen = np.flatnonzero(scores > THRESHOLDS.score)
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")]
    boxes = np.concatenate(
        [head[chosen, :2] - head[chosen, 2:4] / 2, head[chosen, :2] + head[chosen, 2:4] / 2], axis=1
    )
    shifted = boxes + labels[chosen, None] * 7680
    areas = np.prod(shifted[:, 2:] - shifted[:, :2], axis=1)
    left, kept = np.arange(len(chosen)), []
    while len(left) and len(kept) < THRESHOLDS.max_detections:
        first, left = left[0], left[1:]
        kept.append(first)
        low, high = (
            np.maximum(shifted[first, :2], shifted[left, :2]),
            np.minimum(shifted[first, 2:], shifted[left, 2:]),
        )
        joint = np.prod(np.maximum(high - low, 0), axis=1)
        left = left[joint / (areas[first] + areas[left] - joint) <= THRESHOLDS.iou]
    chosen = chosen[kept]
    return boxes[kept], scores[chosen], labels[chosen], head[chosen, 84:]


def suppressed_by_opencv(arrays):
    head = arrays[0][0].T
    scores, labels = head[:, 4:84].max(axis=1), head[:, 4:84].argmax(axis=1)
    chosen = np.flatnonzero(scores > THRESHOLDS.score)
    corner = head[chosen, :2] - head[chosen, 2:4] / 2
    boxes = np.concatenate([corner, head[chosen, 2:4]], axis=1)
    kept = cv2.dnn.NMSBoxesBatched(boxes, scores[chosen], labels[chosen], THRESHOLDS.score, THRESHOLDS.iou)
    return boxes[kept], scores[chosen][kept], labels[chosen][kept], head[chosen[kept], 84:]


def suppressed_natively(arrays):
    layout = ("columns", None, 80, 32, INPUT, [8, 16, 32])
    return _core.detect(arrays[0][0], *layout, THRESHOLDS.score, THRESHOLDS.iou, 300, False)


def in_picture(boxes):
    shift = [PLACEMENT.left, PLACEMENT.top] * 2
    return np.clip((boxes - shift) * 3, 0, [SIZE[1], SIZE[0]] * 2)


@torch.inference_mode()
def with_torch(arrays):
    boxes, scores, labels, coefficients = suppressed(arrays)
    boxes = in_picture(boxes)
    logits = torch.from_numpy(coefficients) @ torch.from_numpy(arrays[1][0]).reshape(32, -1)
    masks = logits.reshape(1, -1, 160, 160).sigmoid()
    runs = []
    for index, (x0, y0, x1, y1) in enumerate(np.rint(boxes).astype(int)):
        mask = torch.nn.functional.interpolate(masks[:, index : index + 1], size=INPUT, mode="bilinear")
        mask = mask[..., 140:500, :]
        mask = torch.nn.functional.interpolate(mask, size=SIZE, mode="bilinear")[0, 0] > 0.5
        cropped = torch.zeros_like(mask)
        cropped[y0:y1, x0:x1] = mask[y0:y1, x0:x1]
        runs.append(coco.encode(np.asfortranarray(cropped.numpy().view(np.uint8))))
    return boxes, scores, labels, runs


def with_opencv(arrays):
    boxes, scores, labels, coefficients = suppressed(arrays)
    boxes = in_picture(boxes)
    logits = (coefficients @ arrays[1][0].reshape(32, -1)).reshape(-1, 160, 160)
    runs, full = [], np.zeros(SIZE, np.uint8, order="F")
    for index, (x0, y0, x1, y1) in enumerate(np.rint(boxes).astype(int)):
        full[:] = 0
        # The cells under the box, resized at 12 pixels a cell, then cut to the box.
        j0, j1 = x0 // 12, min(-(-x1 // 12) + 1, 160)
        i0, i1 = (y0 + 420) // 12, min(-(-(y1 + 420) // 12) + 1, 160)
        part = cv2.resize(logits[index, i0:i1, j0:j1], ((j1 - j0) * 12, (i1 - i0) * 12)) > 0
        y, x = y0 + 420 - i0 * 12, x0 - j0 * 12
        full[y0:y1, x0:x1] = part[y : y + y1 - y0, x : x + x1 - x0]
        runs.append(coco.encode(full))
    return boxes, scores, labels, runs


def check(arrays) -> None:
    """All ways must find the same objects and, but for the borders' rounding, the same masks."""
    found = ours(arrays)
    boxes, _, labels, runs = with_torch(arrays)
    kept = [index for index, rle in enumerate(runs) if coco.area(rle)]
    assert len(found) == len(kept)
    assert (found.labels == labels[kept]).all()
    assert np.allclose(found.boxes, boxes[kept], atol=1e-2)
    theirs = Masks.from_rle([runs[index] for index in kept])
    ious = np.diag(found.masks.iou(theirs))
    print(f"{len(found)} objects, {found.masks.areas.mean():.0f} pixels on average;", end=" ")
    print(f"mask IoU with the common way: mean {ious.mean():.4f}, lowest {ious.min():.4f}")


def main() -> None:
    chosen = options(__doc__)
    torch.set_num_threads(1)
    arrays, crowded = outputs(100), outputs(300, seed=1)
    check(arrays)
    jobs = {
        "100 objects to runs at 1920 x 1080": {
            "delineate": lambda: ours(arrays),
            "torch": lambda: with_torch(arrays),
        },
        "300 objects to runs at 1920 x 1080": {
            "delineate": lambda: ours(crowded),
            "torch": lambda: with_torch(crowded),
        },
    }
    jobs["head to 300 boxes"] = {
        "delineate": lambda: suppressed_natively(crowded),
        "numpy": lambda: suppressed(crowded),
    }
    if cv2 is not None:
        cv2.setNumThreads(1)
        jobs["head to 300 boxes"]["opencv"] = lambda: suppressed_by_opencv(crowded)
        jobs["100 objects to runs at 1920 x 1080"]["opencv"] = lambda: with_opencv(arrays)
    ms = report(jobs, chosen)["100 objects to runs at 1920 x 1080"]
    ratio = ms["torch"] / ms["delineate"]
    print(f"{ratio:.0f} times faster than the common way (wanted: 100)")


if __name__ == "__main__":
    main()
