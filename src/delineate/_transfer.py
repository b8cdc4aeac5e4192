"""One file over HTTP into one place, through whatever the network does."""

from __future__ import annotations

import http.client
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from delineate.atomic import write_bytes
from delineate.errors import DownloadError

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and those that there will be, None where the server does not say."""

_CHUNK = 1 << 18
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # answers of a server that may think better of it
_WAIT = 0.25  # seconds, doubled with every failure in a row
_LONGEST_WAIT = 60.0


class _DroppedError(Exception):
    """The connection ended or the server is busy: worth another attempt, after so many seconds if it said so."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections, but never from https to something that anybody on the way can alter."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise DownloadError(f"{req.full_url} leads away from https, to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def transfer(
    url: str, part: Path, most: int, *, attempts: int, timeout: float, progress: Progress | None
) -> bool:
    """Bring the whole file to `part`, going on with what is there.

    Args:
        url: The address.
        part: Where the bytes go; beside it a file of the suffix ``.tag`` remembers which version they are of.
        most: Bytes above which it is no longer the file.
        attempts: Connections in a row that may bring nothing new.
        timeout: Seconds of silence.
        progress: Called as bytes arrive.

    Returns:
        Whether bytes of an earlier call are in it.

    Raises:
        DownloadError: If it cannot be had.
    """
    opener = urllib.request.build_opener(_Redirects)
    earlier = part.exists() and part.stat().st_size > 0
    furthest = part.stat().st_size if earlier else 0
    failures = 0
    while True:
        try:
            whole = _attempt(opener, url, part, most, timeout, progress)
        except _DroppedError as dropped:
            reached = part.stat().st_size if part.exists() else 0
            failures = 0 if reached > furthest else failures + 1
            furthest = max(furthest, reached)
            if failures >= attempts:
                raise DownloadError(
                    f"{url} brought nothing new in {attempts} attempts: {dropped}"
                ) from dropped
            time.sleep(min(_LONGEST_WAIT, _WAIT * 2**failures if dropped.wait is None else dropped.wait))
        else:
            _tag(part).unlink(missing_ok=True)
            return earlier and not whole


def _tag(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _attempt(
    opener: urllib.request.OpenerDirector,
    url: str,
    part: Path,
    most: int,
    timeout: float,
    progress: Progress | None,
) -> bool:
    """One connection; whether it brought the file from its first byte on."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "delineate", "Accept-Encoding": "identity"})
    tag = _tag(part).read_text("latin-1") if start and _tag(part).exists() else ""
    if start:
        request.add_header("Range", f"bytes={start}-")
        if tag:
            request.add_header("If-Range", tag)  # the whole file where it is another version by now
    try:
        with opener.open(request, timeout=timeout) as answer:
            return _receive(answer, part, start, most, progress)
    except urllib.error.HTTPError as error:
        with error:
            return _explain(error, part, start)
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        ssl.SSLError,
        TimeoutError,
        ConnectionError,
    ) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise DownloadError(f"{url} must have a trusted certificate, got: {reason}") from error
        raise _DroppedError(f"{type(error).__name__}: {reason}") from error


def _explain(error: urllib.error.HTTPError, part: Path, start: int) -> bool:
    """An answer that is no file."""
    if error.code == 416 and start:
        total = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        if total and int(total[1]) == start:
            return False  # all of it was there
        part.unlink()
        raise _DroppedError("the part that was here does not belong to the file", 0.0)
    if error.code in _PASSING:
        wait = error.headers.get("Retry-After", "")
        raise _DroppedError(f"HTTP {error.code} {error.reason}", float(wait) if wait.isdecimal() else None)
    raise DownloadError(f"{error.url} answers HTTP {error.code} {error.reason}") from error


def _receive(
    answer: http.client.HTTPResponse, part: Path, start: int, most: int, progress: Progress | None
) -> bool:
    """The body of a good answer; whether it began with the first byte."""
    total = _total(answer, start)
    if answer.status == 206 and total is None:
        part.unlink()
        raise _DroppedError("the server sent another range than was asked for", 0.0)
    resumes = answer.status == 206
    if total is not None and total > most:
        raise DownloadError(f"{answer.url} has {total} bytes, at most {most} were to be expected")
    version = answer.headers.get("ETag", "")
    if version.startswith("W/") or not version:
        version = answer.headers.get("Last-Modified", "")
    write_bytes(_tag(part), version.encode("latin-1", "replace"))
    here = start if resumes else 0
    with part.open("ab" if resumes else "wb") as file:
        while True:
            try:
                chunk = answer.read1(_CHUNK)  # what is there: silence later loses nothing
            except http.client.IncompleteRead as error:  # of an answer in pieces, whose size was not said
                file.write(error.partial)
                raise _DroppedError(
                    f"the connection ended after {here + len(error.partial)} bytes"
                ) from error
            if not chunk:
                break
            here += len(chunk)
            if here > most:
                break
            file.write(chunk)
            if progress is not None:
                progress(here, total)
    if here > most:
        part.unlink()
        raise DownloadError(f"{answer.url} sends more than the {most} bytes that were to be expected")
    if total is not None and here < total:
        raise _DroppedError(f"the connection ended after {here} of {total} bytes")
    return not resumes


def _total(answer: http.client.HTTPResponse, start: int) -> int | None:
    """Size of the whole file, None when the answer does not say or says something else than was asked."""
    if answer.status == 206:
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("Content-Range", ""))
        return int(found[3]) if found and int(found[1]) == start else None
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None
