"""Parties that do the same job in turn, in one process; medians of process CPU time, and the shortest wall times."""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

Job = dict[str, Callable[[], object]]  # party -> its work; "delineate" first


class Times(NamedTuple):
    """Milliseconds. Other work on the machine lengthens the wall time only, hence its shortest."""

    cpu: float  # of all threads, median
    wall: float  # shortest


def options(text: str, rounds: int = 9) -> argparse.Namespace:
    """Read --rounds, --threads, --only and --json, and keep the process on that many CPUs."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="the jobs whose name holds this")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    keep_on(chosen.threads)
    return chosen


def keep_on(cpus: int) -> None:
    """From now on this process sees so many CPUs."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cpus])


def measured(job: Job, rounds: int) -> dict[str, Times]:
    """Times by party. A turn lasts at least 5 ms: short work is repeated, as often as the first round tells."""
    times: dict[str, list[Times]] = {name: [] for name in job}
    repeats = {name: max(1, int(5 / turn(work, 1).wall)) for name, work in job.items()}
    for _ in range(rounds):
        for name, work in job.items():
            times[name].append(turn(work, repeats[name]))
    return {
        name: Times(statistics.median(t.cpu for t in found), min(t.wall for t in found))
        for name, found in times.items()
    }


def turn(work: Callable[[], object], repeats: int) -> Times:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        work()
    factor = 1000 / repeats
    return Times((time.process_time() - cpu) * factor, (time.perf_counter() - wall) * factor)


def report(jobs: dict[str, Job], chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Run all jobs, print a line each, write JSON where asked for; CPU times for one thread, else wall times."""
    results = {}
    kind = "cpu" if chosen.threads == 1 else "wall"
    print(f"{chosen.threads} thread(s); {kind} ms and ratio to delineate")
    for name, job in jobs.items():
        if chosen.only not in name:
            continue
        found = {party: getattr(times, kind) for party, times in measured(job, chosen.rounds).items()}
        results[name] = found
        mine = found["delineate"]
        rest = [f"{peer} {ms:.2f} ({ms / mine:.1f}x)" for peer, ms in found.items() if peer != "delineate"]
        print(f"{name:44} {mine:9.3f}   {', '.join(rest)}", flush=True)
    if chosen.json:
        machine = platform.processor() or platform.machine()
        facts = {"machine": machine, "numpy": np.__version__, "threads": chosen.threads, "time": kind}
        chosen.json.write_text(json.dumps(facts | {"ms": results}, indent=1) + "\n", encoding="utf-8")
    return results
