"""The time of a solve on a cluster: a few cycles as waves, with the client's submissions and waits."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from daskmgrit.graph.auto_chunks import ChunkPlan, first_layout
from daskmgrit.multigrid.cycle import FirstRelaxation
from daskmgrit.multigrid.hierarchy import Hierarchy
from daskmgrit.planning.cost import PhiCost
from daskmgrit.planning.level_work import Times, level_work
from daskmgrit.planning.machine import Machine
from daskmgrit.planning.waves import Waves

__all__ = ["Prediction", "predict", "prediction_of"]

# The first fills the pipeline and the last empties it; in between they are alike.
CYCLES = 3


@dataclass(frozen=True, slots=True)
class Prediction:
    """The course of a solve.

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
        """Return the seconds of a solve with this number of cycles."""
        return self.setup + (self.ends if iterations else 0.0) + iterations * self.cycle


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
        The chunks of the levels, and the stages with tasks of their own; no more chunks than threads,
        except for a last C-point alone.
    machine : Machine
        The cluster.
    cost : PhiCost
        Cost of Phi.
    row_bytes : int
        Bytes of a state.
    known : dict, optional
        Keeps the common parts of predictions with the same cost.
    """
    work = level_work(hierarchy, plan.layout, cost)
    return prediction_of(Waves(hierarchy, plan, machine, cost, work, row_bytes, {} if known is None else known))


def prediction_of(waves: Waves) -> Prediction:
    """Predict a solve from its waves, of which none has run."""
    plan, chunks = waves.plan, len(waves.owners)
    fused = plan.fused(waves.hierarchy)
    state = _guess(waves)
    ends = [waves.report(state)]
    # The tasks of a cycle are known after the first.
    tasks, moved, first = 0, 0.0, FirstRelaxation.PLAIN
    for cycle in range(1, CYCLES + 1):
        before, shipped = waves.tasks, waves.moved
        # A cycle is submitted while the one before is in progress.
        waves.submit(tasks or chunks, ends[max(cycle - 2, 0)])
        state, relaxed = waves.cycle(state, first)
        if not fused:
            if plan.apart:
                waves.final()
            state, first = waves.probe(state), FirstRelaxation.KNOWN
            ends.append(waves.report(state))
        else:
            if cycle > 1:
                ends.append(waves.report(relaxed))
            first = FirstRelaxation.SETTLES
        tasks, moved = waves.tasks - before, waves.moved - shipped
    if fused:
        ends.append(waves.report(waves.probe(state)))
    spans = [b - a for a, b in itertools.pairwise(ends)]
    steady = spans[-2]
    return Prediction(
        setup=ends[0],
        cycle=steady,
        ends=spans[0] + spans[-1] - 2 * steady,
        tasks=tasks,
        moved=moved,
        scheduler_busy=min(1.0, tasks * waves.service / steady) if steady else 0.0,
    )


def _guess(waves: Waves) -> Times:
    """Make the initial guess and evaluate it, in chunks of equal length; return when they are known.

    Phi is computed for each step once, and again for the F-points beyond the first.
    """
    hierarchy, cost, machine = waves.hierarchy, waves.cost, waves.machine
    size, chunks = hierarchy[0], len(waves.owners)
    if waves.plan.layout.levels:
        first = waves.plan.layout.levels[0]
        if chunks > 1 and first.owners[-1] < first.owners[-2]:
            # The last C-point is a chunk of its own in the cycles only.
            first = first_layout(hierarchy, chunks, [machine.threads] * machine.workers).levels[0]
        bounds, owners = np.array(first.bounds), np.array(first.owners)
    else:
        bounds, owners = np.array(waves.plan.layout.bounds(hierarchy)), waves.owners.numbers
    points, intervals = size.chunk_points(bounds), np.diff(bounds)
    calls, rows = np.minimum(size.coarsening, points), points + np.maximum(points - 2 * intervals, 0)
    calls, rows = calls + np.maximum(calls - 2, 0), rows - (bounds[:-1] == 0)
    # Chunks that share a thread wait for each other.
    turns = np.ceil(np.bincount(owners)[owners] / machine.threads)
    waves.submit(chunks, 0.0)
    made = waves.wave(np.zeros(chunks), 0.0, waves.owners)
    waves.submit(2 * chunks, waves.client)
    ready, arrive = waves.with_left(waves.levels[0], made) if waves.levels else (made, None)
    seconds = turns * cost.of_level(0) * (calls * cost.call + rows * cost.state)
    return waves.wave(ready, seconds, waves.owners, arrive)
