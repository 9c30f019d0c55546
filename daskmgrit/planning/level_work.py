"""The work of the tasks of a cycle: Phi, rows from other workers, and the worker of each."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskmgrit.graph.chunking import ChunkLayout
from daskmgrit.multigrid import chunk_kernels, whole_levels
from daskmgrit.multigrid.chunk_kernels import CoarseStep, RestrictedChunk
from daskmgrit.multigrid.hierarchy import Hierarchy
from daskmgrit.planning.cost import PhiCost

__all__ = ["LevelWork", "Parts", "Pieces", "Times", "Workers", "inline_seconds", "level_work"]

# Steps of levels whose work is counted; that of longer ones is a multiple of it.
LARGE = 1 << 18

# Seconds, one entry per chunk.
Times = NDArray[np.float64]


class Workers:
    """The worker of each task of a wave; `distinct` says whether none has two."""

    def __init__(self, numbers: NDArray[np.integer]) -> None:
        self.numbers = numbers
        self.distinct = bool((numbers[1:] > numbers[:-1]).all())

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, chunks: Any) -> Workers:
        return Workers(self.numbers[chunks])


class Parts(NamedTuple):
    """The parts of a coarse state that are cut out for other workers.

    Attributes
    ----------
    chunks : ndarray of int
        The chunks that need one.
    source : ndarray of int
        For each part the coarse chunk that it is cut from; 0 where one task has the whole level.
    owners : Workers
        The workers that cut them.
    rows : ndarray
        The rows of each.
    part : ndarray of int
        For each of `chunks` the number of its part.
    """

    chunks: NDArray[np.integer]
    source: NDArray[np.integer]
    owners: Workers
    rows: NDArray[Any]
    part: NDArray[np.integer]


class Pieces(NamedTuple):
    """Runs of neighbouring chunks that are restricted for the same coarse chunk, with one owner each.

    Attributes
    ----------
    starts : ndarray of int
        The first chunk of each run.
    lengths : ndarray of int
        Its number of chunks.
    away : ndarray of int
        The runs whose coarse chunk is on another worker.
    owners : Workers
        The workers of those.
    """

    starts: NDArray[np.integer]
    lengths: NDArray[np.integer]
    away: NDArray[np.integer]
    owners: Workers


class LevelWork:
    """The work of the stages of one chunked level, by chunk: it is the same in every cycle.

    Attributes
    ----------
    owners : Workers
        The worker of each chunk.
    intervals : ndarray of int
        F-intervals of each chunk.
    f_relaxation, c_relaxation, coarse_step, entered : ndarray
        Seconds of Phi: of an F-relaxation, of a C-relaxation or the residual, of ``Phi_c(v)``, and of the first
        F-relaxation of a coarse level, whose first F-points are known.
    ghost : ndarray
        Seconds of a Phi of the last F-interval of the left neighbour, in the batch of the chunk.
    far : ndarray of int
        Chunks whose left neighbour is on another worker.
    edges : Workers
        The workers that cut out the last rows of those neighbours.
    middle : int
        The worker that has the coarser levels if one task has them.
    parents : ndarray of int
        The coarse chunk of each chunk; empty if one task has the coarser levels.
    parts : Parts
        The parts of the coarse state that come from other workers.
    pieces : Pieces
        What a coarse chunk, or the task that has the coarser levels, takes of this level.
    starts, foreign : ndarray
        The beginnings of a chunk's pieces in the finer level, and the number of their rows from other workers; empty on
        level 0.
    """

    def __init__(self, hierarchy: Hierarchy, layout: ChunkLayout, level: int, cost: PhiCost) -> None:
        chunks, size = layout.levels[level], hierarchy[level]
        m, bounds = size.coarsening, np.array(chunks.bounds)
        self.owners = Workers(np.array(chunks.owners))
        # Of each chunk the F-intervals and the points.
        self.intervals = r = np.diff(bounds)
        n = size.chunk_points(bounds)
        seconds, longest = cost.of_level(level), np.minimum(m, n)
        self.f_relaxation: Times = seconds * ((longest - 1) * cost.call + (n - r) * cost.state)
        # One call for all C-points; the chunk that begins with point 0 has a row less.
        rows = r.astype(float)
        rows[0] -= 1
        one_call: Times = (rows > 0) * cost.call + rows * cost.state
        self.c_relaxation, self.coarse_step = seconds * one_call, cost.of_level(level + 1) * one_call
        self.sweep = self.c_relaxation + self.f_relaxation
        self.ghost: Times = np.full(len(chunks), seconds * cost.state)
        self.ghost[0] = 0.0
        self.entered: Times = seconds * (np.maximum(longest - 2, 0) * cost.call + np.maximum(n - 2 * r, 0) * cost.state)
        self.far = 1 + np.flatnonzero(self.owners.numbers[1:] != self.owners.numbers[:-1])
        self.edges = self.owners[self.far - 1]
        self.middle = int(self.owners.numbers[len(chunks) // 2])
        self.parents = np.zeros(0, int)
        self.parts = self._parts(layout, level)
        self.pieces = self._pieces(layout, level)
        self.starts, self.foreign = np.zeros(0, int), np.zeros(0)
        if level:
            finer = layout.levels[level - 1]
            self.starts = np.array([children.start for children in chunks.children])
            away = np.array(finer.owners) != self.owners.numbers[np.array(chunks.parents)]
            # Of v only the C-points.
            each = 2 + 1 / hierarchy.places(level)
            self.foreign = np.add.reduceat(each * np.diff(finer.bounds) * away, self.starts)

    def _parts(self, layout: ChunkLayout, level: int) -> Parts:
        """Return the parts of the coarse level that the chunks of this level need."""
        owners = self.owners.numbers
        if level + 1 == layout.gathered:
            chunks = np.flatnonzero(owners != self.middle)
            # One part for each other worker.
            away, part = np.unique(owners[chunks], return_inverse=True)
            rows = np.bincount(part, self.intervals[chunks], minlength=len(away))
            return Parts(chunks, np.zeros_like(away), Workers(np.full(len(away), self.middle)), rows, part)
        coarse = layout.levels[level + 1]
        self.parents, above = np.array(coarse.parents), np.array(coarse.owners)
        chunks = np.flatnonzero(owners != above[self.parents])
        source = self.parents[chunks]
        return Parts(chunks, source, Workers(above[source]), self.intervals[chunks], np.arange(len(chunks)))

    def _pieces(self, layout: ChunkLayout, level: int) -> Pieces:
        """Return the runs of chunks that are restricted for the same coarse chunk."""
        owners, parents = self.owners.numbers, self.parents
        takers = np.full(len(owners), self.middle)
        if level + 1 == layout.gathered:
            parents = np.zeros(len(owners), int)
        else:
            takers = np.array(layout.levels[level + 1].owners)[parents]
        starts = np.flatnonzero(np.diff(owners, prepend=-1) | np.diff(parents, prepend=-1))
        away = np.flatnonzero(owners[starts] != takers[starts])
        return Pieces(starts, np.diff(starts, append=len(owners)), away, self.owners[starts[away]])


def level_work(hierarchy: Hierarchy, layout: ChunkLayout, cost: PhiCost) -> list[LevelWork]:
    """Return the work on each chunked level."""
    return [LevelWork(hierarchy, layout, level, cost) for level in range(len(layout.levels))]


def inline_seconds(hierarchy: Hierarchy, level: int, kind: str, cost: PhiCost, known: dict[Any, float]) -> float:
    """Return the seconds of Phi in the rest of a cycle from `level` down, run within one task.

    Level 0 means a whole cycle after another one, with its residual. Found by running the kernels on states without
    numbers.
    """
    name = (hierarchy, level, kind)
    if name not in known and hierarchy[level].steps > LARGE:
        times = math.ceil(hierarchy[level].steps / LARGE)
        known[name] = times * inline_seconds(_shortened(hierarchy, level, times), level, kind, cost, known)
    if name not in known:
        spent = 0.0

        def phi(weights: Any, index: Any, level: int) -> Any:
            nonlocal spent
            spent += cost.seconds([len(weights)], level)
            return np.zeros_like(weights)

        empty = np.zeros((hierarchy[level].steps + 1, 0))
        if level == 0:
            block = chunk_kernels.guess(phi, "zero", empty[0], hierarchy[0].whole)
            # As the cycle before has left it: with the next C-relaxation computed.
            block = chunk_kernels.probe(phi, block, None, 1)
            spent = 0.0
            whole_levels.whole_cycle(phi, block, hierarchy, 1)
        else:
            m = hierarchy.places(level)
            depth = np.zeros(len(empty), int)
            piece = RestrictedChunk(0, empty, empty[::m], depth, ())
            whole_levels.solve_from(phi, [piece], [CoarseStep(empty, depth, ())], hierarchy, level, kind, 1)
        known[name] = spent
    return known[name]


def _shortened(hierarchy: Hierarchy, level: int, times: int) -> Hierarchy:
    """Return a hierarchy with a fraction of the steps from `level` down, and no levels that would have none."""
    levels, steps = list(hierarchy.levels[:level]), hierarchy[level].steps // times
    for each in hierarchy.levels[level:]:
        if levels[level:] and not steps:
            break
        levels.append(replace(each, steps=steps))
        steps //= each.coarsening
    return Hierarchy(tuple(levels), hierarchy.cycle)
