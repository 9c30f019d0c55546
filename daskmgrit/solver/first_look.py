"""The trial of a user's Phi at the start of a solve, on a worker of the solve, by either method."""

from __future__ import annotations

import logging
from typing import Any, cast

from dask.delayed import Delayed

from daskmgrit.errors import PropagatorError
from daskmgrit.executors.executor import Executor
from daskmgrit.graph.submission import TaskBook
from daskmgrit.recurrence.trial import Finding, known_finding, needs_trial, try_phi

__all__ = ["first_look"]

logger = logging.getLogger("daskmgrit")


def first_look(
    phi: Any, executor: Executor, stub: Delayed, w0: Delayed, steps: int, run: str, parts: bool = False
) -> str:
    """Try phi, by a task that counts in no result; log a warning on a defect and return it.

    A defect is not an error: a few calls can't tell a fault from a harmless property, such as an inner iteration that
    stops at a tolerance for all states at once, and the solve may converge nevertheless.

    Parameters
    ----------
    phi : callable
        The propagator.
    executor : Executor
        Where the solve runs.
    stub, w0 : Delayed
        Stand-ins for the propagator and the initial state.
    steps : int
        Number of training steps.
    run : str
        Token that sets this solve's keys apart.
    parts : bool, default False
        Whether the solve uses gradient and update separately if phi gives them.

    Raises
    ------
    PropagatorError
        If phi breaks its contract, or is for one state at a time.
    """
    if not needs_trial(phi):
        return ""
    finding = known_finding(phi)
    if finding is None:
        book = TaskBook(executor.workers)
        (handle,) = executor.submit(book, [book.add(f"trial-{run}", try_phi, stub, w0, steps, parts, owner=0)])
        finding = cast("Finding", executor.fetch(handle, "the trial of phi"))
    if finding.error:
        raise PropagatorError(finding.error)
    if finding.remark:
        logger.warning(
            "%s. The solve may not converge, or not to the result of serial training; "
            "daskmgrit.check_propagator(phi, w0) tells more",
            finding.remark,
        )
    return finding.remark
