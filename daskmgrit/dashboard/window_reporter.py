"""Reports of a parallel Newton solve's client to the page: a row per sweep, from the reports of each round."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from daskmgrit.dashboard.reporter import Reporter
from daskmgrit.dashboard.window_events import describe_window, sweep_rows
from daskmgrit.executors.executor import Executor
from daskmgrit.graph.window_tasks import Told
from daskmgrit.newton.settings import NewtonSettings
from daskmgrit.recurrence.meter import Record

__all__ = ["WindowReporter"]


class WindowReporter(Reporter):
    """Reports one solve by parallel Newton to the dashboard.

    Parameters
    ----------
    executor : Executor
        Where the solve runs.
    run : str
        Token of the solve's keys.
    settings : NewtonSettings
        The method.
    threads : sequence of int
        Threads of each process that takes part.
    phi : callable
        The propagator.
    done : int
        Sweeps done before, if the solve resumes.
    first : int
        Steps accepted before.
    """

    def __init__(
        self,
        executor: Executor,
        run: str,
        settings: NewtonSettings,
        threads: Sequence[int],
        phi: Any,
        done: int = 0,
        first: int = 0,
    ) -> None:
        self._settings, self._done = settings, done
        self._records: list[Record] = []
        super().__init__(
            executor, run, lambda client: describe_window(run, client, phi, settings, list(threads), first)
        )

    def round(self, told: Told) -> None:
        """Report the sweeps that ended in a round."""
        self.tell(partial(self._event, told), at_once=not self._done)

    def _event(self, told: Told) -> dict[str, Any]:
        # A sweep may take several rounds; the last of them brings its report.
        self._records += told.records
        rows = sweep_rows(told.reports, self._done + 1, self._records, self._settings)
        self._done += len(told.reports)
        self._records = [record for record in self._records if record.cycle > self._done]
        return {"sweeps": [list(row) for row in rows], "accepted_residual": math.sqrt(told.spent)} if rows else {}
