"""Corrections with the identity as the Jacobian, or with the optimizer's own recurrence: Picard iteration."""

from __future__ import annotations

import numpy as np

from daskmgrit.newton.scan import group_length, running_sums
from daskmgrit.recurrence.split_propagator import SplitPropagator, advance_along
from daskmgrit.utils.array_api import Array, device, namespace

__all__ = ["correct_by_recurrence", "correct_by_sums"]


def correct_by_sums(residuals: Array, number: int, slots: int, before: Array | None = None) -> Array:
    """Return the correction of the state where each slot ends: the sum of the residuals up to there.

    Parameters
    ----------
    residuals : Array, shape (k, s)
        Residuals of successive slots, the first of which begins with a final state.
    number : int
        Number of the first of them.
    slots : int
        Slots of the window.
    before : Array, shape (1, s), optional
        The correction of the state where the first of them begins, if its groups are of a single slot.
    """
    if before is not None:
        residuals = namespace(residuals).concat([before + residuals[:1, ...], residuals[1:, ...]], axis=0)
    return running_sums(residuals, number, group_length(slots))


def correct_by_recurrence(
    phi: SplitPropagator, state: Array, gradients: tuple[Array, ...], begins: np.ndarray, lengths: np.ndarray
) -> Array:
    """Run an optimizer's recurrence over the gradients of successive slots; return the states after each, (k+1, s).

    Parameters
    ----------
    phi : SplitPropagator
        The propagator.
    state : Array, shape (1, s)
        The state that the first slot begins with; it is the first row of the result.
    gradients : tuple of Array, shape (k, g) each
        Gradients of the first, second, … step of each slot.
    begins, lengths : ndarray of int, shape (k,)
        The step that each slot begins with, and how many steps it has.
    """
    if len(gradients) == 1:
        return advance_along(phi, state, gradients[0], begins)
    xp, place = namespace(state), device(state)
    index = np.concatenate([begins[: rows.shape[0]] + stage for stage, rows in enumerate(gradients)])
    order = np.argsort(index)
    rows = xp.take(xp.concat(gradients, axis=0), xp.asarray(order, device=place), axis=0)
    states = advance_along(phi, state, rows, index[order])
    return xp.take(states, xp.asarray(np.concatenate(([0], np.cumsum(lengths))), device=place), axis=0)
