"""Draws docs/images/scenes.png: drawn landscapes, and what a run of recipes/panoptic_fpn_scenes.toml sees in them.

python docs/images/scenes.py runs/scenes/best.safetensors
"""

import runpy
import sys
from pathlib import Path

import numpy as np

from delineate.draw import draw
from delineate.image import write_image
from delineate.panoptic import Panoptic
from delineate.postprocess.panoptic import Rules
from delineate.trained import predictor

HERE = Path(__file__).resolve().parent
SEEDS = (3, 5)  # of the validation pictures

if __name__ == "__main__":
    scene = runpy.run_path(str(HERE.parents[1] / "recipes" / "scenes_data.py"))["scene"]
    model = predictor(sys.argv[1])
    rows = []
    for seed in SEEDS:
        image, _ = scene(seed)
        found = model.panoptic(image, Rules(stuff_area=100))
        image = np.kron(image, np.ones((2, 2, 1), np.uint8))
        map_ = np.kron(found.map, np.ones((2, 2), np.int32))
        large = Panoptic(map_, found.ids, found.labels, found.things, scores=found.scores)
        drawn = draw(image, large, [*model.classes, *model.stuff], legend=True)
        rows.append(np.concatenate([image, drawn], axis=1))
    width = min(row.shape[1] for row in rows)
    write_image(HERE / "scenes.png", np.concatenate([row[:, :width] for row in rows]))
