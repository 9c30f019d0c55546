"""Parallel Newton in real time: steps that wait, on threads of one process and of several, against serial training.

Serial training is the loop over the same steps, timed. Threads allow a speedup of N over the number of sweeps, with one
slot per thread; the share of it that a solve reaches shows the overhead of Dask and this package. In one process, so
does its difference from the share that the same gradients reach on a bare pool of threads, where a round of them takes
longer than one.
"""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import daskmgrit as dm
from benchmarks.overhead import cluster
from benchmarks.waiting import WaitsForGradient
from daskmgrit.problems import digits

__all__ = ["QUICK", "WHOLE", "Run", "newton", "plot"]

# Rounds of gradients on a bare pool.
ROUNDS = 20
# Seconds, and least number of steps, in which the serial loop is timed.
SERIAL_SECONDS, SERIAL_STEPS = 1.0, 8


@dataclass(frozen=True)
class Run:
    """A solve and its cluster: worker processes with a number of threads each."""

    processes: int
    threads: int
    seconds: float
    steps: int


QUICK = (
    Run(1, 4, 0.1, 120),
    Run(1, 8, 0.1, 160),
    Run(1, 16, 0.1, 160),
    Run(1, 8, 0.005, 960),
    Run(4, 1, 0.1, 160),
    Run(4, 2, 0.25, 120),
)
# With short gradients more steps, so that the start and the end of a solve, some tens of milliseconds, do not count.
WHOLE = tuple(
    Run(processes, threads, seconds, 240 if seconds >= 0.1 else 960)
    for processes, numbers in ((1, (4, 8, 16, 32)), (4, (1, 2, 4, 8)))
    for seconds in (0.25, 0.1, 0.02, 0.005)
    for threads in numbers
)


def _bare_seconds(waits: WaitsForGradient, w0: Any, threads: int) -> float:
    """Return the seconds of a gradient on each thread of a bare pool, at once, and of waiting for all."""
    state, index = w0[None], np.zeros(1, int)

    def gradient(_: int) -> None:
        waits.gradient(state, index)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(gradient, range(threads)))
        clock = time.perf_counter()
        for _ in range(ROUNDS):
            list(pool.map(gradient, range(threads)))
    return (time.perf_counter() - clock) / ROUNDS


def _serial_step(waits: WaitsForGradient, w0: Any) -> float:
    """Return the seconds of a step of serial training."""
    steps = max(SERIAL_STEPS, round(SERIAL_SECONDS / waits.seconds))
    clock = time.perf_counter()
    dm.train_serially(waits, w0, steps)
    return (time.perf_counter() - clock) / steps


def newton(runs: tuple[Run, ...] = QUICK, note: Any = print) -> dict[str, Any]:
    """Train digits by Adam, 1e-3, to 1e-6 per step; each gradient waits.

    Parameters
    ----------
    runs : tuple of Run
        What to solve.
    note : callable
        Called with progress messages.
    """
    rows, phi, steps = [], digits().optimizer("adam"), dict[float, float]()
    for run in runs:
        waits, slots = WaitsForGradient(phi, run.seconds), run.processes * run.threads
        step = steps[run.seconds] = steps.get(run.seconds) or _serial_step(waits, phi.w0)
        note(f"N = {run.steps}, P = {run.processes} x {run.threads}, {1e3 * run.seconds:g} ms a gradient")
        bare = _bare_seconds(waits, phi.w0, run.threads) if run.processes == 1 else None
        with cluster(run.processes, run.threads) as client:
            solver = dm.ParallelNewton(waits, run.steps, window=slots)
            result = solver.solve(phi.w0, tol=1e-6 * math.sqrt(run.steps), client=client)
        error = float(np.abs(result.final - dm.train_serially(phi, phi.w0, run.steps)[-1]).max())
        serial, seconds = run.steps * step, result.timings["total"] - result.timings["setup"]
        allowed = run.steps / result.iterations
        rows.append(
            asdict(run)
            | {
                "slots": slots,
                "sweeps": result.iterations,
                "work": result.phi_evaluations[0] / run.steps,
                "tasks": result.tasks,
                "measured_seconds": result.timings["total"],
                "setup_seconds": result.timings["setup"],
                "serial_seconds": serial,
                "allowed": allowed,
                "speedup": serial / result.timings["total"],
                "share": serial / seconds / allowed,
                "bare_share": bare and step / bare,
                "error": error,
            }
        )
    return {"problem": "digits", "optimizer": "adam", "runs": rows}


def plot(report: dict[str, Any], file: Path) -> None:
    """Draw the speedup against threads, as measured and as the sweeps allow."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
    known = sorted({(row["processes"] > 1, row["seconds"]) for row in report["runs"]}, reverse=True)
    for number, (several, seconds) in enumerate(known):
        rows = [row for row in report["runs"] if (row["processes"] > 1, row["seconds"]) == (several, seconds)]
        rows.sort(key=lambda row: row["slots"])
        name = f"{1e3 * seconds:g} ms, " + ("4 processes" if several else "one process")
        slots = [row["slots"] for row in rows]
        axes.plot(slots, [row["speedup"] for row in rows], "s--" if several else "o-", color=f"C{number}", label=name)
    best = {row["slots"]: row["allowed"] for row in report["runs"]}
    axes.plot(sorted(best), [best[slots] for slots in sorted(best)], ":", color="0.3", label="N over sweeps")
    axes.axhline(1, color="0.6", linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlabel="worker threads P", ylabel="speedup over serial training")
    axes.set_xticks(sorted(best), map(str, sorted(best)))
    axes.set_yticks([0.1, 0.2, 0.5, 1, 2, 5], ["0.1", "0.2", "0.5", "serial", "2", "5"])
    axes.minorticks_off()
    # From the slowest on, and from a bit below serial training.
    axes.set_ylim(0.85 * min(0.9, *(row["speedup"] for row in report["runs"])), 1.1 * max(best.values()))
    figure.legend(loc="outside right center", fontsize="small", frameon=False)
    figure.savefig(file, dpi=110)
    plt.close(figure)
