"""How well clicks and boxes are answered on held-out pictures: mean IoU with the object that was meant.

    python benchmarks/clicks.py --nuclei PATH/TO/dsb2018 --facades PATH/TO/facade640 --generated OUT/generated_val.json
    python benchmarks/clicks.py --model encoder.onnx decoder.onnx ...

The generated pictures are those of recipes/click_data.py. A first click is put where the object is thickest, as in
"Reviving Iterative Training with Mask Guidance" (Sofiiuk et al. 2022, arXiv:2102.06583), and, for comparison, anywhere
inside of it; every further click where what is wrong with the last mask is thickest. Answers are
the single mask, from the second click on with the mask before as a prompt; "candidate" is, of three after one click,
the one that the model scores best. A box is the object's own.

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
    """x, y of the pixel that is farthest from the border of a region, and how far that is (0 without pixels)."""
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    if not len(rows):
        return (0.0, 0.0), 0.0
    part = np.pad(region[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1)
    depth = distance_transform_edt(part)
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return (float(column + columns[0] - 1), float(row + rows[0] - 1)), float(depth.max())


def iou(found, truth):
    return np.logical_and(found, truth).sum() / max(np.logical_or(found, truth).sum(), 1)


def best(found):
    return found[[int(found.scores.argmax())]]


def interact(predictor, truth, rng):
    """IoU after each click, of a click anywhere, and of the box."""
    row = {}
    points, labels = [thickest(truth)[0]], [1]
    row["candidate"] = iou(best(predictor.predict(points, labels)).masks.to_dense()[0], truth)
    found = predictor.predict(points, labels, multimask=False, keep_logits=True)
    for number in range(1, CLICKS + 1):
        mask = found.masks.to_dense()[0]
        row[f"{number}"] = iou(mask, truth)
        if number == CLICKS:
            break
        (missed, deep), (extra, beyond) = thickest(truth & ~mask), thickest(mask & ~truth)
        if max(deep, beyond) > 0:
            points.append(missed if deep >= beyond else extra)
            labels.append(int(deep >= beyond))
        hint = found.extras["logits"]
        found = predictor.predict(points, labels, mask=hint, multimask=False, keep_logits=True)
    rows, columns = np.nonzero(truth)
    chosen = rng.integers(len(rows))
    anywhere = predictor.predict([[columns[chosen], rows[chosen]]], [1], multimask=False)
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
    """One row of IoUs per object, with the kind of its picture."""
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
            row = {"kind": record.attributes.get("modality"), **interact(predictor, truth, rng)}
            (x, y), _ = thickest(truth)
            if found is not None:
                row["instance model"] = iou(under(found, x, y, truth.shape), truth)
            if peers:
                for tolerance in TOLERANCES:
                    row[f"flood fill {tolerance}"] = iou(flooded(image, (x, y), tolerance), truth)
                row["GrabCut, box"] = iou(cut(image, truth), truth)
            rows.append(row)
    return rows


def under(found, x, y, size):
    """The mask of the best instance under a click."""
    chosen = np.flatnonzero(found.masks.to_dense()[:, int(y), int(x)])
    if not len(chosen):
        return np.zeros(size, bool)
    return found.masks[[int(chosen[found.scores[chosen].argmax()])]].to_dense()[0]


def means(rows):
    found = {name: float(np.mean([row[name] for row in rows])) for name in rows[0] if name != "kind"}
    floods = [found.pop(name) for name in list(found) if name.startswith("flood fill")]
    return {"objects": len(rows), **found, **({"flood fill": max(floods)} if floods else {})}


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
    files = {
        "nuclei": given.nuclei and given.nuclei / "val.json",
        "facades": given.facades and given.facades / "val.json",
        "generated": given.generated,
    }
    columns = [
        "objects",
        "1",
        "2",
        "3",
        "5",
        "candidate",
        "anywhere",
        "box",
        "instance model",
        "flood fill",
        "GrabCut, box",
    ]
    print("| held-out part | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    table = {}
    for name, path in files.items():
        if path is None:
            continue
        dataset = coco.read(path)
        part = Dataset(tuple(dataset)[:: given.step], dataset.classes)
        rows = measure(predictor, part, Predictor("nuclei") if name == "nuclei" else None, not given.no_peers)
        kinds = sorted({row["kind"] for row in rows} - {None})
        groups = {name: rows, **{kind: [row for row in rows if row["kind"] == kind] for kind in kinds}}
        for group, members in groups.items():
            row = table[group] = means(members)
            cells = [
                f"{row[key]:.3f}" if isinstance(row.get(key), float) else str(row.get(key, ""))
                for key in columns
            ]
            print(f"| {group} | " + " | ".join(cells) + " |", flush=True)
    if given.json:
        given.json.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
