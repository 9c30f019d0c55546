"""Which fine steps a coarse step stands for, and a sample of them: what a window gradient is taken over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["growth", "window_steps"]

Index = NDArray[np.integer]


def growth(factor: float | Sequence[float], level: int) -> float | int:
    """Return the product of the coarsening factors above `level`; the last of several repeats.

    Examples
    --------
    >>> growth(2, 3), growth((4, 2), 3)
    (8, 16)
    """
    if not isinstance(factor, Sequence):
        return factor**level
    total: float | int = 1
    for k in range(level):
        total = total * factor[min(k, len(factor) - 1)]
    return total


def window_steps(index: Index, level: int, factor: int | Sequence[int] = 2, size: int | None = None) -> Index:
    """Return the source steps of level 0 that coarse steps stand for, at most `size` of each, evenly spread.

    Step i of level l stands for the steps ``M*i … M*i + M-1``, M the product of the coarsening factors above l. A mean
    of their gradients says more of them than the gradient of any one.

    Parameters
    ----------
    index : ndarray of int, shape (k,)
        Source steps on `level`.
    level : int
        The level.
    factor : int or sequence of int, default 2
        Coarsening factor, or one per level.
    size : int, optional
        B, the most steps to take of a window; all by default.

    Returns
    -------
    ndarray of int, shape (k, min(M, size))

    Examples
    --------
    >>> window_steps(np.array([0, 1]), level=2).tolist()
    [[0, 1, 2, 3], [4, 5, 6, 7]]
    >>> window_steps(np.array([1]), level=3, size=3).tolist()
    [[9, 12, 14]]
    """
    width = int(growth(factor, level))
    count = width if size is None else min(width, size)
    # The middle of each of `count` equal parts.
    places = (2 * np.arange(count) + 1) * width // (2 * count)
    return np.asarray(index)[:, None] * width + places
