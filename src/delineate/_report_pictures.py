"""The worst pictures of a run, drawn small. Serves `report`."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from delineate._report_page import text
from delineate.dataset import Dataset, Record
from delineate.draw import draw
from delineate.errors import DelineateError
from delineate.image import read_image, to_rgb8
from delineate.instances import Instances
from delineate.metrics.columns import Flags
from delineate.metrics.verdicts import Verdicts

MOST, SIDE = 12, 480
"""How many pictures, and the greatest side of each in pixels."""
_RIGHT, _WRONG = (
    [[40, 200, 255]],
    [[255, 106, 0]],
)  # seen on dark and bright pictures, by every kind of colour vision
_GREY = 118


@dataclass(frozen=True)
class Choice:
    """One picture and what went wrong there at IoU 0.5.

    Args:
        place: Its position in the order of evaluation.
        right: Right detections.
        wrong: Wrong ones.
        missed: Objects that were not found.
    """

    place: int
    right: int
    wrong: int
    missed: int


def choose(judged: Verdicts, min_score: float) -> list[Choice]:
    """The pictures with most errors: errors times their share of all that is there. At most `MOST`."""
    paired = judged.paired
    heard = paired.detections.scores >= min_score
    count = len(paired.ids)
    right = np.bincount(paired.detection_pictures[judged.right() & heard], minlength=count)
    wrong = np.bincount(paired.detection_pictures[judged.wrong() & heard], minlength=count)
    missed = np.bincount(paired.truth_pictures[judged.positive], minlength=count) - right
    errors = wrong + missed
    badness = errors * errors / np.maximum(right + errors, 1)
    chosen = [int(place) for place in np.argsort(-badness, kind="stable")[:MOST] if errors[place]]
    return [Choice(place, int(right[place]), int(wrong[place]), int(missed[place])) for place in chosen]


def drawn(choice: Choice, truth: Dataset, predictions: Dataset, judged: Verdicts, min_score: float) -> str:
    """A figure: truth and predictions side by side, right and wrong in two colours."""
    identity = judged.paired.ids[choice.place]
    record = next(one for one in truth if one.id == identity)
    found = next((one.instances for one in predictions if one.id == identity), None)
    ground, missing = _ground(record)
    known, seen = _states(choice.place, judged, min_score)
    hidden = record.instances.crowd
    crowds = np.zeros(len(record.instances), bool) if hidden is None else hidden
    left = _paint(ground, record.instances, [(known & ~crowds, _RIGHT), (~known & ~crowds, _WRONG)])
    parts = [] if found is None else [(seen == 1, _RIGHT), (seen == -1, _WRONG)]
    right = _paint(ground, found or Instances.empty(record.size), parts)
    words = f"{record.name}: {choice.right} right, {choice.wrong} wrong, {choice.missed} missed{missing}"
    pair = "".join(
        f'<img alt="{text(side)} of {text(record.name)}" width="{image.shape[1]}" height="{image.shape[0]}" '
        f'src="data:image/jpeg;base64,{_jpeg(image)}">'
        for side, image in (("truth", left), ("predictions", right))
    )
    return f'<figure><div class="pair">{pair}</div><figcaption>{text(words)}</figcaption></figure>'


def _states(place: int, judged: Verdicts, min_score: float) -> tuple[Flags, NDArray[np.int64]]:
    """(truths of the picture,) whether found; (detections,) 1 right, -1 wrong, 0 not counted."""
    truths, detections = judged.paired.truths, judged.paired.detections
    part = slice(int(detections.offsets[place]), int(detections.offsets[place + 1]))
    heard = detections.scores[part] >= min_score
    right = judged.right()[part] & heard
    # What a detection takes does not depend on those with lower scores: leaving them out changes no other match.
    first = int(truths.offsets[place])
    known = np.zeros(int(truths.offsets[place + 1]) - first, bool)
    known[judged.matches[0, part][right] - first] = True
    return known, right.astype(np.int64) - (judged.wrong()[part] & heard)


def _ground(record: Record) -> tuple[NDArray[np.uint8], str]:
    """The picture, small; grey, and why, if it cannot be read."""
    scale = min(1.0, SIDE / max(record.size))
    height, width = (max(1, round(side * scale)) for side in record.size)
    grey = np.full((height, width, 3), _GREY, np.uint8)
    if record.path is None:
        return grey, " (no picture)"
    try:
        image = to_rgb8(read_image(record.path))
    except (DelineateError, OSError):
        return grey, " (the picture cannot be read)"
    if image.shape[:2] != record.size:
        return grey, " (the picture has another size)"
    small = Image.fromarray(image).resize((width, height), Image.Resampling.BOX)
    return np.asarray(small), ""


def _paint(
    ground: NDArray[np.uint8], instances: Instances, parts: list[tuple[Flags, list[list[int]]]]
) -> NDArray[np.uint8]:
    """Outlines of some instances in each colour."""
    small = _smaller(instances, (ground.shape[0], ground.shape[1]))
    for chosen, palette in parts:
        ground = draw(ground, small[chosen], alpha=0.16, labels=False, palette=palette)
    return ground


def _smaller(instances: Instances, size: tuple[int, int]) -> Instances:
    if instances.masks is not None:
        return Instances.of(instances.masks.resize(size), instances.labels)
    scale = np.array([size[1] / instances.size[1], size[0] / instances.size[0]] * 2, np.float32)
    return Instances(size, instances.boxes * scale, instances.labels)


def _jpeg(image: NDArray[np.uint8]) -> str:
    held = io.BytesIO()
    Image.fromarray(image).save(held, "JPEG", quality=82, subsampling=0)
    return base64.b64encode(held.getvalue()).decode()
