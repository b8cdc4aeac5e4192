import os
import stat

import pytest

from delineate import atomic


def names(folder):
    return [path.name for path in folder.iterdir()]


def interrupted(path, error):
    with atomic.writing(path) as file:
        file.write(b"half")
        raise error


def test_the_file_appears_only_when_the_block_ends(tmp_path):
    path = tmp_path / "a.json"
    with atomic.writing(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert names(tmp_path) == ["a.json"]


def test_a_failing_writer_leaves_the_former_content(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"former")
    with pytest.raises(RuntimeError, match="disk on fire"):
        interrupted(path, RuntimeError("disk on fire"))
    assert path.read_bytes() == b"former"
    assert names(tmp_path) == ["a.json"]


def test_an_interrupted_writer_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "a.json", KeyboardInterrupt())
    assert names(tmp_path) == []


def test_two_writers_of_one_file_do_not_mix(tmp_path):
    path = tmp_path / "a.json"
    with atomic.writing(path) as first, atomic.writing(path) as second:
        first.write(b"first")
        second.write(b"second")
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["a.json"]


def test_permissions_of_a_replaced_file_stay(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"former")
    path.chmod(0o640)
    atomic.write_bytes(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_permissions_of_a_new_file_follow_the_mask(tmp_path):
    before = os.umask(0o027)
    try:
        atomic.write_bytes(tmp_path / "a.json", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o640


def test_a_link_is_followed(tmp_path):
    (tmp_path / "folder").mkdir()
    target = tmp_path / "folder" / "a.json"
    target.write_bytes(b"former")
    link = tmp_path / "link.json"
    link.symlink_to(target)
    atomic.write_bytes(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_what_is_no_plain_file_is_written_to_directly(tmp_path):
    atomic.write_bytes("/dev/null", b"gone")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    atomic.write_bytes(pipe, b"through")
    assert os.read(reader, 99) == b"through"
    os.close(reader)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"folder to write into does not exist.*nowhere"):
        atomic.write_bytes(tmp_path / "nowhere" / "a.json", b"")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(IsADirectoryError, match="must be a file, got a folder"):
        atomic.write_bytes(tmp_path, b"")


def test_long_names_still_fit(tmp_path):
    path = tmp_path / ("n" * 250 + ".json")
    atomic.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert len(names(tmp_path)) == 1


def test_a_folder_appears_whole(tmp_path):
    path = tmp_path / "ä"
    path.mkdir()  # an empty one is taken
    with atomic.writing_folder(path) as inside:
        (inside / "deep").mkdir()
        (inside / "deep" / "a.txt").write_text("whole")
        assert names(path) == []
    assert (path / "deep" / "a.txt").read_text() == "whole"
    assert names(tmp_path) == ["ä"]


def refused_folder(path, error=None):
    with atomic.writing_folder(path) as inside:
        (inside / "a.txt").write_text("half")
        raise error


def test_a_failing_writer_leaves_no_folder(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        refused_folder(tmp_path / "a", KeyboardInterrupt())
    assert names(tmp_path) == []


def test_a_folder_with_something_in_it_stays(tmp_path):
    (tmp_path / "b.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="folder must be new or empty"):
        refused_folder(tmp_path)
    with pytest.raises(FileExistsError, match="folder must be new or empty"):
        refused_folder(tmp_path / "b.txt")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        refused_folder(tmp_path / "none" / "deeper")
    assert names(tmp_path) == ["b.txt"]


def test_links_out_of_the_folder_stay_right(tmp_path):
    (tmp_path / "b.txt").write_text("mine")
    with atomic.writing_folder(tmp_path / "a") as inside:
        (inside / "link").symlink_to(os.path.relpath(tmp_path / "b.txt", inside))
    assert (tmp_path / "a" / "link").read_text() == "mine"
