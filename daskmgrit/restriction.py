"""FAS restriction on a block: injection, residual, coarse right-hand side (paper, section 2.3.2, Algorithm 1).

With v the injected C-points and r their residual, the coarse problem is ``w_c[i] = Phi_c(w_c[i-1]) + g_c[i]``,
``g_c[i] = r[i] + v[i] - Phi_c(v[i-1])``. Two things follow that save Phi: ``Phi_c(v)`` depends on v only, so
it may run beside the fine residual; and ``Phi_c(v[i-1]) + g_c[i]`` is simply ``v[i] + r[i]``. Where coarse states have
another size (:mod:`daskmgrit.transfer`), v and r are what they were restricted to.
"""

from __future__ import annotations

import numpy as np

from daskmgrit.backend import add_onto, namespace
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
    xp, before, end = namespace(v), v[:-1, ...], first + v.shape[0] - 1
    if left is None:
        stepped = phi(before, np.arange(first, end), level)
        return xp.concat((xp.zeros_like(v[:1, ...]), stepped))
    return phi(xp.concat((left, before)), np.arange(first - 1, end), level)


def coarse_rhs(u: Array, stepped: Array) -> Array:
    """Return ``g_c = (v + r) - Phi_c(v[i-1])``; `u` is ``v + r``, `stepped` comes from :func:`coarse_step`."""
    return u - stepped


def correction(c_points: Array, coarse: Array, transfer: StateTransfer | None = None, level: int = 0) -> Array:
    """Return the C-points plus the coarse-level error approximation (Algorithm 1, steps 4 and 5).

    It is ``w_c - v``, or ``P(w_c - R v)`` with a transfer of states from `level` to the next.
    """
    if transfer is None:
        return add_onto(c_points, coarse - c_points)
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
    last = u[1:2, ...]
    states = [u[:2, ...]]
    for i in range(2, u.shape[0]):
        last = phi(last, np.arange(i - 1, i), level) + rhs[i : i + 1, ...]
        states.append(last)
    return namespace(u).concat(states)
