"""Run-length masks against every fast peer, in one process: COCO's tools and their successors, and OpenCV.

Every job is done by all parties in turn, several times. On one thread (the default) the medians of process CPU time
give the ratios, on more the shortest wall times; a party called "delineate on 1" is then delineate held to one thread.
Results are compared before anything is timed. Only the ratios mean anything on another machine.

    pip install -r benchmarks/requirements.txt
    python benchmarks/masks.py --threads 2 --json masks.json
"""

import importlib
from types import ModuleType

import numpy as np
from pycocotools import mask as coco
from turns import Job, options, report

from delineate import algebra
from delineate.masks import Masks
from delineate.threads import set_num_threads

HEIGHT, WIDTH = SIZE = 480, 640
MASKS, BANDS = 1000, 200
PEERS = {
    "ultrafast": "ultrafast_pycocotools.mask",
    "hotcoco": "hotcoco.mask",
    "faster-coco-eval": "faster_coco_eval.core.mask",
    "pycocotools": "pycocotools.mask",
}


def installed() -> dict[str, ModuleType]:
    """The peers that are here, by name; all have pycocotools' functions."""
    found = {}
    for name, module in PEERS.items():
        try:
            found[name] = importlib.import_module(module)
        except ImportError as error:
            print(f"left out: {name} ({error})")
    return found


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


def fresh(masks):
    """The same runs without remembered areas and boxes."""
    return Masks(masks.runs)


def codec_jobs(peers, masks, rles) -> dict[str, Job]:
    rows = masks.to_dense().view(np.uint8)
    columns = np.asfortranarray(rows.transpose(1, 2, 0))
    out, stack = np.zeros(rows.shape, bool), columns.transpose(2, 0, 1)
    assert Masks.from_dense(rows) == masks
    assert Masks.from_dense(stack) == masks
    jobs: dict[str, Job] = {
        "encode, C order (N, H, W)": {"delineate": lambda: Masks.from_dense(rows)},
        "encode, Fortran order (H, W, N)": {"delineate": lambda: Masks.from_dense(stack)},
        "encode to strings, C order": {"delineate": lambda: Masks.from_dense(rows).to_rle()},
        "encode to strings, Fortran order": {"delineate": lambda: Masks.from_dense(stack).to_rle()},
        "decode, fresh memory": {"delineate": masks.to_dense},
        "decode, out=": {"delineate": lambda: masks.to_dense(out)},
        "from strings, decode": {"delineate": lambda: Masks.from_rle(rles).to_dense()},
    }
    for name, peer in peers.items():
        ordered = lambda peer=peer: peer.encode(np.asfortranarray(rows.transpose(1, 2, 0)))  # noqa: E731
        direct = lambda peer=peer: peer.encode(columns)  # noqa: E731
        if name == "hotcoco":  # which takes any order
            ordered = lambda peer=peer: peer.encode(rows.transpose(1, 2, 0))  # noqa: E731
        decode = lambda peer=peer: peer.decode(rles)  # noqa: E731
        works = ordered, direct, ordered, direct, decode, decode, decode
        for job, work in zip(jobs.values(), works, strict=True):
            job[name] = work
    return jobs


def measure_jobs(peers, masks, rles) -> dict[str, Job]:
    jobs: dict[str, Job] = {
        "area": {"delineate": lambda: fresh(masks).areas},
        "box": {"delineate": lambda: fresh(masks).boxes},
        "merge": {"delineate": masks.union},
    }
    chunks = [rles[i : i + 255] for i in range(0, len(rles), 255)]
    for name, peer in peers.items():
        # pycocotools.mask.area overflows beyond 255 masks under numpy 2.
        jobs["area"][name] = lambda peer=peer: [peer.area(chunk) for chunk in chunks]
        jobs["box"][name] = lambda peer=peer: peer.toBbox(rles)
        jobs["merge"][name] = lambda peer=peer: peer.merge(rles)
    return jobs


def polygon_jobs(peers, shapes, masks, rles) -> dict[str, Job]:
    assert [rle["counts"].encode() for rle in masks.to_rle()] == [
        coco.frPyObjects(shape, *SIZE)[0]["counts"] for shape in shapes
    ]
    jobs: dict[str, Job] = {
        "polygons to runs": {"delineate": lambda: Masks.from_polygons(shapes, SIZE)},
        "polygons to strings": {"delineate": lambda: Masks.from_polygons(shapes, SIZE).to_rle()},
        "runs to polygons": {"delineate": masks.to_polygons},
    }
    for name, peer in peers.items():
        fill = lambda peer=peer: [peer.frPyObjects(shape, *SIZE) for shape in shapes]  # noqa: E731
        jobs["polygons to runs"][name] = jobs["polygons to strings"][name] = fill
    try:
        import cv2
    except ImportError as error:
        print(f"left out: opencv ({error})")
        return jobs
    for name, peer in peers.items():
        jobs["runs to polygons"][f"{name} + cv2"] = lambda peer=peer: [
            cv2.findContours(peer.decode(rle), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE) for rle in rles
        ]
    return jobs


def overlap_jobs(peers, rng) -> dict[str, Job]:
    jobs: dict[str, Job] = {}
    for title, spread in (("all overlapping", 0.05), ("spread", 1.0)):
        masks = Masks.from_polygons(outlines(rng, 150, spread), SIZE)
        rles, crowd = masks.to_rle(), [0] * 50
        found, truth = masks[:100], masks[100:]
        assert (found.iou(truth) == coco.iou(rles[:100], rles[100:], crowd)).all()
        job: Job = {"delineate": lambda found=found, truth=truth: found.iou(truth)}
        for name, peer in peers.items():
            job[name] = lambda peer=peer, rles=rles, crowd=crowd: peer.iou(rles[:100], rles[100:], crowd)
        jobs[f"IoU 100 x 50, {title}"] = job
    return jobs


def band_jobs(peers, masks, rles) -> dict[str, Job]:
    some, theirs = masks[:BANDS], rles[:BANDS]
    jobs: dict[str, Job] = {"boundary band of 200": {"delineate": lambda: algebra.boundary_band(some)}}
    job = jobs["boundary band of 200"]
    if "ultrafast" in peers:
        job["ultrafast"] = lambda: peers["ultrafast"].toBoundary(theirs, 0.02)
    if "faster-coco-eval" in peers:
        faster = peers["faster-coco-eval"]
        job["faster-coco-eval"] = lambda: [faster.rleToBoundary(rle, 0.02) for rle in theirs]
        job["faster-coco-eval, opencv"] = lambda: [faster.rleToBoundaryCV(rle, 0.02) for rle in theirs]
        expected = Masks.from_rle([faster.rleToBoundary(rle, 0.02) for rle in theirs])
        assert algebra.boundary_band(some) == expected
    return jobs


def alone(work):
    """The same on one thread."""

    def run():
        set_num_threads(1)
        try:
            return work()
        finally:
            set_num_threads(None)

    return run


def main() -> None:
    chosen = options(__doc__, rounds=7)
    peers = installed()
    rng = np.random.default_rng(0)
    shapes = outlines(rng, MASKS)
    masks = Masks.from_polygons(shapes, SIZE)
    rles = [rle | {"counts": rle["counts"].encode()} for rle in masks.to_rle()]
    jobs = codec_jobs(peers, masks, rles) | measure_jobs(peers, masks, rles)
    jobs |= (
        polygon_jobs(peers, shapes, masks, rles) | overlap_jobs(peers, rng) | band_jobs(peers, masks, rles)
    )
    if chosen.threads > 1:
        for job in jobs.values():
            job["delineate on 1"] = alone(job["delineate"])
    report(jobs, chosen)


if __name__ == "__main__":
    main()
