"""Propagators with a separate gradient of a step and update by the optimizer.

The state of an optimizer with moments is ``[weights, moments]``, one flat vector. Its step has a costly part, the
gradient, which depends on the weights only, and a cheap elementwise part, the update. If a propagator gives them
separately, a solver can compute many gradients at once and then run the optimizer's own recurrence over them.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np

from daskmgrit.errors import PropagatorError
from daskmgrit.recurrence.propagator import apply_phi, read_only
from daskmgrit.utils.array_api import Array, namespace

__all__ = ["SplitPropagator", "advance_along", "apply_gradient", "is_split"]


@runtime_checkable
class SplitPropagator(Protocol):
    """A propagator whose step on level 0 is ``advance(weights, gradient(weights, index), index)``, to the bit.

    `weights` (k, s) are states as Phi takes them, with moments; `index` (k,) is the source step of each. Both parts
    are pure, and a row's result doesn't depend on the other rows. A propagator may also have
    ``advance_along(state, gradients, index)``, with the bits of :func:`advance_along`, if it has a faster way.
    """

    def __call__(self, weights: Array, index: Array, level: int) -> Array:
        """Return the states (k, s) after one step of `level`."""

    def gradient(self, weights: Array, index: Array) -> Array:
        """Return the costly part of each step, shape (k, g); it may depend on the states' weights only."""

    def advance(self, state: Array, gradient: Array, index: Array) -> Array:
        """Return the states (k, s) after the optimizer's update of states (k, s) with gradients (k, g)."""


def is_split(phi: Any) -> TypeGuard[SplitPropagator]:
    """Whether a propagator gives gradient and update separately."""
    return callable(getattr(phi, "gradient", None)) and callable(getattr(phi, "advance", None))


def apply_gradient(phi: SplitPropagator, weights: Array, index: Array) -> Array:
    """Call ``phi.gradient`` on a block, and check its contract as far as that is cheap.

    Raises
    ------
    PropagatorError
        If phi.gradient wrote to its input or returned anything but one row for each state.
    """
    host = isinstance(weights, np.ndarray)
    try:
        gradient = phi.gradient(read_only(weights) if host else weights, read_only(index))
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        raise PropagatorError(
            f"phi.gradient wrote to its input: {error}. Return a new array: begin with weights.copy(), and write "
            "a += b as a = a + b"
        ) from error
    shape, dtype = tuple(getattr(gradient, "shape", ())), getattr(gradient, "dtype", None)
    if len(shape) != 2 or shape[:1] != weights.shape[:1] or dtype != weights.dtype:
        raise PropagatorError(
            f"phi.gradient returned {type(gradient).__name__} of shape {shape} and dtype {dtype} for states of shape "
            f"{tuple(weights.shape)} and dtype {weights.dtype}: return a row of the same dtype for each state"
        )
    if np.ma.is_masked(gradient):
        raise PropagatorError("phi.gradient returned a masked array with masked entries: return numbers for them")
    return np.asarray(gradient) if isinstance(gradient, np.ndarray) else gradient


def apply_advance(phi: SplitPropagator, state: Array, gradient: Array, index: Array) -> Array:
    """Call ``phi.advance`` on a block, and check the contract of Phi."""

    def advance(weights: Array, steps: Array, level: int) -> Array:
        return phi.advance(weights, gradient, steps)

    return apply_phi(advance, state, index, 0)


def advance_along(phi: SplitPropagator, state: Array, gradients: Array, index: Array) -> Array:
    """Run the optimizer's recurrence over the gradients of successive steps.

    Parameters
    ----------
    phi : SplitPropagator
        The propagator.
    state : Array, shape (1, s)
        The state that it starts from.
    gradients : Array, shape (k, g)
        The gradient of each step.
    index : ndarray of int, shape (k,)
        Source step of each.

    Returns
    -------
    Array, shape (k+1, s)
        `state` and the state after each step.
    """
    own = getattr(phi, "advance_along", None)
    if own is not None and len(index):
        return own(state, gradients, index)
    states, host = [state], isinstance(state, np.ndarray)
    for j in range(len(index)):
        step, before = slice(j, j + 1), states[-1]
        # A run is of one propagator: one call is held to the contract for all of them.
        if j:
            after = phi.advance(read_only(before) if host else before, gradients[step, ...], index[step])
        else:
            after = apply_advance(phi, before, gradients[step, ...], index[step])
        states.append(after)
    return namespace(state).concat(states, axis=0)
