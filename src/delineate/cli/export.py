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

if TYPE_CHECKING:
    from delineate.models import Loaded
    from delineate.prompt import PromptCard


def export_command(
    checkpoint: Annotated[
        Path, Parameter(help="A checkpoint of `delineate train`, or an official .pt file.")
    ],
    /,
    *,
    out: Annotated[
        Path,
        Parameter(
            help="The ONNX file to write; of a promptable model NAME_encoder.onnx and NAME_decoder.onnx."
        ),
    ],
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
    from delineate.trained import card_of, prompt_card_of

    loaded = models.load(checkpoint)
    given = {"score": score, "iou": iou, "max_detections": max_detections}
    stated = dict(_pair(text) for text in note)
    if models.takes_prompts(loaded.model):
        for name, value in {**given, "samples": samples}.items():
            if value is not None:
                text = f"--{name.replace('_', '-')}: must be left out for a model that takes prompts."
                raise ValueError(text)
        own = prompt_card_of(loaded, out.stem)
        provenance = {**own.provenance, **stated}
        own = msgspec.structs.replace(own, licence=licence or own.licence, provenance=provenance)
        return _export_pair(loaded, out, own, half=half)
    facts = card_of(loaded, out.stem)
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
        provenance={"name": out.stem, **facts.provenance, **stated},
        samples=_pictures(samples)[:limit],
        half=half,
    )
    sys.stdout.write(
        f"{out}  {out.stat().st_size / 1e6:.1f} MB  parity over {parity.pictures} pictures: "
        f"{parity.instances} objects, {parity.unmatched} unmatched, mask IoU at least {parity.mask_iou_min:.4f}, "
        f"score drift {parity.score_drift:.2e}\n"
    )
    return 0


def _export_pair(loaded: Loaded, out: Path, card: PromptCard, *, half: bool) -> int:
    """Encoder and decoder beside each other."""
    from delineate.export_prompts import export_promptable

    model: Any = loaded.model
    files = [out.with_name(f"{out.stem}_{part}.onnx") for part in ("encoder", "decoder")]
    parity = export_promptable(model, *files, card=card, half=half)
    for file in files:
        sys.stdout.write(f"{file}  {file.stat().st_size / 1e6:.1f} MB\n")
    sys.stdout.write(f"parity: differences of at most {max(parity):.1e} of the largest number\n")
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
