"""How good predictions are: COCO's average precision, StarDist's counts of matched objects, panoptic quality."""

from delineate.metrics.ap import AREA_RANGES, RECALLS, THRESHOLDS, Report, evaluate
from delineate.metrics.columns import Fields
from delineate.metrics.matching import Matching, matching
from delineate.metrics.panoptic import PanopticReport, Quality, evaluate_panoptic
from delineate.metrics.verdicts import Verdicts, verdicts

__all__ = [
    "AREA_RANGES",
    "RECALLS",
    "THRESHOLDS",
    "Fields",
    "Matching",
    "PanopticReport",
    "Quality",
    "Report",
    "Verdicts",
    "evaluate",
    "evaluate_panoptic",
    "matching",
    "verdicts",
]
