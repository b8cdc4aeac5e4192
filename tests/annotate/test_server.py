import http.client
import socket
import stat
import threading

import pytest

from delineate.annotate import server as module
from delineate.annotate.server import token


def raw(client, content):
    """What comes back for bytes as they are."""
    with socket.create_connection(("127.0.0.1", client.server.port), timeout=10) as link:
        link.sendall(content)
        link.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: link.recv(65536), b""))


def test_the_address_opens_the_page(pictures, served):
    client = served(pictures)
    address = client.server.address
    assert address.startswith(f"http://127.0.0.1:{client.server.port}/?token=")
    path = address.split(str(client.server.port))[1]
    status, _, headers = client.ask("GET", path, Cookie=None)
    assert (status, headers["Location"]) == (303, "/")
    assert "HttpOnly; SameSite=Strict" in headers["Set-Cookie"]
    cookie = headers["Set-Cookie"].split(";")[0]
    assert client.ask("GET", "/api/folder", Cookie=cookie)[0] == 200
    status, content, headers = client.ask("GET", "/")
    assert (status, b"<title>delineate</title>" in content) == (200, True)
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_every_file_that_the_page_names_is_there_and_nothing_comes_from_elsewhere(pictures, served):
    import re

    client = served(pictures)
    known = client.server.files
    page = known["index.html"].decode()
    named = set(re.findall(r'/static/([\w.]+)"', page))
    for name, content in known.items():
        if name.endswith(".js"):
            named |= set(re.findall(r'from "\./([\w.]+)"', content.decode()))
        assert not re.search(rb"https?://(?!www\.w3\.org/)", content), name
    assert named <= known.keys()
    for name in named:
        assert client.ask("GET", f"/static/{name}")[0] == 200


def test_without_the_token_nothing_is_told(pictures, served):
    client = served(pictures)
    for cookie in (
        None,
        "",
        "delineate-1=x",
        f"delineate-{client.server.port}=",
        f"delineate-{client.server.port}=ä".encode(),
    ):
        assert client.ask("GET", "/api/folder", Cookie=cookie)[0] == 401
        assert client.ask("GET", "/api/pictures/0/view", Cookie=cookie)[0] == 401
    assert client.ask("GET", "/?token=wrong", Cookie=None)[0] == 401


def test_other_sites_cannot_write(pictures, served):
    client = served(pictures)
    status, content, _ = client.ask("POST", "/api/classes", {"name": "evil"}, **{"X-Delineate": None})
    assert (status, "X-Delineate" in content["error"]) == (403, True)
    assert client.get("/api/folder")[1]["classes"] == []


@pytest.mark.parametrize(
    ("site", "status"), [("same-site", 403), ("cross-site", 403), ("same-origin", 200), ("none", 200)]
)
def test_pages_of_another_port_of_this_machine_cannot_read(pictures, served, site, status):
    client = served(pictures)  # a browser sends them our cookie: ports do not part cookies
    assert client.ask("GET", "/api/folder", **{"Sec-Fetch-Site": site})[0] == status
    assert client.ask("GET", "/", **{"Sec-Fetch-Site": site})[0] == 200  # a link may open the page


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::1", "192.168.0.1"]
)
def test_names_that_lead_here_by_somebodys_dns_are_refused(pictures, served, host):
    assert served(pictures).ask("GET", "/", Host=host)[0] in (400, 403)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]:80", "LOCALHOST:99"])
def test_names_of_this_machine_are_fine(pictures, served, host):
    assert served(pictures).ask("GET", "/", Host=host)[0] == 200


def test_a_server_for_others_takes_addresses_but_no_names(pictures, served):
    client = served(pictures, host="0.0.0.0")
    assert client.ask("GET", "/", Host="192.168.0.7:80")[0] == 200
    assert client.ask("GET", "/", Host="evil.example")[0] == 403
    assert client.server.address.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    "path",
    [
        "/static/../store.py",
        "/static/%2e%2e/store.py",
        "/static//etc/passwd",
        "/etc/passwd",
        "/static/",
        "/static/__init__.py",
    ],
)
def test_only_the_files_of_the_page_are_served(pictures, served, path):
    assert served(pictures).ask("GET", path)[0] == 404


def test_bodies_are_bounded(pictures, served, monkeypatch):
    client = served(pictures)
    monkeypatch.setattr(module, "MAX_BODY", 100)
    assert client.post("/api/classes", b" " * 200)[0] == 413
    assert client.post("/api/classes", {"name": "x"})[0] == 200
    head = f"POST /api/classes HTTP/1.1\r\nHost: localhost\r\nX-Delineate: 1\r\nCookie: {client.headers['Cookie']}\r\n"
    for more, status in (
        ("", b"411"),
        ("Content-Length: -5\r\n", b"411"),
        ("Content-Length: 5e3\r\n", b"411"),
        ("Content-Length: 2\r\nContent-Length: 9\r\n", b"411"),
        ("Content-Length: 99999999999999\r\n", b"413"),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"411"),
        ("Content-Length: 50\r\n", b"400"),  # and then nothing comes
    ):
        assert raw(client, f"{head}{more}\r\n".encode()).split()[1] == status


def test_other_methods_and_nonsense(pictures, served):
    client = served(pictures)
    assert client.ask("PUT", "/api/classes", {})[0] == 501
    assert b"400" in raw(client, b"nonsense\r\n\r\n")
    assert b" 414 " in raw(client, b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n")[:100]
    assert client.get("/api/folder")[0] == 200


def test_several_requests_on_one_connection(pictures, served):
    client = served(pictures)
    link = http.client.HTTPConnection("127.0.0.1", client.server.port, timeout=10)
    for _ in range(3):
        link.request("GET", "/api/folder", headers=client.headers)
        assert link.getresponse().read()
    link.close()


def test_too_many_at_once_are_told_to_come_again(pictures, served):
    client = served(pictures)
    client.server.room = threading.BoundedSemaphore(1)
    client.server.room.acquire()
    assert client.get("/api/folder")[0] == 503
    # what such a request carries is not taken for the next one
    inner = b"GET /api/folder HTTP/1.1\r\n\r\n"
    head = f"POST /api/classes HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(inner)}\r\n\r\n"
    assert raw(client, head.encode() + inner).count(b"HTTP/1.1 ") == 1
    client.server.room.release()
    assert client.get("/api/folder")[0] == 200


def test_connections_that_say_nothing_give_way(pictures, served, monkeypatch):
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 4)
    client = served(pictures)
    silent = [socket.create_connection(("127.0.0.1", client.server.port), timeout=10) for _ in range(9)]
    silent[0].settimeout(10)
    assert silent[0].recv(1) == b""  # the oldest was closed
    for link in silent[-3:]:
        link.sendall(b"GET / HTTP/1.1\r\nHost: local")  # the head goes on and on
    assert client.get("/api/folder")[0] == 200
    assert len(client.server._open) <= 5
    for link in silent:
        link.close()


def test_the_token_of_a_folder_is_kept_and_private(tmp_path):
    made = token(tmp_path)
    assert (len(made), token(tmp_path)) == (32, made)
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    (tmp_path / "token").write_text("short")
    made = token(tmp_path)
    assert len(made) == 32
    (tmp_path / "token").chmod(0o644)  # as one that was unpacked with the folder: others know it
    assert token(tmp_path) != made
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
