"""The names of the package, whenever and in whatever order they are imported."""

import subprocess
import sys

import pytest

from delineate import metrics

SAME = ("calibration", "compare", "errors", "explain", "matching", "slices", "verdicts")


def fresh(code):
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_every_name_is_there():
    assert [name for name in metrics.__all__ if not hasattr(metrics, name)] == []
    assert dir(metrics) == sorted(metrics.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        metrics.nothing  # noqa: B018


@pytest.mark.parametrize("name", SAME)
def test_a_function_is_seen_before_its_module(name):
    # After the module, before it, and by its full name.
    code = f"import delineate.metrics.{name}; from delineate.metrics import {name}; print({name}.__name__)"
    assert fresh(code) == name
    code = f"from delineate.metrics import {name}; print({name}.__module__, {name}.__name__)"
    assert fresh(code) == f"delineate.metrics.{name} {name}"


def test_average_precision_comes_alone():
    code = (
        "import sys\nfrom delineate.formats import coco\nfrom delineate.metrics.ap import evaluate\n"
        "print([name for name in sys.modules if name.startswith('delineate.metrics.') and 'ap' not in name])\n"
    )
    assert fresh(code) == "['delineate.metrics.columns', 'delineate.metrics._protocol']"
    assert fresh(f"{code}print('numpy.ma' in sys.modules, 'PIL' in sys.modules)").endswith("False False")
