"""Boundary AP, LVIS AP and HOTA: against faster-coco-eval, lvis and TrackEval, as far as they are installed.

    python benchmarks/metrics.py --images 200 --json metrics.json

Boundary AP and LVIS AP start from files, HOTA from run-length masks in memory. The numbers are compared before anything
is timed. A job whose peer is missing is left out, and that is said.
"""

import argparse
import contextlib
import importlib
import importlib.util
import io
import json
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import ap
import numpy as np
from turns import keep_on, report

from delineate import Dataset, Instances, Masks, Record
from delineate.formats import coco, lvis
from delineate.metrics import evaluate, evaluate_lvis, evaluate_tracking

Parties = dict[str, Callable[[], object]]


def boundary(folder: Path, images: int) -> Parties:
    """AP of 640 x 480 pictures as `ap.py` makes them, by masks and the bands along their contours."""
    faster = importlib.import_module("faster_coco_eval")
    ap.generate(folder, images, 0)
    truth, results = folder / "truth.json", folder / "results.json"

    def ours() -> float:
        return evaluate(coco.read(truth), coco.read_results(results, truth), iou="boundary").ap

    def theirs() -> float:
        with contextlib.redirect_stdout(io.StringIO()):
            known = faster.COCO(str(truth))
            run = faster.COCOeval_faster(known, known.loadRes(str(results)), "boundary")
            run.evaluate()
            run.accumulate()
            run.summarize()
        return float(run.stats[0])

    return {"delineate": ours, "faster-coco-eval": theirs}


def federated(folder: Path, images: int) -> Parties:
    """The same objects, annotated for the classes of each picture and three that are absent from it."""
    peer = importlib.import_module("lvis")
    logging.getLogger("lvis").setLevel(logging.ERROR)
    if not hasattr(np, "float"):
        np.float = float  # numpy's old name for it, which the package uses
    ap.generate(folder, images, 1)
    truth, results = folder / "truth.json", folder / "results.json"
    content = json.loads(truth.read_text())
    rng = np.random.default_rng(0)
    content["annotations"] = [one for one in content["annotations"] if not one["iscrowd"]]
    seen: dict[int, set[int]] = {}
    for one in content["annotations"]:
        seen.setdefault(one["image_id"], set()).add(one["category_id"])
    for image in content["images"]:
        classes = seen.get(image["id"], set())
        others = [n for n in range(1, ap.CLASSES + 1) if n not in classes]
        image["neg_category_ids"] = rng.choice(others, 3, replace=False).tolist()
        image["not_exhaustive_category_ids"] = sorted(classes)[:1]
    for category in content["categories"]:
        category["frequency"] = "rcf"[category["id"] % 3]
    truth.write_text(json.dumps(content))

    def ours() -> float:
        return evaluate_lvis(lvis.read(truth), lvis.read_results(results, truth)).ap

    def theirs() -> float:
        run = peer.LVISEval(str(truth), str(results), "segm")
        run.run()
        return float(run.results["AP"])

    return {"delineate": ours, "lvis": theirs}


def tracked(folder: Path, frames: int) -> Parties:
    """One video of 20 wandering ellipses, 640 x 480; the tracker misses some and switches names."""
    del folder
    metrics = importlib.import_module("trackeval").metrics
    mask_api = importlib.import_module("pycocotools.mask")
    rng = np.random.default_rng(2)
    count, (height, width) = 20, ap.SIZE
    place, names, fresh = rng.uniform((60, 60), (420, 580), (count, 2)), np.arange(count), count
    radii = rng.uniform(15, 50, (count, 2))
    angles = np.arange(32) / 32 * 2 * np.pi

    def drawn(centres: np.ndarray) -> Masks:
        rings = centres[:, None] + radii[:, None] * np.stack([np.sin(angles), np.cos(angles)], 1)
        return Masks.from_polygons([[ring[:, ::-1].ravel()] for ring in rings], (height, width))

    sides: tuple[list[Record], list[Record]] = [], []
    for frame in range(frames):
        place = np.clip(place + rng.normal(0, 2, place.shape), 40, (440, 600))
        if frame % 9 == 8:
            names[rng.integers(count)] = fresh
            fresh += 1
        kept = np.flatnonzero(rng.random(count) < 0.9)
        found = drawn(place + rng.normal(0, 3, place.shape))[kept]
        for side, masks, ids in zip(
            sides, (drawn(place), found), (np.arange(count), names[kept]), strict=True
        ):
            instances = Instances.of(masks, ids=ids)
            side.append(Record(None, (height, width), instances, frame, video="a", frame=frame))
    truth, predictions = (Dataset(side, ["object"]) for side in sides)
    texts = [[record.instances.masks.to_rle() for record in side] for side in sides]

    def ours() -> float:
        return evaluate_tracking(truth, predictions).all.hota

    def theirs() -> float:
        ids = [[record.instances.ids for record in side] for side in sides]
        dense = [
            {name: n for n, name in enumerate(sorted({int(i) for part in side for i in part}))}
            for side in ids
        ]
        known, guessed = (
            [np.array([table[int(i)] for i in part]) for part in side]
            for table, side in zip(dense, ids, strict=True)
        )
        data = {
            "gt_ids": known,
            "tracker_ids": guessed,
            "similarity_scores": [
                np.asarray(mask_api.iou(b, a, [0] * len(a))).reshape(len(b), len(a)).T
                for a, b in zip(*texts, strict=True)
            ],
            "num_gt_dets": sum(map(len, known)),
            "num_tracker_dets": sum(map(len, guessed)),
            "num_gt_ids": len(dense[0]),
            "num_tracker_ids": len(dense[1]),
            "num_timesteps": frames,
        }
        clear, identity = (kind({"PRINT_CONFIG": False}) for kind in (metrics.CLEAR, metrics.Identity))
        hota, *_ = [one.eval_sequence(data) for one in (metrics.HOTA(), clear, identity)]
        return float(np.mean(hota["HOTA"]))

    return {"delineate": ours, "TrackEval": theirs}


JOBS = {"boundary AP": boundary, "LVIS AP": federated, "HOTA, CLEAR, identity": tracked}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=200, help="pictures, or frames of the video")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="the jobs whose name holds this")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    keep_on(chosen.threads)
    ready: dict[str, Parties] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name, make in JOBS.items():
            if chosen.only not in name:
                continue
            folder = Path(temporary, make.__name__)
            folder.mkdir()
            try:
                parties = make(folder, chosen.images)
            except ImportError as error:
                print(f"{name}: left out, {error}")
                continue
            values = {party: work() for party, work in parties.items()}
            print(f"{name}, {chosen.images} pictures: {values}")
            if not np.allclose(*values.values(), rtol=0, atol=1e-9):
                raise SystemExit(f"{name}: the parties disagree")
            ready[name] = parties
        report(ready, chosen)


if __name__ == "__main__":
    main()
