"""How good predictions are: average precision as COCO has it, and counts of matched objects as StarDist has them."""

from delineate.metrics.ap import AREA_RANGES, RECALLS, THRESHOLDS, Report, evaluate
from delineate.metrics.columns import Fields

__all__ = ["AREA_RANGES", "RECALLS", "THRESHOLDS", "Fields", "Report", "evaluate"]
