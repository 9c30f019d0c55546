"""The first-order Runge-Kutta-Chebyshev step: one long step of gradient descent that stays stable.

A plain step of length h is stable for ``h * lambda <= 2``, lambda an eigenvalue of the Hessian, so a coarse step may
be no longer than ``alpha_max = 2 / lambda_max``. The step here has s stages, a gradient each, and damps every mode with
``h * lambda <= (2 - 4/3 eps) s**2``: its cost grows like the square root of its length.

References
----------
.. [1] P. J. van der Houwen, B. P. Sommeijer, "On the internal stability of explicit, m-stage Runge-Kutta methods for
   large m-values", ZAMM 60 (1980).
.. [2] J. G. Verwer, W. H. Hundsdorfer, B. P. Sommeijer, "Convergence properties of the Runge-Kutta-Chebyshev method",
   Numer. Math. 57 (1990).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

from numpy.typing import NDArray

__all__ = ["DAMPING", "chebyshev_stages", "chebyshev_step", "published_bound", "stability_bound"]

Array = NDArray
Gradient = Callable[[Array], Array]

DAMPING = 0.05


def _polynomials(stages: int, damping: float) -> tuple[list[float], float]:
    """Return T_0 … T_s at ``w0 = 1 + damping/s**2``, and T_s' there."""
    w0 = 1 + damping / stages**2
    values, slopes = [1.0, w0], [0.0, 1.0]
    for _ in range(2, stages + 1):
        slopes.append(2 * values[-1] + 2 * w0 * slopes[-1] - slopes[-2])
        values.append(2 * w0 * values[-1] - values[-2])
    return values, slopes[stages]


def stability_bound(stages: int, damping: float = DAMPING) -> float:
    """Return beta: the step is stable, and damped, for ``0 <= h * lambda <= beta``.

    Parameters
    ----------
    stages : int
        s.
    damping : float, default 0.05
        eps; the largest modulus inside the interval is about ``1 - eps``.

    Notes
    -----
    ``(w0 + 1) T_s'(w0) / T_s(w0)`` with ``w0 = 1 + eps/s**2``, which is :func:`published_bound` and a little more.

    Examples
    --------
    >>> round(stability_bound(1), 3), round(stability_bound(10), 1)
    (1.952, 193.6)
    """
    values, slope = _polynomials(stages, damping)
    return (2 + damping / stages**2) * slope / values[stages]


def published_bound(stages: int, damping: float = DAMPING) -> float:
    """Return the bound as it is published for small damping, ``(2 - 4/3 eps) s**2`` [2]_.

    Examples
    --------
    >>> round(published_bound(10), 1)
    193.3
    """
    return (2 - 4 / 3 * damping) * stages**2


def chebyshev_stages(length: float, max_rate: float, damping: float = DAMPING) -> int:
    """Return the least number of stages that make a step stable where plain steps of `max_rate` are.

    One where `length` is at most `max_rate`; else the least s with ``(2 - 4/3 eps) s**2 >= 2 length / max_rate``.

    Parameters
    ----------
    length : float
        h, the learning rate of the whole step.
    max_rate : float
        alpha_max, the largest stable rate of a plain step.
    damping : float, default 0.05
        eps.

    Examples
    --------
    >>> [chebyshev_stages(2.0**level, 8.0) for level in range(11)]
    [1, 1, 1, 1, 2, 3, 3, 5, 6, 9, 12]
    """
    if length <= max_rate:
        return 1
    return math.ceil(math.sqrt(2 * length / max_rate / (2 - 4 / 3 * damping)))


@functools.lru_cache(maxsize=256)
def _coefficients(stages: int, damping: float) -> tuple[tuple[float, float], ...]:
    """Return for each stage the weight of the state before the last, and the share of the step's length."""
    values, slope = _polynomials(stages, damping)
    w0, w1 = values[1], values[stages] / slope
    found = [(0.0, w1 / w0)]
    for j in range(2, stages + 1):
        found.append((-values[j - 2] / values[j], 2 * w1 * values[j - 1] / values[j]))
    return tuple(found)


def chebyshev_step(gradient: Gradient, weights: Array, length: float, stages: int, damping: float = DAMPING) -> Array:
    """Take one step of the descent ``w' = -gradient(w)``, of a length that plain descent would not survive.

    Parameters
    ----------
    gradient : callable
        ``gradient(weights (k, s)) -> (k, s)``, a new array.
    weights : ndarray, shape (k, s)
        k states.
    length : float
        h.
    stages : int
        Gradients to take, see :func:`chebyshev_stages`. One stage is the plain step ``weights - h * gradient``.
    damping : float, default 0.05
        eps.

    Returns
    -------
    ndarray, shape (k, s)

    Notes
    -----
    On ``w' = -lambda w`` it multiplies by ``T_s(w0 - w1 h lambda) / T_s(w0)``, ``w1 = T_s(w0) / T_s'(w0)``, which is
    ``1 - h lambda + O((h lambda)**2)``: order one. The three-term recurrence keeps rounding errors small for any s.

    Examples
    --------
    >>> import numpy as np
    >>> start = np.array([[1.0, 1.0]])  # eigenvalues 0.01 and 1: plain steps are stable up to 2
    >>> chebyshev_step(lambda w: np.array([0.01, 1.0]) * w, start, 20.0, chebyshev_stages(20.0, 2.0)).round(2).tolist()
    [[0.81, 0.37]]
    """
    (_, share), *rest = _coefficients(stages, damping)
    before, now = weights, weights - share * length * gradient(weights)
    for nu, share in rest:
        # mu + nu = 1, so that a state without gradient stays where it is, to the bit.
        before, now = now, now + nu * (before - now) - share * length * gradient(now)
    return now
