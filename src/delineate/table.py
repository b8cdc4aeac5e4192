"""`Table`: the instances of many pictures as columns, their masks still text in a file."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from delineate.errors import FormatError
from delineate.instances import Instances
from delineate.masks import Masks

if TYPE_CHECKING:
    from delineate._native import _core


class Recent:
    """The instances that were made last: asking twice costs once, and a pass over a large file holds little."""

    LIMIT = 32 << 20
    """Bytes of runs, apart from the last picture's."""

    def __init__(self) -> None:
        self._made: OrderedDict[int, tuple[Instances, int]] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()

    def get(self, picture: int, make: Callable[[int], Instances]) -> Instances:
        """The instances of a picture, as made before or made now."""
        with self._lock:
            if picture in self._made:
                self._made.move_to_end(picture)
                return self._made[picture][0]
        instances = make(picture)
        size = 0 if instances.masks is None else instances.masks.runs.counts.nbytes
        with self._lock:
            self._held += size - self._made.pop(picture, (None, 0))[1]
            self._made[picture] = instances, size
            while self._held > self.LIMIT and len(self._made) > 1:
                self._held -= self._made.popitem(last=False)[1][1]
        return instances


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Table:
    """N instances of I pictures, picture after picture. Made by readers of large files, who have checked it.

    A `Record` of such a file holds a `Rows` of its table and makes `Instances` when somebody asks for them;
    evaluation reads the columns and never does. Memory: about 60 bytes an instance, whatever its mask.

    Args:
        path: The file.
        sizes: (I, 2) int64 height and width of the pictures.
        offsets: (I + 1) int64; picture i owns rows [offsets[i], offsets[i + 1]).
        labels: (N,) ints.
        spans: (N, 4) x, y, width, height of the boxes, float64, or float32 where those are exact.
        areas: (N,) float64.
        numbers: (N,) int64 annotation ids.
        exact_scores: (N,) float64, or None for truth.
        crowd: (N,) bool, or None where there is none.
        tracks: (N,) int64 track ids, or None where there are none; `tracked` (N,) bool says who has one.
        tracked: See ``tracks``.
        texts: The masks, or None where only boxes are known.
        mask_areas: (N,) float64 areas of the masks where they have been counted.
        more: Name -> (N,) column: further extras of the instances; texts are object arrays of str.
    """

    path: Path
    sizes: NDArray[np.int64]
    offsets: NDArray[np.int64]
    labels: NDArray[Any]
    spans: NDArray[Any]
    areas: NDArray[np.float64]
    numbers: NDArray[np.int64]
    exact_scores: NDArray[np.float64] | None = None
    crowd: NDArray[np.bool_] | None = None
    tracks: NDArray[np.int64] | None = None
    tracked: NDArray[np.bool_] | None = None
    texts: _core.MaskTexts | None = None
    mask_areas: NDArray[np.float64] | None = None
    more: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    recent: Recent = field(default_factory=Recent, init=False)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def scores(self) -> NDArray[np.float32] | None:
        """(N,) float32, as `Instances` have them, or None."""
        return None if self.exact_scores is None else self.exact_scores.astype(np.float32)

    @property
    def boxes(self) -> NDArray[np.float32]:
        """(N, 4) float32 x0, y0, x1, y1, as `Instances` have them."""
        corners = self.spans.astype(np.float64)
        corners[:, 2:] += corners[:, :2]
        return corners.astype(np.float32)

    @property
    def extras(self) -> dict[str, NDArray[Any]]:
        """What the `Instances` will have as extras."""
        found = {"area": self.areas, "annotation_id": self.numbers, "bbox": self.spans}
        return found if self.exact_scores is None else found | {"score": self.exact_scores}

    def instances(self, picture: int) -> Instances:
        """The instances of one picture; unless made recently, masks are read from the file and decoded now.

        Args:
            picture: Its position in the table.

        Raises:
            FormatError: The file has changed since it was read.
        """
        return self.recent.get(picture, self._made)

    def _made(self, picture: int) -> Instances:
        rows = slice(*self.offsets[picture : picture + 2].tolist())
        spans = self.spans[rows].astype(np.float64)
        # Boxes and scores once more, with all bits of the file: evaluation must see what pycocotools sees.
        extras = {name: column[rows] for name, column in self.extras.items()} | {"bbox": spans}
        for name, column in self.more.items():
            extras[name] = column[rows].astype(str) if column.dtype == object else column[rows]
        crowd = None if self.crowd is None else self.crowd[rows]
        tracks = self.tracks is not None and self.tracked is not None and self.tracked[rows].any()
        return Instances(
            tuple(self.sizes[picture].tolist()),
            np.hstack([spans[:, :2], spans[:, :2] + spans[:, 2:]]),
            self.labels[rows],
            extras.get("score"),
            None if self.texts is None else Masks(self._decode(picture)),
            crowd if crowd is not None and crowd.any() else None,
            self.tracks[rows] if tracks and self.tracks is not None else None,
            extras,
        )

    def _decode(self, picture: int) -> _core.Runs:
        assert self.texts is not None  # noqa: S101 - for the type checker
        try:
            return self.texts.decode(picture)
        except RuntimeError as error:
            raise FormatError(self.path, "", str(error)) from error

    def select(self, pictures: NDArray[np.int64]) -> Table:
        """Other pictures in another order; -1 stands for one without instances (its size is 0 x 0).

        Args:
            pictures: (J,) positions.
        """
        if np.array_equal(pictures, np.arange(len(self.sizes))):
            return self
        known = pictures >= 0
        counts = np.where(known, np.diff(self.offsets)[pictures] if len(self.sizes) else 0, 0)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        starts = np.where(known, self.offsets[pictures], 0)
        rows = np.repeat(starts - offsets[:-1], counts) + np.arange(offsets[-1])
        sizes = np.where(known[:, None], self.sizes[pictures] if len(self.sizes) else 0, 0)
        return self._taken(rows, np.ascontiguousarray(sizes), offsets)

    def keep(self, kept: NDArray[np.bool_]) -> Table:
        """The same pictures with some of their instances.

        Args:
            kept: (N,) flags.
        """
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])[self.offsets]
        return self._taken(np.flatnonzero(kept), self.sizes, offsets)

    def _taken(self, rows: NDArray[np.int64], sizes: NDArray[np.int64], offsets: NDArray[np.int64]) -> Table:
        def some(column: NDArray[Any] | None) -> Any:  # noqa: ANN401 (None stays None)
            return None if column is None else column[rows]

        return Table(
            path=self.path,
            sizes=sizes,
            offsets=offsets,
            labels=self.labels[rows],
            spans=self.spans[rows],
            areas=self.areas[rows],
            numbers=self.numbers[rows],
            exact_scores=some(self.exact_scores),
            crowd=some(self.crowd),
            tracks=some(self.tracks),
            tracked=some(self.tracked),
            texts=None if self.texts is None else self.texts.select(rows, sizes.ravel(), offsets),
            mask_areas=some(self.mask_areas),
            more={name: column[rows] for name, column in self.more.items()},
        )


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The instances of one picture before they are made: a place in a table.

    Args:
        table: The columns.
        picture: Position of the picture.
    """

    table: Table
    picture: int

    def __len__(self) -> int:
        first, end = self.table.offsets[self.picture : self.picture + 2].tolist()
        return int(end - first)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the picture."""
        height, width = self.table.sizes[self.picture].tolist()
        return height, width

    @property
    def labels(self) -> NDArray[Any]:
        """(N,) labels."""
        labels: NDArray[Any] = self.table.labels[slice(*self.table.offsets[self.picture :][:2].tolist())]
        return labels

    @property
    def extras(self) -> dict[str, NDArray[Any]]:
        """The extras that the instances will have; asking does not make them."""
        part = slice(*self.table.offsets[self.picture :][:2].tolist())
        return {name: column[part] for name, column in (self.table.extras | dict(self.table.more)).items()}

    def make(self) -> Instances:
        """The instances."""
        return self.table.instances(self.picture)
