"""How good predictions are: COCO's average precision, and StarDist's counts of matched objects."""

from delineate.metrics.ap import AREA_RANGES, RECALLS, THRESHOLDS, Report, evaluate
from delineate.metrics.columns import Fields
from delineate.metrics.matching import Matching, matching

__all__ = ["AREA_RANGES", "RECALLS", "THRESHOLDS", "Fields", "Matching", "Report", "evaluate", "matching"]
