"""``delineate models``."""

from __future__ import annotations

import importlib.resources
import importlib.util

from rich.console import Console
from rich.table import Table

from delineate.predict import Predictor, embedded


def models_command() -> int:
    """List the embedded models, and the families that can be trained, with the licences of their weights."""
    console = Console()
    table = Table(
        "name", "classes", "licence", "size", title="Embedded models (ready, offline)", title_justify="left"
    )
    for name in embedded():
        predictor = Predictor(name)
        size = len((importlib.resources.files("delineate") / "weights" / f"{name}.onnx").read_bytes())
        table.add_row(name, ", ".join(predictor.classes), predictor.licence, f"{size / 1e6:.1f} MB")
    console.print(table)
    if importlib.util.find_spec("torch") is None:
        console.print("Architectures to train: run pip install 'delineate[torch]' to see them.", markup=False)
        return 0
    from delineate import models

    for title, prompts in (("Architectures to train", False), ("Architectures that take prompts", True)):
        table = Table("name", "published weights", "licence", "mask AP", title=title, title_justify="left")
        for name in models.names():
            family, _, variant = name.partition("-")
            if variant == "test" or models.takes_prompts(family) is not prompts:
                continue
            weights = models.family(family).WEIGHTS.get(variant)
            row = (
                (weights.url.rsplit("/", 1)[-1], weights.licence, str(weights.mask_ap or ""))
                if weights
                else ("", "", "")
            )
            table.add_row(name, *row)
        console.print(table)
    return 0
