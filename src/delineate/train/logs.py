"""What a run writes about itself while it runs: a CSV row per epoch, and curves."""

from __future__ import annotations

import csv
import io
import logging
from pathlib import Path
from typing import Any

from delineate.atomic import write_bytes

log = logging.getLogger("delineate")


class Logs:
    """metrics.csv, and TensorBoard curves where the package is installed.

    Args:
        folder: The run's folder.
        epoch: Epochs completed before; later rows of an earlier attempt are dropped.
        tensorboard: Whether curves are wanted.
    """

    def __init__(self, folder: Path, epoch: int, tensorboard: bool) -> None:
        self.path = folder / "metrics.csv"
        self.rows: list[dict[str, str]] = []
        if epoch and self.path.is_file():
            with self.path.open(newline="", encoding="utf-8") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["epoch"]) <= epoch]
        self.writer: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                log.info(
                    "TensorBoard is not installed; no curves are written. Run: pip install 'delineate[tensorboard]'"
                )
            else:
                self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=epoch + 1)

    def write(self, epoch: int, values: dict[str, float]) -> None:
        """Adds an epoch; the file is written anew, so that a killed run leaves no half row."""
        self.rows.append({"epoch": str(epoch), **{name: f"{value:.6g}" for name, value in values.items()}})
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, names, restval="")
        writer.writeheader()
        writer.writerows(self.rows)
        write_bytes(self.path, text.getvalue().encode())
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, epoch)
            self.writer.flush()

    def close(self) -> None:
        """Ends the TensorBoard file."""
        if self.writer is not None:
            self.writer.close()
