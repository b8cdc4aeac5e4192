"""Everything that evaluation can say of a run, and one self-contained HTML file that shows it.

The file needs no network and no script to be read: style, charts (SVG) and pictures (JPEG) are inside. It follows the
reader's light or dark setting, can be printed, and has a table beside every chart. What it holds is bounded: curves of
at most 24 classes, confusions of at most 20, the 12 worst pictures, each at most 480 pixels wide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from delineate import _report_page as page
from delineate import _report_sections as sections
from delineate import atomic
from delineate.dataset import Dataset
from delineate.metrics.ap import Report, evaluate
from delineate.metrics.calibration import Calibration, calibration
from delineate.metrics.columns import FIELDS, Fields, Kind
from delineate.metrics.compare import Comparison
from delineate.metrics.confusion import ConfusionMatrix
from delineate.metrics.errors import Errors, errors
from delineate.metrics.explain import Explanation
from delineate.metrics.matching import Matching
from delineate.metrics.operating import OperatingCurves
from delineate.metrics.slices import Slice
from delineate.metrics.verdicts import Verdicts, verdicts


@dataclass(frozen=True, eq=False, repr=False)
class Analysis:
    """What evaluation says of one run. `analyse` makes it; ``dataclasses.replace`` adds what is optional.

    Args:
        truth: What is right.
        predictions: What was found.
        evaluation: COCO's average precision.
        judged: What became of each detection, at COCO's ten thresholds; the first one is IoU 0.5.
        errors: TIDE's error types at IoU 0.5.
        calibration: Scores against precision at IoU 0.5.
        curves: Precision, recall and F1 by confidence at IoU 0.5.
        confusion: Classes taken for each other at IoU 0.5, at the confidence of the best F1.
        matching: Objects matched one to one, or None.
        slices: Attribute -> its slices.
        comparison: Against another run, or None.
        explanation: Under other conventions, or None.
        settings: What a reader must know to repeat it: name -> value in words.
        notices: What a reader of the numbers must know, in words.
    """

    truth: Dataset
    predictions: Dataset
    evaluation: Report
    judged: Verdicts
    errors: Errors
    calibration: Calibration
    curves: OperatingCurves
    confusion: ConfusionMatrix
    matching: Matching | None = None
    slices: Mapping[str, tuple[Slice, ...]] = field(default_factory=dict)
    comparison: Comparison | None = None
    explanation: Explanation | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """All numbers as plain values, ready for JSON; None where one is not defined."""
        points = ((curve.name, curve.best) for curve in self.curves.classes)
        best = self.curves.overall.best
        content: dict[str, object] = {
            "ap": self.evaluation.as_dict(),
            "errors": self.errors.as_dict(),
            "calibration": self.calibration.as_dict(),
            "best_f1": {
                "all": None if best is None else best.as_dict(),
                "classes": [
                    {"name": name, "best": None if point is None else point.as_dict()}
                    for name, point in points
                ],
            },
            "confusion": self.confusion.as_dict(),
        }
        if self.matching is not None:
            content["matching"] = self.matching.as_dict()
        if self.slices:
            content["slices"] = {by: [one.as_dict() for one in parts] for by, parts in self.slices.items()}
        if self.comparison is not None:
            content["against"] = self.comparison.as_dict()
        if self.explanation is not None:
            content["explain"] = self.explanation.as_dict()
        return content | {"settings": dict(self.settings), "notices": list(self.notices)}


def analyse(
    truth: Dataset,
    predictions: Dataset,
    *,
    iou: Kind = "mask",
    max_detections: int = 100,
    fields: Fields = FIELDS,
) -> Analysis:
    """Evaluates a run and looks behind the numbers.

    Args:
        truth: What is right.
        predictions: What was found, with scores. Records are matched by id, classes by name.
        iou: What overlaps: "mask", "box" or "boundary".
        max_detections: Detections of one class in one picture that count.
        fields: Names of the extras to use, see `Fields`.

    Raises:
        ValueError: The datasets do not belong together, masks or scores are missing.

    >>> import numpy as np
    >>> from delineate import Dataset, Instances, Masks, Record
    >>> square = Instances.of(Masks.from_dense(np.ones((1, 4, 4), bool)))
    >>> truth = Dataset([Record(None, (4, 4), square, id=1)], ["cell"])
    >>> found = truth.with_records([truth[0].replace(instances=square.replace(scores=[0.75]))])
    >>> analyse(truth, found).calibration.expected_error
    0.25
    """
    limits = (*(limit for limit in (1, 10) if limit < max_detections), max_detections)
    evaluation = evaluate(truth, predictions, iou=iou, max_detections=limits, fields=fields)
    judged = verdicts(truth, predictions, iou=iou, max_detections=max_detections, fields=fields)
    curves = OperatingCurves.of(judged)
    best = curves.overall.best
    return Analysis(
        truth,
        predictions,
        evaluation,
        judged,
        errors(judged),
        calibration(judged),
        curves,
        ConfusionMatrix.of(judged.paired, 0.5, None if best is None else best.confidence),
        settings={"overlap of": iou, "detections per class and picture": str(max_detections)},
        notices=evaluation.notices,
    )


def render(
    analysis: Analysis, title: str = "Evaluation", *, progress: Callable[[int, int], None] | None = None
) -> str:
    """The report as one HTML document.

    Args:
        analysis: What to show.
        title: Its headline, plain text.
        progress: Called with (done, all) now and then; pictures take the time.
    """
    parts = [make(analysis) for make in sections.TEXT]
    parts.append(sections.pictures(analysis, progress))
    parts.append(sections.settings(analysis))
    return page.document(title, [part for part in parts if part is not None])


def write_html(
    analysis: Analysis,
    path: str | Path,
    title: str = "Evaluation",
    *,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes the report; the file appears whole or not at all.

    Args:
        analysis: What to show.
        path: The file; what is there is replaced.
        title: Its headline, plain text.
        progress: Called with (done, all) now and then.

    Raises:
        OSError: It cannot be written.
    """
    atomic.write_bytes(Path(path), render(analysis, title, progress=progress).encode())
