"""Promptable models on the command line: how they are named, and ``predict`` with one of them alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from delineate import download
from delineate.cli._published import ready
from delineate.everything import Options, segment_everything
from delineate.instances import Instances
from delineate.prompt import PromptPredictor, embedded


class Everything:
    """All objects of a picture, used as a `Predictor` is. They have no names.

    Args:
        predictor: The promptable model.
        score: The predicted IoU must be above this; None = as the model's family has it.
        most: The best so many of a picture; None = all.
    """

    classes = ("object",)

    def __init__(self, predictor: PromptPredictor, *, score: float | None, most: int | None) -> None:
        self._predictor, self._options, self._most = predictor, Options(iou=score), most

    def predict(self, image: NDArray[np.uint8]) -> Instances:
        """What a grid of points finds in a picture, by falling predicted IoU."""
        found = segment_everything(self._predictor, image, self._options)[: self._most]
        return found.replace(
            extras={}, labels=np.zeros(len(found), np.int64)
        )  # no file has a place for extras


def promptable(model: str, accepted: str, *, offline: bool) -> PromptPredictor | None:
    """The promptable model of a name, or of ``ENCODER,DECODER``; None where it is none.

    Args:
        model: What the user wrote.
        accepted: The licence of a published model that the user accepts.
        offline: Whether the user forbids downloads.
    """
    if "," in model:
        encoder, decoder = model.split(",", 1)
        return PromptPredictor.load(encoder, decoder)
    if model not in embedded():
        ready(model, accepted, offline=offline, promptable=True)
        if not _is_pair(model):
            return None
    return PromptPredictor.load(model)


def _is_pair(name: str) -> bool:
    """Whether a published promptable model of that name is in the cache."""
    try:
        return download.model_location(f"{name}_encoder").is_file()
    except ValueError:  # no name
        return False
