"""`Instances`: the objects of one picture, the one value that every stage takes and returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from delineate.masks import Masks

Index: TypeAlias = slice | Sequence[int] | NDArray[Any]
"""What selects instances: a slice, ints (negative ones count from the end), or N bools."""

_NUMBERS, _INTEGERS, _FLAGS = "iuf", "iu", "biu"
_STORABLE = "biufcUSmM"  # everything but Python objects, which could be changed from outside


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Instances:
    """N objects of one picture as parallel arrays. Immutable: arrays are copied in and are read-only.

    Pixel convention, everywhere in this package: x runs right, y runs down, pixel column j covers [j, j + 1);
    boxes are half-open, so that x1 - x0 is the width in pixels. N = 0 is ordinary.

    Args:
        size: (height, width) of the canvas of every coordinate and mask, in pixels, each at least 1.
        boxes: (N, 4) float32, x0 y0 x1 y1 in pixels, finite, x0 <= x1 and y0 <= y1; may reach over the
            canvas. labels: (N,) int64, index into the classes of the dataset or model, at least 0. scores:
            (N,) float32, finite, usually in [0, 1]; None marks ground truth. masks: N masks on a canvas of
            the same size, or None where only boxes are known. crowd: (N,) bool, True where one entry stands
            for a group of objects (COCO's iscrowd); None: no crowds. ids: (N,) int64, identities over time
            (tracks); None where there are none. extras: Name -> (N, ...) array. Carried, selected and
            concatenated along, never read.

    Raises:
        ValueError: A shape, a length or a value does not fit.
        TypeError: A type does not fit (a dtype that would lose values is refused, never rounded).

    >>> found = Instances((480, 640), boxes=[[0, 0, 9, 5], [3, 4, 8, 8]], labels=[0, 2], scores=[0.5, 0.9])
    >>> found
    Instances(2, size=(480, 640), scores)
    >>> found[found.scores > 0.7].labels
    array([2])
    >>> len(Instances.empty((480, 640)))
    0
    """

    size: tuple[int, int]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32] | None = None
    masks: Masks | None = None
    crowd: NDArray[np.bool_] | None = None
    ids: NDArray[np.int64] | None = None
    extras: Mapping[str, NDArray[Any]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        # The constructor is lenient about containers (lists are fine); the fields are exact.
        boxes = _boxes(self.boxes)
        count = len(boxes)
        labels = _column("labels", self.labels, np.int64, _INTEGERS, count)
        if count and labels.min() < 0:
            raise ValueError(
                f"Instances: labels must be at least 0, got {labels.min()}. Leave unlabelled ones out"
            )
        scores = None
        if self.scores is not None:
            scores = _column("scores", self.scores, np.float32, _NUMBERS, count)
            if not np.isfinite(scores).all():
                raise ValueError(f"Instances: scores must be finite, got {scores[~np.isfinite(scores)][0]}")
        size = _size(self.size)
        _check_masks(self.masks, count, size)
        set_ = object.__setattr__  # the class is frozen for everybody else
        set_(self, "size", size)
        set_(self, "boxes", boxes)
        set_(self, "labels", labels)
        set_(self, "scores", scores)
        set_(self, "crowd", None if self.crowd is None else _crowd(self.crowd, count))
        set_(self, "ids", None if self.ids is None else _column("ids", self.ids, np.int64, _INTEGERS, count))
        set_(self, "extras", _extras(self.extras, count))

    @classmethod
    def empty(cls, size: tuple[int, int], *, scored: bool = False) -> Self:
        """No instances: an empty set of masks, no ids, no extras.

        Args:
            size: (height, width) of the canvas.
            scored: True for a prediction (scores are an empty array), False for ground truth (None).

        >>> Instances.empty((4, 6), scored=True)
        Instances(0, size=(4, 6), scores, masks)
        """
        nothing = np.zeros(0, np.float32)
        return cls(
            size, nothing, np.zeros(0, np.int64), nothing if scored else None, Masks.empty(_size(size))
        )

    @classmethod
    def of(
        cls,
        masks: Masks,
        labels: ArrayLike | None = None,
        scores: ArrayLike | None = None,
        *,
        crowd: ArrayLike | None = None,
        ids: ArrayLike | None = None,
        extras: Mapping[str, ArrayLike] | None = None,
    ) -> Self:
        """Instances of masks; the boxes are the masks' tight boxes (0 0 0 0 for an empty mask).

        Args:
            masks: N masks.
            labels: (N,) ints; None means all 0.
            scores: (N,) floats or None.
            crowd: (N,) bools or None.
            ids: (N,) ints or None.
            extras: Name -> (N, ...) array.

        >>> Instances.of(Masks.from_dense(np.ones((1, 4, 6), np.uint8))).boxes
        array([[0., 0., 6., 4.]], dtype=float32)
        """
        filled: Any = np.zeros(len(masks), np.int64) if labels is None else labels
        rest: dict[str, Any] = {"scores": scores, "crowd": crowd, "ids": ids, "extras": extras or {}}
        return cls(masks.size, masks.boxes, filled, masks=masks, **rest)

    @classmethod
    def concat(cls, parts: Iterable[Self]) -> Self:
        """All instances of several sets on one canvas, in the order given.

        Sets of N = 0 fit every other set. Among the rest, scores, masks, ids and every extra must be there in
        all or in none; crowd None counts as False beside a set that has it.

        Args:
            parts: At least one set; all with the same size.

        Raises:
            ValueError: The sets do not fit together.

        >>> one = Instances((4, 6), [[0, 0, 1, 1]], [3])
        >>> Instances.concat([one, Instances.empty((4, 6)), one]).labels
        array([3, 3])
        """
        sets = list(parts)
        if not sets:
            raise ValueError("Instances.concat: parts must hold at least one set, got none")
        sizes = sorted({part.size for part in sets})
        if len(sizes) > 1:
            raise ValueError(f"Instances.concat: parts must have one size, got {sizes[0]} and {sizes[1]}")
        full = [part for part in sets if len(part)] or sets[:1]
        crowd = None
        if any(part.crowd is not None for part in full):
            crowd = np.concatenate([np.zeros(len(p), bool) if p.crowd is None else p.crowd for p in full])
        masks = _shared("masks", [part.masks for part in full])
        names = list(dict.fromkeys(name for part in full for name in part.extras))
        return cls._trusted(
            full[0].size,
            _frozen(np.concatenate([part.boxes for part in full])),
            _frozen(np.concatenate([part.labels for part in full])),
            _joined("scores", [part.scores for part in full]),
            None if masks is None else Masks.concat(masks),
            None if crowd is None else _frozen(crowd),
            _joined("ids", [part.ids for part in full]),
            {name: _joined(f"extras[{name!r}]", [part.extras.get(name) for part in full]) for name in names},
        )

    def replace(self, **changes: Any) -> Self:
        """The same instances with some fields changed; everything is checked again.

        Args:
            **changes: New values by field name.

        >>> Instances((4, 6), [[0, 0, 1, 1]], [3]).replace(scores=[0.5]).scores
        array([0.5], dtype=float32)
        """
        unknown = [name for name in changes if name not in self.__slots__]
        if unknown:
            known = ", ".join(self.__slots__)
            raise TypeError(f"Instances.replace: fields must be among {known}, got {unknown[0]!r}")
        return dataclasses.replace(self, **changes)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Index) -> Self:
        index = _index(index, len(self))
        return self._trusted(
            self.size,
            _frozen(self.boxes[index]),
            _frozen(self.labels[index]),
            None if self.scores is None else _frozen(self.scores[index]),
            None if self.masks is None else self.masks[index],
            None if self.crowd is None else _frozen(self.crowd[index]),
            None if self.ids is None else _frozen(self.ids[index]),
            {name: _frozen(array[index]) for name, array in self.extras.items()},
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Instances):
            return NotImplemented
        return (
            self.size == other.size
            and len(self) == len(other)
            and all(_same(getattr(self, name), getattr(other, name)) for name in _ARRAYS)
            and self.masks == other.masks
            and self.extras.keys() == other.extras.keys()
            and all(_same(array, other.extras[name]) for name, array in self.extras.items())
        )

    def __repr__(self) -> str:
        optional = [name for name in ("scores", "masks", "crowd", "ids") if getattr(self, name) is not None]
        return ", ".join([f"Instances({len(self)}", f"size={self.size}", *optional, *self.extras]) + ")"

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        # Through the constructor: unpickled arrays would be writable otherwise, and unchecked.
        values = [getattr(self, name) for name in self.__slots__]
        return type(self), (*values[:-1], dict(self.extras))

    @classmethod
    def _trusted(cls, *values: Any) -> Self:
        """Build from values that hold the invariants: checking again would cost more than selecting."""
        made = object.__new__(cls)
        for name, value in zip(cls.__slots__, values, strict=True):
            object.__setattr__(made, name, MappingProxyType(value) if name == "extras" else value)
        return made


_ARRAYS = ("boxes", "labels", "scores", "crowd", "ids")


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


def _size(size: object) -> tuple[int, int]:
    """(height, width) as plain ints."""
    if not isinstance(size, Sequence | np.ndarray) or isinstance(size, str) or len(size) != 2:
        raise ValueError(f"Instances: size must be (height, width), got {size!r}")
    height, width = size
    for value in (height, width):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
            raise ValueError(f"Instances: size must be (height, width), two ints of at least 1, got {size!r}")
    return int(height), int(width)


def _cast(name: str, value: ArrayLike, dtype: type[np.generic], kinds: str) -> NDArray[Any]:
    """A private C-ordered copy in the field's dtype; refuses dtypes that would lose values."""
    source = np.asarray(value)
    if source.dtype.kind not in kinds and source.size:
        wanted = {_NUMBERS: "numbers", _INTEGERS: "ints", _FLAGS: "bools"}[kinds]
        raise TypeError(f"Instances: {name} must be {wanted} ({np.dtype(dtype)}), got {source.dtype}")
    if (
        source.dtype.kind == "u"
        and dtype is np.int64
        and source.size
        and source.max() > np.iinfo(np.int64).max
    ):
        raise ValueError(f"Instances: {name} must fit int64, got {source.max()}")
    with np.errstate(over="ignore"):  # what leaves float32's range is found as infinite by the caller
        return np.array(source, dtype=dtype, order="C")


def _column(name: str, value: ArrayLike, dtype: type[np.generic], kinds: str, count: int) -> NDArray[Any]:
    """A checked (N,) field."""
    array = _cast(name, value, dtype, kinds)
    if array.shape != (count,):
        raise ValueError(f"Instances: {name} must have shape ({count},) for {count} boxes, got {array.shape}")
    return _frozen(array)


def _boxes(value: ArrayLike) -> NDArray[np.float32]:
    boxes = _cast("boxes", value, np.float32, _NUMBERS)
    if boxes.shape == (0,):  # np.array([]) is how "no boxes" is often spelt
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"Instances: boxes must have shape (N, 4), got {boxes.shape}")
    if not np.isfinite(boxes).all():
        row = int(np.flatnonzero(~np.isfinite(boxes).all(axis=1))[0])
        raise ValueError(f"Instances: boxes must be finite, got {boxes[row].tolist()} in row {row}")
    turned = (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
    if turned.any():
        row = int(np.flatnonzero(turned)[0])
        raise ValueError(
            f"Instances: boxes must be x0 y0 x1 y1 with x0 <= x1 and y0 <= y1, "
            f"got {boxes[row].tolist()} in row {row}. Convert x y width height with boxes.from_xywh"
        )
    return _frozen(boxes)


def _crowd(value: ArrayLike, count: int) -> NDArray[np.bool_]:
    source = np.asarray(value)
    if source.dtype.kind in "iu" and (wrong := source[(source != 0) & (source != 1)]).size:
        raise ValueError(f"Instances: crowd must hold bools (or 0 and 1), got {wrong[0]}")
    return _column("crowd", source, np.bool_, _FLAGS, count)


def _check_masks(masks: object, count: int, size: tuple[int, int]) -> None:
    if masks is None:
        return
    if not isinstance(masks, Masks):
        raise TypeError(
            f"Instances: masks must be Masks or None, got {type(masks).__name__}. Use Masks.from_dense"
        )
    if len(masks) != count:
        raise ValueError(f"Instances: masks must be {count} for {count} boxes, got {len(masks)}")
    if tuple(masks.size) != size:
        raise ValueError(
            f"Instances: masks must have the size {size} of the instances, got {tuple(masks.size)}"
        )


def _extras(extras: object, count: int) -> Mapping[str, NDArray[Any]]:
    if not isinstance(extras, Mapping):
        raise TypeError(
            f"Instances: extras must be a mapping of names to arrays, got {type(extras).__name__}"
        )
    checked = {}
    for name, value in extras.items():
        if not isinstance(name, str):
            raise TypeError(f"Instances: extras must have str names, got {name!r}")
        array = np.array(value, order="C")
        if array.dtype.kind not in _STORABLE:
            raise TypeError(
                f"Instances: extras[{name!r}] must hold numbers, bools or strings, got {array.dtype}"
            )
        if array.ndim < 1 or len(array) != count:
            raise ValueError(
                f"Instances: extras[{name!r}] must have {count} rows, one per box, got shape {array.shape}"
            )
        checked[name] = _frozen(array)
    return MappingProxyType(checked)


def _index(index: object, count: int) -> slice | NDArray[Any]:
    """Checked positions, or a slice of neighbours: what is selected is always contiguous."""
    if isinstance(index, slice):
        return index if index.step in (None, 1) else np.arange(count)[index].copy()
    if isinstance(index, int | np.integer):
        stop = index + 1 or ""
        raise TypeError(
            f"Instances: index must be a slice, or an array of ints or bools, got {index!r}. "
            f"Use [{index}:{stop}] to keep one instance"
        )
    array = np.asarray(index)
    if array.ndim != 1:
        raise TypeError(f"Instances: index must be a slice, or an array of ints or bools, got {index!r}")
    if array.dtype == np.bool_:
        if len(array) != count:
            raise IndexError(f"Instances: a bool index must have {count} values, got {len(array)}")
        return array.nonzero()[0]
    if not array.size:
        return np.zeros(0, np.int64)
    if array.dtype.kind not in _INTEGERS:
        raise TypeError(
            f"Instances: index must be a slice, or an array of ints or bools, got dtype {array.dtype}"
        )
    if array.min() < -count or array.max() >= count:
        wrong = array.min() if array.min() < -count else array.max()
        raise IndexError(f"Instances: index must be within {count} instances, got {wrong}")
    positions = array.astype(np.int64)
    return np.where(positions < 0, positions + count, positions)


def _shared(name: str, values: Sequence[Any]) -> list[Any] | None:
    """All values, or None if all are None."""
    present = [value for value in values if value is not None]
    if not present:
        return None
    if len(present) != len(values):
        raise ValueError(
            f"Instances.concat: {name} must be in all parts or in none, got {len(present)} of {len(values)}"
        )
    return present


def _joined(name: str, values: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    present = _shared(name, values)
    if present is None:
        return None
    tails = sorted({array.shape[1:] for array in present})
    if len(tails) > 1:
        raise ValueError(
            f"Instances.concat: {name} must have one shape per instance, got {tails[0]} and {tails[1]}"
        )
    return _frozen(np.concatenate(present))


def _same(one: NDArray[Any] | None, other: NDArray[Any] | None) -> bool:
    """Equal by value and kind; nan equals nan."""
    if one is None or other is None:
        return one is other
    return one.dtype.kind == other.dtype.kind and np.array_equal(
        one, other, equal_nan=one.dtype.kind in "fcmM"
    )
