"""Random COCO files and results lists with everything that tends to go wrong, as plain JSON values."""

import numpy as np
from pycocotools import mask as mask_api


def rle(dense: np.ndarray) -> dict:
    coded = mask_api.encode(np.asfortranarray(dense.astype(np.uint8)))
    return {"size": list(coded["size"]), "counts": coded["counts"].decode()}


def blob(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A box with a few pixels changed; now and then nothing or everything. Many are alike: IoU ties."""
    dense = np.zeros(size, bool)
    kind = rng.random()
    if kind < 0.03:
        return dense
    if kind < 0.05:
        return ~dense
    y, x = rng.integers(0, size[0] - 3), rng.integers(0, size[1] - 3)
    most = size[0] // 2 + 1
    dense[y : y + rng.integers(1, most), x : x + rng.integers(1, most)] = True
    if rng.random() < 0.3:
        dense ^= rng.random(size) < 0.02
    return dense


def scene(seed: int, *, boxes: bool = False, first_id: int = 1, size=(12, 14)) -> tuple[dict, list[dict]]:
    """Everything that tends to go wrong: ties, crowds, absurd areas, empty pictures, unsorted ids."""
    rng = np.random.default_rng(seed)
    pictures = rng.permutation(40)[: rng.integers(1, 7)] + 1
    categories = rng.permutation(30)[: rng.integers(1, 5)] + 1
    used = rng.choice(categories, rng.integers(1, len(categories) + 1), replace=False)
    annotations, results = [], []
    for picture in pictures.tolist():
        masks = [blob(rng, size) for _ in range(rng.choice([0, 1, 3, 8]))]
        for dense in masks:
            coded = rle(dense)
            annotations.append(
                {
                    "id": 0,
                    "image_id": picture,
                    "category_id": int(rng.choice(used)),
                    "iscrowd": int(rng.random() < 0.15),
                    "ignore": int(rng.random() < 0.2),
                    "area": float(rng.choice([dense.sum(), 1024, 1024.5, 9216, 0, 1e11])),
                    "bbox": (mask_api.toBbox(coded) + (rng.random(4) if boxes else 0)).tolist(),
                    "segmentation": coded,
                }
            )
        for _ in range(rng.choice([0, 2, 9, 130], p=[0.2, 0.4, 0.35, 0.05])):
            dense = masks[rng.integers(len(masks))] if masks and rng.random() < 0.6 else blob(rng, size)
            if rng.random() < 0.5:
                dense = dense ^ (rng.random(size) < 0.04)
            coded = rle(dense)
            result = {"image_id": picture, "category_id": int(rng.choice(categories))}
            result["segmentation"] = coded
            if boxes:
                result["bbox"] = (mask_api.toBbox(coded) + np.round(rng.random(4), 1)).tolist()
            results.append(
                result | {"score": float(rng.choice([0.0, 0.5, 0.75, 0.1 + 1e-12, 0.1, rng.random()]))}
            )
    ids = rng.permutation(len(annotations)) + first_id
    for annotation, id_ in zip(annotations, ids.tolist(), strict=True):
        annotation["id"] = id_
    rng.shuffle(results)
    truth = {
        "images": [{"id": id_, "height": size[0], "width": size[1]} for id_ in pictures.tolist()],
        "categories": [{"id": id_, "name": f"class {id_}"} for id_ in categories.tolist()],
        "annotations": annotations,
    }
    return truth, results


FREQUENCIES = ("r", "c", "f")


def federated(seed: int, size=(12, 14)) -> tuple[dict, list[dict]]:
    """The same as LVIS has it: classes that are absent, present in part, or unknown; ids of classes with gaps."""
    truth, results = scene(seed, size=size)
    rng = np.random.default_rng(seed + 1000)
    ids = [category["id"] for category in truth["categories"]]
    for category in truth["categories"]:
        category["frequency"] = str(rng.choice(FREQUENCIES))
    present = {image["id"]: set() for image in truth["images"]}
    for annotation in truth["annotations"]:
        del annotation["ignore"]  # no key of LVIS
        present[annotation["image_id"]].add(annotation["category_id"])
    for image in truth["images"]:
        there = sorted(present[image["id"]])
        absent = [id_ for id_ in ids if id_ not in present[image["id"]]]
        image["neg_category_ids"] = [id_ for id_ in absent if rng.random() < 0.6]
        # Now and then of a class without annotations too.
        image["not_exhaustive_category_ids"] = [id_ for id_ in there + absent[:1] if rng.random() < 0.3]
    return truth, results
