"""Datasets as the entries of COCO files and results lists. Serves `coco`."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from delineate.dataset import Dataset, Record
from delineate.formats import _coco_further as coco_further
from delineate.instances import Instances
from delineate.masks import Masks

_RESERVED = ("id", "file_name", "height", "width")


def lines(values: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """JSON objects, one per line, comma-separated."""
    separator = b""
    for value in values:
        yield separator + _encoder.encode(value)
        separator = b",\n"


def _plain(value: object) -> object:
    """What msgspec cannot encode by itself: numpy's numbers and arrays in attributes."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return value.as_posix()
    raise TypeError(f"coco.write: attributes must be JSON values, got {type(value).__name__}")


_encoder = msgspec.json.Encoder(enc_hook=_plain)
encode = _encoder.encode


def categories(dataset: Dataset) -> list[dict[str, Any]]:
    """The entries of "categories": ids 1, 2, ... and what else the dataset knows of its classes."""
    known: Any = dataset.attributes.get("categories") or [{}] * len(dataset.classes)
    if len(known) != len(dataset.classes):
        raise ValueError(
            f'coco.write: attributes["categories"] must have one entry for each of {len(dataset.classes)} classes, '
            f"got {len(known)}. Leave it out or mend it"
        )
    return [
        {"id": n, "name": name, "supercategory": ""}
        | {k: v for k, v in more.items() if k not in ("id", "name")}
        for n, (name, more) in enumerate(zip(dataset.classes, known, strict=True), 1)
    ]


def image_entry(record: Record, root: Path) -> dict[str, Any]:
    """One entry of "images"; the file name is relative to the root."""
    entry: dict[str, Any] = {"id": record.id}
    if record.path is not None:
        entry["file_name"] = Path(os.path.relpath(record.path, root)).as_posix()
    entry |= {"height": record.size[0], "width": record.size[1]}
    part = {"video": record.video, "frame": record.frame, "split": record.split}
    entry |= {key: value for key, value in record.attributes.items() if key not in _RESERVED}
    return entry | {name: value for name, value in part.items() if value is not None}


def extras(record: Record) -> Mapping[str, NDArray[Any]]:
    """The extras of a record's instances; those of a large file are not made for it."""
    return record.instances.extras if record.rows is None else record.rows.extras


def instances(dataset: Dataset, *, polygons: bool) -> Iterator[dict[str, Any]]:
    """The entries of "annotations", picture by picture: the file is never whole in memory."""
    given = [extras(record).get("annotation_id") for record in dataset if record.count]
    known = {int(id_) for ids in given if ids is not None for id_ in ids}
    own = len(known) == sum(record.count for record in dataset)
    numbers = itertools.count(1)
    for record in dataset:
        found = record.instances
        areas = found.extras.get("area")
        if areas is None and found.masks is not None:
            areas = found.masks.areas
        rows = xywh(found.boxes, found.extras.get("bbox"))
        shapes = None if found.masks is None else _shapes(found, polygons=polygons)
        scores = None if found.scores is None else shortest(found.scores, found.extras.get("score"))
        further = coco_further.keys(found.extras, len(found))
        for n, ((x, y, width, height), more) in enumerate(zip(rows, further, strict=True)):
            entry: dict[str, Any] = {
                "id": int(found.extras["annotation_id"][n]) if own else next(numbers),
                "image_id": record.id,
                "category_id": int(found.labels[n]) + 1,
                "iscrowd": int(found.crowd is not None and found.crowd[n]),
                "area": width * height if areas is None else areas[n].item(),
                "bbox": [x, y, width, height],
            }
            if shapes is not None:
                entry["segmentation"] = shapes[n]
            if scores is not None:
                entry["score"] = scores[n]
            if found.ids is not None:
                entry["track_id"] = int(found.ids[n])
            yield entry | more


def _shapes(found: Instances, *, polygons: bool) -> list[Any]:
    """One segmentation per instance."""
    assert found.masks is not None  # noqa: S101 - for the type checker; the caller checked
    shapes: list[Any] = list(found.masks.to_rle())
    if not polygons:
        return shapes
    outlines = [[np.asarray(ring).ravel() for ring in rings] for rings in found.masks.to_polygons()]
    for n, rings in enumerate(outlines):
        # Polygons are filled and united by readers: only those that give back the same pixels are written.
        if not rings or (found.crowd is not None and found.crowd[n]):
            continue
        if Masks.from_polygons([rings], found.size) == found.masks[n : n + 1]:
            shapes[n] = [ring.tolist() for ring in rings]
    return shapes


def results(
    dataset: Dataset, ids: Mapping[int | str, int | str], categories: Sequence[int], *, boxes: bool
) -> Iterator[dict[str, Any]]:
    """The entries of a results list."""
    for record in dataset:
        found = record.instances
        if found.scores is None:
            continue
        shaped = found.masks is not None and not boxes
        shapes: list[Any] = found.masks.to_rle() if shaped and found.masks is not None else xywh(found.boxes)
        for label, shape, score in zip(
            found.labels, shapes, shortest(found.scores, found.extras.get("score")), strict=True
        ):
            what = "segmentation" if shaped else "bbox"
            yield {"image_id": ids[record.id], "category_id": categories[label], what: shape, "score": score}


def xywh(corners: NDArray[np.float32], exact: NDArray[np.float64] | None = None) -> list[list[float]]:
    """(N, 4) float32 xyxy -> rows of x, y, width, height; reading them back gives the same float32 corners.

    Rows of `exact`, (N, 4) xywh, are taken where they mean these corners. Other numbers are rounded to three
    decimals wherever that loses nothing: files stay small and readable.
    """
    low, high = corners[:, :2], corners[:, 2:]
    start = np.round(low.astype(np.float64), 3)
    start = np.where(start.astype(np.float32) == low, start, low)
    extent = high - start
    rounded = np.round(extent, 3)
    extent = np.where((start + rounded).astype(np.float32) == high, rounded, extent)
    rows = np.concatenate([start, np.abs(extent)], axis=1)
    if exact is not None and exact.shape == rows.shape:
        ends = np.concatenate([exact[:, :2], exact[:, :2] + exact[:, 2:]], axis=1).astype(np.float32)
        rows = np.where((ends == corners).all(axis=1, keepdims=True), exact, rows)
    numbers: list[list[float]] = rows.tolist()
    return numbers


def shortest(values: NDArray[np.float32], exact: NDArray[np.float64] | None = None) -> list[float]:
    """float32 values as the shortest decimals that mean the same float32; those of `exact` where they do."""
    decimals = np.array([float(str(value)) for value in values], np.float64)
    if exact is not None and exact.shape == decimals.shape:
        decimals = np.where(exact.astype(np.float32) == values, exact, decimals)
    numbers: list[float] = decimals.tolist()
    return numbers
