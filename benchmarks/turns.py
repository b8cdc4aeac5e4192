"""Parties that do the same job in turn, in one process, on one thread; medians of process CPU time."""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

Job = dict[str, Callable[[], object]]  # party -> its work; "delineate" first


def options(text: str, rounds: int = 9) -> argparse.Namespace:
    """Read --rounds and --json, and keep the process on one CPU."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--json", type=Path)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    return parser.parse_args()


def medians(job: Job, rounds: int) -> dict[str, float]:
    """Milliseconds by party; the first round is not counted."""
    times: dict[str, list[float]] = {name: [] for name in job}
    for _ in range(rounds + 1):
        for name, work in job.items():
            start = time.process_time()
            work()
            times[name].append((time.process_time() - start) * 1000)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def report(jobs: dict[str, Job], chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Run all jobs, print a line each, write JSON where asked for."""
    results = {}
    print("one thread; median CPU ms and ratio to delineate")
    for name, job in jobs.items():
        results[name] = found = medians(job, chosen.rounds)
        mine = found["delineate"]
        rest = [f"{peer} {ms:.2f} ({ms / mine:.1f}x)" for peer, ms in found.items() if peer != "delineate"]
        print(f"{name:44} {mine:9.3f}   {', '.join(rest)}")
    if chosen.json:
        machine = platform.processor() or platform.machine()
        text = json.dumps({"machine": machine, "numpy": np.__version__, "ms": results}, indent=1)
        chosen.json.write_text(text + "\n", encoding="utf-8")
    return results
