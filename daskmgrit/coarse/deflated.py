"""The deflated step: M plain steps at once in the directions of the largest curvatures, one plain step in the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskmgrit.coarse.curvatures import Curvatures
from daskmgrit.coarse.exponential import GROWTH, mean_decay
from daskmgrit.utils.array_api import device, namespace, to_host

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
    weights : Array, shape (k, s)
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
    slope, xp, place = gradient(weights), namespace(weights), device(weights)
    if str(place) == "cpu" and not isinstance(weights, np.ndarray):
        # NumPy's product of a state has the same bits in every block.
        host = deflated_step(lambda _: to_host(slope), to_host(weights), length, rate, curvatures, times, growth)
        return xp.asarray(host)

    def moved(own: Any, steep: Any, number: int) -> Any:
        """Return some states after the step with the curvatures of one state."""
        rest = curvatures.rest[number]
        plain = float(min(length, 1 / rest) if rest else length)
        factors = mean_decay(curvatures.values[number], rate, length / rate, growth) - plain
        modes, factors = (xp.asarray(a, dtype=own.dtype, device=place) for a in (curvatures.modes[number], factors))
        # A product for each state: of a block of them rounding would depend on how many there are.
        along = xp.matmul(steep[:, None, :], modes[None]) * factors
        return own - plain * steep - xp.matmul(along, modes.T[None])[:, 0, :]

    near = curvatures.near(times)
    numbers = [int(number) for number in np.unique(near)]
    if len(numbers) < 2:
        return moved(weights, slope, max(numbers, default=0))
    groups = [np.flatnonzero(near == number) for number in numbers]
    places = [xp.asarray(rows, device=place) for rows in groups]
    parts = [
        moved(xp.take(weights, rows, axis=0), xp.take(slope, rows, axis=0), number)
        for rows, number in zip(places, numbers, strict=True)
    ]
    back = np.argsort(np.concatenate(groups))
    return xp.take(xp.concat(parts, axis=0), xp.asarray(back, device=place), axis=0)
