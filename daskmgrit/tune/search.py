"""The search: one lever after another, each on a short prefix of the training run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daskmgrit.display.text_table import text_table
from daskmgrit.mgrit import MGRIT
from daskmgrit.recurrence.propagator import Phi, stages_of
from daskmgrit.tune.path import predicted_path
from daskmgrit.tune.settings import Settings, default_grid
from daskmgrit.utils.validation import integer_option

__all__ = ["NoneConverged", "Trial", "TuneReport", "tune"]

HEAD = ["alpha_max", "coarsening", "relaxation", "min_coarse", "coarse", "stages", "window"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One choice of settings, measured on the prefix.

    Attributes
    ----------
    settings : Settings
        The settings.
    iterations : tuple of int
        Cycles on the two prefixes, the shorter first.
    reason : str
        Reason of the end of the longer prefix's solve.
    cycles : float
        Predicted for all N steps; nan if a prefix did not converge.
    critical_path : float
        Predicted for all N steps, counted in the graph of that many cycles.
    speedup : float
        N over the critical path; 0 if a prefix did not converge.
    work : float
        Phi evaluations over the number of steps, on the longer prefix.
    """

    settings: Settings
    iterations: tuple[int, int]
    reason: str
    cycles: float
    critical_path: float
    speedup: float
    work: float


@dataclass(frozen=True, slots=True)
class TuneReport:
    """The result of :func:`tune`; ``print`` shows the table from which the best was chosen.

    Attributes
    ----------
    steps : int
        N.
    prefixes : tuple of int
        Lengths of the two prefixes.
    trials : list of Trial
        All trials, the best first.
    """

    steps: int
    prefixes: tuple[int, int]
    trials: list[Trial]

    @property
    def best(self) -> Trial:
        """The trial with the largest predicted speedup."""
        return self.trials[0]

    def __str__(self) -> str:
        head = [*HEAD, "cycles", "N cycles", "path", "speedup", "work"]
        rows = []
        for trial in self.trials:
            done = trial.speedup > 0
            rows.append(
                [
                    *trial.settings.cells(),
                    "/".join(map(str, trial.iterations)) if done else trial.reason,
                    f"{trial.cycles:.1f}" if done else "-",
                    f"{trial.critical_path:.0f}" if done else "-",
                    f"{trial.speedup:.2f}" if done else "-",
                    f"{trial.work:.1f}",
                ]
            )
        return "\n".join(
            [
                f"{len(self.trials)} settings measured on the first {self.prefixes[0]} and {self.prefixes[1]} steps; "
                f"cycles and critical path predicted for N = {self.steps}; the speedup is N over the path, which "
                "assumes a worker for each F-interval and only Phi to cost; best first",
                *text_table(_without_dashes([head, *rows])),
            ]
        )


def _without_dashes(rows: list[list[str]]) -> list[list[str]]:
    """Return a table, its head first, without the settings that none of its rows has."""
    kept = [k for k in range(len(rows[0])) if k >= len(HEAD) or any(row[k] != "-" for row in rows[1:])]
    return [[row[k] for k in kept] for row in rows]


def _cycles(residuals: Sequence[float], tol: float) -> float:
    """Return the cycles to the tolerance, with the needed share of the last one."""
    last, before = residuals[-1], residuals[-2]
    if not 0 < last < before or before <= tol:
        return float(len(residuals) - 1)
    return len(residuals) - 2 + min(1.0, math.log(before / tol) / math.log(before / last))


def _slowing(phi: Any, steps: int, options: dict[str, Any]) -> float:
    """Return the factor by which shortened coarsest steps make a solve longer.

    A shortening by up to five times has no effect; beyond that cycles grow like the square root. This holds, roughly,
    on the XOR problem for factors from 8 to 256.
    """
    shortfall = getattr(phi, "shortfall", None)
    if shortfall is None:
        return 1.0
    return math.sqrt(max(1.0, shortfall(len(MGRIT(phi, steps, **options).hierarchy) - 1) / 5))


def _measure(
    make_phi: Callable[[Settings], Phi],
    settings: Settings,
    w0: Any,
    steps: int,
    prefixes: tuple[int, int],
    initial_guess: str,
    cycle: str,
    maxiter: int,
) -> Trial:
    phi = make_phi(settings)
    options = {**settings.hierarchy(), "cycle": cycle}
    iterations, cycles, work, reason = [], [], 0.0, ""
    for length in prefixes:
        result = MGRIT(phi, length, **options).solve(w0, initial_guess, maxiter=maxiter)
        iterations.append(result.iterations)
        work, reason = sum(result.phi_evaluations) / length, result.reason
        if not result.converged:
            return Trial(settings, (iterations[0], iterations[-1]), reason, math.nan, math.nan, 0.0, work)
        cycles.append(_cycles(result.residuals, result.tol) if result.iterations else 0.0)
    levels = len(MGRIT(phi, steps, **options).hierarchy)
    shorter, longer, all_steps = (_slowing(phi, length, options) for length in (*prefixes, steps))
    alike = cycles[0] / shorter, cycles[1] / longer
    growth = max(0.0, alike[1] - alike[0]) / math.log(prefixes[1] / prefixes[0])
    predicted = max(1.0, all_steps * (alike[1] + growth * math.log(steps / prefixes[1])))
    stages = [stages_of(phi, level) for level in range(levels)]
    path = predicted_path(steps, stages, math.ceil(predicted - 0.05), initial_guess, **options)
    return Trial(settings, (iterations[0], iterations[1]), reason, predicted, path, steps / path, work)


class NoneConverged(ValueError):
    """No setting converged on the prefix; the first argument is the message, the second the remedy in Python."""

    def __str__(self) -> str:
        return ": ".join(self.args)


def tune(
    make_phi: Callable[[Settings], Phi],
    w0: Any,
    steps: int,
    start: Settings,
    grid: Mapping[str, Sequence[Any]] | None = None,
    prefix: int | None = None,
    sweeps: int = 1,
    initial_guess: str = "constant",
    cycle: str = "V",
    maxiter: int = 30,
    on_trial: Callable[[Trial], Any] | None = None,
) -> TuneReport:
    """Find settings with a short critical path, by solving a short prefix of the training run.

    Parameters
    ----------
    make_phi : callable
        ``make_phi(settings) -> phi``. Of a descent step that takes a learning rate :func:`rated` makes one; of a
        built-in problem, ``lambda s: problem.propagator("4", None, s.max_rate, coarsening=s.coarsening, …)``.
    w0 : array_like, shape (s,)
        The initial state.
    steps : int
        N, the number of steps that the settings are for.
    start : Settings
        First settings. ``Settings(estimate.max_rate)`` with :func:`daskmgrit.estimate_max_rate` is a good start.
    grid : mapping of str to sequence, optional
        Values to try of each lever, by its name in :class:`Settings`, in the order to try the levers in. By default
        :func:`default_grid`.
    prefix : int, optional
        Length of the longer prefix, by default the least of N and 400; the shorter is a quarter of it.
    sweeps : int, default 1
        Number of rounds through all levers; each begins with the best of the one before.
    initial_guess : str, default "constant"
        The initial guess.
    cycle : {"V", "F"}, default "V"
        The cycle.
    maxiter : int, default 30
        Cycles after which a trial counts as failed.
    on_trial : callable, optional
        Called with each :class:`Trial` as it is done.

    Returns
    -------
    TuneReport

    Raises
    ------
    ValueError
        If a value is out of range, or no setting converged on the prefix.

    Notes
    -----
    One lever after another is moved through its values while the others stay: a small part of the whole grid. The
    critical path for N is counted in the graph (with a Phi that costs nothing). The cycles are those of the longer
    prefix, plus as many per factor in N as they grew from the shorter to the longer; and where steps of the coarsest
    level are cut short (``phi.shortfall(level)``, by a cap or by `max_stages`) to less than a fifth of their length,
    which no prefix may show, they are taken to grow like the square root of that. It is a prediction: solve once
    with the best to see.

    Examples
    --------
    >>> import numpy as np
    >>> from daskmgrit.tune import Settings, rated, tune
    >>> def descend(weights, index, level, rate):
    ...     return weights - rate * np.array([0.01, 1.0]) * weights
    >>> report = tune(rated(descend, 0.5), np.ones(2), 4096, Settings(2.0), {"coarsening": [(2,), (4,)]}, prefix=256)
    >>> len(report.trials), report.best.speedup > report.trials[1].speedup
    (2, True)
    """
    steps = integer_option("steps", steps, 16, "it is the number of steps that the settings are for")
    longer = min(steps, 400) if prefix is None else integer_option("prefix", prefix, 16, "it is a number of steps")
    if longer > steps:
        raise ValueError(f"prefix={longer} is longer than steps={steps}: give at most {steps}")
    sweeps = integer_option("sweeps", sweeps, 1, "it is the number of rounds through all levers")
    prefixes = (longer // 4, longer)
    levers = dict(default_grid(start) if grid is None else grid)
    for lever in levers:
        if lever not in Settings.__dataclass_fields__:
            raise ValueError(
                f"grid has {lever!r}, which is not known: give some of {', '.join(Settings.__dataclass_fields__)}"
            )
    done: dict[Settings, Trial] = {}

    def measure(settings: Settings) -> Trial:
        if settings not in done:
            done[settings] = _measure(make_phi, settings, w0, steps, prefixes, initial_guess, cycle, maxiter)
            if on_trial is not None:
                on_trial(done[settings])
        return done[settings]

    best = measure(start)
    for _ in range(sweeps):
        for lever, values in levers.items():
            for value in values:
                settings = best.settings.tried(lever, value)
                if settings.coarsening[0] > prefixes[0]:
                    continue
                best = max(best, measure(settings), key=lambda trial: trial.speedup)
    if not best.speedup:
        raise NoneConverged(
            f"none of {len(done)} settings converged within maxiter={maxiter} cycles on the first {longer} steps",
            "lower the rate or alpha_max (start.max_rate), or allow more cycles (maxiter)",
        )
    return TuneReport(steps, prefixes, sorted(done.values(), key=lambda trial: -trial.speedup))
