"""Reports of an MGRIT solve's client to the page: a residual per cycle, and the stages done up to there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from daskmgrit.dashboard.events import describe, layout_event, stage_rows
from daskmgrit.dashboard.reporter import Reporter
from daskmgrit.executors.executor import Executor
from daskmgrit.graph.chunking import ChunkLayout
from daskmgrit.multigrid.hierarchy import Hierarchy
from daskmgrit.recurrence.meter import Record

__all__ = ["CycleReporter"]


class CycleReporter(Reporter):
    """Reports one solve by MGRIT to the dashboard.

    Parameters
    ----------
    executor : Executor
        Where the solve runs.
    run : str
        Token of the solve's keys.
    hierarchy : Hierarchy
        The levels.
    layout : ChunkLayout
        How they are cut for the initial guess.
    phi : callable
        The propagator.
    tol : float
        The tolerance.
    maxiter : int
        Maximum number of cycles.
    """

    def __init__(
        self,
        executor: Executor,
        run: str,
        hierarchy: Hierarchy,
        layout: ChunkLayout,
        phi: Any,
        tol: float,
        maxiter: int,
    ) -> None:
        self._hierarchy, self._layout, self._records = hierarchy, layout, 0
        super().__init__(executor, run, lambda client: describe(run, client, phi, hierarchy, layout, tol, maxiter))

    def cycle(self, cycle: int, residual: float, layout: ChunkLayout, records: Sequence[Record]) -> None:
        """Report a cycle whose residual is known; 0 is the initial guess.

        `layout` is how the levels are cut from here on, `records` all of the solve so far.
        """
        self.tell(partial(self._event, cycle, residual, layout, records), at_once=cycle == 0)

    def _event(self, cycle: int, residual: float, layout: ChunkLayout, records: Sequence[Record]) -> dict[str, Any]:
        # The layout is chosen once the initial guess is evaluated, on the old one.
        used, self._layout = self._layout, layout
        rows = stage_rows(records[self._records :], used)
        self._records = len(records)
        event: dict[str, Any] = {"cycle": cycle, "residual": residual, "stages": [list(row) for row in rows]}
        if cycle == 0:
            event["layout"] = layout_event(layout, self._hierarchy)
        return event
