"""Newton's method with one Jacobian for the whole window: exact where curvature is largest, else the identity.

``J = V A V^T + (I - V V^T)`` with an orthonormal basis V (s, r). In terms of ``c = V^T d`` the recurrence is one of r
numbers, ``c[j+1] = A c[j] + V^T R[j]``, and the rest of d is a sum.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from daskmgrit.newton.evaluate import TakeAll
from daskmgrit.newton.full import TOGETHER, clipped
from daskmgrit.newton.scan import Maps, apply_maps, group_length, running_sums
from daskmgrit.recurrence.norms import row_lengths
from daskmgrit.utils.array_api import Array, add_onto, device, namespace, to_host

__all__ = ["Curvature", "correct_by_curvature", "first_basis", "mean_differences", "refreshed", "sample"]


@dataclass(frozen=True, slots=True)
class Curvature:
    """The directions of largest curvature, as known so far.

    Attributes
    ----------
    basis : Array, shape (s, r)
        V.
    matrices : Array, shape (g, r, r)
        A, for each group of slots.
    ends : ndarray of int, shape (g,)
        Number of the slot, counted from step 0 on, before which each group ends.
    following : Array, shape (s, r)
        The basis after one more step of the power method, for the next refresh.
    age : int
        Sweeps since the last refresh.
    """

    basis: Array
    matrices: Array
    ends: np.ndarray
    following: Array
    age: int = 0


def first_basis(state: Array, rank: int) -> Array:
    """Return an arbitrary orthonormal basis (s, r), the same in every run, in the library of a state (1, s)."""
    xp, s = namespace(state), int(state.shape[1])
    rows = np.random.default_rng(0).standard_normal((s, min(rank, s)))
    return xp.asarray(np.linalg.qr(rows)[0], dtype=state.dtype, device=device(state))


def sample(slots: int, groups: int, reach: float, size: int) -> list[np.ndarray]:
    """Return the slots over which the mean Jacobian of each group is taken: evenly spread, at most `size`.

    Parameters
    ----------
    slots : int
        Slots of the window.
    groups : int
        Groups of slots in the window.
    reach : float
        Share of the window, from its front on, from which samples are taken.
    size : int
        Maximum number of samples of a group.
    """
    within = max(1, math.ceil(slots * reach))
    cuts = [number * within // groups for number in range(groups + 1)]
    chosen = []
    for first, last in itertools.pairwise(cuts):
        count = max(1, min(size, last - first))
        chosen.append(np.minimum(first + np.arange(count) * max(1, last - first) // count, slots - 1))
    return chosen


def mean_differences(
    take: TakeAll,
    states: Array,
    images: Array,
    begins: np.ndarray,
    lengths: np.ndarray,
    basis: Array,
    samples: Sequence[np.ndarray],
) -> list[Array]:
    """Return the mean Jacobian of each group's sample of slots, times each vector of a basis: shapes (r, s).

    It costs r Phi for each slot of a sample.

    Parameters
    ----------
    take : callable
        What has slots evaluated.
    states, images : Array, shape (n, s)
        The state where each slot begins, and what Phi makes of it.
    begins, lengths : ndarray of int, shape (n,)
        The step that each begins with, and how many steps it has.
    basis : Array, shape (s, r)
        Orthonormal vectors.
    samples : sequence of ndarray of int
        Slots of each group's sample.
    """
    xp, rank, s = namespace(states), int(basis.shape[1]), int(states.shape[1])
    vectors = xp.matrix_transpose(basis)
    root = float(xp.finfo(states.dtype).eps) ** 0.5
    slots = np.concatenate(samples)
    with np.errstate(over="ignore"):
        norms = to_host(xp.sqrt(xp.sum(states * states, axis=1)))
    norms = norms if np.isfinite(norms).all() else row_lengths(states)
    steps = root * np.maximum(1.0, norms[slots])
    group_of = np.repeat(np.arange(len(samples)), [len(sample_slots) for sample_slots in samples])
    totals = [xp.zeros_like(vectors) for _ in samples]
    part = max(1, TOGETHER // rank)
    for start in range(0, len(slots), part):
        some, lengths_of_steps = slots[start : start + part], steps[start : start + part].tolist()
        rows = [
            states[slot : slot + 1, ...] + step * vectors for slot, step in zip(some, lengths_of_steps, strict=True)
        ]
        ends = take(xp.concat(rows, axis=0), begins[some].repeat(rank), lengths[some].repeat(rank))
        ends = xp.reshape(ends, (len(some), rank, s))
        for number, (slot, step) in enumerate(zip(some, lengths_of_steps, strict=True)):
            group = group_of[start + number]
            with np.errstate(over="ignore", invalid="ignore"):
                found = (ends[number, ...] - images[slot : slot + 1, ...]) / step
            # Where Phi fails nearby, nothing is known: then the identity is as good.
            finite = xp.all(xp.isfinite(found), axis=1, keepdims=True)
            totals[group] = add_onto(totals[group], xp.where(finite, found, vectors))
    return [total / len(sample_slots) for total, sample_slots in zip(totals, samples, strict=True)]


def refreshed(basis: Array, differences: list[Array], first: int, slots: int) -> Curvature:
    """Return the curvature that follows from the mean differences of the groups along a basis.

    Parameters
    ----------
    basis : Array, shape (s, r)
        Orthonormal vectors.
    differences : list of Array, shape (r, s)
        The result of :func:`mean_differences` for each group.
    first, slots : int
        Number of the window's first slot, and how many it has: it is cut evenly into groups.
    """
    xp = namespace(basis)
    products = xp.stack([xp.matmul(each, basis) for each in differences], axis=0)
    matrices = clipped((products + xp.matrix_transpose(products)) / 2)
    total = differences[0]
    for each in differences[1:]:
        total = total + each
    moved = xp.matrix_transpose(basis) - total / len(differences)
    ends = first + np.arange(1, len(differences) + 1) * slots // len(differences)
    return Curvature(basis, matrices, ends, xp.linalg.qr(xp.matrix_transpose(moved))[0])


def correct_by_curvature(curvature: Curvature, residuals: Array, number: int, slots: int) -> Array:
    """Return the correction of the state where each slot ends, shape (k, s).

    Parameters
    ----------
    curvature : Curvature
        Basis and matrices.
    residuals : Array, shape (k, s)
        Residuals of successive slots, the first of which begins with a final state.
    number : int
        Number of the first of them.
    slots : int
        Slots of the window.
    """
    xp, group = namespace(residuals), group_length(slots)
    # A product for each row: the bits of one of all rows would depend on how many there are.
    along = (residuals[:, None, :] @ curvature.basis)[:, 0, :]
    # A slot stays in its group while the window slides; slots that are new are of the last one.
    groups = np.searchsorted(curvature.ends[:-1], number + np.arange(int(residuals.shape[0])), side="right")
    matrices = xp.take(curvature.matrices, xp.asarray(groups, device=device(residuals)), axis=0)
    missing = apply_maps(Maps(matrices, along), number, group) - running_sums(along, number, group)
    sums = running_sums(residuals, number, group)
    return add_onto((missing[:, None, :] @ xp.matrix_transpose(curvature.basis))[:, 0, :], sums)
