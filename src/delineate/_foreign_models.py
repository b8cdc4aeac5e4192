"""Model files of others, recognised by their metadata and by the shapes of their outputs; see `modelfile`."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from delineate.errors import WeightsError
from delineate.postprocess.decode import BINS, Kind
from delineate.runtimes import Port, Runtime

KEY = "delineate"  # the metadata entry of our exports
_UNSTATED = "not stated in the file"
LONGEST = 4_000_000  # characters of a metadata entry that we are willing to parse


class Foreign(NamedTuple):
    """A recognised YOLO-seg network, or detector of torchvision."""

    name: str
    decode: Kind
    classes: tuple[str, ...]
    size: tuple[int, int] | None  # (height, width) of the input; None = that of the picture
    licence: str
    provenance: dict[str, str]


def takes_pictures(port: Port) -> bool:
    return len(port.shape) in (3, 4) and port.shape[-3] == 3 and port.dtype in ("float32", "float16")


def unknown(runtime: Runtime, why: str) -> WeightsError:
    inputs, outputs = ("; ".join(str(port) for port in ports) for ports in (runtime.inputs, runtime.outputs))
    return WeightsError(
        f"the model must be an export of delineate, a YOLO-seg network or a detector of torchvision, but {why}. "
        f"Its inputs: {inputs}; its outputs: {outputs}. Recognised are: a metadata entry '{KEY}'; Ultralytics "
        "segmentation exports without built-in suppression; outputs (1, 4 + classes + M, anchors) and (1, M, h, w); "
        "boxes (N, 4), integer labels (N), scores (N) and masks (N, 1, h, w) of one picture (3, height, width)"
    )


def recognise(runtime: Runtime) -> Foreign:
    """What a file without a card is.

    Raises:
        WeightsError: It is none that we know.
    """
    metadata = runtime.metadata
    if len(runtime.inputs[0].shape) == 3:
        return _torchvision(runtime)
    if metadata.get("task", "segment") != "segment":
        raise unknown(runtime, f"its task is {metadata['task'][:40]!r}, which has no masks")
    if metadata.get("end2end") == "True":
        raise unknown(runtime, "it ends in its own suppression; export it with end2end=False")
    names = _names(metadata["names"]) if "names" in metadata else ()
    count = _count_classes(runtime.outputs, len(names))
    if count is None:
        reason = f" for the {len(names)} classes that it names" if names else ""
        raise unknown(runtime, f"its outputs have none of the known shapes{reason}")
    producer = " ".join(filter(None, (metadata.get("author", ""), metadata.get("version", ""))))
    licence = ", by ".join(filter(None, (metadata.get("license", ""), metadata.get("author", ""))))
    stated = {
        "producer": producer,
        "description": metadata.get("description", ""),
        "date": metadata.get("date", ""),
    }
    return Foreign(
        name=metadata.get("description", "")[:100] or "YOLO-seg",
        decode="prototypes",
        classes=names or tuple(f"class {index}" for index in range(count)),
        size=_input_size(runtime),
        licence=licence or _UNSTATED,
        provenance={key: text[:1000] for key, text in stated.items() if text},
    )


def _torchvision(runtime: Runtime) -> Foreign:
    """What `torch.onnx.export` makes of torchvision's detectors: a picture (3, H, W) in, boxes (N, 4) out.

    Such a file does not say how many classes it knows; COCO's ids end at 90.
    """
    kinds = sorted((len(port.shape), port.dtype[:3]) for port in runtime.outputs)
    if kinds[:3] != [(1, "flo"), (1, "int"), (2, "flo")] or kinds[3:] not in ([], [(4, "flo")]):
        raise unknown(runtime, "its outputs have none of the known shapes for a picture (3, height, width)")
    height, width = runtime.inputs[0].shape[1:]
    if (height is None) != (width is None):
        raise unknown(runtime, "one side of its pictures is fixed and the other is not")
    names = _names(runtime.metadata["names"]) if "names" in runtime.metadata else ()
    return Foreign(
        name="torchvision detector",
        decode="pasted",
        classes=names or tuple(f"class {label}" for label in range(1, 91)),
        size=None if height is None or width is None else (height, width),
        licence=_UNSTATED,
        provenance={},
    )


def _names(text: str) -> tuple[str, ...]:
    """Class names from a Python dict or list in text, as Ultralytics writes them; nothing is evaluated."""
    try:
        names = ast.literal_eval(text[:LONGEST])
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise WeightsError(
            f"the model's metadata 'names' must be a dict or list of class names, got {text[:60]!r}"
        ) from error
    if isinstance(names, Mapping) and set(names) == set(range(len(names))):
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise WeightsError(
            f"the model's metadata 'names' must name the classes 0, 1, 2, ..., got {text[:60]!r}"
        )
    return tuple(names)


def _input_size(runtime: Runtime) -> tuple[int, int]:
    """The fixed size of the input, else what the metadata says, else 640 x 640."""
    height, width = runtime.inputs[0].shape[2:]
    if height is not None and width is not None:
        return height, width
    try:
        stated = msgspec.json.decode(runtime.metadata.get("imgsz", "")[:100], type=tuple[int, int])
    except msgspec.DecodeError:
        stated = (640, 640)
    return height or stated[0], width or stated[1]


def _count_classes(outputs: Sequence[Port], named: int) -> int | None:
    """How many classes the outputs have room for; None = unknown shapes. `named`: 0 = the file names none."""
    planes = [port for port in outputs if len(port.shape) == 4]
    heads = [port.shape[-2:] for port in outputs if len(port.shape) in (2, 3)]
    if (
        len(planes) + len(heads) != len(outputs)
        or len(planes) > 1
        or any(port.dtype[:5] != "float" for port in outputs)
    ):
        return None
    depth = (planes[0].shape[1] if planes else None) or 32
    if not planes:
        flat = [shape for shape in heads if shape[0] == depth]
        if not flat or not named:
            return None
        heads.remove(flat[-1])
    if len(heads) == 2:
        widths = sorted((shape[1] or 0 for shape in heads), reverse=True)
        count = widths[0] - 4 * BINS
        return count if widths[1] == depth and count >= 1 and named in (0, count) else None
    if len(heads) != 1:
        return None
    rows, columns = heads[0]
    if named:
        wanted = 4 + named + depth
        return named if wanted in (rows, columns) or columns == wanted + 4 * BINS - 4 else None
    # Without names only the usual order is safe: fewer channels than anchors.
    if rows is not None and rows > 4 + depth and (columns is None or columns > rows):
        return rows - 4 - depth
    return None
