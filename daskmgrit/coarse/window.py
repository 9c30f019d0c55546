"""The fine steps that a coarse step stands for, and the sample of them over which a window gradient is taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskmgrit.utils.per_level import growth
from daskmgrit.utils.validation import integer_option

__all__ = ["coarsening_option", "window_steps"]

Index = NDArray[np.integer]


def coarsening_option(coarsening: Any) -> int | tuple[int, ...]:
    """Return coarsening factors as an int or a tuple of them.

    Raises
    ------
    ValueError
        If they are neither an integer of at least 2 nor a non-empty sequence of such integers.
    """
    remedy = "it is the coarsening factor, or one per level: that of the solver"
    if isinstance(coarsening, Sequence | np.ndarray) and not isinstance(coarsening, str):
        if not len(coarsening):
            raise ValueError(f"coarsening={coarsening!r} is empty: {remedy}")
        return tuple(integer_option("coarsening", m, 2, remedy) for m in coarsening)
    return integer_option("coarsening", coarsening, 2, remedy)


# Multiples of it spread over the unit interval with gaps that are as even as can be, and without a period.
GOLDEN = (5**0.5 - 1) / 2


def window_steps(
    index: Index, level: int, coarsening: int | Sequence[int] = 2, size: int | None = None, period: int | None = None
) -> Index:
    """Return the source steps of level 0 that coarse steps stand for, at most `size` of each, evenly spread.

    Step i of level l stands for the steps ``M*i … M*i + M-1``, M the product of the coarsening factors above l. A mean
    of their gradients represents them better than the gradient of any one.

    Parameters
    ----------
    index : ndarray of int, shape (k,)
        Source steps on `level`.
    level : int
        The level.
    coarsening : int or sequence of int, default 2
        Coarsening factor, or one per level.
    size : int, optional
        B, the most steps to take of a window; all by default.
    period : int, optional
        Number of steps after which the data repeat. From a window that holds a whole period, one period is taken, or a
        sample of it.

    Returns
    -------
    ndarray of int, shape (k, min(M, size, period))

    Examples
    --------
    >>> window_steps(np.array([0, 1]), level=2).tolist()
    [[0, 1, 2, 3], [4, 5, 6, 7]]
    >>> window_steps(np.array([1]), level=3, size=3).tolist()
    [[8, 12, 13]]
    """
    for name, value in (("size", size), ("period", period)):
        if value is not None:
            integer_option(name, value, 1, "see daskmgrit.coarse.window_steps")
    width = int(growth(coarsening_option(coarsening), integer_option("level", level, 0, "0 is the finest")))
    # One round of the data has the mean of all of them.
    span = width if period is None else min(width, period)
    count = span if size is None else min(span, size)
    if span < count / GOLDEN:
        # All, or such a large part of them that places varied as below would meet.
        places = np.arange(count) * span // count
    else:
        # One in each of `count` equal parts; always the same place in it would see only some residues of the step's
        # number, and so only some of the data if they repeat.
        parts = np.arange(count)
        places = ((parts + parts * GOLDEN % 1) * span / count).astype(int)
    return np.asarray(index)[:, None] * width + places
