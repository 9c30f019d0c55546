"""Coarse steps of full length for gradient descent whose gradient another library computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from daskmgrit.coarse.curvatures import Curvatures, find_curvatures
from daskmgrit.coarse.estimate import estimate_max_rate
from daskmgrit.coarse.rule import CoarseRule
from daskmgrit.coarse.window import window_steps
from daskmgrit.recurrence.propagator import NOT_PREPARED, Preparation
from daskmgrit.recurrence.step_length import StepLength
from daskmgrit.utils.validation import integer_option, number_option

__all__ = ["Descent", "LongSteps", "TakesLongSteps", "long_steps"]

# Fine steps whose mean gradient has the curvatures, at most, and gradients of one call.
_SEEN, _TOGETHER = 128, 16


class Descent(Protocol):
    """The interface of an adapter's propagator whose step is gradient descent."""

    w0: Any

    @property
    def plain_rate(self) -> float | None:
        """The learning rate; None if a step is not plain descent at one rate."""

    @property
    def examples(self) -> Any:
        """The data rule, see :mod:`daskmgrit.models`; it may have a `period`."""

    def at_rate(self, weights: Any, index: Any, level: int, rate: float) -> Any:
        """Return the states (k, s) after a plain step at a rate."""

    def descent(self, weights: Any, index: Any, level: int) -> Any:
        """Return the gradients (k, s) that plain descent follows; NumPy's of NumPy states."""


@dataclass(frozen=True, slots=True)
class LongSteps:
    """Steps that stand for several fine ones and are taken at full length.

    Attributes
    ----------
    rate : float
        alpha_b, the learning rate of a fine step.
    rule : CoarseRule
        The method beyond alpha_max.
    """

    rate: float
    rule: CoarseRule

    def stages(self, times: int, level: int) -> int:
        """Return how many gradients a step that stands for `times` fine ones takes, one after another."""
        return self.rule.stages(times * self.rate, level)

    def __call__(self, gradient: Callable[[Any], Any], weights: Any, times: int, level: int, index: NDArray) -> Any:
        """Return the states (k, s) after a step that stands for `times` fine ones, by ``gradient(states (k, s))``."""
        return self.rule.step(gradient, weights, times * self.rate, level, index)


class TakesLongSteps:
    """Base of an adapter's propagator, with what follows from its attribute `long`."""

    length: StepLength
    long: LongSteps | None = None

    def stages(self, level: int) -> int:
        """Return how many gradients a step of `level` takes, one after another."""
        return 1 if self.long is None or not level else self.long.stages(self.length(level), level)

    @property
    def preparation(self) -> Preparation:
        """The gradients that found curvatures."""
        return NOT_PREPARED if self.long is None else self.long.rule.preparation

    def rough_guess(self, steps: int) -> NDArray | None:
        """Return the initial guess (steps + 1, s) of the rough run that curvatures were found in; None without them."""
        integer_option("steps", steps, 1, "it is the number of training steps")
        if self.long is None or self.long.rule.curvatures is None:
            return None
        return self.long.rule.curvatures.guess(steps, self.long.rate)


def long_steps(
    phi: Descent,
    method: str | Sequence[str],
    max_rate: float | None,
    cap: int | None,
    steps: int | None = None,
    rank: int | None = None,
) -> LongSteps | None:
    """Return the coarse steps that are not capped; None if all are.

    Parameters
    ----------
    phi : Descent
        The propagator.
    method : str or sequence of str
        ``coarse=`` of an adapter, see :class:`CoarseRule`.
    max_rate : float or None
        alpha_max; None to estimate it, see :func:`estimate_max_rate`.
    cap : int or None
        Most fine steps that a capped step takes at once.
    steps : int, optional
        With "deflated": N, the steps along which curvatures are found.
    rank : int, optional
        With "deflated": the number of curvatures, by default 32.

    Raises
    ------
    ValueError
        If options do not go together, or a value is out of range.
    """
    methods = (method,) if isinstance(method, str) else method
    if isinstance(methods, Sequence) and "exponential" in methods:
        raise ValueError(
            f"coarse={method!r}: the exponential step is for NumPy states; give deflated or chebyshev, or wrap a step "
            "in NumPy in daskmgrit.coarse.stabilise"
        )
    deflated = isinstance(methods, Sequence) and "deflated" in methods
    for option, value in (("steps", steps), ("rank", rank)):
        if value is not None and not deflated:
            raise ValueError(f'{option}={value} has no effect with coarse={method!r}: leave it out, or give "deflated"')
    if deflated and steps is None:
        raise ValueError(f"coarse={method!r} needs steps=, N: the largest curvatures are found along the training")
    # Unknown methods come before the work of finding curvatures.
    others = CoarseRule([name for name in methods if name != "deflated"] or "capped" if deflated else method)
    if not deflated and set(others.method) == {"capped"}:
        if max_rate is not None:
            raise ValueError(
                f'max_rate={max_rate} is for coarse="chebyshev" or "substeps"; a capped step is bounded by cap, the '
                "most fine steps that it takes at once"
            )
        return None
    if cap is not None:
        raise ValueError(f"cap={cap} bounds capped steps, but coarse={method!r} takes them at full length: give one")
    rate = phi.plain_rate
    if rate is None:
        raise ValueError(
            f"coarse={method!r} is for gradient descent at one rate, without momentum, schedule or state of its own: "
            "with any other optimizer leave it out, and bound coarse steps by cap"
        )
    if max_rate is None:
        max_rate = estimate_max_rate(phi.at_rate, phi.w0, rate).max_rate
    else:
        number_option("max_rate", max_rate, "it is alpha_max, the largest stable rate", least=rate)
    found = None if steps is None else _curvatures(phi, steps, rate, max(max_rate, rate), 32 if rank is None else rank)
    return LongSteps(rate, CoarseRule(method, max(max_rate, rate), fine_rate=rate, curvatures=found))


def _curvatures(phi: Descent, steps: int, rate: float, max_rate: float, rank: int) -> Curvatures:
    """Return the largest curvatures of what fine steps see on average, along a training of some steps."""
    steps = integer_option("steps", steps, 1, "it is N, the number of steps of the training")
    rule = getattr(phi.examples, "rule", phi.examples)
    alike = phi.examples(np.zeros(1, int), 0) is None
    period = 1 if alike else getattr(rule, "period", None)
    seen = window_steps(np.zeros(1, int), 1, max(steps, 2), _SEEN, period)[0]

    def gradient(weights: NDArray) -> NDArray:
        total = np.zeros_like(weights)
        for first in range(0, len(seen), _TOGETHER):
            some = seen[first : first + _TOGETHER]
            found = phi.descent(np.repeat(weights, len(some), axis=0), np.tile(some, len(weights)), 0)
            total += found.reshape(len(weights), len(some), -1).sum(axis=1)
        return total / total.dtype.type(len(seen))

    return find_curvatures(gradient, phi.w0, rate * steps, max_rate, rank)
