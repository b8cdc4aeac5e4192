"""XML from strangers: read without entities, document types or deep nesting. Serves every format in XML."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from delineate.errors import FormatError

_MAX_DEPTH = 100
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


@dataclass(slots=True)
class Node:
    """One element.

    Args:
        tag: Its name.
        attributes: Name -> value.
        line: Where it begins in the file, from 1.
        children: The elements in it, in their order.
        text: The text before and between them.
    """

    tag: str
    attributes: dict[str, str]
    line: int
    children: list[Node] = field(default_factory=list)
    text: str = ""

    def first(self, tag: str) -> Node | None:
        """The first child of that name."""
        return next((child for child in self.children if child.tag == tag), None)

    def all(self, tag: str) -> list[Node]:
        """The children of that name."""
        return [child for child in self.children if child.tag == tag]

    def value(self, tag: str) -> str | None:
        """The text of the first child of that name, without spaces around it; None where there is none."""
        child = self.first(tag)
        return None if child is None else child.text.strip()


def read(path: Path) -> Node:
    """The root element of a file.

    Raises:
        FormatError: The file is missing, is not XML, has a document type or is nested too deeply.
    """
    root: list[Node] = []
    open_: list[Node] = []
    texts: list[list[str]] = []
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def refuse(*_: object) -> NoReturn:
        where = f"line {parser.CurrentLineNumber}"
        raise FormatError(
            path, where, "XML must have no document type and no entities. Take the <!DOCTYPE> out."
        )

    def start(tag: str, attributes: dict[str, str]) -> None:
        node = Node(tag, attributes, parser.CurrentLineNumber)
        if len(open_) >= _MAX_DEPTH:
            raise FormatError(path, f"line {node.line}", f"XML must be nested at most {_MAX_DEPTH} deep.")
        (open_[-1].children if open_ else root).append(node)
        open_.append(node)
        texts.append([])

    def end(_: str) -> None:
        open_.pop().text = "".join(texts.pop())

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = lambda text: texts[-1].append(text)
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
    except OSError as error:
        raise FormatError(path, "", f"file must be readable, got: {error.strerror}.") from error
    except expat.ExpatError as error:
        raise FormatError(
            path, f"line {error.lineno}", f"must be XML: {expat.ErrorString(error.code)}."
        ) from error
    except (LookupError, ValueError) as error:  # an encoding that Python does not know, or does not trust
        raise FormatError(path, "", f"must be XML in a known encoding, got: {error}.") from error
    return root[0]


def escaped(text: str) -> str:
    """Text for an element or an attribute; characters that XML cannot hold are refused by a ValueError."""
    found = _ILLEGAL.search(text)
    if found:
        raise ValueError(f"text must have characters that XML can hold, got {found[0]!r} in {text[:60]!r}.")
    for sign, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("\r", "&#13;")):
        text = text.replace(sign, name)
    return text
