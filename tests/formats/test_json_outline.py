import json

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from delineate._native import _core
from delineate.formats import _json_outline as json_outline

texts = st.text(max_size=5)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def expected(value):
    """The outline from the whole value."""
    short = lambda one: [one[0]] if isinstance(one, list) and one else one  # noqa: E731
    return {"": short(value)} if isinstance(value, list) else {key: short(one) for key, one in value.items()}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.lists(anything, max_size=4)
    | st.dictionaries(st.text(min_size=1, max_size=5), anything, max_size=4)
)
def test_values_and_first_elements(value, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(value, ensure_ascii=False), "utf-8")
    found = json_outline._read.__wrapped__(path)
    assert {key: json.loads(text) for key, text in found.items()} == expected(value)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), window=st.integers(1, 60))
def test_windows_and_damage(data, window, tmp_path):
    """Whatever the window, the same is found, or nothing; and what is JSON is found as it is."""
    value = {"a": data.draw(anything), "images": data.draw(st.lists(anything, max_size=3)), "z": 1}
    text = bytearray(json.dumps(value).encode())
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + 1] = data.draw(st.sampled_from([b"", b"[", b"}", b'"', b"\\", b",", b"9"]))
    path = tmp_path / "a.json"
    path.write_bytes(bytes(text))
    with path.open("rb") as file:
        found, again = (_core.json_outline(file.fileno(), size) for size in (window, 1 << 20))
    assert again is None or found is None or found == again
    try:
        whole = msgspec.json.decode(bytes(text))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if isinstance(whole, dict) and again is not None:
        assert {key for key, *_ in again[1]} == set(whole)


def test_what_is_no_object_or_list(tmp_path):
    path = tmp_path / "a.json"
    for text in ("", "3", "null", '"a"', "{", "[", '{"a":1}x', '{"a":[1}', "\x80"):
        path.write_bytes(text.encode("latin-1"))
        assert json_outline.values(path) is json_outline.first(path) is None, text
    assert json_outline.values(tmp_path) is None
    assert json_outline.first(tmp_path / "none.json") is None


def test_a_list_is_no_object(tmp_path):
    (tmp_path / "a.json").write_text('[{"a": 1}, broken')
    assert json_outline.values(tmp_path / "a.json") is None
    assert json_outline.first(tmp_path / "a.json") == b'[{"a": 1}]', "what follows was not read"
    (tmp_path / "a.json").write_text('{"a": [1, 2]}')
    assert json_outline.first(tmp_path / "a.json") is None, "a changed file is read anew"
    assert json_outline.values(tmp_path / "a.json") == {"a": b"[1]"}


@pytest.mark.parametrize("size", [10, 100_000, 3_000_000])
def test_long_values_are_cut(tmp_path, size):
    (tmp_path / "a.json").write_text(json.dumps({"a": "x" * size, "b": ["y" * size, 1]}))
    found = json_outline.values(tmp_path / "a.json")
    assert len(found["a"]) == min(size + 2, 1 << 16)
    assert len(found["b"]) == size + 4
