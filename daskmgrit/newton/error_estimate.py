"""An estimate of the error of the accepted states: how residuals grow with the steps after them.

An error e of a state becomes ``J e`` by the next step. Sweeps measure J where they move the state that a slot begins
with, by d: ``J d`` is the change of Phi. In other directions J is taken for the identity, as in Picard iteration:
``J = I + (J d - d) d^T / d^T d``, Broyden's update of the identity, for each slot by itself. The estimated error is a
vector, because its growth depends on its direction. If gradient and update are separate, the Hessian is approximated in
the same way, from zero, and the error goes through the optimizer's own update. With all Jacobians computed, these are
used.

Along smooth training the estimate is usually within a factor of 10 of the error. It is wrong where

* training is chaotic and J is not computed: errors turn into the direction that grows most, which moves hardly have,
  and nearly all of their growth is missing;
* low-rank corrections leave no move in the directions that grow;
* a gradient jumps, as that of a ReLU network does, or the first steps of Adam for weights without a gradient, of which
  only the sign counts: a tiny error may then become a large one at once, and the estimate be hundreds of times too
  small, or too large after a move across a jump;
* moves are within the noise of the precision, as usual in single precision: errors only add up.

Where training does not contract, the error becomes far larger than the residual; so does any last bit of serial
training.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from daskmgrit.newton.evaluate import Evaluation
from daskmgrit.newton.scan import times
from daskmgrit.recurrence.norms import row_lengths
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.recurrence.split_propagator import SplitPropagator, is_split
from daskmgrit.utils.array_api import Array, namespace

__all__ = ["Growth", "accept_growth", "error_size", "known_growth"]

# A move says something if it is this many times what rounding does to the state.
NOISE = 1e4


@dataclass(frozen=True, slots=True)
class Growth:
    """The known growth of errors over the slots of a window, and the estimated error before them.

    Attributes
    ----------
    states : Array, shape (k, s), or None
        The states with which the k <= n slots that are not new began in the last sweep.
    values : Array, shape (k, s) or (k, g), or None
        Phi, or else the gradient, of these states.
    error : Array, shape (1, s), or None
        The estimated error of the state that the first slot begins with; None for none.
    jacobians : Array, shape (k, s, s), or None
        The Jacobians of the slots that are not new, if the last sweep computed them; then states are not needed.
    """

    states: Array | None = None
    values: Array | None = None
    error: Array | None = None
    jacobians: Array | None = None


def error_size(growth: Growth) -> float:
    """Return the estimated 2-norm of the error of the state that the first slot begins with; nan if it is unknown."""
    return 0.0 if growth.error is None else float(row_lengths(growth.error)[0])


def accept_growth(
    growth: Growth, phi: Phi, states: Array, found: Evaluation, accepted: Array, begins: np.ndarray
) -> Growth:
    """Return the growth with the error after the accepted slots.

    Parameters
    ----------
    growth : Growth
        After the last sweep.
    phi : callable
        The propagator.
    states : Array, shape (a, s)
        The states where accepted slots begin.
    found : Evaluation
        What was found there.
    accepted : Array, shape (a, s)
        The states where they end, as accepted.
    begins : ndarray of int, shape (a,)
        The step that each begins with.
    """
    xp, error, lengths = namespace(states), growth.error, None
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for slot in range(int(states.shape[0])):
            row = slice(slot, slot + 1)
            residual = accepted[row, ...] - found.images[row, ...]
            if error is not None:
                lengths = _lengths(growth, states) if lengths is None else lengths
                secant = _secant(growth, states, found, slot, lengths[slot]) if slot < len(lengths) else None
                if growth.jacobians is not None and slot < growth.jacobians.shape[0]:
                    error = times(growth.jacobians[row, ...], error)
                elif is_split(phi) and found.gradients is not None:
                    error = _through_update(phi, states[row, ...], found, slot, begins[row], error, secant)
                elif secant is not None:
                    error = error + secant.along(error) * (secant.change - secant.unit)
                error = error + residual
            elif bool(xp.any(residual != 0)):
                error = residual
    return replace(growth, error=error)


class _Secant(NamedTuple):
    """The effect of a slot's move: a rank-one map of errors."""

    unit: Array  # (1, p), the move with length 1
    change: Array  # (1, p), of the gradient, or of Phi

    def along(self, error: Array) -> Array:
        """Return the component of an error (1, s) along the move, shape (1, 1)."""
        xp, unit = namespace(error), self.unit
        conjugate = xp.conj(unit) if xp.isdtype(unit.dtype, "complex floating") else unit
        return xp.sum(conjugate * error[:, : unit.shape[1]], axis=1, keepdims=True)


def _lengths(growth: Growth, states: Array) -> np.ndarray:
    """Return how far slots that are not new have been moved, in weights if these have gradients; 0 if within noise."""
    if growth.states is None or growth.values is None:
        return np.zeros(0)
    known, width = min(int(states.shape[0]), int(growth.states.shape[0])), growth.values.shape[1]
    lengths = row_lengths(states[:known, :width], growth.states[:known, :width])
    least = NOISE * float(namespace(states).finfo(states.dtype).eps) * row_lengths(states[:known, ...])
    return np.where((lengths > least) & np.isfinite(lengths), lengths, 0.0)


def _secant(growth: Growth, states: Array, found: Evaluation, slot: int, length: float) -> _Secant | None:
    """Return the effect of a slot's move of this length."""
    if not length or growth.states is None or growth.values is None:
        return None
    row, values = slice(slot, slot + 1), found.images if found.gradients is None else found.gradients[0]
    width = growth.values.shape[1]
    unit = (states[row, :width] - growth.states[row, :width]) / float(length)
    change = (values[row, ...] - growth.values[row, ...]) / float(length)
    xp = namespace(states)
    # Without a question to the device: one for each accepted slot would take longer than this.
    return _Secant(unit, xp.where(xp.isfinite(change), change, xp.zeros_like(change)))


def _through_update(
    phi: SplitPropagator,
    state: Array,
    found: Evaluation,
    slot: int,
    begin: np.ndarray,
    error: Array,
    secant: _Secant | None,
) -> Array:
    """Return the error after the optimizer's updates of a slot."""
    row = slice(slot, slot + 1)
    gradients = [rows[row, ...] for rows in found.gradients or () if slot < rows.shape[0]]
    for stage, gradient in enumerate(gradients):
        pulled = gradient if secant is None else gradient + secant.along(error) * secant.change
        moved = phi.advance(state + error, pulled, begin + stage)
        # Phi of the slot's state is known already.
        last = stage == len(gradients) - 1
        state = found.images[row, ...] if last else phi.advance(state, gradient, begin + stage)
        error = moved - state
    return error


def known_growth(
    growth: Growth, states: Array, found: Evaluation, accepted: int, slots: int, jacobians: Array | None = None
) -> Growth:
    """Return the growth for the next window, that of the remaining slots of this one.

    Parameters
    ----------
    growth : Growth
        After this sweep.
    states : Array, shape (n, s)
        The states where slots began.
    found : Evaluation
        What was found there.
    accepted : int
        Slots that were accepted.
    slots : int
        Slots of the next window.
    jacobians : Array, shape (k, s, s), optional
        Jacobians of the slots that remain, if they were computed.
    """
    # The array API allows no slice beyond the end.
    count = min(slots, int(states.shape[0]) - accepted)
    if jacobians is not None:
        return Growth(error=growth.error, jacobians=jacobians[:count, ...])
    kept = slice(accepted, accepted + count)
    values = found.images if found.gradients is None else found.gradients[0]
    return Growth(states[kept, ...], values[kept, ...], growth.error)
