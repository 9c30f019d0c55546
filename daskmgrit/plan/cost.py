"""What a call of Phi costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from daskmgrit.options import number_option
from daskmgrit.relaxation import Array, Phi

__all__ = ["PhiCost", "measure_cost"]


@dataclass(frozen=True, slots=True)
class PhiCost:
    """Seconds that a call of Phi takes: ``stages[level] * (call + rows * state)``.

    Parameters
    ----------
    state : float
        Seconds per state update.
    call : float, default 0
        Seconds that a call takes however many states it is given: a launch, a round trip.
    stages : tuple of float, default (1,)
        Phi that one step of each level stands for, the last repeating: stabilised coarse steps take several.

    Raises
    ------
    ValueError
        If a value is negative, or all are zero.

    Examples
    --------
    >>> PhiCost(0.001, call=0.01, stages=(1, 2)).seconds([100, 25], level=3)
    0.29
    """

    state: float
    call: float = 0.0
    stages: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        number_option("phi-cost", self.state, "seconds per state update are at least 0", least=0)
        number_option("call", self.call, "seconds per call are at least 0", least=0)
        if not self.state + self.call > 0:
            raise ValueError("phi-cost=0: a Phi that costs nothing is not worth a cluster; give its seconds")
        if not self.stages or min(self.stages) <= 0:
            raise ValueError(f"stages={self.stages}: give how many Phi a step of each level costs, each more than 0")

    def of_level(self, level: int) -> float:
        """Return how many Phi a step of `level` stands for."""
        return self.stages[min(level, len(self.stages) - 1)]

    def seconds(self, batches: Sequence[int], level: int) -> float:
        """Return the seconds of calls with so many states each, one after another."""
        return self.of_level(level) * (len(batches) * self.call + sum(batches) * self.state)

    def serial(self, steps: int) -> float:
        """Return the seconds of serial training."""
        return steps * self.of_level(0) * (self.call + self.state)


def measure_cost(phi: Phi, w0: Array, levels: int = 1, seconds: float = 0.2) -> PhiCost:
    """Time a propagator on level 0, on one state and on blocks of states.

    Parameters
    ----------
    phi : callable
        The propagator. If it has a method ``stages(level)``, that says how many Phi a step of a level stands for.
    w0 : ndarray, shape (s,)
        A state to try it on.
    levels : int
        Levels to ask for their stages.
    seconds : float
        Time to spend on each size of block.
    """
    sizes = [1, 8, 64]

    def once(rows: int) -> float:
        block, index, best, spent = np.tile(w0, (rows, 1)), np.arange(rows), np.inf, 0.0
        phi(block, index, 0)
        while spent < seconds:
            clock = time.perf_counter()
            phi(block, index, 0)
            took = time.perf_counter() - clock
            # The least of many is what the work takes when nobody disturbs it.
            best, spent = min(best, took), spent + took
        return best

    call, state = _fit(sizes, [once(rows) for rows in sizes])
    count = getattr(phi, "stages", None)
    stages = tuple(float(count(level)) for level in range(levels)) if callable(count) else (1.0,)
    return PhiCost(state / stages[0], call / stages[0], stages)


def _fit(sizes: Sequence[int], times: Sequence[Any]) -> tuple[float, float]:
    """Return (a, b) >= 0 with ``a + b*size`` near `times`, in relative terms."""
    rows = np.array(sizes, float)
    scale = np.array(times, float)
    a, b = np.linalg.lstsq(np.stack((1 / scale, rows / scale), axis=1), np.ones(len(rows)), rcond=None)[0]
    if a < 0:
        return 0.0, float((scale / rows).min())
    if b <= 0:
        return float(scale.min()), 0.0
    return float(a), float(b)
