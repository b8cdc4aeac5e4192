"""Why two tools give different AP for the same predictions: the numbers under each convention that differs.

Tools disagree about how many detections count, which scores, how the curve is read, at which resolution masks are
compared, which truths a detection may take, what crowds do and which classes are averaged. `explain` recomputes the
same predictions under each of these conventions, and looks for the few that together give a number that somebody else
reports. A number that fits is no proof that these were the reasons; several sets may fit as well.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from delineate.dataset import Dataset
from delineate.metrics._conventions import Bench, Convention, Numbers, Settings, conventions
from delineate.metrics.columns import FIELDS, Fields, Kind

CLOSE = 0.0005
"""A set of conventions fits if it comes this close to the reported number: half a unit of its third decimal."""
_KEPT_PAIRS = 8  # the closest pairs are tried with every third convention


@dataclass(frozen=True)
class Term:
    """One convention and what it makes of AP.

    Args:
        convention: What is done differently.
        numbers: AP under it.
        change: AP under it minus AP before; nan where one is not defined.
    """

    convention: Convention
    numbers: Numbers
    change: float


@dataclass(frozen=True)
class Candidate:
    """A set of conventions, and the AP that they give together.

    Args:
        conventions: At most three.
        ap: AP under all of them.
        distance: How far it is from the number that was reported.
    """

    conventions: tuple[Convention, ...]
    ap: float
    distance: float

    @property
    def fits(self) -> bool:
        """Whether it comes within `CLOSE`."""
        return self.distance <= CLOSE


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """What `explain` found.

    Args:
        iou: What overlaps in the baseline.
        max_detections: Limit of the baseline on detections of one class in one picture.
        baseline: The numbers under COCO's conventions but for these two.
        terms: Each convention alone, against the baseline.
        target: The AP that was reported, or None.
        candidates: The sets that come closest: those that fit first, small ones before large ones; at most five.
        path: The conventions of the first candidate one after the other; each change is against the row before.
    """

    iou: Kind
    max_detections: int
    baseline: Numbers
    terms: tuple[Term, ...]
    target: float | None
    candidates: tuple[Candidate, ...]
    path: tuple[Term, ...]

    @property
    def start(self) -> Term:
        """The baseline as the first row of a table."""
        name = f"baseline: COCO, {self.iou}, at most {self.max_detections} detections"
        return Term(Convention("", name), self.baseline, math.nan)

    @property
    def rest(self) -> float:
        """What the path leaves unexplained: the target minus the AP at its end; nan without a target."""
        if self.target is None:
            return math.nan
        return self.target - (self.path[-1].numbers.ap if self.path else self.baseline.ap)

    def as_dict(self) -> dict[str, object]:
        """The numbers as plain values, ready for JSON; None where one is not defined."""
        return {
            "iou": self.iou,
            "max_detections": self.max_detections,
            "baseline": _plain(self.baseline),
            "terms": [_row(term) for term in self.terms],
            "target": self.target,
            "path": [_row(term) for term in self.path],
            "rest": None if math.isnan(self.rest) else self.rest,
            "candidates": [
                {
                    "conventions": [one.name for one in candidate.conventions],
                    "ap": None if math.isnan(candidate.ap) else candidate.ap,
                    "distance": None if math.isinf(candidate.distance) else candidate.distance,
                    "fits": candidate.fits,
                }
                for candidate in self.candidates
            ],
        }

    def __repr__(self) -> str:
        return f"Explanation(AP {self.baseline.ap:.4f}, {len(self.terms)} conventions)"


def explain(
    truth: Dataset,
    predictions: Dataset,
    target: float | None = None,
    *,
    iou: Kind = "mask",
    max_detections: int = 100,
    fields: Fields = FIELDS,
    progress: Callable[[int, int], None] | None = None,
) -> Explanation:
    """Evaluates the same predictions under the conventions by which tools differ.

    Args:
        truth: What is right.
        predictions: What was found, with scores, before any cut: what was left out of the file cannot come back.
        target: The AP that somebody else reports, 0 to 1. All sets of one and two conventions are tried, and the
            eight closest pairs with every third one; of conventions that deal with the same topic a set has one
            at most.
        iou: What overlaps in the baseline: "mask", "box" or "boundary".
        max_detections: Limit of the baseline on detections of one class in one picture; COCO's is 100.
        fields: Names of the extras to use, see `Fields`.
        progress: Called with (done, all) now and then.

    Raises:
        ValueError: The datasets do not belong together, masks or scores are missing, or the target is off.

    >>> import numpy as np
    >>> from delineate import Dataset, Instances, Masks, Record
    >>> drawn = np.zeros((2, 4, 4), bool)
    >>> drawn[0, :2, :2] = drawn[1, 2:, 1:] = True
    >>> there = Instances.of(Masks.from_dense(drawn), labels=[0, 1])
    >>> seen = there[:1].replace(scores=[0.2])
    >>> truth, found = (Dataset([Record(None, (4, 4), one, id=1)], ["a", "b"]) for one in (there, seen))
    >>> explanation = explain(truth, found, target=0)
    >>> round(explanation.baseline.ap, 4), [term.convention.name for term in explanation.path]
    (0.5, ['only scores of at least 0.25'])
    """
    if target is not None and not 0 <= target <= 1:
        raise ValueError(f"explain: target must be an AP in [0, 1], got {target}. Divide a percentage by 100")
    sides = [record.instances for side in (truth, predictions) for record in side]
    masks = all(item.masks is not None for item in sides if len(item))
    tried = conventions(iou, masks=masks)
    bench = Bench(truth, predictions, fields)
    baseline = Settings(iou=iou, max_detections=max_detections)
    tried = tuple(one for one in tried if one.changes != {"max_detections": max_detections})
    useful = [one for one in tried if one.topic != "area"]  # the rest do not touch AP
    sets = [] if target is None else list(_pairs(useful))
    steps = _Steps(len(tried) + len(sets) + (_KEPT_PAIRS * len(useful) if sets else 0), progress)
    numbers = bench.numbers(baseline)
    terms = []
    for convention in tried:
        there = bench.numbers(convention.apply(baseline))
        terms.append(Term(convention, there, there.ap - numbers.ap))
        steps.done()
    candidates: tuple[Candidate, ...] = ()
    if target is not None:
        start = [_candidate((), numbers.ap, target)]
        start += [
            _candidate((term.convention,), term.numbers.ap, target)
            for term in terms
            if term.convention.topic != "area"
        ]
        candidates = _search(bench, baseline, target, start, sets, steps)
    path = _path(bench, baseline, numbers, candidates[0].conventions) if candidates else ()
    steps.finish()
    return Explanation(iou, max_detections, numbers, tuple(terms), target, candidates, path)


class _Steps:
    """Counts what is done, and tells."""

    def __init__(self, total: int, tell: Callable[[int, int], None] | None) -> None:
        self._count, self._total, self._tell = 0, total, tell

    def done(self) -> None:
        self._count = min(self._count + 1, self._total)
        if self._tell is not None:
            self._tell(self._count, self._total)

    def finish(self) -> None:
        if self._tell is not None:
            self._tell(self._total, self._total)


def _candidate(chosen: tuple[Convention, ...], ap: float, target: float) -> Candidate:
    return Candidate(chosen, ap, math.inf if math.isnan(ap) else abs(ap - target))


def _pairs(tried: Sequence[Convention]) -> Iterable[tuple[Convention, ...]]:
    return (pair for pair in itertools.combinations(tried, 2) if pair[0].topic != pair[1].topic)


def _search(
    bench: Bench,
    baseline: Settings,
    target: float,
    found: list[Candidate],
    sets: Sequence[tuple[Convention, ...]],
    steps: _Steps,
) -> tuple[Candidate, ...]:
    """The best five of none, one, two and some of three conventions."""

    def attempt(chosen: tuple[Convention, ...]) -> Candidate:
        settings = baseline
        for one in chosen:
            settings = one.apply(settings)
        ap = bench.ap(settings)
        steps.done()
        return _candidate(chosen, ap, target)

    pairs = [attempt(chosen) for chosen in sets]
    singles = [one.conventions[0] for one in found if one.conventions]
    triples: dict[frozenset[str], tuple[Convention, ...]] = {}
    for close in sorted(pairs, key=lambda one: one.distance)[:_KEPT_PAIRS]:
        topics = {one.topic for one in close.conventions}
        for third in singles:
            if third.topic not in topics:
                chosen = (*close.conventions, third)
                triples.setdefault(frozenset(one.name for one in chosen), chosen)
    everything = found + pairs
    if not any(one.fits for one in everything):  # a third reason is only asked for where two do not do
        everything += [attempt(chosen) for chosen in triples.values()]

    def order(one: Candidate) -> tuple[bool, float, int, float]:
        # Among sets that do not fit, one that is closer by less than a table shows is no better.
        away = 0.0 if one.fits else round(one.distance, 4)
        return (not one.fits, away, len(one.conventions), one.distance)

    return tuple(sorted(everything, key=order)[:5])


def _path(
    bench: Bench, baseline: Settings, numbers: Numbers, chosen: tuple[Convention, ...]
) -> tuple[Term, ...]:
    """The conventions one after the other; at each step the one that changes most."""
    left, settings, path = list(chosen), baseline, []
    while left:
        aps = [bench.ap(one.apply(settings)) for one in left]
        changes = [abs(ap - numbers.ap) if not math.isnan(ap) else 0.0 for ap in aps]
        convention = left.pop(changes.index(max(changes)))
        settings = convention.apply(settings)
        after = bench.numbers(settings)
        path.append(Term(convention, after, after.ap - numbers.ap))
        numbers = after
    return tuple(path)


def _plain(numbers: Numbers) -> dict[str, float | None]:
    names = ("ap", "ap50", "small", "medium", "large")
    values = {name: float(getattr(numbers, name)) for name in names}
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _row(term: Term) -> dict[str, object]:
    change = None if math.isnan(term.change) else term.change
    return {
        "topic": term.convention.topic,
        "name": term.convention.name,
        "change": change,
        **_plain(term.numbers),
    }
