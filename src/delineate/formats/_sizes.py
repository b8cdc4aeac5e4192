"""Sizes of pictures as files say them, checked. Serves every format that says sizes."""

from __future__ import annotations

from pathlib import Path

from delineate.errors import FormatError

MAX_SIDE = 2**24
MAX_PIXELS = 2**32 - 1  # the sum of a mask's run lengths must fit 32 bits


def checked(path: Path, where: str, height: object, width: object, remedy: str = "") -> tuple[int, int]:
    """(height, width) as whole numbers of pixels; numbers such as 480.0 are whole.

    Args:
        path: The file, for the message.
        where: The place in the file, for the message.
        height: As the file says it.
        width: As the file says it.
        remedy: What to do, for the message.

    Raises:
        FormatError: One is no whole number of 1 to `MAX_SIDE`, or there are more than `MAX_PIXELS` pixels.

    >>> checked(Path("a.json"), "size", 4, 6.0)
    (4, 6)
    """
    sides = [_whole(side) for side in (height, width)]
    rows, columns = sides
    if rows is None or columns is None:
        text = f"height and width must be whole numbers of 1 to {MAX_SIDE}, got {height!r:.40} and {width!r:.40}."
        text += f" {remedy}" if remedy else ""
        raise FormatError(path, where, text)
    if rows * columns > MAX_PIXELS:
        raise FormatError(
            path, where, f"height * width must be at most {MAX_PIXELS}, got {rows} * {columns}."
        )
    return rows, columns


def _whole(side: object) -> int | None:
    if isinstance(side, bool) or not isinstance(side, int | float) or not 1 <= side <= MAX_SIDE or side % 1:
        return None
    return int(side)
