import signal
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
from PIL import Image

from delineate.formats import coco


def test_it_serves_until_it_is_told_to_end(tmp_path):
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "ä b.png")
    command = [sys.executable, "-m", "delineate", "annotate", str(tmp_path), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().strip()
        opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(), urllib.request.ProxyHandler({})
        )
        assert b"<title>" in opener.open(address, timeout=10).read()
        base = address.partition("?")[0]
        request = urllib.request.Request(f"{base}api/classes", b'{"name": "cell"}', {"X-Delineate": "1"})
        assert opener.open(request, timeout=10).status == 200
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "1 pictures, annotations in" in errors
    assert "Warning" not in errors
    assert coco.read(tmp_path / "annotations.json").classes == ("cell",)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("gone",), "FOLDER must be a folder"),
        ((".", "--model", "none", "--prompt", "none"), "got neither"),
        ((".", "--prompt", "a", "b", "c"), "got 3 words"),
        ((".", "--model", "nuclae"), "Did you mean 'nuclei'"),
        ((".", "--prompt", "a.onnx", "b.onnx"), "a.onnx"),
        ((".", "--encoder", "nowhere"), "Run: delineate models download clip-vit_b32"),
    ],
)
def test_what_cannot_be_served(run, tmp_path, monkeypatch, words, reason):
    monkeypatch.chdir(tmp_path)
    done = run("annotate", *words)
    assert (done.code, reason in done.err) == (2, True)
    assert list(tmp_path.iterdir()) == []
