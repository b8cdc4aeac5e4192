"""A web server for tests: it serves one content under addresses that say how it misbehaves.

``/good/NAME`` behaves. The other first parts are the names of the functions in `_Handler.manners`.
"""

import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTENT = bytes(range(251)) * 4001  # about a megabyte, different everywhere
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Knows what it was asked for.

    Attributes:
        requests: (first part of the address, Range header or "") of every request.
        content: What it serves.
        tag: Its version.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests = []
        self.content, self.tag = CONTENT, '"one"'
        self.gate = threading.Event()  # of /gated

    def address(self, manner, name="file.bin"):
        return f"http://127.0.0.1:{self.server_port}/{manner}/{name}"

    def count(self, manner):
        return sum(asked == manner for asked, _ in self.requests)


@contextmanager
def serving():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        proxied = self.path.startswith("http")  # a proxy is asked for whole addresses
        manner, _, name = (self.path, "", "") if proxied else self.path[1:].partition("/")
        self.server.requests.append((manner, self.headers.get("Range", "")))
        self.close_connection = True
        if proxied:
            return self.head(404, [("Content-Length", "0")])
        if manner.isdecimal():
            return self.head(int(manner), [("Content-Length", "0")])
        return getattr(self, manner)(name)

    def head(self, status, headers=()):
        self.send_response(status)
        for key, value in (*headers, ("Connection", "close")):
            self.send_header(key, value)
        self.end_headers()

    def body(self):
        """What is to be sent, after the head for it."""
        content, wanted = self.server.content, self.headers.get("Range", "")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if self.headers.get("If-Range", self.server.tag) != self.server.tag:
            start = 0
        tag = [("ETag", self.server.tag)] if self.server.tag else []
        if start >= len(content):
            self.head(416, [("Content-Range", f"bytes */{len(content)}"), ("Content-Length", "0")])
            return b""
        if start:
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.head(206, [("Content-Range", span), ("Content-Length", str(len(content) - start)), *tag])
        else:
            self.head(200, [("Content-Length", str(len(content))), *tag])
        return content[start:]

    def good(self, _):
        self.wfile.write(self.body())

    def drops(self, _):
        """Ends each connection after 300 000 bytes."""
        self.wfile.write(self.body()[:300_000])

    def drops_without_range(self, _):
        del self.headers["Range"]
        self.drops(_)

    def drops_once(self, _):
        """Then knows nothing of ranges."""
        if self.server.count("drops_once") == 1:
            return self.drops(_)
        del self.headers["Range"]
        return self.good(_)

    def silent(self, _):
        """Sends nothing more after a while, and keeps the connection open."""
        self.wfile.write(self.body()[:400_000])
        self.wfile.flush()
        if self.server.count("silent") == 1:
            self.server.gate.wait(20)

    def corrupt(self, _):
        content = bytearray(self.body())
        content[-1] ^= 1
        self.wfile.write(content)

    def short(self, _):
        """A length that is too small."""
        self.head(200, [("Content-Length", "1000")])
        self.wfile.write(CONTENT)

    def long(self, _):
        """A length that is too large."""
        start = self.headers.get("Range")
        if start:
            return self.head(416, [("Content-Range", f"bytes */{len(CONTENT)}"), ("Content-Length", "0")])
        self.head(200, [("Content-Length", str(len(CONTENT) + 10))])
        return self.wfile.write(CONTENT)

    def pieces(self, _):
        """Chunked, without a length; the first answer ends in the middle of a chunk."""
        self.head(200, [("Transfer-Encoding", "chunked")])
        content = CONTENT
        for place in range(0, len(content), 200_000):
            piece = content[place : place + 200_000]
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece[: len(piece) // 2])
            if self.server.count("pieces") == 1 and place:
                return
            self.wfile.write(piece[len(piece) // 2 :] + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def endless(self, _):
        self.head(200)
        while True:
            self.wfile.write(CONTENT)

    def huge(self, _):
        self.head(200, [("Content-Length", str(1 << 50))])
        self.wfile.write(CONTENT)

    def other_range(self, _):
        """Answers every range with the same one."""
        if "Range" not in self.headers:
            return self.drops(_)
        self.head(206, [("Content-Range", f"bytes 7-9/{len(CONTENT)}"), ("Content-Length", "3")])
        return self.wfile.write(CONTENT[7:10])

    def moved(self, name):
        self.head(302, [("Location", f"/good/{name}"), ("Content-Length", "0")])

    def round(self, name):
        self.head(302, [("Location", f"/round/{name}"), ("Content-Length", "0")])

    def to_file(self, name):
        self.head(302, [("Location", f"file:///etc/{name}"), ("Content-Length", "0")])

    def busy(self, _):
        """503 twice."""
        if self.server.count("busy") < 3:
            return self.head(503, [("Retry-After", "0"), ("Content-Length", "0")])
        return self.good(_)

    def gated(self, _):
        """Waits in the middle for the test."""
        content = self.body()
        self.wfile.write(content[:1000])
        self.wfile.flush()
        self.server.gate.wait(20)
        self.wfile.write(content[1000:])
