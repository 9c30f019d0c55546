"""Evaluation of a window's slots on the threads of one process, each as soon as its state is known."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from daskmgrit.graph.thread_habit import habit_of
from daskmgrit.newton.evaluate import RawEvaluation, evaluate
from daskmgrit.recurrence.meter import Meter, Record
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.utils.array_api import Array, namespace

__all__ = ["Done", "WindowThreads"]

# Is given the evaluations of successive runs of slots, with their records, when all are done; none if one fails.
Done = Callable[["list[tuple[RawEvaluation, Record]]"], None]

# Seconds in which threads begin that have just been given a slot.
PAUSE = 1e-4

_lock = threading.Lock()
# Idle pools, by their number of threads: a solve has one for itself, because several may run in one process.
_idle: dict[int, list[ThreadPoolExecutor]] = {}


def _borrow(threads: int) -> ThreadPoolExecutor:
    with _lock:
        pools = _idle.setdefault(threads, [])
        return pools.pop() if pools else ThreadPoolExecutor(threads, thread_name_prefix="daskmgrit-window")


def _give_back(threads: int, pool: ThreadPoolExecutor) -> None:
    with _lock:
        _idle[threads].append(pool)


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
    alone : bool, default False
        Whether states in host memory are evaluated one by one, with the bits of serial training.

    Attributes
    ----------
    cycle : int
        The sweep that asks.
    records : list of Record
        One for each call.
    """

    def __init__(self, phi: Phi, threads: int, run: str, alone: bool = False) -> None:
        self.phi, self.threads, self.run, self.alone, self.cycle = phi, threads, run, alone, 1
        self.records: list[Record] = []
        self._pool: ThreadPoolExecutor | None = None
        self._ahead: _Calls | None = None
        self._now: _Calls | None = None
        # When the evaluations before were done, and the number of runs of the next ones, if it is known by then.
        self._done, self._next = 0.0, 0

    def _runs(self, slots: int) -> int:
        """Return the number of runs for the next evaluation."""
        most = min(self.threads, slots)
        return habit_of(self.run).threads(slots, most) if most > 1 else 1

    def _calls(
        self, cycle: int, runs: int, begins: np.ndarray, lengths: np.ndarray, done: Done | None = None
    ) -> _Calls | None:
        """Return evaluations of these slots on threads; None for one call in this one."""
        if runs == 1 and done is None:
            return None
        self._pool = self._pool or _borrow(self.threads)
        return _Calls(self._evaluate, cycle, self._pool, runs, begins, lengths, done)

    def start(self, cycle: int, begins: np.ndarray, lengths: np.ndarray, done: Done | None = None) -> None:
        """Tell of slots that a sweep asks for; `done`, if given, is called in a thread when all are evaluated."""
        self._done = self._done or time.perf_counter()
        self._next = self._runs(len(begins))
        self._ahead = self._calls(cycle, self._next, begins, lengths, done)

    def begin(self, begins: np.ndarray, lengths: np.ndarray) -> bool:
        """Tell of the next window's slots; return whether their states are to be added one after another."""
        self.start(self.cycle + 1, begins, lengths)
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
        told, self._next = self._next, 0
        since = self._done if told else time.perf_counter()
        calls, self._ahead = self._ahead, None
        if calls is None:
            calls = self._calls(self.cycle, told or self._runs(len(begins)), begins, lengths)
            if calls is not None:
                calls.add(states)
        self._now = calls
        return self._results(calls, bool(told), since, states, begins, lengths)

    def _results(
        self,
        calls: _Calls | None,
        told: bool,
        since: float,
        states: Array,
        begins: np.ndarray,
        lengths: np.ndarray,
    ) -> Iterator[RawEvaluation]:
        count = 1 if calls is None else calls.count
        try:
            for number in range(count):
                if calls is None:
                    rows, record = self._evaluate(self.cycle, states, begins, lengths)
                else:
                    rows, record = calls.results[number].result()
                self.records.append(record)
                if number == count - 1:
                    self._done = time.perf_counter()
                    if told and min(self.threads, len(begins)) > 1:
                        habit_of(self.run).note(count, self._done - since, len(begins))
                yield rows
        finally:
            if calls is not None:
                calls.cancel()

    def _evaluate(
        self, cycle: int, states: Array, begins: np.ndarray, lengths: np.ndarray
    ) -> tuple[RawEvaluation, Record]:
        # A meter is for one thread.
        meter = Meter(self.phi, cycle, self.alone)
        with meter.stage("window", 0, int(begins[0])):
            rows = evaluate(meter, states, begins, lengths)
        return rows, meter.records.pop()

    def close(self) -> None:
        """Give up evaluations that are not used, and let others have the threads."""
        for calls in (self._now, self._ahead):
            if calls is not None:
                calls.cancel()
        self._now = self._ahead = None
        if self._pool is not None:
            _give_back(self.threads, self._pool)
            self._pool = None


class _Calls:
    """Evaluations on threads, each of a run of slots, begun as soon as the states of its slots are known."""

    def __init__(
        self,
        evaluate: Callable[[int, Array, np.ndarray, np.ndarray], tuple[RawEvaluation, Record]],
        cycle: int,
        pool: ThreadPoolExecutor,
        count: int,
        begins: np.ndarray,
        lengths: np.ndarray,
        done: Done | None = None,
    ) -> None:
        self.evaluate, self.cycle, self.pool, self.count = evaluate, cycle, pool, count
        self.begins, self.lengths, self.done = begins, lengths, done
        self._found: dict[int, tuple[RawEvaluation, Record]] = {}
        self._lock = threading.Lock()
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
            call = self.pool.submit(
                run, self._evaluate, len(self.results), own, self.begins[lo:hi], self.lengths[lo:hi]
            )
            self.results.append(call)

    def _evaluate(
        self, number: int, states: Array, begins: np.ndarray, lengths: np.ndarray
    ) -> tuple[RawEvaluation, Record]:
        try:
            found = self.evaluate(self.cycle, states, begins, lengths)
        except Exception:
            if self.done is not None:
                self.done([])
            raise
        if self.done is not None:
            with self._lock:
                self._found[number] = found
                last = len(self._found) == self.count
            if last:
                self.done([self._found[each] for each in range(self.count)])
        return found

    def cancel(self) -> None:
        """Give up what has not begun yet."""
        for call in self.results:
            call.cancel()
