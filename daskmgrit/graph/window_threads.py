"""Evaluation of a window's slots on the threads of one process."""

from __future__ import annotations

import contextvars
import itertools
import math
import threading
import time
from collections import OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from daskmgrit.newton.evaluate import Evaluation, evaluate, joined
from daskmgrit.recurrence.meter import Meter, Record
from daskmgrit.utils.array_api import Array

__all__ = ["evaluate_on_threads"]

# An evaluation on threads that takes longer is not tried in one call: Phi is no matter of microseconds.
LONG = 0.02
# Solves whose habit is remembered.
REMEMBERED = 64
# Evaluations of each kind that are remembered of a solve.
REMEMBERED_CALLS = 3

_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}
_habits: OrderedDict[str, _Habit] = OrderedDict()


@dataclass(slots=True)
class _Habit:
    """Seconds per slot of the last evaluations of a solve: on threads, and in one call for all slots.

    A Phi of microseconds is quicker in one call, which holds the interpreter once. Both give the same bits. The minimum
    of a few measurements counts, because a single one may have waited for something else. The slower way is tried
    again, each time after twice as many evaluations.
    """

    calls: int = 0
    again: int = 16
    apart: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED_CALLS))
    together: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED_CALLS))

    def on_threads(self) -> bool:
        """Whether the next evaluation runs on threads."""
        if len(self.apart) < 2:
            return True
        if not self.together:
            return False
        quicker = min(self.apart) <= min(self.together)
        if self.calls < self.again or math.inf in self.together:
            return quicker
        self.again = 2 * self.calls
        return not quicker

    def note(self, on_threads: bool, seconds: float, slots: int) -> None:
        """Remember the time of an evaluation."""
        self.calls += 1
        (self.apart if on_threads else self.together).append(seconds / slots)
        if len(self.apart) == 2 and not self.together and slots * min(self.apart) > LONG:
            self.together.append(math.inf)


def _habit(run: str) -> _Habit:
    with _lock:
        habit = _habits.setdefault(run, _Habit())
        _habits.move_to_end(run)
        if len(_habits) > REMEMBERED:
            _habits.popitem(last=False)
    return habit


def _pool(threads: int) -> ThreadPoolExecutor:
    with _lock:
        if threads not in _pools:
            _pools[threads] = ThreadPoolExecutor(threads, thread_name_prefix="daskmgrit-window")
        return _pools[threads]


def evaluate_on_threads(
    meter: Meter, states: Array, begins: np.ndarray, lengths: np.ndarray, threads: int, run: str
) -> tuple[Evaluation, tuple[Record, ...]]:
    """Take the steps of each slot, on several threads if that is quicker than one call for all.

    Parameters
    ----------
    meter : Meter
        The propagator.
    states, begins, lengths
        As in :func:`daskmgrit.newton.evaluate.evaluate`.
    threads : int
        Threads of this process that the solve has.
    run : str
        Token of the solve.

    Returns
    -------
    Evaluation
        That of all slots.
    tuple of Record
        One for each thread's call.
    """
    slots = len(begins)
    parts = min(threads, slots)
    habit = _habit(run)
    if parts == 1 or not (on_threads := habit.on_threads()):
        clock = time.perf_counter()
        rows, record = _evaluate(meter, states, begins, lengths)
        if parts > 1:
            habit.note(False, time.perf_counter() - clock, slots)
        return rows, (record,)
    clock = time.perf_counter()
    cuts = [number * slots // parts for number in range(parts + 1)]
    # One meter is for one thread. Phi finds the worker, as Dask's get_worker() does, in the context of its task.
    calls = [
        _pool(threads).submit(
            contextvars.copy_context().run,
            _evaluate,
            Meter(meter.phi, meter.cycle),
            states[a:b, ...],
            begins[a:b],
            lengths[a:b],
        )
        for a, b in itertools.pairwise(cuts)
    ]
    try:
        made = [call.result() for call in calls]
    finally:
        for call in calls:
            call.cancel()
    habit.note(on_threads, time.perf_counter() - clock, slots)
    return joined([rows for rows, _ in made]), tuple(record for _, record in made)


def _evaluate(meter: Meter, states: Array, begins: np.ndarray, lengths: np.ndarray) -> tuple[Evaluation, Record]:
    with meter.stage("window", 0, int(begins[0])):
        rows = evaluate(meter, states, begins, lengths)
    return rows, meter.records.pop()
