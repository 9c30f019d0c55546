"""A problem of the user's own: a Phi with its initial state and suitable settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np

from daskmgrit.recurrence.propagator import Phi
from daskmgrit.recurrence.state import check_length, initial_state
from daskmgrit.recurrence.trial import check_arguments
from daskmgrit.utils.validation import brief, callable_option, integer_option

__all__ = ["METHODS", "OwnProblem"]

METHODS = ("mgrit", "newton")


@dataclass(frozen=True, eq=False)
class OwnProblem:
    """Any recurrence ``w[i+1] = Phi(w[i])`` for the commands to solve, tune and plan: ``daskmgrit solve FILE.py:NAME``.

    Parameters
    ----------
    phi : callable
        The propagator, ``phi(weights, index, level) -> new weights``, see :class:`daskmgrit.MGRIT`.
    w0 : array_like, shape (s,)
        The initial state.
    steps : int
        N, unless the command gives another.
    name : str, default "own"
        Its name.
    loss : callable, optional
        ``loss(final weights) -> float``; printed with every result.
    metrics : callable, optional
        ``metrics(final weights) -> dict`` of further numbers to print, by name.
    method : {"mgrit", "newton"}, default "mgrit"
        The method that suits it; ``--method`` overrides it.
    coarsening, relaxation, min_coarse
        As for :class:`daskmgrit.MGRIT`; an option of the command overrides each.
    initial_guess : str, default "zero"
        As for :meth:`daskmgrit.MGRIT.solve`: "zero", "constant" or "nested".
    jacobian, rank, window
        As for :class:`daskmgrit.ParallelNewton`.
    remark : str, optional
        Remark to print with the numbers.

    Raises
    ------
    ValueError, TypeError
        If a value is of the wrong kind; the message names it and the remedy.
    PropagatorError
        If `phi` does not take three arguments.

    Examples
    --------
    >>> import numpy as np
    >>> import daskmgrit as dm
    >>> def phi(weights, index, level):
    ...     return weights - min(0.02 * 2**level, 0.5) * np.sin(weights)
    >>> problem = dm.problems.OwnProblem(phi, np.ones(3), 128, "sine", loss=lambda w: float((w**2).sum()))
    >>> result = dm.MGRIT(problem.phi, problem.steps, **problem.hierarchy()).solve(problem.w0)
    >>> result.converged, list(problem.tell(result.final))
    (True, ['loss'])
    """

    phi: Phi = field(repr=False)
    w0: Any = field(repr=False)
    steps: int
    name: str = "own"
    _: KW_ONLY
    loss: Callable[[np.ndarray], float] | None = field(default=None, repr=False)
    metrics: Callable[[np.ndarray], Mapping[str, float]] | None = field(default=None, repr=False)
    method: str = "mgrit"
    coarsening: int | Sequence[int] = 2
    relaxation: str | int | Sequence[str | int] = "FCF"
    min_coarse: int = 10
    initial_guess: str = "zero"
    jacobian: str = "auto"
    rank: int = 32
    window: int | str = "auto"
    remark: str = ""

    def __post_init__(self) -> None:
        if not callable(self.phi):
            raise TypeError(
                f"phi={brief(self.phi)} is not callable: give a function phi(weights, index, level) -> new weights"
            )
        check_arguments(self.phi)
        check_length(self.phi, initial_state(self.w0))
        integer_option("steps", self.steps, 1, "it is the number of training steps")
        if not isinstance(self.name, str) or not self.name:
            raise TypeError(f"name={self.name!r} is not a string: give the name of the problem as a string")
        for option in ("loss", "metrics"):
            value = getattr(self, option)
            if value is not None:
                callable_option(option, value, 1, "give a function of the final weights")
        if self.method not in METHODS:
            raise ValueError(f'method={self.method!r} is not known: give "mgrit" or "newton"')

    def hierarchy(self, **given: Any) -> dict[str, Any]:
        """Return options of :class:`daskmgrit.MGRIT`: its own, except those that are `given` and not None."""
        own = {name: getattr(self, name) for name in ("coarsening", "relaxation", "min_coarse")}
        return own | {name: value for name, value in given.items() if value is not None}

    def tell(self, final: np.ndarray) -> dict[str, float]:
        """Return loss and metrics of a final state, by name.

        Raises
        ------
        TypeError
            If they are not numbers.
        """
        told: dict[str, Any] = {} if self.loss is None else {"loss": self.loss(final)}
        more = {} if self.metrics is None else self.metrics(final)
        if not isinstance(more, Mapping):
            raise TypeError(f"metrics returned {brief(more)}: return a dict of names and numbers")
        told |= {str(name): value for name, value in more.items()}
        try:
            return {name: float(value) for name, value in told.items()}
        except (TypeError, ValueError) as error:
            raise TypeError(f"loss or metrics returned a value that is not a number ({error}): return floats") from None
