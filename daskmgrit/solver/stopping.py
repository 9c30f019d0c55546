"""Stops before the tolerance: their reasons in words, and the rule that stops when a loss has settled."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from daskmgrit.utils.validation import brief, callable_option, integer_option, number_option

__all__ = ["STOPPED", "Settled", "at_maxiter", "check_settled"]

# Why a solve was stopped, by its reason.
STOPPED = {
    "callback": "the callback returned True",
    "settled": "the loss of the final weights no longer changes",
    "stagnated": "the residual no longer falls",
}


def at_maxiter(cycle: int, maxiter: int, residual: float, tol: float) -> str:
    """Return the end of a solve at its maximum number of cycles in words.

    Examples
    --------
    >>> at_maxiter(8, 8, 0.0012345, 1e-9)
    'maxiter=8 reached after cycle 8: residual 1.234e-03, tolerance 1.0e-09'
    """
    goal = f"tolerance {tol:.1e}" if tol > 0 else "no tolerance (tol=0)"
    return f"maxiter={maxiter} reached after cycle {cycle}: residual {residual:.3e}, {goal}"


@dataclass(frozen=True)
class Settled:
    """Stop a solve when a loss, or any metric, of the final weights has settled.

    Training seldom needs the serial result to 1e-9: the residual is the distance of the weights from it, the loss shows
    whether that matters. A solve stops at the tolerance on the residual or by this rule, whichever comes first.

    Parameters
    ----------
    loss : callable
        ``loss(final) -> float`` for the state after the last step, an ndarray (s,); called after every cycle in the
        process that called the solve. ``phi.loss`` of the torch and JAX propagators is one.
    rtol : float, default 1e-3
        Relative change of the loss per cycle below which it counts as unchanged.
    cycles : int, default 2
        Number of cycles in a row that must leave the loss unchanged. The change from the initial guess does not count.

    Raises
    ------
    TypeError, ValueError
        If a value is of the wrong kind or out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import daskmgrit as dm
    >>> def descend(weights, index, level):
    ...     return weights - np.minimum(0.05 * 2**level, 0.8) * np.sin(weights - 1)
    >>> settled = dm.Settled(lambda final: float((final**2).mean()), rtol=1e-2)
    >>> result = dm.MGRIT(descend, steps=256).solve(np.zeros(3), "constant", settled=settled)
    >>> result.reason, result.iterations, len(result.losses)
    ('settled', 5, 6)
    """

    loss: Callable[[np.ndarray], float]
    rtol: float = 1e-3
    cycles: int = 2

    def __post_init__(self) -> None:
        callable_option("loss", self.loss, 1, "give a function of the final weights")
        remedy = "it is the relative change below which the loss counts as unchanged, at least 0"
        number_option("rtol", self.rtol, remedy, least=0)
        integer_option("cycles", self.cycles, 1, "it is the number of cycles in a row that must not change the loss")

    def measure(self, final: np.ndarray) -> float:
        """Return the loss of a final state.

        Raises
        ------
        TypeError
            If the loss is not one number.
        """
        value = self.loss(final)
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            shape = getattr(value, "shape", None)
            what = repr(value)[:60] if shape is None else f"{type(value).__name__} of shape {tuple(shape)}"
            raise TypeError(f"the loss of Settled returned {what}: return one number") from error

    def holds(self, losses: Sequence[float]) -> bool:
        """Whether losses, that of the initial guess first, have settled.

        Examples
        --------
        >>> settled = Settled(len, rtol=0.01)
        >>> settled.holds([5.0, 1.0, 1.009, 1.0]), settled.holds([1.0, 1.0, 1.0]), settled.holds([5.0, 1.0, 1.1, 1.1])
        (True, False, False)
        """
        if len(losses) < self.cycles + 2:
            return False
        last = losses[-self.cycles - 1 :]
        return all(math.isfinite(b) and abs(b - a) <= self.rtol * max(abs(a), abs(b)) for a, b in pairwise(last))


def check_settled(settled: Any) -> Settled | None:
    """Return the user's `settled`.

    Raises
    ------
    TypeError
        If `settled` is anything but a Settled or None.
    """
    if settled is None or isinstance(settled, Settled):
        return settled
    raise TypeError(f"settled={brief(settled)} is no daskmgrit.Settled: give Settled(loss, rtol=1e-3), or None")
