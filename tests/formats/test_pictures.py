import pytest

from delineate.errors import FormatError
from delineate.formats import _pictures


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "from" / "ä.png"
    path.parent.mkdir()
    path.write_bytes(b"picture")
    return path


def test_a_link_leads_to_the_picture(source, tmp_path):
    target = tmp_path / "to" / "deep" / "ä.png"
    _pictures.place(source, target, "link")
    assert target.is_symlink()
    assert target.read_bytes() == b"picture"
    _pictures.place(source, target, "link")  # once more is fine


def test_a_copy_stands_alone(source, tmp_path):
    target = tmp_path / "to" / "ä.png"
    _pictures.place(source, target, "copy")
    source.unlink()
    assert target.read_bytes() == b"picture"
    assert not target.is_symlink()


def test_where_there_are_no_links_a_copy_is_made(source, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no links here")

    monkeypatch.setattr("pathlib.Path.symlink_to", refuse)
    _pictures.place(source, tmp_path / "ä.png", "link")
    assert (tmp_path / "ä.png").read_bytes() == b"picture"
    assert not (tmp_path / "ä.png").is_symlink()


def test_leaving_does_nothing(source, tmp_path):
    _pictures.place(source, tmp_path / "ä.png", "leave")
    _pictures.place(source, source, "copy")
    assert not (tmp_path / "ä.png").exists()


@pytest.mark.parametrize("content", [b"another", b"longer than it"])
def test_no_other_picture_is_written_over(source, tmp_path, content):
    (tmp_path / "ä.png").write_bytes(content)
    with pytest.raises(FormatError, match="place of a picture must be free"):
        _pictures.place(source, tmp_path / "ä.png", "copy")
    assert (tmp_path / "ä.png").read_bytes() == content


def test_a_missing_picture_is_named(tmp_path):
    with pytest.raises(FormatError, match=r"b\.png.*picture must exist to be placed"):
        _pictures.place(tmp_path / "b.png", tmp_path / "c.png", "copy")


@pytest.mark.parametrize("name", ["a.png", "a/ä.png", "a\\b.png", "..a.png", "a b.png"])
def test_names_inside_a_folder(tmp_path, name):
    assert tmp_path in _pictures.inside(tmp_path, name, "item", tmp_path / "f.json").parents


@pytest.mark.parametrize(
    "name", ["", " ", "..", "../a", "a/../../b", "a\\..\\b", "/etc/passwd", "\\a", "c:\\a", "c:a", "a\0b"]
)
def test_names_that_lead_out_are_refused(tmp_path, name):
    with pytest.raises(FormatError, match="name must lead to a file under"):
        _pictures.inside(tmp_path, name, "item", tmp_path / "f.json")
