"""lvis 0.5.3 without its drawing (which needs OpenCV and matplotlib), under any numpy."""

import copy
import hashlib
import importlib.util
import logging
import sys
import types

import numpy as np


def lvis_eval(truth: dict, results: list[dict], iou: str, limit: int):
    """LVISEval, run.

    Args:
        truth: The content of an LVIS file.
        results: A results list.
        iou: "segm" or "bbox".
        limit: Detections of a picture that count.
    """
    if "lvis" not in sys.modules:
        found = importlib.util.find_spec("lvis")
        if found is None:
            raise ImportError("lvis is not installed")
        bare = types.ModuleType("lvis")  # its own __init__ would import the drawing
        bare.__path__ = list(found.submodule_search_locations)
        sys.modules["lvis"] = bare
    if not hasattr(np, "float"):
        np.float = float  # numpy's old name for it
    from lvis.eval import LVISEval
    from lvis.lvis import LVIS
    from lvis.results import LVISResults

    logging.getLogger("lvis").setLevel(logging.ERROR)
    known = LVIS.__new__(LVIS)
    known.logger = logging.getLogger("lvis")
    known.dataset = copy.deepcopy(truth)
    known._create_index()
    run = LVISEval(known, LVISResults(known, copy.deepcopy(results), max_dets=limit), iou)
    run.params.max_dets = limit
    run.run()
    return run


def digest(values) -> str:
    """Sixteen hex digits for all bits of an array of float64."""
    return hashlib.sha256(np.ascontiguousarray(values, np.float64).tobytes()).hexdigest()[:16]
