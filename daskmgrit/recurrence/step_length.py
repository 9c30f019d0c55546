"""How long a coarse step is: the fine steps that it stands for, and how many of them it may take at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from daskmgrit.utils.per_level import growth, spread
from daskmgrit.utils.validation import integer_option

__all__ = ["StepLength", "check_coarsening", "takes_coarsening"]


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
            remedy = "give a whole number, of the most fine steps that a coarse step takes at once; None is no limit"
            object.__setattr__(self, "cap", integer_option("cap", self.cap, 1, remedy))

    def __call__(self, level: int) -> int:
        """Return how many fine steps a step of `level` stands for: the product of the factors above it."""
        return int(growth(self.coarsening, level))

    def taken(self, level: int) -> int:
        """Return how many of them it takes at once: no more than the cap."""
        length = self(level)
        return length if self.cap is None else min(length, self.cap)


def check_coarsening(phi: Any, coarsening: Sequence[int]) -> None:
    """See that a propagator's coarse steps are as long as the solver's.

    Parameters
    ----------
    phi : callable
        A propagator. If it has an attribute ``step_length``, or else ``length``, that is a :class:`StepLength`, this is
        what its steps stand for; others are not checked.
    coarsening : sequence of int
        The solver's coarsening factor from each level to the next.

    Raises
    ------
    ValueError
        The message names both.
    """
    length = getattr(phi, "step_length", getattr(phi, "length", None))
    if not isinstance(length, StepLength):
        return
    known = length.coarsening
    assert isinstance(known, tuple)
    if spread(known, len(coarsening)) != list(coarsening):
        own = known[0] if len(known) == 1 else list(known)
        raise ValueError(
            f"phi was made for coarsening={own}, but the solver coarsens by {', '.join(map(str, coarsening))}: give "
            "the propagator and the solver the same coarsening"
        )


def takes_coarsening(phi: Any, factors: Sequence[int]) -> bool:
    """Whether a propagator's coarse steps are as long as these factors say, the last repeating, as far as it tells."""
    try:
        # More levels than a solve has.
        check_coarsening(phi, spread(factors, 30))
    except ValueError:
        return False
    return True
