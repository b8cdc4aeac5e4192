"""Fixtures that every test may use."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("delineate", deadline=None)  # a busy machine is no failure
settings.load_profile("delineate")

# Torch reads it when it is imported. Sizes are symbols in an export, and looking those up costs more than it saves.
os.environ.setdefault("TORCH_FAKE_TENSOR_DISPATCH_CACHE", "0")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real pictures, annotations and test weights beside the checkout; absent elsewhere."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder ../shared beside the checkout (real pictures and annotations)")
    return SHARED


@pytest.fixture(autouse=True)
def _formats_with_their_extras(request: pytest.FixtureRequest) -> None:
    """Tests of all formats leave out the one whose extra is not installed."""
    call = getattr(request.node, "callspec", None)
    if call is not None and call.params.get("name") == "parquet" and find_spec("pyarrow") is None:
        pytest.skip("needs pyarrow, the extra [parquet]")
