"""Average precision of parts of a dataset: by modality, by place, by how crowded a picture is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from delineate.dataset import Dataset, Record
from delineate.metrics.ap import Report, evaluate
from delineate.metrics.columns import FIELDS, Fields, Kind

NONE = "(none)"
"""The slice of the pictures that do not have the attribute."""
_MOST_NUMBERS = 8  # a numeric attribute with more values than that is cut into quarters


def _count(record: Record) -> int:
    crowd = record.instances.crowd
    return len(record.instances) - (0 if crowd is None else int(crowd.sum()))


DERIVED: Mapping[str, Callable[[Record], object]] = MappingProxyType(
    {
        "split": lambda record: record.split,
        "video": lambda record: record.video,
        "size": lambda record: float(np.sqrt(record.size[0] * record.size[1])),
        "objects": lambda record: float(_count(record)),
        "density": lambda record: _count(record) / (record.size[0] * record.size[1] / 1e6),
    }
)
"""What every record has beside its attributes: its split and video, side of a square of its size in pixels, number of
true objects (crowds not counted), and these per megapixel."""


@dataclass(frozen=True)
class Slice:
    """The pictures with one value of an attribute.

    Args:
        name: The value in words; for cut numbers "least to greatest".
        report: The evaluation of these pictures alone.
    """

    name: str
    report: Report

    def as_dict(self) -> dict[str, object]:
        """The slice's numbers as plain values, ready for JSON; None where one is not defined."""
        report = self.report
        numbers = {name: getattr(report, name) for name in ("ap", "ap50", "ap75", "ar_100")}
        return {
            "name": self.name,
            "pictures": report.pictures,
            "objects": report.objects,
            "detections": report.detections,
            **{name: None if np.isnan(value) else value for name, value in numbers.items()},
        }


def slices(
    truth: Dataset,
    predictions: Dataset,
    by: str,
    *,
    iou: Kind = "mask",
    max_detections: Sequence[int] = (1, 10, 100),
    fields: Fields = FIELDS,
) -> tuple[Slice, ...]:
    """Evaluates the pictures of each value of an attribute by themselves.

    Words make one slice each, in the order of their names. Numbers do too if there are at most eight different ones;
    else they are cut into four parts with about as many pictures each.

    Args:
        truth: What is right; its records have the attributes.
        predictions: What was found, with scores.
        by: An attribute of the records, or else one of `DERIVED`.
        iou: What overlaps: "mask", "box" or "boundary".
        max_detections: As in `evaluate`.
        fields: Names of the extras to use, see `Fields`.

    Returns:
        The slices; pictures without the attribute come last.

    Raises:
        ValueError: No record has the attribute, or its values are neither words nor numbers.

    >>> from delineate import Dataset, Instances, Masks, Record
    >>> square = Instances.of(Masks.from_dense(np.ones((1, 4, 4), bool)))
    >>> records = [Record(None, (4, 4), square, id=n, attributes={"stain": s}) for n, s in enumerate("HEH")]
    >>> truth = Dataset(records, ["cell"])
    >>> found = truth.with_records([records[0].replace(instances=square.replace(scores=[0.9]))])
    >>> [(one.name, one.report.pictures, round(one.report.ap, 2)) for one in slices(truth, found, "stain")]
    [('E', 1, 0.0), ('H', 2, 0.5)]
    """
    names = _names(truth, by)
    found = {record.id: record for record in predictions}
    unknown = found.keys() - {record.id for record in truth}
    if unknown:
        raise ValueError(
            f"slices: predictions must be about records of truth, got the unknown id {next(iter(unknown))!r}"
        )
    parts: dict[str, list[Record]] = {name: [] for name in dict.fromkeys(names[1])}
    for record, name in zip(truth, names[0], strict=True):
        parts[name].append(record)
    made = []
    for name, records in parts.items():
        theirs = predictions.with_records(found[record.id] for record in records if record.id in found)
        report = evaluate(
            truth.with_records(records), theirs, iou=iou, fields=fields, max_detections=max_detections
        )
        made.append(Slice(name, report))
    return tuple(made)


def _names(truth: Dataset, by: str) -> tuple[list[str], list[str]]:
    """The slice of each record, and all slices in order."""
    values = [_value(record, by) for record in truth]
    there = [value for value in values if value is not None]
    if not there:
        known = sorted({name for record in truth for name in record.attributes} | set(DERIVED))
        raise ValueError(
            f"slices: by must be an attribute of the records, got {by!r}. Known: {', '.join(known)}"
        )
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in there):
        words = _cut([float(value) for value in there])  # type: ignore[arg-type]
        ordered = [name for _, name in sorted(words.items())]
        mine = [NONE if value is None else words[float(value)] for value in values]  # type: ignore[arg-type]
    else:
        mine = [NONE if value is None else str(value) for value in values]
        ordered = sorted({name for name, value in zip(mine, values, strict=True) if value is not None})
    return mine, [*ordered, *([NONE] if len(there) < len(values) else [])]


def _value(record: Record, by: str) -> object:
    """The attribute, or what can be derived; None if there is none."""
    if by not in record.attributes and by in DERIVED:
        return DERIVED[by](record)
    value = record.attributes.get(by)
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return ", ".join(value) or None
    if value is not None and not isinstance(value, str | bool | int | float):
        raise ValueError(
            f"slices: {by!r} must hold words or numbers, got {type(value).__name__} in record {record.id!r}"
        )
    return None if isinstance(value, float) and np.isnan(value) else value


def _cut(values: list[float]) -> dict[float, str]:
    """Value -> name of its slice."""
    different = sorted(set(values))
    if len(different) <= _MOST_NUMBERS:
        return {value: f"{value:g}" for value in different}
    borders = np.quantile(values, [0.25, 0.5, 0.75])
    homes = np.searchsorted(borders, different, side="left")
    named = {}
    for home in np.unique(homes):
        members = [value for value, mine in zip(different, homes, strict=True) if mine == home]
        name = f"{members[0]:.4g} to {members[-1]:.4g}"
        named.update(dict.fromkeys(members, name))
    return named
