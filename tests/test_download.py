"""Downloads against a server on this machine that does everything wrong."""

import hashlib
import multiprocessing
import os
import shutil
import socket
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from file_server import CONTENT, SHA256, serving

from delineate import _transfer
from delineate.download import Remote, cache_folder, fetch, is_offline, location
from delineate.errors import DownloadError

MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, no proxy, and no waiting between attempts."""
    for name in ("DELINEATE_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DELINEATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(_transfer, "_WAIT", 0.0)
    return tmp_path / "cache" / "weights"


def remote(server, manner, checksum=f"sha256:{SHA256}", size=1_004_251):
    return Remote(server.address(manner), checksum, size, "MIT", "test data")


def visible(cache):
    return sorted(path.name for path in cache.iterdir() if not path.name.endswith(".lock"))


@pytest.mark.parametrize(
    "checksum", [f"sha256:{SHA256}", f"sha256:{SHA256[:8]}", f"md5:{MD5}", f"md5:{MD5[:6]}", None]
)
def test_a_file_is_fetched_once(server, cache, checksum):
    file = remote(server, "good", checksum)
    told, seen = [], []
    path = fetch(file, announce=told.append, progress=lambda here, total: seen.append((here, total)))
    assert path == location(file) == cache / "file.bin"
    assert path.read_bytes() == CONTENT
    assert told == [file]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)
    assert fetch(file, announce=told.append) == path
    assert (len(told), len(server.requests)) == (1, 1)
    assert visible(cache) == ["file.bin"]


def test_what_will_come_is_said_in_words():
    file = Remote("https://example.org/a/cells.pth?raw=1", None, 177_800_000, "CC-BY-SA-3.0", "mask AP 37.2")
    assert file.name == "cells.pth"
    assert str(file) == (
        "cells.pth: mask AP 37.2; about 177.8 MB, licence CC-BY-SA-3.0, from https://example.org/a/cells.pth?raw=1"
    )
    assert "size not published" in str(file._replace(size=None, about=""))


def test_an_announcement_can_prevent_the_download(server, cache):
    def refuse(file):
        raise DownloadError("no")

    with pytest.raises(DownloadError, match="no"):
        fetch(remote(server, "good"), announce=refuse)
    assert server.requests == []
    assert visible(cache) == []


@pytest.mark.parametrize("tag", ['"one"', 'W/"weak"', ""])
def test_dropped_connections_are_resumed(server, cache, tag):
    server.tag = tag if not tag.startswith("W/") else ""  # a weak version is no version
    assert fetch(remote(server, "drops")).read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == ["", "bytes=300000-", "bytes=600000-", "bytes=900000-"]
    assert visible(cache) == ["file.bin"]


def test_a_server_without_ranges_starts_anew(server, cache):
    assert fetch(remote(server, "drops_once")).read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == ["", "bytes=300000-"]


def test_a_server_that_never_gets_further_is_given_up(server, cache):
    with pytest.raises(
        DownloadError, match=r"nothing new in 3 attempts.*after 300000 of 1004251 bytes.*by hand"
    ):
        fetch(remote(server, "drops_without_range"), attempts=3)
    assert len(server.requests) == 4
    assert not (cache / "file.bin").exists()


def test_a_later_call_goes_on_where_an_earlier_one_ended(server, cache):
    cache.mkdir(parents=True)
    (cache / ".file.bin.part").write_bytes(CONTENT[:500_000])
    (cache / ".file.bin.part.tag").write_text('"one"')
    assert fetch(remote(server, "good")).read_bytes() == CONTENT
    assert server.requests == [("good", "bytes=500000-")]
    assert visible(cache) == ["file.bin"]


def test_a_part_of_another_version_is_not_used(server, cache):
    cache.mkdir(parents=True)
    (cache / ".file.bin.part").write_bytes(b"old" * 1000)
    (cache / ".file.bin.part.tag").write_text('"zero"')
    assert fetch(remote(server, "good")).read_bytes() == CONTENT
    assert server.requests == [("good", "bytes=3000-")]  # answered with the whole file


def test_a_part_of_another_version_that_nobody_noticed(server, cache):
    cache.mkdir(parents=True)
    (cache / ".file.bin.part").write_bytes(b"old" * 1000)
    assert fetch(remote(server, "good")).read_bytes() == CONTENT
    assert server.requests == [("good", "bytes=3000-"), ("good", "")]


@pytest.mark.parametrize("length", [len(CONTENT), len(CONTENT) + 5])
def test_a_part_that_is_complete_or_too_long(server, cache, length):
    cache.mkdir(parents=True)
    (cache / ".file.bin.part").write_bytes((CONTENT + b"extra")[:length])
    assert fetch(remote(server, "good")).read_bytes() == CONTENT
    assert len(server.requests) == (1 if length == len(CONTENT) else 2)


def test_silence_counts_as_dropped(server, cache):
    # long enough for a busy machine to take in the first bytes
    assert fetch(remote(server, "silent"), timeout=3).read_bytes() == CONTENT
    assert [asked for _, asked in server.requests][:2] == ["", "bytes=400000-"]


def test_an_answer_in_pieces_that_breaks_off(server, cache):
    assert fetch(remote(server, "pieces")).read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == ["", "bytes=300000-"]


@pytest.mark.parametrize("manner", ["corrupt", "short"])
def test_wrong_content_is_removed(server, cache, manner):
    with pytest.raises(DownloadError, match=rf"sha256 must begin with {SHA256}, got .* was removed.*by hand"):
        fetch(remote(server, manner))
    assert visible(cache) == []


def test_a_length_that_is_too_large_is_given_up_or_corrected(server, cache):
    assert fetch(remote(server, "long")).read_bytes() == CONTENT


def test_another_range_than_asked_for_starts_anew(server, cache):
    with pytest.raises(DownloadError, match="nothing new in 2 attempts"):
        fetch(remote(server, "other_range"), attempts=2)
    assert server.requests[:3] == [("other_range", ""), ("other_range", "bytes=300000-"), ("other_range", "")]


@pytest.mark.parametrize("manner", ["endless", "huge"])
def test_more_than_was_published_is_refused(server, cache, manner):
    with pytest.raises(DownloadError, match="1054463"):
        fetch(remote(server, manner))
    assert sum(path.stat().st_size for path in cache.iterdir()) == 0


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_a_refusal_ends_at_once_and_names_the_way_by_hand(server, cache, status):
    with pytest.raises(DownloadError) as caught:
        fetch(remote(server, str(status)))
    assert f"answers HTTP {status}" in str(caught.value)
    assert f"put the file at {cache / 'file.bin'} by hand" in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_in_trouble_is_asked_again(server, cache, status):
    with pytest.raises(DownloadError, match=f"nothing new in 3 attempts: HTTP {status}"):
        fetch(remote(server, str(status)), attempts=3)
    assert len(server.requests) == 3


def test_a_busy_server_recovers(server, cache):
    assert fetch(remote(server, "busy")).read_bytes() == CONTENT
    assert len(server.requests) == 3


def test_redirections_are_followed(server, cache):
    assert fetch(remote(server, "moved")).read_bytes() == CONTENT
    assert [manner for manner, _ in server.requests] == ["moved", "good"]


@pytest.mark.parametrize("manner", ["round", "to_file"])
def test_redirections_that_lead_nowhere(server, cache, manner):
    with pytest.raises(DownloadError, match="answers HTTP 302"):
        fetch(remote(server, manner))


def test_no_redirection_leads_away_from_https():
    request = _transfer.urllib.request.Request("https://example.org/a.pth")
    with pytest.raises(DownloadError, match="leads away from https"):
        _transfer._Redirects().redirect_request(request, None, 302, "", {}, "http://example.org/a.pth")


def test_nobody_answers(cache):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a.bin"
    with pytest.raises(DownloadError, match="Connection refused"):
        fetch(Remote(url, None, None, "MIT"), attempts=2)


def test_a_proxy_is_used(server, cache, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    with pytest.raises(DownloadError, match="HTTP 404"):
        fetch(Remote("http://nowhere.invalid/file.bin", None, None, "MIT"))
    assert server.requests == [("http://nowhere.invalid/file.bin", "")]


def test_two_threads_want_the_same_file(server, cache):
    file = remote(server, "gated")
    with ThreadPoolExecutor(2) as pool:
        tasks = [pool.submit(fetch, file) for _ in range(2)]
        time.sleep(0.2)
        server.gate.set()
        assert {task.result() for task in tasks} == {cache / "file.bin"}
    assert len(server.requests) == 1


def test_two_processes_want_the_same_file(server, cache):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=fetch, args=(remote(server, "gated"),)) for _ in range(2)]
    for process in processes:
        process.start()
    while not server.requests:
        time.sleep(0.02)
    time.sleep(0.2)
    server.gate.set()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(server.requests) == 1
    assert (cache / "file.bin").read_bytes() == CONTENT


def test_a_file_put_there_by_hand_is_verified(server, cache):
    cache.mkdir(parents=True)
    (cache / "file.bin").write_bytes(CONTENT)
    assert fetch(remote(server, "good"), offline=True) == cache / "file.bin"
    (cache / "file.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(DownloadError, match=r"file\.bin: sha256 must begin with .* Remove the file"):
        fetch(remote(server, "good"))
    assert server.requests == []


@pytest.mark.parametrize("value", ["1", "true", "yes"])
def test_offline_names_the_place(server, cache, monkeypatch, value):
    monkeypatch.setenv("DELINEATE_OFFLINE", value)
    assert is_offline()
    with pytest.raises(DownloadError) as caught:
        fetch(remote(server, "good"))
    assert str(caught.value).endswith(
        f"Fetch {server.address('good')} elsewhere and put it at {cache / 'file.bin'}"
    )
    assert fetch(remote(server, "good"), offline=False).exists()


@pytest.mark.parametrize("value", ["", "0", "no", "False"])
def test_not_offline(monkeypatch, value):
    monkeypatch.setenv("DELINEATE_OFFLINE", value)
    assert not is_offline()


def test_a_full_disk_is_noticed_before(server, cache, monkeypatch):
    usage = namedtuple("usage", "total used free")(10, 9, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DownloadError, match=r"needs 1004251 bytes .* DELINEATE_CACHE"):
        fetch(remote(server, "good"))
    assert server.requests == []


@pytest.mark.parametrize(
    ("url", "checksum", "message"),
    [
        ("ftp://example.org/a.bin", None, "must be http or https"),
        ("file:///etc/passwd", None, "must be http or https"),
        ("https://example.org/", None, "name a file"),
        ("https://example.org/a/..", None, "name a file"),
        ("https://example.org/a%2f..", None, "name a file"),
        ("https://example.org/a.bin", "sha1:0a1b2c3d", "checksum must be"),
        ("https://example.org/a.bin", "sha256:", "checksum must be"),
        ("https://example.org/a.bin", "sha256:XYZXYZ", "checksum must be"),
        ("https://example.org/a.bin", f"md5:{SHA256}", "checksum must be"),
    ],
)
def test_malformed_files_are_refused(url, checksum, message):
    with pytest.raises(ValueError, match=message):
        fetch(Remote(url, checksum, None, "MIT"))


def test_names_stay_inside_the_cache(cache):
    for url in ("https://example.org/a/..%2f..%2fpasswd", "https://example.org/..%5cpasswd"):
        assert location(Remote(url, None, None, "MIT")) == cache / "passwd"


@pytest.mark.skipif(os.name == "nt", reason="folders of other systems")
def test_the_cache_follows_the_platform(monkeypatch):
    monkeypatch.delenv("DELINEATE_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/delineate")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the specification wants it ignored
    assert cache_folder() == Path.home() / ".cache/delineate"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_folder() == Path.home() / "Library/Caches/delineate"
    monkeypatch.setenv("DELINEATE_CACHE", "~/models")
    assert cache_folder() == Path.home() / "models"
