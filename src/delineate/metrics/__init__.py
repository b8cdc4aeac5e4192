"""How good predictions are: average precision, counts of matched objects, panoptic quality, F1 curves, confusion."""

from delineate.metrics.ap import AREA_RANGES, RECALLS, THRESHOLDS, Report, evaluate
from delineate.metrics.columns import Fields
from delineate.metrics.confusion import ConfusionMatrix, confusion_matrix
from delineate.metrics.matching import Matching, matching
from delineate.metrics.operating import Curve, OperatingCurves, Point, operating_curves
from delineate.metrics.panoptic import PanopticReport, Quality, evaluate_panoptic
from delineate.metrics.verdicts import Verdicts, verdicts

__all__ = [
    "AREA_RANGES",
    "RECALLS",
    "THRESHOLDS",
    "ConfusionMatrix",
    "Curve",
    "Fields",
    "Matching",
    "OperatingCurves",
    "PanopticReport",
    "Point",
    "Quality",
    "Report",
    "Verdicts",
    "confusion_matrix",
    "evaluate",
    "evaluate_panoptic",
    "matching",
    "operating_curves",
    "verdicts",
]
