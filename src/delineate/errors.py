"""Every exception that the library defines.

::

    DelineateError
    ├── FormatError      a file is not what it should be (path, item)
    ├── WeightsError     a checkpoint or model file does not fit
    ├── DownloadError    a published file could not be fetched, or is not what was published
    ├── MissingExtra     an optional dependency is not installed (also an ImportError)
    └── RuntimeFailure   an inference runtime refused or failed

Wrong arguments raise the built-in ``ValueError`` and ``TypeError``.
"""

from __future__ import annotations

from pathlib import Path


class DelineateError(Exception):
    """Base class of all errors of this package."""


class FormatError(DelineateError):
    """A file cannot be read as what it claims to be.

    Args:
        path: The file.
        item: The place inside the file ("annotation 1742", "line 3"), or "" for the file as a whole.
        message: What was expected, what came, and the remedy.

    >>> str(FormatError("a.json", "annotation 7", "bbox must have 4 numbers, got 3."))
    'a.json: annotation 7: bbox must have 4 numbers, got 3.'
    """

    def __init__(self, path: str | Path, item: str, message: str) -> None:
        self.path = Path(path)
        self.item = item
        self.message = message
        super().__init__(": ".join(part for part in (str(path), item, message) if part))

    def __reduce__(self) -> tuple[type[FormatError], tuple[Path, str, str]]:
        return type(self), (self.path, self.item, self.message)


class WeightsError(DelineateError):
    """A checkpoint or model file does not fit the model, or is damaged."""


class DownloadError(DelineateError):
    """A published file could not be fetched, or is not what was published."""


class RuntimeFailure(DelineateError):
    """An inference runtime could not load or run a model."""


class MissingExtra(DelineateError, ImportError):
    """An optional dependency is not installed.

    Args:
        package: The missing package.
        extra: The extra of this package that brings it.

    >>> str(MissingExtra("torch", "torch"))
    "torch is not installed. Run: pip install 'delineate[torch]'"
    """

    def __init__(self, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(f"{package} is not installed. Run: pip install 'delineate[{extra}]'")

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str]]:
        return type(self), (self.package, self.extra)
