"""Mask R-CNN with the same weights: the network, a picture to instances, the paste of masks; against torchvision.

    python benchmarks/mask_rcnn.py --side 800 --json mask_rcnn.json

Weights are random (spread, so that there are 100 detections), the picture is noise. torchvision's result is a dense
bitmap per object, delineate's are runs. Peak memory is what a process of its own needs for one party's picture,
beyond both networks. Needs torchvision (requirements.txt beside this file).
"""

import argparse
import multiprocessing
import sys
from pathlib import Path

import numpy as np
import torch
from torchvision.models.detection import maskrcnn_resnet50_fpn
from torchvision.models.detection.roi_heads import paste_masks_in_image
from turns import options, report

from delineate import models
from delineate.instances import Instances
from delineate.modelfile import Preprocess
from delineate.postprocess.decode import Placement, Thresholds, crops

THRESHOLDS = Thresholds(score=0.0)


def networks(side: int) -> tuple[torch.nn.Module, torch.nn.Module, Preprocess]:
    """Ours and theirs with the same weights, and our preparation for the shorter side."""
    torch.manual_seed(0)
    theirs = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, min_size=side, max_size=2 * side)
    with torch.no_grad():
        score = theirs.roi_heads.box_predictor.cls_score.weight
        score.sub_(score.mean(1, keepdim=True)).mul_(20)
    ours = models.build("mask_rcnn-r50_fpn", classes=90)
    state = {k: v for k, v in theirs.state_dict().items() if k in ours.state_dict()}
    ours.load_state_dict(state)
    prepared = Preprocess(
        rule="shortest",
        size=(side, 2 * side),
        rounding="floor",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )
    return ours.eval(), theirs.eval(), prepared


@torch.inference_mode()
def their_total(model: torch.nn.Module, image: np.ndarray) -> torch.Tensor:
    found = model([torch.from_numpy(image).permute(2, 0, 1) / 255])[0]
    return found["masks"] >= 0.5


@torch.inference_mode()
def their_network(model: torch.nn.Module, images: torch.Tensor) -> object:
    from torchvision.models.detection.image_list import ImageList

    listed = ImageList(images, [(images.shape[2], images.shape[3])])
    proposals, _ = model.rpn(listed, features := model.backbone(images))
    return model.roi_heads(features, proposals, listed.image_sizes)


def peak(party: str, side: int, queue: multiprocessing.Queue) -> None:
    """Megabytes of a process of its own."""
    torch.set_num_threads(1)
    ours, theirs, prepared = networks(side)
    image = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), np.uint8)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = kilobytes("VmRSS")
    if party == "delineate":
        models.segment(ours, image, prepared, THRESHOLDS)
    else:
        their_total(theirs, image)
    queue.put((kilobytes("VmHWM") - before) / 1024)


def kilobytes(name: str) -> int:
    """An entry of this process's status, Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def pasting() -> tuple[np.ndarray, np.ndarray]:
    """Boxes and 28 x 28 logits of 100 objects on 1080 x 1920 pixels."""
    rng = np.random.default_rng(1)
    low = rng.uniform(0, 900, (100, 2)) * (1.5, 1)
    boxes = np.concatenate((low, low + rng.uniform(20, 400, (100, 2))), 1).astype(np.float32)
    rows, columns = np.mgrid[:28, :28] - 13.5
    logits = 8 - 0.05 * (rows**2 + columns**2) + rng.normal(0, 0.5, (100, 28, 28))
    return boxes, logits.astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--side", type=int, default=800)
    given, sys.argv[1:] = parser.parse_known_args()
    side = given.side
    chosen = options(__doc__, rounds=3)
    torch.set_num_threads(chosen.threads)
    ours, theirs, prepared = networks(side)
    image = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), np.uint8)
    images = torch.from_numpy(prepared.apply(image)[0])
    boxes, logits = pasting()
    outputs = [boxes, np.linspace(1, 0.5, 100, dtype=np.float32), np.zeros(100, np.int64), logits]
    placed = {
        "placement": Placement(1.0, 1.0, 0, 0),
        "size": (1080, 1920),
        "thresholds": THRESHOLDS,
        "classes": 1,
    }
    probabilities = torch.from_numpy(logits).sigmoid()[:, None]

    def paste() -> Instances:
        return crops(outputs, **placed, threads=chosen.threads)

    def run() -> object:
        with torch.inference_mode():
            return ours(images)

    jobs = {
        "paste of 100 masks, 1080 x 1920": {
            "delineate": paste,
            "delineate, dense": lambda: paste().masks.to_dense(),
            "torchvision": lambda: (
                paste_masks_in_image(probabilities, torch.from_numpy(boxes), (1080, 1920)) >= 0.5
            ),
        },
        f"network, shorter side {side}": {
            "delineate": run,
            "torchvision": lambda: their_network(theirs, images),
        },
        f"1080 x 1920 picture to instances, shorter side {side}": {
            "delineate": lambda: models.segment(ours, image, prepared, THRESHOLDS),
            "torchvision": lambda: their_total(theirs, image),
        },
    }
    report(jobs, chosen)
    context = multiprocessing.get_context("spawn")
    for party in ("delineate", "torchvision"):
        queue = context.Queue()
        process = context.Process(target=peak, args=(party, side, queue))
        process.start()
        print(f"peak memory of a picture, {party}: {queue.get():.0f} MB")
        process.join()


if __name__ == "__main__":
    main()
