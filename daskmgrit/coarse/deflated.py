"""The deflated step: M plain steps at once in the directions of the largest curvatures, one plain step in the rest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from daskmgrit.coarse.curvatures import Curvatures
from daskmgrit.coarse.exponential import GROWTH, mean_decay

__all__ = ["deflated_step"]

Array = NDArray


def deflated_step(
    gradient: Callable[[Array], Array],
    weights: Array,
    length: float,
    rate: float,
    curvatures: Curvatures,
    times: Array,
    growth: float = GROWTH,
) -> Array:
    """Take the ``M = length / rate`` plain steps of `rate` that a coarse step stands for, by one gradient.

    Parameters
    ----------
    gradient : callable
        ``gradient(weights (k, s)) -> (k, s)``, a new array.
    weights : ndarray, shape (k, s)
        k states.
    length : float
        The learning rate of the fine steps that the step stands for, together.
    rate : float
        a, the learning rate of a fine step.
    curvatures : Curvatures
        The largest curvatures, see :func:`find_curvatures`.
    times : ndarray, shape (k,)
        Where in training each state is: the sum of the learning rates up to there. It takes the curvatures of the state
        that is nearest to it.
    growth : float, default 2
        A mode of negative curvature grows at most by this factor.

    Notes
    -----
    ``w - V phi_M(D) V' g - c (g - V V' g)`` with ``phi_M(l) = (1 - (1 - a l)**M) / l``, D the eigenvalues of the modes
    V, and c the step's length, or ``1 / rest`` if that is less: no mode of the rest is passed over.

    Examples
    --------
    >>> import numpy as np
    >>> from daskmgrit.coarse import find_curvatures
    >>> def gradient(weights):
    ...     return np.array([0.0, 1.0]) * weights
    >>> found = find_curvatures(gradient, np.ones(2), 1.0, 1.9, rank=1)
    >>> deflated_step(gradient, np.ones((1, 2)), 1.0, 0.5, found, np.zeros(1)).round(6).tolist()
    [[1.0, 0.25]]
    """
    slope = gradient(weights)
    moved = np.empty_like(weights)
    near = curvatures.near(times)
    for number in np.unique(near):
        rows = np.flatnonzero(near == number)
        modes, rest = curvatures.modes[number], curvatures.rest[number]
        plain = min(length, 1 / rest) if rest else length
        factors = mean_decay(curvatures.values[number], rate, length / rate, growth) - plain
        # A product for each state: of a block of them rounding would depend on how many there are.
        along = np.matmul(slope[rows, None], modes) * factors.astype(weights.dtype)
        moved[rows] = weights[rows] - weights.dtype.type(plain) * slope[rows] - np.matmul(along, modes.T)[:, 0]
    return moved
