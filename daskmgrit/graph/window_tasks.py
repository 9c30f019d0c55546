"""Functions of the tasks of a parallel Newton solve: sweeps over a window, by one process or by several.

Every process carries the same window. The evaluations of Phi are distributed: a round of tasks evaluates the next
request of the sweep, each task its share, and each task of the next round collects all shares. So a sweep is one link
of the chain for any number of processes, and each of them finds the same bits. If one process has the whole window, no
round ends before a second has passed: its task does many sweeps.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from daskmgrit.errors import Diverged
from daskmgrit.graph.window_threads import WindowThreads
from daskmgrit.newton.error_estimate import error_size
from daskmgrit.newton.evaluate import RawEvaluation, merged
from daskmgrit.newton.low_rank import Curvature
from daskmgrit.newton.settings import NewtonSettings
from daskmgrit.newton.sweep import SweepReport, sweep
from daskmgrit.newton.window import SlidingWindow, first_window
from daskmgrit.recurrence.meter import Meter, Record
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.utils.array_api import Array, Origin, as_block, nbytes, to_host

__all__ = [
    "Carrier",
    "Share",
    "Told",
    "accepted_rows",
    "answer",
    "collect",
    "final",
    "start",
    "sweeps",
    "take_round",
    "tell",
]


@dataclass(frozen=True, slots=True)
class Carrier:
    """The state of a solve, the same in every process.

    Attributes
    ----------
    window : SlidingWindow
        The current window.
    curvature : Curvature or None
        The curvature as known so far.
    sweeps : int
        Sweeps done.
    answers : tuple of tuple of RawEvaluation
        The evaluations that this sweep has requested so far, each by runs of slots.
    diverged : Diverged or None
        Why the solve ends here, if serial training diverges.
    """

    window: SlidingWindow
    curvature: Curvature | None = None
    sweeps: int = 0
    answers: tuple[tuple[RawEvaluation, ...], ...] = ()
    diverged: Diverged | None = None

    def over(self, steps: int) -> bool:
        """Whether nothing is left to do."""
        return self.diverged is not None or self.window.first >= steps


@dataclass(frozen=True, slots=True)
class Answer:
    """A process's share of the evaluations that a sweep requested, by runs of slots, and their records."""

    rows: tuple[RawEvaluation, ...]
    records: tuple[Record, ...]

    def __sizeof__(self) -> int:
        """Bytes held, so that Dask estimates transfers correctly."""
        return 200 + sum(rows.nbytes for rows in self.rows)


@dataclass(frozen=True, slots=True)
class Share:
    """The result of a task of a round.

    Attributes
    ----------
    carrier : Carrier
        Where the solve stands.
    own : Answer
        Its share of the sweep's next request.
    reports : tuple of SweepReport
        The reports on the sweeps that ended in this task.
    accepted : tuple of Array, shape (a, s) each
        States that these accepted, if they are kept.
    records : tuple of Record
        Records of the work of all processes.
    """

    carrier: Carrier
    own: Answer
    reports: tuple[SweepReport, ...] = ()
    accepted: tuple[Array, ...] = ()
    records: tuple[Record, ...] = ()

    def __sizeof__(self) -> int:
        """Bytes held."""
        held = sum(map(nbytes, [self.carrier.window.states, *self.accepted]))
        held += sum(rows.nbytes for answer in self.carrier.answers for rows in answer)
        return 200 + self.own.__sizeof__() + held


@dataclass(frozen=True, slots=True)
class Told:
    """The report of a round to the client.

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
    diverged : Diverged or None
        Where serial training diverges.
    """

    reports: tuple[SweepReport, ...]
    records: tuple[Record, ...]
    first: int
    spent: float
    error: float
    over: bool
    diverged: Diverged | None


class _Missing(Exception):
    """The request of a sweep has not been evaluated yet."""

    def __init__(self, states: Array, begins: np.ndarray, lengths: np.ndarray) -> None:
        self.states, self.begins, self.lengths = states, begins, lengths


def start(phi: Phi, w0: Array | Origin, settings: NewtonSettings) -> Carrier:
    """Return the state at which a solve begins: a window of guesses, all of them the initial state."""
    state = as_block(phi, w0)[None, ...]
    return Carrier(first_window(state, settings.size.first, settings.steps, settings.interval))


def sweeps(
    phi: Phi, settings: NewtonSettings, before: Carrier | Share, threads: int, run: str, seconds: float, keep: bool
) -> Share:
    """Sweep until `seconds` have passed, all in this process; at least once, unless nothing is left to do.

    Parameters
    ----------
    phi : callable
        The propagator.
    settings : NewtonSettings
        The method.
    before : Carrier or Share
        Where the solve stands.
    threads : int
        Threads to evaluate slots on.
    run : str
        Token of the solve.
    seconds : float
        Time after which no further sweep begins, except for one that has been begun ahead.
    keep : bool
        Whether accepted states are kept.
    """
    carrier = before.carrier if isinstance(before, Share) else before
    end = time.perf_counter() + seconds
    reports: list[SweepReport] = []
    accepted: list[Array] = []
    workers = WindowThreads(phi, threads, run, overlap=True)
    try:
        while not carrier.over(settings.steps):
            workers.cycle = carrier.sweeps + 1
            # What is evaluated ahead must be used by this task, too.
            ends_before = time.perf_counter() + workers.expected(carrier.window.slots) < end
            ahead = workers if ends_before else None
            try:
                done = sweep(
                    Meter(phi, workers.cycle), carrier.window, settings, carrier.curvature, workers.take, ahead
                )
            except Diverged as error:
                carrier = replace(carrier, diverged=Diverged(*error.args))
                break
            carrier = Carrier(done.window, done.curvature, carrier.sweeps + 1)
            reports.append(done.report)
            if keep:
                accepted.append(done.accepted)
            if time.perf_counter() >= end and not workers.begun:
                break
    finally:
        workers.close()
    return Share(carrier, Answer((), ()), tuple(reports), tuple(accepted), tuple(workers.records))


def take_round(
    phi: Phi,
    settings: NewtonSettings,
    before: Carrier | Share,
    answers: Sequence[Answer | Share],
    number: int,
    threads: Sequence[int],
    run: str,
    keep: bool,
) -> Share:
    """Collect the evaluations of all processes, continue until the sweep's next request, and evaluate a share of it.

    Parameters
    ----------
    phi, settings, run, keep
        As in :func:`sweeps`.
    before : Carrier or Share
        Where the solve stands.
    answers : sequence of Answer or Share
        The evaluations of each process in the last round.
    number : int
        Number of this process.
    threads : sequence of int
        Threads of each process: shares are in proportion.
    """
    carrier = before.carrier if isinstance(before, Share) else before
    given = [each.own if isinstance(each, Share) else each for each in answers]
    records = tuple(record for each in given for record in each.records) if number == 0 else ()
    parts = tuple(rows for each in given for rows in each.rows)
    if parts:
        carrier = replace(carrier, answers=(*carrier.answers, parts))
    reports: list[SweepReport] = []
    accepted: list[Array] = []
    while not carrier.over(settings.steps):
        meter, known = Meter(phi, carrier.sweeps + 1), iter(carrier.answers)

        def take(states: Array, begins: np.ndarray, lengths: np.ndarray) -> tuple[RawEvaluation, ...]:
            rows = next(known, None)  # noqa: B023 - called here
            if rows is None:
                raise _Missing(states, begins, lengths)
            return rows

        try:
            done = sweep(meter, carrier.window, settings, carrier.curvature, take)
        except Diverged as error:
            carrier = replace(carrier, answers=(), diverged=Diverged(*error.args))
            break
        except _Missing as asked:
            own = _own_share(phi, asked, carrier.sweeps + 1, number, threads, run)
            return Share(carrier, own, tuple(reports), tuple(accepted), records)
        carrier = Carrier(done.window, done.curvature, carrier.sweeps + 1)
        reports.append(done.report)
        if keep and number == 0:
            accepted.append(done.accepted)
    return Share(carrier, Answer((), ()), tuple(reports), tuple(accepted), records)


def _own_share(phi: Phi, asked: _Missing, cycle: int, number: int, threads: Sequence[int], run: str) -> Answer:
    count, total = len(asked.begins), sum(threads)
    before = sum(threads[:number])
    # Rounded up, so that the first process has most where there are too few.
    lo, hi = -(-before * count // total), -(-(before + threads[number]) * count // total)
    if lo == hi:
        return Answer((), ())
    rows = slice(lo, hi)
    workers = WindowThreads(phi, threads[number], run, cycle)
    try:
        made = merged(workers.take(asked.states[rows, ...], asked.begins[rows], asked.lengths[rows]))
    finally:
        workers.close()
    return Answer(tuple(made), tuple(workers.records))


def answer(share: Share) -> Answer:
    """Cut out the data that other processes need, because a large window should not travel."""
    return share.own


def collect(settings: NewtonSettings, before: Share, answers: Sequence[Answer | Share]) -> Carrier:
    """Return the state of a solve after the answers of a round; all later tasks depend on it."""
    given = [each.own if isinstance(each, Share) else each for each in answers]
    parts = tuple(rows for each in given for rows in each.rows)
    carrier = before.carrier
    return replace(carrier, answers=(*carrier.answers, parts)) if parts else carrier


def tell(settings: NewtonSettings, share: Share) -> Told:
    """Return the report of a round for the client."""
    carrier, window = share.carrier, share.carrier.window
    over = carrier.over(settings.steps)
    error = error_size(window.growth)
    return Told(share.reports, share.records, window.first, window.spent, error, over, carrier.diverged)


def final(state: Carrier | Share) -> np.ndarray:
    """Return the last accepted state, shape (s,), in host memory."""
    carrier = state.carrier if isinstance(state, Share) else state
    return to_host(carrier.window.states[0, ...]).copy()


def accepted_rows(share: Share, first: Array | Origin | None, like: np.ndarray) -> np.ndarray:
    """Return the states that a round accepted, in host memory; before them `first`, the initial state, if given."""
    rows = [to_host(each) for each in share.accepted]
    if first is not None:
        rows.insert(0, (first.host if isinstance(first, Origin) else to_host(first))[None])
    return np.concatenate(rows) if rows else np.empty((0, like.size), like.dtype)
