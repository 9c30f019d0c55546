"""A long step as several plain steps: stable like the Chebyshev step, at a cost that grows with its length."""

from __future__ import annotations

import math
from collections.abc import Callable

from numpy.typing import NDArray

__all__ = ["substep_count", "substeps"]

Array = NDArray


def substep_count(length: float, max_rate: float) -> int:
    """Return the least number of plain steps of at most `max_rate` that make up `length`.

    Examples
    --------
    >>> [substep_count(2.0**level, 8.0) for level in range(7)]
    [1, 1, 1, 1, 2, 4, 8]
    """
    return max(1, math.ceil(length / max_rate * (1 - 1e-12)))


def substeps(gradient: Callable[[Array], Array], weights: Array, length: float, count: int) -> Array:
    """Take `count` plain steps of ``length / count`` each.

    Parameters
    ----------
    gradient : callable
        ``gradient(weights (k, s)) -> (k, s)``.
    weights : ndarray, shape (k, s)
        k states.
    length : float
        The learning rate of all of them together.
    count : int
        Their number.
    """
    for _ in range(count):
        weights = weights - length / count * gradient(weights)
    return weights
