"""Settings of parallel Newton: windows, Jacobians and intervals, each on a prefix of the training run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from daskmgrit.display.text_table import text_table
from daskmgrit.errors import Diverged
from daskmgrit.newton.in_one_process import solve_in_one_process
from daskmgrit.newton.settings import NewtonSettings, choose_size
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.recurrence.split_propagator import is_split
from daskmgrit.utils.validation import integer_option, number_option

__all__ = ["WindowReport", "WindowTrial", "tune_window"]

# Ranks that are tried for a Jacobian of low rank, and steps of a slot.
RANKS = (8, 32)
INTERVALS = (1, 2)
# Weights up to which all Jacobians are tried.
SMALL = 32


@dataclass(frozen=True, slots=True)
class WindowTrial:
    """One choice of settings, measured on the prefix.

    Attributes
    ----------
    slots : int or "auto"
        Slots of the window.
    jacobian : str
        Approximation of the Jacobian.
    rank : int or None
        Rank of "lowrank".
    interval : int
        Steps of a slot.
    sweeps : int
        Number of sweeps; 0 if serial training diverges.
    accepted : float
        Steps that a sweep accepts, on average.
    critical_path : int
        Phi in a row, with a worker for each state.
    speedup : float
        Steps over the Phi in a row with the given workers.
    work : float
        Number of states for which Phi was evaluated, over the number of steps.
    """

    slots: int | str
    jacobian: str
    rank: int | None
    interval: int
    sweeps: int
    accepted: float
    critical_path: int
    speedup: float
    work: float


@dataclass(frozen=True, slots=True)
class WindowReport:
    """The result of :func:`tune_window`; ``print`` shows the table from which the best was chosen.

    Attributes
    ----------
    steps, prefix : int
        N, and the steps that were solved.
    workers : int
        Workers that evaluate Phi at once.
    trials : list of WindowTrial
        All trials, the best first.
    """

    steps: int
    prefix: int
    workers: int
    trials: list[WindowTrial]

    @property
    def best(self) -> WindowTrial:
        """The trial with the largest speedup."""
        return self.trials[0]

    def __str__(self) -> str:
        head = ["window", "jacobian", "rank", "interval", "sweeps", "accepted", "path", "speedup", "work"]
        rows = [
            [
                str(trial.slots),
                trial.jacobian,
                "-" if trial.rank is None else str(trial.rank),
                str(trial.interval),
                str(trial.sweeps),
                f"{trial.accepted:.2f}",
                str(trial.critical_path),
                f"{trial.speedup:.2f}",
                f"{trial.work:.1f}",
            ]
            for trial in self.trials
        ]
        said = (
            f"{len(rows)} settings of parallel Newton measured on the first {self.prefix} of {self.steps} steps; "
            f"speedup if Phi is all that costs, on {self.workers} workers; best first"
        )
        return "\n".join([said, *text_table([head, *rows])])


def tune_window(
    phi: Phi,
    w0: Any,
    steps: int,
    workers: int = 16,
    prefix: int | None = None,
    per_step: float = 1e-9,
    on_trial: Callable[[WindowTrial], Any] | None = None,
) -> WindowReport:
    """Find settings of :class:`daskmgrit.ParallelNewton` by solving a prefix of the training run.

    Parameters
    ----------
    phi : callable
        The propagator.
    w0 : array_like, shape (s,)
        The initial state.
    steps : int
        N, the number of steps that the settings are for.
    workers : int, default 16
        Workers, or threads, that evaluate Phi at once.
    prefix : int, optional
        Steps to solve, by default the least of N and 400.
    per_step : float, default 1e-9
        The tolerance is this times the root of the number of steps.
    on_trial : callable, optional
        Called with each :class:`WindowTrial` as it is done.

    Returns
    -------
    WindowReport

    Raises
    ------
    ValueError
        If a value is out of range, or serial training diverges on the prefix.

    Examples
    --------
    >>> import numpy as np
    >>> from daskmgrit.tune import tune_window
    >>> report = tune_window(lambda w, i, level: w - 0.02 * np.sin(w), np.ones(40), 1000, workers=8, prefix=64)
    >>> report.best.speedup == max(trial.speedup for trial in report.trials) > 1
    True
    """
    steps = integer_option("steps", steps, 1, "it is the number of steps that the settings are for")
    workers = integer_option("workers", workers, 1, "it is the number of workers that evaluate Phi at once")
    number_option("per_step", per_step, "it is a residual per step, at least 0", least=0)
    prefix = min(steps, 400) if prefix is None else integer_option("prefix", prefix, 1, "it is a number of steps")
    if prefix > steps:
        raise ValueError(f"prefix={prefix} is longer than steps={steps}: give at most {steps}")
    tol, trials = per_step * math.sqrt(prefix), []
    for settings, slots in _candidates(phi, _weights(w0), prefix, tol, workers):
        trial = _measure(phi, w0, settings, slots, workers)
        trials.append(trial)
        if on_trial is not None:
            on_trial(trial)
    return WindowReport(steps, prefix, workers, sorted(trials, key=lambda trial: (-trial.speedup, trial.work)))


def _weights(w0: Any) -> int:
    return math.prod(w0.shape) if hasattr(w0, "shape") else len(w0)


def _candidates(
    phi: Phi, weights: int, prefix: int, tol: float, workers: int
) -> Iterator[tuple[NewtonSettings, int | str]]:
    """Settings to try, each with the description of its window."""
    windows: list[int | str] = [2**power for power in range(1, 20) if 2**power <= min(2 * workers, prefix)]
    for slots in [*windows, "auto"]:
        size = choose_size(slots, "identity", workers if slots == "auto" else None)
        for interval in INTERVALS:
            yield NewtonSettings(prefix, tol, "identity", size, interval), slots
        if not is_split(phi) and slots != "auto" and int(slots) >= 16:
            for rank in RANKS:
                yield NewtonSettings(prefix, tol, "lowrank", size, rank=min(rank, weights)), slots
    if not is_split(phi) and weights <= SMALL:
        yield NewtonSettings(prefix, tol, "full", choose_size("auto", "full")), "auto"


def _measure(phi: Phi, w0: Any, settings: NewtonSettings, slots: int | str, workers: int) -> WindowTrial:
    try:
        solved = solve_in_one_process(phi, w0, settings)
    except Diverged as error:
        raise ValueError(
            f"serial training diverges within the first {settings.steps} steps ({error}): lower the learning rate"
        ) from error
    steps, sweeps = settings.steps, len(solved.sweeps)
    in_a_row = sum(max(report.depth, math.ceil(report.evaluations / workers)) for report in solved.sweeps)
    rank = settings.rank if settings.jacobian == "lowrank" else None
    return WindowTrial(
        slots,
        settings.jacobian,
        rank,
        settings.interval,
        sweeps,
        steps / sweeps,
        solved.critical_path,
        steps / in_a_row,
        solved.phi_evaluations / steps,
    )
