"""Checkpoints that are no archives: torch's files before 1.6, and detectron2's pickles of numpy arrays."""

# ruff: noqa: E402  (torch is optional)

import collections
import os
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from delineate import models
from delineate.errors import WeightsError
from delineate.models._checkpoint import read_checkpoint


def legacy(thing, path):
    torch.save(thing, path, _use_new_zipfile_serialization=False)
    return path


def pickled(path, thing, protocol=4):
    path.write_bytes(pickle.dumps(thing, protocol))
    return path


def zoo(arrays, protocol=4):
    """A file as detectron2's zoo has them."""
    return pickle.dumps({"model": arrays, "__author__": "Detectron2 Model Zoo"}, protocol)


def arrays():
    rng = np.random.default_rng(0)
    return {
        "a.weight": rng.normal(size=(4, 3, 2, 2)).astype(np.float32),
        "a.bias": rng.normal(size=4).astype(np.float16),
        "count": np.array(7),
        "columns": np.asfortranarray(rng.normal(size=(3, 5))),
        "empty": np.zeros((0, 4), np.float32),
        "flags": np.array([True, False]),
        "bytes": np.arange(256, dtype=np.uint8),
    }


def test_a_state_dict_of_the_old_format(tmp_path):
    whole = torch.arange(24.0)
    state = collections.OrderedDict(
        a=whole[4:16].view(3, 4).t(), b=whole[:0], c=torch.tensor(7), d=torch.randn(5).half(), e=whole
    )
    found = read_checkpoint(legacy(state, tmp_path / "a.pth")).tensors
    assert list(found) == list(state)
    assert all(
        torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in state.items()
    )


def test_a_training_run_of_the_old_format(tmp_path):
    model = models.build("yolo_seg-test")
    legacy({"model": model.state_dict(), "epoch": 3, "args": os.system}, tmp_path / "a.pth")
    other = models.build("yolo_seg-test")
    assert models.load_weights(other, tmp_path / "a.pth") == []
    assert torch.equal(other.head.proto.cv1.conv.weight, model.head.proto.cv1.conv.weight)


def test_a_file_of_the_old_format_that_ends_early(tmp_path):
    path = legacy({"a": torch.arange(9.0)}, tmp_path / "a.pth")
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(WeightsError):
            read_checkpoint(path)


def test_counts_of_the_old_format_are_checked(tmp_path):
    path = legacy({"a": torch.arange(9.0)}, tmp_path / "a.pth")
    content = path.read_bytes()
    place = content.rindex(struct.pack("<q", 9))
    for count in (-1, 8, 10, 1 << 62, (1 << 63) - 1):
        path.write_bytes(content[:place] + struct.pack("<q", count) + content[place + 8 :])
        with pytest.raises(WeightsError):
            read_checkpoint(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("old", [False, True], ids=["numpy 2", "numpy 1"])
def test_arrays_come_as_tensors(tmp_path, protocol, old):
    given = arrays()
    content = zoo(given, protocol)
    if old and protocol in (2, 3):  # names with their length in front come with protocol 4
        content = content.replace(b"numpy._core.", b"numpy.core.")
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    found = read_checkpoint(path).tensors
    assert list(found) == list(given)
    for name, value in given.items():
        np.testing.assert_array_equal(found[name].numpy(), value)
        assert found[name].numpy().dtype == value.dtype


def test_a_file_of_python_2(tmp_path):
    raw = np.array([1.5, -2.0], "<f4").tobytes()
    content = (
        b"\x80\x02}U\x05model}U\x01a"
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x08" + raw + b"tbss."
    )
    (tmp_path / "a.pkl").write_bytes(content)
    assert read_checkpoint(tmp_path / "a.pkl").tensors["a"].tolist() == [1.5, -2.0]


def test_nothing_of_a_pickle_runs(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    path = pickled(tmp_path / "a.pkl", {"model": {"a": np.ones(2), "b": Evil()}, "hook": Evil()})
    assert list(read_checkpoint(path).tensors) == ["a"]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([print], object), "plain numbers, got type 'O8'"),
        (np.array(["text"]), "plain numbers, got type 'U4'"),
        (np.zeros(2, [("x", "f4")]), "plain numbers, got type 'V4'"),
        (np.zeros(2, "datetime64[s]"), "plain numbers, got type 'M8'"),
        (np.zeros(2, ">f4"), "little-endian"),
        (np.zeros(2, complex), "plain numbers, got type 'c16'"),
    ],
)
def test_arrays_of_other_things_are_refused(tmp_path, array, message):
    with pytest.raises(WeightsError, match=message):
        read_checkpoint(pickled(tmp_path / "a.pkl", {"model": {"a": array}}))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ((1, (3,), "type", False, b"12345678"), "must not have 8 bytes"),
        ((1, (1 << 62, 1 << 62), "type", False, b"12345678"), "must not have 8 bytes"),
        ((1, (-2,), "type", False, b"12345678"), "whole numbers"),
        ((1, (True, 2), "type", False, b"12345678"), "whole numbers"),
        ((1, (1,) * 9, "type", False, b"1234"), "up to 8"),
        ((1, (2,), None, False, b"12345678"), "plain numbers, got objects"),
        ((1, (2,), "type", False, [1, 2]), "plain numbers, got objects"),
        ((1, (2,)), "a shape, a type and bytes"),
        (None, "a shape, a type and bytes"),
        ((1, (2,), "type", False, "☃2345678"), "damaged or hostile"),
    ],
)
def test_hostile_arrays_are_refused(tmp_path, state, message):
    class Forged:
        def __reduce__(self):
            known = tuple(np.dtype("f4") if part == "type" else part for part in state or ())
            make, arguments, _ = np.zeros(1).__reduce__()
            return make, arguments, known if state else 5

    path = pickled(tmp_path / "a.pkl", {"model": {"a": Forged()}})
    with pytest.raises(WeightsError, match=message):
        read_checkpoint(path)


def test_one_text_cannot_become_many_arrays(tmp_path):
    # Python 2's bytes, memoized once and used again and again: each use would be a copy.
    text = b"X\xe8\x03\x00\x00" + b"a" * 1000
    call = b"c_codecs\nencode\nq\x01h\x00X\x06\x00\x00\x00latin1\x86R"
    content = b"\x80\x02" + text + b"q\x00" + b"]" + call * 200 + b"."
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(WeightsError, match="must not be longer than the file"):
        read_checkpoint(tmp_path / "a.pkl")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    return zoo({"a": np.ones((2, 2), np.float32)}, 2), legacy({"a": torch.ones(3)}, folder / "a").read_bytes()


@given(
    st.integers(0, 1),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4),
)
@settings(max_examples=200, deadline=None)
def test_damaged_files_never_do_worse_than_fail(small, tmp_path_factory, which, changes):
    data = bytearray(small[which])
    for place, value in changes:
        data[place % len(data)] = value
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    path.write_bytes(data)
    try:
        contents = read_checkpoint(path)
    except WeightsError:
        return
    assert contents.tensors
