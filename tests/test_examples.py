"""The example scripts run as their docstrings say, and stay short."""

import runpy
import sys
from pathlib import Path

import pytest
from synthetic import nuclei_dataset

from delineate.formats import coco

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_scripts_are_under_sixty_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60


def script(name, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_count(monkeypatch, capsys):
    script("count.py", monkeypatch, EXAMPLES / "pictures")
    name, rest = capsys.readouterr().out.strip().split(": ")
    assert name == "nuclei.png"
    assert int(rest.split()[0]) > 80  # about a hundred nuclei can be counted by eye


def test_evaluate(monkeypatch, capsys, tmp_path):
    coco.write(nuclei_dataset(tmp_path, count=2), tmp_path / "truth.json")
    script("evaluate.py", monkeypatch, tmp_path / "truth.json")
    assert float(capsys.readouterr().out.split()[2].rstrip(",")) > 0.2
