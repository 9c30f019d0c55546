"""The steps that a sweep accepts: a prefix of the window whose residual is known and within the tolerance."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

__all__ = ["accept", "is_exact", "unit_of"]


def is_exact(tol: float) -> bool:
    """Whether a tolerance allows only a residual of zero: then the result is bitwise that of serial training."""
    return tol * tol == 0.0


def unit_of(tol: float) -> int:
    """Return the exponent of the unit in which residuals are squared: 0 unless the tolerance's square loses bits.

    In units near the tolerance, a square that overflows is refused, and a square that underflows is accepted.
    """
    return 0 if 1e-140 <= tol <= 1e140 or is_exact(tol) else math.frexp(tol)[1]


def accept(squares: Iterable[float], spent: float, ends: np.ndarray, steps: int, tol: float) -> tuple[int, float]:
    """Return how many slots are accepted, and the sum of the squared residuals of all accepted steps.

    The states of the window are accepted unchanged while the residuals of all accepted steps stay within their share of
    the tolerance, ``sum |R|**2 <= tol**2 * i/N`` up to step i; then one more, whose state is replaced by Phi of the
    accepted one before it, so that its residual is zero. So at least one slot is always accepted, the 2-norm of the
    residual over all N steps is at most `tol`, and it is known without another Phi.

    Parameters
    ----------
    squares : iterable of float
        Squared residual of each slot; nan or inf where Phi failed. No more of them are asked for than are needed, and
        never that of the last slot. The square of the tolerance must be in range: see :func:`unit_of`.
    spent : float
        Sum of the squared residuals of the steps before the window, in the same units.
    ends : ndarray of int, shape (n,)
        The step at which each slot ends.
    steps : int
        N.
    tol : float
        2-norm of the residual over all steps.
    """
    accepted = 0
    for end, square in zip(ends[:-1].tolist(), squares, strict=False):
        if not spent + square <= tol * tol * (end / steps):
            break
        spent += square
        accepted += 1
    return accepted + 1, spent
