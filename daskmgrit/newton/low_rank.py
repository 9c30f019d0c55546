"""Newton's method with one Jacobian for all of the window: exact where curvature is largest, else the identity.

``J = V A V^T + (I - V V^T)`` with an orthonormal basis V (s, r). In terms of ``c = V^T d`` the recurrence is one of r
numbers, ``c[j+1] = A c[j] + V^T R[j]``, and the rest of d is a sum.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from daskmgrit.newton.evaluate import evaluate
from daskmgrit.newton.full import clipped
from daskmgrit.newton.scan import Maps, apply_maps, group_length, running_sums
from daskmgrit.recurrence.meter import Meter
from daskmgrit.utils.array_api import Array, add_onto, namespace

__all__ = ["Curvature", "correct_by_curvature", "first_basis", "mean_difference", "refreshed", "sample"]


@dataclass(frozen=True, slots=True)
class Curvature:
    """What is known of the directions of largest curvature.

    Attributes
    ----------
    basis : Array, shape (s, r)
        V.
    matrices : Array, shape (g, r, r)
        A, for each group of slots.
    following : Array, shape (s, r)
        The basis after one more step of the power method, for the next refresh.
    age : int
        Sweeps since the last refresh.
    """

    basis: Array
    matrices: Array
    following: Array
    age: int = 0


def first_basis(state: Array, rank: int) -> Array:
    """Return an arbitrary orthonormal basis (s, r), the same in every run, in the library of a state (1, s)."""
    xp, s = namespace(state), int(state.shape[1])
    rows = np.random.default_rng(0).standard_normal((s, min(rank, s)))
    return xp.asarray(np.linalg.qr(rows)[0], dtype=state.dtype, device=state.device)


def sample(slots: int, groups: int, reach: float, size: int) -> list[np.ndarray]:
    """Return which slots the mean Jacobian of each group of slots is taken over: evenly spread, at most `size`.

    Parameters
    ----------
    slots : int
        Slots of the window.
    groups : int
        Groups that it is cut into.
    reach : float
        Share of the window, from its front on, that samples are of.
    size : int
        Most samples of a group.
    """
    within = max(1, math.ceil(slots * reach))
    cuts = [number * within // groups for number in range(groups + 1)]
    chosen = []
    for first, last in itertools.pairwise(cuts):
        count = max(1, min(size, last - first))
        chosen.append(np.minimum(first + np.arange(count) * max(1, last - first) // count, slots - 1))
    return chosen


def mean_difference(
    meter: Meter, states: Array, images: Array, begins: np.ndarray, lengths: np.ndarray, basis: Array
) -> Array:
    """Return the mean Jacobian of some slots, times each vector of a basis: shape (r, s), at the cost of r Phi each.

    Parameters
    ----------
    meter : Meter
        The propagator.
    states, images : Array, shape (q, s)
        The state where each of the slots begins, and what Phi makes of it.
    begins, lengths : ndarray of int, shape (q,)
        The step that each begins with, and how many steps it has.
    basis : Array, shape (s, r)
        Orthonormal vectors.
    """
    xp, rank = namespace(states), int(basis.shape[1])
    vectors = xp.matrix_transpose(basis)
    root = float(xp.finfo(states.dtype).eps) ** 0.5
    total = xp.zeros_like(vectors)
    for slot in range(int(states.shape[0])):
        row = states[slot : slot + 1]
        step = root * max(1.0, float(xp.sqrt(xp.sum(row * row))))
        ends = evaluate(meter, row + step * vectors, begins[slot].repeat(rank), lengths[slot].repeat(rank)).images
        total = total + (ends - images[slot : slot + 1]) / step
    return total / states.shape[0]


def refreshed(basis: Array, differences: list[Array]) -> Curvature:
    """Return what the mean differences of the groups, along a basis, say of the curvature."""
    xp = namespace(basis)
    products = xp.stack([xp.matmul(each, basis) for each in differences], axis=0)
    matrices = clipped((products + xp.matrix_transpose(products)) / 2)
    total = differences[0]
    for each in differences[1:]:
        total = total + each
    moved = xp.matrix_transpose(basis) - total / len(differences)
    return Curvature(basis, matrices, xp.linalg.qr(xp.matrix_transpose(moved))[0])


def correct_by_curvature(curvature: Curvature, residuals: Array, groups: np.ndarray, number: int, slots: int) -> Array:
    """Return the correction of the state where each slot ends, shape (k, s).

    Parameters
    ----------
    curvature : Curvature
        Basis and matrices.
    residuals : Array, shape (k, s)
        Residuals of successive slots, the first of which begins with a final state.
    groups : ndarray of int, shape (k,)
        The group that each slot is of.
    number : int
        Number of the first of them.
    slots : int
        Slots of the window.
    """
    xp, group = namespace(residuals), group_length(slots)
    # A product for each row: the bits of one of all rows would depend on how many there are.
    along = (residuals[:, None, :] @ curvature.basis)[:, 0]
    matrices = xp.take(curvature.matrices, xp.asarray(groups), axis=0)
    missing = apply_maps(Maps(matrices, along), number, group) - running_sums(along, number, group)
    sums = running_sums(residuals, number, group)
    return add_onto((missing[:, None, :] @ xp.matrix_transpose(curvature.basis))[:, 0], sums)
