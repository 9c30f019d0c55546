"""RawEvaluation of a window's slots on the threads of one process, each as soon as its state is known."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from daskmgrit.graph.thread_habit import habit_of
from daskmgrit.newton.evaluate import RawEvaluation, evaluate
from daskmgrit.recurrence.meter import Meter, Record
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.utils.array_api import Array, namespace

__all__ = ["WindowThreads"]

# Seconds in which threads begin that have just been given a slot.
PAUSE = 1e-4

_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}


def _pool(threads: int) -> ThreadPoolExecutor:
    with _lock:
        if threads not in _pools:
            _pools[threads] = ThreadPoolExecutor(threads, thread_name_prefix="daskmgrit-window")
        return _pools[threads]


class WindowThreads:
    """Evaluates the slots of successive windows, on as many threads as was quickest; a thread takes a run of slots.

    Parameters
    ----------
    phi : callable
        The propagator.
    threads : int
        Threads of this process that the solve has.
    run : str
        Token of the solve.

    Attributes
    ----------
    cycle : int
        The sweep that asks.
    records : list of Record
        One for each call.
    """

    def __init__(self, phi: Phi, threads: int, run: str, cycle: int = 1) -> None:
        self.phi, self.threads, self.run, self.cycle = phi, threads, run, cycle
        self.records: list[Record] = []
        self._ahead: _Calls | None = None
        # When the evaluations before were done, and whether the next one began by then.
        self._done, self._told = 0.0, False

    @property
    def begun(self) -> bool:
        """Whether slots of the next window have been evaluated ahead."""
        return self._ahead is not None

    def _calls(self, cycle: int, begins: np.ndarray, lengths: np.ndarray) -> _Calls | None:
        """Return evaluations of these slots on threads; None if one call in this one is quickest."""
        slots = len(begins)
        most = min(self.threads, slots)
        parts = habit_of(self.run).threads(slots, most) if most > 1 else 1
        return None if parts == 1 else _Calls(self.phi, cycle, _pool(self.threads), parts, begins, lengths)

    def begin(self, begins: np.ndarray, lengths: np.ndarray) -> bool:
        """Tell of the next window's slots; return whether their states are to be added one after another."""
        self._told = True
        self._ahead = self._calls(self.cycle + 1, begins, lengths)
        return self._ahead is not None

    def add(self, states: Array) -> None:
        """Add the states where the next slots begin."""
        assert self._ahead is not None
        self._ahead.add(states)

    def end(self) -> None:
        """Let the threads begin: they need Python's interpreter, which this one would hold for up to 5 ms."""
        time.sleep(PAUSE)

    def take(self, states: Array, begins: np.ndarray, lengths: np.ndarray) -> Iterator[RawEvaluation]:
        """Take the steps of each slot; parameters are those of :func:`daskmgrit.newton.evaluate.evaluate`.

        If the window has been evaluated ahead, its states have been added before.
        """
        # From one window to the next: what is evaluated ahead has no beginning of its own.
        since = self._done if self._told else time.perf_counter()
        self._told = False
        calls, self._ahead = self._ahead, None
        if calls is None:
            calls = self._calls(self.cycle, begins, lengths)
            if calls is not None:
                calls.add(states)
        count = 1 if calls is None else calls.count
        try:
            for number in range(count):
                if calls is None:
                    rows, record = _evaluate(self.phi, self.cycle, states, begins, lengths)
                else:
                    rows, record = calls.results[number].result()
                self.records.append(record)
                if number == count - 1:
                    self._done = time.perf_counter()
                    if min(self.threads, len(begins)) > 1:
                        habit_of(self.run).note(count, self._done - since, len(begins))
                yield rows
        finally:
            if calls is not None:
                calls.cancel()

    def close(self) -> None:
        """Give up what has been evaluated ahead."""
        if self._ahead is not None:
            self._ahead.cancel()
            self._ahead = None


class _Calls:
    """Evaluations on threads, each of a run of slots, begun as soon as the states of its slots are known."""

    def __init__(
        self, phi: Phi, cycle: int, pool: ThreadPoolExecutor, count: int, begins: np.ndarray, lengths: np.ndarray
    ) -> None:
        self.phi, self.cycle, self.pool, self.count = phi, cycle, pool, count
        self.begins, self.lengths = begins, lengths
        self._cuts = [number * len(begins) // count for number in range(count + 1)]
        self.results: list[Future[tuple[RawEvaluation, Record]]] = []
        self._rows: list[Array] = []
        self._first = 0

    def add(self, states: Array) -> None:
        """Add states, and begin the runs that are complete."""
        self._rows.append(states)
        known = self._first + sum(int(rows.shape[0]) for rows in self._rows)
        while len(self.results) < self.count and known >= self._cuts[len(self.results) + 1]:
            lo, hi = self._cuts[len(self.results) : len(self.results) + 2]
            rows = self._rows[0] if len(self._rows) == 1 else namespace(states).concat(self._rows, axis=0)
            cut = hi - self._first
            own, rest = rows[:cut, ...], rows[cut:, ...]
            self._rows, self._first = ([rest] if rest.shape[0] else []), hi
            # Phi finds the worker, as Dask's get_worker() does, in the context of its task.
            run = contextvars.copy_context().run
            call = self.pool.submit(run, _evaluate, self.phi, self.cycle, own, self.begins[lo:hi], self.lengths[lo:hi])
            self.results.append(call)

    def cancel(self) -> None:
        """Give up what has not begun yet."""
        for call in self.results:
            call.cancel()


def _evaluate(
    phi: Phi, cycle: int, states: Array, begins: np.ndarray, lengths: np.ndarray
) -> tuple[RawEvaluation, Record]:
    # A meter is for one thread.
    meter = Meter(phi, cycle)
    with meter.stage("window", 0, int(begins[0])):
        rows = evaluate(meter, states, begins, lengths)
    return rows, meter.records.pop()
