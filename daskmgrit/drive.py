"""The iteration: submit cycles, look one ahead, read the residual, stop."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import dask
from dask.delayed import Delayed

from daskmgrit import planning
from daskmgrit.block import Record, Settled
from daskmgrit.errors import Diverged
from daskmgrit.executor import ClusterExecutor, LocalExecutor
from daskmgrit.graph import GraphBuilder
from daskmgrit.guess import Guess
from daskmgrit.hierarchy import Hierarchy
from daskmgrit.layout import Layout, cut
from daskmgrit.taskbook import TaskBook

__all__ = ["Drive", "Outcome"]

# Called after each cycle with its number, residual and state; True stops the solve.
Listener = Callable[[int, float, list[Delayed]], bool]


@dataclass(slots=True)
class Outcome:
    """How an iteration ended."""

    state: list[Delayed]
    residuals: list[float]
    reason: str
    message: str


class Drive:
    """One solve on one executor.

    Parameters
    ----------
    hierarchy : Hierarchy
        The levels and the cycle.
    phi, w0 : Delayed
        Stand-ins for the propagator and the initial value.
    row_bytes : int
        Bytes of a state.
    executor : LocalExecutor or ClusterExecutor
        Where the graphs run.
    run : str
        Token that sets this solve's keys apart.

    Attributes
    ----------
    layout : Layout
        How the levels are cut.
    records : list of Record
        What was done, of all cycles whose residual is known.
    depth : int
        Longest chain of Phi so far.
    tasks : int
        Tasks submitted.
    began : float
        When the first cycle was, by ``time.perf_counter``.
    cycle_seconds : list of float
        Seconds of each cycle.
    """

    def __init__(
        self,
        hierarchy: Hierarchy,
        phi: Delayed,
        w0: Delayed,
        row_bytes: int,
        executor: LocalExecutor | ClusterExecutor,
        run: str,
    ) -> None:
        self.hierarchy, self.phi, self.w0, self.executor, self.run = hierarchy, phi, w0, executor, run
        self.row_bytes = row_bytes
        self.layout = Layout(())
        self.beside = False
        self.records: list[Record] = []
        self.depth = 0
        self.tasks = 0
        self.began = 0.0
        self.cycle_seconds: list[float] = []
        self._numbers = itertools.count()
        self._states: dict[int, list[Delayed]] = {}
        self._reports: dict[int, Delayed] = {}

    # -- one submission ------------------------------------------------------------------------------------------

    def _builder(self, cycle: int) -> GraphBuilder:
        book = TaskBook(self.executor.workers)
        return GraphBuilder(
            book, self.hierarchy, self.layout, self.phi, self.w0, self.run, self._numbers, cycle, self.beside
        )

    def _submit(
        self, builder: GraphBuilder, state: list[Delayed], report: Delayed | None
    ) -> tuple[list[Delayed], Delayed | None]:
        self.tasks += builder.book.tasks
        wanted = state if report is None else [*state, report]
        handles = self.executor.submit(builder.book, wanted)
        return handles[: len(state)], (None if report is None else handles[-1])

    def _settle(self, report: Delayed, cycle: int) -> float:
        what = f"the residual of cycle {cycle}" if cycle else "the residual of the initial guess"
        settled: Settled | Diverged = self.executor.fetch(report, what)
        if isinstance(settled, Diverged):
            raise settled
        self.depth = settled.depth
        self.records.extend(settled.records)
        return math.sqrt(float(settled.norms.sum()))

    # -- the initial guess ---------------------------------------------------------------------------------------

    def solve(self, guess: Guess, chunks: int | None, tol: float, maxiter: int, listener: Listener) -> Outcome:
        """Solve from an initial guess."""
        try:
            try:
                residual = self._start(guess, chunks)
            except Diverged as error:
                self.began = time.perf_counter()
                return Outcome(self._states.get(-1) or self._zero(), [math.nan], "diverged", str(error))
            return self._iterate(tol, maxiter, residual, listener)
        finally:
            # What was submitted ahead, or before an error, is not wanted any more: dropping its futures cancels it.
            self._states.clear()
            self._reports.clear()

    def _zero(self) -> list[Delayed]:
        builder = self._builder(0)
        return self._submit(builder, Guess("zero").chunks(builder, self.executor), None)[0]

    def _start(self, guess: Guess, chunks: int | None) -> float:
        """Make the initial guess, have it evaluated, and choose the layout from what Phi cost.

        Returns the residual of the guess.
        """
        executor, hierarchy = self.executor, self.hierarchy
        first = planning.first_chunks(chunks, hierarchy, executor.threads)
        if guess.kind == "nested":
            # Its coarse levels are to be cut too, before anything is known of Phi's cost.
            wanted = dask.config.get("daskmgrit.agglomerate")
            gathered = None if wanted == "auto" else max(int(wanted), 1)
            self.layout = cut(hierarchy, first, executor.threads, gathered)
            builder = self._builder(0)
            made = builder.nested_guess()
            state, report = self._submit(builder, made, builder.report(made))
        else:
            self.layout = cut(hierarchy, first, executor.threads, 1)
            builder = self._builder(0)
            raw = guess.chunks(builder, executor)
            self._states[-1], _ = self._submit(builder, raw, None)
            builder = self._builder(0)
            made = builder.initial(self._states[-1])
            state, report = self._submit(builder, made, builder.report(made))
        assert report is not None
        residual = self._settle(report, 0)
        # The guess as it was made was kept only in case its evaluation diverged.
        self._states.pop(-1, None)
        bounds = self.layout.levels[0].bounds
        cost = planning.phi_cost(self.records)
        self.layout, self.beside = planning.plan_layout(
            hierarchy, chunks, executor.threads, executor.name, cost, self.row_bytes
        )
        self._states[0] = state
        if self.layout.bounds(hierarchy) != bounds:
            builder = self._builder(0)
            self._states[0], _ = self._submit(builder, builder.regroup(state, bounds), None)
        return residual

    # -- cycles --------------------------------------------------------------------------------------------------

    @property
    def _fused(self) -> bool:
        """Whether the residual of a cycle is settled by the first C-relaxation of the next.

        It is where that is under way anyway by the time the residual is known. Elsewhere a probe ends each cycle, so
        that no F-relaxation is done in vain.
        """
        return self.executor.ahead and self.layout.gathered > 0 and self.hierarchy[0].nu > 0

    def _submit_cycle(self, cycle: int) -> None:
        builder = self._builder(cycle)
        settle = self._fused and cycle > 1
        state = builder.cycle_tasks(self._states[cycle - 1], settle)
        report = builder.report(builder.relaxed) if settle else None
        number = cycle - 1
        if not self._fused:
            state = builder.probe(state)
            report, number = builder.report(state), cycle
        self._states[cycle], handle = self._submit(builder, state, report)
        if handle is not None:
            self._reports[number] = handle

    def _submit_probe(self, cycle: int) -> None:
        builder = self._builder(cycle)
        state = builder.probe(self._states[cycle])
        self._states[cycle], handle = self._submit(builder, state, builder.report(state))
        assert handle is not None
        self._reports[cycle] = handle

    def _residual(self, cycle: int) -> float:
        try:
            return self._settle(self._reports.pop(cycle), cycle)
        except Diverged:
            if not self._fused:
                raise
            # The task that was to settle it belongs to the next cycle, and that may be what diverged.
            self._submit_probe(cycle)
            return self._settle(self._reports.pop(cycle), cycle)

    def _iterate(self, tol: float, maxiter: int, residual: float, listener: Listener) -> Outcome:
        """Cycle until the residual is at most `tol` (0 never stops), `maxiter` cycles, or the listener says so."""
        residuals, submitted, cycle = [residual], 0, 0
        clock = self.began = time.perf_counter()
        try:
            while True:
                residual = residuals[-1]
                if not math.isfinite(residual):
                    where = f"after cycle {cycle}" if cycle else "of the initial guess"
                    return self._outcome(
                        max(cycle - 1, 0), residuals, "diverged", f"the residual on level 0 {where} is {residual}"
                    )
                # The state before is not asked for again: this one is finite.
                self._states.pop(cycle - 1, None)
                stop = listener(cycle, residual, self._states[cycle])
                if tol > 0 and residual <= tol:
                    return self._outcome(cycle, residuals, "tol", "")
                if stop:
                    return self._outcome(cycle, residuals, "callback", "the callback returned True")
                if cycle == maxiter:
                    return self._outcome(cycle, residuals, "maxiter", "")
                for number in range(submitted + 1, min(cycle + 1 + self.executor.ahead, maxiter) + 1):
                    self._submit_cycle(number)
                    submitted = number
                cycle += 1
                if cycle == maxiter and self._fused:
                    self._submit_probe(cycle)
                residuals.append(self._residual(cycle))
                self.cycle_seconds.append(time.perf_counter() - clock)
                clock = time.perf_counter()
        except Diverged as error:
            return self._outcome(len(residuals) - 1, residuals, "diverged", str(error))

    def _outcome(self, cycle: int, residuals: list[float], reason: str, message: str) -> Outcome:
        return Outcome(self._states[cycle], residuals, reason, message)
