import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delineate.errors import FormatError
from delineate.formats import _xml


def parsed(tmp_path, text):
    path = tmp_path / "a.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return _xml.read(path)


def test_elements_texts_and_lines(tmp_path):
    root = parsed(tmp_path, '<a x="1">\n t<b> ü &amp; </b>u\n<c/><b><![CDATA[<]]></b></a>')
    assert (root.tag, root.attributes, root.line, root.text) == ("a", {"x": "1"}, 1, "\n tu\n")
    assert [(child.tag, child.line) for child in root.children] == [("b", 2), ("c", 3), ("b", 3)]
    assert root.value("b") == "ü &"
    assert root.value("none") is None
    assert [child.text for child in root.all("b")] == [" ü & ", "<"]
    assert root.first("c").text == ""


BOMB = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;&x;">]><a>&y;</a>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "line 1: XML must have no document type and no entities"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "no document type"),
        ('<?xml version="1.0"?>\n<!DOCTYPE a>\n<a/>', "line 2: XML must have no document type"),
        ("<a>&x;</a>", "must be XML: undefined entity"),
        ("<a>" * 5000, "line 1: XML must be nested at most 100 deep"),
        ("<a>\n<b></a>", "line 2: must be XML: mismatched tag"),
        ("", "must be XML: no element found"),
        ("<a/><b/>", "must be XML: junk after document element"),
        (b'<?xml version="1.0" encoding="no-such"?><a/>', "must be XML"),
        (b"<a>\xff</a>", "must be XML: not well-formed"),
    ],
)
def test_hostile_files_are_refused(tmp_path, text, message):
    with pytest.raises(FormatError, match=message):
        parsed(tmp_path, text)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FormatError, match="none.xml: file must be readable"):
        _xml.read(tmp_path / "none.xml")


@given(st.text())
def test_escaped_text_comes_back_through_another_parser(text):
    try:
        content = _xml.escaped(text)
    except ValueError:
        assert any(ord(sign) < 32 or 0xD7FF < ord(sign) < 0xE000 or ord(sign) > 0xFFFD for sign in text)
        return
    assert ET.fromstring(f'<a x="">{content}</a>').text in (text, None)
