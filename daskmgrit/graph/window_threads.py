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

# Seconds of an evaluation up to which fewer threads are tried at once: Phi may be a matter of microseconds.
SHORT = 0.02
# Evaluations before the first trial: the very first is slower.
FIRST = 2
# A single trial that takes this many times as long is not believed.
DISTURBED = 2.5
# The part of a solve's time that evaluations may take on a number of threads that is slower.
SPENT = 0.01
# Solves whose habit is remembered.
REMEMBERED = 64
# Evaluations on each number of threads that are remembered of a solve.
REMEMBERED_CALLS = 3

_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}
_habits: OrderedDict[str, _Habit] = OrderedDict()


@dataclass(slots=True)
class _Habit:
    """Seconds per slot of a solve's last evaluations, by the number of threads.

    A Phi of microseconds is quicker in one call, which holds the interpreter once; one that waits, on all threads. All
    give the same bits. Half and twice the number of threads are tried, and again when what they cost more is a small
    part of the time since. The minimum of a few measurements counts: a single one may have waited for something else.
    """

    number: int | None = None
    calls: int = 0
    seconds: dict[int, deque[float]] = field(default_factory=dict)
    tried: dict[int, int] = field(default_factory=dict)

    def threads(self, slots: int, most: int) -> int:
        """Return the number of threads for the next evaluation of that many slots."""
        here = most if self.number is None else min(self.number, most)
        if here not in self.seconds or self.calls < FIRST:
            return here
        now = min(self.seconds[here])
        for other in {(here + 1) // 2, min(2 * here, most)} - {here}:
            known = self.seconds.get(other, ())
            # Half the threads take twice as long at most: more is a disturbance.
            if not known or (len(known) == 1 and known[0] > DISTURBED * now):
                passed, more = math.inf if slots * now < SHORT else self.calls, now
            else:
                passed, more = self.calls - self.tried[other], min(min(known) - now, now)
            if passed * now * SPENT >= more:
                return other
        return here

    def note(self, number: int, seconds: float, slots: int) -> None:
        """Remember the time of an evaluation on a number of threads."""
        self.calls += 1
        self.tried[number] = self.calls
        self.seconds.setdefault(number, deque(maxlen=REMEMBERED_CALLS)).append(seconds / slots)
        now = self.seconds.get(self.number or number)
        if self.number is None or now is None or min(self.seconds[number]) < min(now):
            self.number = number


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
            _pools[threads] = ThreadPoolExecutor(max(1, threads - 1), thread_name_prefix="daskmgrit-window")
        return _pools[threads]


def evaluate_on_threads(
    meter: Meter, states: Array, begins: np.ndarray, lengths: np.ndarray, threads: int, run: str
) -> tuple[Evaluation, tuple[Record, ...]]:
    """Take the steps of each slot, on as many threads as was quickest; one call takes all steps of a thread.

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
    habit, most = _habit(run), min(threads, slots)
    parts = habit.threads(slots, most) if most > 1 else 1
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
        for a, b in itertools.pairwise(cuts[1:])
    ]
    try:
        own = slice(0, cuts[1])
        made = [_evaluate(meter, states[own, ...], begins[own], lengths[own]), *(call.result() for call in calls)]
    finally:
        for call in calls:
            call.cancel()
    if most > 1:
        habit.note(parts, time.perf_counter() - clock, slots)
    return joined([rows for rows, _ in made]), tuple(record for _, record in made)


def _evaluate(meter: Meter, states: Array, begins: np.ndarray, lengths: np.ndarray) -> tuple[Evaluation, Record]:
    with meter.stage("window", 0, int(begins[0])):
        rows = evaluate(meter, states, begins, lengths)
    return rows, meter.records.pop()
