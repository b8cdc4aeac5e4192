"""Large pictures cut into tiles with their masks, and put together again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from delineate import algebra, atomic
from delineate._picture_files import opened, turned
from delineate.dataset import Dataset, Record
from delineate.errors import MissingExtra
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.postprocess.tiles import Tile, tiles

_STALE = ("area", "annotation_id", "bbox")  # extras that are about the whole object


def tile(
    dataset: Dataset,
    folder: str | Path,
    *,
    side: int,
    overlap: int = 0,
    min_part: float = 0.0,
    empty: bool = True,
) -> Iterator[Record]:
    """Cut pictures into tiles; pixels keep their depth (8 or 16 bits, or float) and channels.

    The tiles of ``a.png`` are ``a_Y_X.png`` (top and left corner), TIFF where PNG cannot hold the pixels.
    ``Record.attributes["tile"]`` says where each comes from, and ``Instances.ids`` which object of the picture a
    part belongs to, so that `join` can undo it. One picture is in memory at a time.

    Args:
        dataset: Pictures with paths.
        folder: Where tiles are written; made if missing.
        side: Largest height and width of a tile, pixels.
        overlap: Pixels that neighbours share at least.
        min_part: Parts with a smaller share of their object's pixels are left out, 0 to 1.
        empty: Whether tiles without objects are written.

    Returns:
        The records as they are made: one per tile, picture after picture, row by row; ids are "ID_Y_X".

    Raises:
        ValueError: A record has no path, two pictures have one name, `side` is not more than `overlap`, or `min_part`
            is no share.
        FormatError: A picture cannot be read, or has another size than its record.
    """
    tiles((1, 1), side, overlap)  # refuses what cannot be, before anything is made
    if not 0 <= min_part <= 1:
        raise ValueError(f"tile: min_part must be 0 to 1, got {min_part}")
    return _tiles(dataset, Path(folder), side, overlap, min_part, empty)


def _tiles(
    dataset: Dataset, folder: Path, side: int, overlap: int, min_part: float, empty: bool
) -> Iterator[Record]:
    folder.mkdir(parents=True, exist_ok=True)
    stems: set[str] = set()
    for record in dataset:
        if record.path is None:
            raise ValueError(f"tile: records must have pictures, got none for {record.id!r}")
        if record.path.stem in stems:
            raise ValueError(f"tile: pictures must have different names, got {record.path.stem!r} twice")
        stems.add(record.path.stem)
        pixels = _upright(record)
        found = _identified(record.instances)
        for window in tiles(record.size, side, overlap):
            part = _cut(found, window, min_part)
            if not len(part) and not empty:
                continue
            name = f"{record.path.stem}_{window.top}_{window.left}"
            view = pixels[window.top : window.top + window.height, window.left : window.left + window.width]
            path = _write(folder / name, view)
            source = {"of": record.id, "picture": record.path.name, "size": list(record.size)}
            attributes = {**record.attributes, "tile": source | {"top": window.top, "left": window.left}}
            id_ = f"{record.id}_{window.top}_{window.left}"
            yield Record(path, part.size, part, id_, attributes, split=record.split)


def _upright(record: Record) -> NDArray[Any]:
    assert record.path is not None  # noqa: S101 - for the type checker; the caller checked
    with opened(record.path) as picture:
        pixels = turned(picture.decode(), picture.orientation)
    if pixels.shape[:2] != record.size:
        raise ValueError(
            f"tile: pictures must have the size of their record {record.size}, got {pixels.shape[:2]} "
            f"in {record.path}. Run `delineate check`"
        )
    return pixels


def _identified(found: Instances) -> Instances:
    """With ids, so that parts of one object can be told; extras about whole objects are left out."""
    extras = {name: value for name, value in found.extras.items() if name not in _STALE}
    ids = np.arange(1, len(found) + 1) if found.ids is None else found.ids
    return found.replace(ids=ids, extras=extras)


def _cut(found: Instances, window: Tile, min_part: float) -> Instances:
    size = window.height, window.width
    corner = np.array([window.left, window.top] * 2, np.float32)
    limits = np.array([window.width, window.height] * 2, np.float32)
    boxes = np.clip(found.boxes - corner, 0, limits)
    if found.masks is None:
        parts, masks = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), None
        wholes = np.prod(found.boxes[:, 2:] - found.boxes[:, :2], axis=1)
    else:
        masks = found.masks.crop_to(window.top, window.left, *size)
        parts, wholes = masks.areas, found.masks.areas
        boxes = masks.boxes
    stay = (parts > 0) & (parts >= min_part * wholes)
    moved = found.replace(size=size, boxes=boxes, masks=masks)
    return moved[stay]


def _write(path: Path, pixels: NDArray[Any]) -> Path:
    """PNG where it holds the pixels, else TIFF; the name is the path with its suffix."""
    pixels = np.ascontiguousarray(pixels)
    grey = pixels.ndim == 2 or pixels.shape[2] == 1
    if pixels.dtype == np.uint8 or (pixels.dtype == np.uint16 and grey):
        path = path.with_name(f"{path.name}.png")
        with atomic.writing(path) as file:
            Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and grey else pixels).save(file, "PNG")
        return path
    path = path.with_name(f"{path.name}.tif")
    with atomic.writing(path) as file:
        _save_tiff(file, pixels)
    return path


def _save_tiff(file: Any, pixels: NDArray[Any]) -> None:  # noqa: ANN401 - what both libraries take
    try:
        import tifffile
    except ImportError as error:
        raise MissingExtra("tifffile", "tiff") from error
    rgb = pixels.ndim == 3 and pixels.shape[2] >= 3
    tifffile.imwrite(
        file,
        pixels,
        photometric="rgb" if rgb else "minisblack",
        planarconfig="contig" if pixels.ndim == 3 else None,
    )


def join(dataset: Dataset) -> Dataset:
    """Undo `tile`: one record per picture, the parts of each object united.

    Args:
        dataset: Records of tiles, in any order; records that are no tiles stay as they are.

    Returns:
        The pictures in the order of their first tile. Their paths are the names of the pictures in the folder
        of the tiles; scores, labels and extras are those of an object's first part.

    >>> record = Record("a.png", (4, 6), Instances.empty((4, 6)), 1)
    >>> join(Dataset([record], [])).records == (record,)
    True
    """
    groups: dict[Any, list[Record]] = defaultdict(list)
    for record in dataset:
        source = record.attributes.get("tile")
        groups[("tile", source["of"]) if isinstance(source, dict) else ("whole", record.id)].append(record)
    return dataset.with_records(
        _joined(parts) if kind == "tile" else parts[0] for (kind, _), parts in groups.items()
    )


def _joined(parts: list[Record]) -> Record:
    source: Any = parts[0].attributes["tile"]
    size = (int(source["size"][0]), int(source["size"][1]))
    moved = []
    for part in parts:
        at: Any = part.attributes["tile"]
        found, corner = part.instances, np.array([at["left"], at["top"]] * 2, np.float32)
        masks = None if found.masks is None else found.masks.translate(at["top"], at["left"], size)
        moved.append(found.replace(size=size, boxes=found.boxes + corner, masks=masks))
    every = Instances.concat(moved)
    if len(every):
        ids = np.arange(len(every)) if every.ids is None else every.ids
        _, first, group = np.unique(ids, return_index=True, return_inverse=True)
        every = _united(every, first, group)
    attributes = {name: value for name, value in parts[0].attributes.items() if name != "tile"}
    path = None if parts[0].path is None else parts[0].path.with_name(str(source["picture"]))
    return Record(path, size, every, source["of"], attributes, split=parts[0].split)


def _united(every: Instances, first: NDArray[np.int64], group: NDArray[np.int64]) -> Instances:
    found = every[first]
    if every.masks is not None:
        masks: Masks = algebra.merge(every.masks, group, len(first))
        return found.replace(masks=masks, boxes=masks.boxes)
    boxes = found.boxes.copy()
    np.minimum.at(boxes[:, :2], group, every.boxes[:, :2])
    np.maximum.at(boxes[:, 2:], group, every.boxes[:, 2:])
    return found.replace(boxes=boxes)
