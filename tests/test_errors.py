import pickle
from pathlib import Path

import pytest

from delineate.errors import (
    DelineateError,
    DownloadError,
    FormatError,
    MissingExtra,
    RuntimeFailure,
    WeightsError,
)


@pytest.mark.parametrize("error", [DownloadError, FormatError, MissingExtra, RuntimeFailure, WeightsError])
def test_one_base_catches_all(error):
    assert issubclass(error, DelineateError)


@pytest.mark.parametrize(
    ("path", "item", "text"),
    [
        ("a.json", "annotation 7", "a.json: annotation 7: must be better."),
        (Path("b") / "a.png", "", "b/a.png: must be better."),
    ],
)
def test_format_error_names_its_place(path, item, text):
    error = FormatError(path, item, "must be better.")
    assert str(error) == text
    assert (error.path, error.item, error.message) == (Path(path), item, "must be better.")


def test_missing_extra_is_an_import_error_with_the_remedy():
    error = MissingExtra("torch", "torch")
    assert isinstance(error, ImportError)
    assert str(error) == "torch is not installed. Run: pip install 'delineate[torch]'"


@pytest.mark.parametrize(
    "error", [FormatError("a.json", "line 3", "must be."), MissingExtra("torch", "torch")]
)
def test_errors_cross_processes(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
