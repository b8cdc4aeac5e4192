"""Measuring, and finding overlaps, against scikit-image, pycocotools and numpy.

python benchmarks/measure.py --rounds 3 --json measure.json
"""

import numpy as np
from pycocotools import mask as coco
from skimage.measure import regionprops_table
from turns import Job, options, report

from delineate import algebra
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.measure import measure
from delineate.pairs import overlaps
from delineate.postprocess.nms import matrix_nms, soft_nms

PLAIN = (
    "area,bbox,centroid,perimeter,equivalent_diameter_area,"
    "axis_major_length,axis_minor_length,eccentricity,orientation"
)
HULLS = "area_convex,solidity,feret_diameter_max"
INTENSITY = "intensity_mean,intensity_min,intensity_max,intensity_std,intensity_median"


def nuclei(rng, rows, columns, cell=40):
    """A label map of ellipses, one to a cell of a grid, turned and of many sizes."""
    labels = np.zeros((rows * cell, columns * cell), np.uint32)
    y, x = np.mgrid[:cell, :cell] - (cell - 1) / 2
    for n in range(rows * columns):
        turn, a, b = rng.uniform(0, np.pi), rng.uniform(6, 19), rng.uniform(4, 12)
        along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        r, c = divmod(n, columns)
        labels[r * cell : (r + 1) * cell, c * cell : (c + 1) * cell][
            (along / a) ** 2 + (across / b) ** 2 <= 1
        ] = n + 1
    return labels


def measure_jobs(rng) -> dict[str, Job]:
    labels = nuclei(rng, 20, 25)
    image = rng.integers(0, 65536, labels.shape, np.uint16)
    signed = labels.astype(np.int32)
    found = Instances.of(algebra.from_label_map(labels)[0])

    def fresh():
        return Instances.of(Masks(found.masks.runs))

    both = f"{PLAIN},{HULLS}"
    theirs, ours = regionprops_table(signed, properties=both.split(",")), measure(found)
    np.testing.assert_allclose(ours["feret_max_px"], theirs["feret_diameter_max"])
    np.testing.assert_allclose(ours["solidity"], theirs["solidity"])
    return {
        "measure 500 objects": {
            "delineate": lambda: measure(fresh()),
            "scikit-image": lambda: regionprops_table(signed, properties=both.split(",")),
            "scikit-image without hulls": lambda: regionprops_table(signed, properties=PLAIN.split(",")),
        },
        "measure 500 objects and 16-bit intensities": {
            "delineate": lambda: measure(fresh(), image=image),
            "scikit-image": lambda: regionprops_table(
                signed, image, properties=f"{both},{INTENSITY}".split(",")
            ),
        },
    }


def scene(rng, count, side):
    """Ellipses anywhere on a square canvas."""
    shapes = Masks.from_dense((nuclei(rng, 1, 40) > 0).reshape(1, 40, 40, 40).transpose(2, 0, 1, 3)[:, 0])
    places = rng.integers(0, side - 40, (count, 2))
    each = [shapes[[n % 40]].translate(int(y), int(x), (side, side)) for n, (y, x) in enumerate(places)]
    return Masks.concat(each)


def overlap_jobs(rng) -> dict[str, Job]:
    a, b = scene(rng, 2000, 2000), scene(rng, 2000, 2000)
    rles, others = a.to_rle(), b.to_rle()
    assert (np.nonzero(coco.iou(rles, others, [0] * len(others))) == np.array(overlaps(a, b)[:2])).all()
    low = rng.uniform(0, 1000, (2000, 2))
    boxes, scores = np.concatenate([low, low + rng.uniform(5, 60, low.shape)], 1), rng.random(2000)
    np.testing.assert_allclose(np.sort(matrix_nms(boxes, scores)), np.sort(plain_matrix(boxes, scores)))
    np.testing.assert_allclose(np.sort(soft_nms(boxes, scores)), np.sort(plain_soft(boxes, scores)))
    return {
        "pairs of 2000 x 2000 masks that overlap": {
            "delineate": lambda: overlaps(a, b),
            "pycocotools, all pairs": lambda: np.nonzero(coco.iou(rles, others, [0] * len(others))),
        },
        "soft-NMS of 2000 boxes": {
            "delineate": lambda: soft_nms(boxes, scores),
            "numpy": lambda: plain_soft(boxes, scores),
        },
        "matrix NMS of 2000 boxes": {
            "delineate": lambda: matrix_nms(boxes, scores),
            "numpy": lambda: plain_matrix(boxes, scores),
        },
    }


def plain_iou(boxes, others):
    low, high = (
        np.maximum(boxes[:, None, :2], others[None, :, :2]),
        np.minimum(boxes[:, None, 2:], others[None, :, 2:]),
    )
    shared = np.clip(high - low, 0, None).prod(2)
    areas = [(b[:, 2:] - b[:, :2]).prod(1) for b in (boxes, others)]
    return shared / (areas[0][:, None] + areas[1][None] - shared)


def plain_soft(boxes, scores, sigma=0.5):
    """The usual loop: the best of those left, against all that are left."""
    boxes, scores = boxes.copy(), scores.copy()
    for n in range(len(boxes)):
        best = n + scores[n:].argmax()
        boxes[[n, best]], scores[[n, best]] = boxes[[best, n]], scores[[best, n]]
        scores[n + 1 :] *= np.exp(-(plain_iou(boxes[n : n + 1], boxes[n + 1 :])[0] ** 2) / sigma)
    return scores


def plain_matrix(boxes, scores, sigma=0.5):
    """As the paper's listing, on whole matrices."""
    order = np.argsort(-scores)
    iou = np.triu(plain_iou(boxes[order], boxes[order]), 1)
    most = iou.max(0)[:, None]
    return scores[order] * np.exp((most**2 - iou**2) / sigma).min(0)


def large_jobs(rng) -> dict[str, Job]:
    """What peers would need a minute for."""
    many = algebra.from_label_map(nuclei(rng, 100, 100))[0]
    a, b = scene(rng, 10_000, 20_000), scene(rng, 10_000, 20_000)
    print(f"{len(overlaps(a, b).first)} pairs of 10 000 x 10 000 masks overlap")
    return {
        "measure 10 000 objects": {"delineate": lambda: measure(Instances.of(Masks(many.runs)))},
        "pairs of 10 000 x 10 000 masks that overlap": {"delineate": lambda: overlaps(a, b)},
    }


def main() -> None:
    rng = np.random.default_rng(0)
    chosen = options(__doc__, rounds=3)
    report(measure_jobs(rng) | overlap_jobs(rng) | large_jobs(rng), chosen)


if __name__ == "__main__":
    main()
