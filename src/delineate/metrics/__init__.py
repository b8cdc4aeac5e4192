"""How good predictions are: average precision of pictures and videos, counts of matched objects, panoptic quality."""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from delineate.metrics.ap import AREA_RANGES, RECALLS, THRESHOLDS, Report, evaluate
from delineate.metrics.columns import Fields

if TYPE_CHECKING:
    from delineate.metrics.calibration import Calibration, calibration
    from delineate.metrics.compare import Comparison, compare
    from delineate.metrics.confusion import ConfusionMatrix, confusion_matrix
    from delineate.metrics.errors import Errors, errors
    from delineate.metrics.explain import Explanation, explain
    from delineate.metrics.lvis import LvisReport, evaluate_lvis
    from delineate.metrics.matching import Matching, matching
    from delineate.metrics.operating import Curve, OperatingCurves, Point, operating_curves
    from delineate.metrics.panoptic import PanopticReport, Quality, evaluate_panoptic
    from delineate.metrics.slices import Slice, slices
    from delineate.metrics.tracking import Tracking, TrackingReport, evaluate_tracking
    from delineate.metrics.verdicts import Verdicts, verdicts
    from delineate.metrics.video import VIDEO_AREA_RANGES, evaluate_videos

__all__ = [
    "AREA_RANGES",
    "RECALLS",
    "THRESHOLDS",
    "VIDEO_AREA_RANGES",
    "Calibration",
    "Comparison",
    "ConfusionMatrix",
    "Curve",
    "Errors",
    "Explanation",
    "Fields",
    "LvisReport",
    "Matching",
    "OperatingCurves",
    "PanopticReport",
    "Point",
    "Quality",
    "Report",
    "Slice",
    "Tracking",
    "TrackingReport",
    "Verdicts",
    "calibration",
    "compare",
    "confusion_matrix",
    "errors",
    "evaluate",
    "evaluate_lvis",
    "evaluate_panoptic",
    "evaluate_tracking",
    "evaluate_videos",
    "explain",
    "matching",
    "operating_curves",
    "slices",
    "verdicts",
]

# The module of each name that waits until somebody asks for it: average precision needs none of them.
_LATE = {
    "Calibration": "calibration",
    "Comparison": "compare",
    "ConfusionMatrix": "confusion",
    "Curve": "operating",
    "Errors": "errors",
    "Explanation": "explain",
    "LvisReport": "lvis",
    "Matching": "matching",
    "OperatingCurves": "operating",
    "PanopticReport": "panoptic",
    "Point": "operating",
    "Quality": "panoptic",
    "Slice": "slices",
    "Tracking": "tracking",
    "TrackingReport": "tracking",
    "VIDEO_AREA_RANGES": "video",
    "Verdicts": "verdicts",
    "calibration": "calibration",
    "compare": "compare",
    "confusion_matrix": "confusion",
    "errors": "errors",
    "evaluate_lvis": "lvis",
    "evaluate_panoptic": "panoptic",
    "evaluate_tracking": "tracking",
    "evaluate_videos": "video",
    "explain": "explain",
    "matching": "matching",
    "operating_curves": "operating",
    "slices": "slices",
    "verdicts": "verdicts",
}


class _Package(ModuleType):
    """Functions may have the name of their module: this package shows the function, whoever imports the module."""

    def __setattr__(self, name: str, value: object) -> None:
        if isinstance(value, ModuleType) and _LATE.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:  # noqa: ANN401 - functions and classes
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_LATE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
