"""Reads checkpoints without running them: safetensors, torch's files, and detectron2's pickles of numpy arrays.

Torch's files hold a pickled module or state dict: an archive, or, before torch 1.6, pickles one after the
other. Untrusted files are the normal case. See `_pickle` for how pickles are read; here the archive is checked:
members are stored without compression and together no larger than the file, and every tensor lies inside its
storage. An archive around such a file is opened once.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from torch import Tensor

from delineate.errors import MissingExtra, WeightsError
from delineate.models._numpy_pickle import Array, handlers
from delineate.models._pickle import Handler, Name, Stub, read

_DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "BoolStorage": torch.bool,
}
_LEGACY = 0x1950A86A20F9469CFC6C  # the first pickle of torch's files before 1.6
_DEPTH = 32  # modules inside modules; the bounds keep a crafted web of modules from exploding
_LENGTH = 100  # characters of one name
_MODULES = 20_000
_TENSORS = 100_000
_SHRINKS = 4  # weights hardly do when they are compressed


class Contents(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        tensors: State dict; floats as they are stored (float16 in official files).
        classes: Class names, empty when the file has none.
        kinds: Class name of every module of a pickled model, by its path.
        eps: Epsilon of every batch norm of a pickled model, by its path.
        header: JSON header of our own checkpoints, empty otherwise.
    """

    tensors: dict[str, Tensor]
    classes: tuple[str, ...]
    kinds: dict[str, str]
    eps: dict[str, float]
    header: dict[str, Any]


def read_checkpoint(path: str | Path) -> Contents:
    """Read a checkpoint of any kind that we know.

    Args:
        path: A `.pt`, `.pth`, `.pkl` or `.safetensors` file; the content decides.

    Raises:
        WeightsError: If it is damaged, hostile, or holds no model.
        OSError: If it cannot be opened.
    """
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(4)
    try:
        if start[:1] == b"\x80" and start[1:2] in b"\2\3\4\5":
            return _read_pickles(BytesIO(path.read_bytes()))
        return _read_torch(path) if start == b"PK\x03\x04" else _read_safetensors(path)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


def _read_safetensors(path: Path) -> Contents:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise MissingExtra("safetensors", "torch") from error
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("delineate", "{}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
        header = msgspec.json.decode(text, type=dict[str, Any])
        classes = msgspec.convert(header.get("classes", []), tuple[str, ...])
    except (SafetensorError, msgspec.MsgspecError, RecursionError) as error:
        raise WeightsError(f"must be a checkpoint (safetensors or a zipped .pt), got: {error}.") from error
    for prefix in (
        "ema/",
        "model/",
    ):  # a training run's whole state: the averaged weights are the better ones
        part = {
            name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)
        }
        if part:
            return Contents(part, classes, {}, {}, header)
    return Contents(tensors, classes, {}, {}, header)


def _read_torch(file: Path | BytesIO) -> Contents:
    try:
        with zipfile.ZipFile(file) as archive:
            size = file.stat().st_size if isinstance(file, Path) else len(file.getbuffer())
            if isinstance(file, Path) and (inner := _zipped(archive, size)) is not None:
                return _read_torch(BytesIO(inner))
            members = _checked(archive, size)
            stems = [name.removesuffix("data.pkl") for name in members if name.endswith("/data.pkl")]
            if len(stems) != 1:
                raise WeightsError(
                    f"must hold one <name>/data.pkl, got {len(stems)}. Is it a torch checkpoint?"
                )
            prefix = f"{stems[0]}data/"
            storages = _Storages(
                lambda name: (
                    bytearray(archive.read(members[prefix + name])) if prefix + name in members else None
                )
            )
            top = read(archive.read(members[f"{stems[0]}data.pkl"]), _HANDLERS, storages.load)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError) as error:
        raise WeightsError(f"must be a zipped torch checkpoint, got a damaged archive: {error}.") from error
    return _contents(top)


def _zipped(archive: zipfile.ZipFile, size: int) -> bytes | None:
    """The one checkpoint of an archive that somebody made around it; None for torch's own archives."""
    infos = [info for info in archive.infolist() if not info.filename.startswith("__MACOSX/")]
    if len(infos) != 1 or not infos[0].filename.endswith((".pt", ".pth")):
        return None
    if infos[0].file_size > _SHRINKS * size:
        raise WeightsError(
            f"a zipped checkpoint must be at most {_SHRINKS} times as large as its archive, got "
            f"{infos[0].file_size} bytes in {size}."
        )
    with archive.open(infos[0]) as member:
        return member.read(infos[0].file_size)


def _checked(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Members by name, once their sizes are known to be honest."""
    members = {info.filename: info for info in archive.infolist()}
    if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
        raise WeightsError("members must be stored without compression, as torch writes them.")
    if sum(info.file_size for info in archive.infolist()) > size:
        raise WeightsError(f"members must not be larger together than the file of {size} bytes.")
    return members


def _read_pickles(stream: BytesIO) -> Contents:
    """Pickles one after the other, as torch wrote them before 1.6; or a single one, of numpy arrays."""
    top = read(stream, handlers(len(stream.getbuffer())), lambda _: None)
    if top != _LEGACY:
        return _contents(top)
    for _ in range(2):  # version and system
        read(stream, {}, lambda _: None)
    place = stream.tell()
    sizes: dict[str, int] = {}  # bytes of a number of each storage

    def note(key: Any) -> None:  # noqa: ANN401  (whatever the file says)
        name, dtype = _storage(key)
        sizes[name] = dtype.itemsize

    read(stream, {}, note)
    names = read(stream, {}, lambda _: None)
    if not isinstance(names, list) or set(names) != set(sizes) or len(names) != len(sizes):
        raise WeightsError("pickle: the storages must be those that are used.")
    found: dict[str, bytearray] = {}
    for name in names:  # each is a count and its numbers
        count = int.from_bytes(stream.read(8), "little", signed=True)
        if not 0 <= count * sizes[name] <= len(stream.getbuffer()) - stream.tell():
            raise WeightsError(f"storage {name[:40]!r} must have {count} numbers, the file ends before.")
        found[name] = bytearray(stream.read(count * sizes[name]))
    stream.seek(place)
    return _contents(read(stream, _HANDLERS, _Storages(found.get).load))


def _storage(key: Any) -> tuple[str, torch.dtype]:  # noqa: ANN401  (whatever the file says)
    """Name and type of a storage, from a persistent id ("storage", type, key, location, count[, no view])."""
    if (
        not isinstance(key, tuple)
        or len(key) not in (5, 6)
        or key[0] != "storage"
        or not isinstance(key[2], str)
    ):
        raise WeightsError("pickle: persistent ids must be torch storages.")
    kind, name = key[1], key[2]
    if (
        not isinstance(kind, Name)
        or kind.module != "torch"
        or kind.name not in _DTYPES
        or key[5:] not in ((), (None,))
    ):
        raise WeightsError("pickle: a storage must have a known element type.")
    return name, _DTYPES[kind.name]


class _Storages:
    """The raw numbers of a file, each read once."""

    def __init__(self, find: Callable[[str], bytearray | None]) -> None:
        self.find = find
        self.loaded: dict[str, Tensor] = {}

    def load(self, key: Any) -> Tensor:  # noqa: ANN401  (whatever the file says)
        """The storage of a persistent id as a flat tensor."""
        name, dtype = _storage(key)
        if name not in self.loaded:
            data = self.find(name)
            if data is None:
                raise WeightsError(f"storage {name[:40]!r} is missing from the archive.")
            empty = torch.zeros(0, dtype=torch.uint8)
            self.loaded[name] = torch.frombuffer(data, dtype=torch.uint8) if data else empty
        raw = self.loaded[name]
        if len(raw) % dtype.itemsize:
            raise WeightsError(
                f"storage {name[:40]!r} must hold whole {dtype} numbers, got {len(raw)} bytes."
            )
        return raw.view(dtype)


def _rebuild_tensor(arguments: tuple[Any, ...]) -> Tensor:
    storage, offset, size, stride = arguments[:4]
    numbers = (offset, *size, *stride)
    if not isinstance(storage, Tensor) or not all(type(number) is int and number >= 0 for number in numbers):
        raise WeightsError("pickle: a tensor must have a storage and whole numbers as shape.")
    if len(size) != len(stride) or len(size) > 8:
        lengths = f"{len(size)} and {len(stride)}"
        raise WeightsError(f"pickle: a tensor must have one stride for each of up to 8 sides, got {lengths}.")
    count = math.prod(size)
    last = (
        offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True)) if count else 0
    )
    # Overlapping elements (stride 0) could describe a huge tensor in a few bytes.
    if count > storage.numel() or last >= max(storage.numel(), 1):
        raise WeightsError("pickle: a tensor must lie inside its storage.")
    return storage.as_strided(size, stride, offset) if count else storage.new_zeros(size)


_HANDLERS: dict[str, Handler] = {
    "collections.OrderedDict": lambda _: {},
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": lambda arguments: arguments[0],
    "torch.Size": lambda arguments: arguments[0],
    "builtins.set": lambda arguments: (
        arguments[0] if arguments else []
    ),  # not copied: a file could ask for many
    "__builtin__.set": lambda arguments: arguments[0] if arguments else [],
}


def _contents(top: object) -> Contents:
    """The model of a checkpoint: its averaged one where there is one, as in checkpoints of training runs."""
    if isinstance(top, dict):
        for key in ("ema", "model", "state_dict", "model_state_dict"):
            if isinstance(top.get(key), Stub | dict):
                top = top[key]
                break
    if isinstance(top, Stub):
        return _walk(top)
    values = top.items() if isinstance(top, dict) else ()
    tensors = {k: v.tensor if isinstance(v, Array) else v for k, v in values if isinstance(v, Tensor | Array)}
    if not tensors:
        raise WeightsError("must hold a model or a state dict, got neither.")
    return Contents(tensors, (), {}, {}, {})


def _walk(model: Stub) -> Contents:
    """State dict of a pickled module, in the order of its children."""
    tensors: dict[str, Tensor] = {}
    kinds: dict[str, str] = {}
    eps: dict[str, float] = {}
    waiting: list[tuple[str, Stub, int]] = [("", model, 0)]
    while waiting:
        path, module, depth = waiting.pop()
        if depth > _DEPTH or len(kinds) + len(waiting) > _MODULES or len(tensors) > _TENSORS:
            raise WeightsError("the model must be a tree of modules of reasonable size.")
        kinds[path.removesuffix(".")] = module.origin.name
        state = module.state
        hidden = state.get("_non_persistent_buffers_set")
        for table in ("_parameters", "_buffers"):
            for name, value in _items(state.get(table)):
                if isinstance(value, Tensor) and not (isinstance(hidden, list) and name in hidden):
                    tensors[f"{path}{name}"] = value
        if module.origin.name.startswith("BatchNorm") and isinstance(state.get("eps"), float):
            eps[path.removesuffix(".")] = state["eps"]
        children = [(f"{path}{name}.", child, depth + 1) for name, child in _items(state.get("_modules"))]
        waiting.extend(child for child in reversed(children) if isinstance(child[1], Stub))
    if not tensors:
        raise WeightsError("the model must have parameters, got none.")
    return Contents(tensors, _class_names(model.state.get("names")), kinds, eps, {})


def _items(table: object) -> list[tuple[str, Any]]:
    if not isinstance(table, dict):
        return []
    return [(name, value) for name, value in table.items() if isinstance(name, str) and len(name) <= _LENGTH]


def _class_names(names: object) -> tuple[str, ...]:
    """Names from a list or from a dict of 0, 1, 2, ...; empty when there are none."""
    if isinstance(names, dict):
        names = [names.get(index) for index in range(len(names))]
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return tuple(names)
    return ()
