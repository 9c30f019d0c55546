"""The part of a cycle that runs within one task: coarse levels from some level down, or all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from daskmgrit.multigrid import chunk_kernels
from daskmgrit.multigrid.block import Block
from daskmgrit.multigrid.cycle import nested_iteration, run_cycle
from daskmgrit.multigrid.hierarchy import Hierarchy
from daskmgrit.multigrid.state_transfer import start_of
from daskmgrit.recurrence.meter import Meter
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.utils.array_api import Array, as_block, namespace

__all__ = ["WholeLevels", "nested", "solve_from", "whole_cycle"]


class WholeLevels:
    """The operations of a cycle on whole levels, one after another within one task."""

    def __init__(self, phi: Phi, hierarchy: Hierarchy, cycle: int, w0: Array | None = None) -> None:
        self.phi, self.hierarchy, self.cycle, self.w0 = phi, hierarchy, cycle, w0

    def relax(self, level: int, state: Any) -> Any:
        """(CF)^nu."""
        for _ in range(self.hierarchy[level].nu):
            state = chunk_kernels.relax(self.phi, state, None, self.hierarchy[level].weight, self.cycle)
        return state

    def restrict(self, level: int, state: Any) -> Any:
        """FAS problem of the next level."""
        m = self.hierarchy.places(level + 1)
        pieces = [chunk_kernels.restrict(self.phi, state, None, m, self.cycle)]
        steps = [chunk_kernels.coarse_step(self.phi, state, None, self.cycle)]
        if level + 1 == self.hierarchy.last:
            return pieces, steps
        return chunk_kernels.enter(self.phi, pieces, steps, level + 1, m, self.cycle)

    def ends_at(self, level: int) -> bool:
        """Only the coarsest level is solved in one piece."""
        return level == self.hierarchy.last

    def solve(self, level: int, state: Any, kind: str) -> Block:
        """Solve the coarsest level serially."""
        pieces, steps = state
        return chunk_kernels.coarse_solve(self.phi, pieces, steps, level, self.cycle)

    def correct(self, level: int, state: Any, coarse: Any) -> Block:
        """Coarse correction and F-relaxation."""
        return chunk_kernels.correct(self.phi, state, coarse, self.cycle)

    def solve_coarsest(self) -> tuple[int, Block]:
        """Serial solve with g = 0 from the initial value."""
        assert self.w0 is not None
        last = self.hierarchy.last
        meter = Meter(self.phi, 0)
        start = start_of(self.phi, last)
        states = [as_block(self.phi, self.w0)[None, ...] if start is None else start]
        with meter.stage("coarse solve", last, 0):
            for i in range(self.hierarchy[last].steps):
                states.append(meter(states[-1], np.arange(i, i + 1), last))
        depth = np.full(len(states), len(meter.batches))
        return last, Block(last, 0, (namespace(states[0]).concat(states),), None, depth, tuple(meter.records))

    def interpolate(self, level: int, coarse: Any) -> Block:
        """Inject and F-relax."""
        return chunk_kernels.interpolate(self.phi, coarse, level, self.hierarchy[level].whole)


def solve_from(
    phi: Phi,
    pieces: Sequence[chunk_kernels.RestrictedChunk],
    steps: Sequence[chunk_kernels.CoarseStep],
    hierarchy: Hierarchy,
    level: int,
    kind: str,
    cycle: int,
) -> Block:
    """Run the rest of the cycle from `level` down within this task (agglomeration)."""
    if level == hierarchy.last:
        return chunk_kernels.coarse_solve(phi, pieces, steps, level, cycle)
    block = chunk_kernels.enter(phi, pieces, [*steps], level, hierarchy[level].coarsening, cycle)
    return run_cycle(WholeLevels(phi, hierarchy, cycle), level, kind, block)


def whole_cycle(phi: Phi, block: Block, hierarchy: Hierarchy, cycle: int) -> Block:
    """Run a whole cycle from level 0 within this task, and find its residual."""
    block = run_cycle(WholeLevels(phi, hierarchy, cycle), 0, hierarchy.cycle, block)
    return chunk_kernels.probe(phi, block, None, cycle)


def nested(phi: Phi, w0: Array, hierarchy: Hierarchy, down_to: int) -> Block:
    """Nested iteration from the coarsest level up to `down_to`, within this task."""
    return nested_iteration(WholeLevels(phi, hierarchy, 0, w0), down_to)
