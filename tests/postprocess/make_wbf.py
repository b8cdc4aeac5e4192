"""Makes wbf.json: what ensemble-boxes (MIT, 1.0.9) fuses. Run once, with that package installed.

python tests/postprocess/make_wbf.py
"""

import json
from pathlib import Path

import numpy as np
from ensemble_boxes import weighted_boxes_fusion

SIDE = 512  # ensemble-boxes wants corners in 0 to 1; of a power of two the scaling is exact


def finds(rng, truth, labels):
    """One model's noisy finds: some missed, some twice."""
    chosen = np.flatnonzero(rng.random(len(truth)) < 0.8)
    chosen = np.concatenate([chosen, chosen[rng.random(len(chosen)) < 0.15]])
    boxes = np.clip(truth[chosen] + rng.normal(0, 4, (len(chosen), 4)), 0, SIDE).astype(np.float32)
    boxes = np.concatenate(
        [np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], 1
    )
    return np.round(boxes * 4) / 4, rng.random(len(chosen)).round(3).astype(np.float32), labels[chosen]


def main():
    rng = np.random.default_rng(0)
    cases = []
    for weights, threshold in [(None, 0.55), ([2.0, 1.0, 0.5], 0.55), ([1.0, 1.0, 3.0], 0.3), (None, 0.8)]:
        low = rng.uniform(0, SIDE - 90, (20, 2))
        truth = np.concatenate([low, low + rng.uniform(20, 90, (20, 2))], 1)
        sets = [finds(rng, truth, np.arange(20) % 3) for _ in range(3)]
        boxes, scores, labels = weighted_boxes_fusion(
            [(b / SIDE).tolist() for b, _, _ in sets],
            [s.tolist() for _, s, _ in sets],
            [c.tolist() for _, _, c in sets],
            weights=weights,
            iou_thr=threshold,
        )
        cases.append(
            {
                "weights": weights,
                "threshold": threshold,
                "sets": [[part.astype(float).round(3).tolist() for part in found] for found in sets],
                "boxes": (boxes * SIDE).round(4).tolist(),
                "scores": scores.round(6).tolist(),
                "labels": labels.astype(int).tolist(),
            }
        )
    text = json.dumps({"side": SIDE, "cases": cases})
    Path(__file__).with_name("wbf.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
