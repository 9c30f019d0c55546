"""The iteration: submit cycles, look one ahead, read the residual, stop."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import dask
import numpy as np
from dask.delayed import Delayed
from numpy.typing import NDArray

from daskmgrit.checkpoint.saver import Saver
from daskmgrit.errors import Diverged
from daskmgrit.executors.executor import Executor
from daskmgrit.graph import auto_chunks
from daskmgrit.graph.builder import GraphBuilder
from daskmgrit.graph.chunking import ChunkLayout, cut
from daskmgrit.graph.submission import TaskBook
from daskmgrit.multigrid.block import ResidualReport
from daskmgrit.multigrid.hierarchy import Hierarchy
from daskmgrit.recurrence.meter import Record
from daskmgrit.solver.initial_guess import Guess

__all__ = ["Drive", "Outcome"]

# Called after each cycle with its number, residual and state; the reason to stop the solve, if there is one.
Listener = Callable[[int, float, list[Delayed]], str]
_STOPPED = {"callback": "the callback returned True", "settled": "the loss of the final weights changes no more"}


@dataclass(slots=True)
class Outcome:
    """How an iteration ended."""

    state: list[Delayed]
    final: NDArray
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
    executor : Executor
        Where the graphs run.
    run : str
        Token that sets this solve's keys apart.
    saver : Saver, optional
        Saves the solve's checkpoints; it may have one to go on from.
    c_points : bool, default False
        Whether level 0 holds its C-points only.

    Attributes
    ----------
    layout : ChunkLayout
        How the levels are cut.
    records : list of Record
        What was done, of all cycles whose residual is known.
    store : Store or None
        Where blocks are that outgrow this process's memory.
    depth : int
        Longest chain of Phi so far.
    tasks : int
        Tasks submitted.
    began : float
        When the first cycle was, by ``time.perf_counter``.
    cycle_seconds : list of float
        Seconds of each cycle.
    evaluations : list of int
        State updates on each level, with those before the checkpoint that the solve goes on from.
    """

    def __init__(
        self,
        hierarchy: Hierarchy,
        phi: Delayed,
        w0: Delayed,
        row_bytes: int,
        executor: Executor,
        run: str,
        saver: Saver | None = None,
        c_points: bool = False,
    ) -> None:
        self.hierarchy, self.phi, self.w0, self.run, self.c_points = hierarchy, phi, w0, run, c_points
        self.executor, self.row_bytes, self.saver = executor, row_bytes, saver
        self.layout, self.beside, self._apart = ChunkLayout(()), False, False
        self.records: list[Record] = []
        self.depth, self.tasks, self.began = 0, 0, 0.0
        self.cycle_seconds: list[float] = []
        # Of level 0 a cycle holds two states, and the first coarse level's values and right-hand sides.
        size = hierarchy[0]
        held = (4 if c_points else 3 + 2 * size.coarsening) * size.intervals * row_bytes
        self.store = executor.store(held)
        self._numbers = itertools.count()
        self._states: dict[int, list[Delayed]] = {}
        self._reports: dict[int, Delayed] = {}
        self._finals: dict[int, Delayed] = {}
        self._before = [0] * len(hierarchy)
        # The last cycle whose residual needs no later one.
        self._probed = 0
        # The last cycle whose state holds what the next C-relaxation finds.
        self._arrived = -1
        # The cycle that is to be saved next, once nothing more may be submitted before that; and what saves it.
        self._pause: int | None = None
        self._saving: tuple[int, Delayed] | None = None

    @property
    def evaluations(self) -> list[int]:
        """State updates on each level."""
        counts = list(self._before)
        for record in self.records:
            counts[record.level] += record.evaluations
        return counts

    # -- one submission ------------------------------------------------------------------------------------------

    def _builder(self, cycle: int) -> GraphBuilder:
        book = TaskBook(self.executor.workers, self.store)
        return GraphBuilder(
            book,
            self.hierarchy,
            self.layout,
            self.phi,
            self.w0,
            self.run,
            self._numbers,
            cycle,
            self.beside,
            self.c_points,
        )

    def _submit(
        self, builder: GraphBuilder, state: list[Delayed], *more: Delayed
    ) -> tuple[list[Delayed], list[Delayed]]:
        """Submit a graph; returns stand-ins for a state, and for whatever else is wanted of it."""
        self.tasks += builder.book.tasks
        handles = self.executor.submit(builder.book, [*state, *more])
        return handles[: len(state)], handles[len(state) :]

    def _settle(self, report: Delayed, cycle: int) -> float:
        what = f"the residual of cycle {cycle}" if cycle else "the residual of the initial guess"
        settled: ResidualReport | Diverged = self.executor.fetch(report, what)
        if isinstance(settled, Diverged):
            raise settled
        self.depth = settled.depth
        self.records.extend(settled.records)
        return math.sqrt(float(settled.norms.sum()))

    # -- the initial guess ---------------------------------------------------------------------------------------

    def solve(self, guess: Guess, chunks: int | None, tol: float, maxiter: int, listener: Listener) -> Outcome:
        """Solve from an initial guess, or from the saver's checkpoint if it has one."""
        try:
            if self.saver is not None and self.saver.saved is not None:
                return self._iterate(tol, maxiter, self._restart(self.saver, chunks), listener)
            try:
                residual = self._start(guess, chunks)
            except Diverged as error:
                self.began = time.perf_counter()
                self._states[0] = self._states.get(-1) or self._raw(guess)
                return self._outcome(0, [math.nan], "diverged", str(error))
            return self._iterate(tol, maxiter, [residual], listener)
        finally:
            self._drop()

    def _drop(self) -> None:
        """Cancel, by dropping its futures, what was submitted ahead, or before an error: it is not wanted any more."""
        self._states.clear()
        self._reports.clear()
        self._finals.clear()
        self._saving = None

    def _raw(self, guess: Guess) -> list[Delayed]:
        """Return the guess as it was given; the zero guess for the nested one."""
        builder = self._builder(0)
        raw = (Guess("zero") if guess.kind == "nested" else guess).chunks(builder, self.executor)
        if not self.c_points:
            return self._submit(builder, raw)[0]
        # All its points at a time are what this storage is to avoid: they are made when they are asked for.
        graph = builder.book.graph()
        return [Delayed(task.key, graph) for task in raw]

    def first_layout(self, kind: str, chunks: int | None) -> ChunkLayout:
        """Return how the levels are cut before anything is known of Phi's cost, for a guess of this kind."""
        threads = self.executor.threads
        first = auto_chunks.first_chunks(chunks, self.hierarchy, threads, self.row_bytes, self.c_points)
        if kind != "nested":
            return cut(self.hierarchy, first, threads, 1)
        # The coarse levels of a nested guess are to be cut, too.
        wanted = dask.config.get("daskmgrit.agglomerate")
        return cut(self.hierarchy, first, threads, None if wanted == "auto" else max(int(wanted), 1))

    def _start(self, guess: Guess, chunks: int | None) -> float:
        """Make the initial guess, have it evaluated, and choose the layout from what Phi cost.

        Returns the residual of the guess.
        """
        self.layout = self.first_layout(guess.kind, chunks)
        builder = self._builder(0)
        if guess.kind == "nested":
            made = builder.nested_guess()
        elif self.c_points:
            made = guess.evaluated(builder, self.executor)
        else:
            self._states[-1], _ = self._submit(builder, guess.chunks(builder, self.executor))
            builder = self._builder(0)
            made = builder.initial(self._states[-1])
        state, (report,) = self._submit(builder, made, builder.report(made))
        residual = self._settle(report, 0)
        # The guess as it was made was kept only in case its evaluation diverged.
        self._states.pop(-1, None)
        self._plan(state, chunks, 0)
        return residual

    def _restart(self, saver: Saver, chunks: int | None) -> list[float]:
        """Have the state made from a checkpoint, and choose the layout; returns the residuals up to there."""
        assert saver.saved is not None
        saved = saver.saved
        self.layout = self.first_layout("checkpoint", chunks)
        self._before, self._probed = list(saved.phi_evaluations), saved.cycle
        builder = self._builder(saved.cycle)
        # Of C-points alone nothing is left to make, which would not show what Phi costs: begin the next C-relaxation.
        made = builder.probe(saver.read(builder)) if self.c_points else saver.read(builder, report=True)
        state, (report,) = self._submit(builder, made, builder.report(made))
        self._settle(report, saved.cycle)
        self._plan(state, chunks, saved.cycle)
        return list(saved.residuals)

    def _plan(self, state: list[Delayed], chunks: int | None, cycle: int) -> None:
        """Choose the layout from what Phi cost so far, and bring the state of `cycle` to it."""
        bounds = self.layout.levels[0].bounds
        cost = auto_chunks.phi_cost(self.records)
        self.layout, self.beside = auto_chunks.plan_layout(
            self.hierarchy,
            chunks,
            self.executor.threads,
            self.executor.name,
            cost,
            self.row_bytes,
            self.c_points,
            self.executor.hosts,
        )
        self._apart = auto_chunks.settles_apart(
            self.hierarchy, self.layout, self.executor.name, cost, self.executor.hosts
        )
        self._states[cycle] = state
        if self.layout.bounds(self.hierarchy) != bounds:
            builder = self._builder(cycle)
            self._states[cycle], _ = self._submit(builder, builder.regroup(state, bounds))

    # -- checkpoints ---------------------------------------------------------------------------------------------

    def _submit_save(self, cycle: int) -> Delayed:
        assert self.saver is not None
        builder = self._builder(cycle)
        handle, _ = self._submit(builder, [self.saver.write(builder, self._states[cycle])])
        self._saving = cycle, handle[0]
        return handle[0]

    def _save(self, cycle: int, residuals: list[float]) -> None:
        """Save a checkpoint of a cycle whose residual is known, unless that is done already."""
        if self._pause == cycle:
            self._pause = None
        if self.saver is None or self.saver.has(cycle):
            return
        handle = self._saving[1] if self._saving and self._saving[0] == cycle else self._submit_save(cycle)
        checksums = self.executor.fetch(handle, f"the checkpoint of cycle {cycle}")
        self._saving = None
        self.saver.finish(cycle, checksums, residuals, self.evaluations, self.depth)
        if self.executor.ahead:
            # From here on the state comes from the file, so the scheduler may forget all that it was made from.
            builder = self._builder(cycle)
            self._states[cycle], _ = self._submit(builder, self.saver.read(builder))
            self._arrived = -1

    # -- cycles --------------------------------------------------------------------------------------------------

    @property
    def _fused(self) -> bool:
        """Whether the residual of a cycle is settled by the first C-relaxation of the next.

        It is where that is under way anyway by the time the residual is known. Elsewhere a probe ends each cycle, so
        that no F-relaxation is done in vain.
        """
        return self.executor.ahead and self.layout.gathered > 0 and self.hierarchy[0].nu > 0 and not self._apart

    def _submit_cycle(self, cycle: int) -> None:
        builder = self._builder(cycle)
        settle = self._fused and cycle - 1 > self._probed
        state = builder.cycle_tasks(self._states[cycle - 1], settle, self._arrived == cycle - 1)
        if self._fused:
            reports = {cycle - 1: builder.report(builder.relaxed)} if settle else {}
            self._states[cycle], handles = self._submit(builder, state, *reports.values())
        else:
            # Final weights are cut out in time, where that takes no Phi: once this cycle turns out to be the last,
            # threads are busy with the next, and what they have begun cannot be called back.
            makes_f = self.c_points and self.hierarchy[0].steps % self.hierarchy[0].coarsening > 0
            finals = [builder.final(state)] if self.executor.ahead and self._apart and not makes_f else []
            state = builder.probe(state)
            reports = {cycle: builder.report(state)}
            self._states[cycle], handles = self._submit(builder, state, *reports.values(), *finals)
            self._finals.update(zip([cycle], handles[1:], strict=False))
            self._arrived = cycle
        self._reports.update(zip(reports, handles, strict=False))

    def _submit_probe(self, cycle: int) -> None:
        builder = self._builder(cycle)
        state = builder.probe(self._states[cycle])
        self._states[cycle], (self._reports[cycle],) = self._submit(builder, state, builder.report(state))
        self._probed = self._arrived = cycle

    def _residual(self, cycle: int) -> float:
        try:
            return self._settle(self._reports.pop(cycle), cycle)
        except Diverged:
            if not self._fused:
                raise
            # The task that was to settle it belongs to the next cycle, and that may be what diverged.
            self._submit_probe(cycle)
            return self._settle(self._reports.pop(cycle), cycle)

    def _iterate(self, tol: float, maxiter: int, residuals: list[float], listener: Listener) -> Outcome:
        """Cycle until the residual is at most `tol` (0 never stops), `maxiter` cycles, or the listener says so."""
        submitted = cycle = len(residuals) - 1
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
                self._finals.pop(cycle - 1, None)
                if self.saver is not None and self._pause is None and self.saver.overdue():
                    self._pause = submitted
                converged = tol > 0 and residual <= tol
                if converged or cycle in (self._pause, maxiter):
                    self._save(cycle, residuals)
                stop = listener(cycle, residual, self._states[cycle])
                if converged:
                    return self._outcome(cycle, residuals, "tol", "")
                if stop:
                    self._save(cycle, residuals)
                    return self._outcome(cycle, residuals, stop, _STOPPED[stop])
                if cycle >= maxiter:
                    return self._outcome(cycle, residuals, "maxiter", "")
                submitted = self._submit_ahead(cycle, submitted, maxiter)
                cycle += 1
                if cycle in (self._pause, maxiter):
                    if self.saver is not None:
                        self._submit_save(cycle)
                    if self._fused:
                        self._submit_probe(cycle)
                residuals.append(self._residual(cycle))
                self.cycle_seconds.append(time.perf_counter() - clock)
                clock = time.perf_counter()
        except Diverged as error:
            return self._outcome(len(residuals) - 1, residuals, "diverged", str(error))

    def _submit_ahead(self, cycle: int, submitted: int, maxiter: int) -> int:
        """Submit what may be under way while `cycle` + 1 is waited for; returns the last cycle submitted."""
        while submitted < min(cycle + 1 + self.executor.ahead, maxiter) and self._pause is None:
            submitted += 1
            self._submit_cycle(submitted)
            if self.saver is not None and self.saver.wants(submitted):
                self._pause = submitted
        return submitted

    def _outcome(self, cycle: int, residuals: list[float], reason: str, message: str) -> Outcome:
        state, final = self._states[cycle], self._finals.get(cycle)
        self._drop()
        return Outcome(state, self.final(cycle, state, final), residuals, reason, message)

    def final(self, cycle: int, state: list[Delayed], handle: Delayed | None = None) -> NDArray:
        """Fetch the weights after the last step of a cycle, shape (s,)."""
        if handle is None and (handle := self._finals.get(cycle)) is None:
            builder = self._builder(cycle)
            (handle,), _ = self._submit(builder, [builder.final(state)])
        row, records = self.executor.fetch(handle, "the final weights", again=True)
        self.records.extend(records)
        return np.array(row)
