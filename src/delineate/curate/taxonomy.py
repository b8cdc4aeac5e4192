"""Several datasets under one list of classes, as MSeg made one of seven (Lambert et al. 2020, section 3).

A taxonomy is a TOML file::

    classes = ["person", "rider", "vehicle"]

    [datasets.street]                 # the name that the dataset is given when merging
    map = { human = "person", car = "vehicle", truck = "vehicle" }
    drop = ["lamp post"]
    ambiguous = { "human on bike" = ["person", "rider"] }

    [datasets.coco]
    same = true                       # classes of equal name mean the same
    drop = "rest"                     # whatever is not named

Objects of mapped classes get the universal class. Dropped objects vanish. Of an ambiguous class nobody can say
which universal class an object has: it becomes one crowd region of each, so that neither training nor
evaluation counts what is found there.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from delineate.dataset import Dataset
from delineate.errors import FormatError
from delineate.instances import Instances


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What becomes of the classes of one dataset.

    Args:
        map: Class of the dataset -> universal class.
        drop: Classes that vanish; "rest" for all that are not named.
        ambiguous: Class of the dataset -> the universal classes that its objects may have.
        same: Whether classes that have a universal class's name are mapped to it.
    """

    map: dict[str, str] = {}
    drop: list[str] | str = []
    ambiguous: dict[str, list[str]] = {}
    same: bool = False


class Taxonomy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A universal list of classes, and what becomes of the classes of each dataset.

    Args:
        classes: The universal classes.
        datasets: Name of a dataset -> its rules.
    """

    classes: list[str]
    datasets: dict[str, Rules]


def read_taxonomy(path: str | Path) -> Taxonomy:
    """Read a taxonomy file.

    Args:
        path: A TOML file as this module's documentation shows.

    Raises:
        FormatError: It is not TOML, or not a taxonomy.
    """
    path = Path(path)
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), Taxonomy)
    except OSError as error:
        raise FormatError(path, "", f"file must be readable, got: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(path, "", f"file must be TOML, got: {error}.") from error
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        raise FormatError(path, place.strip("`.").removeprefix("."), f"{message}.") from error


def merge(datasets: Mapping[str, Dataset], taxonomy: Taxonomy | None = None) -> Dataset:
    """One dataset of several.

    Args:
        datasets: Name -> dataset.
        taxonomy: What becomes of their classes; None maps classes by name, in the order of first appearance.

    Returns:
        All records, dataset after dataset. Ids stay where they are unique throughout, otherwise they become
        "NAME/ID". ``Record.attributes["dataset"]`` is the name of the dataset.

    Raises:
        ValueError: The taxonomy does not fit a dataset; the message says how.

    >>> from delineate.dataset import Record
    >>> cells = Dataset([Record(None, (4, 4), Instances.empty((4, 4)), 1)], ["cell"])
    >>> merged = merge({"a": cells, "b": cells})
    >>> [record.id for record in merged], merged.classes
    (['a/1', 'b/1'], ('cell',))
    """
    if taxonomy is None:
        names = list(dict.fromkeys(name for dataset in datasets.values() for name in dataset.classes))
        taxonomy = Taxonomy(names, {name: Rules(same=True) for name in datasets})
    ids = [record.id for dataset in datasets.values() for record in dataset]
    unique = len(set(ids)) == len(ids)
    records = []
    for name, dataset in datasets.items():
        targets = _targets(name, dataset, taxonomy)
        for record in dataset:
            records.append(
                record.replace(
                    id=record.id if unique else f"{name}/{record.id}",
                    video=None if record.video is None else f"{name}/{record.video}",
                    instances=_mapped(record.instances, targets),
                    attributes={**record.attributes, "dataset": name},
                )
            )
    return Dataset(tuple(records), tuple(taxonomy.classes))


def _targets(name: str, dataset: Dataset, taxonomy: Taxonomy) -> list[list[int]]:
    """For each class of a dataset its universal labels: none (dropped), one, or several (ambiguous)."""
    if name not in taxonomy.datasets:
        known = ", ".join(taxonomy.datasets)
        raise ValueError(
            f"merge: taxonomy must have rules for every dataset, got {name!r}, not one of {known}"
        )
    rules, universal = taxonomy.datasets[name], taxonomy.classes
    dropped = set() if isinstance(rules.drop, str) else set(rules.drop)
    named: list[str] = [*rules.map, *rules.ambiguous, *dropped]
    for one in named:
        if one not in dataset.classes:
            raise ValueError(f"merge: datasets.{name} must speak of classes of the dataset, got {one!r}")
        if named.count(one) > 1:
            raise ValueError(f"merge: datasets.{name} must name each class once, got {one!r} more than once")
    targets = []
    for one in dataset.classes:
        choices: list[str] = rules.ambiguous.get(one, [])
        if one in rules.map:
            choices = [rules.map[one]]
        elif one not in named and rules.same and one in universal:
            choices = [one]
        elif one not in named and rules.drop != "rest":
            raise ValueError(
                f"merge: datasets.{name} must say what becomes of every class, got nothing for {one!r}. "
                "Map it, drop it, or call it ambiguous"
            )
        for choice in choices:
            if choice not in universal:
                raise ValueError(f"merge: datasets.{name} must map to universal classes, got {choice!r}")
        targets.append([universal.index(choice) for choice in choices])
    return targets


def _mapped(found: Instances, targets: list[list[int]]) -> Instances:
    if not len(found):
        return found
    places = [(n, target) for n, label in enumerate(found.labels) for target in targets[label]]
    rows = np.array([n for n, _ in places], np.int64)
    unsure = np.array([len(targets[label]) > 1 for label in found.labels])
    chosen = found[rows]
    crowd: Any = None
    if found.crowd is not None or unsure[rows].any():
        crowd = unsure[rows] | (False if found.crowd is None else found.crowd[rows])
    return chosen.replace(labels=np.array([target for _, target in places], np.int64), crowd=crowd)
