"""The label files of YOLO: one object on each line. Serves `yolo`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from delineate import algebra, outline
from delineate.errors import FormatError
from delineate.instances import Instances
from delineate.masks import Masks

_LOW, _HIGH = -1, 2  # shares of the side; augmentation leaves outlines that reach over the border


@dataclass(frozen=True, slots=True)
class Line:
    """One object: a polygon (K, 2), or a box (4,) of centre and extent, as shares of the picture's sides."""

    label: int
    shape: NDArray[np.float64]
    score: float | None


def parse(path: Path, content: bytes, classes: int) -> list[Line]:
    """The objects of a label file; FormatError names the line that does not fit.

    Args:
        path: The file, for messages.
        content: What is in it.
        classes: How many classes there are.
    """
    try:
        rows = [line.split() for line in content.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        text = "label file must be text, got other bytes. Write it again."
        raise FormatError(path, f"byte {error.start}", text) from error
    return [_line(path, f"line {n}", row, classes) for n, row in enumerate(rows, 1) if row]


def _line(path: Path, where: str, row: list[str], classes: int) -> Line:
    try:
        numbers = np.array([float(word) for word in row])
    except ValueError as error:
        text = f"must hold numbers only, got {str(error).partition(': ')[2][:60]}."
        raise FormatError(path, where, text) from error
    if len(numbers) < 5:
        text = (
            f"must be a class and a box (4 numbers) or a polygon (6 or more), got {len(row)} numbers in all."
        )
        raise FormatError(path, where, text)
    label = numbers[0]
    if not (label.is_integer() and 0 <= label < classes):
        raise FormatError(
            path, where, f"class must be a whole number from 0 to {classes - 1}, got {row[0][:40]}."
        )
    score = None
    if len(numbers) % 2 == 0:  # a prediction: the last number is its confidence
        score = float(numbers[-1])
        if not 0 <= score <= 1:
            raise FormatError(path, where, f"confidence must be from 0 to 1, got {row[-1][:40]}.")
        numbers = numbers[:-1]
    shape = numbers[1:]
    if not (shape.min() >= _LOW and shape.max() <= _HIGH):  # so written, nan is found as well
        wrong = int(np.argmin((shape >= _LOW) & (shape <= _HIGH)))
        text = f"coordinates must be shares of width and height, 0 to 1, got {row[1 + wrong][:40]}."
        raise FormatError(path, where, text)
    if len(shape) == 4:
        if (shape[2:] < 0).any():
            raise FormatError(path, where, f"box must not have a negative extent, got {shape[2:].tolist()}.")
        return Line(int(label), shape, score)
    return Line(int(label), shape.reshape(-1, 2), score)


def instances(lines: Sequence[Line], size: tuple[int, int], *, shaped: bool, scored: bool) -> Instances:
    """The objects of one picture, in the order of the lines.

    Args:
        lines: All have a score if scored.
        size: (height, width) of the picture.
        shaped: Whether there are masks; those of boxes are empty.
        scored: Whether there are scores.
    """
    scale = np.array([size[1], size[0]], np.float64)
    boxes = np.zeros((len(lines), 4), np.float64)
    rings: list[list[NDArray[np.float64]]] = []
    for n, line in enumerate(lines):
        if line.shape.ndim == 1:
            centre, half = line.shape[:2] * scale, line.shape[2:] * scale / 2
            boxes[n] = np.concatenate([centre - half, centre + half])
        rings.append([line.shape * scale] if line.shape.ndim == 2 else [])
    masks = Masks.from_polygons(rings, size) if shaped else None
    if masks is not None:
        drawn = np.array([bool(ring) for ring in rings], bool)
        boxes = np.where(drawn[:, None], masks.boxes, boxes)
    labels = np.array([line.label for line in lines], np.int64)
    scores = np.array([line.score or 0.0 for line in lines], np.float32) if scored else None
    return Instances(size, boxes.astype(np.float32), labels, scores, masks)


def text(found: Instances) -> tuple[bytes, int]:
    """The label file of one picture, and how many of its objects have other pixels there, or are not in it.

    Crowd regions and empty masks are left out: whoever trains on the file would take them for objects.
    """
    height, width = found.size
    lines = []
    lost = 0
    rings = _boxes(found) if found.masks is None else single_rings(found.masks)
    exact = None
    if found.masks is not None:
        back = Masks.from_polygons([[] if ring is None else [ring] for ring in rings], found.size)
        exact = algebra.xor(back, found.masks).areas == 0
    digits = len(str(max(height, width))) + 3 if found.masks is not None else 9
    for n, ring in enumerate(rings):
        if ring is None or (found.crowd is not None and found.crowd[n]):
            lost += 1
            continue
        lost += exact is not None and not exact[n]
        words = [str(found.labels[n]), *_shares(ring / (width, height), digits)]
        if found.scores is not None:
            words.append(str(found.scores[n]))
        lines.append(" ".join(words) + "\n")
    return "".join(lines).encode(), lost


def _shares(values: NDArray[np.float64], digits: int) -> list[str]:
    return [f"{value:.{digits}f}".rstrip("0").rstrip(".") for value in values.ravel().tolist()]


def _boxes(found: Instances) -> list[NDArray[np.float64] | None]:
    """Centre and extent of each box."""
    corners = found.boxes.astype(np.float64)
    low, high = corners[:, :2], corners[:, 2:]
    return list(np.stack([(low + high) / 2, high - low], axis=1))


def single_rings(masks: Masks) -> list[NDArray[np.float64] | None]:
    """One ring (K, 2) for each mask, None for one without pixels.

    Holes are cut open, and parts joined, by bridges without width, which the ring runs along in both
    directions; filling it by the even-odd rule gives the same pixels.
    """
    return [_chained([part.astype(np.float64) for part in parts]) for parts in outline.bridged(masks)]


def _chained(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64] | None:
    """One ring: out along each part up to where the next one is close, and back along the rest of each."""
    if not parts:
        return None
    ways = [_close(one, other) for one, other in itertools.pairwise(parts)]
    entries = [ways[0][0] if ways else 0, *[entry for _, entry in ways]]
    out, back = [], []
    for part, entry, leave in zip(parts, entries, [leave for leave, _ in ways], strict=False):
        turned = np.roll(part, -entry, axis=0)
        way = (leave - entry) % len(part)
        out.append(turned[: way + 1])
        back.append(np.concatenate([turned[way:], turned[:1]]))
    last = np.roll(parts[-1], -entries[-1], axis=0)
    if not ways:
        return last
    return np.concatenate([*out, last, last[:1], *reversed(back)])


def _close(ring: NDArray[np.float64], part: NDArray[np.float64]) -> tuple[int, int]:
    """Positions of two corners that are close: the closest ones, of up to a thousand of each ring."""
    steps = [max(1, math.ceil(len(points) / 1000)) for points in (ring, part)]
    some, others = ring[:: steps[0]], part[:: steps[1]]
    distances = ((some[:, None] - others[None]) ** 2).sum(axis=2)
    near = np.unravel_index(np.argmin(distances), distances.shape)
    return int(near[0]) * steps[0], int(near[1]) * steps[1]
