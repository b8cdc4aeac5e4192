"""Numpy arrays in pickles, as detectron2 publishes its weights: plain numbers, and nothing else.

A pickled array is a call that makes an empty one, and a state that fills it: version, shape, type, order and
bytes. Before protocol 3 the bytes are text that a second call encodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from delineate.errors import WeightsError
from delineate.models._pickle import Handler, Name, Stub

_CODES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1")


class Array(Stub):
    """A numpy array.

    Attributes:
        tensor: Its values; empty until the pickle gives them.
    """

    __slots__ = ("encode", "tensor")

    def __init__(self, encode: Callable[[str], bytes]) -> None:
        super().__init__(Name("numpy", "ndarray"))
        self.encode = encode
        self.tensor = torch.zeros(0)

    def build(self, state: object) -> None:
        """Fill it: (version, shape, type, column by column, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise WeightsError("pickle: an array must have a shape, a type and bytes.")
        self.fill(state[4], state[2], state[1], "F" if state[3] is True else "C")

    def fill(self, raw: object, dtype: object, shape: object, order: object) -> None:
        """Fill it with bytes; a str holds them as Python 2 wrote them."""
        data = self.encode(raw) if isinstance(raw, str) else raw
        if not isinstance(data, bytes | bytearray) or not isinstance(dtype, _Type):
            raise WeightsError("pickle: an array must hold plain numbers, got objects.")
        if (
            not isinstance(shape, tuple)
            or len(shape) > 8
            or not all(type(side) is int and side >= 0 for side in shape)
        ):
            raise WeightsError("pickle: the shape of an array must be up to 8 whole numbers.")
        if math.prod(shape) * dtype.numpy.itemsize != len(data):
            raise WeightsError(f"pickle: an array of shape {shape} must not have {len(data)} bytes.")
        values = np.frombuffer(data, dtype.numpy).reshape(shape, order="F" if order == "F" else "C")
        self.tensor = torch.from_numpy(values)  # a view: many arrays of the same bytes cost nothing


class _Type(Stub):
    """The type of an array's numbers."""

    __slots__ = ("numpy",)

    def __init__(self, code: object) -> None:
        super().__init__(Name("numpy", "dtype"))
        if code not in _CODES:
            raise WeightsError(f"pickle: an array must have plain numbers, got type {str(code)[:20]!r}.")
        self.numpy = np.dtype(str(code))

    def build(self, state: object) -> None:
        """The order of the bytes."""
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|", "="):
            raise WeightsError("pickle: the numbers of an array must be little-endian.")


def handlers(size: int) -> dict[str, Handler]:
    """Answers to the calls that make arrays, for a file of so many bytes.

    >>> import pickle
    >>> from delineate.models._pickle import read
    >>> data = pickle.dumps(np.arange(4, dtype=np.float32).reshape(2, 2))
    >>> read(data, handlers(len(data)), lambda key: None).tensor
    tensor([[0., 1.],
            [2., 3.]])
    """
    left = size  # a file could name one text many times

    def encode(text: str) -> bytes:
        nonlocal left
        left -= len(text)
        if left < 0:
            raise WeightsError("pickle: the texts of arrays must not be longer than the file.")
        return text.encode("latin1")

    def coded(arguments: tuple[Any, ...]) -> bytes:
        text, coding = arguments
        if coding != "latin1":
            raise WeightsError("pickle: text must be bytes in latin1.")
        return encode(text)

    def from_buffer(arguments: tuple[Any, ...]) -> Array:
        array = Array(encode)
        array.fill(*arguments)
        return array

    answers: dict[str, Handler] = {
        "_codecs.encode": coded,
        "__builtin__.bytes": lambda _: b"",  # how protocol 2 writes no bytes at all
        "collections.OrderedDict": lambda _: {},
        "numpy.dtype": lambda arguments: _Type(arguments[0]),
    }
    for module in ("numpy.core", "numpy._core"):
        answers[f"{module}.multiarray._reconstruct"] = lambda _: Array(encode)
        answers[f"{module}.numeric._frombuffer"] = from_buffer
    return answers
