"""`Panoptic`: one picture in which every pixel belongs to at most one segment; and sets of such pictures.

Things are objects that can be counted, stuff is what cannot (sky, road): one segment per class. Pixels of no
segment are void.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from delineate.instances import Instances
from delineate.masks import Masks

VOID = 0
"""The value of pixels that belong to no segment."""

_MAX_ID = int(np.iinfo(np.int32).max)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Panoptic:
    """A map of segment ids with a table of the N segments. Immutable: arrays are copied in and read-only.

    Args:
        map: (H, W) int32, at least 1 x 1; 0 is void, every other value is one of the ids.
        ids: (N,) int32 at least 1, unique; every segment has pixels in the map.
        labels: (N,) int64, index into the classes of the dataset or model, at least 0.
        things: (N,) bool, True for an object, False for stuff.
        crowd: (N,) bool, True where a segment stands for a group of objects; None means all False.
        scores: (N,) float32, finite; None marks ground truth.

    Raises:
        ValueError: A shape or a value does not fit, or map and table disagree.
        TypeError: A type does not fit (a dtype that would lose values is refused, never rounded).

    >>> street = Panoptic([[7, 7, 0], [7, 2, 2]], ids=[2, 7], labels=[0, 3], things=[True, False])
    >>> street
    Panoptic(2, size=(2, 3))
    >>> street.areas
    array([2, 3])
    """

    map: NDArray[np.int32]
    ids: NDArray[np.int32]
    labels: NDArray[np.int64]
    things: NDArray[np.bool_]
    crowd: NDArray[np.bool_] = None  # type: ignore[assignment]  # an array after construction
    scores: NDArray[np.float32] | None = None
    areas: NDArray[np.int64] = field(init=False)
    """(N,) int64, pixels of each segment."""

    def __post_init__(self) -> None:
        map_ = _checked_map(self.map)
        ids = _column("ids", self.ids, np.int32, "iu")
        count = len(ids)
        labels = _column("labels", self.labels, np.int64, "iu", count)
        if count and labels.min() < 0:
            raise ValueError(f"Panoptic: labels must be at least 0, got {labels.min()}")
        scores = None
        if self.scores is not None:
            scores = _column("scores", self.scores, np.float32, "iuf", count)
            if not np.isfinite(scores).all():
                raise ValueError(f"Panoptic: scores must be finite, got {scores[~np.isfinite(scores)][0]}")
        given: object = self.crowd
        crowd = np.zeros(count, bool) if given is None else self.crowd
        set_ = object.__setattr__  # the class is frozen for everybody else
        set_(self, "map", map_)
        set_(self, "ids", ids)
        set_(self, "labels", labels)
        set_(self, "things", _column("things", self.things, np.bool_, "b", count))
        set_(self, "crowd", _column("crowd", crowd, np.bool_, "b", count))
        set_(self, "scores", scores)
        set_(self, "areas", _areas(map_, ids))

    @classmethod
    def empty(cls, size: tuple[int, int], *, scored: bool = False) -> Self:
        """No segments: everything is void.

        Args:
            size: (height, width) in pixels.
            scored: True for a prediction (scores are an empty array), False for ground truth (None).

        >>> Panoptic.empty((2, 3)).map.max()
        np.int32(0)
        """
        return cls(
            np.zeros(size, np.int32),
            np.zeros(0, np.int32),
            np.zeros(0, np.int64),
            np.zeros(0, np.bool_),
            scores=np.zeros(0, np.float32) if scored else None,
        )

    @classmethod
    def from_instances(cls, instances: Instances) -> Self:
        """Instances painted onto one map as things; where they overlap, the higher score keeps the pixel.

        Ties, and ground truth, go by position: the first one keeps the pixel. Instances of which nothing
        remains visible are left out.

        Args:
            instances: N instances with masks. Their ids become segment ids, if there are any (then they must
                be unique and from 1 to 2**31 - 1); else segments count from 1 by position.

        >>> both = Masks.from_dense(np.array([[[1, 1, 0]], [[0, 1, 1]]], bool))
        >>> Panoptic.from_instances(Instances.of(both, scores=[0.5, 0.9])).map
        array([[1, 2, 2]], dtype=int32)
        """
        if instances.masks is None:
            if len(instances):
                raise ValueError("Panoptic.from_instances: instances must have masks, got boxes only")
            return cls.empty(instances.size, scored=instances.scores is not None)
        count = len(instances)
        ids = np.arange(1, count + 1) if instances.ids is None else instances.ids
        if count and (ids.min() < 1 or ids.max() > _MAX_ID or len(np.unique(ids)) < count):
            raise ValueError("Panoptic.from_instances: ids must be unique and within 1 to 2**31 - 1")
        order = np.arange(count)
        if instances.scores is not None:
            order = np.argsort(-instances.scores, kind="stable")
        canvas = np.zeros(instances.size, np.int32)
        for position in order[::-1]:  # the most certain one is painted last
            y0, x0, shape = instances.masks.crop(int(position))
            height, width = shape.shape
            canvas[y0 : y0 + height, x0 : x0 + width][shape] = ids[position]
        kept = np.isin(ids, _values(canvas)[0])
        return cls(
            canvas,
            ids[kept].astype(np.int32),
            instances.labels[kept],
            np.ones(int(kept.sum()), bool),
            np.zeros(int(kept.sum()), bool) if instances.crowd is None else instances.crowd[kept],
            None if instances.scores is None else instances.scores[kept],
        )

    def to_instances(self, *, stuff: bool = False) -> Instances:
        """The things as instances, in the order of the table; ``ids`` are the segment ids.

        ``crowd`` is None if no thing is a crowd.

        Args:
            stuff: Stuff counts, too.

        >>> Panoptic([[1, 1, 2]], ids=[1, 2], labels=[4, 0], things=[True, False]).to_instances().boxes
        array([[0., 0., 2., 1.]], dtype=float32)
        """
        things = self.things | stuff
        crowd = self.crowd[things]
        return Instances.of(
            _masks(self.map, self.ids[things]),
            self.labels[things],
            None if self.scores is None else self.scores[things],
            crowd=crowd if crowd.any() else None,
            ids=self.ids[things],
        )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width = self.map.shape
        return height, width

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Panoptic):
            return NotImplemented
        if (self.scores is None) != (other.scores is None):
            return False
        return all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("map", "ids", "labels", "things", "crowd")
        ) and (self.scores is None or np.array_equal(self.scores, other.scores))  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"Panoptic({len(self)}, size={self.size}{'' if self.scores is None else ', scores'})"

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        # Through the constructor: unpickled arrays would be writable otherwise, and unchecked.
        return type(self), (self.map, self.ids, self.labels, self.things, self.crowd, self.scores)


Source: TypeAlias = Panoptic | Callable[[], Panoptic]
"""A panoptic picture, or what reads it."""


@dataclass(frozen=True, slots=True)
class PanopticRecord:
    """One picture with its panoptic map, which stays in its file until somebody reads it.

    Args:
        path: The picture file (it need not exist), or None.
        size: (height, width) of picture and map in pixels.
        source: The map with its segments, or a function that reads it.
        id: The picture's id in its dataset, an int or a non-empty str.
        attributes: Everything else that a format knows of the picture. Carried, never read.

    >>> PanopticRecord(None, (4, 6), Panoptic.empty((4, 6)), id=1).read()
    Panoptic(0, size=(4, 6))
    """

    path: Path | None
    size: tuple[int, int]
    source: Source
    id: int | str
    attributes: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.id, bool) or not isinstance(self.id, int | str) or self.id == "":
            raise TypeError(f"PanopticRecord: id must be an int or a non-empty str, got {self.id!r}")
        object.__setattr__(self, "path", None if self.path is None else Path(self.path))
        object.__setattr__(self, "size", tuple(self.size))
        object.__setattr__(self, "attributes", MappingProxyType(dict(self.attributes)))

    def read(self) -> Panoptic:
        """The map with its segments; read anew each time, nothing is kept.

        Raises:
            FormatError: The map's file is missing, or does not fit its description.
            ValueError: The map has another size than the record.
        """
        found = self.source if isinstance(self.source, Panoptic) else self.source()
        if found.size != self.size:
            raise ValueError(f"PanopticRecord: map must have size {self.size}, got {found.size}")
        return found

    def __hash__(self) -> int:
        raise TypeError("PanopticRecord must not be hashed (it holds arrays). Use record.id as the key")

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        return type(self), (self.path, self.size, self.source, self.id, dict(self.attributes))


@dataclass(frozen=True, slots=True)
class PanopticDataset:
    """Panoptic pictures and their classes. Immutable; slices share their records.

    Args:
        records: The pictures in the order of the file; ids are unique.
        classes: Name of every class; labels of segments index into it.
        things: Of every class, whether it is a thing (True) or stuff (False).

    Raises:
        ValueError: Two records have one id, or there is not one flag per class.

    >>> record = PanopticRecord(None, (4, 6), Panoptic.empty((4, 6)), id=1)
    >>> dataset = PanopticDataset([record], ["car", "sky"], things=[True, False])
    >>> dataset[0].id, len(dataset[1:])
    (1, 0)
    """

    records: tuple[PanopticRecord, ...]
    classes: tuple[str, ...]
    things: tuple[bool, ...]

    def __post_init__(self) -> None:
        given: object = self.classes
        if isinstance(given, str):
            raise TypeError(f"PanopticDataset: classes must be several names, got the one str {given!r}")
        set_ = object.__setattr__
        set_(self, "records", tuple(self.records))
        set_(self, "classes", tuple(self.classes))
        set_(self, "things", tuple(map(bool, self.things)))
        if len(self.things) != len(self.classes):
            raise ValueError(
                f"PanopticDataset: things must be {len(self.classes)} bools, one per class, "
                f"got {len(self.things)}"
            )
        seen: set[int | str] = set()
        for record in self.records:
            if record.id in seen:
                raise ValueError(f"PanopticDataset: records must have unique ids, got {record.id!r} twice")
            seen.add(record.id)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[PanopticRecord]:
        return iter(self.records)

    @overload
    def __getitem__(self, index: int) -> PanopticRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> PanopticRecord | Self:
        if isinstance(index, slice):
            return type(self)(self.records[index], self.classes, self.things)
        return self.records[index]

    def __hash__(self) -> int:
        raise TypeError("PanopticDataset must not be hashed (it holds arrays)")

    def __repr__(self) -> str:
        return f"PanopticDataset({len(self)} records, {len(self.classes)} classes)"


def _checked_map(value: ArrayLike) -> NDArray[np.int32]:
    source = np.asarray(value)
    if source.ndim != 2 or not source.size:
        raise ValueError(f"Panoptic: map must be (H, W), at least 1 x 1, got shape {source.shape}")
    if source.dtype.kind not in "iu":
        raise TypeError(f"Panoptic: map must be ints (int32), got {source.dtype}")
    if source.min() < 0 or source.max() > _MAX_ID:
        wrong = source.min() if source.min() < 0 else source.max()
        raise ValueError(f"Panoptic: map must hold values of 0 to 2**31 - 1, got {wrong}")
    return _frozen(np.array(source, np.int32, order="C"))


def _column(
    name: str, value: ArrayLike, dtype: type[np.generic], kinds: str, count: int | None = None
) -> NDArray[Any]:
    """A checked (N,) column of the table."""
    source = np.asarray(value)
    if source.dtype.kind not in kinds and source.size:
        wanted = {"b": "bools", "iu": "ints", "iuf": "numbers"}[kinds]
        raise TypeError(f"Panoptic: {name} must be {wanted} ({np.dtype(dtype)}), got {source.dtype}")
    if source.ndim != 1 or (count is not None and len(source) != count):
        wanted = "(N,)" if count is None else f"({count},) for {count} ids"
        raise ValueError(f"Panoptic: {name} must have shape {wanted}, got {source.shape}")
    if source.dtype.kind in "iu" and source.size and np.dtype(dtype).kind == "i":
        limit = np.iinfo(dtype).max  # type: ignore[type-var]
        if source.max() > limit or source.min() < -limit:
            raise ValueError(f"Panoptic: {name} must fit {np.dtype(dtype)}, got {source.max()}")
    with np.errstate(over="ignore"):
        return _frozen(np.array(source, dtype=dtype, order="C"))


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


def _values(map_: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The values of a map, ascending, and how many pixels each has. Runs first: they are few."""
    starts, lengths = _runs(map_.ravel())
    values, places = np.unique(map_.ravel()[starts], return_inverse=True)
    return values, np.bincount(places.ravel(), lengths, len(values)).astype(np.int64)


def _runs(flat: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each run of one value starts, and its length."""
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    return starts, np.diff(starts, append=len(flat))


def _areas(map_: NDArray[np.int32], ids: NDArray[np.int32]) -> NDArray[np.int64]:
    """Pixels per segment; map and table must name the same segments."""
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    if len(ids) and ordered[0] < 1:
        raise ValueError(f"Panoptic: ids must be at least 1 (0 is void), got {ordered[0]}")
    for place in np.flatnonzero(ordered[1:] == ordered[:-1])[:1]:
        raise ValueError(f"Panoptic: ids must be unique, got {ordered[place]} twice")
    values, counts = _values(map_)
    values, counts = values[values != VOID], counts[values != VOID]
    for value in values[~np.isin(values, ids)][:1]:
        raise ValueError(f"Panoptic: map must hold 0 and the ids of segments, got {value} without a segment")
    for id_ in ordered[~np.isin(ordered, values)][:1]:
        raise ValueError(f"Panoptic: ids must have pixels in the map, got {id_} without any")
    areas = np.zeros(len(ids), np.int64)
    areas[order] = counts
    return _frozen(areas)


def _masks(map_: NDArray[np.int32], ids: NDArray[np.int32]) -> Masks:
    """One mask per id, without a bitmap: the column-major runs of the map are the masks' runs."""
    height, width = map_.shape
    if not len(ids):
        return Masks.empty((height, width))
    flat = map_.ravel(order="F")
    starts, lengths = _runs(flat)
    order = np.argsort(ids, kind="stable")
    rows = order[np.minimum(np.searchsorted(ids, flat[starts], sorter=order), len(ids) - 1)]
    wanted = ids[rows] == flat[starts]
    starts, lengths, rows = starts[wanted], lengths[wanted], rows[wanted]
    ends = np.cumsum(np.bincount(rows, minlength=len(ids)))
    counts = []
    for own in np.split(np.argsort(rows, kind="stable"), ends[:-1]):
        # Borders of the runs; the differences are zeros, ones, zeros, ... as COCO counts them.
        borders = np.stack([starts[own], starts[own] + lengths[own]], axis=1).ravel()
        tail = [] if borders[-1] == height * width else [height * width]
        counts.append(np.diff(np.concatenate([[0], borders, tail]).astype(np.int64)))
    offsets = np.cumsum([0, *map(len, counts)], dtype=np.int64)
    return Masks.from_counts(np.concatenate(counts).astype(np.uint32), offsets, (height, width))
