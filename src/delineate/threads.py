"""How many threads a call into the native core may use.

By default as many as the process has CPUs (`taskset` and cpusets are respected). The environment variable
`DELINEATE_NUM_THREADS` sets another number for the whole process, `set_num_threads` at any time. Results never
depend on it. Threads end with the call that started them, so processes may fork.
"""

from __future__ import annotations

import operator

from delineate._native import MOST_THREADS, _core


def get_num_threads() -> int:
    """How many threads a call may use, at least 1."""
    return _core.threads()


def set_num_threads(count: int | None) -> None:
    """From now on calls use at most `count` threads, in all of the process.

    Args:
        count: 1 to 1024; more than there are CPUs is allowed. None: as many as the process has CPUs.

    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    >>> set_num_threads(None)
    """
    if count is None:
        _core.choose_threads(0)
        return
    number = operator.index(count)
    if not 1 <= number <= MOST_THREADS:
        raise ValueError(f"count must be within 1 to {MOST_THREADS} threads or None, got {number}.")
    _core.choose_threads(number)
