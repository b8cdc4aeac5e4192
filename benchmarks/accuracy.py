"""Accuracy of the embedded model on held-out nuclei per modality, and of a foreign COCO model on photographs.

    python benchmarks/accuracy.py --nuclei PATH/TO/dsb2018 [--out accuracy.json]
    python benchmarks/accuracy.py --coco PATH/TO/coco128_seg PATH/TO/coco_street --model yolov8n-seg.onnx

Prints Markdown tables; the figures in the documentation are copied from here.
"""

import argparse
import json
from pathlib import Path

from delineate import Dataset, Predictor
from delineate.formats import coco
from delineate.metrics import evaluate, matching

LOW = 0.01  # average precision wants the weak detections too


def predict(predictor: Predictor, truth: Dataset) -> Dataset:
    """The predictions for every picture of a dataset."""
    records = [record.replace(instances=predictor.predict(record.path)) for record in truth]
    return Dataset(tuple(records), predictor.classes)


def nuclei(folder: Path, score: float | None) -> dict:
    """Mask AP (maxDets 1000) and StarDist-style accuracy on val.json, over all and per modality."""
    truth = coco.read(folder / "val.json")
    weak, sure = (predict(Predictor("nuclei", score=s), truth) for s in (LOW, score))
    kinds = sorted({str(record.attributes["modality"]) for record in truth})
    groups = {
        "all": kinds,
        "fluorescence": [kind for kind in kinds if kind.startswith("fluorescence")],
        **{kind: [kind] for kind in kinds},
    }
    rows = {}
    for name, members in groups.items():
        part = truth.filter(lambda record, members=members: record.attributes["modality"] in members)
        ids = {record.id for record in part}
        report = evaluate(
            part, weak.filter(lambda record, ids=ids: record.id in ids), max_detections=(1, 10, 1000)
        )
        counts = matching(
            part, sure.filter(lambda record, ids=ids: record.id in ids), (0.5, 0.6, 0.7, 0.8, 0.9)
        )
        rows[name] = {
            "pictures": len(part),
            "nuclei": sum(len(record.instances) for record in part),
            "ap": report.ap,
            "ap50": report.ap50,
            "ap75": report.ap75,
            "accuracy": [float(value) for value in counts.accuracy],
        }
    print("| val part | pictures | nuclei | mask AP | AP50 | AP75 |")
    print("|---|---|---|---|---|---|")
    for name, row in rows.items():
        figures = " | ".join(f"{row[key]:.3f}" for key in ("ap", "ap50", "ap75"))
        print(f"| {name} | {row['pictures']} | {row['nuclei']} | {figures} |")
    print("\n| TP / (TP + FP + FN) at IoU | 0.5 | 0.6 | 0.7 | 0.8 | 0.9 | mean |")
    print("|---|---|---|---|---|---|---|")
    for name, row in rows.items():
        values = [*row["accuracy"], sum(row["accuracy"]) / 5]
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    return rows


def photographs(folders: list[Path], model: Path) -> dict:
    """Mask and box AP of a COCO model on train.json and val.json of each folder."""
    rows = {}
    predictor = Predictor(model, score=LOW)
    print("| set | pictures | objects | mask AP | mask AP50 | box AP |")
    print("|---|---|---|---|---|---|")
    for folder in folders:
        for part in ("train", "val"):
            truth = coco.read(folder / f"{part}.json")
            found = predict(predictor, truth)
            mask, box = (evaluate(truth, found, iou=kind) for kind in ("mask", "box"))
            objects = sum(len(record.instances) for record in truth)
            rows[f"{folder.name}/{part}"] = {"mask_ap": mask.ap, "mask_ap50": mask.ap50, "box_ap": box.ap}
            print(
                f"| {folder.name} {part} | {len(truth)} | {objects} "
                f"| {mask.ap:.3f} | {mask.ap50:.3f} | {box.ap:.3f} |"
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nuclei", type=Path)
    parser.add_argument("--score", type=float, help="threshold for the matching; default: the model's own")
    parser.add_argument("--coco", type=Path, nargs="*", default=[])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    results = {}
    if options.nuclei:
        results["nuclei"] = nuclei(options.nuclei, options.score)
    if options.coco:
        results["photographs"] = photographs(options.coco, options.model)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
