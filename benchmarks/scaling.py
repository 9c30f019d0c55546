"""Speedup over serial training of steps that wait, through the real scheduler: against the critical path and the plan.

A step that waits is one that calls a simulator, an accelerator or a remote service. Threads wait side by side on any
number of cores, so this shows the limits of the graph and the scheduler, not the speed of the cores.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import daskmgrit as dm
from benchmarks.oracle import Replay, replay, trace
from benchmarks.overhead import cluster
from benchmarks.waiting import Waits
from daskmgrit.multigrid.hierarchy import build_hierarchy
from daskmgrit.planning.cost import PhiCost
from daskmgrit.planning.machine import Machine
from daskmgrit.planning.measure import measure_machine
from daskmgrit.problems import adder

__all__ = ["QUICK", "WHOLE", "Run", "plot", "scaling"]

# N = 512 has 64 F-intervals and a last C-point, N = 2048 has 256.
COARSENING = [8, 4]
MAXITER = 20
# Steps of serial training that are timed; the rest go at the same rate.
SAMPLE = 12


@dataclass(frozen=True)
class Run:
    """A solve and its cluster: numbers of worker processes and of threads each."""

    steps: int
    processes: int
    threads: int
    seconds: float


# With few threads a solve takes as many times longer; there a shorter wait makes tasks' overheads count for more.
QUICK = (
    Run(512, 1, 1, 0.0125),
    Run(512, 1, 4, 0.05),
    Run(512, 1, 16, 0.25),
    Run(512, 1, 64, 0.25),
    Run(512, 3, 44, 0.25),
    Run(2048, 4, 65, 0.25),
)
WHOLE = (
    *(Run(512, 1, threads, 0.25) for threads in (1, 2, 4, 8, 16, 32, 64)),
    Run(512, 3, 44, 0.25),
    *(Run(2048, 1, threads, 0.25) for threads in (16, 32, 64)),
    Run(2048, 2, 64, 0.25),
    Run(2048, 4, 65, 0.25),
)


def scaling(runs: tuple[Run, ...] = QUICK, note: Any = print) -> dict[str, Any]:
    """Solve the adder with Solver 4; each state waits in each stage of its step.

    Parameters
    ----------
    runs : tuple of Run
        What to solve.
    note : callable
        Called with progress messages.
    """
    problem, rows = adder(), []
    options = problem.hierarchy("4", coarsening=COARSENING)
    for run in runs:
        phi = Waits(problem.propagator("4", coarsening=COARSENING), run.seconds)
        solver = dm.MGRIT(phi, run.steps, **options)
        serial = _serial(phi, problem.w0, run.steps)
        p = run.processes * run.threads
        note(f"N = {run.steps}, P = {run.processes} x {run.threads}, {1e3 * run.seconds:g} ms a Phi")
        with cluster(run.processes, run.threads) as client:
            machine = measure_machine(client)
            result = solver.solve(problem.w0, problem.guess("4"), maxiter=MAXITER, client=client)
        if not result.converged:
            raise RuntimeError(f"N = {run.steps} did not converge in {MAXITER} cycles: {result.reason}")
        seconds = result.timings["total"]
        stages = solver.stages
        work = run.seconds * sum(a * b for a, b in zip(result.phi_evaluations, stages, strict=True))
        path = run.seconds * result.critical_path
        plan = predicted(run, stages, machine, problem.w0.nbytes, result.iterations, options)
        planned = plan.setup + sum(plan.cycles)
        rows.append(
            asdict(run)
            | {
                "workers": p,
                "iterations": result.iterations,
                "tasks": result.tasks,
                "chunks": len(result.weights.chunks[0]),
                "measured_seconds": seconds,
                "measured_setup": result.timings["setup"],
                "measured_cycles": result.timings["cycles"],
                "serial_seconds": serial,
                "speedup": serial / seconds,
                "critical_path": result.critical_path,
                "path_seconds": path,
                "ratio_to_path": seconds / path,
                "ratio_to_bound": seconds / max(path, work / p),
                "plan_seconds": planned,
                "plan_setup": plan.setup,
                "plan_cycles": plan.cycles,
                "plan_speedup": serial / planned,
                "ratio_to_plan": seconds / planned,
                "machine": asdict(machine),
            }
        )
    return {"problem": "adder", "solver": "4", "coarsening": COARSENING, "serial_sample": SAMPLE, "runs": rows}


def _serial(phi: Any, w0: Any, steps: int) -> float:
    """Seconds of serial training, from a timed sample of its steps."""
    clock = time.perf_counter()
    dm.train_serially(phi, w0, SAMPLE)
    return (time.perf_counter() - clock) / SAMPLE * steps


def predicted(
    run: Run, stages: list[int], machine: Machine, row_bytes: int, iterations: int, options: dict[str, Any]
) -> Replay:
    """Replay a run, task by task."""
    cost = PhiCost(run.seconds, stages=tuple(map(float, stages)))
    hierarchy = build_hierarchy(run.steps, **options)
    threads = [machine.threads] * machine.workers
    traced = trace(hierarchy, threads, cost, cycles=iterations, row_bytes=row_bytes, guess="constant")
    return replay(traced, machine, cost, row_bytes)


def plot(report: dict[str, Any], file: Path) -> None:
    """Draw the speedup against threads, measured and as the plan predicts it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for number, steps in enumerate(sorted({row["steps"] for row in report["runs"]})):
        rows = sorted((row for row in report["runs"] if row["steps"] == steps), key=lambda row: row["workers"])
        workers, color = [row["workers"] for row in rows], f"C{number}"
        axes.plot(workers, [row["speedup"] for row in rows], "o", color=color, label=f"N = {steps}, measured")
        axes.plot(workers, [row["plan_speedup"] for row in rows], "x-", color=color, label=f"N = {steps}, plan")
        least = min(rows, key=lambda row: row["critical_path"])
        bound = steps / least["critical_path"]
        axes.axhline(bound, color=color, linestyle=":", label=f"N = {steps}, N / critical path")
    axes.axhline(1, color="0.6", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for axis in (axes.xaxis, axes.yaxis):
        # Powers of two as the numbers that they are.
        axis.set_major_formatter(lambda value, _: f"{value:g}" if value >= 1 else f"1/{1 / value:g}")
    axes.set(xlabel="worker threads P", ylabel="speedup over serial training")
    axes.grid(visible=True, color="0.9", linewidth=0.6)
    axes.legend(fontsize="small")
    figure.savefig(file, dpi=110)
    plt.close(figure)
