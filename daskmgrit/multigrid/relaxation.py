"""F- and C-relaxation on a block of F-intervals (paper, section 2.3.1 and Figure 4).

A block holds its points by their place in the F-interval: ``points[0]`` are the C-points, ``points[j]``
the F-points j steps after them, each an array with a row per F-interval. So one F-relaxation step is one
batched Phi on whole arrays. Only the last F-interval of a level may be partial: then ``points[j]`` has a
row less. Right-hand sides `rhs` are held alike; None means zero.

A `phi` here is called as ``phi(weights, index, level)`` with weights (k, s) and source steps (k,).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from daskmgrit.recurrence.propagator import Phi
from daskmgrit.utils.array_api import Array, add_onto, namespace

__all__ = ["arrivals", "arrive", "c_relaxation", "f_relaxation", "with_start"]


def f_relaxation(
    phi: Phi,
    c_points: Array,
    counts: Sequence[int],
    rhs: Sequence[Array] | None,
    first: int,
    level: int,
    known: Array | None = None,
) -> tuple[Array, ...]:
    """Propagate every C-point over the F-points of its interval.

    Parameters
    ----------
    phi : callable
        The propagator.
    c_points : ndarray, shape (n, s)
        One C-point per F-interval.
    counts : sequence of int
        Rows of ``points[j]``, j = 0 … m-1; its length is the coarsening factor m.
    rhs : sequence of ndarray or None
        Right-hand side g by place in the interval.
    first : int
        Number of the block's first F-interval on the level.
    level : int
        Level, passed on to `phi`.
    known : ndarray, optional
        The values at the first F-points, if they are known without a Phi.

    Returns
    -------
    tuple of ndarray
        The points of the block, C-points unchanged.
    """
    m = len(counts)
    points = [c_points]
    for j in range(1, m):
        rows = counts[j]
        if j == 1 and known is not None:
            points.append(known)
            continue
        source = first * m + j - 1
        state = phi(points[j - 1][:rows, ...], np.arange(source, source + rows * m, m), level)
        points.append(state if rhs is None else add_onto(rhs[j], state))
    return tuple(points)


def arrivals(
    phi: Phi, points: Sequence[Array], rhs: Sequence[Array] | None, left: Array | None, first: int, level: int
) -> Array:
    """Propagate the last F-point of every interval to the C-point after it: ``Phi(w[i-1]) + g[i]``.

    Parameters
    ----------
    phi, rhs, first, level
        As in :func:`f_relaxation`.
    points : sequence of ndarray
        The block's points.
    left : ndarray, shape (1, s) or (2, s), or None
        Last F-points of the F-intervals to the left of the block; None for the block that holds point 0. With two, the
        first row is that of the C-point before the block, and so is that of `rhs`.

    Returns
    -------
    ndarray, shape (n, s), (n+1, s) or (n-1, s)
        Row i is the arrival at C-point i. There is no row for point 0, where nothing arrives; see :func:`with_start`.
    """
    m, rows = len(points), points[0].shape[0]
    arrived = arrive(phi, points[-1], left, rows, m, first, level)
    if rhs is None:
        return arrived
    g = rhs[0]
    return add_onto(g[g.shape[0] - arrived.shape[0] :, ...], arrived)


def arrive(phi: Phi, last_f: Array, left: Array | None, rows: int, m: int, first: int, level: int) -> Array:
    """Propagate the last F-points to the C-points after them, `rows` C-points from F-interval `first` on.

    `left` are the last F-points of the one or two intervals before them, and the rest as in :func:`arrivals`.
    """
    inner, begin, end = last_f[: rows - 1, ...], first * m - 1, (first + rows) * m - 1
    if left is None:
        return phi(inner, np.arange(begin + m, end, m), level)
    begin -= (left.shape[0] - 1) * m
    return phi(namespace(inner).concat((left, inner)), np.arange(begin, end, m), level)


def with_start(c_points: Array, arrived: Array) -> Array:
    """Return the arrival at each C-point; point 0, where nothing arrives, keeps its value."""
    if arrived.shape[0] == c_points.shape[0]:
        return arrived
    return namespace(arrived).concat((c_points[:1, ...], arrived))


def c_relaxation(c_points: Array, arrived: Array, weight: float) -> Array:
    """Return ``weight * arrived + (1 - weight) * c_points``.

    With weight 1 it is bitwise identical to `arrived`; without a change it is bitwise identical to `c_points`.
    """
    return arrived if weight == 1.0 else c_points + weight * (arrived - c_points)
