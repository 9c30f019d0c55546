"""MGRIT as short as NumPy allows, V-cycles with FCF-relaxation: the reference for this package's bookkeeping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from daskmgrit.recurrence.propagator import Phi
from daskmgrit.utils.array_api import Array

__all__ = ["lean_mgrit"]


def lean_mgrit(phi: Phi, w0: Array, steps: Sequence[int], m: int, tol: float, maxiter: int) -> tuple[Any, list[float]]:
    """Solve from a constant initial guess, with the same Phi as :class:`daskmgrit.MGRIT`.

    Parameters
    ----------
    phi : callable
        The propagator.
    w0 : ndarray, shape (s,)
        The initial state.
    steps : sequence of int
        Steps of each level.
    m : int
        The coarsening factor of all levels.
    tol : float
        Tolerance, on the 2-norm of the residual at the C-points.
    maxiter : int
        Maximum number of cycles.

    Returns
    -------
    ndarray, shape (N + 1, s)
        All states.
    list of float
        The residual after each cycle.
    """

    def step(level: int, v: Array, rhs: Array | None, to: Array) -> Array:
        new = phi(v[to - 1], to - 1, level)
        return new if rhs is None else new + rhs[to]

    def f_relaxation(level: int, v: Array, rhs: Array | None, start: int = 1) -> None:
        for place in range(start, m):
            to = np.arange(place, steps[level] + 1, m)
            v[to] = step(level, v, rhs, to)

    def cycle(level: int, v: Array, rhs: Array | None, arrived: Array | None = None) -> None:
        if level == len(steps) - 1:
            for i in range(1, steps[level] + 1):
                v[i] = step(level, v, rhs, np.array([i]))[0]
            return
        to = np.arange(m, steps[level] + 1, m)
        v[to] = step(level, v, rhs, to) if arrived is None else arrived
        f_relaxation(level, v, rhs)
        injected = v[::m].copy()
        coarse = injected.copy()
        # Arrivals at the C-points: u = v + r.
        coarse[1:] = step(level, v, rhs, to)
        below = coarse.copy()
        below[1:] -= phi(injected[:-1], np.arange(len(to)), level + 1)
        # The first F-points are known, as Phi_c(v) + g_c = u; the C-points are those injected.
        if level + 1 < len(steps) - 1:
            known, coarse = coarse, injected.copy()
            coarse[1::m] = known[1::m]
            f_relaxation(level + 1, coarse, below, 2)
        else:
            coarse = injected.copy()
        cycle(level + 1, coarse, below)
        v[::m] += coarse - injected
        f_relaxation(level, v, rhs)

    v = np.tile(w0, (steps[0] + 1, 1))
    to, residuals = np.arange(m, steps[0] + 1, m), []
    f_relaxation(0, v, None)
    while True:
        arrived = step(0, v, None, to)
        residuals.append(float(np.linalg.norm(arrived - v[to])))
        if residuals[-1] <= tol or len(residuals) > maxiter:
            return v, residuals[1:]
        cycle(0, v, None, arrived)
