"""The compiled core. Import `_core` from here; public functions live in the Python modules above."""

from delineate._native import _core

__all__ = ["_core"]
