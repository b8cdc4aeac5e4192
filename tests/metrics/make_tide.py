"""Makes tide.json: what tidecv 1.0.1 (MIT) says of random scenes.

It needs OpenCV and pandas, hence is no test dependency:

python -m pip install tidecv==1.0.1 "numpy<2"; PYTHONPATH=src:tests python tests/metrics/make_tide.py
"""

import json
from pathlib import Path

import numpy as np
from scenes import scene
from tidecv import TIDE, Data

SCENES = [
    {"seed": 1, "pictures": 40, "crowd": 0.0},
    {"seed": 2, "pictures": 25, "crowd": 0.0},
    {"seed": 3, "pictures": 60, "crowd": 0.0, "size": [60, 70]},
]
"""Arguments of `scenes.scene`: no crowds and no class without truth, where the two differ by intention."""


def data(dataset, name, add):
    """tidecv's own table, filled through its public methods."""
    table = Data(name, max_dets=1000)
    for label, text in enumerate(dataset.classes):
        table.add_class(label, text)
    for record in dataset:
        table.add_image(record.id, record.name)
        instances = record.instances
        corners = instances.boxes.astype(np.float64)
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1).tolist()
        for place, rle in enumerate(instances.masks.to_rle()):
            score = () if instances.scores is None else (float(instances.scores[place]),)
            add(table, record.id, int(instances.labels[place]), *score, box=boxes[place], mask=rle)
    return table


if __name__ == "__main__":
    pinned = []
    for arguments in SCENES:
        truth, found = scene(**arguments)
        for mode in (TIDE.MASK, TIDE.BOX):
            for threshold in (0.5, 0.75):
                known = data(truth, "truth", Data.add_ground_truth)
                tide = TIDE(mode=mode)
                run = tide.evaluate(known, data(found, "found", Data.add_detection), pos_threshold=threshold)
                numbers = {
                    "ap": run.ap,
                    "main": {kind.short_name: gain for kind, gain in run.fix_main_errors().items()},
                    "special": {kind.short_name: gain for kind, gain in run.fix_special_errors().items()},
                    "counts": {kind.short_name: count for kind, count in run.count_errors().items()},
                }
                pinned.append({"scene": arguments, "iou": mode, "threshold": threshold, **numbers})
    path = Path(__file__).with_name("data") / "tide.json"
    path.write_text(json.dumps(pinned, indent=1) + "\n", "utf-8")
