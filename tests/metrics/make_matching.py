"""What StarDist 0.9.2 and Cellpose 4.2.1.1 (both BSD-3) count on random label maps -> data/matching.json.

Only their modules of metrics are loaded, without their networks. From the root of the repository:

python -m pip install numba scipy scikit-image tqdm && python -m pip install --no-deps stardist==0.9.2 cellpose==4.2.1.1
PYTHONPATH=tests python tests/metrics/make_matching.py
"""

import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
from label_maps import label_maps

THRESHOLDS = [0.1, 0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 1.0]


def load(package: str, name: str, **stubs):
    """One module of a package, whose other modules stay out."""
    folder = importlib.util.find_spec(package).submodule_search_locations[0]
    bare = types.ModuleType(package)
    bare.__path__ = [folder]
    sys.modules[package] = bare
    for stub, value in stubs.items():
        sys.modules[stub.replace("__", ".")] = value
        setattr(bare, stub.rpartition("__")[2], value)
    return importlib.import_module(f"{package}.{name}")


def plain(values) -> list:
    return [np.asarray(value).item() for value in values]


def refuse(error):
    raise error


utils = types.ModuleType("csbdeep.utils")
utils._raise = refuse
sys.modules["csbdeep"] = types.ModuleType("csbdeep")
stardist = load("stardist", "matching", csbdeep__utils=utils)
cellpose = load("cellpose", "metrics", cellpose__utils=types.ModuleType("cellpose.utils"))

maps = [label_maps(seed) for seed in range(30)]
truths, found = [a for a, _ in maps], [b for _, b in maps]
names = ("tp", "fp", "fn", "mean_matched_score")
single = [
    [plain(getattr(stardist.matching(*pair, t), n) for n in names) for t in THRESHOLDS] for pair in maps
]
pooled_names = ("tp", "fp", "fn", "precision", "recall", "accuracy", "f1", "mean_matched_score")
pooled = [
    plain(getattr(stardist.matching_dataset(truths, found, t, show_progress=False), n) for n in pooled_names)
    for t in THRESHOLDS
]
by_image = [
    float(stardist.matching_dataset(truths, found, t, by_image=True, show_progress=False).accuracy)
    for t in THRESHOLDS
]
with np.errstate(invalid="ignore"):
    ap, tp, fp, fn = cellpose.average_precision(truths, found, THRESHOLDS)
content = {
    "thresholds": THRESHOLDS,
    "stardist": [[[round(v, 6) for v in row] for row in one] for one in single],
    "stardist_pooled": pooled,
    "stardist_by_image": by_image,
    "cellpose": np.nan_to_num(np.stack([tp, fp, fn, ap], -1), nan=-1).round(6).tolist(),
}
text = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in content.items())
(Path(__file__).parent / "data/matching.json").write_text("{" + text.replace("]], [[", "]],\n[[") + "}\n")
