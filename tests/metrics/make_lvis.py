"""What lvis 0.5.3 (BSD-2) says of random federated scenes -> data/lvis.json.

lvis needs an old numpy, OpenCV and matplotlib, hence is no test dependency. From the root of the repository:

python -m pip install "numpy<2" pycocotools && python -m pip install --no-deps lvis==0.5.3
PYTHONPATH=tests python tests/metrics/make_lvis.py
"""

import json
from pathlib import Path

from coco_scenes import federated
from lvis_oracle import digest, lvis_eval

SEEDS = range(500, 526)


if __name__ == "__main__":
    cases = []
    for seed in SEEDS:
        truth, results = federated(seed)
        if not results:  # lvis cannot load none
            continue
        for iou in ("segm", "bbox"):
            for limit in (7, 300):
                run = lvis_eval(truth, results, iou, limit)
                case = {"seed": seed, "iou": iou, "limit": limit, "results": list(run.results.values())}
                case |= {name: digest(run.eval[name]) for name in ("precision", "recall")}
                cases.append(
                    {key: [float(v) for v in x] if key == "results" else x for key, x in case.items()}
                )
    path = Path(__file__).parent / "data/lvis.json"
    path.write_text(json.dumps(cases).replace("}, ", "},\n") + "\n")
