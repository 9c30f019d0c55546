"""What ``daskmgrit solve`` says of a solve that has ended: to a person, as JSON, in comparison with serial training."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import click
import numpy as np

from daskmgrit.mgrit import MGRIT
from daskmgrit.problems import Problem
from daskmgrit.recurrence.serial import train_serially
from daskmgrit.solver.result import Result

__all__ = ["compare", "tell"]


def compare(mgrit: MGRIT, task: Problem, result: Result) -> dict[str, float]:
    """Train serially and compare all states, chunk by chunk."""
    clock = time.perf_counter()
    serial = train_serially(mgrit.phi, task.w0, mgrit.steps)
    seconds = time.perf_counter() - clock
    worst, start = 0.0, 0
    for number in range(result.weights.numblocks[0]):
        rows = result.weights.blocks[number].compute()
        worst = float(np.maximum(worst, np.abs(rows - serial[start : start + len(rows)]).max()))
        start += len(rows)
    return {"max_error": worst, "serial_seconds": seconds}


def tell(task: Problem, solver: str, mgrit: MGRIT, result: Result, checked: dict[str, float], *, as_json: bool) -> None:
    """Print the summary, the problem's metrics, and what the comparison found."""
    metrics = task.metrics(result.final) if np.isfinite(result.final).all() else {}
    if as_json:
        click.echo(json.dumps(_clean(_summary(task, solver, mgrit, result) | checked | {"metrics": metrics})))
        return
    click.echo(result)
    for name, value in metrics.items():
        click.echo(f"{name.replace('_', ' '):19s} {value:.4g}")
    if checked:
        click.echo(f"{'largest error':19s} {checked['max_error']:.2e} against serial training, all steps and weights")
        ratio = checked["serial_seconds"] / result.timings["total"]
        click.echo(
            f"{'serial training':19s} {checked['serial_seconds']:.3g} s: this solve was "
            + (f"{ratio:.2g} times faster" if ratio > 1 else f"{1 / ratio:.2g} times slower")
        )


def _summary(task: Problem, solver: str, mgrit: MGRIT, result: Result) -> dict[str, Any]:
    return {
        "problem": task.name,
        "solver": solver,
        "steps": result.levels[0],
        "levels": result.levels,
        "stages": mgrit.stages,
        "cycle": result.cycle,
        "iterations": result.iterations,
        "residuals": result.residuals,
        "converged": result.converged,
        "reason": result.reason,
        "message": result.message,
        "convergence_factor": result.convergence_factor,
        "phi_evaluations": result.phi_evaluations,
        "critical_path": result.critical_path,
        "tol": result.tol,
        "dtype": result.final.dtype.name,
        "chunks": result.weights.numblocks[0],
        "storage": result.storage,
        "coarsening": [level.coarsening for level in mgrit.hierarchy.levels[:-1]],
        "tasks": result.tasks,
        "seconds": result.timings["total"],
    }


def _clean(value: Any) -> Any:
    """Return the value with nan and inf, which JSON lacks, as null."""
    if isinstance(value, dict):
        return {name: _clean(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_clean(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
