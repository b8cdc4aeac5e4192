"""COCO AP: delineate against pycocotools on a synthetic set with COCO-like sizes.

    python benchmarks/ap.py --images 500 --json ap.json
    python benchmarks/ap.py --images 5000 --repeats 1     # as large as val2017; pycocotools needs minutes

Both read the same two files and evaluate them; the precision arrays must be equal to the last bit. CPU time
is the process's own (all threads), interleaved in one process; memory and time with imports come from a fresh
process each.
Needs pycocotools.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIZE = (480, 640)
CLASSES = 80


def generate(folder: Path, images: int, seed: int) -> dict[str, int]:
    """Writes truth.json (polygons, 1 % crowds) and results.json (RLE): about 7 and 50 per picture."""
    from delineate.masks import Masks

    rng = np.random.default_rng(seed)
    annotations: list[dict] = []
    counts = {"truths": 0, "detections": 0}
    pictures = rng.permutation(3 * images)[:images].tolist()
    with (folder / "results.json").open("w") as results:
        separator = "["
        for image in pictures:
            classes = rng.choice(CLASSES, rng.integers(1, 6), replace=False) + 1
            shapes = [shape(rng) for _ in range(rng.poisson(7.3))]
            labels = rng.choice(classes, len(shapes)).tolist()
            masks = Masks.from_polygons([[one.ravel()] for one in shapes], SIZE)
            for one, label, area, runs in zip(
                shapes, labels, masks.areas.tolist(), range(len(shapes)), strict=True
            ):
                crowd = rng.random() < 0.01
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image,
                        "category_id": label,
                        "iscrowd": int(crowd),
                        "area": area + 0.5,
                        "bbox": [*one.min(0).tolist(), *(one.max(0) - one.min(0)).tolist()],
                        "segmentation": {"size": SIZE, "counts": masks.counts(runs).tolist()}
                        if crowd
                        else [one.ravel().tolist()],
                    }
                )
            found, names, scores = detections(rng, shapes, labels, classes)
            for rle, label, score in zip(
                Masks.from_polygons([[one.ravel()] for one in found], SIZE).to_rle(),
                names,
                scores,
                strict=True,
            ):
                entry = {"image_id": image, "category_id": int(label), "score": score, "segmentation": rle}
                results.write(f"{separator}{json.dumps(entry)}")
                separator = ",\n"
                counts["detections"] += 1
        results.write("]")
    truth = {
        "images": [{"id": id_, "height": SIZE[0], "width": SIZE[1]} for id_ in pictures],
        "categories": [{"id": id_, "name": f"class {id_}"} for id_ in range(1, CLASSES + 1)],
        "annotations": annotations,
    }
    (folder / "truth.json").write_text(json.dumps(truth))
    return counts | {"truths": len(annotations)}


def shape(rng: np.random.Generator) -> np.ndarray:
    """A polygon of 8 to 40 corners around an ellipse; COCO's mix of small, medium and large."""
    radius = np.clip(np.exp(rng.normal(3.3, 1.0)), 3, 220)
    corners = rng.integers(8, 41)
    angles = np.sort(rng.random(corners)) * 2 * np.pi
    wobble = radius * rng.uniform(0.7, 1.1, corners) * rng.uniform(0.5, 1.0)
    centre = rng.random(2) * (SIZE[1], SIZE[0])
    points = centre + np.stack([np.cos(angles) * wobble * 1.3, np.sin(angles) * wobble], 1)
    return np.round(np.clip(points, 0, (SIZE[1], SIZE[0])), 2)


def detections(rng, shapes, labels, classes):
    """Each truth found a few times, more or less well, and false positives; scores with ties."""
    found, names, scores = [], [], []
    for one, label in zip(shapes, labels, strict=True):
        for _ in range(rng.integers(0, 4)):
            centre = one.mean(0)
            noise = rng.normal(0, 0.06, 2) * (np.ptp(one, axis=0) + 2)
            found.append(np.clip(centre + (one - centre) * rng.normal(1, 0.1) + noise, 0, (SIZE[1], SIZE[0])))
            names.append(label if rng.random() < 0.9 else rng.choice(classes))
            scores.append(round(float(rng.beta(3, 2)), 3))
    for _ in range(rng.poisson(39)):
        found.append(shape(rng))
        names.append(rng.choice(classes) if rng.random() < 0.6 else rng.integers(1, CLASSES + 1))
        scores.append(round(float(rng.beta(1, 5)), 3))
    return found, names, scores


def ours(folder: Path, iou: str) -> tuple[np.ndarray, dict[str, float]]:
    from delineate.formats import coco
    from delineate.metrics.ap import evaluate

    start = time.process_time()
    truth = coco.read(folder / "truth.json")
    found = coco.read_results(folder / "results.json", folder / "truth.json")
    loaded = time.process_time()
    report = evaluate(truth, found, iou=iou)
    return report.precision, {"load": loaded - start, "evaluate": time.process_time() - loaded}


def pycocotools(folder: Path, iou: str) -> tuple[np.ndarray, dict[str, float]]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        start = time.process_time()
        truth = COCO(str(folder / "truth.json"))
        found = truth.loadRes(str(folder / "results.json"))
        loaded = time.process_time()
        run = COCOeval(truth, found, {"mask": "segm", "box": "bbox"}[iou])
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.eval["precision"], {"load": loaded - start, "evaluate": time.process_time() - loaded}


SIDES = {"delineate": ours, "pycocotools": pycocotools}


def fresh(side: str, folder: Path, iou: str) -> dict[str, float]:
    """One run in its own process: wall time with imports, peak memory."""
    start = time.perf_counter()
    command = [sys.executable, __file__, "--child", side, "--folder", str(folder), "--iou", iou]
    peak = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {"wall_s": time.perf_counter() - start, "peak_mb": peak}


def compare(folder: Path, iou: str, repeats: int) -> dict[str, object]:
    times: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    precision = {}
    for _ in range(repeats):
        for side, run in SIDES.items():
            precision[side], spent = run(folder, iou)
            times[side].append(spent)
    assert np.array_equal(precision["delineate"], precision["pycocotools"]), "precision differs"
    result: dict[str, object] = {}
    for side in SIDES:
        cpu = {
            f"{part}_s": statistics.median(one[part] for one in times[side]) for part in ("load", "evaluate")
        }
        result[side] = cpu | {"cpu_s": sum(cpu.values())} | fresh(side, folder, iou)
    theirs, mine = result["pycocotools"], result["delineate"]
    result["ratio"] = {
        key: theirs[key] / mine[key] for key in ("load_s", "evaluate_s", "cpu_s", "wall_s", "peak_mb")
    }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iou", choices=["mask", "box"], nargs="+", default=["mask", "box"])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        SIDES[options.child](options.folder, options.iou[0])
        # Not ru_maxrss: that one starts at the parent's size.
        (peak,) = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
        print(int(peak) / 1024)
        return
    # Children inherit the affinity; the library asks it how many threads to use.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    with tempfile.TemporaryDirectory() as folder:
        summary: dict[str, object] = {"images": options.images, "threads": options.threads}
        summary |= generate(Path(folder), options.images, options.seed)
        for iou in options.iou:
            summary[iou] = compare(Path(folder), iou, options.repeats)
    text = json.dumps(summary, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
