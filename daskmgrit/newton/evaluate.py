"""The evaluation of each slot by itself in a sweep: Phi, or the gradients of an optimizer's steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from daskmgrit.recurrence.meter import Meter
from daskmgrit.recurrence.norms import Squares, row_norms, row_squares
from daskmgrit.recurrence.split_propagator import apply_advance, is_split
from daskmgrit.utils.array_api import Array, namespace, to_host

__all__ = ["Evaluation", "Take", "evaluate", "joined", "residual_norm", "residual_squares"]


class Evaluation(NamedTuple):
    """The images of the states of a chunk's slots under Phi.

    Attributes
    ----------
    images : Array, shape (k, s)
        The state where each slot ends, from the state where it begins.
    gradients : tuple of Array, shape (k, g) each, or None
        Gradients of the first, second, … step of each slot, if the propagator gives them separately. Slots with fewer
        steps have no row in the last of them.
    """

    images: Array
    gradients: tuple[Array, ...] | None


# Evaluates slots: states where they begin (k, s), their first steps (k,), how many steps each has (k,).
Take = Callable[[Array, np.ndarray, np.ndarray], Evaluation]


def joined(parts: Sequence[Evaluation]) -> Evaluation:
    """Return the evaluation of successive runs of slots as one."""
    if len(parts) == 1:
        return parts[0]
    xp = namespace(parts[0].images)
    images = xp.concat([part.images for part in parts], axis=0)
    if parts[0].gradients is None:
        return Evaluation(images, None)
    stages = range(max(len(part.gradients or ()) for part in parts))
    gradients = [[part.gradients[j] for part in parts if part.gradients and j < len(part.gradients)] for j in stages]
    return Evaluation(images, tuple(xp.concat(rows, axis=0) for rows in gradients))


def evaluate(meter: Meter, states: Array, begins: np.ndarray, lengths: np.ndarray) -> Evaluation:
    """Take the steps of each slot, the only part of a sweep that costs Phi.

    Parameters
    ----------
    meter : Meter
        The propagator.
    states : Array, shape (k, s)
        The state where each slot begins.
    begins : ndarray of int, shape (k,)
        The step that each slot begins with.
    lengths : ndarray of int, shape (k,)
        Number of its steps, not larger than that of the slot before.
    """
    phi, images = meter.phi, states
    gradients: list[Array] = []
    for stage in range(int(lengths[0])):
        active = int((lengths > stage).sum())
        index, rows = begins[:active] + stage, images[:active, ...]
        if is_split(phi):
            gradient = meter.gradient(rows, index)
            gradients.append(gradient)
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                rows = apply_advance(phi, rows, gradient, index)
        else:
            rows = meter.guess(rows, index)
        images = rows if active == len(lengths) else namespace(rows).concat([rows, images[active:, ...]], axis=0)
    return Evaluation(images, tuple(gradients) if gradients else None)


def residual_squares(images: Array, states: Array, exactly: bool = False, unit: int = 0) -> np.ndarray:
    """Return the squared 2-norm of each slot's residual ``Phi(W[j]) - W[j+1]``, shape (k,).

    Parameters
    ----------
    images : Array, shape (k, s)
        Where slots end by Phi.
    states : Array, shape (k, s)
        Where they end in the window: the state that the next slot begins with.
    exactly : bool, default False
        Whether only equal states have residual 0, also where squares underflow; all others then have inf.
    unit : int, default 0
        Squares are in units of ``4**unit``.
    """
    if exactly:
        xp = namespace(images)
        return np.where(to_host(xp.all(images == states, axis=1)), 0.0, np.inf)
    return row_norms(images, states, unit)


def residual_norm(images: Array, states: Array, squares: np.ndarray, unit: int) -> float:
    """Return the 2-norm of the residual over all slots; `squares` are those of :func:`residual_squares`."""
    total = float(squares.sum())
    if 1e-200 <= total < np.inf:
        return Squares(squares, unit).root_of_sum()
    return row_squares(images, states).root_of_sum()
