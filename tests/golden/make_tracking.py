"""Writes tracking.json: small KITTI MOTS sequences and what TrackEval 1.3.0 (MIT) says of them.

Run where trackeval is installed: python make_tracking.py
"""

import contextlib
import io
import json
import tempfile
from pathlib import Path

import numpy as np
import trackeval
from pycocotools import mask as mask_api

SIZE = (24, 32)
METRICS = {
    "hota": ["HOTA", "DetA", "AssA", "DetRe", "DetPr", "AssRe", "AssPr", "LocA"],
    "clear": [
        "CLR_TP",
        "CLR_FN",
        "CLR_FP",
        "IDSW",
        "Frag",
        "MT",
        "PT",
        "ML",
        "MOTA",
        "sMOTA",
        "MOTP",
        "MODA",
    ],
    "identity": ["IDTP", "IDFN", "IDFP", "IDF1", "IDP", "IDR"],
}


def lines(frame, painted):
    """One line per object of a frame; objects painted earlier hide later ones."""
    taken = np.zeros(SIZE, bool)
    for number, mask in painted:
        mask, taken = mask & ~taken, taken | mask
        if mask.any():
            rle = mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
            yield f"{frame} {number} {number // 1000} {SIZE[0]} {SIZE[1]} {rle['counts'].decode()}"


def ellipse(y, x, half_height, half_width):
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return ((rows - y) / half_height) ** 2 + ((columns - x) / half_width) ** 2 <= 1


def sequence(seed, *, length=12, objects=6, misses=0.15, switches=0.1, false=0.2, ignore=True):
    """True and predicted lines: objects wander, come and go; the tracker misses, switches, swaps, invents."""
    rng = np.random.default_rng(seed)
    place = rng.uniform((4, 4), (20, 28), (objects, 2))
    half = rng.uniform(2.5, 5, (objects, 2))
    speed = rng.normal(0, 0.8, (objects, 2))
    kinds = rng.integers(1, 3, objects) * 1000
    span = np.sort(rng.integers(0, length + 1, (objects, 2)), axis=1)
    span[rng.random(objects) < 0.5] = 0, length
    names = np.arange(objects)  # what the tracker calls each object
    fresh = 50
    region = ellipse(5, 26, 5, 6)
    truth, found = [], []
    for frame in range(length):
        place += speed + rng.normal(0, 0.4, place.shape)
        known, seen = [], []
        for n in np.flatnonzero((span[:, 0] <= frame) & (frame < span[:, 1])):
            known.append((kinds[n] + n, ellipse(*place[n], *half[n])))
            if rng.random() < switches:
                names[n], fresh = fresh, fresh + 1
            if rng.random() < switches / 2:
                other = rng.integers(objects)
                names[n], names[other] = names[other], names[n]
            if rng.random() >= misses:
                shifted = place[n] + rng.normal(0, rng.choice([0.2, 1.2]), 2)
                kind = kinds[n] if rng.random() < 0.95 else 3000 - kinds[n]
                seen.append((kind + names[n], ellipse(*shifted, *(half[n] * rng.uniform(0.8, 1.2, 2)))))
        for _ in range(rng.poisson(false * objects / 2)):
            inside = rng.random() < 0.5
            y, x = (rng.normal((5, 26), 2)) if inside else rng.uniform((0, 0), SIZE)
            seen.append(
                (int(rng.integers(1, 3)) * 1000 + 900 + int(rng.integers(5)), ellipse(y, x, 2.5, 2.5))
            )
        if ignore and rng.random() < 0.8:
            known.append((10000, region))
        seen = list({number: (number, mask) for number, mask in seen}.values())
        truth += lines(frame, [(int(number), mask) for number, mask in known])
        found += lines(frame, [(int(number), mask) for number, mask in seen])
    return {"length": length, "truth": truth, "found": found}


def sequences():
    found = {f"{seed:04}": sequence(seed) for seed in range(6)}
    found["0006"] = sequence(6, length=30, objects=3, misses=0.4, switches=0.3)
    found["0007"] = sequence(7, misses=0, switches=0, false=0)
    found["0008"] = sequence(8, ignore=False) | {"found": []}
    found["0009"] = sequence(9) | {"truth": []}
    found["0010"] = {"length": 1, "truth": [], "found": []}
    return found


def plain(result, names):
    return {name: np.asarray(result[name]).tolist() for name in names}


def evaluated(cases):
    metrics = {
        "hota": trackeval.metrics.HOTA(),
        "clear": trackeval.metrics.CLEAR({"PRINT_CONFIG": False}),
        "identity": trackeval.metrics.Identity({"PRINT_CONFIG": False}),
    }
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        for side, key in (("gt/label_02", "truth"), ("trackers/one/data", "found")):
            Path(folder, side).mkdir(parents=True)
            for name, case in cases.items():
                Path(folder, side, f"{name}.txt").write_text("".join(f"{line}\n" for line in case[key]))
        dataset = trackeval.datasets.KittiMOTS(
            {
                "GT_FOLDER": f"{folder}/gt",
                "TRACKERS_FOLDER": f"{folder}/trackers",
                "SEQ_INFO": {name: case["length"] for name, case in cases.items()},
                "PRINT_CONFIG": False,
            }
        )
        parts = {name: {kind: {} for kind in ("car", "pedestrian")} for name in metrics}
        for name in cases:
            raw = dataset.get_raw_seq_data("one", name)
            for kind in ("car", "pedestrian"):
                data = dataset.get_preprocessed_seq_data(raw, kind)
                for key, metric in metrics.items():
                    parts[key][kind][name] = metric.eval_sequence(data)
    results = {}
    for key, metric in metrics.items():
        whole = {kind: metric.combine_sequences(part) for kind, part in parts[key].items()}
        results[key] = {
            "parts": {
                kind: {name: plain(result, METRICS[key]) for name, result in part.items()}
                for kind, part in parts[key].items()
            },
            "classes": {kind: plain(result, METRICS[key]) for kind, result in whole.items()},
            "all": plain(metric.combine_classes_det_averaged(whole), METRICS[key]),
        }
    return results


if __name__ == "__main__":
    cases = sequences()
    content = {"size": SIZE, "sequences": cases, "results": evaluated(cases)}
    Path(__file__).with_name("tracking.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")
