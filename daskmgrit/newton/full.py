"""Newton's method with the Jacobian of every slot, by finite differences, for some tens of weights."""

from __future__ import annotations

import numpy as np

from daskmgrit.newton.evaluate import TakeAll
from daskmgrit.newton.scan import Maps, apply_maps, group_length
from daskmgrit.utils.array_api import Array, device, namespace

__all__ = ["correct_by_jacobians", "jacobians"]

# Length of a residual from which on a slot counts as far from the solution: its steps are then kept in bounds.
FAR = 1e-3
# Longest correction of a state there.
LONGEST = 2.0
# States that are evaluated at once.
TOGETHER = 1 << 14


def jacobians(take: TakeAll, states: Array, images: Array, begins: np.ndarray, lengths: np.ndarray) -> Array:
    """Return the Jacobian of each slot, shape (k, s, s), at the cost of s Phi for each.

    Parameters
    ----------
    take : callable
        What has slots evaluated.
    states, images : Array, shape (k, s)
        The state where each slot begins, and what Phi makes of it.
    begins, lengths : ndarray of int, shape (k,)
        The step that each slot begins with, and how many steps it has.
    """
    xp, (k, s) = namespace(states), states.shape
    root = float(xp.finfo(states.dtype).eps) ** 0.5
    steps = root * xp.maximum(xp.abs(states), xp.ones_like(states))
    identity = xp.eye(s, dtype=states.dtype, device=device(states))
    found, part = [], max(1, TOGETHER // s)
    for start in range(0, k, part):
        rows = slice(start, min(start + part, k))
        shifted = states[rows, None, :] + steps[rows, :, None] * identity
        count = int(shifted.shape[0])
        shifted = xp.reshape(shifted, (count * s, s))
        ends = take(shifted, begins[rows].repeat(s), lengths[rows].repeat(s))
        ends = xp.reshape(ends, (count, s, s))
        found.append((ends - images[rows, None, :]) / steps[rows, :, None])
    return xp.matrix_transpose(xp.concat(found, axis=0))


def correct_by_jacobians(matrices: Array, residuals: Array, squares: np.ndarray, number: int, slots: int) -> Array:
    """Return the correction of the state where each slot ends, shape (k, s).

    Parameters
    ----------
    matrices : Array, shape (k, s, s)
        Jacobians of successive slots, the first of which begins with a final state.
    residuals : Array, shape (k, s)
        Their residuals.
    squares : ndarray, shape (k,)
        Squared lengths of the residuals. Where a slot is far from the solution no direction may grow, and its
        correction is shortened.
    number : int
        Number of the first of them.
    slots : int
        Slots of the window.
    """
    xp, place = namespace(residuals), device(residuals)
    far = ~(squares <= FAR * FAR)
    if far.any():
        there, others = np.flatnonzero(far), np.flatnonzero(~far)
        parts = [_without_growth(xp.take(matrices, xp.asarray(there, device=place), axis=0))]
        if len(others):
            parts.append(xp.take(matrices, xp.asarray(others, device=place), axis=0))
        places = np.argsort(np.concatenate((there, others)))
        matrices = xp.take(xp.concat(parts, axis=0), xp.asarray(places, device=place), axis=0)
    corrections = apply_maps(Maps(matrices, residuals), number, group_length(slots))
    lengths = xp.sqrt(xp.sum(corrections * corrections, axis=1, keepdims=True))
    shortened = corrections * (LONGEST / xp.maximum(lengths, xp.full_like(lengths, LONGEST)))
    return xp.where(xp.asarray(far, device=place)[:, None], shortened, corrections)


def _without_growth(matrices: Array) -> Array:
    """Return the matrices with the eigenvalues of their symmetric parts clipped to [-1, 1]."""
    xp = namespace(matrices)
    finite = xp.all(xp.isfinite(matrices), axis=(1, 2), keepdims=True)
    matrices = xp.where(finite, matrices, xp.zeros_like(matrices))
    symmetric = (matrices + xp.matrix_transpose(matrices)) / 2
    return matrices - symmetric + clipped(symmetric)


def clipped(symmetric: Array) -> Array:
    """Return symmetric matrices (…, r, r) with their eigenvalues clipped to [-1, 1]."""
    xp = namespace(symmetric)
    values, vectors = xp.linalg.eigh(symmetric)
    return (vectors * xp.clip(values, -1.0, 1.0)[..., None, :]) @ xp.matrix_transpose(vectors)
