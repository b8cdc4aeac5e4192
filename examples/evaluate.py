"""Predicts every picture of an annotated set (COCO) and prints average precision.

python examples/evaluate.py truth.json [model.onnx]
"""

import sys
from pathlib import Path

from delineate import Predictor
from delineate.formats import coco
from delineate.metrics import evaluate


def main(path: Path, model: str = "nuclei") -> None:
    truth = coco.read(path)
    predictor = Predictor(model, score=0.01)
    found = truth.with_records(record.replace(instances=predictor.predict(record.path)) for record in truth)
    report = evaluate(truth, found, max_detections=(1, 10, 1000))
    print(f"mask AP {report.ap:.3f}, at IoU 0.5 {report.ap50:.3f}, at 0.75 {report.ap75:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])
