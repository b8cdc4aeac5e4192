"""CLIP's byte pairs: texts to numbers, as its published vocabulary files say, without another package."""

from __future__ import annotations

import gzip
import logging
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from delineate.errors import FormatError

START, END = "<|startoftext|>", "<|endoftext|>"
GZIPPED = "bpe_simple_vocab_16e6.txt.gz"  # the file of CLIP's own repository
_MERGES = 49152 - 256 - 2  # of that file; the rest of it is not used
_LARGEST = 64 << 20  # bytes of a file
_LONGEST = 2000  # characters of a text that are looked at: far more than 77 tokens
_SHORTENED = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")


class Tokenizer:
    """Texts to numbers.

    Args:
        vocabulary: Token to number. The tokens that end a word end in ``</w>``.
        merges: Pairs of tokens that become one, the first ones first.
        source: For messages.

    Raises:
        FormatError: If it is no such vocabulary.
    """

    def __init__(
        self, vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]], source: str | Path
    ) -> None:
        if START not in vocabulary or END not in vocabulary:
            raise FormatError(
                source, "", f"the vocabulary must hold {START} and {END}, as CLIP's does, got neither or one."
            )
        self._vocabulary, self._ranks = vocabulary, {pair: rank for rank, pair in enumerate(merges)}
        self._word = lru_cache(4096)(self._merged)

    @classmethod
    def read(cls, folder: Path) -> Tokenizer:
        """Of ``tokenizer.json``, ``vocab.json`` with ``merges.txt``, or CLIP's own file, whichever is there.

        Args:
            folder: Where.

        Raises:
            FormatError: If there is none, or it is damaged or of another kind.
        """
        if (folder / "tokenizer.json").is_file():
            return cls(*_of_json(folder / "tokenizer.json"), folder / "tokenizer.json")
        if (folder / "vocab.json").is_file():
            return cls(*_of_two(folder / "vocab.json", folder / "merges.txt"), folder / "vocab.json")
        if (folder / GZIPPED).is_file():
            return cls(*_of_gzip(folder / GZIPPED), folder / GZIPPED)
        raise FormatError(
            folder,
            "",
            f"must hold tokenizer.json, vocab.json with merges.txt, or {GZIPPED}, got none of them.",
        )

    def __call__(self, texts: Sequence[str], length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The numbers of texts, and which of them are meant.

        Args:
            texts: T texts. What is longer is cut, and the log ("delineate") says so.
            length: Numbers of a text, start and end included; zeros follow the end.

        Returns:
            (T, length), and as much with 1 up to the end, 0 after.
        """
        numbers = np.zeros((len(texts), length), np.int64)
        meant = np.zeros_like(numbers)
        for row, text in enumerate(texts):
            found = self._numbers(text, length - 1)
            if len(found) > length - 2:
                logging.getLogger("delineate").warning(
                    "a text must have at most %d tokens, the rest is not looked at: %.60r", length - 2, text
                )
            found = [self._vocabulary[START], *found[: length - 2], self._vocabulary[END]]
            numbers[row, : len(found)], meant[row, : len(found)] = found, 1
        return numbers, meant

    def _numbers(self, text: str, most: int) -> list[int]:
        clean = " ".join(unicodedata.normalize("NFC", text[:_LONGEST]).split()).lower()
        found: list[int] = []
        for word in _words(clean):
            found.extend(self._word(word))
            if len(found) >= most:
                break
        return found

    def _merged(self, word: str) -> tuple[int, ...]:
        symbols = _symbols()
        parts = [symbols[byte] for byte in word.encode("utf-8", "replace")]
        parts[-1] += "</w>"
        never = len(self._ranks)
        while len(parts) > 1:
            ranks = [self._ranks.get(pair, never) for pair in pairwise(parts)]
            best = min(ranks)
            if best == never:
                break
            joined: list[str] = []
            at = 0
            while at < len(parts):
                together = at < len(ranks) and ranks[at] == best
                joined.append(parts[at] + parts[at + 1] if together else parts[at])
                at += 2 if together else 1
            parts = joined
        unknown = self._vocabulary[END]
        return tuple(self._vocabulary.get(part, unknown) for part in parts)


def _words(text: str) -> Iterator[str]:
    """Runs of letters, single digits, runs of other signs, and what English shortens after an apostrophe."""
    at = 0
    while at < len(text):
        short = next((ending for ending in _SHORTENED if text.startswith(ending, at)), None)
        kind, end = _kind(text[at]), at + 1
        if short is not None:
            end = at + len(short)
        elif kind in "LS":
            while end < len(text) and _kind(text[end]) == kind:
                end += 1
        if kind != " ":
            yield text[at:end]
        at = end


def _kind(character: str) -> str:
    """L letter, N digit or number, S sign, or a space."""
    if character.isspace():
        return " "
    kind = unicodedata.category(character)[0]
    return kind if kind in "LN" else "S"


@lru_cache(1)
def _symbols() -> tuple[str, ...]:
    """The printable character that stands for each byte in the vocabulary: its own where it has one."""
    own = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return tuple(chr(byte) if byte in own else chr(next(others)) for byte in range(256))


def _content(path: Path) -> bytes:
    size = path.stat().st_size
    if size > _LARGEST:
        raise FormatError(path, "", f"must have at most {_LARGEST} bytes, got {size}.")
    return path.read_bytes()


def _pairs(lines: Sequence[Any], path: Path) -> list[tuple[str, str]]:
    """Merges, as "a b" or [a, b]."""
    found = []
    for number, line in enumerate(lines):
        parts = line.split(" ") if isinstance(line, str) else line
        if len(parts) != 2:
            raise FormatError(path, f"merge {number}", f"must be two tokens, got {line!r:.80}.")
        found.append((parts[0], parts[1]))
    return found


class _Model(msgspec.Struct):
    type: str = ""
    vocab: Any = None
    merges: list[str | list[str]] = []
    end_of_word_suffix: str | None = None


class _Added(msgspec.Struct):
    id: int
    content: str


class _File(msgspec.Struct):
    model: _Model
    added_tokens: list[_Added] = []


def _of_json(path: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    try:
        file = msgspec.json.decode(_content(path), type=_File)
        model = file.model
        if model.type not in ("", "BPE") or model.end_of_word_suffix != "</w>":
            text = f"must hold CLIP's byte pairs (BPE with </w>), got {model.type or 'an unknown kind'}. "
            raise FormatError(
                path, "", text + "Give ImageTextEncoder functions of your own for other models."
            )
        vocabulary = msgspec.convert(model.vocab, dict[str, int])
    except (msgspec.DecodeError, RecursionError) as error:
        raise FormatError(path, "", f"must be a tokenizer's JSON, got: {error}.") from error
    vocabulary |= {token.content: token.id for token in file.added_tokens}
    return vocabulary, _pairs(model.merges, path)


def _of_two(first: Path, second: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    if not second.is_file():
        raise FormatError(second, "", "must be there beside vocab.json, got no such file.")
    try:
        vocabulary = msgspec.json.decode(_content(first), type=dict[str, int])
        lines = _content(second).decode("utf-8").split("\n")
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise FormatError(first, "", f"must map tokens to numbers, got: {error}.") from error
    merges = [line for line in lines if line and not line.startswith("#version")]
    return vocabulary, _pairs(merges, second)


def _of_gzip(path: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """CLIP's own file: the numbers follow from the order of bytes, bytes that end a word, merges."""
    try:
        with gzip.open(path) as file:
            lines = file.read(_LARGEST).decode("utf-8").split("\n")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise FormatError(path, "", f"must be a whole gzip file of text, got: {error}.") from error
    merges = _pairs(lines[1 : _MERGES + 1], path)
    symbols = _symbols()
    own = [symbols[byte] for byte in range(256) if ord(symbols[byte]) < 256]
    order = own + [symbol for symbol in symbols if ord(symbol) >= 256]
    tokens = [*order, *(symbol + "</w>" for symbol in order), *(a + b for a, b in merges), START, END]
    return {token: number for number, token in enumerate(tokens)}, merges
