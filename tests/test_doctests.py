"""Every example in a docstring runs."""

import doctest
import importlib
import pkgutil

import pytest

import delineate

NEEDS_TORCH = ("delineate.models", "delineate.train", "delineate.export", "delineate.published")
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(delineate.__path__, "delineate.", onerror=lambda name: None)
    if not module.name.endswith(("__main__", "._core"))
)


@pytest.mark.parametrize("name", ["delineate", *MODULES])
def test_examples_run(name):
    if name.startswith(NEEDS_TORCH):
        pytest.importorskip("torch", reason="models and training need the extra [torch]")
    module = importlib.import_module(name)
    results = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert results.failed == 0
