"""The code blocks of README and documentation run, page by page, each page in a folder of its own."""

import contextlib
import io
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from synthetic import STYLES, nuclei, nuclei_dataset

from delineate.cli import app
from delineate.formats import coco

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")])
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks():
    for page in PAGES:
        for number in range(len(BLOCK.findall(page.read_text(encoding="utf-8")))):
            yield pytest.param(page, number, id=f"{page.name}-{number}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the pages speak of: a folder `cells` of pictures with `truth.json`, and one 16-bit picture."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "cells").mkdir()
    coco.write(nuclei_dataset(folder / "cells", count=3), folder / "cells" / "truth.json")
    image, _ = nuclei(seed=9, size=(96, 128), style=STYLES[0])
    Image.fromarray(image[..., 0].astype(np.uint16) * 100).save(folder / "deep.tif")
    Image.fromarray(image).save(folder / "cell.png")
    return folder


def _pycocotools():
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "pycocotools"}


@pytest.fixture
def real_pycocotools():
    """One page puts this package's modules in its place."""
    before = _pycocotools()
    yield
    for name in _pycocotools():
        del sys.modules[name]
    sys.modules.update(before)


@pytest.mark.parametrize(("page", "number"), list(blocks()))
@pytest.mark.usefixtures("real_pycocotools")
def test_block_runs(page, number, folder, monkeypatch):
    kind, text = list(BLOCK.findall(page.read_text(encoding="utf-8")))[number]
    monkeypatch.chdir(folder)
    if kind == "python":
        if "import torch" in text:
            pytest.importorskip("torch", reason="models need the extra [torch]")
        exec(compile(text, f"{page.name} block {number}", "exec"), {"__name__": "docs"})
        return
    for line in text.splitlines():
        if line.startswith("$ delineate "):
            _run(shlex.split(line)[2:])


def _run(words):
    if words[0] in ("train", "export"):
        pytest.importorskip("torch", reason="training needs the extra [torch]")
    with contextlib.redirect_stdout(io.StringIO()):
        assert app(words, exit_on_error=False, result_action="return_value") in (0, None)
