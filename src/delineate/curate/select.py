"""Parts of datasets: splits, samples, and objects that meet a condition."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from delineate.dataset import Dataset, Record


def split(
    dataset: Dataset,
    parts: Mapping[str, float],
    *,
    seed: int = 0,
    group: str | Callable[[Record], object] | None = None,
) -> Dataset:
    """Deal the pictures out to parts so that every class is shared out alike.

    Pictures that belong together stay together: the frames of a video always, others by ``group``. Groups are
    dealt by iterative stratification (Sechidis et al. 2011, "On the stratification of multi-label data"): the
    rarest class first, each group to the part that lacks most objects of that class. Pictures without objects
    are dealt last, by number. The same dataset and seed give the same parts, in whatever order the records are.

    Args:
        dataset: At least one picture.
        parts: Name -> share, above 0; shares need not add up to 1.
        seed: Breaks ties.
        group: Name of a record attribute, or a function of a record; equal values stay together. Records
            without the attribute stand alone.

    Returns:
        The dataset in its own order, every record with its ``split``.

    Raises:
        ValueError: There are no parts, or a share is not above 0.

    >>> from delineate.instances import Instances
    >>> records = [Record(None, (4, 4), Instances.empty((4, 4)), n) for n in range(10)]
    >>> made = split(Dataset(records, []), {"train": 0.8, "val": 0.2})
    >>> [sum(record.split == name for record in made) for name in ("train", "val")]
    [8, 2]
    """
    if not parts:
        raise ValueError("split: parts must name at least one part, got none")
    for name, share in parts.items():
        if not 0 < share < float("inf"):
            raise ValueError(f"split: the share of {name!r} must be above 0, got {share}")
    groups = _groups(dataset, group)
    rng = np.random.default_rng(seed)
    counts = np.zeros((len(groups), len(dataset.classes) + 1))
    for row, members in zip(counts, groups, strict=True):
        row[-1] = len(members)  # the pictures themselves count as one more class, dealt last
        for place in members:
            np.add.at(row, dataset[place].instances.labels, 1)
    shares = np.array(list(parts.values()), np.float64)
    dealt = _deal(counts, shares / shares.sum(), rng)
    names = list(parts)
    chosen = {place: names[part] for members, part in zip(groups, dealt, strict=True) for place in members}
    return dataset.with_records(record.replace(split=chosen[n]) for n, record in enumerate(dataset))


def _groups(dataset: Dataset, group: str | Callable[[Record], object] | None) -> list[list[int]]:
    """Positions of the records that stay together; in an order that depends on ids only."""
    together: dict[object, list[int]] = defaultdict(list)
    order = sorted(range(len(dataset)), key=lambda n: (str(type(dataset[n].id)), dataset[n].id))
    for place in order:
        record = dataset[place]
        value: object = None
        if callable(group):
            value = group(record)
        elif group is not None:
            value = record.attributes.get(group)
        if value is None and record.video is not None:
            value = ("video", record.video)
        together[("alone", record.id) if value is None else ("group", repr(value))].append(place)
    return list(together.values())


def _deal(
    counts: NDArray[np.float64], shares: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """The part of every row of counts (groups, classes)."""
    wanted = shares[:, None] * counts.sum(axis=0)  # what each part still lacks of each class
    dealt = np.full(len(counts), -1, np.int64)
    shuffled = rng.permutation(len(counts))
    for class_ in _rarest_first(counts):
        left = shuffled[(dealt[shuffled] < 0) & (counts[shuffled, class_] > 0)]
        # Large groups first: the small ones even out what they leave.
        for row in left[np.argsort(-counts[left, class_], kind="stable")]:
            lack = wanted[:, class_]
            best = np.flatnonzero(lack >= lack.max() - 1e-9)
            best = best[wanted[best, -1] >= wanted[best, -1].max() - 1e-9]
            part = int(rng.choice(best))
            dealt[row] = part
            wanted[part] -= counts[row]
    return dealt


def _rarest_first(counts: NDArray[np.float64]) -> list[int]:
    totals = counts[:, :-1].sum(axis=0)
    return [*(int(n) for n in np.argsort(totals, kind="stable") if totals[n]), counts.shape[1] - 1]


def sample(dataset: Dataset, count: int, *, seed: int = 0) -> Dataset:
    """Some pictures, drawn without replacement; they keep their order.

    Args:
        dataset: The pictures to draw from.
        count: How many, at least 0; all where there are fewer.
        seed: The same seed draws the same pictures.

    >>> from delineate.instances import Instances
    >>> records = [Record(None, (4, 4), Instances.empty((4, 4)), n) for n in range(10)]
    >>> len(sample(Dataset(records, []), 3))
    3
    """
    if count < 0:
        raise ValueError(f"sample: count must be at least 0, got {count}")
    drawn = np.random.default_rng(seed).permutation(len(dataset))[:count]
    return dataset.with_records(dataset[int(n)] for n in sorted(drawn))


def select(
    dataset: Dataset,
    *,
    classes: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    min_area: float = 0,
    max_area: float = float("inf"),
    crowd: bool = True,
    empty: bool = True,
) -> Dataset:
    """The objects that meet every condition; classes that are not asked for vanish from the list of classes.

    Args:
        dataset: What to choose from.
        classes: Names to keep, in the new order of labels; None keeps all.
        splits: Keep the pictures of these splits only.
        min_area: Pixels of the mask (or of the box) at least.
        max_area: Pixels of the mask (or of the box) at most.
        crowd: Whether crowd regions stay.
        empty: Whether pictures stay that have no objects left.

    Raises:
        ValueError: A class is unknown, or areas are no interval.
    """
    if not 0 <= min_area <= max_area:
        raise ValueError(
            f"select: min_area must be at least 0 pixels and at most max_area, got {min_area:g} to {max_area:g}"
        )
    for name in classes or ():
        if name not in dataset.classes:
            known = ", ".join(dataset.classes) or "none"
            raise ValueError(f"select: classes must be among those of the dataset ({known}), got {name!r}")
    kept = tuple(dataset.classes if classes is None else classes)
    labels = np.array(
        [kept.index(name) if name in kept else -1 for name in dataset.classes] or [-1], np.int64
    )
    records = []
    for record in dataset:
        if splits is not None and record.split not in splits:
            continue
        found = record.instances
        areas = (
            np.prod(found.boxes[:, 2:] - found.boxes[:, :2], axis=1)
            if found.masks is None
            else found.masks.areas
        )
        good = (labels[found.labels] >= 0) & (areas >= min_area) & (areas <= max_area)
        if not crowd and found.crowd is not None:
            good &= ~found.crowd
        chosen = found[good].replace(labels=labels[found.labels[good]])
        if len(chosen) or empty:
            records.append(record.replace(instances=chosen))
    attributes = dict(dataset.attributes)
    entries = attributes.get("categories")
    if isinstance(entries, Sequence) and classes is not None:
        attributes["categories"] = [entries[dataset.classes.index(name)] for name in kept]
    return Dataset(tuple(records), kept, attributes)
