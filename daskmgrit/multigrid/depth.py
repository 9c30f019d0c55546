"""The length of the chain of Phi behind each row, from which ``Result.critical_path`` is counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from daskmgrit.utils.array_api import Array

__all__ = ["after_arrival", "after_deferred", "after_relaxation"]


def after_relaxation(depth: Array, batches: Sequence[int]) -> Array:
    """Return the depth behind each F-interval after these calls, each with a row of all intervals or all but the last.

    Only the last interval of a level may have fewer points than the others.
    """
    depth = depth + len(batches)
    if partial := batches.count(len(depth) - 1):
        depth[-1] -= partial
    return depth


def after_deferred(depth: Array, rows: Sequence[int], stages: int) -> Array:
    """Return the same for deferred steps of several stages, each with a number of rows."""
    return after_relaxation(depth, [count for count in rows for _ in range(stages)]) if rows else depth


def after_arrival(depth: Array, left: int | Array | None, calls: int) -> Array:
    """Return the depth behind the arrivals at the C-points, `calls` Phi after the states that they came from.

    Parameters
    ----------
    depth : ndarray of int
        The depth behind each F-interval. An arrival comes from an interval or from the one before it.
    left : int, ndarray of int, or None
        That of the interval left of the block, or those of the two left of it: then there is an entry more, for the
        latter of them. None if there is no such interval: then nothing arrives at the first C-point.
    calls : int
        Their number.
    """
    if left is None:
        after = depth.copy()
        arrived, whole = after[1:], depth
    else:
        whole = np.concatenate((np.atleast_1d(left), depth))
        after = arrived = np.empty(len(whole) - 1, whole.dtype)
    np.maximum(whole[1:], whole[:-1], out=arrived)
    arrived += calls
    return after
