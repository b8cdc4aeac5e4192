"""``delineate export``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from delineate.errors import MissingExtra
from delineate.image import SUFFIXES


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
    from delineate.trained import card_of

    loaded = models.load(checkpoint)
    facts = card_of(loaded, out.stem)
    given = {"score": score, "iou": iou, "max_detections": max_detections}
    thresholds = msgspec.structs.replace(
        facts.thresholds, **{name: value for name, value in given.items() if value is not None}
    )
    parity = export(
        loaded.model,
        out,
        preprocess=facts.preprocess,
        classes=(*facts.classes, *facts.stuff),
        thresholds=thresholds,
        licence=licence or facts.licence,
        provenance={"name": out.stem, **facts.provenance, **dict(_pair(text) for text in note)},
        samples=_pictures(samples)[:limit],
        half=half,
    )
    sys.stdout.write(
        f"{out}  {out.stat().st_size / 1e6:.1f} MB  parity over {parity.pictures} pictures: "
        f"{parity.instances} objects, {parity.unmatched} unmatched, mask IoU at least {parity.mask_iou_min:.4f}, "
        f"score drift {parity.score_drift:.2e}\n"
    )
    return 0


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
