"""Mask AP of a checkpoint of `delineate train`, and of what it started from, on the validation pictures of its run.

    python benchmarks/finetuning.py runs/facades/best.safetensors --data PATH/TO/facade640

The model before is built as the run built it: random weights, or the ones of `model.weights` with the parts that depend
on the classes anew.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec
import torch

from delineate import models
from delineate.formats import coco
from delineate.postprocess.decode import Thresholds
from delineate.train.checkpoint import read
from delineate.train.config import TrainConfig
from delineate.train.data import Pictures
from delineate.train.loop import preprocess_of
from delineate.train.validate import validate


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
    pictures = Pictures(coco.read(root / config.data.val), 0.0)
    torch.manual_seed(config.seed)
    before = models.build(config.model.name, classes=len(header.classes))
    start = given.weights or config.model.weights
    for line in models.load_weights(before, start) if start else ["random weights"]:
        print(f"before: {line}")
    thresholds = Thresholds(score=config.score, iou=config.iou, max_detections=config.max_detections)
    for name, model in (("before", before.eval()), ("after", models.load(given.checkpoint).model)):
        report = validate(model, pictures, preprocess_of(model, config), thresholds)
        print(
            f"{name}: mask AP {report.ap:.3f}, AP50 {report.ap50:.3f}, {len(pictures.dataset)} pictures, "
            f"{len(header.classes)} classes"
        )


if __name__ == "__main__":
    main()
