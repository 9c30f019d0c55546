"""The same solves by PyMGRIT and by this package: histories entry by entry, and processor time."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask
import numpy as np

import daskmgrit as dm
from benchmarks.lean import lean_mgrit
from daskmgrit.problems import xor

__all__ = ["ONE_CORE", "TOLERANCE", "one_core", "peers", "pymgrit_python"]

REQUIREMENTS = ("numpy<2", "pymgrit==1.0.6", "mpich")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "daskmgrit" / "pymgrit-1.0.6"
# Largest relative difference of two histories' entries: sums are taken in another order.
TOLERANCE = 1e-6
# Below this many roundings of all states at C-points a residual is rounding: ours differed by up to 2.7 of them
# from those with a Phi in extended precision, rounded at its end, and PyMGRIT's may do so the other way.
ROUNDINGS = 6
# Steps of the solves that are compared with the serial loop on one core.
ONE_CORE = (400, 1600, 6400, 25_600)


def pymgrit_python(given: str | None, note: Any = print) -> str:
    """Return an interpreter with PyMGRIT; by default that of an environment made once in the user's cache.

    Raises
    ------
    RuntimeError
        If the environment cannot be made, or the given interpreter has no PyMGRIT.
    """
    python = Path(given) if given else CACHE / "bin" / "python"
    done = CACHE / "complete"
    if not given and not done.exists():
        note(f"making an environment for PyMGRIT in {CACHE}")
        shutil.rmtree(CACHE, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(CACHE)], "cannot make an environment for PyMGRIT")
        _run([str(python), "-m", "pip", "install", "-q", *REQUIREMENTS], "cannot install PyMGRIT")
        done.touch()
    _run([str(python), "-c", "import pymgrit"], f"{python} cannot import PyMGRIT")
    return str(python)


def _run(command: list[str], what: str) -> str:
    # One thread each, so that seconds of processor time are those of one core.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=900, check=True, env=os.environ | threads
        )
    except (OSError, subprocess.SubprocessError) as error:
        output = getattr(error, "stderr", "") or ""
        raise RuntimeError(f"{what}: {error}\n{output[-2000:]}") from error
    return done.stdout


def peers(
    python: str, steps: tuple[int, ...] = (400, 1600), repeats: int = 5, cycles: str = "VF", note: Any = print
) -> list[dict[str, Any]]:
    """Solve XOR with Solver 1, V- and F-cycles, by both; one row per N and cycle.

    Parameters
    ----------
    python : str
        Interpreter with PyMGRIT.
    steps : tuple of int
        N to solve for.
    repeats : int
        Runs of ours and of the serial loops; PyMGRIT has two.
    cycles : str
        Cycles to do.
    note : callable
        Called with progress messages.
    """
    rows = []
    for n, cycle in itertools.product(steps, cycles):
        note(f"XOR, N = {n}, {cycle}-cycle")
        script = Path(__file__).with_name("pymgrit_xor.py")
        # One after the other, several times: the least time is the least disturbed.
        theirs, ours, serial, loop = [], [], [], []
        for number in range(repeats):
            if number < 2:
                theirs.append(json.loads(_run([python, str(script), str(n), cycle], "PyMGRIT failed").splitlines()[-1]))
            result, seconds = _solve(n, cycle)
            ours.append(seconds)
            by_hand, by_phi = _loops(n)
            serial.append(by_hand)
            loop.append(by_phi)
        best = min(theirs, key=lambda run: run["seconds"])
        mine, other = np.array(result.residuals[1:]), np.array(best["history"])
        same = len(mine) == len(other)
        shown = min(len(mine), len(other))
        states = np.asarray(result.weights)[::2]
        floor = ROUNDINGS * np.finfo(states.dtype).eps * np.linalg.norm(states)
        difference = np.abs(mine[:shown] - other[:shown]) / np.maximum(np.abs(other[:shown]), floor / TOLERANCE)
        rows.append(
            {
                "steps": n,
                "cycle": cycle,
                "iterations": [result.iterations, len(other)],
                "history_difference": float(difference.max()),
                "histories_agree": same and bool((difference < TOLERANCE).all()),
                "history": mine.tolist(),
                "pymgrit_history": other.tolist(),
                "seconds": min(ours),
                "pymgrit_seconds": best["seconds"],
                "serial_seconds": min(serial),
                "phi_loop_seconds": min(loop),
                "ratio_to_pymgrit": best["seconds"] / min(ours),
                "ratio_to_serial": min(ours) / min(serial),
                "ratio_to_phi_loop": min(ours) / min(loop),
            }
        )
    return rows


def one_core(steps: Sequence[int] = ONE_CORE, repeats: int = 5, note: Any = print) -> list[dict[str, Any]]:
    """Solve XOR by Solver 4, V-cycles, m = 4, against the serial loop and a short MGRIT in NumPy; one row per N.

    Parameters
    ----------
    steps : sequence of int
        N to solve for.
    repeats : int
        Runs of each, one after the other; the minimum counts.
    note : callable
        Called with progress messages.
    """
    rows = []
    for n in steps:
        note(f"XOR by Solver 4 on one core, N = {n}")
        ours, serial, lean = [], [], []
        for _ in range(repeats):
            result, seconds = _solve_stable(n)
            ours.append(seconds)
            serial.append(_loops(n)[0])
            residuals, seconds = _solve_lean(n, result.levels, result.tol)
            lean.append(seconds)
        assert result.converged
        assert np.allclose(residuals, result.residuals[1:], rtol=1e-6, atol=result.tol)
        rows.append(
            {
                "steps": n,
                "iterations": result.iterations,
                "phi_per_step": sum(result.phi_evaluations) / n,
                "seconds": min(ours),
                "serial_seconds": min(serial),
                "ratio_to_serial": min(ours) / min(serial),
                "lean_seconds": min(lean),
                "ratio_to_lean": min(ours) / min(lean),
            }
        )
    return rows


def _solve_stable(steps: int) -> tuple[Any, float]:
    problem = xor()
    solver = dm.MGRIT(problem.propagator("4", coarsening=4), steps, **problem.hierarchy("4", coarsening=4))
    begin = time.process_time()
    with dask.config.set(scheduler="sync"):
        result = solver.solve(problem.w0, "constant")
    return result, time.process_time() - begin


def _solve_lean(steps: int, levels: Sequence[int], tol: float) -> tuple[list[float], float]:
    problem = xor()
    phi = problem.propagator("4", coarsening=4)
    begin = time.process_time()
    _, residuals = lean_mgrit(phi, problem.w0, levels, 4, tol, 50)
    return residuals, time.process_time() - begin


def _solve(steps: int, cycle: str) -> tuple[Any, float]:
    problem = xor()
    begin = time.process_time()
    with dask.config.set(scheduler="sync"):
        result = dm.MGRIT(problem.propagator("1"), steps, cycle=cycle).solve(problem.w0)
    return result, time.process_time() - begin


def _loops(steps: int) -> tuple[float, float]:
    """Processor time of the usual serial loop for one state, and of the loop with our Phi."""
    problem = xor()
    x, y, w = problem.x, problem.y, problem.w0
    begin = time.process_time()
    for _ in range(steps):
        first, second = w[:12].reshape(3, 4), w[12:].reshape(4, 1)
        hidden = 1 / (1 + np.exp(-(x @ first)))
        out = 1 / (1 + np.exp(-(hidden @ second)))
        delta = (out - y) * out * (1 - out)
        back = (delta @ second.T) * hidden * (1 - hidden)
        w = w - np.concatenate(((x.T @ back).ravel(), (hidden.T @ delta).ravel()))
    seconds = time.process_time() - begin
    phi = problem.propagator("1")
    begin = time.process_time()
    states = dm.train_serially(phi, problem.w0, steps)
    loop = time.process_time() - begin
    assert np.allclose(w, states[-1], rtol=0, atol=1e-8)
    return seconds, loop
