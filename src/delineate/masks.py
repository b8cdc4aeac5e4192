"""N masks on one canvas, kept as runs: the only form in which this package holds masks.

A mask is stored as COCO stores it (column-major run counts, zeros first), so conversions from and to COCO
files cost next to nothing, and area, box, overlap, flip, crop, shift and resize walk the runs. A dense (N, H,
W) array exists only where `to_dense` is called. Rows are y and columns are x; boxes are x0, y0, x1, y1 in
pixels, half-open.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from delineate import _mask_inputs as inputs
from delineate._native import _core


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Masks:
    """N immutable run-length masks of one size; N = 0 is ordinary, and so is a mask without pixels.

    Build one with `empty`, `from_dense`, `from_rle`, `from_polygons`, `from_coco` or `from_counts`.

    >>> import numpy as np
    >>> dense = np.zeros((2, 4, 5), bool)
    >>> dense[0, 1:3, 2:5] = True
    >>> masks = Masks.from_dense(dense)
    >>> masks
    Masks(2, size=(4, 5))
    >>> masks.areas
    array([6, 0])
    >>> masks.boxes
    array([[2., 1., 5., 3.],
           [0., 0., 0., 0.]], dtype=float32)
    """

    runs: _core.Runs  # the native container; what other parts of this package hand to the core
    _cache: dict[str, NDArray[Any]] = field(default_factory=dict, init=False)

    @classmethod
    def empty(cls, size: tuple[int, int]) -> Masks:
        """No masks at all, on a canvas of `size` (height, width).

        >>> len(Masks.empty((480, 640)))
        0
        """
        return cls.from_counts((), (0,), size)

    @classmethod
    def from_dense(cls, dense: NDArray[np.bool_] | NDArray[np.uint8]) -> Masks:
        """Masks from pixels.

        Args:
            dense: (N, H, W) bool or uint8, any memory order; not zero means covered.
        """
        pixels = inputs.check_dense(dense)
        columns = pixels.transpose(0, 2, 1)
        if columns.flags.c_contiguous and not pixels.flags.c_contiguous:
            return cls(_core.masks_encode_columns(columns))
        return cls(_core.masks_encode_rows(np.ascontiguousarray(pixels)))

    @classmethod
    def from_counts(cls, counts: ArrayLike, offsets: ArrayLike, size: tuple[int, int]) -> Masks:
        """Masks from run counts.

        Args:
            counts: (R,) whole numbers, the counts of all masks one after the other; each mask alternates
                zeros and ones, zeros first, column by column, and sums to H * W.
            offsets: (N + 1,) mask i owns counts[offsets[i]:offsets[i + 1]].
            size: (height, width) pixels.

        >>> Masks.from_counts([4, 2, 6], [0, 3], (3, 4)).to_dense().astype(int)
        array([[[0, 0, 0, 0],
                [0, 1, 0, 0],
                [0, 1, 0, 0]]])
        """
        return cls(inputs.runs_from_counts(counts, offsets, inputs.check_size(size)))

    @classmethod
    def from_rle(cls, rle: Sequence[Mapping[str, Any]], size: tuple[int, int] | None = None) -> Masks:
        """Masks from COCO run-length dicts.

        Args:
            rle: N dicts with `size` [height, width] and `counts`: a compressed str or bytes, or a list of
                counts.
            size: (height, width) that all must have; may be left out when there is at least one mask.

        Raises:
            ValueError: Counts are damaged or do not fill the canvas; the message names the mask.

        >>> Masks.from_rle([{"size": [3, 4], "counts": "426"}]).areas
        array([2])
        """
        if size is None:
            if len(rle) == 0:
                raise ValueError("size must be given where there are no masks, got None.")
            first = rle[0]
            size = first.get("size") if isinstance(first, Mapping) else None
        return cls(inputs.runs_from_rle(rle, inputs.check_size(size, "masks[0]: size")))

    @classmethod
    def from_polygons(cls, polygons: Sequence[Sequence[Any]], size: tuple[int, int]) -> Masks:
        """Masks from polygons, filled exactly as pycocotools fills them.

        Args:
            polygons: For each of N masks a list of polygons, whose union is the mask (no polygon: an empty
                mask). A polygon is x, y, x, y, ... or (K, 2), in pixels, corners on the grid between pixels,
                K >= 3; it is closed by itself, may cross itself (even-odd rule), have no area, or reach
                beyond the canvas (cut).
            size: (height, width) pixels.

        >>> Masks.from_polygons([[[1, 1, 4, 1, 4, 3, 1, 3]]], (4, 5)).areas
        array([6])
        """
        return cls(inputs.runs_from_polygons(polygons, inputs.check_size(size)))

    @classmethod
    def from_boxes(cls, boxes: ArrayLike, size: tuple[int, int]) -> Masks:
        """Masks of filled boxes, as pycocotools fills them; what lies outside the canvas is cut.

        Args:
            boxes: (N, 4) x0, y0, x1, y1, finite pixels.
            size: (height, width) pixels.

        Raises:
            ValueError: Not boxes, or a corner that is not finite or beyond 1e8; the message names the box.

        >>> Masks.from_boxes([[1, 1, 4, 3]], (4, 5)).areas
        array([6])
        """
        corners = np.asarray(boxes)
        if corners.size == 0:
            corners = np.empty((0, 4))
        if corners.ndim != 2 or corners.shape[1] != 4 or corners.dtype.kind not in "iuf":
            raise ValueError(f"boxes must be numbers of shape (N, 4), got {corners.dtype} {corners.shape}.")
        return cls.from_polygons([[ring] for ring in corners[:, [0, 1, 0, 3, 2, 3, 2, 1]]], size)

    @classmethod
    def from_coco(cls, segmentations: Sequence[Any], size: tuple[int, int]) -> Masks:
        """Masks from the `segmentation` values of a COCO file: lists of polygons and run-length dicts, mixed.

        >>> rle = {"size": [3, 4], "counts": [4, 2, 6]}
        >>> Masks.from_coco([rle, [[0, 0, 2, 0, 2, 2]]], (3, 4)).areas
        array([2, 1])
        """
        return cls(inputs.runs_from_coco(segmentations, inputs.check_size(size)))

    @classmethod
    def concat(cls, parts: Sequence[Masks]) -> Masks:
        """All masks of `parts`, in order; at least one part, all of one size."""
        if not parts:
            raise ValueError("parts must hold at least one Masks, got none. Use Masks.empty(size).")
        for k, part in enumerate(parts):
            if part.size != parts[0].size:
                raise ValueError(f"parts[{k}]: size must be {parts[0].size} like the first, got {part.size}.")
        return cls(_core.masks_concat([part.runs for part in parts]))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the canvas."""
        return self.runs.height, self.runs.width

    @property
    def areas(self) -> NDArray[np.int64]:
        """(N,) number of covered pixels; read-only."""
        return self._remember("areas", lambda runs: _core.masks_areas(runs).view(np.int64))

    @property
    def boxes(self) -> NDArray[np.float32]:
        """(N, 4) tight x0, y0, x1, y1, half-open; zeros for a mask without pixels; read-only."""
        return self._remember("boxes", _core.masks_boxes)

    def _remember(self, name: str, compute: Callable[[_core.Runs], NDArray[Any]]) -> NDArray[Any]:
        if name not in self._cache:
            array = compute(self.runs)
            array.flags.writeable = False
            self._cache[name] = array
        return self._cache[name]

    def __post_init__(self) -> None:
        if not isinstance(self.runs, _core.Runs):
            raise TypeError(
                f"runs must be native runs, got {type(self.runs).__name__}. Use Masks.from_dense."
            )

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, index: slice | ArrayLike) -> Masks:
        return Masks(_core.masks_take(self.runs, inputs.check_index(index, len(self))))

    def __eq__(self, other: object) -> bool:
        return self.runs == other.runs if isinstance(other, Masks) else NotImplemented

    def __repr__(self) -> str:
        return f"Masks({len(self)}, size={self.size})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Masks.from_counts, (self.runs.counts, self.runs.offsets, self.size)

    def to_dense(self, out: NDArray[np.bool_] | NDArray[np.uint8] | None = None) -> NDArray[np.bool_]:
        """All pixels, (N, H, W) bool.

        Args:
            out: (N, H, W) bool or uint8 in C order to write to, which is several times faster than fresh
                memory.
        """
        shape = (len(self), *self.size)
        if out is None:
            fresh = np.zeros(shape, np.bool_)  # pages that nobody touches cost nothing
            _core.masks_decode_rows(self.runs, fresh.view(np.uint8), clear=False)
            return fresh
        if out.shape != shape or out.dtype not in (np.bool_, np.uint8) or not out.flags.carray:
            raise ValueError(
                f"out must be a writeable C-order bool array {shape}, got {out.dtype} {out.shape}."
            )
        _core.masks_decode_rows(self.runs, out.view(np.uint8), clear=True)
        return out.view(np.bool_)

    def to_rle(self) -> list[dict[str, Any]]:
        """COCO run-length dicts: `size` [height, width] and `counts` compressed to a str.

        >>> Masks.from_counts([4, 2, 6], [0, 3], (3, 4)).to_rle()
        [{'size': [3, 4], 'counts': '426'}]
        """
        return [{"size": list(self.size), "counts": text} for text in _core.masks_to_strings(self.runs)]

    def to_polygons(self) -> list[list[NDArray[np.int32]]]:
        """The exact outlines along the edges of pixels.

        Returns:
            For each mask a list of rings (K, 2), x and y of corners on the grid between pixels, the last
            joined to the first. An exterior runs clockwise as displayed and is followed by its holes, which
            run the other way; then comes the next part. Pixels that touch only at a corner are parts of their
            own, so no ring meets itself. A mask without pixels has no ring. `from_polygons` of the rings is
            the same mask if it has no holes.

        >>> Masks.from_counts([4, 2, 6], [0, 3], (3, 4)).to_polygons()
        [[array([[1, 3],
               [1, 1],
               [2, 1],
               [2, 3]], dtype=int32)]]
        """
        points, rings, masks = _core.masks_trace(self.runs)
        outlines = [points[begin:end] for begin, end in itertools.pairwise(rings.tolist())]
        return [outlines[begin:end] for begin, end in itertools.pairwise(masks.tolist())]

    def counts(self, i: int) -> NDArray[np.uint32]:
        """The run counts of mask `i`, zeros first, column by column; read-only."""
        i = self._position(i)
        offsets = self.runs.offsets
        return self.runs.counts[offsets[i] : offsets[i + 1]]

    def crop(self, i: int) -> tuple[int, int, NDArray[np.bool_]]:
        """(y0, x0, pixels): the pixels of mask `i` inside its tight box, and where that starts.

        >>> Masks.from_counts([4, 2, 6], [0, 3], (3, 4)).crop(0)
        (1, 1, array([[ True],
               [ True]]))
        """
        y0, x0, pixels = _core.masks_crop(self.runs, self._position(i))
        return y0, x0, pixels.view(np.bool_)

    def _position(self, i: int) -> int:
        at = operator.index(i)
        if not -len(self) <= at < len(self):
            raise IndexError(f"i must be within {-len(self)} to {len(self) - 1}, got {at}.")
        return at % len(self)

    def cells(self, stride: int) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int32]]:
        """The covered fraction of each stride x stride cell, for the cells around each mask only.

        The last row and column of cells may be cut by the canvas: their fraction is of what is left.

        Args:
            stride: Pixels, at least 1.

        Returns:
            values (V,) 0 to 1; offsets (N + 1,): mask i owns values[offsets[i]:offsets[i + 1]], row by row;
            boxes (N, 4) x0, y0, x1, y1 in cells: the tight box, one cell wider on each side, cut to the grid
            of ceil(size / stride) cells; zeros for a mask without pixels.

        >>> values, offsets, boxes = Masks.from_counts([4, 2, 6], [0, 3], (3, 4)).cells(2)
        >>> values
        array([0.25, 0.  , 0.5 , 0.  ], dtype=float32)
        >>> boxes
        array([[0, 0, 2, 2]], dtype=int32)
        """
        stride = operator.index(stride)
        if stride < 1:
            raise ValueError(f"stride must be at least 1 pixel, got {stride}.")
        values, offsets, boxes = _core.masks_cells(self.runs, min(stride, inputs.LARGEST_SIDE))
        return values, offsets.view(np.int64), boxes

    def iou(self, other: Masks, crowd: ArrayLike | None = None) -> NDArray[np.float64]:
        """(N, M) intersection over union of every mask with every mask of `other`; 0 where nothing is shared.

        Args:
            other: M masks of the same size.
            crowd: (M,) bool; where True, the intersection is divided by the area of the mask of `self`
                instead (as in COCO, a detection inside a crowd region counts as covered).

        >>> dense = np.tril(np.ones((2, 2), bool))[None]
        >>> Masks.from_dense(dense).iou(Masks.from_dense(~dense | dense))
        array([[0.75]])
        """
        if other.size != self.size:
            raise ValueError(f"other: size must be {self.size}, got {other.size}. Resize one of them first.")
        flags = np.zeros(len(other), np.bool_) if crowd is None else np.ascontiguousarray(crowd, np.bool_)
        if flags.shape != (len(other),):
            raise ValueError(f"crowd must have shape ({len(other)},), got {flags.shape}. It is about other.")
        return _core.masks_iou(self.runs, other.runs, flags.view(np.uint8))

    def union(self) -> Masks:
        """One mask: every pixel that any of them covers (no masks: one empty mask)."""
        return Masks(_core.masks_unite(self.runs))

    def flip(self, horizontal: bool = True) -> Masks:
        """Left and right change places; up and down where `horizontal` is False."""
        return Masks((_core.masks_flip_horizontal if horizontal else _core.masks_flip_vertical)(self.runs))

    def rotate90(self, k: int = 1) -> Masks:
        """Turned `k` times by 90 degrees counter-clockwise, as numpy.rot90; odd turns swap the sides."""
        turns = operator.index(k) % 4
        runs = _core.masks_transpose(self.runs) if turns % 2 else self.runs
        finish = (lambda r: r, _core.masks_flip_vertical, _core.masks_rotate180, _core.masks_flip_horizontal)[
            turns
        ]
        return Masks(finish(runs))

    def translate(self, dy: int, dx: int, size: tuple[int, int] | None = None) -> Masks:
        """Moved down by `dy` and right by `dx` pixels; what leaves the canvas is cut.

        Args:
            dy: Pixels, may be negative.
            dx: Pixels, may be negative.
            size: (height, width) of the new canvas; the present one by default.
        """
        size = self.size if size is None else inputs.check_size(size)
        return Masks(_core.masks_shift(self.runs, inputs.check_shift(dy), inputs.check_shift(dx), *size))

    def crop_to(self, y0: int, x0: int, height: int, width: int) -> Masks:
        """The window of `height` x `width` pixels whose corner is (y0, x0); it may reach beyond the canvas.

        >>> Masks.from_counts([4, 2, 6], [0, 3], (3, 4)).crop_to(1, 1, 2, 2).boxes
        array([[0., 0., 1., 2.]], dtype=float32)
        """
        return self.translate(-y0, -x0, (height, width))

    def resize(self, size: tuple[int, int]) -> Masks:
        """Scaled to `size` (height, width) by the nearest pixel.

        Pixel i takes source pixel floor((i + 1/2) * source / target), in exact arithmetic.

        >>> Masks.from_counts([4, 2, 6], [0, 3], (3, 4)).resize((6, 8)).areas
        array([8])
        """
        return Masks(_core.masks_resize(self.runs, *inputs.check_size(size)))

    def moments(self) -> NDArray[np.float64]:
        """(N, 6) sums of 1, y, x, y * y, x * x, x * y over covered pixels, whose centres are 0, 1, 2, ..."""
        return _core.masks_moments(self.runs)

    def perimeters(self, pixel_size: tuple[float, float] = (1.0, 1.0)) -> NDArray[np.float64]:
        """(N,) length of the border, equal to skimage.measure.perimeter with 4 neighbours.

        Args:
            pixel_size: (width, height) of a pixel, above 0. Where they differ, each border pixel counts the mean
                length of its steps along rows and columns, a diagonal step the diagonal of a pixel.

        >>> Masks.from_dense(np.ones((1, 5, 9), bool)).perimeters()
        array([24.])
        """
        width, height = pixel_size
        return _core.masks_perimeters(self.runs, height, width)
