"""Learning-rate rules: the rate on each level (paper, equations 10 and 14), and whether it grows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from daskmgrit.recurrence.step_length import length_of
from daskmgrit.utils.per_level import growth
from daskmgrit.utils.validation import number_option

__all__ = ["CappedRate", "ConstantRate", "RateRule", "takes_fine_steps"]


class RateRule(Protocol):
    """A rule gives the learning rate of a level."""

    def __call__(self, level: int) -> float:
        """Return alpha of `level`."""

    def length(self, level: int) -> float:
        """Return the rate of a step of `level` without a maximum."""

    @property
    def maximum(self) -> float:
        """The largest stable rate of a plain step."""


@dataclass(frozen=True, slots=True)
class ConstantRate:
    """The same rate on every level (equation 10).

    Parameters
    ----------
    rate : float
        alpha_b.
    """

    rate: float

    def __post_init__(self) -> None:
        number_option("rate", self.rate, "a learning rate is a positive number", above=0)

    def __call__(self, level: int) -> float:
        """Return alpha of `level`."""
        return self.rate

    def length(self, level: int) -> float:
        """Return the same rate."""
        return self.rate

    @property
    def maximum(self) -> float:
        """The same rate."""
        return self.rate


@dataclass(frozen=True, slots=True)
class CappedRate:
    """A rate that grows with the length of the coarse step, up to a stable maximum (equation 14).

    ``min(factor**level * rate, maximum)``, or with a factor per level their product up to that level.

    Parameters
    ----------
    rate : float
        alpha_b.
    maximum : float
        alpha_max, the largest stable rate.
    factor : float or tuple of float, default 2
        Growth per level, the last of a tuple repeating; the coarsening factors make a coarse step as long as the fine
        steps it stands for.

    Examples
    --------
    >>> [CappedRate(1.0, 8.0)(level) for level in range(5)]
    [1.0, 2.0, 4.0, 8.0, 8.0]
    >>> [CappedRate(1.0, 99.0, (4, 2))(level) for level in range(4)]
    [1.0, 4.0, 8.0, 16.0]
    """

    rate: float
    maximum: float
    factor: float | tuple[float, ...] = 2

    def __post_init__(self) -> None:
        number_option("rate", self.rate, "a learning rate is a positive number", above=0)
        number_option("maximum", self.maximum, "a learning rate is a positive number", above=0)
        if self.maximum < self.rate:
            raise ValueError(
                f"maximum={self.maximum} is below rate={self.rate}: the cap applies to coarse levels, so it must be at "
                "least the rate of level 0"
            )

    def __call__(self, level: int) -> float:
        """Return alpha of `level`."""
        return min(self.length(level), self.maximum)

    def length(self, level: int) -> float:
        """Return ``factor**level * rate``, the rate of the fine steps that a step stands for, together."""
        return float(growth(self.factor, level)) * self.rate


def takes_fine_steps(phi: Any) -> bool:
    """Whether phi tells that a coarse step takes no more than one fine step, whatever its level."""
    length, rule, shortfall = (length_of(phi), *(getattr(phi, name, None) for name in ("rate", "shortfall")))
    if length is not None:
        return length.taken(1) == 1 and getattr(phi, "long", None) is None
    if isinstance(rule, CappedRate | ConstantRate) and callable(shortfall):
        return bool(rule.length(1) / shortfall(1) <= rule(0))
    return False
