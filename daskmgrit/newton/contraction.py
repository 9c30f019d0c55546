"""The distance of training from the edge of stability: alpha lambda_max, from differences of Phi."""

from __future__ import annotations

from typing import Any

import numpy as np

from daskmgrit.recurrence.meter import Meter
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.recurrence.state import initial_state
from daskmgrit.utils.array_api import move_like, namespace, to_host

__all__ = ["edge_of_stability"]

# Steps of the power method, and states that are looked at.
POWERS, PLACES = 8, 4


def edge_of_stability(phi: Phi, w0: Any, steps: int) -> float:
    """Return the largest alpha lambda_max that is seen along a training run.

    It is the largest eigenvalue of I - J, found by the power method, where J is the Jacobian of a step of gradient
    descent ``w - alpha*g(w)``. Beyond 2 training does not contract along that direction: then no method can compute
    its steps in parallel for long, see [1]_.

    Parameters
    ----------
    phi : callable
        The propagator; the state must be the weights alone.
    w0 : array_like, shape (s,)
        The initial state.
    steps : int
        Number of steps to take: that many Phi in a row, and about 40 more.

    Returns
    -------
    float
        nan if Phi is not finite.

    References
    ----------
    .. [1] X. Gonzalez, A. Warrington, J. T. H. Smith, S. W. Linderman, "Towards Scalable and Stable Parallelization of
       Nonlinear RNNs", 2024.

    Examples
    --------
    >>> round(edge_of_stability(lambda w, i, level: w - 0.5 * np.array([1.0, 3.0]) * w, np.ones(2), 10), 3)
    1.5
    """
    meter = Meter(phi, 1)
    state = initial_state(w0).block(phi)[None, ...]
    xp, s = namespace(state), int(state.shape[1])
    places = np.unique(np.linspace(0, steps - 1, PLACES).astype(int))
    rows = []
    for step in range(steps):
        if step in places:
            rows.append(state)
        state = meter.guess(state, np.array([step]))
    states = xp.concat(rows, axis=0)
    images = meter.guess(states, places)
    host = to_host(states)
    root = float(np.finfo(host.dtype).eps) ** 0.5
    length = move_like(root * np.maximum(1.0, np.linalg.norm(host, axis=1, keepdims=True)).astype(host.dtype), states)
    start = np.random.default_rng(0).standard_normal((len(places), s)).astype(host.dtype)
    vectors, found = move_like(start / np.linalg.norm(start, axis=1, keepdims=True), states), np.nan
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(POWERS):
            moved = vectors - (meter.guess(states + length * vectors, places) - images) / length
            along = to_host(xp.sum(moved * vectors, axis=1))
            found = float(np.max(along)) if np.isfinite(along).all() else np.nan
            norm = xp.sqrt(xp.sum(moved * moved, axis=1, keepdims=True))
            vectors = moved / xp.maximum(norm, xp.full_like(norm, float(xp.finfo(states.dtype).tiny)))
    return found
