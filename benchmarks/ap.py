"""COCO AP of files: delineate against the other evaluators, on a synthetic set with COCO-like sizes.

    python benchmarks/ap.py --images 500 --repeats 3 --json ap.json
    python benchmarks/ap.py --images 5000 --peers ultrafast hotcoco faster    # as large as val2017
    python benchmarks/ap.py --images 5000 --peers pycocotools --repeats 1     # takes minutes

Every run is a fresh process that imports, reads the same two files and evaluates them. Counted are the CPU time of
the process (all threads) from its start, the wall time and the peak of resident memory; the parties take turns, the
figures are medians, and a first run of each, which compiles its Python files as an installation does, is not counted.
The precision arrays are compared with ours: equal to the last bit, or the greatest difference.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
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


def ours(folder: Path, iou: str) -> np.ndarray:
    from delineate.formats import coco
    from delineate.metrics.ap import evaluate

    truth = coco.read(folder / "truth.json")
    return evaluate(
        truth, coco.read_results(folder / "results.json", folder / "truth.json"), iou=iou
    ).precision


def peer(name: str, folder: Path, iou: str) -> np.ndarray:
    module, files, evaluator = PEERS[name]
    coco = importlib.import_module(f"{module}{files}").COCO
    run = getattr(importlib.import_module(f"{module}{evaluator[0]}"), evaluator[1])
    truth = coco(str(folder / "truth.json"))
    found = truth.loadRes(str(folder / "results.json"))
    evaluation = run(truth, found, {"mask": "segm", "box": "bbox"}[iou])
    evaluation.evaluate()
    evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"])


# Name -> package, module of COCO, module and name of COCOeval.
PEERS = {
    "pycocotools": ("pycocotools", ".coco", (".cocoeval", "COCOeval")),
    "faster": ("faster_coco_eval", "", ("", "COCOeval_faster")),
    "hotcoco": ("hotcoco", "", ("", "COCOeval")),
    "ultrafast": ("ultrafast_pycocotools", ".coco", (".cocoeval", "COCOeval")),
}


def child(side: str, folder: Path, iou: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        precision = ours(folder, iou) if side == "delineate" else peer(side, folder, iou)
    spent = time.process_time()
    np.save(folder / f"{side}.npy", precision)
    # Not ru_maxrss: that one starts at the parent's size.
    (peak,) = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    os.write(1, json.dumps({"cpu_s": spent, "peak_mb": int(peak) / 1024}).encode())


def fresh(side: str, folder: Path, iou: str) -> dict[str, float]:
    """One run in its own process."""
    start = time.perf_counter()
    command = [sys.executable, __file__, "--child", side, "--folder", str(folder), "--iou", iou]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    if run.returncode:
        raise RuntimeError(f"{side}: {run.stderr.strip().splitlines()[-1]}")
    found = json.loads(run.stdout[run.stdout.rindex('{"cpu_s"') :])
    return found | {"wall_s": time.perf_counter() - start}


def compare(folder: Path, iou: str, peers: list[str], repeats: int) -> dict[str, object]:
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in ["delineate", *peers]}
    for side in runs:
        fresh(side, folder, iou)
    for _ in range(repeats):
        for side, found in runs.items():
            found.append(fresh(side, folder, iou))
    result: dict[str, dict] = {}
    mine = np.load(folder / "delineate.npy")
    for side, found in runs.items():
        result[side] = {key: statistics.median(one[key] for one in found) for key in found[0]}
        theirs = np.load(folder / f"{side}.npy")
        result[side]["difference"] = (
            float(np.abs(mine - theirs).max()) if mine.shape == theirs.shape else "other shape"
        )
    print(f"\n{iou}: CPU s, wall s, peak MB, greatest difference of precision")
    for side, row in result.items():
        ratios = [f"({row[key] / result['delineate'][key]:.1f}x)" for key in ("cpu_s", "wall_s", "peak_mb")]
        print(
            f"  {side:12} {row['cpu_s']:7.2f} {ratios[0]:8} {row['wall_s']:7.2f} {ratios[1]:8} "
            f"{row['peak_mb']:6.0f} {ratios[2]:8} {row['difference']}"
        )
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
    parser.add_argument("--peers", choices=PEERS, nargs="*", default=["pycocotools"])
    parser.add_argument("--child", choices=["delineate", *PEERS], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help="keep the generated files here")
    options = parser.parse_args()
    if options.child:
        child(options.child, options.folder, options.iou[0])
        return
    # Children inherit the affinity; the library asks it how many threads to use.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ.setdefault(name, str(options.threads))
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)  # a folder given is filled once and kept
        summary: dict[str, object] = {"images": options.images, "threads": options.threads}
        if not (folder / "results.json").exists():
            summary |= generate(folder, options.images, options.seed)
        print(json.dumps(summary))
        for iou in options.iou:
            summary[iou] = compare(folder, iou, options.peers, options.repeats)
    if options.json:
        options.json.write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
