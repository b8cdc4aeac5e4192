"""What training was worth: a checkpoint of `delineate train`, and what it started from, on the validation pictures.

    python benchmarks/finetuning.py runs/facades/best.safetensors --data PATH/TO/facade640

Prints mask AP of models that find objects, panoptic quality or mean IoU of those that name every pixel. The model
before is built as the run built it: random weights, or the ones of `model.weights` with the parts that depend on the
classes anew.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec
import torch
from msgspec.structs import replace

from delineate import models
from delineate.postprocess.decode import Thresholds
from delineate.train import truth
from delineate.train.checkpoint import read
from delineate.train.config import TrainConfig
from delineate.train.data import Pictures
from delineate.train.loop import preprocess_of
from delineate.train.validate import figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, help="instead of the run's data.root")
    parser.add_argument("--weights", type=Path, help="instead of the run's model.weights")
    given = parser.parse_args()
    torch.set_num_threads(1)
    _, header = read(given.checkpoint)
    config = msgspec.convert(header.config, TrainConfig)
    root = given.data or Path(config.data.root)
    torch.manual_seed(config.seed)
    stuff = {"stuff": len(header.stuff), "rules": config.panoptic} if header.stuff else {}
    before = models.build(config.model.name, classes=len(header.classes), **stuff)
    chosen = replace(config, data=replace(config.data, root=str(root), train=config.data.val, val=""))
    known, _ = truth.read(chosen, before)
    pictures = Pictures(known.dataset, 0.0, roles=known.roles)
    start = given.weights or config.model.weights
    for line in models.load_weights(before, start) if start else ["random weights"]:
        print(f"before: {line}")
    thresholds = Thresholds(score=config.score, iou=config.iou, max_detections=config.max_detections)
    for name, model in (("before", before.eval()), ("after", models.load(given.checkpoint).model)):
        found = figures(model, pictures, preprocess_of(model, config), thresholds, config.panoptic)
        text = ", ".join(f"{figure} {value:.3f}" for figure, value in found.items())
        print(f"{name}: {text}, {len(known.dataset)} pictures, {len(header.classes)} classes")


if __name__ == "__main__":
    main()
