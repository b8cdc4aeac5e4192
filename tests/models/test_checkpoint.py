"""Reading official and hostile checkpoints: nothing in them may run, and nothing may explode."""

# ruff: noqa: E402  (torch is optional)

import copy
import io
import os
import pickle
import sys
import types
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from delineate import models
from delineate.errors import WeightsError
from delineate.models._checkpoint import read_checkpoint
from delineate.models._pickle import Name, Stub, read

PLACES = {
    "YoloSeg": "ultralytics.nn.tasks.SegmentationModel",
    "Conv": "ultralytics.nn.modules.conv.Conv",
    "Bottleneck": "ultralytics.nn.modules.block.Bottleneck",
    "Chain": "ultralytics.nn.modules.block.C3k2",
    "C3k": "ultralytics.nn.modules.block.C3k",
    "SPPF": "ultralytics.nn.modules.block.SPPF",
    "C2PSA": "ultralytics.nn.modules.block.C2PSA",
    "PSABlock": "ultralytics.nn.modules.block.PSABlock",
    "Attention": "ultralytics.nn.modules.block.Attention",
    "Proto": "ultralytics.nn.modules.block.Proto",
    "Bins": "ultralytics.nn.modules.block.DFL",
    "Segment": "ultralytics.nn.modules.head.Segment",
}
"""Our blocks, and the classes that official files name in their place."""


def official(path, model, names=("cat", "dog"), change=lambda model: None, **top):
    """Pickle a model as official files are: as a module whose classes live elsewhere, in float16."""
    model = copy.deepcopy(model).half()
    modules = {"ultralytics": types.ModuleType("ultralytics")}
    for place in PLACES.values():
        module, _, name = place.rpartition(".")
        modules.setdefault(module, types.ModuleType(module))
        setattr(modules[module], name, type(name, (torch.nn.Module,), {"__module__": module}))
    for part in list(model.modules()):
        module, _, name = PLACES.get(type(part).__name__, "").rpartition(".")
        if name:
            part.__class__ = getattr(modules[module], name)
    del model.config, model._table
    model.names = dict(enumerate(names))
    change(model)
    sys.modules.update(modules)
    try:
        torch.save(
            {"epoch": -1, "date": "today", "ema": None, "model": model, "train_args": {"lr0": 0.01}} | top,
            path,
        )
    finally:
        for name in modules:
            del sys.modules[name]
    return path


def archive(path, data, members=(), compression=zipfile.ZIP_STORED):
    """A torch archive around any pickle."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("a/data.pkl", data)
        for name, content in members:
            file.writestr(f"a/data/{name}", content)
    return path


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


class StoragePickler(pickle.Pickler):
    """Writes persistent ids where `Persistent` stands."""

    def persistent_id(self, thing):
        return thing.key if isinstance(thing, Persistent) else None


class Persistent:
    def __init__(self, *key):
        self.key = key[0] if len(key) == 1 else key


def dumped(thing, protocol=2):
    stream = io.BytesIO()
    StoragePickler(stream, protocol).dump(thing)
    return stream.getvalue()


def tensor(size, stride, *, offset=0, key="0", kind=torch.FloatStorage, count=4):
    storage = Persistent("storage", kind, key, "cpu", count)
    return Call(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, {})


@pytest.mark.parametrize("generation", [8, 11])
def test_an_official_file_gives_the_whole_state_dict(tmp_path, generation):
    model = models.build("yolo_seg-test", generation=generation)
    contents = read_checkpoint(official(tmp_path / "a.pt", model))
    state = model.state_dict()
    assert list(contents.tensors) == list(state)
    assert all(torch.equal(value, state[name].to(value.dtype)) for name, value in contents.tensors.items())
    assert contents.classes == ("cat", "dog")
    assert contents.kinds["model.9.cv1"] == "Conv"
    assert contents.kinds["model.9.cv1.act"] == "SiLU"
    assert contents.eps["model.0.bn"] == 1e-3
    assert not any(name.startswith("ultralytics") for name in sys.modules)


def test_an_official_file_becomes_a_model(tmp_path):
    model = models.build("yolo_seg-test")
    loaded = models.load(official(tmp_path / "a.pt", model))
    assert (loaded.name, loaded.classes) == ("yolo_seg-test", ("cat", "dog"))
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        expected = copy.deepcopy(model).half().float().eval()(images)
        assert torch.equal(loaded.model(images).logits, expected.logits)


def test_averaged_weights_come_first(tmp_path):
    model = models.build("yolo_seg-test")
    best = official(tmp_path / "b.pt", model)
    plain = models.build("yolo_seg-test")
    state = {"model": plain.state_dict(), "ema": model.state_dict()}
    torch.save(state, tmp_path / "c.pt")
    for path in (best, tmp_path / "c.pt"):
        found = read_checkpoint(path).tensors["model.0.conv.weight"]
        assert torch.equal(found.float(), model.state_dict()["model.0.conv.weight"].to(found.dtype).float())


def test_a_plain_state_dict_is_read(tmp_path):
    model = models.build("yolo_seg-test")
    torch.save(model.state_dict(), tmp_path / "a.pt")
    other = models.build("yolo_seg-test")
    assert models.load_weights(other, tmp_path / "a.pt") == []
    assert torch.equal(other.head.proto.cv1.conv.weight, model.head.proto.cv1.conv.weight)


def test_shared_views_keep_their_places(tmp_path):
    whole = torch.arange(24.0)
    torch.save({"a": whole[4:16].view(3, 4).t(), "b": whole[:0], "c": torch.tensor(7)}, tmp_path / "a.pt")
    tensors = read_checkpoint(tmp_path / "a.pt").tensors
    assert torch.equal(tensors["a"], whole[4:16].view(3, 4).t())
    assert tensors["b"].shape == (0,)
    assert tensors["c"] == 7


def test_another_activation_is_refused(tmp_path):
    def change(model):
        model.model[9].cv1.act = torch.nn.Identity()

    path = official(tmp_path / "a.pt", models.build("yolo_seg-test"), change=change)
    with pytest.raises(WeightsError, match=r"model\.9\.cv1: activation must be SiLU, the file has Identity"):
        models.load_weights(models.build("yolo_seg-test"), path)


def test_another_epsilon_is_refused(tmp_path):
    def change(model):
        model.model[0].bn.eps = 1e-5

    path = official(tmp_path / "a.pt", models.build("yolo_seg-test"), change=change)
    with pytest.raises(WeightsError, match=r"epsilon must be 0\.001, the file has 1e-05"):
        models.load(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_call_is_remembered_but_not_made(tmp_path, protocol):
    marker = tmp_path / "ran"
    evil = Call(os.system, f"touch {marker}")
    found = read(pickle.dumps({"a": evil, "b": [evil]}, protocol), {}, lambda key: None)
    assert isinstance(found["a"], Stub)
    assert found["a"].origin.name == "system"
    path = archive(tmp_path / "a.pt", pickle.dumps({"model": evil}, protocol))
    with pytest.raises(WeightsError, match="must have parameters"):
        read_checkpoint(path)
    assert not marker.exists()


def test_a_module_does_not_run_either(tmp_path):
    marker = tmp_path / "ran"

    def change(model):
        model.model[3].hook = Call(os.system, f"touch {marker}")

    model = models.build("yolo_seg-test")
    assert len(read_checkpoint(official(tmp_path / "a.pt", model, change=change)).tensors) == len(
        model.state_dict()
    )
    assert not marker.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'touch ran'\ntR.",  # protocol 0
        b"(S'touch ran'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'touch ran'\no.",  # OBJ
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x02U\x04evilQ.",  # a persistent id that is no storage
        b"\x80\x02]q\x00h\x07.",  # unknown memo
        b"\x80\x02.",  # empty stack
        b"\x80\x02K\x01K\x02R.",  # call of a number
        b"\x80\x02\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # 8 exabytes of bytes
        b"\x80\x02]r\xff\xff\xff\xff.",  # memo at 4 billion: harmless in a dict, no model either
        b"\x80\x02}(K\x01u.",  # key without value
        b"\x80\x02(0.",
        b"\x80\x02K\x01",  # no end
        b"\xff\xff",
        b"",
    ],
)
def test_hostile_pickles_are_refused(tmp_path, data, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError):
        read_checkpoint(archive(tmp_path / "a.pt", data))
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (tensor((100_000, 100_000), (0, 0)), "must lie inside its storage"),
        (tensor((5,), (1,)), "must lie inside its storage"),
        (tensor((2,), (4,)), "must lie inside its storage"),
        (tensor((2,), (1,), offset=3), "must lie inside its storage"),
        (tensor((2,), (1,), offset=-1), "whole numbers"),
        (tensor((-2,), (1,)), "whole numbers"),
        (tensor((2.0,), (1,)), "whole numbers"),
        (tensor((True,), (1,)), "whole numbers"),
        (tensor((1,), (1, 1)), "one stride for each"),
        (tensor((1,) * 9, (1,) * 9), "one stride for each"),
        (tensor((2,), (1,), key="9"), "storage '9' is missing"),
        (tensor((2,), (1,), key="odd"), "must hold whole torch.float32 numbers, got 5 bytes"),
        (tensor((2,), (1,), kind=os.system), "must have a known element type"),
        (Persistent("storage", torch.FloatStorage, "0"), "must be torch storages"),
        (Persistent("elsewhere"), "must be torch storages"),
        (Call(torch._utils._rebuild_tensor_v2, 1, 0, (1,), (1,)), "must have a storage"),
        (Call(torch._utils._rebuild_tensor_v2), "damaged or hostile"),
        (Call(torch._utils._rebuild_parameter), "damaged or hostile"),
    ],
)
def test_hostile_tensors_are_refused(tmp_path, thing, message):
    path = archive(tmp_path / "a.pt", dumped({"a": thing}), [("0", b"\0" * 16), ("odd", b"\0" * 5)])
    with pytest.raises(WeightsError, match=message):
        read_checkpoint(path)


def test_a_compressed_archive_is_refused(tmp_path):
    path = archive(tmp_path / "a.pt", dumped({"a": 1}), [("0", b"\0" * 10_000_000)], zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match="must be stored without compression"):
        read_checkpoint(path)


def test_members_that_overlap_are_refused(tmp_path):
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", dumped({"a": 1}))
        file.writestr("a/data/0", b"\0" * 1000)
        for number in range(1, 20):
            twin = copy.copy(file.filelist[1])
            twin.filename = f"a/data/{number}"
            file.filelist.append(twin)
    with pytest.raises(WeightsError, match="must not be larger together than the file"):
        read_checkpoint(path)


def test_an_archive_needs_one_pickle(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as file:
        file.writestr("a/other", b"")
    with pytest.raises(WeightsError, match=r"must hold one <name>/data\.pkl, got 0"):
        read_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"PK\x03\x04" + b"\0" * 100, b"not a model", b"\xff" * 64]
)
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=r"a\.pt: must be a"):
        read_checkpoint(tmp_path / "a.pt")


def test_a_truncated_file_is_refused(tmp_path):
    path = official(tmp_path / "a.pt", models.build("yolo_seg-test"))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="damaged archive"):
        read_checkpoint(path)


@pytest.mark.parametrize("top", [{}, [], 1, None, {"model": 3}, {"model": {"a": 1}}])
def test_files_without_a_model_are_refused(tmp_path, top):
    with pytest.raises(WeightsError, match="must hold a model"):
        read_checkpoint(archive(tmp_path / "a.pt", dumped(top)))


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "none.pt")


def test_keys_that_take_forever_to_hash_are_dropped():
    key = ()
    for _ in range(200):
        key = (key, key)  # 2 ** 200 steps to hash
    data = b"\x80\x02}" + pickle.dumps(key, 2)[2:-1] + b"K\x01s."
    assert read(data, {}, lambda key: None) == {}


def test_a_web_of_modules_is_refused(tmp_path):
    # Built by hand: every module refers to the one before under two names.
    parts = [b"\x80\x02"]
    for level in range(40):
        parts += [b"c__main__\nModule\n)\x81q", bytes([level])]
        if level:
            inner = b"h" + bytes([level - 1])
            table = b"}(X\x01\0\0\0a" + inner + b"X\x01\0\0\0b" + inner + b"u"
            parts.append(b"}X\x08\0\0\0_modules" + table + b"sb")
    path = archive(tmp_path / "a.pt", b"".join(parts) + b".")
    with pytest.raises(WeightsError, match="tree of modules of reasonable size"):
        read_checkpoint(path)


def test_names_are_never_looked_up():
    assert read(pickle.dumps(os.system), {}, lambda key: None) == Name("posix", "system")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Pickle and storages of a small module."""
    path = tmp_path_factory.mktemp("small") / "a.pt"
    torch.save({"model": torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))}, path)
    with zipfile.ZipFile(path) as file:
        names = [name for name in file.namelist() if "/data/" in name]
        return file.read("a/data.pkl"), [(name.rpartition("/")[2], file.read(name)) for name in names]


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_damaged_pickles_never_do_worse_than_fail(small, tmp_path_factory, changes):
    data, members = small
    data = bytearray(data)
    for place, value in changes:
        data[place % len(data)] = value
    path = archive(tmp_path_factory.getbasetemp() / "damaged.pt", bytes(data), members)
    try:
        contents = read_checkpoint(path)
    except WeightsError:
        return
    assert contents.tensors
