"""``delineate export``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter

from delineate.errors import MissingExtra
from delineate.image import SUFFIXES
from delineate.modelfile import Preprocess
from delineate.postprocess.decode import Thresholds

if TYPE_CHECKING:
    from delineate.models import Loaded


def export_command(
    checkpoint: Annotated[
        Path, Parameter(help="A checkpoint of `delineate train`, or an official .pt file.")
    ],
    /,
    *,
    out: Annotated[Path, Parameter(help="The ONNX file to write.")],
    licence: Annotated[str, Parameter(help="Licence of the weights, an SPDX identifier.")] = "",
    samples: Annotated[
        Path | None, Parameter(help="Picture, or folder of pictures, for the parity check.")
    ] = None,
    limit: Annotated[int, Parameter(help="At most so many samples.")] = 16,
    half: Annotated[
        bool, Parameter(negative="", help="Store weights as float16; computation stays float32.")
    ] = False,
    score: Annotated[float | None, Parameter(help="Default score threshold of the file.")] = None,
    iou: Annotated[float | None, Parameter(help="Default overlap threshold of the file.")] = None,
    max_detections: Annotated[int | None, Parameter(help="Default limit on objects per picture.")] = None,
    note: Annotated[tuple[str, ...], Parameter(negative="", help="A fact for the file: data=BBBC038")] = (),
) -> int:
    """Exports a model; see `delineate export --help`."""
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra("torch", "torch")
    from delineate import models
    from delineate.export import export

    loaded = models.load(checkpoint)
    given = {"score": score, "iou": iou, "max_detections": max_detections}
    thresholds = msgspec.structs.replace(
        _thresholds(loaded), **{name: value for name, value in given.items() if value is not None}
    )
    parity = export(
        loaded.model,
        out,
        preprocess=_preprocess(loaded),
        classes=loaded.classes,
        thresholds=thresholds,
        licence=licence or _licence(loaded),
        provenance={"name": out.stem, **_facts(loaded), **dict(_pair(text) for text in note)},
        samples=_pictures(samples)[:limit],
        half=half,
    )
    sys.stdout.write(
        f"{out}  {out.stat().st_size / 1e6:.1f} MB  parity over {parity.pictures} pictures: "
        f"{parity.instances} objects, {parity.unmatched} unmatched, mask IoU at least {parity.mask_iou_min:.4f}, "
        f"score drift {parity.score_drift:.2e}\n"
    )
    return 0


def _preprocess(loaded: Loaded) -> Preprocess:
    """What training used; what its variant says for an official checkpoint, else a letterbox of 640."""
    if "config" not in loaded.header:
        given: Preprocess = getattr(loaded.model.config, "preprocess", Preprocess())
        return given
    from delineate.train import TrainConfig
    from delineate.train.loop import preprocess_of

    return preprocess_of(loaded.model, msgspec.convert(loaded.header["config"], TrainConfig))


def _thresholds(loaded: Loaded) -> Thresholds:
    config = loaded.header.get("config", {})
    known = {name: config[name] for name in ("iou", "max_detections") if name in config}
    return Thresholds(**known)


def _licence(loaded: Loaded) -> str:
    """Official weights keep their licence; the user's own have the one that the user states."""
    if loaded.header:
        return "not stated"
    from delineate import models

    family, _, variant = loaded.name.partition("-")
    weights = models.family(family).WEIGHTS.get(variant)
    return weights.licence if weights else "not stated"


def _facts(loaded: Loaded) -> dict[str, Any]:
    """What the file says of its origin; folders of the machine that trained it stay out."""
    kept = ("epoch", "step", "metrics", "config")
    facts = {"model": loaded.name, **{name: loaded.header[name] for name in kept if name in loaded.header}}
    if "config" in facts:
        data = {**facts["config"].get("data", {}), "root": ""}
        facts["config"] = {**facts["config"], "data": data}
    return facts


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ValueError(f"--note: a fact must look like key=value, got {text!r}.")
    return key, value


def _pictures(samples: Path | None) -> list[Path]:
    if samples is None:
        return []
    if samples.is_dir():
        return sorted(path for path in samples.iterdir() if path.suffix.lower() in SUFFIXES)
    return [samples]
