"""The length of the chain of Phi behind each row, from which ``Result.critical_path`` is counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from daskmgrit.utils.array_api import Array

__all__ = ["after_deferred", "after_first", "after_last", "behind"]


def after_first(depth: Array, batches: Sequence[int]) -> Array:
    """Return the depth behind each row after these calls, each with its number of the first rows."""
    depth = depth + len(batches)
    for count in batches:
        if count < len(depth):
            depth[count:] -= 1
    return depth


def after_deferred(depth: Array, rows: Sequence[int], stages: int) -> Array:
    """Return the same for deferred steps of several stages, each with a number of the first rows."""
    return after_first(depth, [count for count in rows for _ in range(stages)]) if rows else depth


def after_last(depth: Array, batches: Sequence[int]) -> Array:
    """Return the same if a call has the last rows."""
    return after_first(depth[::-1], batches)[::-1]


def behind(depth: Array, left: int | Array | None) -> Array:
    """Return the depth behind each F-interval and the one before it.

    `left` is that of the interval left of the block, or those of the two left of it: then there is an entry more, for
    the latter of them. It is None if there is no such interval.
    """
    whole = np.concatenate((depth[:1] if left is None else np.atleast_1d(left), depth))
    return np.maximum(whole[1:], whole[:-1])
