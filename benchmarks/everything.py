"""Everything mode outside of the network, against segment-anything: time, and memory at the peak.

    python benchmarks/everything.py [--points 3] [--size 3000 4000] [--json everything.json]

Both get the same network: a stand-in that costs nothing and answers each point with three blobs around it, logits of
256 x 256 cells. What is left is what the two packages do themselves: resize, upsample, filter, boxes, suppression,
run lengths. Each party runs in a process of its own; its memory is that of the process at the peak, less what it had
with its libraries and the picture loaded. Needs torch, torchvision, pycocotools and segment-anything.
"""

import argparse
import json
import multiprocessing
import resource
import time
from pathlib import Path

import numpy as np

SIDE, CELLS, RADII = 1024, 256, (6.0, 14.0, 30.0)


def blobs(points):
    """Logits (P, 3, 256, 256) around points (P, 2) in pixels of the input, and predicted IoU (P, 3)."""
    line = (np.arange(CELLS, dtype=np.float32) + 0.5) * (SIDE / CELLS)
    y, x = line[:, None] - points[:, 1, None, None], line - points[:, 0, None, None]
    distance = np.hypot(x, y)[:, None] / (SIDE / CELLS)
    wobble = 1 + 0.2 * np.sin(5 * np.arctan2(y, x))[:, None]
    radii = np.array(RADII, np.float32)[:, None, None]
    return ((radii * wobble - distance) * 2).astype(np.float32), np.full((len(points), 3), 0.95, np.float32)


def picture(size):
    return np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)


def ours(size, points):
    from delineate.everything import Options, segment_everything
    from delineate.prompt import PromptPredictor

    embedding = {"image_embeddings": np.zeros((1, 1, 64, 64), np.float32)}

    def decode(arrays):
        logits, ious = blobs(arrays["point_coords"][:, 0])
        single = logits[:, :1]
        return {
            "low_res_masks": np.concatenate((single, logits), 1),
            "iou_predictions": np.concatenate((ious[:, :1], ious), 1),
        }

    predictor = PromptPredictor(lambda _: embedding, decode, side=SIDE, batch=4)
    image = picture(size)
    return lambda: len(segment_everything(predictor, image, Options(points=points, stability=0.5)))


def theirs(size, points):
    import torch
    from segment_anything import SamAutomaticMaskGenerator

    torch.set_num_threads(1)
    model = StandIn(torch)
    generator = SamAutomaticMaskGenerator(
        model,
        points_per_side=points,
        points_per_batch=4,
        stability_score_thresh=0.5,
        output_mode="uncompressed_rle",
    )
    image = picture(size)
    return lambda: len(generator.generate(image))


class StandIn:
    """What segment-anything asks of a model."""

    image_format, mask_threshold, device = "RGB", 0.0, "cpu"

    def __init__(self, torch):
        from segment_anything.modeling import Sam

        self.torch = torch
        self.image_encoder = lambda _: torch.zeros(1, 1, 64, 64)
        self.image_encoder.img_size = SIDE
        self.prompt_encoder = lambda points, **_: (points[0], None)
        self.prompt_encoder.get_dense_pe = lambda: None
        self.postprocess_masks = lambda *given: Sam.postprocess_masks(self, *given)

    def preprocess(self, pixels):
        """Pad to the input's side."""
        return self.torch.nn.functional.pad(
            pixels.float(), (0, SIDE - pixels.shape[3], 0, SIDE - pixels.shape[2])
        )

    def mask_decoder(self, sparse_prompt_embeddings, **_):
        """Blobs around the first points."""
        logits, ious = blobs(sparse_prompt_embeddings[:, 0].numpy())
        return self.torch.from_numpy(logits), self.torch.from_numpy(ious)


def run(party, size, points, answers):
    work = {"delineate": ours, "segment-anything": theirs}[party](size, points)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    count = work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    answers.put({"masks": count, "cpu": cpu, "wall": wall, "megabytes": peak / 1024})


def measure(party, size, points):
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=run, args=(party, size, points, answers))
    process.start()
    result = answers.get()
    process.join()
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=3, help="per side of the grid that both take")
    parser.add_argument("--alone", type=int, default=32, help="per side of the grid that we take alone")
    parser.add_argument("--size", type=int, nargs=2, default=(3000, 4000))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = {}
    print("| points | party | masks | CPU s | MB at the peak |")
    print("|---|---|---|---|---|")
    jobs = [("segment-anything", given.points), ("delineate", given.points), ("delineate", given.alone)]
    for party, points in jobs:
        row = rows[f"{party} {points}"] = measure(party, tuple(given.size), points)
        print(
            f"| {points} x {points} | {party} | {row['masks']} | {row['cpu']:.2f} | {row['megabytes']:.0f} |",
            flush=True,
        )
    first, second = rows[f"segment-anything {given.points}"], rows[f"delineate {given.points}"]
    times, memory = (first[key] / max(second[key], 1e-3) for key in ("cpu", "megabytes"))
    print(f"{times:.1f} times less time, {memory:.1f} times less memory")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
