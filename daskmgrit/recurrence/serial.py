"""Serial training: the loop whose result MGRIT converges to."""

from __future__ import annotations

from typing import Any

import numpy as np

from daskmgrit.recurrence.propagator import Phi, apply_phi
from daskmgrit.recurrence.state import check_length, initial_state
from daskmgrit.recurrence.trial import check_arguments, raise_at_start
from daskmgrit.utils.array_api import Array, to_host
from daskmgrit.utils.validation import integer_option

__all__ = ["train_serially"]


def train_serially(phi: Phi, w0: Any, steps: int) -> Array:
    """Apply the propagator of level 0 step by step, as traditional training does (paper, equation 1).

    Parameters
    ----------
    phi : callable
        The propagator.
    w0 : array_like, shape (s,)
        The initial state.
    steps : int
        N.

    Returns
    -------
    ndarray, shape (N+1, s)
        The state at every step.

    Raises
    ------
    ValueError
        If w0 is not a finite vector, or of another length than phi takes.
    PropagatorError
        If phi does not take three arguments.

    Examples
    --------
    >>> train_serially(lambda weights, index, level: 0.5 * weights, [1.0], 3).ravel().tolist()
    [1.0, 0.5, 0.25, 0.125]
    """
    initial = initial_state(w0)
    steps = integer_option("steps", steps, 1, "it is the number of training steps")
    states = np.empty((steps + 1, initial.size), initial.dtype)
    check_length(phi, initial)
    check_arguments(phi)
    states[0] = initial.host
    state = initial.block(phi)[None, ...]
    for i in range(steps):
        try:
            state = apply_phi(phi, state, np.arange(i, i + 1), 0)
        except Exception as error:
            if i:
                raise
            raise_at_start(phi, state, error)
        states[i + 1] = to_host(state)[0]
    return states
