"""Coarse steps of full length for gradient descent whose gradient another library computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from daskmgrit.coarse.estimate import estimate_max_rate
from daskmgrit.coarse.rule import AT_ONCE, CoarseRule
from daskmgrit.utils.validation import number_option

__all__ = ["Descent", "LongSteps", "long_steps"]


class Descent(Protocol):
    """The interface of an adapter's propagator whose step is gradient descent."""

    w0: Any

    @property
    def plain_rate(self) -> float | None:
        """The learning rate; None if a step is not plain descent at one rate."""

    def at_rate(self, weights: Any, index: Any, level: int, rate: float) -> Any:
        """Return the states (k, s) after a plain step at a rate."""


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

    def __call__(self, gradient: Callable[[Any], Any], weights: Any, times: int, level: int) -> Any:
        """Return the states (k, s) after a step that stands for `times` fine ones, by ``gradient(states (k, s))``."""
        return self.rule.step(gradient, weights, times * self.rate, level)


def long_steps(phi: Descent, method: str | Sequence[str], max_rate: float | None, cap: int | None) -> LongSteps | None:
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

    Raises
    ------
    ValueError
        If options do not go together, or a value is out of range.
    """
    methods = (method,) if isinstance(method, str) else method
    for name in AT_ONCE:
        if isinstance(methods, Sequence) and name in methods:
            raise ValueError(
                f"coarse={method!r}: the {name} step is for NumPy states; give chebyshev, or wrap a step in NumPy in "
                "daskmgrit.coarse.stabilise"
            )
    rule = CoarseRule(method)
    if set(rule.method) == {"capped"}:
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
    return LongSteps(rate, CoarseRule(method, max(max_rate, rate)))
