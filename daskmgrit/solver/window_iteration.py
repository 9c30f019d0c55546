"""The iteration of parallel Newton: submit rounds ahead, read the accepted steps, stop."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from dask.delayed import Delayed

from daskmgrit.checkpoint.window_saver import WindowSaver
from daskmgrit.errors import Diverged, name_step
from daskmgrit.executors.executor import Executor
from daskmgrit.graph.submission import TaskBook
from daskmgrit.graph.window_builder import WindowBuilder
from daskmgrit.graph.window_tasks import NO_FAILURES, Apart, Carrier, Failures, Told
from daskmgrit.newton.acceptance import unit_of
from daskmgrit.newton.settings import NewtonSettings
from daskmgrit.newton.sweep import SweepReport
from daskmgrit.recurrence.meter import Record
from daskmgrit.solver.stopping import STOPPED
from daskmgrit.solver.sweep_advice import on_failures

__all__ = ["AfterRound", "WindowEnd", "WindowIteration"]

logger = logging.getLogger("daskmgrit")

# Called after each round with what it told and a function that fetches the last accepted state; returns the reason to
# stop the solve, or nothing.
AfterRound = Callable[[Told, Callable[[], np.ndarray]], str]

# Rounds that are submitted before the first of them is known; and seconds that each of them takes, if it has several
# sweeps.
AHEAD, ROUND_SECONDS = 3, 2.0
# A round has at most this many times the sweeps of one that is known.
MORE = 32
# Rounds after which the state is fetched and sent again, so that a lost worker costs no more than these.
LINEAGE = 16
# A window that is larger is not sent through the client.
LARGEST_SENT = 1 << 24


@dataclass(slots=True)
class WindowEnd:
    """The end of an iteration.

    Attributes
    ----------
    final : ndarray, shape (s,)
        The last accepted state.
    first : int
        The step of that state.
    residual : float
        2-norm of the residual over the accepted steps.
    error : float
        Estimate of the 2-norm of its error.
    reason, message : str
        Reason of the end, as in :class:`daskmgrit.Result`.
    """

    final: np.ndarray
    first: int
    residual: float
    error: float
    reason: str
    message: str


@dataclass(slots=True)
class _Round:
    """A round that was submitted."""

    state: list[Delayed]
    told: Delayed
    accepted: Delayed | None
    count: int
    # The reasons to stop after it are known only then; this one is the last before the state is fetched.
    last: bool = False


@dataclass
class WindowIteration:
    """One solve on one executor.

    Attributes
    ----------
    settings : NewtonSettings
        The method.
    phi, w0 : Delayed
        Stand-ins for the propagator and the initial value.
    like : ndarray, shape (s,)
        The initial value in host memory.
    executor : Executor
        Where the graphs run.
    run : str
        Token that sets this solve's keys apart.
    keep : bool
        Whether all accepted states are kept.
    begin : Carrier or None
        The state to begin from, if it is not the initial value.
    saver : WindowSaver or None
        Saves the solve's checkpoints.
    reports : list of SweepReport
        Reports on all known sweeps.
    records : list of Record
        Records of these sweeps.
    pieces : list of (Delayed, int)
        Accepted states, with the number of rows of each.
    tasks : int
        Tasks submitted.
    threads : tuple of int
        Threads of each process that takes part.
    sweep_seconds : list of float
        Seconds of each sweep; those of one task take equal parts of it.
    apart : Counter of Apart
        Workers that rounds were done without, and in how many rounds.
    missing : int
        Processes that did not take part in the last round.
    failures : Failures
        The guesses for which Phi raised an error.
    """

    settings: NewtonSettings
    phi: Delayed
    w0: Delayed
    like: np.ndarray
    executor: Executor
    run: str
    keep: bool = False
    begin: Carrier | None = None
    saver: WindowSaver | None = None
    reports: list[SweepReport] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    pieces: list[tuple[Delayed, int]] = field(default_factory=list)
    tasks: int = 0
    began: float = 0.0
    threads: tuple[int, ...] = ()
    sweep_seconds: list[float] = field(default_factory=list)
    apart: Counter[Apart] = field(default_factory=Counter)
    missing: int = 0
    failures: Failures = NO_FAILURES

    def __post_init__(self) -> None:
        most = self.settings.size.most or self.settings.steps
        # A process that would never have a slot to evaluate is left out.
        threads = self.executor.threads[: max(1, min(len(self.executor.threads), most))]
        self.threads = tuple(threads)
        self._numbers = itertools.count()
        self._settings = self.executor.put(self.settings, f"settings-{self.run}")
        self._rounds: deque[_Round] = deque()
        self._since_sent = self._submitted = 0

    def _builder(self) -> WindowBuilder:
        book = TaskBook(self.executor.workers)
        return WindowBuilder(
            book,
            self._settings,
            self.phi,
            self.w0,
            self.threads,
            self.run,
            self._numbers,
            self.keep,
            self.executor.patience,
        )

    @property
    def _window_bytes(self) -> int:
        bytes_ = self.like.nbytes * (min(self.settings.size.most or sum(self.threads), self.settings.steps) + 1)
        # The Jacobian of each slot is with it.
        return bytes_ * (self.like.size + 1) if self.settings.jacobian == "full" else bytes_

    def _submit(self, builder: WindowBuilder, wanted: list[Delayed]) -> list[Delayed]:
        self.tasks += builder.book.tasks
        return self.executor.submit(builder.book, wanted)

    def solve(self, after: AfterRound) -> WindowEnd:
        """Sweep until all steps are accepted, or `after` stops the solve."""
        self.began = clock = time.perf_counter()
        state, head = self._begin()
        # How long a sweep takes is not known before the first, and may change.
        ahead, count = 1, 1
        try:
            while True:
                while len(self._rounds) < ahead and not self._pausing:
                    self._rounds.append(self._submit_round(state, head, count))
                    state, head = self._rounds[-1].state, self._rounds[-1].told
                current = self._rounds.popleft()
                told = self._hear(current, clock)
                clock = time.perf_counter()
                stop = after(told, partial(self._final, current.state[0]))
                if told.over or stop:
                    if self.saver is not None and told.diverged is None:
                        self.saver.save(self._fetch(current.state), self.reports)
                    return self._ended(current.state[0], told, stop)
                if current.last:
                    state, head = self._send_anew(current.state)
                ahead = AHEAD if self.executor.ahead else 1
                count = max(1, min(int(ROUND_SECONDS / max(told.seconds, 1e-6)), MORE * len(told.reports)))
        finally:
            self._rounds.clear()

    @property
    def _pausing(self) -> bool:
        return bool(self._rounds) and self._rounds[-1].last

    def _begin(self) -> tuple[list[Delayed], Delayed]:
        if self.begin is not None:
            return self._from(self.begin)
        builder = self._builder()
        (state,) = self._submit(builder, [builder.start()])
        return [state] * len(self.threads), state

    def _from(self, carrier: Carrier) -> tuple[list[Delayed], Delayed]:
        builder = self._builder()
        put = self.executor.put(carrier, f"begin-{self.run}-{next(self._numbers)}")
        state = builder.begin(put)
        if builder.book.tasks:
            (state,) = self._submit(builder, [state])
        return [state] * len(self.threads), state

    def _submit_round(self, state: list[Delayed], head: Delayed, count: int) -> _Round:
        builder = self._builder()
        shares = builder.round(state, head, count)
        wanted = [*shares, builder.tell(shares)]
        if self.keep:
            wanted.append(builder.accepted(shares, self.begin is None and not self._submitted, self.like))
        handles = self._submit(builder, wanted)
        self._since_sent += 1
        self._submitted += 1
        accepted = handles[len(shares) + 1] if self.keep else None
        long = self.executor.ahead and self._since_sent >= LINEAGE and self._window_bytes <= LARGEST_SENT
        planned = len(self.reports) + sum(each.count for each in self._rounds) + count
        due = self.saver is not None and self.saver.due(planned)
        return _Round(handles[: len(shares)], handles[len(shares)], accepted, count, long or due)

    def _send_anew(self, state: list[Delayed]) -> tuple[list[Delayed], Delayed]:
        """Fetch the state of the solve and send it again, so that the scheduler may forget the tasks that made it."""
        carrier = self._fetch(state)
        if self.saver is not None and self.saver.due(carrier.sweeps):
            self.saver.save(carrier, self.reports)
        self._since_sent = 0
        return self._from(carrier)

    def _fetch(self, state: list[Delayed]) -> Carrier:
        builder = self._builder()
        (handle,) = self._submit(builder, [builder.collect(state)])
        carrier: Carrier = self.executor.fetch(handle, "the window")
        return carrier

    def _hear(self, current: _Round, clock: float) -> Told:
        # The next round of several processes depends on it, and may not be submitted yet.
        done, together = len(self.reports), len(self.threads) > 1
        what = f"sweep {done + 1}" if current.count == 1 else f"sweeps {done + 1} to {done + current.count}"
        usual = current.count * self.sweep_seconds[-1] if self.sweep_seconds else math.inf
        told = self.executor.fetch(current.told, what, again=together, usual=usual)
        if isinstance(told, Diverged):
            raise told
        self.reports += told.reports
        self.records += told.records
        self.apart.update(told.apart)
        self.missing = len(self.threads) - 1 - told.others
        if told.failures.guesses and not self.failures.guesses:
            logger.warning("%s", on_failures(told.failures))
        self.failures = self.failures.and_then(told.failures)
        if told.reports:
            self.sweep_seconds += [(time.perf_counter() - clock) / len(told.reports)] * len(told.reports)
        if current.accepted is not None:
            rows = sum(report.accepted for report in told.reports) + (not self.pieces)
            self.pieces.append((current.accepted, rows))
        return told

    def _final(self, share: Delayed) -> np.ndarray:
        builder = self._builder()
        (handle,) = self._submit(builder, [builder.final(share)])
        return np.array(self.executor.fetch(handle, "the final weights"))

    def _ended(self, share: Delayed, told: Told, stop: str) -> WindowEnd:
        self._rounds.clear()
        residual = math.ldexp(math.sqrt(told.spent), unit_of(self.settings.tol))
        final = self._final(share) if told.final is None else np.array(told.final)
        if told.diverged is not None:
            found = told.diverged
            where = name_step(found.step, found.before)
            message = f"phi returned nan or inf at {where}, during sweep {found.cycle}"
            return WindowEnd(final, told.first, residual, told.error, "diverged", message)
        if told.first >= self.settings.steps:
            return WindowEnd(final, told.first, residual, told.error, "tol", "")
        message = f"{STOPPED[stop]}, after {told.first} of {self.settings.steps} steps"
        return WindowEnd(final, told.first, residual, told.error, stop, message)
