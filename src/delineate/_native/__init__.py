"""The compiled core. Import `_core` from here; public functions live in the Python modules above."""

import os

from delineate._native import _core

__all__ = ["MOST_THREADS", "_core"]

MOST_THREADS = 1024


def _choose_threads(text: str) -> None:
    if not (text.isdecimal() and 1 <= int(text) <= MOST_THREADS):
        raise ValueError(
            f"DELINEATE_NUM_THREADS must be a whole number from 1 to {MOST_THREADS}, got {text!r}. "
            "Unset it to use every CPU."
        )
    _core.choose_threads(int(text))


if os.environ.get("DELINEATE_NUM_THREADS"):
    _choose_threads(os.environ["DELINEATE_NUM_THREADS"])
