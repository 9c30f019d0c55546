"""The method, per level, for a coarse step that is too long for plain descent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from numpy.typing import NDArray

from daskmgrit.coarse.chebyshev import DAMPING, chebyshev_stages, chebyshev_step, published_bound
from daskmgrit.coarse.curvatures import Curvatures
from daskmgrit.coarse.deflated import deflated_step
from daskmgrit.coarse.exponential import exponential_step
from daskmgrit.coarse.substeps import substep_count, substeps
from daskmgrit.recurrence.propagator import NOT_PREPARED, Preparation
from daskmgrit.utils.per_level import per_level
from daskmgrit.utils.validation import integer_option, number_option

__all__ = ["AT_ONCE", "METHODS", "CoarseRule"]

Array = NDArray

METHODS = ("capped", "substeps", "chebyshev", "exponential", "deflated")
# They take the fine steps that a step stands for as such, so alpha_b counts and neither alpha_max nor stages.
AT_ONCE = ("exponential", "deflated")


@dataclass(frozen=True, slots=True)
class CoarseRule:
    """The method for steps that are longer than the largest stable rate.

    Parameters
    ----------
    method : str or sequence of str, default "capped"
        ``"capped"``: one plain step of `max_rate`, which is shorter than the fine steps that it stands for (the paper,
        equation 14). ``"substeps"``: as many plain steps as it takes. ``"chebyshev"``: one Runge-Kutta-Chebyshev step.
        ``"exponential"``: the fine steps at once, on a quadratic model of the loss near a state; for NumPy states of
        some tens of weights, 2 s + 1 gradients, all independent. ``"deflated"``: the same in
        the directions of the largest curvatures, and one bounded plain step in the rest; one gradient. One for all
        levels, or one per level from level 0 on, the last repeating.
    max_rate : float
        alpha_max, the largest stable rate of a plain step.
    damping : float, default 0.05
        eps of the Chebyshev step, in (0, 1].
    max_stages : int, optional
        Maximum number of stages. A step that would take more is shortened to the length for which this number is
        stable. This is a cap further out, and the critical path stops growing with the level.
    fine_rate : float, optional
        alpha_b, the rate of a fine step; required by the exponential and the deflated step.
    curvatures : Curvatures, optional
        The largest curvatures, see :func:`daskmgrit.coarse.find_curvatures`; required by the deflated step.

    Raises
    ------
    ValueError
        If a value is out of range.

    Examples
    --------
    >>> [CoarseRule("chebyshev", 8.0).stages(2.0**level, level) for level in range(8)]
    [1, 1, 1, 1, 2, 3, 3, 5]
    >>> [CoarseRule(("capped", "capped", "substeps"), 1.0).stages(2.0**level, level) for level in range(4)]
    [1, 1, 4, 8]
    >>> short = CoarseRule("chebyshev", 8.0, max_stages=3)
    >>> short.stages(1024.0, 10), round(short.covered(1024.0, 10), 1)
    (3, 69.6)
    """

    method: str | Sequence[str] = "capped"
    max_rate: float = 1.0
    damping: float = DAMPING
    max_stages: int | None = None
    fine_rate: float | None = field(default=None, repr=False)
    curvatures: Curvatures | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.method, str | Sequence):
            raise ValueError(f"coarse={self.method!r} is not known: give one of {', '.join(METHODS)}, or one per level")
        given = (self.method,) if isinstance(self.method, str) else tuple(self.method)
        for method in given:
            if method not in METHODS:
                raise ValueError(f"coarse={method!r} is not known: give one of {', '.join(METHODS)}, or one per level")
        if not given:
            raise ValueError(f"coarse={self.method!r} is empty: give one of {', '.join(METHODS)}, or one per level")
        number_option("max_rate", self.max_rate, "alpha_max is a positive number", above=0)
        number_option("damping", self.damping, "eps of the Chebyshev step is in (0, 1]; 0.05 is usual", above=0)
        if self.damping > 1:
            raise ValueError(f"damping={self.damping} is out of range: eps is in (0, 1]; 0.05 is usual")
        if self.max_stages is not None:
            integer_option("max_stages", self.max_stages, 1, "it is the maximum number of stages of a coarse step")
        if self.fine_rate is not None:
            number_option("fine_rate", self.fine_rate, "alpha_b is a positive number", above=0)
        else:
            for method in AT_ONCE:
                if method in given:
                    raise ValueError(
                        f'coarse="{method}" stands for steps of one rate: give fine_rate=, the rate of a fine step'
                    )
        if "deflated" in given and self.curvatures is None:
            raise ValueError(
                'coarse="deflated" needs the largest curvatures: give curvatures=, made by '
                "daskmgrit.coarse.find_curvatures"
            )
        object.__setattr__(self, "method", given)

    @property
    def preparation(self) -> Preparation:
        """The gradients that the rule took before the first step: those that found curvatures."""
        return NOT_PREPARED if self.curvatures is None else self.curvatures.preparation

    def on(self, level: int) -> str:
        """Return the method of a level."""
        return per_level(self.method, level)

    def _wanted(self, length: float, level: int) -> int:
        """Return the stages that a step of `length` would take."""
        method = self.on(level)
        if method == "capped" or method in AT_ONCE:
            return 1
        if method == "substeps":
            return substep_count(length, self.max_rate)
        return chebyshev_stages(length, self.max_rate, self.damping)

    def plain(self, length: float, level: int) -> bool:
        """Return whether a step of `length` on `level` is one plain step."""
        if self.on(level) in AT_ONCE and self.fine_rate is not None:
            return length <= self.fine_rate
        return self.stages(length, level) == 1

    def stages(self, length: float, level: int) -> int:
        """Return how many gradients a step of `length` takes on `level`, one after another."""
        wanted = self._wanted(length, level)
        return wanted if self.max_stages is None else min(wanted, self.max_stages)

    def covered(self, length: float, level: int) -> float:
        """Return the length that a step takes on `level`: `length`, or the length for which its stages are stable."""
        stages = self.stages(length, level)
        if self.on(level) in AT_ONCE:
            return length
        if stages == 1:
            return min(length, self.max_rate)
        if stages == self._wanted(length, level):
            return length
        bound = stages if self.on(level) == "substeps" else published_bound(stages, self.damping) / 2
        return bound * self.max_rate

    def step(
        self,
        gradient: Callable[[Array], Array],
        weights: Array,
        length: float,
        level: int,
        index: Array | None = None,
    ) -> Array:
        """Take a step.

        Parameters
        ----------
        gradient : callable
            ``gradient(weights (k, s)) -> (k, s)``, a new array.
        weights : ndarray, shape (k, s)
            k states.
        length : float
            The learning rate of the fine steps that the step stands for, together.
        level : int
            The level.
        index : ndarray of int, shape (k,), optional
            Source step of each state on `level`; only the deflated step asks for it.
        """
        stages, covered = self.stages(length, level), self.covered(length, level)
        if self.fine_rate is not None and self.on(level) == "exponential":
            return exponential_step(gradient, weights, length, self.fine_rate)
        if self.fine_rate is not None and self.curvatures is not None and self.on(level) == "deflated":
            if index is None:
                raise ValueError('coarse="deflated" asks for where in training a state is: give index=')
            return deflated_step(gradient, weights, length, self.fine_rate, self.curvatures, index * length)
        if stages == 1 or self.on(level) == "substeps":
            return substeps(gradient, weights, covered, stages)
        return chebyshev_step(gradient, weights, covered, stages, self.damping)
