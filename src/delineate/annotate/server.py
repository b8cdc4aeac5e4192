"""The HTTP side of the page: who may ask, how much, and the files of the page itself."""

from __future__ import annotations

import contextlib
import hmac
import importlib.resources
import ipaddress
import logging
import os
import secrets
import socket
import stat
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from delineate.annotate.routes import Request, Response, Service, failure

MAX_BODY = 64 << 20
"""Bytes of a request."""

MAX_REQUESTS = 32
"""Requests that are answered at once; further ones are told to come again."""

MAX_CONNECTIONS = 128
"""Connections that are open at once; a further one takes the place of the one that has been silent longest."""

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_log = logging.getLogger("delineate")


class Server(ThreadingHTTPServer):
    """Serves one folder.

    Whoever has the token may ask: the address that is printed carries it, and a cookie keeps it. Changes need a
    header that other sites cannot send, and the Host header must name this machine, so that no site reaches it
    through a visitor's browser.

    Args:
        service: What answers.
        host: Address to listen on.
        port: 0 takes a free one.
        token: Hexadecimal digits.
    """

    daemon_threads = True
    allow_reuse_address = sys.platform != "win32"
    request_queue_size = 64

    def __init__(self, service: Service, host: str, port: int, token: str) -> None:
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)
        self.service, self.token, self.host = service, token, host
        self.files = _files()
        self.room = threading.BoundedSemaphore(MAX_REQUESTS)
        self._guard = threading.Lock()
        self._open: set[object] = set()
        self._silent: dict[
            object, None
        ] = {}  # connections that have not sent a whole request, the oldest first

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self.server_address[1])

    @property
    def address(self) -> str:
        """What to open in a browser."""
        host = "127.0.0.1" if self.host == "0.0.0.0" else "::1" if self.host == "::" else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/?token={self.token}"

    def is_ours(self, host: str) -> bool:
        """Whether a Host header names this server: a loopback name, its address, or any address if it has all."""
        name = urlsplit(f"//{host}").hostname or ""
        if name in ("localhost", "127.0.0.1", "::1", self.host.lower(), socket.gethostname().lower()):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False  # a name that somebody's DNS leads here
        return self.host in ("0.0.0.0", "::")

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as inherited
        """A thread for each connection, within bounds."""
        with self._guard:
            self._open.add(request)
            if len(self._open) > MAX_CONNECTIONS:
                oldest: Any = next(iter(self._silent), request)
                self._silent.pop(oldest, None)
                self._open.discard(oldest)
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)  # its thread closes it
        super().process_request(request, client_address)

    def wait_for(self, connection: object, silent: bool) -> None:
        """A connection waits for a request now, or has sent one."""
        with self._guard:
            self._silent.pop(connection, None)
            if silent and connection in self._open:
                self._silent[connection] = None

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - as inherited
        """The end of a connection."""
        with self._guard:
            self._open.discard(request)
            self._silent.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - as inherited
        """A client that went away is no error."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            _log.exception("a request failed")


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "delineate", ""
    timeout = 60
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        """Until the head of a request is there, others may need the place of this connection."""
        self.server.wait_for(self.connection, True)
        super().handle_one_request()

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        self.server.wait_for(self.connection, False)
        if not self.server.room.acquire(blocking=False):
            self._send(self._refused(503, "too many requests at once; try again."))
            return
        try:
            self._send(self._respond(method))
        finally:
            self.server.room.release()

    def _respond(self, method: str) -> Response:
        try:
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query, max_num_fields=20))
            if not self.server.is_ours(self.headers.get("Host", "")):
                return self._refused(403, "Host header must name this server.")
        except ValueError:
            return self._refused(400, "address must be well-formed.")
        if not parts.path.startswith("/api/"):
            return self._file(parts.path, query) if method == "GET" else self._refused(404, "nothing here.")
        if self.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            return self._refused(403, "another site must not ask.")
        if not self._is_known(self._cookie()):
            return self._refused(401, "token is missing or old: open the address that the server printed.")
        body = b""
        if method == "POST":
            if self.headers.get("X-Delineate") != "1":
                return self._refused(403, "header X-Delineate must be 1.")
            lengths = self.headers.get_all("Content-Length", [])
            length = lengths[0] if len(lengths) == 1 else ""
            if not length.isascii() or not length.isdigit() or "Transfer-Encoding" in self.headers:
                return self._refused(411, "Content-Length must be given.")
            if len(length) > 12 or int(length) > MAX_BODY:
                return self._refused(413, f"body must have at most {MAX_BODY} bytes.")
            body = self.rfile.read(int(length))
            if len(body) < int(length):
                return self._refused(400, "body must be as long as Content-Length says.")
        return self.server.service.answer(Request(method, parts.path, query, body))

    def _refused(self, status: int, text: str) -> Response:
        self.close_connection = True  # whatever else was sent is not read
        return failure(status, text)

    def _file(self, path: str, query: dict[str, str]) -> Response:
        """A file of the page. The address with the token leaves a cookie and becomes the one without."""
        if path == "/" and "token" in query:
            if not self._is_known(query["token"]):
                return self._refused(401, "token is not right: open the address that the server printed.")
            cookie = f"{self._cookie_name()}={self.server.token}; HttpOnly; SameSite=Strict; Path=/"
            return Response(303, b"", "text/plain", {"Location": "/", "Set-Cookie": cookie})
        name = "index.html" if path == "/" else path.removeprefix("/static/")
        content = self.server.files.get(name)
        if content is None:
            return failure(404, "there is nothing here.")
        return Response(200, content, _TYPES[Path(name).suffix], {"Cache-Control": "no-cache"})

    def _cookie_name(self) -> str:
        return f"delineate-{self.server.port}"

    def _cookie(self) -> str:
        pairs = (pair.strip().partition("=") for pair in self.headers.get("Cookie", "").split(";"))
        return next((value for name, _, value in pairs if name == self._cookie_name()), "")

    def _is_known(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self.server.token.encode())

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        kind = response.type
        self.send_header("Content-Type", f"{kind}; charset=utf-8" if kind.startswith("text/") else kind)
        self.send_header("Content-Length", str(len(response.body)))
        for name, value in ({"Cache-Control": "no-store"} | _HEADERS | dict(response.headers)).items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(response.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as inherited
        _log.debug(format, *args)


def token(private: Path) -> str:
    """The token of a folder, so that an open page goes on after a restart; only its owner can read it.

    Args:
        private: Where it is kept.
    """
    path = private / "token"
    try:
        known, status = path.read_text("ascii").strip(), path.lstat()
        ours = os.name == "nt" or (status.st_uid == os.getuid() and not status.st_mode & 0o077)
        if len(known) == 32 and int(known, 16) >= 0 and ours and stat.S_ISREG(status.st_mode):
            return known  # else it came with the folder, and somebody else knows it
    except (OSError, ValueError):
        pass
    made = secrets.token_hex(16)
    path.unlink(missing_ok=True)
    path.touch(0o600)
    path.write_text(made, "ascii")
    return made


def _files() -> dict[str, bytes]:
    """The files of the page, by name."""
    folder = importlib.resources.files("delineate.annotate") / "static"
    return {entry.name: entry.read_bytes() for entry in folder.iterdir() if Path(entry.name).suffix in _TYPES}
