"""Fixtures that every test may use."""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("delineate", deadline=None)  # a busy machine is no failure
settings.load_profile("delineate")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real pictures, annotations and test weights beside the checkout; absent elsewhere."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder ../shared beside the checkout (real pictures and annotations)")
    return SHARED
