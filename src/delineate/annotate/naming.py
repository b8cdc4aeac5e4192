"""Objects of a picture that a text names, for the page: the masks are described once, each text then is quick."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from delineate.annotate.prompts import Prompt
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.predict import Predictor
from delineate.prompt import PromptPredictor
from delineate.text import Finder, ImageTextEncoder, candidates, describe

MAX_TEXT = 200
"""Characters of a text."""

_REMEMBERED = 64  # texts whose encoding is kept


class Described(NamedTuple):
    """The masks of a picture among which a text chooses, and what the encoder makes of them."""

    found: Instances
    vectors: NDArray[np.float32]


class Namer:
    """Finds what texts name. `encode` takes long and happens once per picture, `find` is quick.

    Args:
        predictor: What gives the masks; of this object alone, as it is used from a thread of its own.
        encoder: The image-text encoder.
    """

    name, kind = "texts", "texts"

    def __init__(self, predictor: PromptPredictor | Predictor, encoder: ImageTextEncoder) -> None:
        self._predictor, self._encoder = predictor, encoder
        self._finders: OrderedDict[str, Finder] = OrderedDict()
        self._lock = Lock()

    def encode(self, image: NDArray[np.uint8]) -> Described:
        """All masks of a picture, described."""
        found = candidates(self._predictor, image)
        masks = found.masks if found.masks is not None else Masks.empty(found.size)
        kept = masks.areas > 0
        return Described(found[kept], describe(self._encoder, masks[kept], image))

    def answer(self, encoded: Described, _: Prompt) -> Instances:
        """Nothing: it is asked by texts."""
        return encoded.found[:0]

    def find(self, encoded: Described, text: str) -> Instances:
        """What a text names, best first.

        Args:
            encoded: The picture, as `encode` has it.
            text: One text.

        Raises:
            ValueError: If it is empty or too long.
        """
        words = " ".join(text.split())
        if not words or len(words) > MAX_TEXT:
            raise ValueError(f"text must have 1 to {MAX_TEXT} characters, got {len(words)}.")
        with self._lock:
            finder = self._finders.pop(words, None) or Finder(self._encoder, [words])
            self._finders[words] = finder
            while len(self._finders) > _REMEMBERED:
                self._finders.popitem(last=False)
        return finder.choose(*encoded)
