"""`Record` and `Dataset`: annotated pictures, immutable and lazy about pixels."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, overload

from delineate.instances import Instances
from delineate.table import Rows


@dataclass(frozen=True, slots=True)
class Record:
    """One picture and its instances. The picture stays a path until somebody reads it.

    Records that a reader of a large file made keep their instances as `rows` until somebody asks for them.

    Args:
        path: The picture file (it need not exist), or None where only the annotations are known.
        size: (height, width) of the picture in pixels; equals ``instances.size``.
        instances: The objects; N = 0 for a picture without objects.
        id: The picture's id in its dataset, an int or a non-empty str.
        attributes: Everything else that a format knows of the picture. Carried, never read.
        video: Name or id of the video that the picture is a frame of, else None. Track ids
            (``Instances.ids``) are unique within a video.
        frame: Position in the video, at least 0; given exactly where ``video`` is.
        split: The part of the dataset that the picture belongs to ("train", "val", ...), or None.

    >>> record = Record(Path("a.png"), (4, 6), Instances.empty((4, 6)), id=1)
    >>> record.path.name, record.size, len(record.instances)
    ('a.png', (4, 6), 0)
    """

    path: Path | None
    size: tuple[int, int]
    instances: Instances
    id: int | str
    attributes: Mapping[str, object] = field(default_factory=dict)
    video: int | str | None = None
    frame: int | None = None
    split: str | None = None
    rows: Rows | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        given: object = self.instances
        if not isinstance(given, Instances | Rows):
            raise TypeError(f"Record: instances must be Instances, got {type(given).__name__}")
        size, own = tuple(self.size), given.size
        if size != own:
            raise ValueError(f"Record: size must equal the instances' size {own}, got {size}")
        if isinstance(given, Rows):
            object.__setattr__(self, "rows", given)
            object.__delattr__(self, "instances")  # now asking for it leads to __getattr__
        _check_name("id", self.id)
        if self.video is not None:
            _check_name("video", self.video)
        _check_frame(self.video, self.frame)
        if self.split is not None and (not isinstance(self.split, str) or not self.split):
            raise TypeError(f"Record: split must be a name or None, got {self.split!r}")
        if not isinstance(self.attributes, Mapping):
            raise TypeError(f"Record: attributes must be a mapping, got {type(self.attributes).__name__}")
        object.__setattr__(self, "path", None if self.path is None else Path(self.path))
        object.__setattr__(self, "size", own)
        object.__setattr__(self, "attributes", MappingProxyType(dict(self.attributes)))

    @classmethod
    def of_rows(cls, rows: Rows, **fields: Any) -> Self:
        """A record whose instances are made when somebody asks for them. For readers, which have checked all of it.

        Args:
            rows: Where the instances come from.
            **fields: All other fields; attributes as a dict that nobody else holds.
        """
        record = object.__new__(cls)  # a file has many: checks and defaults would take longer than its JSON
        fields["attributes"] = MappingProxyType(fields["attributes"])
        for name, value in fields.items():
            object.__setattr__(record, name, value)
        object.__setattr__(record, "rows", rows)
        return record

    def __getattr__(self, name: str) -> Instances:
        # Called only for what is not there: instances that stay in their file until somebody asks for them.
        # They are not kept here, so that a walk over a large file does not gather them all.
        if name != "instances" or self.rows is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self.rows.make()

    @property
    def count(self) -> int:
        """Number of instances; asking does not make them."""
        return len(self.instances if self.rows is None else self.rows)

    @property
    def name(self) -> str:
        """What to call the picture in messages and tables: the file's name, or else the id.

        >>> Record(None, (4, 6), Instances.empty((4, 6)), id=7).name
        '7'
        """
        return str(self.id) if self.path is None else self.path.name

    def replace(self, **changes: Any) -> Self:
        """The same record with some fields changed; a new ``instances`` brings its own size.

        Args:
            **changes: New values by field name.

        >>> record = Record(None, (4, 6), Instances.empty((4, 6)), id=7)
        >>> record.replace(instances=Instances.empty((2, 2))).size
        (2, 2)
        """
        if "instances" in changes:
            changes.setdefault("size", changes["instances"].size)
        elif self.rows is not None:
            changes["instances"] = self.rows
        return replace(self, **changes)

    def __hash__(self) -> int:
        raise TypeError("Record must not be hashed (it holds arrays). Use record.id as the key")

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        given = (self.path, self.size, self.instances, self.id, dict(self.attributes))
        return type(self), (*given, self.video, self.frame, self.split)


def _check_name(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(f"Record: {name} must be an int or a str, got {type(value).__name__}")
    if value == "":
        raise ValueError(f"Record: {name} must not be an empty str, got ''")


def _check_frame(video: object, frame: object) -> None:
    if (video is None) != (frame is None):
        raise ValueError(f"Record: video and frame must be given together, got {video!r} and {frame!r}")
    if frame is not None and (isinstance(frame, bool) or not isinstance(frame, int) or frame < 0):
        raise ValueError(f"Record: frame must be an int of at least 0, got {frame!r}")


def _position(record: Record) -> int:
    return -1 if record.frame is None else record.frame


@dataclass(frozen=True, slots=True)
class Dataset:
    """Annotated pictures and the names of their classes. Immutable; slices share their records.

    Args:
        records: The pictures in the order of the file; ids are unique.
        classes: Name of every class; ``instances.labels`` index into it. Two classes may share a name.
        attributes: Everything else that a format knows of the whole. Carried, never read outside
            ``formats``.

    Raises:
        ValueError: Two records have one id, or a label lies outside the classes.

    >>> records = [Record(None, (4, 6), Instances.empty((4, 6)), id) for id in (3, 5, 8)]
    >>> dataset = Dataset(records, classes=["nucleus"])
    >>> len(dataset), dataset[1].id, [record.id for record in dataset[1:]]
    (3, 5, [5, 8])
    """

    records: tuple[Record, ...]
    classes: tuple[str, ...]
    attributes: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given: object = self.classes
        if isinstance(given, str):
            raise TypeError(f"Dataset: classes must be several names, got the one str {given!r}")
        records, classes = tuple(self.records), tuple(self.classes)
        for name in classes:
            if not isinstance(name, str):
                raise TypeError(f"Dataset: classes must be names (str), got {name!r}")
        seen: set[int | str] = set()
        fine: dict[int, bool] = {}  # tables whose labels are all below the number of classes
        for record in records:
            if not isinstance(record, Record):
                raise TypeError(f"Dataset: records must be Record values, got {type(record).__name__}")
            if record.id in seen:
                raise ValueError(f"Dataset: records must have unique ids, got {record.id!r} twice")
            seen.add(record.id)
            rows = record.rows
            if rows is not None and id(rows.table) not in fine:
                fine[id(rows.table)] = bool(rows.table.labels.max(initial=-1) < len(classes))
            if rows is not None and fine[id(rows.table)]:
                continue
            labels = (record.instances if rows is None else rows).labels
            if len(labels) and labels.max() >= len(classes):
                raise ValueError(
                    f"Dataset: labels must be below the number of classes {len(classes)}, "
                    f"got {labels.max()} in record {record.id!r}"
                )
        if not isinstance(self.attributes, Mapping):
            raise TypeError(f"Dataset: attributes must be a mapping, got {type(self.attributes).__name__}")
        object.__setattr__(self, "attributes", MappingProxyType(dict(self.attributes)))
        object.__setattr__(self, "records", records)
        object.__setattr__(self, "classes", classes)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Record | Self:
        if isinstance(index, slice):
            return type(self)(self.records[index], self.classes, self.attributes)
        return self.records[index]

    def filter(self, keep: Callable[[Record], bool]) -> Self:
        """The records for which ``keep(record)`` is true, in their order; the classes stay.

        Args:
            keep: Called once per record.

        >>> records = [Record(None, (4, 6), Instances.empty((4, 6)), id) for id in (3, 5, 8)]
        >>> [record.id for record in Dataset(records, []).filter(lambda record: record.id > 4)]
        [5, 8]
        """
        return self.with_records(record for record in self.records if keep(record))

    def with_records(self, records: Iterable[Record]) -> Self:
        """Other records with the same classes.

        Args:
            records: The new records.

        >>> len(Dataset([], ["nucleus"]).with_records([]))
        0
        """
        return type(self)(tuple(records), self.classes, self.attributes)

    def videos(self) -> dict[int | str, Self]:
        """The frames of each video in the order of their positions; videos in the order of their first record.

        Records that belong to no video are left out.

        Raises:
            ValueError: Two records are the same frame of a video.

        >>> frames = [Record(None, (4, 6), Instances.empty((4, 6)), n, {}, "a", 9 - n) for n in (1, 2)]
        >>> {video: [record.frame for record in part] for video, part in Dataset(frames, []).videos().items()}
        {'a': [7, 8]}
        """
        groups: dict[int | str, list[Record]] = {}
        for record in self.records:
            if record.video is not None:
                groups.setdefault(record.video, []).append(record)
        for video, frames in groups.items():
            frames.sort(key=_position)
            for before, after in itertools.pairwise(frames):
                if before.frame == after.frame:
                    raise ValueError(
                        f"Dataset.videos: frames must be different, got {after.frame} twice in {video!r}"
                    )
        return {video: self.with_records(frames) for video, frames in groups.items()}

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        return type(self), (self.records, self.classes, dict(self.attributes))

    def __hash__(self) -> int:
        raise TypeError(
            "Dataset must not be hashed (it holds arrays). Use its path or id(dataset) as the key"
        )

    def __repr__(self) -> str:
        count = sum(record.count for record in self.records)
        return f"Dataset({len(self)} records, {count} instances, {len(self.classes)} classes)"
