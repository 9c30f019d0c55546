"""Functions of the tasks of a parallel Newton solve: sweeps over a window that this process has for itself.

A task does a number of sweeps that is fixed when it is submitted: so it gives the same where the scheduler has it done
again. :mod:`daskmgrit.graph.window_rounds` has the tasks of several processes, each of which holds the same window.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np

from daskmgrit.errors import Diverged
from daskmgrit.graph.exchange import exchange_here
from daskmgrit.graph.window_threads import WindowThreads
from daskmgrit.newton.error_estimate import error_size
from daskmgrit.newton.evaluate import RawEvaluation
from daskmgrit.newton.low_rank import Curvature
from daskmgrit.newton.settings import NewtonSettings
from daskmgrit.newton.sweep import Ahead, SweepReport, Swept, sweep
from daskmgrit.newton.window import SlidingWindow, first_window
from daskmgrit.recurrence.meter import Meter, Record
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.utils.array_api import Array, Origin, as_block, nbytes, to_host

__all__ = [
    "LATE",
    "NO_FAILURES",
    "UNLIKE",
    "Apart",
    "Carrier",
    "Failures",
    "Share",
    "Sweeping",
    "Told",
    "accepted_rows",
    "begin",
    "carrier_of",
    "final",
    "start",
    "sweeps",
    "tell",
]


# Bytes of a state from which on it is fetched by itself.
LARGE = 1 << 20


@dataclass(frozen=True, slots=True)
class Carrier:
    """The state of a solve between two sweeps.

    Attributes
    ----------
    window : SlidingWindow
        The current window.
    curvature : Curvature or None
        The curvature as known so far.
    sweeps : int
        Sweeps done.
    diverged : Diverged or None
        Why the solve ends here, if serial training diverges.
    address : str
        The worker whose task is asked first by those of others, where several processes take part.
    """

    window: SlidingWindow
    curvature: Curvature | None = None
    sweeps: int = 0
    diverged: Diverged | None = None
    address: str = ""

    def over(self, steps: int) -> bool:
        """Whether nothing is left to do."""
        return self.diverged is not None or self.window.first >= steps


# Why a process was done without: it rounds otherwise, or it takes much longer.
UNLIKE, LATE = "unlike", "late"


class Apart(NamedTuple):
    """A worker that a round was done without, and why."""

    address: str
    why: str


class Failures(NamedTuple):
    """The guesses for which Phi raised an error: their number, the first error in words, and its step."""

    guesses: int = 0
    error: str = ""
    step: int = 0

    def and_then(self, later: Failures) -> Failures:
        """Return these and later ones."""
        first = self if self.guesses else later
        return first._replace(guesses=self.guesses + later.guesses)


NO_FAILURES = Failures()


def failures_of(errors: dict[int, Exception]) -> Failures:
    """Return the failures of a sweep, by the step that each guess begins with."""
    if not errors:
        return NO_FAILURES
    step = min(errors)
    return Failures(len(errors), f"{type(errors[step]).__name__}: {errors[step]}", step)


@dataclass(frozen=True, slots=True)
class Share:
    """The result of a task that sweeps.

    Attributes
    ----------
    carrier : Carrier
        Where the solve stands.
    reports : tuple of SweepReport
        The reports on its sweeps.
    accepted : tuple of Array, shape (a, s) each
        States that these accepted, if they are kept.
    records : tuple of Record
        Records of the work of all processes.
    seconds : float
        The time of its last sweep.
    others : tuple of int
        Numbers of the processes that took part to its end, without the first.
    apart : tuple of Apart
        Workers that it was done without.
    failures : Failures
        The guesses for which Phi raised an error.
    """

    carrier: Carrier
    reports: tuple[SweepReport, ...] = ()
    accepted: tuple[Array, ...] = ()
    records: tuple[Record, ...] = ()
    seconds: float = 0.0
    others: tuple[int, ...] = ()
    apart: tuple[Apart, ...] = ()
    failures: Failures = NO_FAILURES

    def __sizeof__(self) -> int:
        """Bytes held, so that Dask estimates transfers correctly."""
        return 200 + sum(map(nbytes, [self.carrier.window.states, *self.accepted]))


@dataclass(frozen=True, slots=True)
class Told:
    """The report of a round to the client, and to processes that take part in the next one.

    Attributes
    ----------
    reports : tuple of SweepReport
        The reports on the sweeps that ended in it.
    records : tuple of Record
        Records of the work.
    first : int
        p, the steps that are accepted by now.
    spent : float
        Sum of their squared residuals, in the units of :func:`~daskmgrit.newton.acceptance.unit_of`.
    error : float
        Estimate of the 2-norm of the error of state p.
    over : bool
        Whether nothing is left to do.
    seconds : float
        The time of its last sweep.
    diverged : Diverged or None
        Where serial training diverges.
    address : str
        The worker that did it.
    apart : tuple of Apart
        Workers that it was done without.
    others : int
        How many processes took part to its end, without the first.
    failures : Failures
        The guesses for which Phi raised an error.
    final : ndarray, shape (s,), or None
        The last accepted state, if nothing is left to do and it is not large: to fetch it takes as long as a sweep.
    """

    reports: tuple[SweepReport, ...]
    records: tuple[Record, ...]
    first: int
    spent: float
    error: float
    over: bool
    seconds: float
    diverged: Diverged | None
    address: str
    apart: tuple[Apart, ...] = ()
    others: int = 0
    failures: Failures = NO_FAILURES
    final: np.ndarray | None = None


class Evaluator(Ahead, Protocol):
    """Evaluates slots, also of the next window, for the sweep with number `cycle`."""

    cycle: int

    def take(self, states: Array, begins: np.ndarray, lengths: np.ndarray) -> Iterator[RawEvaluation]:
        """Take the steps of each slot."""


def start(phi: Phi, w0: Array | Origin, settings: NewtonSettings, together: bool = False) -> Carrier:
    """Return the state at which a solve begins: a window of guesses, all of them the initial state."""
    state = as_block(phi, w0)[None, ...]
    carrier = Carrier(first_window(state, settings.size.first, settings.steps, settings.interval))
    return begin(carrier) if together else carrier


def begin(carrier: Carrier) -> Carrier:
    """Return a state at which several processes begin, the first of them on this worker."""
    return replace(carrier, address=exchange_here().address)


def carrier_of(before: Carrier | Share) -> Carrier:
    """Return where a solve stands."""
    return before.carrier if isinstance(before, Share) else before


class Sweeping:
    """The sweeps of one task.

    Parameters
    ----------
    phi : callable
        The propagator.
    settings : NewtonSettings
        The method.
    before : Carrier or Share
        Where the solve stands.
    count : int
        Sweeps to do.
    keep : bool
        Whether accepted states are kept.
    reports : bool
        Whether the sweeps are reported on; another process does that otherwise.
    """

    def __init__(
        self,
        phi: Phi,
        settings: NewtonSettings,
        before: Carrier | Share,
        count: int,
        keep: bool,
        reports: bool = True,
    ) -> None:
        self.phi, self.settings, self.keep, self.tells = phi, settings, keep, reports
        self.carrier, self.left = carrier_of(before), count
        self.seconds = before.seconds if isinstance(before, Share) else 0.0
        self.reports: list[SweepReport] = []
        self.accepted: list[Array] = []
        self.failures = NO_FAILURES

    @property
    def over(self) -> bool:
        """Whether no sweep is left."""
        return not self.left or self.carrier.over(self.settings.steps)

    def go_on(self, workers: Evaluator) -> None:
        """Do the sweeps that are left; if evaluating fails, those before are done."""
        while not self.over:
            carrier, began = self.carrier, time.perf_counter()
            workers.cycle = carrier.sweeps + 1
            # What is evaluated ahead must be used by this task, too.
            ahead = workers if self.left > 1 else None
            meter = Meter(self.phi, workers.cycle)
            try:
                done = sweep(meter, carrier.window, self.settings, carrier.curvature, workers.take, ahead)
            except Diverged as error:
                self.carrier = replace(carrier, diverged=Diverged(*error.args))
                return
            window = self._told(done.report()) if self.tells else done.window
            self.carrier = replace(carrier, window=window, curvature=done.curvature, sweeps=carrier.sweeps + 1)
            self.left -= 1
            self.seconds = time.perf_counter() - began

    def _told(self, swept: Swept) -> SlidingWindow:
        """Keep what a sweep reports; return its window, with the growth of errors."""
        self.reports.append(swept.report)
        self.failures = self.failures.and_then(failures_of(swept.errors))
        if self.keep:
            self.accepted.append(swept.accepted)
        return swept.window

    def share(self, records: list[Record], others: tuple[int, ...] = (), address: str = "") -> Share:
        """Return the result of the task."""
        carrier = replace(self.carrier, address=address)
        reports, accepted = tuple(self.reports), tuple(self.accepted)
        return Share(carrier, reports, accepted, tuple(records), self.seconds, others, failures=self.failures)


def sweeps(
    phi: Phi, settings: NewtonSettings, before: Carrier | Share, count: int, threads: int, run: str, keep: bool
) -> Share:
    """Sweep a number of times, all in this process, unless nothing is left to do.

    Parameters
    ----------
    phi : callable
        The propagator.
    settings : NewtonSettings
        The method.
    before : Carrier or Share
        Where the solve stands.
    count : int
        Sweeps to do.
    threads : int
        Threads to evaluate slots on.
    run : str
        Token of the solve.
    keep : bool
        Whether accepted states are kept.
    """
    work = Sweeping(phi, settings, before, count, keep)
    workers = WindowThreads(phi, threads, run, alone=settings.exactly)
    try:
        work.go_on(workers)
    finally:
        workers.close()
    return work.share(workers.records)


def tell(settings: NewtonSettings, share: Share) -> Told:
    """Return the report of a round."""
    carrier, window = share.carrier, share.carrier.window
    over, error = carrier.over(settings.steps), error_size(window.growth)
    return Told(
        share.reports,
        share.records,
        window.first,
        window.spent,
        error,
        over,
        share.seconds,
        carrier.diverged,
        carrier.address,
        share.apart,
        len(share.others),
        share.failures,
        final(share) if over and nbytes(window.states[0, ...]) < LARGE else None,
    )


def final(state: Carrier | Share) -> np.ndarray:
    """Return the last accepted state, shape (s,), in host memory."""
    return to_host(carrier_of(state).window.states[0, ...]).copy()


def accepted_rows(share: Share, first: Array | Origin | None, like: np.ndarray) -> np.ndarray:
    """Return the states that a round accepted, in host memory; before them `first`, the initial state, if given."""
    rows = [to_host(each) for each in share.accepted]
    if first is not None:
        rows.insert(0, (first.host if isinstance(first, Origin) else to_host(first))[None])
    return np.concatenate(rows) if rows else np.empty((0, like.size), like.dtype)
