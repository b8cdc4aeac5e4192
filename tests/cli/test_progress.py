import io
import time

import pytest
from rich.console import Console

from delineate.cli import _progress as progress


@pytest.fixture
def terminal(monkeypatch):
    """A terminal that somebody watches, where a second is short."""
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, force_interactive=True, width=80)
    monkeypatch.setattr(progress, "Console", lambda **_: console)
    monkeypatch.setattr(progress, "_PATIENCE", 0.02)
    return shown


def slowly(items):
    for item in items:
        time.sleep(0.05)
        yield item


def test_what_takes_long_has_a_bar(terminal):
    assert list(progress.track(slowly("abcd"), "Cutting [a]", 4)) == list("abcd")
    assert "Cutting [a]" in terminal.getvalue()
    assert "%" in terminal.getvalue()


def test_what_is_done_at_once_has_none(terminal, monkeypatch):
    monkeypatch.setattr(progress, "_PATIENCE", 60)
    assert list(progress.track("ab", "Cutting", 2)) == ["a", "b"]
    with progress.working("Reading"):
        pass
    assert terminal.getvalue() == ""


def test_the_words_follow_what_is_done(terminal):
    with progress.working("Reading") as doing:
        time.sleep(0.1)
        doing("Writing")
        time.sleep(0.2)
    assert "Reading" in terminal.getvalue()
    assert "Writing" in terminal.getvalue()


def test_a_bar_ends_with_an_error(terminal):
    def broken():
        yield 1
        time.sleep(0.1)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        list(progress.track(broken(), "Cutting", 2))
    assert "\x1b[?25h" in terminal.getvalue(), "the cursor is there again"


def test_nobody_watches(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_PATIENCE", 0)
    assert list(progress.track(slowly("ab"), "Cutting", 2)) == ["a", "b"]
    with progress.working("Reading") as doing:
        doing("Writing")
    assert capsys.readouterr() == ("", "")
