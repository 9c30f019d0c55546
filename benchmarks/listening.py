"""Cost of the dashboard's listening: solves with and without it in turn, on one cluster, in one process.

Client and scheduler share this process, so the hooks take time from the solve. Measured are

* quartiles of the ratio of the times of neighbouring solves with and without listening; on a busy machine this is
  mostly noise;
* the processor time of the hooks per task of the solve, once as the sum of all calls, which on a busy machine includes
  interruptions, and once as their number times their median.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import dask

import daskmgrit as dm
from benchmarks.overhead import cluster
from daskmgrit.dashboard import cycle_reporter, history, plugin
from daskmgrit.problems import adder

__all__ = ["listening"]

# `task` is called within `transition`, which has nothing to do in its other calls.
HOOKS = (
    *((plugin.MgritPlugin, name) for name in ("attach", "update_graph", "transition", "hear")),
    (history.Run, "task"),
    (cycle_reporter.CycleReporter, "_event"),
)
WITHIN = "task"


class _Nothing:
    """Holds a function that takes only the time of reading the clock."""

    def nothing(self) -> None:
        """Do nothing."""


@contextmanager
def _timed(owner: Any, name: str) -> Iterator[list[float]]:
    """Record the processor seconds of every call of a function."""
    function: Callable[..., Any] = getattr(owner, name)
    seconds: list[float] = []

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        clock = time.thread_time()
        try:
            return function(*args, **kwargs)
        finally:
            seconds.append(time.thread_time() - clock)

    with patch.object(owner, name, wrapper):
        yield seconds


def _look() -> float:
    """Median seconds of reading the clock."""
    with _timed(_Nothing, "nothing") as seconds:
        for _ in range(20_000):
            _Nothing().nothing()
    return statistics.median(seconds)


def listening(pairs: int = 6, steps: int = 200, note: Any = print) -> dict[str, Any]:
    """Measure on two worker processes, with all levels in tasks of their own: the most tasks for the least work.

    Parameters
    ----------
    pairs : int
        Solves with and without listening, in turn.
    steps : int
        N, of the adder.
    note : callable
        Called with progress messages.
    """
    problem = adder()
    solver = dm.MGRIT(problem.propagator(), steps=steps)
    look = _look()
    with cluster(2) as client, dask.config.set({"daskmgrit.agglomerate": 99}), ExitStack() as stack:

        def solve(listens: bool) -> Any:
            with dask.config.set({"daskmgrit.dashboard": listens}):
                return solver.solve(problem.w0, "constant", client=client, chunks=4, tol=0, maxiter=3)

        for listens in (False, True):  # the first solves import and build the page
            solve(listens)
        spent = {name: stack.enter_context(_timed(owner, name)) for owner, name in HOOKS}
        seconds: dict[bool, list[float]] = {False: [], True: []}
        tasks = 0
        for pair in range(pairs):
            note(f"solves with and without listening, {pair + 1} of {pairs}")
            for listens in (True, False) if pair % 2 else (False, True):
                result = solve(listens)
                seconds[listens].append(result.timings["total"])
                tasks += result.tasks * listens
    wall = sum(seconds[True])
    hooks = [
        {
            "hook": name,
            "calls_per_task": len(values) / tasks,
            "seconds_per_task": (sum(values) - look * len(values)) / tasks,
            "typical_per_task": (statistics.median(values) - look) * len(values) / tasks if values else 0.0,
        }
        for name, values in spent.items()
    ]
    outer = [hook for hook in hooks if hook["hook"] != WITHIN]
    return {
        "steps": steps,
        "pairs": pairs,
        "tasks": tasks // pairs,
        "ratios": [on / off for on, off in zip(seconds[True], seconds[False], strict=True)],
        "wall_per_task": wall / tasks,
        "look": look,
        "hooks": hooks,
        "share": sum(hook["seconds_per_task"] for hook in outer) * tasks / wall,
        # Most calls of `transition` are short, so its median leaves out what `task` within it takes.
        "typical_share": sum(hook["typical_per_task"] for hook in hooks) * tasks / wall,
    }
