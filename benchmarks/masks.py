"""Run-length masks against pycocotools, and opencv and ultrafast-pycocotools where installed, in one process.

Every job is run by all parties in turn, several times, on one thread; the medians of process CPU time give
the ratios. Only the ratios mean anything on another machine.

    python benchmarks/masks.py --masks 1000 --rounds 7 --json masks.json
"""

import argparse
import importlib
import json
import os
import platform
from pathlib import Path

import numpy as np
from pycocotools import mask as coco
from turns import Job, medians

from delineate.masks import Masks

HEIGHT, WIDTH = 480, 640


def outlines(rng, count, spread=1.0):
    """Star-shaped polygons of COCO-like sizes: log-uniform from 12 to 300 pixels wide, 20 to 80 corners."""
    shapes = []
    for _ in range(count):
        radius = np.exp(rng.uniform(np.log(6), np.log(150)))
        corners = rng.integers(20, 80)
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
        radii = radius * rng.uniform(0.7, 1, corners)
        middle = np.array([WIDTH, HEIGHT]) * (0.5 + spread * rng.uniform(-0.5, 0.5, 2))
        xy = middle + np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None]
        shapes.append([np.clip(xy, 0, [WIDTH, HEIGHT]).round(2).ravel().tolist()])
    return shapes


def optional(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def fresh(masks):
    """The same runs without remembered areas and boxes."""
    return Masks(masks.runs)


def codec_jobs(masks, rles, rows, columns) -> dict[str, Job]:
    out, out_columns = np.zeros(rows.shape, bool), columns.transpose(2, 0, 1)
    jobs = {
        "encode, C order (N, H, W)": {
            "delineate": lambda: Masks.from_dense(rows),
            "pycocotools": lambda: coco.encode(np.asfortranarray(rows.transpose(1, 2, 0))),
        },
        "encode, Fortran order": {
            "delineate": lambda: Masks.from_dense(out_columns),
            "pycocotools": lambda: coco.encode(columns),
        },
        "decode, fresh memory": {"delineate": masks.to_dense, "pycocotools": lambda: coco.decode(rles)},
        "decode, out=": {"delineate": lambda: masks.to_dense(out), "pycocotools": lambda: coco.decode(rles)},
        "to COCO strings": {"delineate": masks.to_rle},
        "from COCO strings": {"delineate": lambda: Masks.from_rle(rles)},
    }
    ultrafast = optional("ultrafast_pycocotools.mask")
    if ultrafast:
        jobs["encode, C order (N, H, W)"]["ultrafast"] = lambda: ultrafast.encode(
            np.asfortranarray(rows.transpose(1, 2, 0))
        )
        jobs["encode, Fortran order"]["ultrafast"] = lambda: ultrafast.encode(columns)
    return jobs


def measure_jobs(masks, rles) -> dict[str, Job]:
    return {
        # pycocotools.mask.area overflows beyond 255 masks under numpy 2.
        "area": {
            "delineate": lambda: fresh(masks).areas,
            "pycocotools": lambda: [coco.area(rles[i : i + 255]) for i in range(0, len(rles), 255)],
        },
        "box": {"delineate": lambda: fresh(masks).boxes, "pycocotools": lambda: coco.toBbox(rles)},
        "union of all": {"delineate": masks.union, "pycocotools": lambda: coco.merge(rles)},
    }


def polygon_jobs(shapes, masks, rles) -> dict[str, Job]:
    size = (HEIGHT, WIDTH)
    jobs: dict[str, Job] = {
        "polygons to runs": {
            "delineate": lambda: Masks.from_polygons(shapes, size),
            "pycocotools": lambda: [coco.frPyObjects(shape, *size) for shape in shapes],
        },
        "runs to polygons": {"delineate": masks.to_polygons},
    }
    cv2 = optional("cv2")
    if cv2:
        jobs["runs to polygons"]["pycocotools + cv2"] = lambda: [
            cv2.findContours(coco.decode(rle), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE) for rle in rles
        ]
    return jobs


def overlap_jobs(rng) -> dict[str, Job]:
    jobs: dict[str, Job] = {}
    for name, spread in (("all overlapping", 0.05), ("spread", 1.0)):
        masks = Masks.from_polygons(outlines(rng, 150, spread), (HEIGHT, WIDTH))
        rles, crowd = masks.to_rle(), [0] * 50
        found, truth = masks[:100], masks[100:]
        assert (found.iou(truth) == coco.iou(rles[:100], rles[100:], crowd)).all()
        jobs[f"IoU 100 x 50, {name}"] = {
            "delineate": lambda found=found, truth=truth: found.iou(truth),
            "pycocotools": lambda rles=rles, crowd=crowd: coco.iou(rles[:100], rles[100:], crowd),
        }
    return jobs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--masks", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rng = np.random.default_rng(0)
    shapes = outlines(rng, options.masks)
    masks = Masks.from_polygons(shapes, (HEIGHT, WIDTH))
    rles, rows = masks.to_rle(), masks.to_dense()
    columns = np.asfortranarray(rows.transpose(1, 2, 0)).view(np.uint8)
    rows = rows.view(np.uint8)
    jobs = codec_jobs(masks, rles, rows, columns)
    jobs |= measure_jobs(masks, rles) | polygon_jobs(shapes, masks, rles) | overlap_jobs(rng)
    results = {}
    print(f"{options.masks} masks, {WIDTH} x {HEIGHT}, one thread; CPU ms and ratio to delineate")
    for name, job in jobs.items():
        results[name] = found = medians(job, options.rounds)
        peers = [
            f"{peer} {ms:.2f} ({ms / found['delineate']:.1f}x)"
            for peer, ms in found.items()
            if peer != "delineate"
        ]
        print(f"{name:28} {found['delineate']:9.2f}   {', '.join(peers)}")
    if options.json:
        report = {
            "machine": platform.processor() or platform.machine(),
            "numpy": np.__version__,
            "ms": results,
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
