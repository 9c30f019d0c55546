"""The cost of a call of Phi."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Barrier
from typing import Any

import numpy as np

from daskmgrit.recurrence.propagator import Phi
from daskmgrit.recurrence.state import initial_state
from daskmgrit.utils.array_api import move_like, to_host
from daskmgrit.utils.per_level import per_level
from daskmgrit.utils.validation import number_option

__all__ = ["MOST_THREADS", "PhiCost", "measure_cost", "measure_held", "measure_stages"]

# Threads that are tried at once at most, and seconds that each is to call Phi for, so that no start counts.
MOST_THREADS, LONG_ENOUGH = 16, 2e-3
# Seconds that threads wait for each other.
PATIENCE = 60


@dataclass(frozen=True, slots=True)
class PhiCost:
    """Seconds that a call of Phi takes: ``stages[level] * (call + rows * state)``.

    Parameters
    ----------
    state : float
        Seconds per state update.
    call : float, default 0
        Seconds that a call takes for any number of states: a launch, a round trip.
    stages : tuple of float, default (1,)
        Phi that one step of each level stands for, the last repeating: stabilised coarse steps take several.
    held : float, default 0
        Part of a call in which other threads of the process wait: 1 for a Phi that holds the interpreter all the time.

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
    held: float = 0.0

    def __post_init__(self) -> None:
        number_option("phi-cost", self.state, "seconds per state update are at least 0", least=0)
        number_option("call", self.call, "seconds per call are at least 0", least=0)
        if not self.state + self.call > 0:
            raise ValueError("phi-cost=0: a Phi that costs nothing is not worth a cluster; give its seconds")
        number_option("held", self.held, "it is a part of a call, at most 1", least=0, below=math.nextafter(1, 2))
        if not self.stages or min(self.stages) <= 0:
            raise ValueError(f"stages={self.stages}: give how many Phi a step of each level costs, each more than 0")

    def of_level(self, level: int) -> float:
        """Return the number of Phi that a step of `level` stands for."""
        return per_level(self.stages, level)

    def seconds(self, batches: Sequence[int], level: int) -> float:
        """Return the seconds that calls with these numbers of states take, one after another."""
        return self.of_level(level) * (len(batches) * self.call + sum(batches) * self.state)

    def at_once(self, threads: int) -> PhiCost:
        """Return the cost of a call while this number of threads of a process make calls."""
        times = 1 + (threads - 1) * self.held
        return replace(self, state=times * self.state, call=times * self.call)

    def serial(self, steps: int) -> float:
        """Return the seconds of serial training."""
        return steps * self.of_level(0) * (self.call + self.state)


def measure_cost(phi: Phi, w0: Any, seconds: float = 0.2, sizes: Sequence[int] = (1, 8, 64)) -> PhiCost:
    """Time a propagator on level 0, on blocks of states.

    Parameters
    ----------
    phi : callable
        The propagator.
    w0 : array_like, shape (s,)
        A state to try it on.
    seconds : float
        Time to spend on each size of block; each is timed three times at least.
    sizes : sequence of int
        States of the blocks. A single size does not show the cost of a call besides its states.
    """
    call, state = _fit(sizes, [_least(phi, w0, rows, 0, seconds) for rows in sizes])
    return PhiCost(state, call)


def measure_held(phi: Phi, w0: Any, threads: int, rows: int, seconds: float = 0.2) -> float:
    """Return the part of a call in which other threads wait: for the interpreter, or for a core of this machine.

    Parameters
    ----------
    phi, w0
        As for :func:`measure_cost`.
    threads : int
        Threads that are to call Phi at once, two at least; 16 are tried at most.
    rows : int
        States of each call.
    seconds : float
        Time to spend; calls are timed three times at least.
    """
    threads = min(threads, MOST_THREADS)
    state = initial_state(w0)
    block, index = move_like(np.tile(state.host, (rows, 1)), state.block(phi)), np.arange(rows)
    calls = max(1, math.ceil(LONG_ENOUGH / _least(phi, w0, rows, 0, 0.0)))

    def work(barrier: Barrier) -> tuple[float, float]:
        barrier.wait(PATIENCE)
        begin = time.perf_counter()
        for _ in range(calls):
            to_host(phi(block, index, 0))
        return begin, time.perf_counter()

    def took(count: int) -> float:
        barrier = Barrier(count)
        begins, ends = zip(*pool.map(work, [barrier] * count), strict=True)
        return max(ends) - min(begins)

    with ThreadPoolExecutor(threads) as pool:
        clock, repeats, alone, together = time.perf_counter(), 0, math.inf, math.inf
        while repeats < 3 or time.perf_counter() - clock < seconds:
            alone, together, repeats = min(alone, took(1)), min(together, took(threads)), repeats + 1
    return min(1.0, max(0.0, (together / alone - 1) / (threads - 1)))


def measure_stages(phi: Phi, w0: Any, levels: int, seconds: float = 0.02) -> tuple[float, ...]:
    """Return the cost of a Phi of each level in Phi of level 0: it may take stages, or see more data.

    Parameters are those of :func:`measure_cost`; `levels` is the number of levels.
    """
    fine = _least(phi, w0, 8, 0, seconds)
    ratios = [_least(phi, w0, 8, level, seconds) / fine for level in range(1, levels)]
    # A tenth is noise.
    return (1.0, *(1.0 if abs(ratio - 1) < 0.1 else round(ratio, 2) for ratio in ratios))


def _least(phi: Phi, w0: Any, rows: int, level: int, seconds: float) -> float:
    """Return the minimum of several times of a call: its time without disturbance."""
    state = initial_state(w0)
    block, index = move_like(np.tile(state.host, (rows, 1)), state.block(phi)), np.arange(rows)
    best, spent, calls = math.inf, 0.0, 0
    to_host(phi(block, index, level))
    while spent < seconds or calls < 3:
        clock = time.perf_counter()
        # Libraries compute in the background until the values are asked for.
        to_host(phi(block, index, level))
        took = time.perf_counter() - clock
        best, spent, calls = min(best, took), spent + took, calls + 1
    return best


def _fit(sizes: Sequence[int], times: Sequence[Any]) -> tuple[float, float]:
    """Return (a, b) >= 0 with ``a + b*size`` near `times`, in relative terms."""
    if len(sizes) == 1:
        return 0.0, float(times[0]) / sizes[0]
    rows = np.array(sizes, float)
    scale = np.array(times, float)
    a, b = np.linalg.lstsq(np.stack((1 / scale, rows / scale), axis=1), np.ones(len(rows)), rcond=None)[0]
    if a < 0:
        return 0.0, float((scale / rows).min())
    if b <= 0:
        return float(scale.min()), 0.0
    return float(a), float(b)
