"""How long a coarse step is: the fine steps that it stands for, and how many of them it may take at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from daskmgrit.options import integer_option

__all__ = ["StepLength"]


@dataclass(frozen=True, slots=True)
class StepLength:
    """Lengths of the steps of each level, in fine steps.

    Parameters
    ----------
    coarsening : int or tuple of int, default 2
        That of the solver: one factor, or one per level, the last repeating.
    cap : int, optional
        Most fine steps that a coarse step takes at once. It is alpha_max over alpha_b of the paper's equation 14: a
        coarse step's learning rate is ``min(m**level, cap)`` times the fine one.

    Raises
    ------
    ValueError
        If a factor is below 2 or the cap below 1.

    Examples
    --------
    >>> length = StepLength((4, 2), cap=8)
    >>> [length(level) for level in range(4)], [length.taken(level) for level in range(4)]
    ([1, 4, 8, 16], [1, 4, 8, 8])
    """

    coarsening: int | Sequence[int] = 2
    cap: int | None = None

    def __post_init__(self) -> None:
        factors = tuple(self.coarsening) if isinstance(self.coarsening, Sequence) else (self.coarsening,)
        remedy = "give the solver's coarsening factor, or its list of factors"
        factors = tuple(integer_option("coarsening", m, 2, remedy) for m in factors)
        if not factors:
            raise ValueError(f"coarsening=[] is empty: {remedy}")
        object.__setattr__(self, "coarsening", factors)
        if self.cap is not None:
            remedy = "it is the most fine steps that a coarse step takes at once; None is no limit"
            object.__setattr__(self, "cap", integer_option("cap", self.cap, 1, remedy))

    def __call__(self, level: int) -> int:
        """Return how many fine steps a step of `level` stands for: the product of the factors above it."""
        factors = self.coarsening
        assert isinstance(factors, tuple)
        return math.prod(factors[min(k, len(factors) - 1)] for k in range(level))

    def taken(self, level: int) -> int:
        """Return how many of them it takes at once: no more than the cap."""
        length = self(level)
        return length if self.cap is None else min(length, self.cap)
