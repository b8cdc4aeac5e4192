"""Parts of a JSON file decoded as types, with the place in messages. Serves `labelme`, `geojson`, `scalabel` ..."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from delineate.errors import FormatError


def decoded(path: Path, where: str, raw: msgspec.Raw, kind: object) -> Any:  # noqa: ANN401 - as the type says
    """A part of a file as that type.

    Args:
        path: The file, for the message.
        where: The place of the part, for the message.
        raw: The part.
        kind: Any type that msgspec knows.

    Raises:
        FormatError: It is of another type, or no JSON.
    """
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        raise FormatError(path, where + place.strip("`"), f"{message}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(path, where, f"must be JSON, got: {error}.") from error
