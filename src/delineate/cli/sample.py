"""``delineate sample``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from delineate.cli import _datasets as datasets
from delineate.curate.select import sample


def sample_command(
    source: Path,
    target: Path,
    *,
    count: Annotated[int, Parameter(help="How many pictures.")],
    seed: Annotated[int, Parameter(help="Another seed draws other pictures.")] = 0,
    to: datasets.To = None,
    pictures: datasets.Pictures = None,
) -> int:
    """Draws pictures from a dataset; see `delineate sample --help`."""
    name, dataset = datasets.load(source)
    datasets.save(sample(dataset, count, seed=seed), target, to or name, pictures, [source])
    return 0
