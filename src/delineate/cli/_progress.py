"""Bars on stderr for what takes over a second, where somebody watches. Serves every command."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TaskProgressColumn, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed

_PATIENCE = 1.0  # seconds without a bar
_Item = TypeVar("_Item")


@contextlib.contextmanager
def _bar(text: str, total: int | None) -> Iterator[tuple[Progress, TaskID] | None]:
    """A bar that appears late and vanishes at the end; None where stderr is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    end = (SpinnerColumn(),) if total is None else (BarColumn(), TaskProgressColumn())
    bar = Progress(
        TextColumn("{task.description}", markup=False), *end, Elapsed(), console=console, transient=True
    )
    task = bar.add_task(text, total=total)
    patience = threading.Timer(_PATIENCE, bar.start)
    patience.daemon = True
    patience.start()
    try:
        yield bar, task
    finally:
        patience.cancel()
        patience.join()
        if bar.live.is_started:
            bar.stop()


@contextlib.contextmanager
def working(text: str) -> Iterator[Callable[[str], None]]:
    """Say that something goes on whose length nobody knows.

    Args:
        text: What is done.

    Yields:
        Changes the text.
    """
    with _bar(text, None) as shown:
        if shown is None:
            yield lambda _: None
        else:
            bar, task = shown
            yield lambda words: bar.update(task, description=words)


def track(items: Iterable[_Item], text: str, total: int) -> Iterator[_Item]:
    """The items, with a bar of how many of them are done.

    Args:
        items: What is worked on.
        text: What is done with them.
        total: How many there are.
    """
    with _bar(text, total) as shown:
        for item in items:
            yield item
            if shown is not None:
                shown[0].advance(shown[1])
