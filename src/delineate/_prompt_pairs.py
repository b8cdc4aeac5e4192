"""Pairs of ONNX files of promptable models: what they say of themselves, and the ones inside the package."""

from __future__ import annotations

import difflib
import hashlib
import importlib.resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Self

import msgspec

from delineate import download
from delineate._foreign_models import LONGEST
from delineate._prompt_pictures import SAM2, Conventions
from delineate._prompt_signatures import Decoder, Encoder
from delineate.errors import WeightsError
from delineate.runtimes import load

KEY = "delineate.prompts"  # of the metadata entry, in both files
FORMAT = 1


class PromptCard(msgspec.Struct, frozen=True, kw_only=True):
    """The self-description of a promptable model.

    >>> PromptCard.from_json(PromptCard(name="click", licence="CC0-1.0").to_json()).licence
    'CC0-1.0'
    """

    format: int = FORMAT
    name: str
    licence: str = ""  # of the weights
    stretch: tuple[float, float] | None = None  # percentiles that become black and white before all else
    conventions: Conventions = Conventions()  # of the family
    candidates: bool = True  # for one click, the best of several candidates beats the single mask
    provenance: dict[str, Any] = {}  # data, recipe, figures, ...: whatever the exporter knows

    def __post_init__(self) -> None:
        if self.stretch is not None and not 0 <= self.stretch[0] < self.stretch[1] <= 100:
            raise ValueError(f"PromptCard: stretch must be two rising percentiles, got {self.stretch}")

    def to_json(self) -> str:
        """The metadata entry's text."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a metadata entry.

        Raises:
            WeightsError: It is damaged, or of a newer format.
        """
        try:
            card = msgspec.json.decode(text[:LONGEST], type=cls)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise WeightsError(f"the model's card must be readable, got: {error}. Export it anew") from error
        if card.format != FORMAT:
            raise WeightsError(f"the model's card must have format {FORMAT}, got {card.format}")
        return card


class Pair:
    """Two loaded files, and what can be known of them.

    Attributes:
        encoder: Takes ``images``.
        decoder: Takes prompts.
        side: Pixels per side of the encoder's input.
        prompts: Prompts per call of the decoder; None = any number.
        card: What the files say of themselves; None for foreign ones.
        conventions: What the card says of them; else SAM 2's where there are finer features, as no other has them.
        digest: Hexadecimal, of the encoder's content.
    """

    def __init__(self, encoder: str | Path | bytes, decoder: str | Path | bytes | None) -> None:
        first, second = _contents(encoder, decoder)
        self.digest = hashlib.blake2b(first, digest_size=16).hexdigest()
        network = load("onnx", first)
        text = network.metadata.get(KEY)
        self.card = None if text is None else PromptCard.from_json(text)
        self.encoder = Encoder(network)
        self.decoder = Decoder(load("onnx", second), self.encoder, own=self.card is not None)
        self.encoder.finer = self.decoder.finer  # what it gives besides is for others
        self.side, self.prompts = self.encoder.side, self.decoder.prompts
        foreign = SAM2 if self.decoder.finer else Conventions()
        self.conventions = foreign if self.card is None else self.card.conventions


def embedded() -> tuple[str, ...]:
    """Names of the promptable models that ship inside the package."""
    names = [entry.name for entry in _folder().iterdir()] if _folder().is_dir() else []
    return tuple(sorted(name[: -len(_ENDS[0])] for name in names if name.endswith(_ENDS[0])))


_ENDS = "_encoder.onnx", "_decoder.onnx"


def _folder() -> Traversable:
    return importlib.resources.files("delineate") / "weights"


def _contents(encoder: str | Path | bytes, decoder: str | Path | bytes | None) -> tuple[bytes, bytes]:
    if decoder is not None:
        first, second = (
            given if isinstance(given, bytes) else Path(given).read_bytes() for given in (encoder, decoder)
        )
        return first, second
    ready = _ready(str(encoder))
    if encoder not in embedded() and ready is not None:
        return ready
    if encoder not in embedded():
        close = difflib.get_close_matches(str(encoder), embedded(), n=1)
        raise WeightsError(
            f"PromptPredictor.load: encoder without decoder must name an embedded pair "
            f"({', '.join(embedded()) or 'none in this build'}) or one that `delineate models download` made "
            f"ready, got {encoder!r:.80}." + (f" Did you mean {close[0]!r}?" if close else "")
        )
    first, second = ((_folder() / f"{encoder}{end}").read_bytes() for end in _ENDS)
    return first, second


def _ready(name: str) -> tuple[bytes, bytes] | None:
    """The pair that was made from a published checkpoint."""
    try:
        first, second = (download.model_location(name + Path(end).stem) for end in _ENDS)
    except ValueError:  # no name
        return None
    return (first.read_bytes(), second.read_bytes()) if first.is_file() and second.is_file() else None
