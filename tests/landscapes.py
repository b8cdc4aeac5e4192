"""The drawn landscapes of `recipes/scenes_data.py`, for tests that need things and stuff."""

import importlib.util
from pathlib import Path

_spec = importlib.util.spec_from_file_location(
    "scenes_data", Path(__file__).resolve().parents[1] / "recipes" / "scenes_data.py"
)
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)

CLASSES, THINGS, scene, write = _module.CLASSES, _module.THINGS, _module.scene, _module.write
