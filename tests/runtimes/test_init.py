import pytest
from networks import segmenter

from delineate import runtimes
from delineate.runtimes.onnx import OnnxRuntime


def test_load_by_name():
    assert runtimes.NAMES == ("onnx",)
    assert isinstance(runtimes.load("onnx", segmenter(), threads=1), OnnxRuntime)


def test_an_unknown_runtime_is_told():
    with pytest.raises(ValueError, match="name must be one of onnx, got 'tensorrt'"):
        runtimes.load("tensorrt", b"")
