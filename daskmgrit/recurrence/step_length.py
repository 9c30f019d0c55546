"""The length of a coarse step: the fine steps that it stands for, and the number that it may take at once."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Self

from daskmgrit.recurrence.propagator import Phi
from daskmgrit.utils.per_level import growth, spread
from daskmgrit.utils.validation import integer_option

__all__ = [
    "AnyCoarsening",
    "StepLength",
    "check_coarsening",
    "length_of",
    "made_for",
    "takes_any_coarsening",
    "words_for",
]


@dataclass(frozen=True, slots=True)
class StepLength:
    """Lengths of the steps of each level, in fine steps.

    Parameters
    ----------
    coarsening : int or tuple of int, default 2
        That of the solver: one factor, or one per level, the last repeating.
    cap : int, optional
        Maximum number of fine steps that a coarse step takes at once: alpha_max over alpha_b of the paper's equation
        14. A coarse step's learning rate is ``min(m**level, cap)`` times the fine one.

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
            remedy = "give the maximum number of fine steps that a coarse step takes at once; None is no limit"
            object.__setattr__(self, "cap", integer_option("cap", self.cap, 1, remedy))

    def __call__(self, level: int) -> int:
        """Return the number of fine steps that a step of `level` stands for: the product of the factors above it."""
        return int(growth(self.coarsening, level))

    def taken(self, level: int) -> int:
        """Return the number of them that it takes at once: at most the cap."""
        length = self(level)
        return length if self.cap is None else min(length, self.cap)


class AnyCoarsening:
    """Base of propagators whose coarse steps follow from their attribute `length`, for any factors."""

    length: StepLength

    def with_coarsening(self, coarsening: int | Sequence[int]) -> Self:
        """Return the same propagator for a solver with other coarsening factors.

        Parameters
        ----------
        coarsening : int or sequence of int
            The solver's.
        """
        made = copy(self)
        made.length = replace(self.length, coarsening=coarsening)
        for name in ("data", "examples"):
            # A rule may say what data a coarse step sees.
            rule: Any = getattr(self, name, None)
            if hasattr(rule, "coarsening"):
                setattr(made, name, replace(rule, coarsening=made.length.coarsening))
        return made


def length_of(phi: Any) -> StepLength | None:
    """Return the length of a propagator's steps, its ``step_length`` or else ``length``; None if it has neither."""
    length = getattr(phi, "step_length", getattr(phi, "length", None))
    return length if isinstance(length, StepLength) else None


def takes_any_coarsening(phi: Any) -> bool:
    """Whether a propagator supports any coarsening factors: it has a method ``with_coarsening(factors)``."""
    return callable(getattr(phi, "with_coarsening", None))


def made_for(phi: Phi, coarsening: int | Sequence[int]) -> Phi:
    """Return a propagator for these coarsening factors if it supports any; otherwise the propagator itself."""
    if not takes_any_coarsening(phi) or _is_for(length_of(phi), coarsening):
        return phi
    made: Phi = phi.with_coarsening(coarsening)  # type: ignore[attr-defined]
    return made


def words_for(phi: Phi, coarsening: int | Sequence[int]) -> str:
    """Return the work of :func:`made_for` on ``phi``, as Python."""
    return "phi" if made_for(phi, coarsening) is phi else f"phi.with_coarsening({coarsening!r})"


def _is_for(length: StepLength | None, coarsening: int | Sequence[int]) -> bool:
    # More levels than a solve has.
    return length is not None and all(length(level) == growth(coarsening, level) for level in range(30))


def check_coarsening(phi: Any, coarsening: Sequence[int]) -> None:
    """Check that a propagator's coarse steps are as long as the solver's.

    Parameters
    ----------
    phi : callable
        A propagator. If its :func:`length_of` is not known, it is not checked.
    coarsening : sequence of int
        The solver's coarsening factor from each level to the next.

    Raises
    ------
    ValueError
        The message names both.
    """
    length = length_of(phi)
    if length is None:
        return
    known = length.coarsening
    assert isinstance(known, tuple)
    if spread(known, len(coarsening)) != list(coarsening):
        own = known[0] if len(known) == 1 else list(known)
        remedy = "give the propagator and the solver the same coarsening"
        if takes_any_coarsening(phi):
            remedy += ", or the solver phi.with_coarsening(…)"
        raise ValueError(
            f"phi was made for coarsening={own}, but the solver coarsens by {', '.join(map(str, coarsening))}: {remedy}"
        )
