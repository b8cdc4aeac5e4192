import os
import threading

import numpy as np
import pytest
from networks import network, segmenter

from delineate.errors import RuntimeFailure
from delineate.runtimes import Port
from delineate.runtimes.onnx import OnnxRuntime


def test_ports_and_metadata():
    runtime = OnnxRuntime(segmenter(shape=("batch", 3, "height", 64), metadata={"a": "b", "ü": "中"}))
    assert runtime.inputs == (Port("images", (None, 3, None, 64), "float32"),)
    assert [(port.name, port.dtype) for port in runtime.outputs] == [
        ("output0", "float32"),
        ("output1", "float32"),
    ]
    assert runtime.outputs[0].shape == (1, 9, 1)
    assert dict(runtime.metadata) == {"a": "b", "ü": "中"}


def test_runs():
    image = np.zeros((1, 3, 32, 32), np.float32)
    image[:, :, :4, :8] = 1
    result = OnnxRuntime(segmenter())({"images": image})
    assert list(result) == ["output0", "output1"]
    assert result["output1"].shape == (1, 3, 8, 8)
    assert np.argwhere(result["output1"][0, 0] > 0).tolist() == [[0, 0], [0, 1]]


def test_half_floats():
    model = network({"output0": np.ones((1, 2), np.float16)}, dtype=np.float16)
    runtime = OnnxRuntime(model)
    assert runtime.inputs[0].dtype == runtime.outputs[0].dtype == "float16"
    assert runtime({"images": np.zeros((1, 3, 32, 32), np.float16)})["output0"].dtype == np.float16


def test_a_file_and_its_content_are_the_same(tmp_path):
    path = tmp_path / "modèle.onnx"
    path.write_bytes(segmenter())
    assert (
        OnnxRuntime(path).outputs == OnnxRuntime(str(path)).outputs == OnnxRuntime(path.read_bytes()).outputs
    )
    assert repr(OnnxRuntime(path)) == f"OnnxRuntime({str(path)!r})"


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x08\x12\x00", bytes(1000)])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(
        RuntimeFailure, match=r"bad\.onnx must be an ONNX model that ONNX Runtime .* can load, got: "
    ):
        OnnxRuntime(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RuntimeFailure, match=r"must be a file, got .*nowhere\.onnx"):
        OnnxRuntime(tmp_path / "nowhere.onnx")
    with pytest.raises(RuntimeFailure, match="must be a file"):
        OnnxRuntime(tmp_path)


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"picture": np.zeros((1, 3, 32, 32), np.float32)},
        {"images": np.zeros((1, 3, 16, 32), np.float32)},
        {"images": np.zeros((1, 3, 32, 32), np.float64)},
    ],
)
def test_a_wrong_input_is_told_against_what_is_wanted(arrays):
    runtime = OnnxRuntime(segmenter())
    with pytest.raises(
        RuntimeFailure, match=r"a model in memory must run on images \(1, 3, 32, 32\) float32, got "
    ):
        runtime(arrays)


def test_threads():
    with pytest.raises(ValueError, match="threads must be at least 1 or None, got 0"):
        OnnxRuntime(segmenter(), threads=0)
    options = OnnxRuntime(segmenter(), threads=3)._session.get_session_options()
    assert options.intra_op_num_threads == 3
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    options = OnnxRuntime(segmenter())._session.get_session_options()
    assert options.intra_op_num_threads == len(os.sched_getaffinity(0))


def test_several_threads_may_call_one_session():
    runtime = OnnxRuntime(segmenter(), threads=1)
    results = {}

    def work(index):
        image = np.full((1, 3, 32, 32), index, np.float32)
        results[index] = float(runtime({"images": image})["output1"].mean())

    workers = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == {index: pytest.approx(index - 0.5) for index in range(8)}
