"""Find objects by naming them: candidate masks, ranked by an image-text encoder such as CLIP.

A promptable model (or any instance model, whatever its classes) gives masks without names. A square around each
is cut out of the picture and encoded; so are the texts; what lies near a text is what it names. No encoder is
part of this package: `ImageTextEncoder` is two functions, and `delineate.clip` makes one of CLIP's files.

What is done, and where it is from:

* Texts are put into several sentences ("a photo of a {}."), whose encodings are averaged: CLIP's prompt
  ensembling (Radford et al. 2021, arXiv:2103.00020, section 3.1.4).
* The surroundings of a mask stay, blurred: CLIP was trained on whole pictures, and pixels that are blacked out
  mislead it (Liang et al. 2023, OVSeg, arXiv:2210.04150); a blurred background was the best of the ways to point
  at a region (Yang et al. 2023, "Fine-Grained Visual Prompting", arXiv:2306.04356).
* A mask's score for a text is the softmax between that text and `Options.others`, which name nothing in
  particular, in the manner of LERF's relevancy (Kerr et al. 2023, arXiv:2303.09553), from which the defaults are.
  So no text changes the score of another one.

Segment Anything's own text prompt (arXiv:2304.02643, section 7.5) feeds CLIP's encodings to a decoder that was
trained with them; its weights were not published.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from delineate._mask_views import Background, Views
from delineate.everything import Options as GridOptions
from delineate.everything import segment_everything
from delineate.image import to_rgb8
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.pairs import overlaps
from delineate.postprocess.nms import mask_nms
from delineate.predict import Predictor
from delineate.prompt import PromptPredictor

__all__ = [
    "GRID",
    "Background",
    "Finder",
    "ImageTextEncoder",
    "Options",
    "Progress",
    "candidates",
    "describe",
    "find",
    "rank",
]

GRID = GridOptions(points=16, iou=0.7, stability=0.9)
"""How a promptable model is asked for candidates: less strictly than for its own sake, as the text decides."""

Progress: TypeAlias = Callable[[int, int], None]
"""Called with how many candidates were looked at, and how many there are."""


class ImageTextEncoder(NamedTuple):
    """Two functions that map texts and pictures into one space, where what belongs together is near.

    Attributes:
        texts: T texts to (T, D) float32. Vectors of any length: they are scaled to 1.
        pictures: N pictures, each (side, side, 3) uint8 RGB, to (N, D) float32.
        side: Pixels per side of the pictures that it wants.
        scale: By which cosines become logits; CLIP's training ends at 100.
        name: For messages.

    >>> flat = ImageTextEncoder(lambda texts: np.ones((len(texts), 2)), lambda pictures: np.ones((len(pictures), 2)))
    >>> flat.side
    224
    """

    texts: Callable[[Sequence[str]], NDArray[Any]]
    pictures: Callable[[Sequence[NDArray[np.uint8]]], NDArray[Any]]
    side: int = 224
    scale: float = 100.0
    name: str = "encoder"


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How texts are asked, how masks are shown, and what stays.

    >>> Options(background="grey").score
    0.5
    """

    score: float = 0.5  # what stays has at least this; 0.5: the text is as likely as all `others` together
    others: tuple[str, ...] = ("object", "things", "stuff", "texture")  # what a mask is that no text names
    templates: tuple[str, ...] = (
        "a photo of a {}.",
        "a photo of the small {}.",
        "a photo of the large {}.",
        "a close-up photo of a {}.",
    )  # sentences around a text, at {}
    background: Background = "blur"  # of a mask: blurred, one grey, or kept as it is
    margin: float = 0.2  # of the picture around a mask's box, as a share of the box's longer side
    overlap: float = 0.7  # IoU from which the worse of two masks of one text goes
    nested: float = 0.9  # likewise, the share of the smaller one that lies in the other; above 1: parts stay
    batch: int = 16  # pictures per call of the encoder

    def __post_init__(self) -> None:
        for name in ("score", "overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"Options: {name} must be within [0, 1], got {getattr(self, name)}")
        if not 0 <= self.margin <= 10:
            raise ValueError(f"Options: margin must be within [0, 10], got {self.margin}")
        if not self.nested > 0:
            raise ValueError(f"Options: nested must be above 0, got {self.nested}")
        if self.batch < 1:
            raise ValueError(f"Options: batch must be at least 1, got {self.batch}")
        if self.background not in ("blur", "grey", "keep"):
            raise ValueError(f'Options: background must be "blur", "grey" or "keep", got {self.background!r}')
        _checked(self.others, 'Options: others must name what else there may be, such as "background"')
        if not self.templates or not all("{}" in template for template in self.templates):
            raise ValueError(f"Options: templates must be sentences with {{}} in them, got {self.templates}")


class Finder:
    """Texts, encoded once, to be found in any number of pictures.

    Args:
        encoder: The image-text encoder.
        texts: T different texts, in any script that the encoder knows. They become the classes, in this order.
        options: See `Options`; None for the defaults.

    Raises:
        ValueError: If there is no text, one is empty or given twice, or the encoder's answer is none.

    Attributes:
        classes: The texts; labels index into them.
    """

    def __init__(
        self, encoder: ImageTextEncoder, texts: Sequence[str], options: Options | None = None
    ) -> None:
        self.encoder, self.options = encoder, options or Options()
        self.classes = _checked(texts, 'Finder: texts must name what to find, such as ["red car"]')
        if encoder.side < 1 or not encoder.scale > 0:
            raise ValueError(f"Finder: encoder must have a side and a scale above 0, got {encoder[2:4]}")
        self._texts, self._others = self._encoded(self.classes), self._encoded(self.options.others)

    def scores(
        self, masks: Masks, image: NDArray[Any], progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """How likely each mask shows what each text names, rather than any of the others.

        Args:
            masks: N masks of the picture, none without pixels.
            image: (H, W, 3) uint8 RGB, or what `delineate.image.to_rgb8` takes.
            progress: Called after each batch.

        Returns:
            (N, T), 0 to 1.

        Raises:
            ValueError: If picture and masks differ in size, a mask is empty, or the encoder's answer does not fit.
        """
        return _likely(self._log_odds(describe(self.encoder, masks, image, self.options, progress)))

    def _log_odds(self, described: NDArray[np.float32]) -> NDArray[np.float32]:
        """What `scores` are the logistic function of: it still tells masks apart where they are all 1."""
        if not len(described):
            return np.zeros((0, len(self.classes)), np.float32)
        if described.shape[1:] != self._texts.shape[1:]:
            raise ValueError(
                f"{self.encoder.name}: pictures must have as many numbers as texts ({self._texts.shape[1]}), "
                f"got shape {described.shape}. Use both encoders of one model"
            )
        logits = self.encoder.scale * (described @ self._texts.T)
        others = np.logaddexp.reduce(self.encoder.scale * (described @ self._others.T), axis=1)
        return np.asarray(logits - others[:, None], np.float32)

    def rank(self, candidates: Instances, image: NDArray[Any], progress: Progress | None = None) -> Instances:
        """Those of some masks that one of the texts names.

        Args:
            candidates: Any instances with masks; their labels are not looked at, masks without pixels go.
            image: The picture, as in `scores`.
            progress: Called after each batch.

        Returns:
            By falling score, of equal ones in the order given. Labels index into `classes` (of equal scores the
            first text), scores are those of `scores`. Of masks of one text that cover each other the best stays.
            The extras stay; ``candidate_score`` is added where the candidates had scores.
        """
        if candidates.masks is None:
            raise ValueError("Finder.rank: candidates must have masks, got boxes only")
        kept = candidates[candidates.masks.areas > 0]
        masks = kept.masks if kept.masks is not None else Masks.empty(kept.size)
        return self.choose(kept, describe(self.encoder, masks, image, self.options, progress))

    def choose(self, candidates: Instances, described: NDArray[np.float32]) -> Instances:
        """As `rank`, of masks that were described before: further texts cost next to nothing.

        Args:
            candidates: N instances with masks that have pixels.
            described: (N, D): their `describe`, by the same encoder.
        """
        if candidates.masks is None or len(described) != len(candidates):
            raise ValueError(
                f"Finder.choose: described must be that of {len(candidates)} masks, got shape {described.shape}"
            )
        odds = self._log_odds(described)
        labels, best = odds.argmax(1), odds.max(1)
        stays = np.flatnonzero(_likely(best) >= self.options.score)
        stays = stays[_alone(candidates.masks[stays], best[stays], labels[stays], self.options)]
        extras = dict(candidates.extras)
        if candidates.scores is not None:
            extras["candidate_score"] = candidates.scores
        return candidates.replace(labels=labels, scores=_likely(best), crowd=None, extras=extras)[stays]

    def find(
        self,
        predictor: PromptPredictor | Predictor,
        image: NDArray[Any],
        grid: GridOptions | None = None,
        progress: Progress | None = None,
    ) -> Instances:
        """`candidates` of a picture, and of them what the texts name.

        Args:
            predictor: See `candidates`.
            image: The picture, as in `scores`.
            grid: See `candidates`.
            progress: Called after each batch of candidates.
        """
        picture = to_rgb8(image)
        return self.rank(candidates(predictor, picture, grid), picture, progress)

    def _encoded(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(T, D): the mean direction of each text's sentences."""
        filled = [template.replace("{}", text) for text in texts for template in self.options.templates]
        vectors = _unit(self.encoder.texts(filled), len(filled), f"{self.encoder.name}: texts")
        means = vectors.reshape(len(texts), len(self.options.templates), -1).mean(1)
        return _unit(means, len(texts), f"{self.encoder.name}: texts")


def describe(
    encoder: ImageTextEncoder,
    masks: Masks,
    image: NDArray[Any],
    options: Options | None = None,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """What the encoder makes of each mask with its surroundings: `Finder.choose` compares it with any texts.

    Args:
        encoder: The image-text encoder.
        masks: N masks of the picture, none without pixels.
        image: (H, W, 3) uint8 RGB, or what `delineate.image.to_rgb8` takes.
        options: How masks are shown; None for the defaults.
        progress: Called after each batch.

    Returns:
        (N, D), each of length 1; (0, 0) for N = 0.

    Raises:
        ValueError: If picture and masks differ in size, a mask is empty, or the encoder's answer does not fit.
    """
    options = options or Options()
    picture = to_rgb8(image)
    if picture.shape[:2] != masks.size:
        raise ValueError(
            f"describe: masks must be on the picture's canvas {picture.shape[:2]}, got {masks.size}"
        )
    hollow = np.flatnonzero(masks.areas == 0)
    if len(hollow):
        raise ValueError(f"describe: masks must have pixels, got mask {hollow[0]} without. Leave it out")
    views = Views(picture, masks, encoder.side, options.margin, options.background)
    parts = []
    for start in range(0, len(masks), options.batch):
        end = min(start + options.batch, len(masks))
        seen = [views(index) for index in range(start, end)]
        parts.append(_unit(encoder.pictures(seen), len(seen), f"{encoder.name}: pictures"))
        if progress is not None:
            progress(end, len(masks))
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def candidates(
    predictor: PromptPredictor | Predictor, image: NDArray[Any], grid: GridOptions | None = None
) -> Instances:
    """The masks among which a text chooses.

    Args:
        predictor: A promptable model, which is asked for everything, or an instance model.
        image: (H, W, 3) uint8 RGB, or what `delineate.image.to_rgb8` takes.
        grid: How everything is asked for; instance models know nothing of it. None for `GRID`.
    """
    if isinstance(predictor, PromptPredictor):
        return segment_everything(predictor, image, grid or GRID)
    return predictor.predict(image)


def rank(
    found: Instances,
    encoder: ImageTextEncoder,
    image: NDArray[Any],
    texts: Sequence[str],
    options: Options | None = None,
) -> Instances:
    """Those of some masks that one of the texts names; see `Finder.rank`, which encodes texts once for many pictures.

    Args:
        found: Any instances with masks.
        encoder: The image-text encoder.
        image: The picture of the masks, as `delineate.image.to_rgb8` takes it.
        texts: What to find.
        options: See `Options`.

    >>> def greys(pictures):  # (grey, 1 - grey)
    ...     mean = np.array([picture.mean() / 255 for picture in pictures])
    ...     return np.stack((mean, 1 - mean), 1)
    >>> def words(texts):
    ...     return np.array([(1, 0) if "white" in text else (0, 1) if "black" in text else (1, 1) for text in texts])
    >>> image = np.tile(np.array([[0] * 16 + [255] * 16], np.uint8), (16, 1))
    >>> halves = Instances.of(Masks.from_boxes([[0, 0, 16, 16], [16, 0, 32, 16]], (16, 32)))
    >>> rank(halves, ImageTextEncoder(words, greys), image, ["white", "red"], Options(margin=0)).boxes
    array([[16.,  0., 32., 16.]], dtype=float32)
    """
    return Finder(encoder, texts, options).rank(found, image)


def find(
    predictor: PromptPredictor | Predictor,
    encoder: ImageTextEncoder,
    image: NDArray[Any],
    texts: Sequence[str],
    options: Options | None = None,
) -> Instances:
    """The objects of a picture that texts name; see `Finder.find`, which encodes texts once for many pictures.

    Args:
        predictor: A promptable model, which is asked for everything, or an instance model.
        encoder: The image-text encoder.
        image: (H, W, 3) uint8 RGB, or what `delineate.image.to_rgb8` takes.
        texts: What to find: T different texts.
        options: See `Options`.

    Returns:
        See `Finder.rank`; labels index into the texts.
    """
    return Finder(encoder, texts, options).find(predictor, image)


def _checked(texts: Sequence[str], remedy: str) -> tuple[str, ...]:
    """Different texts that are not empty, without white space around them."""
    if isinstance(texts, str):
        raise TypeError(f"{remedy}, got the str {texts!r:.80}. Put it into a list")
    stripped = tuple(text.strip() if isinstance(text, str) else "" for text in texts)
    if not stripped or "" in stripped:
        raise ValueError(f"{remedy}, got {list(texts)!r:.200}")
    twice = sorted({text for text in stripped if stripped.count(text) > 1})
    if twice:
        raise ValueError(f"{remedy}, each once, got {twice[0]!r:.80} more than once")
    return stripped


def _unit(vectors: NDArray[Any], count: int, where: str) -> NDArray[np.float32]:
    """Rows of length 1."""
    array = np.asarray(vectors, np.float32)
    if array.ndim != 2 or len(array) != count or not array.shape[1] or not np.isfinite(array).all():
        raise ValueError(f"{where} must be finite vectors ({count}, D), got shape {array.shape}")
    lengths = np.linalg.norm(array, axis=1, keepdims=True)
    return np.asarray(array / np.where(lengths > 0, lengths, 1), np.float32)


def _likely(odds: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.exp(-np.logaddexp(0, -odds)), np.float32)


def _alone(
    masks: Masks, odds: NDArray[np.float32], labels: NDArray[np.int64], options: Options
) -> NDArray[np.int64]:
    """Indices by falling odds, without masks that a better one of their text covers or holds, or that hold one."""
    order = mask_nms(masks, odds, options.overlap, labels)
    pairs = overlaps(masks[order], measure="minimum", min_value=options.nested)
    keep = np.ones(len(order), bool)
    for better, worse in zip(pairs.first, pairs.second, strict=True):  # in this order, the better is final
        if keep[better] and labels[order[better]] == labels[order[worse]]:
            keep[worse] = False
    return order[keep]
