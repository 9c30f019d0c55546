"""Cycles to convergence of a long run, from those of its beginning."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["extrapolated"]


def extrapolated(counts: Sequence[float], sizes: Sequence[int], steps: int) -> float:
    """Return the cycles that `steps` steps take, with the growth between the last two numbers of steps.

    Parameters
    ----------
    counts : sequence of float
        Cycles of solves, nan for one that did not converge.
    sizes : sequence of int
        Their numbers of steps, increasing.
    steps : int
        N.

    Examples
    --------
    >>> extrapolated([5.0, 10.0], [100, 200], 800), extrapolated([9.0, 9.0], [100, 200], 800)
    (40.0, 9.0)
    """
    if not counts:
        return math.nan
    growth = 0.0
    if len(counts) > 1 and counts[-1] > counts[-2]:
        growth = math.log(counts[-1] / counts[-2]) / math.log(sizes[-1] / sizes[-2])
    return counts[-1] * (steps / sizes[-1]) ** growth
