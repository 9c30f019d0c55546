"""Counts of parallel Newton: sweeps, Phi in a row and work, on the package's own problems.

Nothing here is timed: counts are the same on every machine, except for rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from daskmgrit.newton.in_one_process import solve_in_one_process
from daskmgrit.newton.settings import NewtonSettings, choose_size, whole_run
from daskmgrit.problems import PROBLEMS
from daskmgrit.recurrence.serial import train_serially

__all__ = ["GROUPS", "QUICK", "WHOLE", "Case", "newton_counts"]

# Learning rates with digits, as people have them.
RATES = {"adam": 1e-3, "momentum": 0.005, "descent": 0.05}
# N over sweeps that is expected of digits with N = 1600 to 1e-6 per step, by window.
ACCEPTED = {
    "adam": {4: 2.0, 8: 3.3, 16: 5.3},
    "momentum": {4: 2.0, 8: 3.3, 16: 5.4},
    "descent": {4: 1.6, 8: 2.4, 16: 3.5},
}
# By how much more sweeps may be than expected.
MARGIN = 1.1


@dataclass(frozen=True)
class Case:
    """A solve: problem, number of steps, residual per step, method, and the expected result."""

    group: str
    problem: str
    steps: int
    per_step: float
    method: Callable[[int, float], NewtonSettings]
    name: str
    optimizer: str = "descent"
    solver: str = "2"
    seed: int = 1
    most_sweeps: float | None = None
    most_work: float | None = None


def _identity(window: int | str) -> Callable[[int, float], NewtonSettings]:
    return lambda steps, tol: NewtonSettings(steps, tol, size=choose_size(window, "identity"))


def _full(steps: int, tol: float) -> NewtonSettings:
    return NewtonSettings(steps, tol, "full", choose_size("auto", "full"))


def _lowrank(steps: int, tol: float) -> NewtonSettings:
    return NewtonSettings(steps, tol, "lowrank", choose_size(256, "lowrank"), rank=32)


def _whole_identity(steps: int, tol: float) -> NewtonSettings:
    return whole_run(steps, tol, interval=4, jacobian="identity")


def _xor(steps: int, seed: int, most: float | None = None) -> Case:
    return Case("xor", "xor", steps, 1e-9, _full, "full, auto", solver="1", seed=seed, most_sweeps=most)


def _digits(steps: int, optimizer: str, window: int) -> Case:
    expected = MARGIN * steps / ACCEPTED[optimizer][window] if steps == 1600 else None
    return Case(
        "digits", "digits", steps, 1e-6, _identity(window), f"identity, {window}", optimizer, most_sweeps=expected
    )


def _digits_lowrank(steps: int, most: float | None = None, work: float | None = None) -> Case:
    return Case("lowrank", "digits", steps, 1e-9, _lowrank, "lowrank 32, 256", most_sweeps=most, most_work=work)


GROUPS = ("xor", "digits", "lowrank", "adder")
QUICK = (
    *(_xor(1600, seed) for seed in (1, 2, 3)),
    *(_digits(400, optimizer, window) for optimizer in ACCEPTED for window in (4, 8, 16)),
    _digits_lowrank(400),
    Case("adder", "adder", 400, 1e-9, _whole_identity, "whole run, identity, m 4"),
    Case("adder", "adder", 400, 1e-9, whole_run, "whole run, rank 16, m 2"),
)
WHOLE = (
    *(_xor(steps, seed) for steps in (1600, 6400) for seed in (1, 2, 3)),
    *(_xor(25_600, seed, 35) for seed in (1, 2, 3, 4, 5)),
    *(_digits(1600, optimizer, window) for optimizer in ACCEPTED for window in (4, 8, 16)),
    Case("digits", "digits", 1600, 1e-6, _identity("auto"), "identity, auto", "adam", most_work=3.0),
    _digits_lowrank(1600),
    _digits_lowrank(6400, 240, 25),
    Case("adder", "adder", 1600, 1e-9, _whole_identity, "whole run, identity, m 4"),
    Case("adder", "adder", 12_800, 1e-9, whole_run, "whole run, rank 16, m 2", most_sweeps=20),
)


def newton_counts(cases: tuple[Case, ...] = QUICK, note: Callable[[str], Any] = print) -> list[dict[str, Any]]:
    """Solve each case in this process, and count.

    Parameters
    ----------
    cases : tuple of Case
        What to solve.
    note : callable
        Called with progress messages.

    Returns
    -------
    list of dict
        Sweeps, Phi in a row (with and without the scans) and work of each, and whether they are as expected.
    """
    rows = []
    for case in cases:
        note(f"{case.problem}, N = {case.steps}, {case.optimizer}, {case.name}, seed {case.seed}")
        rows.append(_count(case))
    return rows


def _count(case: Case) -> dict[str, Any]:
    problem, steps = PROBLEMS[case.problem](seed=case.seed), case.steps
    phi: Any
    if case.optimizer == "descent":
        phi, w0 = problem.propagator(case.solver), problem.w0
    else:
        phi = problem.optimizer(case.optimizer, RATES[case.optimizer])
        w0 = phi.w0
    tol = case.per_step * steps**0.5
    solved = solve_in_one_process(phi, w0, case.method(steps, tol))
    sweeps, work = len(solved.sweeps), solved.phi_evaluations / steps
    asked = [limit >= value for limit, value in ((case.most_sweeps, sweeps), (case.most_work, work)) if limit]
    return {
        "group": case.group,
        "problem": case.problem,
        "optimizer": case.optimizer,
        "method": case.name,
        "seed": case.seed,
        "steps": steps,
        "per_step": case.per_step,
        "sweeps": sweeps,
        "most_sweeps": case.most_sweeps,
        "path": solved.critical_path,
        "strict_path": solved.strict_path,
        "speedup": steps / solved.critical_path,
        "strict_speedup": steps / solved.strict_path,
        "work": work,
        "most_work": case.most_work,
        "residual": solved.residual,
        "tol": tol,
        "error_estimate": solved.error,
        "error": float(np.linalg.norm(solved.final - train_serially(phi, w0, steps)[-1])),
        "as_expected": all(asked) and solved.residual <= tol if asked else None,
    }
