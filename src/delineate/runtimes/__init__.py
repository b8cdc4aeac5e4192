"""Inference runtimes: arrays in, arrays out. One file each; its package is imported on construction."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

NAMES = ("onnx",)


class Port(NamedTuple):
    """One input or output of a network.

    >>> str(Port("images", (1, 3, None, 640), "float32"))
    'images (1, 3, ?, 640) float32'
    """

    name: str
    shape: tuple[int | None, ...]  # None: decided by the data
    dtype: str  # numpy's name

    def __str__(self) -> str:
        shape = ", ".join("?" if length is None else str(length) for length in self.shape)
        return f"{self.name} ({shape}) {self.dtype}"


class Runtime(Protocol):
    """A loaded network."""

    @property
    def inputs(self) -> tuple[Port, ...]:
        """What the network takes."""
        ...

    @property
    def outputs(self) -> tuple[Port, ...]:
        """What it gives, in order."""
        ...

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the model file says about itself; not to be trusted."""
        ...

    def __call__(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the network once: an array per input name in, an array per output name out."""
        ...


def load(name: str, model: str | Path | bytes, *, threads: int | None = None) -> Runtime:
    """Load a model file into a runtime.

    Args:
        name: One of NAMES.
        model: A path, or the content of a model file.
        threads: Threads of one call; None = as many CPUs as the process may use.

    Raises:
        ValueError: There is no such runtime.
        RuntimeFailure: The runtime refuses the model.
    """
    if name == "onnx":
        from delineate.runtimes.onnx import OnnxRuntime

        return OnnxRuntime(model, threads=threads)
    raise ValueError(f"runtimes.load: name must be one of {', '.join(NAMES)}, got {name!r}")
