"""The iteration: submit cycles one ahead, read the residual, stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from dask.delayed import Delayed
from numpy.typing import NDArray

from daskmgrit.checkpoint.saver import Saver
from daskmgrit.errors import Diverged
from daskmgrit.executors.executor import Executor
from daskmgrit.graph import auto_chunks
from daskmgrit.graph.auto_chunks import ChunkPlan
from daskmgrit.graph.builder import GraphBuilder, GraphContext
from daskmgrit.graph.chunking import ChunkLayout
from daskmgrit.graph.submission import TaskBook
from daskmgrit.multigrid.block import ResidualReport
from daskmgrit.multigrid.cycle import FirstRelaxation
from daskmgrit.recurrence.meter import Record
from daskmgrit.solver.initial_guess import Guess
from daskmgrit.solver.stopping import STOPPED, at_maxiter
from daskmgrit.utils.collector import collector_paused

__all__ = ["Iteration", "Outcome"]

# Called after each cycle with its number, residual and state; the reason to stop the solve, if there is one.
Listener = Callable[[int, float, list[Delayed]], str]


@dataclass(slots=True)
class Outcome:
    """The end of an iteration."""

    state: list[Delayed]
    final: NDArray
    residuals: list[float]
    reason: str
    message: str


@dataclass(slots=True)
class CycleInProgress:
    """The submitted parts of a cycle; for cycle 0 and that of a checkpoint, the state to begin from.

    Attributes
    ----------
    state : list of Delayed
        Its result, a block per chunk.
    report : Delayed or None
        The report on its residual, until it is fetched.
    final : Delayed or None
        Its final weights, if they were submitted with it.
    settled : bool
        Whether its residual is settled without the next cycle.
    arrived : bool
        Whether its state holds the result of the next C-relaxation.
    unprobed : sequence of Delayed
        Its state without that, if the next cycle begins with its C-points alone.
    """

    state: list[Delayed]
    report: Delayed | None = None
    final: Delayed | None = None
    settled: bool = False
    arrived: bool = False
    unprobed: Sequence[Delayed] = ()


@dataclass(frozen=True, slots=True)
class PendingCheckpoint:
    """The cycle to save next, before a later one is submitted; and the task that saves it, once submitted."""

    cycle: int
    handle: Delayed | None = None


class Iteration:
    """The iteration of one solve on one executor.

    Parameters
    ----------
    context : GraphContext
        Common data of all graphs of the solve.
    row_bytes : int
        Bytes of a state.
    executor : Executor
        Where the graphs run.
    saver : Saver, optional
        Saves the solve's checkpoints; it may have one to resume from.

    Attributes
    ----------
    plan : ChunkPlan
        How the levels are cut, and what has tasks of its own.
    records : list of Record
        Records of all cycles whose residual is known.
    store : BlockStore or None
        Store of blocks that outgrow this process's memory.
    depth : int
        Longest chain of Phi so far.
    tasks : int
        Tasks submitted.
    began : float
        Start of the first cycle, by ``time.perf_counter``.
    cycle_seconds : list of float
        Seconds of each cycle.
    evaluations : list of int
        State updates on each level, with those before the checkpoint that the solve resumes from.
    """

    def __init__(
        self,
        context: GraphContext,
        row_bytes: int,
        executor: Executor,
        saver: Saver | None = None,
    ) -> None:
        self.context, self.hierarchy, self.c_points = context, context.hierarchy, context.c_points
        self.executor, self.row_bytes, self.saver = executor, row_bytes, saver
        self.plan = ChunkPlan(ChunkLayout(()))
        self.records: list[Record] = []
        self.depth, self.tasks, self.began = 0, 0, 0.0
        self.cycle_seconds: list[float] = []
        # Of level 0 a cycle holds two states, and the first coarse level's values and right-hand sides.
        size = self.hierarchy[0]
        held = (4 if self.c_points else 3 + 2 * size.coarsening) * size.intervals * row_bytes
        self.store = executor.store(held)
        self._before = [0] * len(self.hierarchy)
        self._cycles: dict[int, CycleInProgress] = {}
        self._pending: PendingCheckpoint | None = None
        # Kept in case its evaluation diverges.
        self._raw_guess: list[Delayed] | None = None

    @property
    def evaluations(self) -> list[int]:
        """State updates on each level."""
        counts = list(self._before)
        for record in self.records:
            counts[record.level] += record.evaluations
        return counts

    # -- one submission ------------------------------------------------------------------------------------------

    def _builder(self, cycle: int) -> GraphBuilder:
        return GraphBuilder(self.context, self.plan, TaskBook(self.executor.workers, self.store), cycle)

    def _submit(
        self, builder: GraphBuilder, state: list[Delayed], *more: Delayed
    ) -> tuple[list[Delayed], list[Delayed]]:
        """Submit a graph; return stand-ins for a state, and for its other wanted results."""
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
        return settled.norms.root_of_sum()

    # -- the initial guess ---------------------------------------------------------------------------------------

    def solve(self, guess: Guess, chunks: int | None, tol: float, maxiter: int, listener: Listener) -> Outcome:
        """Solve from an initial guess, or from the saver's checkpoint if it has one."""
        try:
            if self.saver is not None and self.saver.saved is not None:
                return self._iterate(tol, maxiter, self._restart(self.saver, chunks), listener)
            try:
                residual = self._begin(0, guess.kind, chunks, lambda builder: self._made(guess, builder))
            except Diverged as error:
                self.began = time.perf_counter()
                self._cycles[0] = CycleInProgress(self._raw_guess or self._raw(guess))
                return self._outcome(0, [math.nan], "diverged", str(error))
            return self._iterate(tol, maxiter, [residual], listener)
        finally:
            self._drop()

    def _drop(self) -> None:
        """Cancel the tasks that were submitted ahead, or before an error, by dropping their futures."""
        self._cycles.clear()
        self._pending = self._raw_guess = None

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
        """Return the chunks of the levels before the cost of Phi is known, for a guess of this kind."""
        nested, threads = kind == "nested", self.executor.threads
        return auto_chunks.first_layout(self.hierarchy, chunks, threads, self.row_bytes, self.c_points, nested)

    def _begin(self, cycle: int, kind: str, chunks: int | None, make: Callable[[GraphBuilder], list[Delayed]]) -> float:
        """Make and evaluate the first state, and plan the cycles from the cost of Phi; return the residual."""
        self.plan = ChunkPlan(self.first_layout(kind, chunks), c_points=self.c_points)
        builder = self._builder(cycle)
        made = make(builder)
        state, (report,) = self._submit(builder, made, builder.report(made))
        residual = self._settle(report, cycle)
        self._raw_guess = None
        bounds = self.plan.layout.bounds(self.hierarchy)
        cost, where = auto_chunks.phi_cost(self.records), self.executor
        self.plan = auto_chunks.plan_layout(
            self.hierarchy, chunks, where.threads, where.name, cost, self.row_bytes, self.c_points, where.hosts
        )
        if self.plan.layout.bounds(self.hierarchy) != bounds:
            builder = self._builder(cycle)
            state, _ = self._submit(builder, builder.regroup(state, bounds))
        self._cycles[cycle] = CycleInProgress(state, settled=True)
        return residual

    def _made(self, guess: Guess, builder: GraphBuilder) -> list[Delayed]:
        """Add the tasks that make and evaluate a guess."""
        if guess.kind == "nested":
            return builder.nested_guess()
        if self.c_points:
            return guess.evaluated(builder, self.executor)
        raw = self._builder(0)
        self._raw_guess, _ = self._submit(raw, guess.chunks(raw, self.executor))
        return builder.initial(self._raw_guess)

    def _restart(self, saver: Saver, chunks: int | None) -> list[float]:
        """Make the state from a checkpoint; return the residuals up to there."""
        assert saver.saved is not None
        saved = saver.saved
        self._before = list(saved.phi_evaluations)

        def made(builder: GraphBuilder) -> list[Delayed]:
            # C-points alone need no Phi, which would not show what it costs: begin the next C-relaxation.
            return builder.probe(saver.read(builder)) if self.c_points else saver.read(builder, report=True)

        self._begin(saved.cycle, "checkpoint", chunks, made)
        return list(saved.residuals)

    # -- checkpoints ---------------------------------------------------------------------------------------------

    def _submit_save(self, cycle: int) -> Delayed:
        assert self.saver is not None
        builder = self._builder(cycle)
        (handle,), _ = self._submit(builder, [self.saver.write(builder, self._cycles[cycle].state)])
        return handle

    def _save(self, cycle: int, residuals: list[float]) -> None:
        """Save a checkpoint of a cycle whose residual is known, unless it is saved already."""
        handle = None
        if self._pending is not None and self._pending.cycle == cycle:
            handle, self._pending = self._pending.handle, None
        if self.saver is None or self.saver.has(cycle):
            return
        if handle is None:
            handle = self._submit_save(cycle)
        checksums = self.executor.fetch(handle, f"the checkpoint of cycle {cycle}")
        self.saver.finish(cycle, checksums, residuals, self.evaluations, self.depth)
        if self.executor.ahead:
            # From now on the state comes from the file, so the scheduler may forget the tasks that made it.
            saved, builder = self._cycles[cycle], self._builder(cycle)
            saved.state, _ = self._submit(builder, self.saver.read(builder))
            saved.arrived, saved.unprobed = False, ()

    # -- cycles --------------------------------------------------------------------------------------------------

    @property
    def _fused(self) -> bool:
        """Whether the residual of a cycle is settled by the first C-relaxation of the next.

        It is if that relaxation is in progress anyway when the residual becomes known. Otherwise a probe ends each
        cycle, so that no F-relaxation is done in vain.
        """
        return self.executor.ahead and self.plan.fused(self.hierarchy)

    def _submit_cycle(self, cycle: int) -> None:
        before, builder = self._cycles[cycle - 1], self._builder(cycle)
        settles = FirstRelaxation.SETTLES if self._fused and not before.settled else FirstRelaxation.PLAIN
        first = FirstRelaxation.KNOWN if before.arrived else settles
        made = builder.cycle_tasks(before.state, first, before.unprobed)
        if self._fused:
            reports = [builder.report(made.relaxed)] if first is FirstRelaxation.SETTLES else []
            state, handles = self._submit(builder, made.state, *reports)
            before.report = handles[0] if handles else before.report
            self._cycles[cycle] = CycleInProgress(state)
            return
        # Final weights are cut out in time, where that takes no Phi: once this cycle turns out to be the last,
        # threads are busy with the next, and what they have begun cannot be called back.
        makes_f = self.c_points and self.hierarchy[0].steps % self.hierarchy[0].coarsening > 0
        finals = [builder.final(made.state)] if self.executor.ahead and self.plan.apart and not makes_f else []
        probed = builder.probe(made.state)
        # Without a relaxation the next cycle's coarse step needs no more than this state.
        bare = made.state if self.plan.beside and not self.hierarchy[0].nu and self.store is None else []
        state, (report, *rest) = self._submit(builder, probed, builder.report(probed), *bare, *finals)
        final = rest[-1] if finals else None
        self._cycles[cycle] = CycleInProgress(state, report, final, True, True, rest[: len(bare)])

    def _submit_probe(self, cycle: int) -> None:
        probed, builder = self._cycles[cycle], self._builder(cycle)
        state = builder.probe(probed.state)
        probed.state, (probed.report,) = self._submit(builder, state, builder.report(state))
        probed.settled = probed.arrived = True

    def _residual(self, cycle: int) -> float:
        try:
            return self._fetch_residual(cycle)
        except Diverged:
            if not self._fused:
                raise
            # The task that was to settle it belongs to the next cycle, and that may be what diverged.
            self._submit_probe(cycle)
            return self._fetch_residual(cycle)

    def _fetch_residual(self, cycle: int) -> float:
        known = self._cycles[cycle]
        report, known.report = known.report, None
        assert report is not None
        return self._settle(report, cycle)

    def _iterate(self, tol: float, maxiter: int, residuals: list[float], listener: Listener) -> Outcome:
        """Cycle until the residual is at most `tol` (0 never stops), `maxiter` is reached, or the listener stops."""
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
                self._cycles.pop(cycle - 1, None)
                if self.saver is not None and self._pending is None and self.saver.overdue():
                    self._pending = PendingCheckpoint(submitted)
                converged = tol > 0 and residual <= tol
                if converged or self._pauses_at(cycle, maxiter):
                    self._save(cycle, residuals)
                stop = listener(cycle, residual, self._cycles[cycle].state)
                if converged:
                    return self._outcome(cycle, residuals, "tol", "")
                if stop:
                    self._save(cycle, residuals)
                    return self._outcome(cycle, residuals, stop, STOPPED[stop])
                if cycle >= maxiter:
                    return self._outcome(cycle, residuals, "maxiter", at_maxiter(cycle, maxiter, residual, tol))
                submitted = self._submit_ahead(cycle, submitted, maxiter)
                cycle += 1
                if self._pauses_at(cycle, maxiter):
                    if self.saver is not None:
                        self._pending = PendingCheckpoint(cycle, self._submit_save(cycle))
                    if self._fused:
                        self._submit_probe(cycle)
                residuals.append(self._residual(cycle))
                self.cycle_seconds.append(time.perf_counter() - clock)
                clock = time.perf_counter()
        except Diverged as error:
            return self._outcome(len(residuals) - 1, residuals, "diverged", str(error))

    def _pauses_at(self, cycle: int, maxiter: int) -> bool:
        """Whether no later cycle is submitted before the residual of this one is known."""
        return cycle == maxiter or (self._pending is not None and cycle == self._pending.cycle)

    def _submit_ahead(self, cycle: int, submitted: int, maxiter: int) -> int:
        """Submit the cycles that may run during the wait for `cycle` + 1; return the last cycle submitted."""
        while submitted < min(cycle + 1 + self.executor.ahead, maxiter) and self._pending is None:
            submitted += 1
            # Until the graph is dropped. A local scheduler computes here.
            with collector_paused(self.executor.ahead):
                self._submit_cycle(submitted)
            if self.saver is not None and self.saver.wants(submitted):
                self._pending = PendingCheckpoint(submitted)
        return submitted

    def _outcome(self, cycle: int, residuals: list[float], reason: str, message: str) -> Outcome:
        last = self._cycles[cycle]
        self._drop()
        return Outcome(last.state, self._final(cycle, last), residuals, reason, message)

    def final(self, cycle: int) -> NDArray:
        """Fetch the weights after the last step, shape (s,), of the cycle whose residual was found last."""
        return self._final(cycle, self._cycles[cycle])

    def _final(self, cycle: int, done: CycleInProgress) -> NDArray:
        handle = done.final
        if handle is None:
            builder = self._builder(cycle)
            (handle,), _ = self._submit(builder, [builder.final(done.state)])
        row, records = self.executor.fetch(handle, "the final weights", again=True)
        self.records.extend(records)
        return np.array(row)
