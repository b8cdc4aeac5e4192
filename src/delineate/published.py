"""Models that others have trained: their files fetched, read, and made into files that predictors take.

::

    path = published.checkpoint("mask_rcnn-r50_fpn")  # downloads at the first time
    published.prepare("mask_rcnn-r50_fpn", path)  # an ONNX file in the cache, made at the first time
    Predictor("mask_rcnn-r50_fpn")  # from now on, without torch

Those that take prompts become pairs of files: ``PromptPredictor.load("sam-vit_b")``.

Weights have licences of their own. Those under a licence that asks for more than attribution are fetched only
for a caller who names that licence.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from delineate import download, models
from delineate._coco_names import CLASSES, STUFF, VOC
from delineate.errors import DownloadError
from delineate.export import export
from delineate.export_prompts import export_promptable
from delineate.modelfile import Preprocess
from delineate.postprocess.decode import Thresholds
from delineate.prompt import PromptCard

if TYPE_CHECKING:
    from delineate.models.sam import Sam

PERMISSIVE = frozenset({"Apache-2.0", "BSD-3-Clause", "CC-BY-4.0", "CC0-1.0", "MIT"})
"""Licences of weights that ask for attribution at most."""


class Published(NamedTuple):
    """A published checkpoint.

    Attributes:
        name: "family-entry", as `names` lists it.
        model: What `models.build` calls its architecture.
        weights: Where it is, under which licence, and how good it is said to be.
    """

    name: str
    model: str
    weights: models.Weights

    @property
    def path(self) -> Path:
        """Where the file lies once it is fetched."""
        return download.location(self.weights.remote)


def names() -> list[str]:
    """Every published checkpoint, "family-entry", in alphabetical order.

    >>> "mask_rcnn-r50_fpn" in names()
    True
    """
    return sorted(f"{name}-{entry}" for name in models.families() for entry in models.family(name).WEIGHTS)


def find(name: str) -> Published:
    """One of `names`.

    Args:
        name: "family-entry".

    Raises:
        ValueError: If there is no such checkpoint.

    >>> find("sam-vit_b").weights.licence
    'Apache-2.0'
    """
    known = names()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"published: name must be one of {', '.join(known)}, got {name!r}.{hint}")
    family, _, entry = name.partition("-")
    weights: models.Weights = models.family(family).WEIGHTS[entry]
    return Published(name, f"{family}-{weights.variant or entry}", weights)


def checkpoint(
    name: str,
    *,
    accepted: str = "",
    announce: Callable[[download.Remote], None] | None = None,
    progress: download.Progress | None = None,
    offline: bool | None = None,
) -> Path:
    """The file of a published checkpoint, fetched if it is not in the cache.

    Args:
        name: One of `names`.
        accepted: The licence whose terms the caller accepts; needed for those that are not in `PERMISSIVE`.
        announce: Called with what will come, before it comes.
        progress: Called as bytes arrive.
        offline: Never fetch; None = what ``DELINEATE_OFFLINE`` says.

    Raises:
        DownloadError: If the licence is not accepted, or the file cannot be had (see `download.fetch`).
        ValueError: If there is no such checkpoint.
    """
    found = find(name)
    licence = found.weights.licence
    if licence not in PERMISSIVE and accepted != licence and not found.path.is_file():
        raise DownloadError(
            f"{found.weights.remote}. Its licence is not a permissive one, and what is made with it stays under it: "
            f"pass --accept-licence {licence} (accepted={licence!r}) if you accept that"
        )
    return download.fetch(found.weights.remote, announce=announce, progress=progress, offline=offline)


def load(name: str, path: str | Path) -> models.Loaded:
    """The torch model of a published checkpoint, with COCO's or Pascal VOC's class names where the file has none.

    Args:
        name: One of `names`; a detector.
        path: Its file, as `checkpoint` gives it.

    Raises:
        WeightsError: If the file does not fit, tensor by tensor.
        ValueError: If there is no such checkpoint, or it is one that takes prompts.
    """
    found = find(name)
    if models.takes_prompts(name.partition("-")[0]):
        raise ValueError(f"published: {name} takes prompts and knows no classes. Use models.load_weights")
    known = () if name.startswith("yolo") else (CLASSES, VOC)
    classes = next((names for names in known if len(names) == found.weights.classes), ())
    return models.load(path, found.model, classes)


def prepare(name: str, path: str | Path) -> Path:
    """The ONNX file of a published checkpoint, made at the first time; of a promptable one, that of the encoder.

    From then on ``Predictor(name)`` or ``PromptPredictor.load(name)`` takes it, without torch. It is checked
    against the torch model before it is kept.

    Args:
        name: One of `names`.
        path: Its file, as `checkpoint` gives it.

    Raises:
        MissingExtra: If onnx is not installed.
        RuntimeFailure: If the exported network does not agree with the model.
        WeightsError: If the file does not fit.
    """
    found = find(name)
    provenance = {"name": name, "model": found.model, "source": found.weights.url}
    if models.takes_prompts(name.partition("-")[0]):
        return _prepare_pair(found, Path(path), provenance)
    target = download.model_location(name)
    if target.is_file():
        return target
    loaded = load(name, path)
    config: Any = loaded.model.config
    target.parent.mkdir(parents=True, exist_ok=True)
    export(
        loaded.model,
        target,
        preprocess=getattr(config, "preprocess", Preprocess()),
        classes=(*loaded.classes, *(STUFF if getattr(config, "stuff", 0) == len(STUFF) else ())),
        thresholds=Thresholds(),
        licence=found.weights.licence,
        provenance=provenance,
    )
    return target


def _prepare_pair(found: Published, path: Path, provenance: dict[str, Any]) -> Path:
    """Encoder and decoder; the largest with weights of half the width, as a file of this kind ends at 2 GiB."""
    encoder, decoder = (download.model_location(f"{found.name}_{part}") for part in ("encoder", "decoder"))
    if encoder.is_file() and decoder.is_file():
        return encoder
    model = models.build(found.model)
    models.load_weights(model, path)
    encoder.parent.mkdir(parents=True, exist_ok=True)
    card = PromptCard(name=found.name, licence=found.weights.licence, provenance=provenance)
    export_promptable(cast("Sam", model), encoder, decoder, card=card, half=path.stat().st_size > 2 * 10**9)
    return encoder
