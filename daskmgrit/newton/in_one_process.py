"""The iteration in one thread of one process: the reference for distributed solves."""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import numpy as np

from daskmgrit.newton.acceptance import unit_of
from daskmgrit.newton.error_estimate import error_size
from daskmgrit.newton.settings import NewtonSettings
from daskmgrit.newton.sweep import SweepReport, sweep
from daskmgrit.newton.window import first_window
from daskmgrit.recurrence.meter import Meter
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.recurrence.state import initial_state
from daskmgrit.utils.array_api import to_host

__all__ = ["Solved", "solve_in_one_process"]


class Solved(NamedTuple):
    """The outcome of a solve.

    Attributes
    ----------
    final : ndarray, shape (s,)
        The state after N steps.
    weights : ndarray, shape (N+1, s), or None
        The state at every step, if they were kept; with intervals, those where intervals end.
    residual : float
        2-norm of the residual over all steps: at most the tolerance.
    error : float
        Estimate of the 2-norm of the error of `final`.
    sweeps : list of SweepReport
        The report of each sweep.
    """

    final: np.ndarray
    weights: np.ndarray | None
    residual: float
    error: float
    sweeps: list[SweepReport]

    @property
    def phi_evaluations(self) -> int:
        """Number of states for which Phi, or the gradient, was evaluated."""
        return sum(report.evaluations for report in self.sweeps)

    @property
    def critical_path(self) -> int:
        """Longest chain of Phi."""
        return sum(report.depth for report in self.sweeps)

    @property
    def strict_path(self) -> int:
        """The same, if each doubling of a scan counts as a Phi, too."""
        return sum(report.depth + report.scan_depth for report in self.sweeps)


def solve_in_one_process(
    phi: Phi, w0: Any, settings: NewtonSettings, keep: bool = False, ends: float = math.inf
) -> Solved:
    """Compute the result of serial training, a window of steps at a time.

    Parameters
    ----------
    phi : callable
        The propagator.
    w0 : array_like, shape (s,)
        The initial state.
    settings : NewtonSettings
        Steps, tolerance and method.
    keep : bool, default False
        Whether the states of all steps are kept.
    ends : float, default inf
        The time, by ``time.perf_counter``, after which no sweep begins: then it is a solve of the first steps.

    Raises
    ------
    Diverged
        If serial training does.

    Examples
    --------
    >>> from daskmgrit.newton.sizes import Fixed
    >>> settings = NewtonSettings(4, 0.0, size=Fixed(2))
    >>> solved = solve_in_one_process(lambda w, i, level: 0.5 * w, [1.0], settings, keep=True)
    >>> solved.weights.ravel().tolist(), solved.residual, len(solved.sweeps)
    ([1.0, 0.5, 0.25, 0.125, 0.0625], 0.0, 4)
    """
    initial = initial_state(w0)
    state = initial.block(phi)[None, ...]
    window = first_window(state, settings.size.first, settings.steps, settings.interval)
    curvature, kept = None, [initial.host[None]]
    sweeps: list[SweepReport] = []
    while window.first < settings.steps and time.perf_counter() < ends:
        meter = Meter(phi, len(sweeps) + 1, alone=settings.exactly)
        window, curvature, accepted, report, _ = sweep(meter, window, settings, curvature).report()
        sweeps.append(report)
        if keep:
            kept.append(to_host(accepted))
    weights = np.concatenate(kept) if keep else None
    error = error_size(window.growth)
    residual = math.ldexp(math.sqrt(window.spent), unit_of(settings.tol))
    return Solved(to_host(window.states[0, ...]).copy(), weights, residual, error, sweeps)
