"""Reads pickles of torch checkpoints as data: nothing that a file names is imported, called or built.

A pickle is a program for a small stack machine. This module is such a machine without the instructions that
make pickles dangerous: a global stays a `Name`, a call gives a `Stub` that remembers what would have been
called. The few calls that carry tensors (`torch._utils._rebuild_tensor_v2` and its kin) are answered by
functions of the caller. Memory is bounded by the size of the file, because every instruction adds at most one
object. Keys of dictionaries are kept only where they are plain numbers or strings, so that no crafted key can
stall the reader.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, NamedTuple

from delineate.errors import WeightsError


class Name(NamedTuple):
    """A global that the pickle mentions; never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Stub:
    """Stands for an object that would have been built.

    Attributes:
        origin: Its class or function.
        state: The attributes that it would have got, or an empty mapping.
    """

    __slots__ = ("origin", "state")

    def __init__(self, origin: Name) -> None:
        self.origin = origin
        self.state: Mapping[Any, Any] = {}

    def build(self, state: object) -> None:
        """What the pickle sets once the object is there; the second part of a pair holds slots."""
        if isinstance(state, tuple) and len(state) == 2:
            state = state[0]
        if isinstance(state, dict):
            self.state = state


Handler = Callable[[tuple[Any, ...]], Any]

_PUSH = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING "  # noqa: SIM905
    "UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
)
_CONSTANTS: dict[str, object] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], object]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read(data: bytes | BytesIO, handlers: Mapping[str, Handler], persistent: Callable[[Any], Any]) -> Any:  # noqa: ANN401
    """The object that a pickle describes, made of plain containers, numbers, strings, `Name` and `Stub`.

    Args:
        data: The pickle, protocol 2 or newer; a stream is left behind the end mark.
        handlers: Answers to calls, by the full name of the function; they get the positional arguments.
        persistent: Answer to a persistent id, such as torch's storages.

    Raises:
        WeightsError: If the data is no such pickle.

    >>> import pickle
    >>> read(pickle.dumps({"a": (1, [2.5, None])}), {}, lambda key: None)
    {'a': (1, [2.5, None])}
    >>> str(read(pickle.dumps(print), {}, lambda key: None))
    'builtins.print'
    """
    machine = _Machine(handlers, persistent)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of strange escapes in strings
            for opcode, argument, _ in pickletools.genops(BytesIO(data) if isinstance(data, bytes) else data):
                if opcode.name == "STOP":
                    return machine.pop()
                machine.step(opcode.name, argument)
    except (
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise WeightsError(f"pickle: content is damaged or hostile ({type(error).__name__}).") from error
    raise WeightsError("pickle: content ends before its end mark.")


class _Machine:
    """Stack, marks and memo."""

    def __init__(self, handlers: Mapping[str, Handler], persistent: Callable[[Any], Any]) -> None:
        self.handlers = handlers
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:  # noqa: ANN401
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise IndexError("nothing above the mark")
        return self.stack.pop()

    def pop_mark(self) -> list[Any]:
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def step(self, name: str, argument: Any) -> None:  # noqa: ANN401
        """One instruction; an unknown one is an error."""
        if name in _PUSH:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            items = [self.pop() for _ in range(_TUPLES[name])]
            self.stack.append(tuple(reversed(items)))
        elif name not in ("PROTO", "FRAME"):
            instruction = _INSTRUCTIONS.get(name)
            if instruction is None:
                raise WeightsError(f"pickle: instruction {name} is not allowed in a checkpoint.")
            instruction(self, argument)

    def mark(self, _: object) -> None:
        self.marks.append(len(self.stack))

    def drop(self, _: object) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.pop()

    def drop_mark(self, _: object) -> None:
        self.pop_mark()

    def put(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def make_list(self, _: object) -> None:
        self.stack.append(self.pop_mark())

    def make_tuple(self, _: object) -> None:
        self.stack.append(tuple(self.pop_mark()))

    def make_dict(self, _: object) -> None:
        items = self.pop_mark()
        self.stack.append({})
        self._assign(items)

    def append(self, _: object) -> None:
        self._extend([self.pop()])

    def extend(self, _: object) -> None:
        self._extend(self.pop_mark())

    def assign(self, _: object) -> None:
        value = self.pop()
        self._assign([self.pop(), value])

    def assign_all(self, _: object) -> None:
        self._assign(self.pop_mark())

    def name(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(Name(module, name))

    def stack_name(self, _: object) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise TypeError("a global must have a name")
        self.stack.append(Name(module, name))

    def call(self, _: object) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise TypeError("only a named function can be called")
        handler = self.handlers.get(str(function))
        self.stack.append(Stub(function) if handler is None else handler(arguments))

    def call_with_keywords(self, _: object) -> None:
        self.pop()
        self.call(None)

    def build(self, _: object) -> None:
        state = self.pop()
        target = self.stack[-1]
        if isinstance(target, Stub):
            target.build(state)

    def load_persistent(self, _: object) -> None:
        self.stack.append(self.persistent(self.pop()))

    def _extend(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)

    def _assign(self, items: list[Any]) -> None:
        target = self.stack[-1]
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(target, dict) and isinstance(key, str | int | float | bool):
                target[key] = value


_INSTRUCTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "POP": _Machine.drop,
    "POP_MARK": _Machine.drop_mark,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    "LIST": _Machine.make_list,
    "TUPLE": _Machine.make_tuple,
    "DICT": _Machine.make_dict,
    "EMPTY_SET": lambda machine, _: machine.stack.append([]),  # sets come as lists: nothing is hashed
    "FROZENSET": _Machine.make_list,
    "ADDITEMS": _Machine.extend,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.extend,
    "SETITEM": _Machine.assign,
    "SETITEMS": _Machine.assign_all,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.stack_name,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "NEWOBJ_EX": _Machine.call_with_keywords,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.load_persistent,
}
