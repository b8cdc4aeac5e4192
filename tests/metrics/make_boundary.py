"""Boundary AP of faster-coco-eval 1.8.0 (Apache-2.0) on the scenes of test_ap.py -> data/boundary.json.

Run from the root of the repository, where faster-coco-eval, OpenCV and pytest are installed:
PYTHONPATH=src:tests python tests/metrics/make_boundary.py
"""

import contextlib
import io
import json
import sys
from pathlib import Path

from faster_coco_eval import COCO, COCOeval_faster

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from test_ap import scene  # noqa: E402

cases = []
for seed in range(400, 412):
    truth, results = scene(seed, size=(90, 120))
    if not truth["annotations"] or not results:
        continue
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(truth)
        run = COCOeval_faster(known, known.loadRes(results), "boundary", print_function=lambda *_: None)
        run.evaluate()
        run.accumulate()
        run.summarize()
    cases.append({"seed": seed, "stats": run.stats[:12].tolist()})
(HERE / "data").mkdir(exist_ok=True)
(HERE / "data/boundary.json").write_text(json.dumps(cases).replace("}, ", "},\n") + "\n")
