"""The critical path of a solve without solving: counted in its graph, with a Phi that costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dask
import numpy as np

from daskmgrit.mgrit import MGRIT

__all__ = ["critical_path", "predicted_path"]

Array = np.ndarray


class _Still:
    """A Phi of one weight that stays where it is, with the stages of another."""

    def __init__(self, stages: Sequence[int]) -> None:
        self._stages = stages

    def stages(self, level: int) -> int:
        return self._stages[level]

    def __call__(self, weights: Array, index: Array, level: int) -> Array:
        return weights.copy()


def critical_path(
    steps: int, stages: Sequence[int], cycles: int, initial_guess: str = "constant", **hierarchy: Any
) -> int:
    """Return the longest chain of Phi in the graph of `cycles` cycles.

    Parameters
    ----------
    steps : int
        N.
    stages : sequence of int
        Number of Phi in a step of each level.
    cycles : int
        Number of cycles.
    initial_guess : str, default "constant"
        The initial guess.
    **hierarchy
        Options of :class:`daskmgrit.MGRIT`.

    Examples
    --------
    >>> critical_path(1600, [1] * 9, 4), critical_path(1600, [1] * 8 + [2], 4)
    (151, 175)
    """
    # A graph of one chunk counts the depth of every interval all the same.
    with dask.config.set(scheduler="sync"):
        solver = MGRIT(_Still(stages), steps, **hierarchy)
        result = solver.solve(np.ones(1), initial_guess, tol=0, maxiter=cycles, chunks=1)
    return result.critical_path


def predicted_path(
    steps: int, stages: Sequence[int], cycles: float, initial_guess: str = "constant", **hierarchy: Any
) -> float:
    """Return the same for a number of cycles that need not be whole: every cycle after the first costs the same."""
    one = critical_path(steps, stages, 1, initial_guess, **hierarchy)
    each = critical_path(steps, stages, 2, initial_guess, **hierarchy) - one
    return one + (cycles - 1) * each
