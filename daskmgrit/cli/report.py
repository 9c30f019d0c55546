"""The report of ``daskmgrit solve``: for a person, as JSON, in comparison with serial training."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import numpy as np

from daskmgrit.cli.ends import note, say
from daskmgrit.cli.jobs import Job
from daskmgrit.display.plot_losses import Losses
from daskmgrit.problems.source_files import failed
from daskmgrit.recurrence.serial import train_serially
from daskmgrit.solver.remedies import Words
from daskmgrit.solver.result import Result

__all__ = ["compare", "tell"]

# Steps that a curve of losses has.
POINTS = 200


def compare(job: Job, result: Result, *, curves: bool = False) -> tuple[dict[str, float], Losses | None]:
    """Train serially and compare all states, chunk by chunk.

    Parameters
    ----------
    job : Job
        The job that was solved.
    result : Result
        The outcome of the solve.
    curves : bool, default False
        Whether to compute losses along both trainings, if the problem has a loss and all steps of parallel Newton were
        kept.

    Returns
    -------
    dict, Losses or None
        The largest error and the serial loop's seconds; the losses.
    """
    clock = time.perf_counter()
    serial = train_serially(job.problem.phi, job.problem.w0, job.solver.steps)
    seconds = time.perf_counter() - clock
    if result.weights is None:
        worst = float(np.abs(result.final - serial[-1]).max())
        return {"max_error": worst, "serial_seconds": seconds}, None
    worst, start = 0.0, 0
    for number in range(result.weights.numblocks[0]):
        rows = result.weights.blocks[number].compute()
        worst = float(np.maximum(worst, np.abs(rows - serial[start : start + len(rows)]).max()))
        start += len(rows)
    losses = _losses(job, result, serial) if curves and job.problem.loss and result.accepted else None
    return {"max_error": worst, "serial_seconds": seconds}, losses


def _losses(job: Job, result: Result, serial: np.ndarray) -> Losses | None:
    """Return the losses of both trainings at up to `POINTS` steps; if they fail, print a note."""
    loss, steps = job.problem.loss, np.unique(np.linspace(0, job.solver.steps, POINTS).astype(int)).tolist()
    assert loss is not None
    assert result.weights is not None
    try:
        parallel = result.weights[steps].compute()
        return Losses(steps, [float(loss(serial[step])) for step in steps], [float(loss(state)) for state in parallel])
    except Exception as error:
        note(failed(f"loss of {job.problem.name}", error))
        return None


def tell(job: Job, result: Result, checked: dict[str, float], *, as_json: bool) -> None:
    """Print the summary, the problem's metrics, and the comparison."""
    metrics = _metrics(job, result.final) if np.isfinite(result.final).all() else {}
    if as_json:
        say(json.dumps(_clean(_summary(job, result) | checked | {"metrics": metrics})))
        return
    for name, told in result.summary(_words(job)):
        say(f"{name:19s} {told}")
    for name, value in metrics.items():
        say(f"{name.replace('_', ' '):19s} {value:.4g}")
    if metrics and job.problem.remark:
        say(f"{'':19s} {job.problem.remark}")
    if checked:
        compared = "final weights" if result.weights is None else "all steps and weights"
        say(f"{'largest error':19s} {checked['max_error']:.2e} against serial training, {compared}")
        say(f"{'serial training':19s} {checked['serial_seconds']:.3g} s{_in_comparison(result, checked)}")


def _words(job: Job) -> Words:
    """Return the command's names of remedies: its options, of which the user's own problem lacks some."""
    own = job.name is None
    return Words(
        tol="--tol {}",
        maxiter="--maxiter {}",
        levels="--max-levels {}",
        relaxation="--relaxation FCFCF",
        guess="--initial-guess constant or nested",
        cap="cap= of from_function and of the torch and JAX propagators" if own else "--max-learning-rate",
        rate_at="--max-learning-rate {:.4g}",
        stable="daskmgrit.coarse.stabilise" if own else "--solver 4",
        newton="--method newton",
        double="states of double precision" if own else "--dtype float64",
    )


def _in_comparison(result: Result, checked: dict[str, float]) -> str:
    """Return how much faster the solve was, except after a resume, where the first part is not timed."""
    if len(result.timings["cycles"]) < result.iterations:
        return "; not comparable, because the solve was resumed"
    ratio = checked["serial_seconds"] / result.timings["total"]
    times, word = (ratio, "faster") if ratio > 1 else (1 / ratio, "slower")
    # Two digits of 100 would be 1e+02.
    return f": this solve was {times:{'.2g' if times < 99.5 else '.0f'}} times {word}"


def _metrics(job: Job, final: np.ndarray) -> dict[str, float]:
    """Return the problem's metrics; if they fail, print a note and keep the result."""
    try:
        return job.problem.tell(final)
    except Exception as error:
        note(failed(f"loss or metrics of {job.problem.name}", error))
        return {}


def _summary(job: Job, result: Result) -> dict[str, Any]:
    summary = {
        "problem": job.problem.name,
        "method": result.method,
        "solver": job.name,
        "steps": result.levels[0],
        "levels": result.levels,
        "cycle": result.cycle,
        "iterations": result.iterations,
        "residuals": result.residuals,
        "converged": result.converged,
        "reason": result.reason,
        "message": result.message,
        "advice": result.advise(_words(job)),
        "convergence_factor": result.convergence_factor,
        "phi_evaluations": result.phi_evaluations,
        "critical_path": result.critical_path,
        "tol": result.tol,
        "dtype": result.final.dtype.name,
        "chunks": None if result.weights is None else result.weights.numblocks[0],
        "storage": result.storage,
        "tasks": result.tasks,
        "seconds": result.timings["total"],
    }
    if result.preparation.evaluations:
        summary["preparation"] = result.preparation._asdict()
    if result.accepted:
        summary |= {"accepted": result.accepted, "strict_path": result.strict_path, "error": result.error}
    return summary | job.about


def _clean(value: Any) -> Any:
    """Return the value with nan and inf, which JSON lacks, as null."""
    if isinstance(value, dict):
        return {name: _clean(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_clean(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
