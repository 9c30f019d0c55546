"""An estimate of the error of the accepted states: how residuals grow with the steps after them.

An error e of a state becomes ``J e`` by the next step. The effect of J is measured during the iteration, in the
directions of its errors: whenever a sweep has moved the state that a slot begins with.

* Phi taken whole: the change of Phi over the move, in norm, is the slot's rate of growth, and the estimated error obeys
  ``|e| = rate * |e| + |R|``.
* Gradient and update apart: the change of the gradient along the move is the slot's curvature, and the error goes
  through the optimizer's own update, with the gradient that this curvature gives it if it is negative. Positive
  curvature, by which errors shrink, is not used: moves show far more of it than the remaining errors.

Where training does not contract, the error becomes far larger than the residual; so does any last bit of serial
training.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from daskmgrit.newton.evaluate import Evaluation
from daskmgrit.recurrence.norms import row_lengths
from daskmgrit.recurrence.split_propagator import SplitPropagator
from daskmgrit.utils.array_api import Array, namespace, to_host

__all__ = ["Growth", "accept_images", "accept_updates", "known_growth", "measure_growth", "unknown_growth"]

# A move says something if it is this many times what rounding does to the state.
NOISE = 1e4


@dataclass(frozen=True, slots=True)
class Growth:
    """The known growth of errors over the slots of a window.

    Attributes
    ----------
    rates : ndarray, shape (n,)
        Rate of growth over each slot, or its curvature, as last measured; nan if never.
    states : Array, shape (k, s), or None
        The states with which the k <= n slots that are not new began in the last sweep.
    values : Array, shape (k, s) or (k, g), or None
        Phi, or else the gradient, of these states.
    size : float
        Estimated 2-norm of the error of the state that the first slot begins with.
    error : Array, shape (1, s), or None
        The estimated error itself, if gradient and update are separate.
    """

    rates: np.ndarray
    states: Array | None = None
    values: Array | None = None
    size: float = 0.0
    error: Array | None = None


def unknown_growth(slots: int) -> Growth:
    """Return the growth before the first measurement."""
    return Growth(np.full(slots, np.nan))


def measure_growth(growth: Growth, states: Array, found: Evaluation) -> Growth:
    """Return the growth with rates that follow from this sweep.

    Parameters
    ----------
    growth : Growth
        After the last sweep.
    states : Array, shape (n, s)
        The states where slots begin.
    found : Evaluation
        What was found there.
    """
    if growth.states is None or growth.values is None:
        return growth
    known = int(growth.states.shape[0])
    xp = namespace(states)
    size = float(row_lengths(states[:1, ...])[0])
    least = NOISE * float(xp.finfo(states.dtype).eps) * size
    with np.errstate(invalid="ignore", over="ignore"):
        moves = states[:known, ...] - growth.states
        if found.gradients is None:
            lengths = row_lengths(moves)
            changed = row_lengths(found.images[:known, ...] - growth.values)
            measured = changed / np.where(lengths > least, lengths, np.nan)
        else:
            moves = moves[:, : growth.values.shape[1]]
            lengths = row_lengths(moves)
            changes = (found.gradients[0][:known, ...] - growth.values)[:, : moves.shape[1]]
            along = to_host(xp.sum(moves * changes, axis=1)).real
            measured = along / np.where(lengths > least, lengths, np.nan) ** 2
    rates = growth.rates.copy()
    rates[:known] = np.where(np.isfinite(measured), measured, rates[:known])
    return replace(growth, rates=rates)


def accept_images(growth: Growth, squares: np.ndarray, unit: int = 0) -> Growth:
    """Return the growth with the error after the accepted slots, if Phi is taken whole.

    Parameters
    ----------
    growth : Growth
        As measured in this sweep.
    squares : ndarray, shape (a,)
        Squared residual of each slot that is accepted.
    unit : int, default 0
        Squares are in units of ``4**unit``.
    """
    size = growth.size
    for rate, square in zip(growth.rates.tolist(), squares.tolist(), strict=False):
        size = size * (rate if rate == rate else 1.0) + float(np.ldexp(square**0.5, unit))
    return replace(growth, size=size)


def accept_updates(
    growth: Growth, phi: SplitPropagator, states: Array, found: Evaluation, accepted: Array, begins: np.ndarray
) -> Growth:
    """Return the growth with the error after the accepted slots, if gradient and update are separate.

    Parameters
    ----------
    growth : Growth
        As measured in this sweep.
    phi : SplitPropagator
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
    assert found.gradients is not None
    xp, error = namespace(states), growth.error
    for slot in range(int(states.shape[0])):
        residual = accepted[slot : slot + 1, ...] - found.images[slot : slot + 1, ...]
        if error is not None:
            state, rate = states[slot : slot + 1, ...], min(growth.rates[slot], 0.0)
            for stage, rows in enumerate(found.gradients):
                if slot < rows.shape[0]:
                    gradient = rows[slot : slot + 1, ...]
                    pulled = gradient + rate * error[:, : gradient.shape[1]] if rate < 0.0 else gradient
                    index = begins[slot : slot + 1] + stage
                    after = phi.advance(
                        xp.concat([state, state + error], axis=0),
                        xp.concat([gradient, pulled], axis=0),
                        index.repeat(2),
                    )
                    state, error = after[:1, ...], after[1:, ...] - after[:1, ...]
            residual = residual + error
        if error is not None or bool(xp.any(residual != 0)):
            error = residual
    return growth if error is None else replace(growth, size=float(row_lengths(error)[0]), error=error)


def known_growth(growth: Growth, states: Array, found: Evaluation, accepted: int, slots: int) -> Growth:
    """Return the growth for the next window: that of the remaining slots of this one, and of new slots.

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
    """
    kept = slice(accepted, min(accepted + slots, len(growth.rates)))
    values = found.images if found.gradients is None else found.gradients[0]
    rates = growth.rates[kept]
    rates = np.concatenate((rates, np.full(slots - len(rates), np.nan)))
    return replace(growth, rates=rates, states=states[kept, ...], values=values[kept, ...])
