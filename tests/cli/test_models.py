"""``delineate models``."""

import pytest


def test_embedded_models_and_architectures_are_listed_with_licences(run):
    pytest.importorskip("torch", reason="architectures need the extra [torch]")
    ended = run("models")
    assert ended.code == 0
    assert "nuclei" in ended.out
    assert "CC0-1.0" in ended.out
    assert "yolo_seg-11n" in ended.out
    assert "AGPL-3.0" in ended.out


def test_without_torch_it_says_how_to_see_more(run, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    ended = run("models")
    assert ended.code == 0
    assert "delineate[torch]" in ended.out
