import errno
import os

import pytest

from delineate.annotate.journal import Journal


def test_lines_come_back_in_order(tmp_path):
    journal = Journal(tmp_path / "j")
    assert list(journal.lines()) == []
    for n in range(3):
        journal.append(str(n).encode())
    assert list(Journal(tmp_path / "j").lines()) == [b"0", b"1", b"2"]
    journal.replace([b"2"])
    journal.append(b"3")
    assert list(journal.lines()) == [b"2", b"3"]
    journal.close()


def test_half_a_line_is_left_out_and_not_continued(tmp_path):
    (tmp_path / "j").write_bytes(b"whole\nha")
    journal = Journal(tmp_path / "j")
    assert list(journal.lines()) == [b"whole"]
    journal.append(b"next")
    assert list(journal.lines()) == [b"whole", b"next"]
    journal.close()


def test_a_full_disk_leaves_no_half_of_a_line(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "j")
    journal.append(b"one")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            journal.append(b"two")
    assert list(journal.lines()) == [b"one"]
    journal.append(b"three")
    assert list(journal.lines()) == [b"one", b"three"]
    journal.close()
