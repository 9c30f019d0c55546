"""Moments of optimizers: powers of their decay, and the least second moment for a given first."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["least_second_moment", "powers"]


def powers(base: float, exponents: np.ndarray) -> np.ndarray:
    """Return the powers of a number, each with the bits that it has by itself.

    If NumPy takes several at once, their last bits may depend on their number, and so on the chunk.

    Examples
    --------
    >>> powers(0.5, np.array([[1], [3]])).tolist()
    [[0.5], [0.125]]
    """
    flat = exponents.ravel().tolist()
    known = {exponent: base**exponent for exponent in set(flat)}
    return np.array([known[exponent] for exponent in flat]).reshape(exponents.shape)


def least_second_moment(first: Any, beta1: float, beta2: float) -> Any:
    """Return the least second moment that is possible with a first moment.

    With ``m = (1-b1)*sum(b1**j * g_j)`` and ``v = (1-b2)*sum(b2**j * g_j**2)`` the Cauchy-Schwarz inequality gives
    ``m**2 <= (1-b1)**2 / ((1-b2)*(1-b1**2/b2)) * v`` if ``b1**2 < b2``. An iterate of MGRIT is a sum of
    corrections, so its v may be below that, or below zero, where the root in Adam's step would be huge or nan.
    Raising v to the bound changes nothing on a serial training run: there it holds.

    Parameters
    ----------
    first : array
        First moment.
    beta1, beta2 : float
        Decay of the two moments.

    Returns
    -------
    array
        Zero where ``b1**2 >= b2``, for which there is no bound.
    """
    if beta1**2 >= beta2:
        return 0.0 * first
    # A little below, so that rounding does not touch a run that meets the bound with equality (a single gradient).
    bound = (1 - beta2) * (1 - beta1**2 / beta2) / (1 - beta1) ** 2
    return (bound * (1 - 1e-5)) * first * first
