"""The replay of a solve for any number of chunks: a stage of the cycle as one wave of tasks, an array entry per chunk.

The order of stages is that of :func:`daskmgrit.multigrid.cycle.run_cycle`, the chunks are those of the real
layout. What
:mod:`daskmgrit.plan.replay` has and this has not: here a stage's tasks reach the scheduler as one queue after those of
the stage before, though some may overtake.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskmgrit.graph.auto_chunks import ChunkPlan
from daskmgrit.multigrid import chunk_kernels, whole_levels
from daskmgrit.multigrid.chunk_kernels import CoarseStep, RestrictedChunk
from daskmgrit.multigrid.cycle import FirstRelaxation, run_top_cycle
from daskmgrit.multigrid.hierarchy import Hierarchy
from daskmgrit.plan.cost import PhiCost
from daskmgrit.plan.machine import Machine

__all__ = ["Prediction", "inline_seconds", "predict"]

Times = NDArray[np.float64]
CYCLES = 4


@dataclass(frozen=True, slots=True)
class Prediction:
    """How a solve goes.

    Attributes
    ----------
    setup : float
        Seconds up to the residual of the initial guess.
    cycle : float
        Seconds of a cycle.
    ends : float
        Seconds that the first and the last cycle take more than others.
    tasks : int
        Tasks of a cycle.
    moved : float
        Bytes between workers, in a cycle.
    scheduler_busy : float
        Share of a cycle that the scheduler spends on tasks.
    """

    setup: float
    cycle: float
    ends: float
    tasks: int
    moved: float
    scheduler_busy: float

    def total(self, iterations: float) -> float:
        """Return the seconds of a solve of so many cycles."""
        return self.setup + (self.ends if iterations else 0.0) + iterations * self.cycle


@dataclass(slots=True)
class _GatheredLevel:
    """The state of a level that one task computes."""

    known: float
    owner: int
    level: int


class _Waves:
    """The operations of a cycle as waves; the state of a level is when the scheduler knows of each chunk."""

    def __init__(
        self,
        hierarchy: Hierarchy,
        plan: ChunkPlan,
        machine: Machine,
        cost: PhiCost,
        row_bytes: int,
        solves: dict[Any, float],
    ) -> None:
        layout = plan.layout
        self.hierarchy, self.layout, self.beside, self.machine = hierarchy, layout, plan.beside, machine
        self.cost, self.row_bytes, self.solves = cost, row_bytes, solves
        self.service = machine.scheduler
        if machine.cores:
            self.service = max(self.service, (machine.scheduler + machine.worker + machine.client) / machine.cores)
        self.free = self.client = self.moved = 0.0
        self.tasks = 0
        self.graph = 0.0
        self.owners = [np.array(level.owners) for level in layout.levels]
        self.intervals = [np.diff(level.bounds) for level in layout.levels]
        self.points = [
            size.chunk_points(level.bounds) for level, size in zip(layout.levels, hierarchy.levels, strict=False)
        ]

    # -- servers -------------------------------------------------------------------------------------------------

    def _schedule(self, ready: Times) -> Times:
        """The scheduler takes messages in the order of their arrival."""
        order = np.argsort(ready, kind="stable")
        count = np.arange(1, len(ready) + 1) * self.service
        done = np.maximum.accumulate(np.maximum(ready[order], self.free) - count + self.service) + count
        self.free = float(done[-1])
        result = np.empty_like(done)
        result[order] = done
        return result

    def _handle(self, ready: Times, owners: NDArray[np.integer]) -> Times:
        """Each worker's process takes its tasks one after another, in the order of their arrival."""
        service = self.machine.worker / 2
        if (owners[1:] > owners[:-1]).all():
            return ready + service
        # Far apart in time, workers do not wait for each other.
        apart = (ready.max() - ready.min() + len(ready) * service + 1) * owners
        order = np.argsort(ready + apart, kind="stable")
        count = np.arange(1, len(ready) + 1) * service
        done = np.maximum.accumulate((ready + apart)[order] - count + service) + count
        result = np.empty_like(done)
        result[order] = done
        return result - apart

    def _wave(self, ready: Times, seconds: Any, owners: NDArray[np.integer], arrive: Times | None = None) -> Times:
        """Run tasks that may be sent out at `ready` and begin not before `arrive`; returns when each is known."""
        self.tasks += len(ready)
        there = self._handle(np.maximum(ready, self.graph) + self.machine.latency, owners)
        if arrive is not None:
            there = np.maximum(there, arrive)
        done = self._handle(there + seconds, owners) + self.machine.latency
        return self._schedule(done)

    def _one(self, ready: float, seconds: float, owner: int, arrive: float | None = None) -> float:
        late = None if arrive is None else np.array([arrive])
        return float(self._wave(np.array([ready]), seconds, np.array([owner]), late)[0])

    def _fetch(self, ready: Times, rows: Any) -> Times:
        size = np.broadcast_to(np.asarray(rows, float) * self.row_bytes, ready.shape)
        self.moved += float(size.sum())
        lead = self.machine.latency + self.machine.worker / 2 + self.machine.transfer
        return np.maximum(ready, self.graph) + lead + size / self.machine.bandwidth

    def _with_left(self, level: int, known: Times) -> tuple[Times, Times]:
        """When the chunks of a level may be sent out that need a row of their left neighbour, and when it is there."""
        owners = self.owners[level]
        ready = known.copy()
        ready[1:] = np.maximum(known[1:], known[:-1])
        arrive = np.zeros_like(known)
        far = 1 + np.flatnonzero(owners[1:] != owners[:-1])
        if len(far):
            edges = self._wave(known[far - 1], 0.0, owners[far - 1])
            ready[far] = np.maximum(known[far], edges)
            arrive[far] = self._fetch(ready[far], 2)
        return ready, arrive

    # -- seconds of Phi ------------------------------------------------------------------------------------------

    def _f_relaxation(self, level: int) -> Times:
        n, r = self.points[level], self.intervals[level]
        m = self.hierarchy[level].coarsening
        calls = np.minimum(m, n) - 1
        return self.cost.of_level(level) * (calls * self.cost.call + (n - r) * self.cost.state)

    def _one_call(self, rows: NDArray[np.integer], level: int) -> Times:
        """One call, for each chunk; the chunk that begins with point 0 has a row less."""
        rows = rows.astype(float)
        rows[0] -= 1
        return self.cost.of_level(level) * ((rows > 0) * self.cost.call + rows * self.cost.state)

    def _entered(self, level: int) -> Times:
        """The first F-relaxation of a coarse level, whose first F-points are known."""
        n, r, m = self.points[level], self.intervals[level], self.hierarchy[level].coarsening
        seconds = np.maximum(np.minimum(m, n) - 2, 0) * self.cost.call + np.maximum(n - 2 * r, 0) * self.cost.state
        return np.asarray(self.cost.of_level(level) * seconds)

    # -- operations of a cycle -----------------------------------------------------------------------------------

    def relax(self, level: int, state: Times) -> Times:
        for _ in range(self.hierarchy[level].nu):
            state = self.sweep(level, state, FirstRelaxation.PLAIN)
        return state

    def sweep(self, level: int, state: Times, first: FirstRelaxation) -> Times:
        seconds = self._f_relaxation(level)
        if first is FirstRelaxation.KNOWN:
            return self._wave(state, seconds, self.owners[level])
        ready, arrive = self._with_left(level, state)
        seconds = self._one_call(self.intervals[level], level) + seconds
        return self._wave(ready, seconds, self.owners[level], arrive)

    def restrict(self, level: int, state: Times) -> Any:
        coarse, owners = level + 1, self.owners[level]
        ready, arrive = self._with_left(level, state)
        residual = self._one_call(self.intervals[level], level)
        step = self._one_call(self.intervals[level], coarse)
        gathered = coarse == self.layout.gathered
        if not gathered and not self.beside and len(self.layout.levels[coarse]) == len(owners):
            return self._wave(ready, residual + step + self._entered(coarse), owners, arrive)
        if self.beside and 2 * len(owners) <= self.machine.slots:
            known = np.maximum(self._wave(ready, residual, owners, arrive), self._wave(ready, step, owners, arrive))
        else:
            if self.beside:
                self.tasks += len(owners)
                self.free += len(owners) * self.service
            known = self._wave(ready, residual + step, owners, arrive)
        if gathered:
            return known
        above = self.layout.levels[coarse]
        starts = np.array([children.start for children in above.children])
        together = np.maximum.reduceat(known, starts)
        mine = self.owners[coarse]
        foreign = np.add.reduceat((owners != mine[np.array(above.parents)]) * 2.0 * self.intervals[level], starts)
        arrive = np.where(foreign > 0, self._fetch(together, foreign), 0.0)
        return self._wave(together, self._entered(coarse), mine, arrive)

    def ends_at(self, level: int) -> bool:
        return level == self.layout.gathered

    def solve(self, level: int, state: Times, kind: str) -> _GatheredLevel:
        owners = self.owners[level - 1]
        owner = int(owners[len(owners) // 2])
        foreign = 2.0 * float(self.intervals[level - 1][owners != owner].sum())
        ready = state.max()
        arrive = float(self._fetch(np.array([ready]), foreign)[0]) if foreign else None
        known = self._one(ready, inline_seconds(self.hierarchy, level, kind, self.cost, self.solves), owner, arrive)
        return _GatheredLevel(known, owner, level)

    def correct(self, level: int, state: Times, coarse: Any) -> Times:
        owners, seconds = self.owners[level], self._f_relaxation(level)
        arrive = np.zeros(len(owners))
        if isinstance(coarse, _GatheredLevel):
            ready = np.full(len(owners), coarse.known)
            away, first = np.unique(owners[owners != coarse.owner], return_index=True)
            if len(away):
                parts = self._wave(np.full(len(away), coarse.known), 0.0, np.full(len(away), coarse.owner))
                rows = np.add.reduceat(self.intervals[level][owners != coarse.owner], first)
                there = self._fetch(parts, rows)
                place = np.searchsorted(away, owners)
                far = owners != coarse.owner
                ready[far], arrive[far] = parts[place[far]], there[place[far]]
        else:
            parents = np.array(self.layout.levels[level + 1].parents)
            ready = coarse[parents].copy()
            far = np.flatnonzero(owners != self.owners[level + 1][parents])
            if len(far):
                parts = self._wave(ready[far], 0.0, self.owners[level + 1][parents[far]])
                ready[far], arrive[far] = parts, self._fetch(parts, self.intervals[level][far])
        return self._wave(np.maximum(ready, state), seconds, owners, arrive)

    # -- the iteration -----------------------------------------------------------------------------------------------

    def whole(self, state: Times) -> Times:
        """A cycle within one task."""
        return np.array([self._one(float(state[0]), inline_seconds(self.hierarchy, 0, "", self.cost, self.solves), 0)])

    def probe(self, state: Times) -> Times:
        if not self.layout.levels:
            return state
        ready, arrive = self._with_left(0, state)
        return self._wave(ready, self._one_call(self.intervals[0], 0), self.owners[0], arrive)

    def report(self, known: Times) -> float:
        """When the client has the residual."""
        last = float(known.max())
        workers = np.unique(self.owners[0]) if self.layout.levels else np.zeros(1, int)
        if len(workers) > 1:
            last = float(self._fetch(self._wave(np.full(len(workers), last), 0.0, workers), 0).max())
        return self._one(last, 0.0, 0) + 2 * self.machine.latency

    def final(self) -> None:
        """Count the task that cuts out the final weights, which nothing waits for."""
        self.tasks += 1
        self.free += self.service

    def submit(self, tasks: int, now: float) -> None:
        """The client builds and sends a graph; what it has may begin then."""
        self.client = max(self.client, now) + tasks * self.machine.client
        self.graph = self.client + self.machine.latency

    def cycle(self, state: Times, first: FirstRelaxation) -> tuple[Times, Times]:
        """A cycle; returns when its result is known, and when that of its first relaxation is."""
        if not self.layout.levels:
            whole = self.whole(state)
            return whole, whole
        return run_top_cycle(self, self.hierarchy.cycle, self.hierarchy[0].nu, state, first)


def inline_seconds(hierarchy: Hierarchy, level: int, kind: str, cost: PhiCost, known: dict[Any, float]) -> float:
    """Return the seconds of Phi in the rest of a cycle from `level` down, run within one task.

    Level 0 means the whole cycle and its residual. Found by running the kernels on states without numbers.
    """
    name = (hierarchy, level, kind)
    if name not in known:
        spent = 0.0

        def phi(weights: Any, index: Any, level: int) -> Any:
            nonlocal spent
            spent += cost.seconds([len(weights)], level)
            return np.zeros_like(weights)

        empty = np.zeros((hierarchy[level].steps + 1, 0))
        if level == 0:
            block = chunk_kernels.guess(phi, "zero", empty[0], hierarchy[0].whole)
            whole_levels.whole_cycle(phi, block, hierarchy, 1)
        else:
            m = hierarchy.places(level)
            depth = np.zeros(len(empty), int)
            piece = RestrictedChunk(0, empty, empty[::m], depth, ())
            whole_levels.solve_from(phi, [piece], [CoarseStep(empty, depth, ())], hierarchy, level, kind, 1)
        known[name] = spent
    return known[name]


def predict(
    hierarchy: Hierarchy,
    plan: ChunkPlan,
    machine: Machine,
    cost: PhiCost,
    row_bytes: int = 0,
    known: dict[Any, float] | None = None,
) -> Prediction:
    """Predict a solve on a cluster.

    Parameters
    ----------
    hierarchy : Hierarchy
        The levels and the cycle.
    plan : ChunkPlan
        How they are cut, and what has tasks of its own; no more chunks than threads, but for a last C-point alone.
    machine : Machine
        The cluster.
    cost : PhiCost
        Cost of Phi.
    row_bytes : int
        Bytes of a state.
    known : dict, optional
        Keeps what several predictions have in common.
    """
    layout = plan.layout
    ops = _Waves(hierarchy, plan, machine, cost, row_bytes, {} if known is None else known)
    chunks = len(layout.levels[0]) if layout.levels else 1
    owners = np.array(layout.levels[0].owners) if layout.levels else np.zeros(1, int)
    # The guess, its evaluation (each step once, and the F-points beyond the first again), and a report.
    steps, m = hierarchy[0].steps, hierarchy[0].coarsening
    calls, rows = 2 * m - 2, np.full(chunks, (steps + (m - 2) * steps / m) / chunks)
    ops.submit(chunks, 0.0)
    made = ops._wave(np.zeros(chunks), 0.0, owners)
    ops.submit(2 * chunks, ops.client)
    seconds = cost.of_level(0) * (calls * cost.call + rows * cost.state)
    state = ops._wave(made, seconds, owners)
    ends = [ops.report(state)]

    # What a cycle has in tasks is known after the first.
    ops.submit(0, ends[0])
    tasks, moved, counts = 0, 0.0, []
    fused = plan.fused(hierarchy)
    later: list[Times] = []
    for cycle in range(1, CYCLES + 1):
        before, shipped = ops.tasks, ops.moved
        ops.submit(tasks or chunks, ends[-1] if cycle < 3 else ends[cycle - 2])
        first = FirstRelaxation.PLAIN
        if cycle > 1:
            first = FirstRelaxation.SETTLES if fused else FirstRelaxation.KNOWN
        state, relaxed = ops.cycle(state, first)
        if first is FirstRelaxation.SETTLES:
            ends.append(ops.report(relaxed))
        elif not fused:
            if plan.apart:
                ops.final()
            state = ops.probe(state)
            ends.append(ops.report(state))
        tasks, moved = ops.tasks - before, ops.moved - shipped
        counts.append(tasks)
        later.append(state)
    if fused:
        ends.append(ops.report(ops.probe(state)))
    spans = [b - a for a, b in itertools.pairwise(ends)]
    steady = spans[-2]
    return Prediction(
        setup=ends[0],
        cycle=steady,
        ends=spans[0] + spans[-1] - 2 * steady,
        tasks=tasks,
        moved=moved,
        scheduler_busy=min(1.0, tasks * ops.service / steady) if steady else 0.0,
    )
