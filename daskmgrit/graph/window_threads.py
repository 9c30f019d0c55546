"""Evaluating slots of a window on the threads of one process."""

from __future__ import annotations

import contextvars
import itertools
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from daskmgrit.newton.evaluate import Evaluation, evaluate, joined
from daskmgrit.recurrence.meter import Meter, Record
from daskmgrit.utils.array_api import Array

__all__ = ["evaluate_on_threads"]

# An evaluation on threads that takes longer is not tried in one call: Phi is no matter of microseconds.
LONG = 0.02
# Solves whose habit is remembered.
REMEMBERED = 64

_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}
_habits: OrderedDict[str, _Habit] = OrderedDict()


@dataclass(slots=True)
class _Habit:
    """Seconds per slot of the last evaluations of a solve: on threads, and in one call for all slots.

    A Phi of microseconds is quicker in one call, which holds the interpreter once. Both give the same bits.
    """

    calls: int = 0
    apart: float | None = None
    together: float | None = None

    def on_threads(self) -> bool:
        """Whether the next evaluation is to be on threads."""
        if self.calls < 2 or self.apart is None:
            return True
        return self.together is not None and self.apart <= self.together

    def note(self, on_threads: bool, seconds: float, slots: int) -> None:
        """Remember what an evaluation took."""
        self.calls += 1
        if on_threads:
            self.apart = seconds / slots
            if seconds > LONG:
                self.together = self.together or float("inf")
        else:
            self.together = seconds / slots


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
    """Take the steps of each slot, on so many threads where that is quicker than one call for all.

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
