"""A cycle as waves: a stage's tasks of all chunks at once, as an array with the time of each chunk.

The order of stages is that of :func:`daskmgrit.multigrid.cycle.run_cycle`, the chunks are those of the layout that the
solve would have. A stage's tasks reach the scheduler as one queue after those of the stage before; in a solve some
overtake, which a replay of every single task shows (``benchmarks/oracle``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from daskmgrit.graph.auto_chunks import ChunkPlan
from daskmgrit.multigrid.cycle import FirstRelaxation, run_top_cycle
from daskmgrit.multigrid.hierarchy import Hierarchy
from daskmgrit.planning.cost import PhiCost
from daskmgrit.planning.level_work import LevelWork, Times, Workers, inline_seconds
from daskmgrit.planning.machine import Machine

__all__ = ["Waves", "visits_of"]


@dataclass(frozen=True, slots=True)
class _GatheredLevel:
    """The state of a level that one task computes."""

    known: float
    owner: int


@dataclass(frozen=True, slots=True)
class _PendingCorrection:
    """Corrections of successive levels that one task per chunk does: of the coarsest its level, state and coarse state.

    `seconds` is what they take together.
    """

    level: int
    state: Times
    coarse: Times | _GatheredLevel
    seconds: Times


@dataclass(slots=True)
class _PendingRelaxation:
    """A relaxation that one task per chunk may do with the restriction: the state before, its role, and its result."""

    state: Times
    first: FirstRelaxation
    done: Times | None = None


class Waves:
    """The operations of a cycle as waves; the state of a level is when the scheduler knows of each chunk's task.

    Parameters
    ----------
    hierarchy : Hierarchy
        The levels.
    plan : ChunkPlan
        The chunks of the levels, and the stages with tasks of their own.
    machine : Machine
        The cluster.
    cost : PhiCost
        Cost of Phi.
    levels : sequence of LevelWork
        The work on each chunked level.
    row_bytes : int
        Bytes of a state.
    known : dict
        Keeps the common parts of several predictions.

    Attributes
    ----------
    tasks : int
        Tasks so far.
    moved : float
        Bytes between workers so far.
    client : float
        Time at which the client has sent the last graph.
    service : float
        Seconds that the scheduler takes for a task.
    """

    def __init__(
        self,
        hierarchy: Hierarchy,
        plan: ChunkPlan,
        machine: Machine,
        cost: PhiCost,
        levels: Sequence[LevelWork],
        row_bytes: int,
        known: dict[Any, float],
    ) -> None:
        self.hierarchy, self.plan, self.machine = hierarchy, plan, machine
        self.cost, self.levels, self.row_bytes, self.known = cost, levels, row_bytes, known
        self.service = machine.scheduler
        if machine.cores:
            self.service = max(self.service, (machine.scheduler + machine.worker + machine.client) / machine.cores)
        # When scheduler and client are free, and when the scheduler has the last graph.
        self.free = self.client = self.graph = 0.0
        self.tasks, self.moved = 0, 0.0
        self.ghosts = [plan.has_ghosts(hierarchy, level) for level in range(len(self.levels))]
        self.owners = self.levels[0].owners if self.levels else Workers(np.zeros(1, int))
        self._queues: dict[int, Times] = {}
        # When each chunk of level 0 was known before what arrives at its C-points was computed, if that is known.
        self._unprobed: Times | None = None

    # -- servers -------------------------------------------------------------------------------------------------

    def _queue(self, ready: Times, service: float) -> Times:
        """Return the times at which one server has done tasks, one after another in the order of arrival."""
        order = ready.argsort(kind="stable")
        count = self._queues.get(len(ready))
        if count is None:
            count = self._queues[len(ready)] = np.arange(len(ready), dtype=float)
        before = count * service
        done = ready[order]
        done -= before
        np.maximum.accumulate(done, out=done)
        done += before
        done += service
        result = np.empty_like(done)
        result[order] = done
        return result

    def _handle(self, ready: Times, owners: Workers) -> Times:
        """Each worker's process takes its tasks one after another: half of the cost of a task there."""
        service = self.machine.worker / 2
        if owners.distinct:
            return ready + service
        # Far apart in time, workers do not wait for each other.
        apart = (ready.max() - ready.min() + len(ready) * service + 1) * owners.numbers
        return self._queue(ready + apart, service) - apart

    def wave(self, ready: Times, seconds: Any, owners: Workers, arrive: Any = None) -> Times:
        """Run tasks that can be sent out at `ready` and begin after `arrive`; return when each is known."""
        self.tasks += len(ready)
        there = self._handle(np.maximum(ready, self.graph) + self.machine.latency, owners)
        if arrive is not None:
            there = np.maximum(there, arrive)
        done = self._handle(there + seconds, owners) + self.machine.latency
        done = self._queue(np.maximum(done, self.free), self.service)
        self.free = float(done.max())
        return done

    def one(self, ready: float, seconds: float, arrive: float = 0.0) -> float:
        """Run a single task."""
        self.tasks += 1
        half, latency = self.machine.worker / 2, self.machine.latency
        there = max(max(ready, self.graph) + latency + half, arrive)
        self.free = max(there + seconds + half + latency, self.free) + self.service
        return self.free

    def fetch(self, ready: Any, rows: Any) -> Any:
        """Return the times at which rows, one number for each task, have come from another worker."""
        lead = self.machine.latency + self.machine.worker / 2 + self.machine.transfer
        if self.row_bytes:
            size = rows * self.row_bytes
            self.moved += float(np.sum(size))
            lead = lead + size / self.machine.bandwidth
        return np.maximum(ready, self.graph) + lead

    def with_left(self, level: LevelWork, known: Times, rows: int = 2) -> tuple[Times, Times | None]:
        """Return when chunks that need rows of their left neighbour can be sent out, and when those arrive."""
        ready = known.copy()
        ready[1:] = np.maximum(known[1:], known[:-1])
        far = level.far
        if not len(far):
            return ready, None
        edges = self.wave(known[far - 1], 0.0, level.edges)
        ready[far] = np.maximum(known[far], edges)
        arrive = np.zeros_like(known)
        arrive[far] = self.fetch(ready[far], np.full(len(far), rows))
        return ready, arrive

    # -- operations of a cycle -----------------------------------------------------------------------------------

    def relax(self, level: int, state: Any) -> Any:
        """(CF)^nu."""
        state = self._corrected(state)
        for _ in range(self.hierarchy[level].nu):
            state = self.sweep(level, state, FirstRelaxation.PLAIN)
        return state

    def sweep(self, level: int, state: Any, first: FirstRelaxation) -> Any:
        """One C-relaxation, unless that is known, and one F-relaxation; deferred if a restriction may join them."""
        state = self._relaxed(level, state)
        return _PendingRelaxation(state, first) if self.ghosts[level] else self._relax(level, state, first)

    def _relaxed(self, level: int, state: Any) -> Any:
        """Return the state of a level after a relaxation, running that if it was deferred and has not been run."""
        if not isinstance(state, _PendingRelaxation):
            return state
        if state.done is None:
            state.done = self._relax(level, state.state, state.first)
        return state.done

    def _relax(self, level: int, state: Times, first: FirstRelaxation) -> Times:
        here = self.levels[level]
        if first is FirstRelaxation.KNOWN:
            self._unprobed = None
            return self.wave(state, here.f_relaxation, here.owners)
        ready, arrive = self.with_left(here, state)
        return self.wave(ready, here.sweep, here.owners, arrive)

    def restrict(self, level: int, state: Any) -> Times:
        """FAS problem of the next level, F-relaxed; of a gathered level only its pieces."""
        if isinstance(state, _PendingRelaxation):
            return self._relax_and_restrict(level, state)
        here, bare = self.levels[level], self._unprobed if level == 0 else None
        self._unprobed = None
        ready, arrive = self.with_left(here, state if bare is None else bare)
        # The arrivals at the C-points may be known, and Phi_c(v) does not wait for it.
        pieces_ready = ready if bare is None else np.maximum(ready, state)
        residual: Any = here.c_relaxation if bare is None else 0.0
        step = here.coarse_step
        gathered = self.ends_at(level + 1)
        above = None if gathered else self.levels[level + 1]
        if above is not None and not self.plan.beside and len(above.owners) == len(here.owners):
            return self.wave(pieces_ready, residual + step + above.entered, here.owners, arrive)
        if self.plan.beside and 2 * len(here.owners) <= self.machine.slots:
            pieces = self.wave(pieces_ready, residual, here.owners, arrive)
            known = np.maximum(pieces, self.wave(ready, step, here.owners, arrive))
        else:
            if self.plan.beside:
                self.tasks += len(here.owners)
                self.free += len(here.owners) * self.service
            known = self.wave(pieces_ready, residual + step, here.owners, arrive)
        return known if above is None else self._enter(above, known)

    def _enter(self, above: LevelWork, known: Times) -> Times:
        """Make coarse chunks of several finer ones each."""
        together = np.maximum.reduceat(known, above.starts)
        come = np.where(above.foreign > 0, self.fetch(together, above.foreign), 0.0)
        return self.wave(together, above.entered, above.owners, come)

    def _relax_and_restrict(self, level: int, pending: _PendingRelaxation) -> Times:
        """Relax every chunk, and its left neighbour's last F-interval, and restrict it, in one task."""
        here, m, computed = self.levels[level], self.hierarchy[level].coarsening, FirstRelaxation.KNOWN
        c_relaxations = 1 + (pending.first is not computed)
        seconds = here.f_relaxation + here.coarse_step + c_relaxations * here.c_relaxation
        seconds = seconds + (m - 2 + c_relaxations) * here.ghost
        # Right-hand sides, a C-point, and the F-points before C-points or what has arrived at one.
        rows = (m if level else 0) + (self.hierarchy[level].weight != 1.0) + c_relaxations
        ready, arrive = self.with_left(here, pending.state, rows)
        if pending.first is computed:
            self._unprobed = None
        above = None if self.ends_at(level + 1) else self.levels[level + 1]
        if above is not None and self.plan.layout.joined(level + 1):
            pending.done = self.wave(ready, seconds + above.entered, here.owners, arrive)
            return pending.done
        pending.done = self.wave(ready, seconds, here.owners, arrive)
        pieces = here.pieces
        known = np.maximum.reduceat(pending.done, pieces.starts)
        if len(pieces.away):
            known[pieces.away] = self.wave(known[pieces.away], 0.0, pieces.owners)
        return known if above is None else self._enter(above, np.repeat(known, pieces.lengths))

    def ends_at(self, level: int) -> bool:
        """Whether the rest of the cycle runs within one task."""
        return level == self.plan.layout.gathered

    def solve(self, level: int, state: Times, kind: str) -> _GatheredLevel:
        """Run the rest of the cycle within one task."""
        finer = self.levels[level - 1]
        each = 2 + 1 / self.hierarchy.places(level)
        foreign = each * float(finer.intervals[finer.owners.numbers != finer.middle].sum())
        ready = float(state.max())
        arrive = float(self.fetch(ready, foreign)) if foreign else 0.0
        seconds = inline_seconds(self.hierarchy, level, kind, self.cost, self.known)
        return _GatheredLevel(self.one(ready, seconds, arrive), finer.middle)

    def correct(
        self, level: int, state: Any, coarse: Times | _GatheredLevel | _PendingCorrection
    ) -> Times | _PendingCorrection:
        """Coarse correction and F-relaxation; deferred if it shares a task with the next finer level's."""
        state = self._relaxed(level, state)
        seconds = self.levels[level].f_relaxation
        if isinstance(coarse, _PendingCorrection):
            pending = replace(coarse, seconds=coarse.seconds + seconds)
        else:
            pending = _PendingCorrection(level, state, coarse, seconds)
        return pending if self.plan.layout.joined(level) else self._corrected(pending)

    def _corrected(self, pending: Times | _PendingCorrection) -> Times:
        """Run a deferred correction."""
        if not isinstance(pending, _PendingCorrection):
            return pending
        here, state, coarse = self.levels[pending.level], pending.state, pending.coarse
        parts, arrive = here.parts, None
        if isinstance(coarse, _GatheredLevel):
            ready, source = np.full(len(state), coarse.known), np.full(len(parts.source), coarse.known)
        else:
            ready, source = coarse[here.parents], coarse[parts.source]
        if len(parts.chunks):
            cut = self.wave(source, 0.0, parts.owners)
            there = self.fetch(cut, parts.rows)
            arrive = np.zeros(len(state))
            ready[parts.chunks], arrive[parts.chunks] = cut[parts.part], there[parts.part]
        return self.wave(np.maximum(ready, state), pending.seconds, here.owners, arrive)

    def least(self) -> float:
        """Return a time that no cycle beats: of the chain through the chunk with most work, or of all tasks."""
        hierarchy, machine, kind = self.hierarchy, self.machine, self.hierarchy.cycle
        message = 2 * machine.latency + machine.worker + self.service
        if not self.levels:
            return inline_seconds(hierarchy, 0, "", self.cost, self.known) + message
        gathered = self.plan.layout.gathered
        spent = inline_seconds(hierarchy, gathered, kind, self.cost, self.known) + message
        if kind == "F" and gathered > 1:
            spent += (gathered - 1) * (inline_seconds(hierarchy, gathered, "V", self.cost, self.known) + message)
        chain, place, before, tasks = np.zeros(len(self.owners)), np.arange(len(self.owners)), 0, 0
        for number, level in enumerate(self.levels):
            if number:
                place = self.levels[number - 1].parents[place]
            nu, visits, parts = hierarchy[number].nu, visits_of(kind, number), level.parts
            # Corrections that end at this level: of a level that is joined only where it is relaxed again.
            ups = int(kind == "F") if self.plan.layout.joined(number) else visits
            restrict = level.c_relaxation if self.plan.beside else level.c_relaxation + level.coarse_step
            # Tasks from a correction down to the next level.
            down = nu + 1 - self.ghosts[number]
            seconds = visits * (nu * level.sweep + restrict + level.f_relaxation + down * message) + ups * message
            seconds += before * level.entered
            seconds[parts.chunks] += visits * (message + machine.latency + machine.worker / 2 + machine.transfer)
            chain += seconds[place]
            each = (down + self.plan.beside) * len(level.owners) + down * len(level.far) + len(parts.source)
            before, tasks = visits, tasks + visits * each + ups * len(level.owners)
        return max(spent + float(chain.max()), tasks * max(self.service, machine.client))

    # -- the iteration -------------------------------------------------------------------------------------------

    def submit(self, tasks: int, now: float) -> None:
        """The client builds and sends a graph, whose tasks can begin then."""
        self.client = max(self.client, now) + tasks * self.machine.client
        self.graph = self.client + self.machine.latency

    def cycle(self, state: Times, first: FirstRelaxation) -> tuple[Times, Times]:
        """Run one cycle; return its result and that of its first relaxation."""
        if self.levels:
            end, relaxed = run_top_cycle(self, self.hierarchy.cycle, self.hierarchy[0].nu, state, first)
            return end, self._relaxed(0, relaxed)
        known = self.one(float(state[0]), inline_seconds(self.hierarchy, 0, "", self.cost, self.known))
        return np.array([known]), state

    def probe(self, state: Times) -> Times:
        """Compute the next C-relaxation, which shows the residual. A cycle within one task has done that."""
        if not self.levels:
            return state
        self._unprobed = state
        ready, arrive = self.with_left(self.levels[0], state)
        return self.wave(ready, self.levels[0].c_relaxation, self.owners, arrive)

    def report(self, known: Times) -> float:
        """Return when the client has the residual."""
        last = float(known.max())
        workers = np.unique(self.owners.numbers)
        if len(workers) > 1:
            parts = self.wave(np.full(len(workers), last), 0.0, Workers(workers))
            last = float(self.fetch(parts, np.zeros(len(workers))).max())
        return self.one(last, 0.0) + 2 * self.machine.latency

    def final(self) -> None:
        """Count the task that cuts out the final weights, which no other task needs."""
        self.tasks += 1
        self.free += self.service


def visits_of(kind: str, level: int) -> int:
    """Return the visits of a cycle to a level: an F-cycle makes one more for each level above except level 0."""
    return level + 1 if kind == "F" and level else 1
