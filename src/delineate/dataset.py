"""`Record` and `Dataset`: annotated pictures, immutable and lazy about pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, overload

from delineate.instances import Instances


@dataclass(frozen=True, slots=True)
class Record:
    """One picture and its instances. The picture stays a path until somebody reads it.

    Args:
        path: The picture file (it need not exist), or None where only the annotations are known.
        size: (height, width) of the picture in pixels; equals ``instances.size``.
        instances: The objects; N = 0 for a picture without objects.
        id: The picture's id in its dataset, an int or a non-empty str.
        attributes: Everything else that a format knows of the picture. Carried, never read.

    >>> record = Record(Path("a.png"), (4, 6), Instances.empty((4, 6)), id=1)
    >>> record.path.name, record.size, len(record.instances)
    ('a.png', (4, 6), 0)
    """

    path: Path | None
    size: tuple[int, int]
    instances: Instances
    id: int | str
    attributes: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.instances, Instances):
            raise TypeError(f"Record: instances must be Instances, got {type(self.instances).__name__}")
        size = tuple(self.size)
        if size != self.instances.size:
            raise ValueError(f"Record: size must equal the instances' size {self.instances.size}, got {size}")
        if isinstance(self.id, bool) or not isinstance(self.id, int | str):
            raise TypeError(f"Record: id must be an int or a str, got {type(self.id).__name__}")
        if self.id == "":
            raise ValueError("Record: id must not be an empty str, got ''")
        if not isinstance(self.attributes, Mapping):
            raise TypeError(f"Record: attributes must be a mapping, got {type(self.attributes).__name__}")
        object.__setattr__(self, "path", None if self.path is None else Path(self.path))
        object.__setattr__(self, "size", self.instances.size)
        object.__setattr__(self, "attributes", MappingProxyType(dict(self.attributes)))

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
        return replace(self, **changes)

    def __hash__(self) -> int:
        raise TypeError("Record must not be hashed (it holds arrays). Use record.id as the key")

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        return type(self), (self.path, self.size, self.instances, self.id, dict(self.attributes))


@dataclass(frozen=True, slots=True)
class Dataset:
    """Annotated pictures and the names of their classes. Immutable; slices share their records.

    Args:
        records: The pictures in the order of the file; ids are unique.
        classes: Name of every class; ``instances.labels`` index into it. Two classes may share a name.

    Raises:
        ValueError: Two records have one id, or a label lies outside the classes.

    >>> records = [Record(None, (4, 6), Instances.empty((4, 6)), id) for id in (3, 5, 8)]
    >>> dataset = Dataset(records, classes=["nucleus"])
    >>> len(dataset), dataset[1].id, [record.id for record in dataset[1:]]
    (3, 5, [5, 8])
    """

    records: tuple[Record, ...]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        given: object = self.classes
        if isinstance(given, str):
            raise TypeError(f"Dataset: classes must be several names, got the one str {given!r}")
        records, classes = tuple(self.records), tuple(self.classes)
        for name in classes:
            if not isinstance(name, str):
                raise TypeError(f"Dataset: classes must be names (str), got {name!r}")
        seen: set[int | str] = set()
        for record in records:
            if not isinstance(record, Record):
                raise TypeError(f"Dataset: records must be Record values, got {type(record).__name__}")
            if record.id in seen:
                raise ValueError(f"Dataset: records must have unique ids, got {record.id!r} twice")
            seen.add(record.id)
            labels = record.instances.labels
            if len(labels) and labels.max() >= len(classes):
                raise ValueError(
                    f"Dataset: labels must be below the number of classes {len(classes)}, "
                    f"got {labels.max()} in record {record.id!r}"
                )
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
            return type(self)(self.records[index], self.classes)
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
        return type(self)(tuple(records), self.classes)

    def __hash__(self) -> int:
        raise TypeError(
            "Dataset must not be hashed (it holds arrays). Use its path or id(dataset) as the key"
        )

    def __repr__(self) -> str:
        count = sum(len(record.instances) for record in self.records)
        return f"Dataset({len(self)} records, {count} instances, {len(self.classes)} classes)"
