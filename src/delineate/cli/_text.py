"""``predict --text``: what a model and an encoder of texts find together, used as a `Predictor` is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from delineate import clip
from delineate.cli._everything import promptable
from delineate.instances import Instances
from delineate.predict import Predictor
from delineate.prompt import PromptPredictor
from delineate.text import Finder, Options


class Named:
    """Finds what texts name.

    Args:
        texts: What to find.
        encoder: A folder, or the name of a published encoder that is ready.
        model: Which masks they choose from: a promptable model (a name, or ENCODER,DECODER) or an instance model.
        accepted: The licence of a published model that the user accepts.
        offline: Whether the user forbids downloads.
        score: The least score; None = the default.
        most: The best so many of a picture; None = all.
    """

    def __init__(
        self,
        texts: Sequence[str],
        encoder: str,
        model: str,
        *,
        accepted: str,
        offline: bool,
        score: float | None,
        most: int | None,
    ) -> None:
        options = Options() if score is None else Options(score=score)
        self._finder, self._most = Finder(clip.load(encoder), texts, options), most
        self._predictor: PromptPredictor | Predictor = promptable(
            model, accepted, offline=offline
        ) or Predictor(model)

    @property
    def classes(self) -> tuple[str, ...]:
        """The texts."""
        return self._finder.classes

    def predict(self, image: NDArray[np.uint8]) -> Instances:
        """What the texts name in a picture."""
        found = self._finder.find(self._predictor, image)[: self._most]
        return found.replace(extras={})  # no file has a place for them
