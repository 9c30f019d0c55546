"""Stable coarse levels for any Phi that takes a learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from daskmgrit.coarse.chebyshev import DAMPING
from daskmgrit.coarse.curvatures import Curvatures
from daskmgrit.coarse.rule import CoarseRule
from daskmgrit.coarse.window import coarsening_option
from daskmgrit.recurrence.propagator import Preparation, read_only
from daskmgrit.recurrence.step_length import StepLength
from daskmgrit.utils.per_level import growth
from daskmgrit.utils.validation import callable_option, number_option

__all__ = ["PHI_OF_RATE", "RatedPhi", "stabilise"]

Array = NDArray
PHI_OF_RATE = "give phi_of_rate(weights, index, level, rate) -> new weights"
RatedPhi = Callable[[Array, Array, int, float], Array]


class stabilise:
    """Make a propagator with stable coarse levels of a descent step that takes a learning rate.

    Parameters
    ----------
    phi_of_rate : callable
        ``phi_of_rate(weights (k, s), index (k,), level, rate) -> new weights (k, s)``: one step of descent at `rate`.
        It must be of the form ``w - rate * g(w)``; g may depend on index and level but not on the rate. (A state that
        carries momentum along is not of that form.)
    rate : float
        alpha_b, the learning rate of level 0.
    max_rate : float
        alpha_max, the largest rate at which plain steps are stable; :func:`daskmgrit.estimate_max_rate` estimates it.
    coarsening : int or sequence of int, default 2
        Coarsening factor m, or one per level, the last repeating: those given to :class:`daskmgrit.MGRIT`.
    method : str or sequence of str, default "chebyshev"
        ``"capped"``, ``"substeps"``, ``"chebyshev"``, ``"exponential"`` or ``"deflated"``, see
        :class:`daskmgrit.coarse.CoarseRule`; or one per level.
    damping : float, default 0.05
        eps of the Chebyshev step.
    max_stages : int, optional
        Maximum number of stages; longer steps are shortened to the length for which these are stable.
    curvatures : Curvatures, optional
        With "deflated": the largest curvatures, by :func:`daskmgrit.coarse.find_curvatures`.

    Raises
    ------
    TypeError
        If `phi_of_rate` is not callable.
    ValueError
        If a value is out of range.

    Notes
    -----
    The gradient is ``(w - phi_of_rate(w, …, a)) / a``, with a = `max_rate`, or the step's length if that is less;
    nothing else of phi_of_rate is used. A step of s stages calls it s times, and counts s times; an exponential step,
    whose calls are independent, counts once.

    Examples
    --------
    >>> import numpy as np
    >>> import daskmgrit as dm
    >>> def descend(weights, index, level, rate):
    ...     return weights - rate * weights * np.array([0.01, 1.0])
    >>> phi = stabilise(descend, rate=0.5, max_rate=2.0)
    >>> [phi.stages(level) for level in range(8)]
    [1, 1, 1, 2, 3, 3, 5, 6]
    >>> dm.MGRIT(phi, 1024).solve(np.ones(2), initial_guess="constant").iterations
    8
    """

    def __init__(
        self,
        phi_of_rate: RatedPhi,
        rate: float,
        max_rate: float,
        coarsening: int | Sequence[int] = 2,
        method: str | Sequence[str] = "chebyshev",
        damping: float = DAMPING,
        max_stages: int | None = None,
        curvatures: Curvatures | None = None,
    ) -> None:
        callable_option("phi_of_rate", phi_of_rate, 4, PHI_OF_RATE)
        self.phi_of_rate, self.coarsening = phi_of_rate, coarsening_option(coarsening)
        if hasattr(phi_of_rate, "to_block"):
            self.to_block = phi_of_rate.to_block
        self.rate = number_option("rate", rate, "a learning rate is a positive number", above=0)
        if max_rate == math.inf:
            raise ValueError(
                "max_rate=inf: no positive curvature was seen, so nothing limits a step; give the length of the "
                "longest step that you trust"
            )
        self.coarse = CoarseRule(method, max_rate, damping, max_stages, self.rate, curvatures)
        if max_rate < rate:
            raise ValueError(
                f"max_rate={max_rate} is below rate={rate}: plain steps of level 0 would not be stable; lower the rate"
            )

    @property
    def step_length(self) -> StepLength:
        """Number of fine steps that a step of each level stands for."""
        return StepLength(self.coarsening)

    @property
    def preparation(self) -> Preparation:
        """The gradients that found curvatures."""
        return self.coarse.preparation

    def length(self, level: int) -> float:
        """Return the learning rate of the fine steps that a step of `level` stands for, together."""
        return self.rate * growth(self.coarsening, level)

    def stages(self, level: int) -> int:
        """Return the number of calls of `phi_of_rate`, one after another, in a step of `level`."""
        return self.coarse.stages(self.length(level), level)

    def shortfall(self, level: int) -> float:
        """Return the factor by which a step of `level` is shorter than the fine steps that it stands for."""
        return self.length(level) / self.coarse.covered(self.length(level), level)

    def __call__(self, weights: Array, index: Array, level: int) -> Array:
        """Return the states after one step."""
        length = self.length(level)
        plain = min(length, self.coarse.max_rate)
        if self.coarse.plain(length, level):
            return self.phi_of_rate(weights, index, level, plain)

        def gradient(states: Array) -> Array:
            given = read_only(states) if isinstance(states, np.ndarray) else states
            return (states - self.phi_of_rate(given, index, level, plain)) / plain

        return self.coarse.step(gradient, weights, length, level, index)

    def __repr__(self) -> str:
        return f"stabilise({self.phi_of_rate!r}, rate={self.rate}, {self.coarse!r})"
