"""Reading and evaluating large COCO files: time, and memory beside the size of the file.

    python benchmarks/coco_files.py --polygons 150000
    python benchmarks/coco_files.py --images 100000 --detections 100     # 10 million results
    python benchmarks/coco_files.py --images 20000 --detections 100 --corners 900     # long masks, 5 GB
    python benchmarks/coco_files.py --stream 1500      # MB: read, stats, convert and check in bounded memory

Fresh processes; CPU time of the process with imports, peak of resident memory (VmHWM). The memory of reading and
evaluating a results list is printed per detection: it does not depend on how long the masks are.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIZE = (480, 640)
_STREAMED = ("read", "stats", "convert", "check")


def polygons(folder: Path, count: int) -> None:
    """A COCO file of polygons with 55 corners on average, nine for a picture."""
    rng = np.random.default_rng(0)
    images = max(1, count // 9)
    head = {
        "images": [
            {"id": n, "height": 480, "width": 640, "file_name": f"{n:012}.jpg"} for n in range(images)
        ],
        "categories": [{"id": n, "name": f"class {n}"} for n in range(1, 81)],
    }
    with (folder / "polygons.json").open("w") as file:
        file.write(json.dumps(head)[:-1] + ', "annotations": [')
        for n in range(count):
            corners = int(rng.integers(10, 101))
            angles = np.sort(rng.random(corners)) * 2 * np.pi
            points = np.stack([320 + 200 * np.cos(angles), 240 + 200 * np.sin(angles)], 1) + rng.normal(
                0, 3, (corners, 2)
            )
            ring = points.round(2)
            low, high = ring.min(0), ring.max(0)
            entry = {
                "id": n + 1,
                "image_id": int(rng.integers(images)),
                "category_id": int(rng.integers(1, 81)),
            }
            entry |= {"iscrowd": 0, "area": 1000.5, "bbox": [*low.tolist(), *(high - low).round(2).tolist()]}
            file.write((", " if n else "") + json.dumps(entry | {"segmentation": [ring.ravel().tolist()]}))
        file.write("]}")


def detections(folder: Path, images: int, each: int, corners: int) -> None:
    """Truth with three objects a picture, and results that all pictures share but for their scores."""
    from delineate.masks import Masks

    rng = np.random.default_rng(0)

    def shape() -> np.ndarray:
        angles = np.arange(corners) / corners * 2 * np.pi
        radius = rng.uniform(10, 60) * rng.uniform(0.6, 1, corners)
        return np.stack([radius * np.cos(angles), radius * np.sin(angles)], 1) + rng.uniform(60, 420, 2)

    shapes = [shape() for _ in range(each)]
    rles = Masks.from_polygons([[one.ravel()] for one in shapes], SIZE).to_rle()
    texts = [json.dumps(rle) for rle in rles]
    known = [[one.round(1).ravel().tolist()] for one in shapes[:3]]
    truth = {
        "images": [{"id": n, "height": 480, "width": 640} for n in range(images)],
        "categories": [{"id": n, "name": f"class {n}"} for n in range(1, 6)],
        "annotations": [
            {
                "id": 3 * n + k + 1,
                "image_id": n,
                "category_id": k + 1,
                "area": 900 + k,
                "segmentation": known[k],
            }
            for n in range(images)
            for k in range(3)
        ],
    }
    (folder / "truth.json").write_text(json.dumps(truth))
    with (folder / "results.json").open("w") as file:
        file.write("[")
        for n in range(images):
            scores = rng.random(each).round(4).tolist()
            rows = [
                f'{{"image_id": {n}, "category_id": {k % 5 + 1}, "score": {scores[k]}, "segmentation": {texts[k]}}}'
                for k in range(each)
            ]
            file.write((",\n" if n else "") + ",\n".join(rows))
        file.write("]")


def stream(folder: Path, megabytes: int) -> None:
    """A COCO file of that size: polygons of 200 corners, nine for a picture."""
    rng = np.random.default_rng(0)
    texts = []
    for _ in range(500):
        angles, radius = np.sort(rng.random(200)) * 2 * np.pi, rng.uniform(20, 60)
        points = np.stack([radius * np.cos(angles), radius * np.sin(angles)], 1) + rng.uniform(80, 400, 2)
        ring = points.round(2)
        low, high = ring.min(0), ring.max(0)
        box = [*low.tolist(), *(high - low).round(2).tolist()]
        texts.append(
            json.dumps({"iscrowd": 0, "area": 1.5, "bbox": box, "segmentation": [ring.ravel().tolist()]})
        )
    count = megabytes * 10**6 // (len(texts[0]) + 50)
    images = max(1, count // 9)
    with (folder / "stream.json").open("w") as file:
        file.write('{"images": [')
        for n in range(images):
            name = f'"file_name": "{n:012}.jpg"'
            file.write((", " if n else "") + f'{{"id": {n}, "height": 480, "width": 640, {name}}}')
        classes = [{"id": n, "name": f"class {n}"} for n in range(1, 81)]
        file.write(f'], "categories": {json.dumps(classes)}, "annotations": [')
        for n in range(count):
            head = f'{{"id": {n + 1}, "image_id": {n % images}, "category_id": {n % 80 + 1}, '
            file.write((",\n" if n else "") + head + texts[n * 7 % 500][1:])
        file.write("]}")


def child(job: str, folder: Path) -> None:
    if job == "polygons":
        coco = importlib.import_module("delineate.formats.coco")
        found: object = coco.read(folder / "polygons.json")
    elif job.startswith("stream "):
        found = streamed(job.removeprefix("stream "), folder / "stream.json")
    elif job == "pycocotools":
        found = importlib.import_module("pycocotools.coco").COCO(str(folder / "polygons.json"))
    else:
        coco = importlib.import_module("delineate.formats.coco")
        truth = coco.read(folder / "truth.json")
        found = coco.read_results(folder / "results.json", folder / "truth.json")
        if job == "evaluate":
            found = importlib.import_module("delineate.metrics.ap").evaluate(truth, found)
    spent = time.process_time()
    (peak,) = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    print("\n" + json.dumps({"cpu_s": spent, "peak_mb": int(peak) / 1024, "found": repr(found)[:60]}))


def streamed(job: str, path: Path) -> object:
    """One of the commands on a large file."""
    formats = importlib.import_module("delineate.formats")
    if job == "read":
        return formats.read(path)
    if job == "stats":
        return importlib.import_module("delineate.curate.stats").stats(formats.read(path)).objects
    if job == "convert":
        convert = importlib.import_module("delineate.curate.convert").convert
        return convert(path, path.with_name("converted.json"), "coco").certificate.counts
    return len(importlib.import_module("delineate.curate.check").check(path, pixels=False))


def fresh(job: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", job, "--folder", str(folder)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    row: dict[str, float] = json.loads(out.splitlines()[-1])
    print(f"{job:14} {row['cpu_s']:7.2f} s CPU, peak {row['peak_mb']:6.0f} MB")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--polygons", type=int, default=0, help="annotations of a file to read")
    parser.add_argument("--images", type=int, default=0, help="pictures of results to evaluate")
    parser.add_argument("--detections", type=int, default=100, help="for a picture")
    parser.add_argument("--corners", type=int, default=40, help="of each detection: the length of its text")
    parser.add_argument(
        "--stream", type=int, default=0, help="MB of a file to read, measure, convert and check"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--folder", type=Path, help="where the files are made and kept")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.folder)
        return
    rows: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if options.polygons:
            polygons(folder, options.polygons)
            print(f"{options.polygons} polygons, {(folder / 'polygons.json').stat().st_size / 1e6:.0f} MB")
            rows |= {job: fresh(job, folder) for job in ("polygons", "pycocotools")}
        if options.stream:
            stream(folder, options.stream)
            print(f"{(folder / 'stream.json').stat().st_size / 1e6:.0f} MB")
            rows |= {job: fresh(job, folder) for job in (f"stream {one}" for one in _STREAMED)}
        if options.images:
            detections(folder, options.images, options.detections, options.corners)
            size = (folder / "results.json").stat().st_size
            count = options.images * options.detections
            print(f"{count} detections, {size / 1e6:.0f} MB")
            for job in ("read", "evaluate"):
                row = fresh(job, folder)
                print(
                    f"{'':12} {(row['peak_mb'] - 40) * 1024 * 1024 / count:.0f} bytes a detection beyond 40 MB"
                )
                rows[job] = row
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
