"""Whether a score of 0.8 means that four in five such detections are right.

A detection is right if it is matched at one IoU threshold under COCO's rules; ignored ones (in crowds) do not count.
The expected calibration error (Naeini, Cooper, Hauskrecht: Obtaining Well Calibrated Probabilities Using Bayesian
Binning, AAAI 2015) is the mean distance of score and precision over bins of equal width, weighted by their counts; for
detectors see Küppers et al.: Multivariate Confidence Calibration for Object Detection, CVPRW 2020. Missed objects have
no score and do not enter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from delineate.metrics.columns import Floats, Ints
from delineate.metrics.verdicts import Verdicts


@dataclass(frozen=True, eq=False, repr=False)
class Calibration:
    """Scores against precision, over B bins of score.

    Args:
        threshold: IoU from which a detection is right.
        edges: (B + 1,) borders of the bins from 0 to 1; a bin holds its right border, the first one also 0.
        counts: (B,) int64 detections in each bin.
        scores: (B,) mean score in each bin, nan where it is empty.
        precision: (B,) share of right detections in each bin, nan where it is empty.
        outside: How many detections have a score below 0 or above 1; they are counted in the outer bins.
    """

    threshold: float
    edges: Floats
    counts: Ints
    scores: Floats
    precision: Floats
    outside: int

    @property
    def expected_error(self) -> float:
        """Expected calibration error: mean of |precision - score| over detections; nan without any."""
        full = self.counts > 0
        gaps = np.abs(self.precision - self.scores)[full]
        return float((gaps * self.counts[full]).sum() / self.counts.sum()) if full.any() else float("nan")

    @property
    def maximum_error(self) -> float:
        """The greatest |precision - score| of a bin; nan without detections."""
        gaps = np.abs(self.precision - self.scores)[self.counts > 0]
        return float(gaps.max()) if len(gaps) else float("nan")

    @property
    def bias(self) -> float:
        """Mean score minus precision: above 0 the scores promise too much; nan without detections."""
        full = self.counts > 0
        gaps = (self.scores - self.precision)[full]
        return float((gaps * self.counts[full]).sum() / self.counts.sum()) if full.any() else float("nan")

    def as_dict(self) -> dict[str, object]:
        """The numbers as plain values, ready for JSON; None where one is not defined."""
        columns = zip(self.edges[:-1], self.edges[1:], self.counts, self.scores, self.precision, strict=True)
        return {
            "threshold": self.threshold,
            "expected_error": _json(self.expected_error),
            "maximum_error": _json(self.maximum_error),
            "bias": _json(self.bias),
            "outside": self.outside,
            "bins": [
                {
                    "from": float(low),
                    "to": float(high),
                    "count": int(count),
                    "score": _json(score),
                    "precision": _json(precision),
                }
                for low, high, count, score, precision in columns
            ],
        }

    def __repr__(self) -> str:
        return f"Calibration(expected error {self.expected_error:.4f}, {self.counts.sum()} detections)"


def calibration(judged: Verdicts, *, place: int = 0, bins: int = 10) -> Calibration:
    """Compares scores with precision, bin by bin.

    Args:
        judged: What became of each detection.
        place: Which threshold of `judged` decides what is right.
        bins: Number of bins of equal width from 0 to 1, at least 1.

    Raises:
        ValueError: ``bins`` is below 1.

    >>> from delineate import Dataset, Instances, Masks, Record
    >>> from delineate.metrics.verdicts import verdicts
    >>> drawn = np.zeros((2, 4, 4), bool)
    >>> drawn[0, :2, :2] = drawn[1, 2:, 1:] = True
    >>> there = Instances.of(Masks.from_dense(drawn[:1]))
    >>> seen = Instances.of(Masks.from_dense(drawn), scores=[0.75, 0.75])
    >>> truth, predictions = (Dataset([Record(None, (4, 4), one, id=1)], ["cell"]) for one in (there, seen))
    >>> calibration(verdicts(truth, predictions, [0.5]))
    Calibration(expected error 0.2500, 2 detections)
    """
    if bins < 1:
        raise ValueError(f"calibration: bins must be at least 1, got {bins}")
    right = judged.right(place)
    chosen = right | judged.wrong(place)
    scores, right = judged.paired.detections.scores[chosen], right[chosen]
    edges = np.linspace(0.0, 1.0, bins + 1)
    # side="left": a score on a border belongs to the bin on its left.
    homes = np.clip(np.searchsorted(edges, scores, side="left") - 1, 0, bins - 1)
    counts = np.bincount(homes, minlength=bins)
    empty = np.where(counts > 0, counts, np.nan)
    return Calibration(
        threshold=float(judged.thresholds[place]),
        edges=edges,
        counts=counts,
        scores=np.bincount(homes, scores, bins) / empty,
        precision=np.bincount(homes, right, bins) / empty,
        outside=int(((scores < 0) | (scores > 1)).sum()),
    )


def _json(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
