"""How well clicks and boxes are answered on held-out pictures: mean IoU with the object that was meant.

    python benchmarks/clicks.py --nuclei PATH/TO/dsb2018 --facades PATH/TO/facade640 --generated OUT/generated_val.json
    python benchmarks/clicks.py --model encoder.onnx decoder.onnx ...

The generated pictures are those of recipes/click_data.py. A first click is put where the object is thickest, as in
"Reviving Iterative Training with Mask Guidance" (Sofiiuk et al. 2022, arXiv:2102.06583), and, for comparison, anywhere
inside of it; every further click where what is wrong with the last mask is thickest. The first answer is the candidate
that the model scores best; later ones are the single mask, with the one before as a prompt. A box is the object's own.

Beside it: the mask of the embedded instance model under the click (nuclei only), OpenCV's flood fill from the click at
the tolerance that is best for the whole set, and OpenCV's GrabCut in the box. Objects of less than 40 pixels are left
out; of each picture 10 objects are drawn with a fixed seed.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

from delineate import Dataset, Predictor
from delineate.formats import coco
from delineate.image import read_image
from delineate.prompt import PromptPredictor

LEAST, OBJECTS, CLICKS = 40, 10, 5
TOLERANCES = (4, 8, 16, 32)


def thickest(region):
    """x, y of the pixel that is farthest from the border of a region."""
    depth = distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), region.shape)
    return float(column), float(row)


def iou(found, truth):
    return np.logical_and(found, truth).sum() / max(np.logical_or(found, truth).sum(), 1)


def best(found):
    return found[[int(found.scores.argmax())]]


def interact(predictor, truth, rng):
    """IoU after each click, of a click anywhere, and of the box."""
    row = {}
    points, labels = [thickest(truth)], [1]
    found = best(predictor.predict(points, labels, keep_logits=True))
    for number in range(1, CLICKS + 1):
        mask = found.masks.to_dense()[0]
        row[f"{number}"] = iou(mask, truth)
        if number == CLICKS:
            break
        missed, extra = truth & ~mask, mask & ~truth
        depths = [distance_transform_edt(np.pad(region, 1)).max() for region in (missed, extra)]
        if max(depths) > 0:
            points.append(thickest(missed if depths[0] >= depths[1] else extra))
            labels.append(int(depths[0] >= depths[1]))
        hint = found.extras["logits"]
        found = predictor.predict(points, labels, mask=hint, multimask=False, keep_logits=True)
    rows, columns = np.nonzero(truth)
    chosen = rng.integers(len(rows))
    anywhere = best(predictor.predict([[columns[chosen], rows[chosen]]], [1]))
    row["anywhere"] = iou(anywhere.masks.to_dense()[0], truth)
    box = [columns.min() - 0.5, rows.min() - 0.5, columns.max() + 0.5, rows.max() + 0.5]
    row["box"] = iou(predictor.predict(boxes=box, multimask=False).masks.to_dense()[0], truth)
    return row


def flooded(image, point, tolerance):
    mask = np.zeros((image.shape[0] + 2, image.shape[1] + 2), np.uint8)
    flags = 4 | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY | (1 << 8)
    seed = int(point[0]), int(point[1])
    cv2.floodFill(image.copy(), mask, seed, 0, (tolerance,) * 3, (tolerance,) * 3, flags)
    return mask[1:-1, 1:-1] > 0


def cut(image, truth):
    rows, columns = np.nonzero(truth)
    y0, x0 = max(int(rows.min()) - 20, 0), max(int(columns.min()) - 20, 0)
    part = image[y0 : int(rows.max()) + 21, x0 : int(columns.max()) + 21]
    rectangle = (
        int(columns.min()) - x0,
        int(rows.min()) - y0,
        int(np.ptp(columns)) + 1,
        int(np.ptp(rows)) + 1,
    )
    if rectangle[2] >= part.shape[1] and rectangle[3] >= part.shape[0]:
        return truth | True  # nothing is left to be background
    mask = np.zeros(part.shape[:2], np.uint8)
    cv2.setRNGSeed(0)
    try:
        cv2.grabCut(part, mask, rectangle, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_RECT)
    except cv2.error:  # too few colours for its mixtures
        mask[:] = 0
    found = np.zeros(truth.shape, bool)
    found[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]] = mask & 1
    return found


def measure(predictor: PromptPredictor, dataset: Dataset, instances: Predictor | None, peers: bool):
    rows = []
    for index, record in enumerate(dataset):
        rng = np.random.default_rng((7, index))
        image, masks = read_image(record.path), record.instances.masks
        known = np.flatnonzero(masks.areas >= LEAST)
        if not len(known):
            continue
        predictor.set_image(image)
        found = instances.predict(image) if instances else None
        for which in rng.permutation(known)[:OBJECTS]:
            truth = masks[[int(which)]].to_dense()[0]
            row = interact(predictor, truth, rng)
            x, y = thickest(truth)
            if found is not None:
                hits = found.masks.to_dense()[:, int(y), int(x)]
                chosen = np.flatnonzero(hits)
                row["instance model"] = (
                    iou(found.masks[[int(chosen[found.scores[chosen].argmax()])]].to_dense()[0], truth)
                    if len(chosen)
                    else 0.0
                )
            if peers:
                for tolerance in TOLERANCES:
                    row[f"flood fill {tolerance}"] = iou(flooded(image, (x, y), tolerance), truth)
                row["GrabCut, box"] = iou(cut(image, truth), truth)
            rows.append(row)
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    floods = [means.pop(name) for name in list(means) if name.startswith("flood fill")]
    if floods:
        means["flood fill"] = max(floods)
    return {"objects": len(rows), **means}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", default=["click"])
    parser.add_argument("--nuclei", type=Path)
    parser.add_argument("--facades", type=Path)
    parser.add_argument("--generated", type=Path)
    parser.add_argument("--step", type=int, default=1, help="take every so many pictures")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    predictor = PromptPredictor.load(*given.model)
    sets = {}
    if given.nuclei:
        truth = coco.read(given.nuclei / "val.json")
        sets["nuclei"] = truth
        for kind in sorted({str(record.attributes["modality"]) for record in truth}):
            sets[kind] = truth.filter(lambda record, kind=kind: record.attributes["modality"] == kind)
    if given.facades:
        sets["facades"] = coco.read(given.facades / "val.json")
    if given.generated:
        sets["generated"] = coco.read(given.generated)
    rows = {}
    for name, dataset in sets.items():
        part = Dataset(tuple(dataset)[:: given.step], dataset.classes)
        cells = given.nuclei is not None and name not in ("facades", "generated")
        rows[name] = measure(predictor, part, Predictor("nuclei") if cells else None, not given.no_peers)
        print(name, json.dumps({key: round(value, 3) for key, value in rows[name].items()}), flush=True)
    columns = [
        "objects",
        "1",
        "2",
        "3",
        "5",
        "anywhere",
        "box",
        "instance model",
        "flood fill",
        "GrabCut, box",
    ]
    print("\n| held-out part | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name, row in rows.items():
        cells = [
            f"{row[key]:.3f}" if isinstance(row.get(key), float) else str(row.get(key, "")) for key in columns
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
