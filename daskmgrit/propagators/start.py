"""A propagator from a later step on, to continue training where an earlier solve ended."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from daskmgrit.propagators.function import vectorize
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.recurrence.step_length import StepLength, length_of, takes_any_coarsening
from daskmgrit.recurrence.trial import check_arguments
from daskmgrit.utils.array_api import Array
from daskmgrit.utils.validation import brief, integer_option

__all__ = ["start_at"]

# What a propagator has for its own step 0.
_OF_STEP_0 = ("w0", "rough_guess", "preparation")
# Its methods that take steps: the place of the argument `index`, and the level, which is the next argument if None.
_OF_STEPS = {"gradient": (1, 0), "advance": (2, 0), "advance_along": (2, 0), "at_rate": (1, None), "descent": (1, None)}


class start_at:
    """Make the propagator that starts at a later step, to continue training where an earlier solve ended.

    Step i of a solve with it is step ``first + i`` of phi: learning-rate schedules, batches and bias corrections
    continue.

    Parameters
    ----------
    phi : callable
        The propagator of the earlier solve, of any kind.
    first : int
        Number of steps that were done before: step 0 of a solve is this step of phi.
    coarsening : int or sequence of int, optional
        Coarsening factor of the solver, or one per level, the last repeating. By default that of phi (for a propagator
        of your own its attribute `coarsening`), or 2 if phi does not tell; parallel Newton has no use for it.

    Raises
    ------
    ValueError
        If `first` is not an integer of at least 0, or phi was made for another coarsening.
    TypeError
        If `phi` is not callable.
    PropagatorError
        If `phi` does not take three arguments.

    Notes
    -----
    Step i of level l becomes step ``first // M + i`` of phi there, M the product of the coarsening factors above l.
    So coarse steps see the schedule and the data of fine steps up to M earlier if `first` is no multiple of M: a
    multiple of a power of the coarsening factor is best. The solution does not depend on it.

    Attributes and methods are those of phi, except for `w0`, which is phi's state at step 0. Methods that take a number
    of steps, such as ``phi.optimizer(state, steps, module)``, count them from `first`, as the solve does. Messages that
    name a step of a solve name that of phi, too.

    Examples
    --------
    >>> import numpy as np
    >>> import daskmgrit as dm
    >>> def phi(weights, index, level):
    ...     rate = 0.1 * 2**level * 0.99 ** (index * 2**level)
    ...     return weights - np.minimum(rate, 0.5)[:, None] * np.sin(weights)
    >>> whole = dm.ParallelNewton(phi, 200).solve(np.ones(3), tol=0)
    >>> half = dm.ParallelNewton(phi, 100).solve(np.ones(3), tol=0)
    >>> rest = dm.ParallelNewton(dm.start_at(phi, 100), 100).solve(half.final, tol=0)
    >>> bool((rest.final == whole.final).all())
    True
    """

    def __init__(self, phi: Phi, first: int, coarsening: int | Sequence[int] | None = None) -> None:
        if not callable(phi):
            raise TypeError(
                f"phi={brief(phi)} is not callable: give a function phi(weights, index, level) -> new weights"
            )
        check_arguments(phi)
        first = integer_option("first", first, 0, "it is the number of steps that were done before")
        own = length_of(phi)
        if coarsening is not None:
            asked = StepLength(coarsening)
            if own is not None and own.coarsening != asked.coarsening:
                remedy = "give phi.with_coarsening(…)" if takes_any_coarsening(phi) else "leave coarsening out"
                raise ValueError(f"coarsening={coarsening}, but phi was made for {own.coarsening}: {remedy}")
            own = own or asked
        elif own is None and isinstance(told := getattr(phi, "coarsening", None), int | tuple | list):
            own = StepLength(told)
        inner: Any = phi
        if isinstance(inner, start_at):
            # Together they may be a multiple of more coarsening factors than each.
            inner, first = inner.phi, inner.first + first
        self.phi: Any = inner
        self.first, self.step_length = first, own or StepLength()

    def steps_before(self, level: int) -> int:
        """Return the number of steps of phi on a level before step 0 there."""
        return self.first // self.step_length(level)

    def _shifted(self, index: Array, level: int) -> Array:
        return index + self.steps_before(level)

    def __call__(self, weights: Array, index: Array, level: int) -> Array:
        """Return the states after one step of the level."""
        return self.phi(weights, self._shifted(index, level), level)

    @property
    def fingerprint(self) -> Callable[[], str] | None:
        """As ``phi.fingerprint``, with the first step; None if phi has none."""
        named = self.phi.phi if isinstance(self.phi, vectorize) else self.phi
        own = getattr(named, "fingerprint", None)
        return None if own is None else lambda: f"{own()} from step {self.first}"

    @property
    def with_coarsening(self) -> Callable[[int | Sequence[int]], start_at] | None:
        """As ``phi.with_coarsening``; None if phi has none."""
        if not takes_any_coarsening(self.phi):
            return None
        return lambda coarsening: start_at(self.phi.with_coarsening(coarsening), self.first)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("phi", "first", "step_length"):
            raise AttributeError(name)
        if name in _OF_STEP_0 and hasattr(self.phi, name):
            raise AttributeError(f"{name} is of step 0, but this propagator starts at step {self.first}")
        value = getattr(self.phi, name)
        if name in _OF_STEPS and callable(value):
            return self._with_index(value, *_OF_STEPS[name])
        return _counts_from(value, self.first) if inspect.ismethod(value) else value

    def _with_index(self, method: Callable[..., Any], place: int, level: int | None) -> Callable[..., Any]:
        def shifted(*args: Any) -> Any:
            of_level = args[place + 1] if level is None else level
            return method(*args[:place], self._shifted(args[place], of_level), *args[place + 1 :])

        return shifted

    def __repr__(self) -> str:
        return f"start_at({self.phi!r}, {self.first})"


def _counts_from(method: Callable[..., Any], first: int) -> Callable[..., Any]:
    """Return a method that takes a number of steps, if it does, with those done before added to it."""
    signature = inspect.signature(method)
    counted = [name for name in ("steps", "step") if name in signature.parameters]
    if not counted:
        return method

    def counts(*args: Any, **options: Any) -> Any:
        given = signature.bind(*args, **options)
        for name in counted:
            # What is no number of steps is refused by the method itself.
            if isinstance(done := given.arguments.get(name), int) and done >= 0:
                given.arguments[name] = done + first
        return method(*given.args, **given.kwargs)

    return functools.wraps(method)(counts)
