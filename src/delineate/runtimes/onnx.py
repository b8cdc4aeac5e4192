"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from delineate.errors import RuntimeFailure
from delineate.runtimes import Port
from delineate.threads import get_num_threads

_DTYPES = {
    "float": "float32",
    "double": "float64",
    "float16": "float16",
    "bool": "bool",
    "string": "object",
    **{name: name for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")},
}


class OnnxRuntime:
    """A model file in ONNX Runtime: CPU, all graph optimisations, no telemetry.

    The threads that it keeps sleep between calls instead of spinning, so that several sessions and the rest
    of the program do not fight for the CPUs. One session may be called from several threads at once. Not
    fork-safe: load after forking.

    Args:
        model: A path, or the content of a model file (weights included).
        threads: Threads of one call, at least 1; None = `delineate.threads.get_num_threads()`.

    Raises:
        RuntimeFailure: The file is missing, ONNX Runtime refuses it, or it is not installed.
    """

    def __init__(self, model: str | Path | bytes, *, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"OnnxRuntime: threads must be at least 1 or None, got {threads}")
        self.source = "a model in memory" if isinstance(model, bytes) else str(model)
        try:
            import onnxruntime
        except ImportError as error:
            raise RuntimeFailure(
                f"onnxruntime cannot be imported: {error}. Run: pip install onnxruntime"
            ) from error
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or get_num_threads()
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = (
            3  # errors come as exceptions; warnings about a foreign graph help nobody here
        )
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not isinstance(model, bytes) and not Path(model).is_file():
            raise RuntimeFailure(f"OnnxRuntime: model must be a file, got {self.source}. Check the path")
        try:
            content = model if isinstance(model, bytes) else str(model)
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise RuntimeFailure(
                f"OnnxRuntime: {self.source} must be an ONNX model that ONNX Runtime "
                f"{onnxruntime.__version__} can load, got: {_first_line(error)}. Export it anew, "
                "or update onnxruntime"
            ) from error
        self.inputs = tuple(_port(node) for node in self._session.get_inputs())
        self.outputs = tuple(_port(node) for node in self._session.get_outputs())
        self.metadata: Mapping[str, str] = MappingProxyType(
            dict(self._session.get_modelmeta().custom_metadata_map)
        )

    def __call__(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the network once.

        Args:
            arrays: Input name -> array of the input's dtype; dimensions that the model fixes must match.

        Returns:
            Output name -> array, in the model's order.

        Raises:
            RuntimeFailure: A name, shape or dtype does not fit, or the run failed.
        """
        names = [port.name for port in self.outputs]
        try:
            results = self._session.run(names, dict(arrays))
        except Exception as error:
            wanted = "; ".join(str(port) for port in self.inputs)
            given = "; ".join(f"{name} {array.shape} {array.dtype}" for name, array in arrays.items())
            raise RuntimeFailure(
                f"OnnxRuntime: {self.source} must run on {wanted}, got {given or 'nothing'}: "
                f"{_first_line(error)}"
            ) from error
        return {name: np.asarray(result) for name, result in zip(names, results, strict=True)}

    def __repr__(self) -> str:
        return f"OnnxRuntime({self.source!r})"


def _port(node: Any) -> Port:  # noqa: ANN401 - onnxruntime has no types
    shape = tuple(length if isinstance(length, int) and length > 0 else None for length in node.shape)
    inner = node.type.removeprefix("tensor(").removesuffix(")")
    return Port(node.name, shape, _DTYPES.get(inner, inner))


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
