"""FAS restriction on a block: injection, residual, coarse right-hand side (paper, section 2.3.2, Algorithm 1).

With v the injected C-points and r their residual, the coarse problem is ``w_c[i] = Phi_c(w_c[i-1]) + g_c[i]``,
``g_c[i] = r[i] + v[i] - Phi_c(v[i-1])``. Two things follow that save Phi: ``Phi_c(v)`` depends on v only, so
it may run in parallel with the fine residual; and ``Phi_c(v[i-1]) + g_c[i]`` is simply ``v[i] + r[i]``. If coarse
states have another size (:mod:`daskmgrit.multigrid.state_transfer`), v and r are the restricted ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from daskmgrit.multigrid.block import interleave
from daskmgrit.multigrid.relaxation import with_start
from daskmgrit.multigrid.state_transfer import StateTransfer
from daskmgrit.recurrence.norms import groups
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.utils.array_api import Array, add_onto, namespace

__all__ = ["coarse_rhs", "coarse_step", "correction", "serial_solve", "with_residual"]


def with_residual(v: Array, arrived: Array) -> Array:
    """Return ``v + r``, with ``r = arrived - v`` and no residual at point 0, where nothing arrives.

    (It is not `arrived` to the bit, and the correction of what has converged would not be zero if it were.)
    """
    if not isinstance(v, np.ndarray):
        return v + (with_start(v, arrived) - v)
    lead = len(v) - len(arrived)
    total = np.empty_like(v)
    total[:lead] = v[:lead]
    rows, new = v[lead:], total[lead:]
    for part in groups(arrived):
        old, sums = rows[part], new[part]
        np.subtract(arrived[part], old, out=sums)
        np.add(old, sums, out=sums)
    return total


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
    ndarray, shape (n, s) or (n-1, s)
        There is no row for point 0, which has no point before it.
    """
    before, end = v[:-1, ...], first + v.shape[0] - 1
    if left is None:
        return phi(before, np.arange(first, end), level)
    return phi(namespace(v).concat((left, before)), np.arange(first - 1, end), level)


def coarse_rhs(u: Array, stepped: Array, m: int = 1) -> tuple[Array, ...]:
    """Return ``g_c = (v + r) - Phi_c(v[i-1])`` by place in the F-interval.

    Parameters
    ----------
    u : ndarray, shape (n, s)
        ``v + r``.
    stepped : ndarray, shape (n, s) or (n-1, s)
        The result of :func:`coarse_step`. Without a row for point 0, its g is u there.
    m : int
        The coarse level's coarsening factor.
    """
    if u.shape[0] == stepped.shape[0]:
        return tuple(u[j::m, ...] - stepped[j::m, ...] for j in range(m))
    before, after = u[m::m, ...], stepped[m - 1 :: m, ...]
    if isinstance(u, np.ndarray):
        first = np.empty((len(before) + 1, *u.shape[1:]), u.dtype)
        first[0] = u[0]
        np.subtract(before, after, out=first[1:])
    else:
        first = namespace(u).concat((u[:1, ...], before - after))
    return (first, *(u[j::m, ...] - stepped[j - 1 :: m, ...] for j in range(1, m)))


def correction(
    c_points: Array, places: Sequence[Array], transfer: StateTransfer | None = None, level: int = 0
) -> Array:
    """Return the C-points plus the coarse-level error approximation (Algorithm 1, steps 4 and 5).

    It is ``w_c - v``, or ``P(w_c - R v)`` with a transfer of states from `level` to the next. w_c is given by place in
    the coarse level's F-interval.
    """
    if transfer is not None or not isinstance(c_points, np.ndarray):
        coarse = places[0] if len(places) == 1 else interleave(places)
        if transfer is None:
            return c_points + (coarse - c_points)
        return c_points + transfer.interpolate(coarse - transfer.restrict(c_points, level), level)
    m, corrected = len(places), np.empty_like(c_points)
    for part in groups(c_points, m):
        old, new = c_points[part], corrected[part]
        for j, rows in enumerate(places):
            target, start = new[j::m], part.start // m
            target[...] = rows[start : start + len(target)]
        np.subtract(new, old, out=new)
        np.add(old, new, out=new)
    return corrected


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
        last = add_onto(rhs[i : i + 1, ...], phi(last, np.arange(i - 1, i), level))
        states.append(last)
    return namespace(u).concat(states)
