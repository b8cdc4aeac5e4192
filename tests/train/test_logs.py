"""Logs of a run: a row per epoch, whole after every kill."""

import csv

import pytest

pytest.importorskip("torch", reason="training needs the extra [torch]")

from delineate.train.logs import Logs


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_columns_may_come_later(tmp_path):
    logs = Logs(tmp_path, 0, tensorboard=False)
    logs.write(1, {"loss": 2.0})
    logs.write(2, {"loss": 1.0, "mask_ap": 0.25})
    assert rows(tmp_path) == [
        {"epoch": "1", "loss": "2", "mask_ap": ""},
        {"epoch": "2", "loss": "1", "mask_ap": "0.25"},
    ]


def test_a_resumed_run_drops_later_rows(tmp_path):
    logs = Logs(tmp_path, 0, tensorboard=False)
    for epoch in (1, 2, 3):
        logs.write(epoch, {"loss": float(epoch)})
    again = Logs(tmp_path, 1, tensorboard=False)
    again.write(2, {"loss": 9.0})
    assert [row["loss"] for row in rows(tmp_path)] == ["1", "9"]


def test_curves_are_written_where_tensorboard_is_installed(tmp_path):
    pytest.importorskip("tensorboard", reason="curves need the extra [tensorboard]")
    logs = Logs(tmp_path, 0, tensorboard=True)
    logs.write(1, {"loss": 2.0})
    logs.close()
    assert list((tmp_path / "tensorboard").glob("events*"))
