"""The examination of a user's Phi after a solve that failed: which level's steps amplify errors, if any do."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from dask.delayed import Delayed

from daskmgrit.executors.executor import Executor
from daskmgrit.graph.submission import TaskBook
from daskmgrit.models.rates import CappedRate, takes_fine_steps
from daskmgrit.multigrid.state_transfer import start_of
from daskmgrit.recurrence.amplification import Amplification, PairRun, run_of, same_steps
from daskmgrit.recurrence.propagator import apply_phi, stages_of, steps_before
from daskmgrit.recurrence.step_length import length_of
from daskmgrit.utils.array_api import Array, Origin, as_block, to_host

__all__ = ["FEWEST", "examine", "examine_end", "examine_last", "examine_levels", "phi_allowed"]

logger = logging.getLogger("daskmgrit")

# Steps of level 0, at least and at most, and of a coarse level: fewer tell too little.
FEWEST, MOST, COARSE = 32, 256, 16
# The part of the solve's seconds that an examination may take, and the seconds that it may always take.
PART, SECONDS = 0.1, 1.0


def examine(
    executor: Executor, stub: Delayed, w0: Delayed, run: str, levels: Sequence[int], allowed: int, seconds: float
) -> Amplification | None:
    """Return the finest level whose steps amplify errors; None if none is found.

    It is a task that counts in no number of the result.

    Parameters
    ----------
    executor : Executor
        Where the solve ran.
    stub, w0 : Delayed
        Stand-ins for the propagator and the initial state.
    run : str
        Token that sets this solve's keys apart.
    levels : sequence of int
        Number of steps of each level to examine.
    allowed : int
        Maximum number of Phi in a row; nothing is done if it is too small.
    seconds : float
        Time that the solve took: the examination takes a tenth of it at most, or a second.
    """
    if allowed < FEWEST or levels[0] < COARSE:
        return None
    return _examine(executor, f"examination-{run}", examine_levels, stub, w0, list(levels), allowed, seconds)


def examine_end(
    executor: Executor, stub: Delayed, final: Delayed, run: str, steps: int, allowed: int, seconds: float
) -> Amplification | None:
    """Return the amplification by the last steps, if they amplify errors, as a late divergence does.

    Parameters
    ----------
    executor, stub, run, allowed, seconds
        As of :func:`examine`.
    final : Delayed
        Stand-in for the final state.
    steps : int
        N.
    """
    if allowed < FEWEST or steps < FEWEST:
        return None
    return _examine(executor, f"examination-end-{run}", examine_last, stub, final, steps, allowed, seconds)


def _examine(executor: Executor, name: str, function: Callable[..., Any], *args: Any) -> Amplification | None:
    """Run an examination as a task; the last argument are the seconds that the solve took."""
    book = TaskBook(executor.workers)
    task = book.add(name, function, *args[:-1], max(SECONDS, PART * args[-1]), owner=0)
    (handle,) = executor.submit(book, [task])
    found: Amplification | None = executor.fetch(handle, "the examination of phi")
    return found


def phi_allowed(path: int, levels: int, diverged: bool) -> int:
    """Return how many Phi in a row the examination of all levels may take after a solve with this critical path.

    A fifth of it, or a few steps of level 0 if half of it allows them; and after a divergence, which may end a solve in
    its first cycle, what the examination can use.
    """
    return max(path // 5, min(path // 2, FEWEST), MOST + COARSE * (levels - 1) if diverged else 0)


def examine_levels(
    phi: Any, w0: Array | Origin, levels: Sequence[int], allowed: int, seconds: float = math.inf
) -> Amplification | None:
    """Take some steps of each level, from the finest on, until one amplifies errors or has another defect.

    Parameters
    ----------
    phi : callable
        The propagator.
    w0 : ndarray or Origin
        The initial state.
    levels : sequence of int
        Number of steps of each level.
    allowed : int
        Maximum number of Phi in a row.
    seconds : float
        Time after which nothing more is tried.
    """
    found = _examined(phi, w0, levels, allowed, time.perf_counter() + seconds)
    return None if found is None else replace(found, before=steps_before(phi, found.level))


def _examined(phi: Any, w0: Array | Origin, levels: Sequence[int], allowed: int, ends: float) -> Amplification | None:
    count = min(levels[0], MOST, max(FEWEST, allowed - COARSE * (len(levels) - 1)))
    serial = _run(phi, w0, 0, count, None, ends)
    if serial is None or (found := serial.found()) is not None:
        return None if serial is None else found
    for level, steps in enumerate(levels[1:], 1):
        allowed -= count
        count = min(steps, COARSE) * stages_of(phi, level)
        if allowed < count or steps < COARSE // 2:
            break
        # Coarse steps are compared with fine ones of the same numbers, and so of the same learning rates.
        last = max(0, len(serial.logs) * steps // levels[0] - 1)
        run = _run(phi, w0, level, min(steps, COARSE), last, ends)
        if run is None:
            break
        if run.cause == "noise":
            return Amplification(level, 1, run.total, first=len(run.logs), cause=run.cause)
        if run.is_beyond(serial, levels[0] / steps):
            cap, rate = _limits(phi, level)
            return Amplification(level, len(run.logs) + (not run.finite), run.total, cap, rate, cause=run.cause)
    return Amplification(1, 1, 1.0, cause="short") if len(levels) > 1 and _is_a_fine_step(phi, w0) else None


def _is_a_fine_step(phi: Any, w0: Array | Origin) -> bool:
    """Whether the first step of level 1 is that of level 0, and phi does not tell that it is."""
    if start_of(phi, 1) is not None or takes_fine_steps(phi):
        return False
    state = as_block(phi, w0)[None, ...]
    fine, coarse = (to_host(apply_phi(phi, state, np.zeros(1, int), level)) for level in (0, 1))
    return same_steps(to_host(state), fine, coarse)


def examine_last(
    phi: Any, final: Array | Origin, steps: int, allowed: int, seconds: float = math.inf
) -> Amplification | None:
    """Take the last steps again, from the final state on, and see whether they amplify errors by oscillation.

    Parameters
    ----------
    phi : callable
        The propagator.
    final : ndarray or Origin
        The final state.
    steps : int
        N.
    allowed : int
        Maximum number of Phi in a row.
    seconds : float
        Time after which nothing more is tried.
    """
    count = min(steps, MOST, allowed)
    ends = time.perf_counter() + seconds
    run = _tried(phi, as_block(phi, final), 0, count, None, ends, steps - count)
    found = None if run is None else run.found_at_the_end(steps)
    return None if found is None else replace(found, before=steps_before(phi, 0))


def _run(phi: Any, w0: Array | Origin, level: int, steps: int, last: int | None, ends: float) -> PairRun | None:
    """Return a run of steps of a level; None if it tells too little."""
    start = start_of(phi, level)
    return _tried(phi, as_block(phi, w0) if start is None else start[0, ...], level, steps, last, ends, 0)


def _tried(phi: Any, start: Array, level: int, steps: int, last: int | None, ends: float, begin: int) -> PairRun | None:
    try:
        run = run_of(phi, start, level, steps, last, ends, begin)
    except Exception as error:  # such as a library's, of a state that is too large
        logger.debug("the examination of level %s ended with %r", level, error)
        return None
    return None if len(run.logs) < COARSE // 2 and run.finite else run


def _limits(phi: Any, level: int) -> tuple[int | None, float | None]:
    """Return the steps and the learning rate of the level before, if a limit to them shortens the steps of this one."""
    if not level:
        return None, None
    length, rule = length_of(phi), getattr(phi, "rate", None)
    if length is not None:
        taken = length.taken(level)
        # Under a cap they are as long as those of the level before: a lower one shortens both.
        return (length.taken(level - 1) if taken > length.taken(level - 1) else max(1, taken // 2)), None
    if isinstance(rule, CappedRate) and rule(level) > rule(level - 1):
        return None, rule(level - 1)
    return None, None
