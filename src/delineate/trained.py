"""A checkpoint as a predictor: what it says of itself, and torch as the runtime. No file is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from delineate import models
from delineate.errors import RuntimeFailure
from delineate.modelfile import KEY, SIZES, Card, Preprocess
from delineate.models import Loaded
from delineate.postprocess.decode import Thresholds
from delineate.postprocess.panoptic import Rules
from delineate.predict import Predictor
from delineate.prompt import PromptCard
from delineate.runtimes import Port
from delineate.train.config import TrainConfig
from delineate.train.loop import preprocess_of


class TorchRuntime:
    """A torch model as a `runtimes.Runtime`.

    Args:
        model: A model of `delineate.models`; it is fused in place, and stays on its device.
        card: What it says of itself.
        source: What to call it in messages.
    """

    def __init__(self, model: torch.nn.Module, card: Card, source: str = "a torch model") -> None:
        network: Any = model
        self._model, self._source = network.fuse().eval(), source
        pictures = Port("images", (None, 3, None, None), "float32")
        sizes = (Port(SIZES, (None, 2), "int64"),) if models.takes_sizes(model) else ()
        self.inputs: tuple[Port, ...] = (pictures, *sizes)
        self.outputs: tuple[Port, ...] = ()  # as many as the family has
        self.metadata: Mapping[str, str] = MappingProxyType({KEY: card.to_json()})

    @torch.inference_mode()
    def __call__(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the network once: an array per input name in, outputs named by their places out.

        Raises:
            RuntimeFailure: The run failed.
        """
        device = next(self._model.parameters()).device
        given = [torch.from_numpy(np.asarray(arrays[port.name])).to(device) for port in self.inputs]
        try:
            outputs = self._model.export(*given)
        except RuntimeError as error:
            raise RuntimeFailure(f"{self._source}: torch failed: {str(error).splitlines()[0]}") from error
        return {f"output{n}": output.float().cpu().numpy() for n, output in enumerate(outputs)}

    def __repr__(self) -> str:
        return self._source


def predictor(path: str | Path, **options: Any) -> Predictor:
    """A predictor of a checkpoint.

    Args:
        path: A checkpoint of `delineate train`, or an official file of a family.
        **options: `score`, `iou`, `max_detections` and `classes` as `Predictor` takes them.

    Raises:
        WeightsError: The file is damaged, or fits no model of this package that finds things by itself.
        OSError: The file cannot be opened.
    """
    loaded = models.load(path)
    return Predictor(TorchRuntime(loaded.model, card_of(loaded, Path(path).stem), str(path)), **options)


def card_of(loaded: Loaded, name: str) -> Card:
    """What a checkpoint says of itself, as a file exported from it would.

    Args:
        loaded: The checkpoint.
        name: What to call the model.
    """
    config: Any = loaded.model.config
    stated = loaded.header.get("config", {})
    run = msgspec.convert(stated, TrainConfig) if stated else TrainConfig()
    known = {field: stated[field] for field in ("iou", "max_detections") if field in stated}
    return Card(
        name=name,
        classes=loaded.classes,
        stuff=tuple(loaded.header.get("stuff", ())),
        preprocess=preprocess_of(loaded.model, run)
        if stated
        else getattr(config, "preprocess", Preprocess()),
        decode=models.family(loaded.model).DECODE,
        thresholds=Thresholds(**known),
        panoptic=getattr(config, "rules", Rules()),
        strides=tuple(config.strides),
        licence=_licence(loaded),
        provenance=_facts(loaded),
    )


def prompt_card_of(loaded: Loaded, name: str) -> PromptCard:
    """What a checkpoint of a promptable model says of itself.

    Args:
        loaded: The checkpoint.
        name: What to call the model.
    """
    stated = loaded.header.get("config", {})
    return PromptCard(
        name=name,
        licence=_licence(loaded),
        stretch=msgspec.convert(stated, TrainConfig).stretch if stated else None,
        conventions=models.family(loaded.model).CONVENTIONS,
        provenance=_facts(loaded),
    )


def _licence(loaded: Loaded) -> str:
    """Official weights keep their licence; the user's own have the one that the user states."""
    if loaded.header:
        return "not stated"
    family, _, variant = loaded.name.partition("-")
    weights = models.family(family).WEIGHTS.get(variant)
    return weights.licence if weights else "not stated"


def _facts(loaded: Loaded) -> dict[str, Any]:
    """What the file says of its origin; folders of the machine that trained it stay out."""
    kept = ("epoch", "step", "metrics", "config")
    facts = {"model": loaded.name, **{name: loaded.header[name] for name in kept if name in loaded.header}}
    if "config" in facts:
        data = {**facts["config"].get("data", {}), "root": ""}
        model = dict(facts["config"].get("model", {}))
        model["weights"] = Path(model.get("weights") or "").name
        facts["config"] = {**facts["config"], "data": data, "model": model}
    return facts
