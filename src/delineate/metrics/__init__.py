"""How good predictions are: average precision of pictures and videos, counts of matched objects, panoptic quality."""

from delineate.metrics.ap import AREA_RANGES, RECALLS, THRESHOLDS, Report, evaluate
from delineate.metrics.calibration import Calibration, calibration
from delineate.metrics.columns import Fields
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
