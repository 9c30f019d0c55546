"""FAS restriction on a block: injection, residual, coarse right-hand side (paper, section 2.3.2, Algorithm 1).

With v the injected C-points and r their residual, the coarse problem is ``w_c[i] = Phi_c(w_c[i-1]) + g_c[i]``,
``g_c[i] = r[i] + v[i] - Phi_c(v[i-1])``. Two things follow that save Phi: ``Phi_c(v)`` depends on v only, so
it may run beside the fine residual; and ``Phi_c(v[i-1]) + g_c[i]`` is simply ``v[i] + r[i]``. Where coarse states have
another size (:mod:`daskmgrit.transfer`), v and r are what they were restricted to.
"""

from __future__ import annotations

import numpy as np

from daskmgrit.relaxation import Array, Phi
from daskmgrit.transfer import StateTransfer

__all__ = ["coarse_rhs", "coarse_step", "correction", "serial_solve"]


def coarse_step(phi: Phi, v: Array, left: Array | None, first: int, level: int) -> Array:
    """Return ``Phi_c(v[i-1])`` for the coarse points of a block.

    Parameters
    ----------
    phi : callable
        The propagator.
    v : ndarray, shape (n, s)
        Injected values at coarse points ``first … first+n-1``.
    left : ndarray, shape (1, s), or None
        The coarse point before them; None for the block that holds point 0.
    first : int
        Number of the block's first point on the coarse level.
    level : int
        The coarse level.

    Returns
    -------
    ndarray, shape (n, s)
        Row 0 is zero where there is no point before it.
    """
    if left is None:
        stepped = phi(v[:-1], np.arange(first, first + len(v) - 1), level)
        return np.concatenate((np.zeros_like(v[:1]), stepped))
    return phi(np.concatenate((left, v[:-1])), np.arange(first - 1, first + len(v) - 1), level)


def coarse_rhs(u: Array, stepped: Array) -> Array:
    """Return ``g_c = (v + r) - Phi_c(v[i-1])``; `u` is ``v + r``, `stepped` comes from :func:`coarse_step`."""
    return u - stepped


def correction(c_points: Array, coarse: Array, transfer: StateTransfer | None = None, level: int = 0) -> Array:
    """Return the C-points plus the coarse-level error approximation (Algorithm 1, steps 4 and 5).

    It is ``w_c - v``, or ``P(w_c - R v)`` with a transfer of states from `level` to the next.
    """
    if transfer is None:
        error = coarse - c_points
        return np.add(c_points, error, out=error)
    return c_points + transfer.interpolate(coarse - transfer.restrict(c_points, level), level)


def serial_solve(phi: Phi, u: Array, rhs: Array, level: int) -> Array:
    """Solve ``w[i] = Phi(w[i-1]) + g[i]`` on the coarsest level, one step after another.

    Parameters
    ----------
    phi : callable
        The propagator.
    u : ndarray, shape (n+1, s)
        ``v + r``; row 0 is the initial value and row 1 the exact value of the first step.
    rhs : ndarray, shape (n+1, s)
        g.
    level : int
        The coarsest level.
    """
    w = np.empty_like(u)
    w[:2] = u[:2]
    for i in range(2, len(u)):
        w[i : i + 1] = phi(w[i - 1 : i], np.arange(i - 1, i), level) + rhs[i : i + 1]
    return w
