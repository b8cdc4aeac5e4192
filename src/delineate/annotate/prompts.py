"""Clicks and boxes to masks, by a promptable model or by choosing among an instance model's objects."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from delineate import algebra
from delineate.boxes import iou
from delineate.errors import DelineateError
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.predict import Predictor
from delineate.prompt import PromptPredictor

MAX_POINTS = 64
"""Points of a prompt."""

REMEMBERED = 6
"""Pictures whose encoding is kept."""

_PATIENCE = 600.0  # seconds that a prompt waits for the encoding
_FLOOR = 0.15  # score from which an object of the instance model can be chosen by a click
_LEAST_BOX_IOU = 0.3


class Prompt(NamedTuple):
    """What was pointed at, in continuous pixels: pixel column j covers [j, j + 1).

    Attributes:
        points: (N, 2) x, y.
        labels: (N,) 1 inside the object, 0 outside.
        box: (4,) x0, y0, x1, y1, or None.
        mask: One mask to refine, or None.
    """

    points: NDArray[np.float64]
    labels: NDArray[np.int64]
    box: NDArray[np.float64] | None = None
    mask: Masks | None = None


class Engine(Protocol):
    """What answers prompts. `encode` takes long and happens once per picture, `answer` is quick."""

    name: str
    kind: str

    def encode(self, image: NDArray[np.uint8], /) -> Any:  # noqa: ANN401 - its own affair
        """What `answer` needs to know of a picture."""

    def answer(self, encoded: Any, prompt: Prompt, /) -> Instances:  # noqa: ANN401 - as above
        """The candidates, best first; none where there is nothing."""


class Promptable:
    """A pair of networks with the signature of Segment Anything.

    Args:
        predictor: The pair.
        name: What to call it on the page.
    """

    kind = "promptable"

    def __init__(self, predictor: PromptPredictor, name: str) -> None:
        self.name = name
        self._predictor, self._lock = predictor, threading.Lock()

    def encode(self, image: NDArray[np.uint8]) -> Any:  # noqa: ANN401 - `prompt.Encoded`
        """The image embedding."""
        return self._predictor.encode(image)

    def answer(self, encoded: Any, prompt: Prompt) -> Instances:  # noqa: ANN401 - as above
        """Three candidates for a single click, where the model's card does not say that one is better; else one.

        Raises:
            ValueError: The model does not understand clicks of the kind, or not so many.
        """
        single = len(prompt.points) == 1 and prompt.box is None and prompt.mask is None
        card = self._predictor.card
        given = len(prompt.points) > 0
        box, mask = prompt.box, prompt.mask
        if (
            mask is not None and not self._predictor.conventions.masks
        ):  # such a model is shown where the mask lies
            box, mask = mask.boxes[0] if box is None and mask.areas[0] else box, None
        with self._lock:
            self._predictor.use(encoded)
            found = self._predictor.predict(
                prompt.points - 0.5 if given else None,  # there, whole numbers are the centres of pixels
                prompt.labels if given else None,
                None if box is None else box - 0.5,
                mask,
                multimask=single and (card is None or card.candidates),
            )
        assert found.masks is not None  # noqa: S101 - for the type checker
        assert found.scores is not None  # noqa: S101
        order = np.argsort(-found.scores, kind="stable")
        return found[order[found.masks.areas[order] > 0]]


class Chooser:
    """Answers with the objects that an instance model finds: a click takes the one under it.

    Args:
        predictor: The model, with a low threshold (see `Chooser.load`).
        name: What to call it on the page.
    """

    kind = "chooser"

    def __init__(self, predictor: Predictor, name: str) -> None:
        self.name, self.predictor = name, predictor
        self.score = predictor.card.thresholds.score

    @classmethod
    def load(cls, model: str | Path) -> Chooser:
        """The chooser of an embedded model or an ONNX file."""
        return cls(Predictor(model, score=_FLOOR), Path(model).stem)

    def encode(self, image: NDArray[np.uint8]) -> Instances:
        """All objects that may be chosen, by falling score."""
        return self.predictor.predict(image)

    def find(self, encoded: Instances, _: str) -> Instances:
        """The objects that the model is sure of."""
        assert encoded.scores is not None  # noqa: S101 - for the type checker
        return encoded[encoded.scores > self.score]

    def answer(self, encoded: Instances, prompt: Prompt) -> Instances:
        """With a mask to refine or several clicks, objects are joined to it and taken out of it."""
        if encoded.masks is None or not len(encoded):
            return encoded[:0]
        under = [_under(encoded.masks, x, y) for x, y in prompt.points.tolist()]
        inside = [found for found, label in zip(under, prompt.labels.tolist(), strict=True) if label]
        outside = [found for found, label in zip(under, prompt.labels.tolist(), strict=True) if not label]
        if prompt.mask is None and len(inside) == 1 and not outside and prompt.box is None:
            return encoded[inside[0][:3]]
        chosen = [int(found[0]) for found in inside if len(found)]
        if prompt.box is not None:
            overlap = iou(encoded.boxes, prompt.box[None].astype(np.float32))[:, 0]
            if overlap.max() >= _LEAST_BOX_IOU:
                chosen.append(int(overlap.argmax()))
        removed = [int(found[0]) for found in outside if len(found)]
        parts = [encoded.masks[chosen], *([] if prompt.mask is None else [prompt.mask])]
        whole = Masks.concat(parts).union()
        if removed:
            whole = algebra.difference(whole, encoded.masks[removed].union())
        if not whole.areas[0] or (prompt.mask is not None and not chosen and not removed):
            return encoded[:0]
        return Instances.of(whole, [0], [1.0])


def _under(masks: Masks, x: float, y: float) -> NDArray[np.int64]:
    """Positions of the masks that cover a point."""
    boxes = masks.boxes
    near = (boxes[:, 0] <= x) & (x < boxes[:, 2]) & (boxes[:, 1] <= y) & (y < boxes[:, 3])
    found = []
    for n in np.flatnonzero(near).tolist():
        top, left, crop = masks.crop(n)
        if crop[int(y) - top, int(x) - left]:
            found.append(n)
    return np.array(found, np.int64)


class Sessions:
    """Encodes pictures in the background, one at a time, and remembers a few. Safe to use from several threads.

    Args:
        engine: What answers.
        pixels: Number of a picture to its pixels.
        remembered: Pictures whose encoding is kept.

    Attributes:
        busy: Whether a picture is being encoded now.
    """

    def __init__(
        self, engine: Engine, pixels: Callable[[int], NDArray[np.uint8]], *, remembered: int = REMEMBERED
    ) -> None:
        self.engine = engine
        self._pixels, self._remembered = pixels, remembered
        self._known: OrderedDict[tuple[int, str], Future[Any]] = OrderedDict()
        self._asking: Counter[tuple[int, str]] = Counter()  # prompts that wait, by what they wait for
        self._lock, self.busy, self._closed = threading.Lock(), False, False
        self._waiting: SimpleQueue[tuple[Future[Any], int] | None] = SimpleQueue()
        # A daemon, unlike the threads of an executor: nothing waits for a long encoding at the end.
        self._thread = threading.Thread(target=self._work, name="encoder", daemon=True)
        self._thread.start()

    def prepare(self, number: int, version: str) -> Future[Any]:
        """Start to encode a picture unless that is done or under way.

        Args:
            number: The picture.
            version: Of its file.
        """
        with self._lock:
            return self._prepared((number, version))

    def _prepared(self, key: tuple[int, str]) -> Future[Any]:
        if self._closed:
            raise DelineateError("prompt: the server is being stopped.")
        known = self._known.get(key)
        if known is None or known.cancelled() or (known.done() and known.exception() is not None):
            for other, future in self._known.items():
                if not self._asking[other]:
                    future.cancel()  # of a picture that nobody looks at any more
            known = self._known[key] = Future()
            self._waiting.put((known, key[0]))
        self._known.move_to_end(key)
        while len(self._known) > self._remembered:
            self._known.popitem(last=False)
        return known

    def _work(self) -> None:
        """The background thread."""
        while (task := self._waiting.get()) is not None:
            future, number = task
            if not future.set_running_or_notify_cancel():
                continue
            self.busy = True
            try:
                made = self.engine.encode(self._pixels(number))
            except Exception as error:  # noqa: BLE001 - it is raised where the result is asked for
                self.busy = False
                future.set_exception(error)
            else:
                self.busy = False
                future.set_result(made)

    def state(self, number: int, version: str) -> str:
        """Of a picture: "none", "encoding", "ready" or "failed"."""
        with self._lock:
            known = self._known.get((number, version))
        if known is None or known.cancelled():
            return "none"
        if not known.done():
            return "encoding"
        return "ready" if known.exception() is None else "failed"

    def ask(self, number: int, version: str, prompt: Prompt) -> Instances:
        """The candidates for a prompt; waits for the encoding.

        Raises:
            ValueError: Too many points, or none and no box.
            DelineateError: The picture cannot be read, or the model failed.
        """
        if len(prompt.points) > MAX_POINTS:
            raise ValueError(f"prompt must have at most {MAX_POINTS} points, got {len(prompt.points)}.")
        if not len(prompt.points) and prompt.box is None:
            raise ValueError("prompt must have points or a box, got none.")
        return self.engine.answer(self.encoded(number, version), prompt)

    def encoded(self, number: int, version: str) -> Any:  # noqa: ANN401 - as the engine says
        """What the engine made of a picture; waits for it.

        Raises:
            DelineateError: The picture cannot be read, or the model failed.
        """
        key = number, version
        with self._lock:
            known = self._prepared(key)
            self._asking[key] += 1
        try:
            return known.result(_PATIENCE)
        except CancelledError:
            raise DelineateError("prompt: the server is being stopped.") from None
        except TimeoutError:
            raise DelineateError(f"prompt: {self.engine.name} takes too long for this picture.") from None
        finally:
            with self._lock:
                self._asking -= Counter([key])

    def close(self, patience: float = 600) -> None:
        """End the background thread after what it does now.

        Args:
            patience: Seconds to wait for that; if they are not enough, `busy` stays true.
        """
        with self._lock:
            self._closed = True
            for known in self._known.values():
                known.cancel()
        self._waiting.put(None)
        self._thread.join(patience)
