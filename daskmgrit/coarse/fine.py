"""A loop without rates and levels as a descent step that takes a rate and sees a window of fine steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from daskmgrit.coarse.window import coarsening_option, window_steps
from daskmgrit.utils.array_api import namespace
from daskmgrit.utils.validation import integer_option

__all__ = ["from_fine"]

Array = NDArray


class from_fine:
    """Make a descent step that takes a rate from a propagator of level 0.

    The change of a step on level 0 serves as the gradient, and its rate as the unit of rates: give
    :class:`daskmgrit.coarse.stabilise` ``rate=1``, and as `max_rate` the largest stable rate in units of the loop's.

    Parameters
    ----------
    phi : callable
        ``phi(weights (k, s), index (k,), level) -> new weights``; only called with level 0.
    coarsening : int or sequence of int, default 2
        Coarsening factor m, or one per level, the last repeating: those given to :class:`daskmgrit.MGRIT`.
    window : int, default 1
        B: a coarse step takes the mean over at most B of the fine steps that it stands for, evenly spread. Each costs
        one phi; they are done in one call.
    period : int, optional
        Number of steps after which the data repeat, see :func:`daskmgrit.coarse.window_steps`.

    Examples
    --------
    >>> import numpy as np
    >>> def body(weights, index, level):  # one example after another, at a rate of 0.01
    ...     return weights - 0.01 * (weights - np.array([1.0, 3.0])[index % 2, None])
    >>> descend = from_fine(body, window=8)
    >>> descend(np.zeros((1, 1)), np.array([0]), 3, 10.0).round(3).tolist()  # towards the mean, ten times as far
    [[0.2]]
    """

    def __init__(
        self,
        phi: Callable[[Array, Array, int], Any],
        coarsening: int | Sequence[int] = 2,
        window: int = 1,
        period: int | None = None,
    ) -> None:
        if not callable(phi):
            raise TypeError(f"phi={phi!r} is not callable: give a function phi(weights, index, level) -> new weights")
        self.phi, self.coarsening = phi, coarsening_option(coarsening)
        if hasattr(phi, "to_block"):
            self.to_block = phi.to_block
        self.window = integer_option(
            "window", window, 1, "B is the maximum number of fine steps in the mean of a coarse step"
        )
        self.period = period
        if period is not None:
            integer_option("period", period, 1, "it is the number of steps after which the data repeat")

    def tried(self, coarsening: int | Sequence[int], window: int | None) -> from_fine:
        """Return the same step for other coarsening factors and window, for :func:`daskmgrit.tune.rated`."""
        return from_fine(self.phi, coarsening, self.window if window is None else window, self.period)

    def __call__(self, weights: Array, index: Array, level: int, rate: float) -> Array:
        """Return the states after one step at `rate`, in units of the rate of level 0."""
        steps = window_steps(index, level, self.coarsening, self.window, self.period)
        count = steps.shape[1]
        xp = namespace(weights)
        states = xp.repeat(weights, count, axis=0) if count > 1 else weights
        moved = self.phi(states, steps.ravel(), 0)
        if rate == 1 and count == 1:
            return moved
        # The change of each, then their mean: a step without change is one to the bit.
        change = xp.reshape(moved - states, (weights.shape[0], count, weights.shape[1]))
        return weights + rate * xp.mean(change, axis=1)

    def __repr__(self) -> str:
        return f"from_fine({self.phi!r}, coarsening={self.coarsening}, window={self.window}, period={self.period})"
