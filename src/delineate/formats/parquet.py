"""One Parquet file with a row for each object, for very large sets and for whoever asks with SQL.

::

    picture  image_id  file_name  height  width  label  class   x0   y0   x1   y1  area  counts   score ...
    0        "7"       a.png      480     640    0      cell   1.0  1.0  4.0  5.0   9.0  b"PT1.." null

Columns of the picture are the same in all its rows; a picture without objects has one row whose label is null. "counts"
are COCO's compressed run lengths. Ids and attributes are JSON texts. Rows of a picture stand together in one row group.
Class names, and what else is known of the whole, are JSON under "delineate" in the metadata of the file.

Needs pyarrow: ``pip install 'delineate[parquet]'``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from delineate import atomic
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError, MissingExtra
from delineate.formats import KEEPABLE, _pictures
from delineate.formats import _coco_write as coco_write
from delineate.formats import _sizes as sizes
from delineate.instances import Instances
from delineate.masks import Masks

KEEPS = frozenset(KEEPABLE)
"""What ``read(write(dataset))`` preserves: everything."""
SUFFIX = ".parquet"

_ROWS = 1 << 16  # of a row group, or a few more: pictures are not cut
_MAX_BYTES = 1 << 32  # of a row group, decompressed
_KEY = b"delineate"
_PICTURE = {
    "picture": "int64",
    "image_id": "string",
    "file_name": "string",
    "height": "int32",
    "width": "int32",
    "video": "string",
    "frame": "int64",
    "split": "string",
    "image_attributes": "string",
}
_BOX = ("x0", "y0", "x1", "y1")
_EXTRAS = {"area": "float64", "annotation_id": "int64", "group": "int64", "z_order": "int64"}
_OBJECT = {
    "label": "int32",
    "class": "string",
    **dict.fromkeys(_BOX, "float32"),
    "score": "float32",
    "counts": "binary",
    "crowd": "bool",
    "track_id": "int64",
    **_EXTRAS,
    "attributes": "string",
}


_NAMES = {"float": "float32", "double": "float64"}  # as pyarrow prints them


class _Head(msgspec.Struct):
    classes: list[str]
    attributes: dict[str, Any] = {}
    scored: bool = False


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "parquet") from error
    return pyarrow, pyarrow.parquet


def sniff(path: str | Path) -> bool:
    """Whether it is a Parquet file with this package's metadata.

    Args:
        path: Any file.
    """
    try:
        with Path(path).open("rb") as file:
            if file.read(4) != b"PAR1":
                return False
            end = file.seek(-8, 2)
            length = int.from_bytes(file.read(4), "little")
            file.seek(max(0, end - length))
            return _KEY in file.read(min(length, 1 << 24))
    except OSError:
        return False


def read(path: str | Path) -> Dataset:
    """Read a whole file; `stream` reads one that does not fit into memory.

    Args:
        path: The Parquet file.

    Raises:
        FormatError: The file is missing, damaged or none of this package's, or a row does not fit.
        MissingExtra: pyarrow is not installed.
    """
    path = Path(path)
    with _opened(path) as (head, groups):
        try:
            return Dataset(tuple(_records(path, head, groups)), tuple(head.classes), head.attributes)
        except ValueError as error:
            raise FormatError(path, "", f"{str(error).rstrip('.')}.") from error


def stream(path: str | Path) -> Iterator[Record]:
    """The records of a file one after the other: no more than one row group is in memory.

    Args:
        path: The Parquet file.

    Raises:
        FormatError: The file is missing, damaged or none of this package's, or a row does not fit.
        MissingExtra: pyarrow is not installed.
    """
    path = Path(path)
    with _opened(path) as (head, groups):
        yield from _records(path, head, groups)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[_Head, Iterator[Any]]]:
    """The head and the row groups of a file, whose errors are FormatErrors."""
    try:
        source = path.open("rb")
    except OSError as error:
        raise FormatError(path, "", f"file must be readable, got: {error.strerror}.") from error
    with source:
        arrow, parquet = _arrow()
        try:
            file = parquet.ParquetFile(source)
            metadata = file.schema_arrow.metadata or {}
            if _KEY not in metadata:
                text = 'file must have "delineate" in its metadata, got none. Write it with delineate.'
                raise FormatError(path, "", text)
            head = msgspec.json.decode(metadata[_KEY], type=_Head)
            _check(path, file)
            yield head, (file.read_row_group(n) for n in range(file.num_row_groups))
        except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
            text = f"file must be Parquet, got a damaged one: {str(error)[:120]}."
            raise FormatError(path, "", text) from error
        except (msgspec.MsgspecError, RecursionError) as error:
            text = f"must be what delineate writes: {error}."
            raise FormatError(path, "metadata", text) from error


def _check(path: Path, file: Any) -> None:  # noqa: ANN401 - a ParquetFile
    schema = file.schema_arrow
    for name, kind in (_PICTURE | _OBJECT).items():
        found = str(schema.field(name).type) if name in schema.names else "none"
        if _NAMES.get(found, found) != kind:
            raise FormatError(path, name, f"column must be of type {kind}, got {found}.")
    for n in range(file.num_row_groups):
        size = file.metadata.row_group(n).total_byte_size
        if not 0 <= size <= _MAX_BYTES:
            raise FormatError(path, f"row group {n}", f"must be at most {_MAX_BYTES} bytes, got {size}.")


def _records(path: Path, head: _Head, groups: Iterator[Any]) -> Iterator[Record]:
    for table in groups:
        columns = {name: table.column(name).combine_chunks() for name in _PICTURE | _OBJECT}
        pictures = columns["picture"].to_pylist()
        starts = [n for n, one in enumerate(pictures) if n == 0 or one != pictures[n - 1]]
        heads = table.select(list(_PICTURE)).take(starts).to_pylist()
        values = {name: _values(columns[name], kind) for name, kind in _OBJECT.items() if name != "class"}
        for entry, start, end in zip(heads, starts, [*starts[1:], len(pictures)], strict=True):
            where = f"picture {entry['picture']}"
            rows = slice(start, end)
            try:
                yield _record(
                    path, where, head, entry, {name: _taken(*one, rows) for name, one in values.items()}
                )
            except (ValueError, TypeError, KeyError) as error:
                raise FormatError(path, where, f"{str(error).rstrip('.')}.") from error
            except RecursionError as error:
                raise FormatError(path, where, "attributes must not be nested so deeply.") from error


def _values(column: Any, kind: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:  # noqa: ANN401 - of pyarrow
    """The values of a column, and where there are none."""
    missing = column.is_null().to_numpy(zero_copy_only=False)
    if kind in ("string", "binary"):
        values = np.empty(len(column), object)
        values[:] = column.to_pylist()
        return values, missing
    zero: Any = False if kind == "bool" else 0
    return column.fill_null(zero).to_numpy(zero_copy_only=False), missing


def _taken(values: NDArray[Any], missing: NDArray[np.bool_], rows: slice) -> NDArray[Any] | None:
    """The rows of a picture; None where none of them has a value."""
    absent = missing[rows]
    if absent.all():
        return None
    if absent.any():
        raise ValueError("a column must have a value for all objects of a picture, or for none")
    found: NDArray[Any] = values[rows]
    return found


def _record(
    path: Path, where: str, head: _Head, entry: Mapping[str, Any], columns: Mapping[str, NDArray[Any] | None]
) -> Record:
    size = sizes.checked(path, where, entry["height"], entry["width"])
    labels, corners = columns["label"], [columns[name] for name in _BOX]
    found = Instances.empty(size, scored=head.scored)
    if labels is not None:
        if not 0 <= labels.min() <= labels.max() < len(head.classes):
            raise FormatError(path, where, f"label must be a class, below {len(head.classes)}.")
        if any(corner is None for corner in corners):
            raise FormatError(path, where, "x0, y0, x1 and y1 must be given for each object.")
        counts, extras = columns["counts"], {name: columns[name] for name in _EXTRAS}
        texts = columns["attributes"]
        found = Instances(
            size,
            np.stack([corner for corner in corners if corner is not None], axis=1),
            labels.astype(np.int64),
            columns["score"],
            None
            if counts is None
            else Masks.from_rle([{"size": list(size), "counts": one} for one in counts], size),
            columns["crowd"],
            columns["track_id"],
            {name: column for name, column in extras.items() if column is not None}
            | ({} if texts is None else {"attributes": texts.astype(np.str_)}),
        )
    name, video = entry["file_name"], entry["video"]
    return Record(
        None if name is None else _pictures.beside(path.parent, name),
        size,
        found,
        msgspec.json.decode(entry["image_id"] or "null", type=int | str),
        msgspec.json.decode(entry["image_attributes"] or "{}", type=dict[str, Any]),
        None if video is None else msgspec.json.decode(video, type=int | str),
        entry["frame"],
        entry["split"],
    )


def write(dataset: Dataset, path: str | Path) -> None:
    """Write a dataset; the same dataset and the same pyarrow give the same bytes.

    Args:
        dataset: What to write.
        path: The Parquet file; replaced in one step.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    scored = any(record.instances.scores is not None for record in dataset)
    write_stream(dataset, dataset.classes, path, attributes=dataset.attributes, scored=scored)


def write_stream(
    records: Iterable[Record],
    classes: Sequence[str],
    path: str | Path,
    *,
    attributes: Mapping[str, object] | None = None,
    scored: bool = False,
) -> None:
    """Write records as they come, row group by row group: they need not fit into memory.

    Args:
        records: The pictures; their ids must be unique.
        classes: The names of classes.
        path: The Parquet file; replaced in one step when the last record is written.
        attributes: What is known of the whole, as ``Dataset.attributes``.
        scored: Whether these are predictions: pictures without objects have scores as well.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    arrow, parquet = _arrow()
    path = Path(path)
    kinds = {
        name: getattr(arrow, f"{kind}_" if kind == "bool" else kind)()
        for name, kind in (_PICTURE | _OBJECT).items()
    }
    head = {"classes": list(classes), "attributes": dict(attributes or {}), "scored": scored}
    schema = arrow.schema(list(kinds.items()), {_KEY: coco_write.encode(head)})
    with atomic.writing(path) as file, parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        batch: list[Record] = []
        rows = first = 0
        for record in records:
            batch.append(record)
            rows += max(1, record.count)
            if rows >= _ROWS:
                writer.write_batch(_batch(arrow, schema, batch, first, classes, path.parent))
                first += len(batch)
                batch, rows = [], 0
        if batch:
            writer.write_batch(_batch(arrow, schema, batch, first, classes, path.parent))


def _batch(
    arrow: Any,  # noqa: ANN401 - the module
    schema: Any,  # noqa: ANN401 - of pyarrow
    records: Sequence[Record],
    first: int,
    classes: Sequence[str],
    root: Path,
) -> Any:  # noqa: ANN401 - a RecordBatch
    heads = [_head(record, first + n, root) for n, record in enumerate(records)]
    owners = np.repeat(np.arange(len(records)), [max(1, record.count) for record in records])
    objects = [_columns(record.instances, classes) for record in records]
    columns = []
    for name in schema.names:
        kind = schema.field(name).type
        if name in _PICTURE:
            columns.append(arrow.array([head[name] for head in heads], kind).take(arrow.array(owners)))
        elif _OBJECT[name] in ("string", "binary"):
            values = [value for one in objects for value in one[name]]
            columns.append(arrow.array(values, kind))
        else:
            parts = [one[name] for one in objects]
            missing = np.concatenate(
                [np.full(max(1, r.count), p is None) for r, p in zip(records, parts, strict=True)]
            )
            filled = [
                np.zeros(max(1, r.count)) if p is None else p for r, p in zip(records, parts, strict=True)
            ]
            exact = np.concatenate([part.astype(kind.to_pandas_dtype()) for part in filled])
            columns.append(arrow.array(exact, kind, mask=missing))
    return arrow.record_batch(columns, schema=schema)


def _head(record: Record, position: int, root: Path) -> dict[str, Any]:
    entry = coco_write.image_entry(record, root)
    return {
        "picture": position,
        "image_id": coco_write.encode(record.id).decode(),
        "file_name": entry["file_name"] if record.path is not None else None,
        "height": record.size[0],
        "width": record.size[1],
        "video": None if record.video is None else coco_write.encode(record.video).decode(),
        "frame": record.frame,
        "split": record.split,
        "image_attributes": coco_write.encode(dict(record.attributes)).decode(),
    }


def _columns(found: Instances, classes: Sequence[str]) -> dict[str, Any]:
    """The columns of one picture: arrays, or None where there are no values; texts are always lists."""
    count = len(found)
    if not count:
        return {name: [None] if kind in ("string", "binary") else None for name, kind in _OBJECT.items()}
    nothing = [None] * count
    texts = found.extras.get("attributes")
    return {
        "label": found.labels,
        "class": [classes[label] for label in found.labels.tolist()],
        **dict(zip(_BOX, found.boxes.T, strict=True)),
        "score": found.scores,
        "counts": nothing
        if found.masks is None
        else [rle["counts"].encode() for rle in found.masks.to_rle()],
        "crowd": found.crowd,
        "track_id": found.ids,
        **{name: found.extras.get(name) for name in _EXTRAS},
        "attributes": nothing if texts is None else texts.tolist(),
    }
