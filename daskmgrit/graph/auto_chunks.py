"""The choice of chunks, and of the level from which a cycle is one task, by the cost of Phi."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask
import numpy as np

from daskmgrit.graph.chunking import ChunkLayout, chunk_lengths, cut, even_bounds, most_chunks
from daskmgrit.multigrid.hierarchy import Hierarchy
from daskmgrit.recurrence.meter import Record
from daskmgrit.utils.config import setting
from daskmgrit.utils.units import bytes_option, time_setting
from daskmgrit.utils.validation import integer_option

__all__ = ["ChunkPlan", "check_chunks", "first_layout", "phi_cost", "plan_layout", "task_overhead"]

# Weight of an expense per cycle against one per solve.
USUAL_CYCLES = 5
# F-intervals of a chunk from which on it relaxes one more itself: an eighth of its relaxation at most, about a
# twentieth of a cycle's work on the level, against a task and a wait for the neighbour.
GHOST_INTERVALS = 8


@dataclass(frozen=True, slots=True)
class ChunkPlan:
    """How the cycles of a solve become tasks.

    Attributes
    ----------
    layout : ChunkLayout
        How the levels are cut into chunks.
    beside : bool
        Whether ``Phi_c(v)`` has tasks of its own, which run in parallel with those of the fine residual. It pays where
        Phi costs far more than a task.
    apart : bool
        Whether the residual of a cycle is worth tasks of its own, the first half of the next cycle's first relaxation.
        Without them a solve ends with an unused F-relaxation of level 0, and with its restriction where that is in the
        same tasks; with them each cycle has a task more per chunk.
    c_points : bool
        Whether level 0 holds its C-points only.
    """

    layout: ChunkLayout
    beside: bool = False
    apart: bool = False
    c_points: bool = False

    def has_ghosts(self, hierarchy: Hierarchy, level: int) -> bool:
        """Whether one task relaxes and restricts a chunk of a level: it relaxes its neighbour's last F-interval, too.

        It depends on counts only, so that the evaluations of Phi are the same in each run with the same chunks.
        """
        lengths = [b - a for a, b in itertools.pairwise(self.layout.levels[level].bounds)]
        if len(lengths) == 1 or min(lengths) < GHOST_INTERVALS:
            return False
        # With C-points alone memory counts, of which the joined task holds more: what it takes and what it makes.
        return hierarchy[level].nu > 0 and not self.beside and not (self.c_points and level == 0)

    def fused(self, hierarchy: Hierarchy) -> bool:
        """Whether the first C-relaxation of a cycle can and should settle the residual of the cycle before."""
        return self.layout.gathered > 0 and hierarchy[0].nu > 0 and not self.apart


def check_chunks(chunks: Any, hierarchy: Hierarchy) -> int | None:
    """Return the requested number of chunks, None for "auto".

    Raises
    ------
    ValueError
        If it is no integer between 1 and the number of F-intervals.
    """
    if isinstance(chunks, str) and chunks == "auto":
        return None
    most = most_chunks(hierarchy)
    remedy = (
        f'give "auto", or the number of chunks of level 0: at most one per F-interval (steps={hierarchy[0].steps}, '
        f"coarsening={hierarchy[0].coarsening})"
    )
    return integer_option("chunks", chunks, 1, remedy, most)


def task_overhead(scheduler: str, hosts: int = 1) -> float:
    """Return the wall time that one task costs beyond its work, in seconds.

    On a cluster of several hosts each host handles its own tasks; the scheduler's part of a task remains.
    """
    overhead = time_setting(f"daskmgrit.task-overhead.{scheduler}")
    return max(overhead / hosts, min(overhead, time_setting("daskmgrit.scheduler-overhead")))


def phi_cost(records: Iterable[Record]) -> float:
    """Return the seconds per state update that these records show."""
    seconds = evaluations = 0.0
    for record in records:
        seconds += record.phi_seconds
        evaluations += record.evaluations
    return seconds / evaluations if evaluations else 0.0


def first_layout(
    hierarchy: Hierarchy,
    chunks: int | None,
    threads: Sequence[int],
    row_bytes: int = 0,
    c_points: bool = False,
    nested: bool = False,
) -> ChunkLayout:
    """Return the chunks for the initial guess, whose evaluation shows the cost of Phi.

    Parameters are those of :func:`plan_layout`; with `nested` the coarse levels of the guess are cut, too.
    """
    if chunks is None:
        least = _least_c_chunks(hierarchy, row_bytes) if c_points else 1
        chunks = min(max(sum(threads), least), most_chunks(hierarchy))
    if not nested:
        return cut(hierarchy, chunks, threads, 1)
    wanted = setting("daskmgrit.agglomerate")
    return cut(hierarchy, chunks, threads, None if wanted == "auto" else max(int(wanted), 1))


def _least_c_chunks(hierarchy: Hierarchy, row_bytes: int) -> int:
    """Chunks that keep a task's memory small where only C-points are held."""
    return math.ceil(hierarchy[0].intervals * row_bytes / bytes_option("daskmgrit.c-chunk-bytes", 1))


def plan_layout(
    hierarchy: Hierarchy,
    chunks: int | None,
    threads: Sequence[int],
    scheduler: str,
    cost: float,
    row_bytes: int = 0,
    c_points: bool = False,
    hosts: int = 1,
) -> ChunkPlan:
    """Choose the chunks of the levels, and the stages with tasks of their own.

    The stages of a cycle do (2m + 1)/3 Phi per F-interval on average. One with n F-intervals, cut into P chunks, takes
    the time of ceil(n/P) of them and P times a task's overhead; the P for which that is least is taken, one chunk per
    thread at most. A level is worth splitting while that saves time, or while bringing it to one worker would take
    longer than its tasks.

    Parameters
    ----------
    hierarchy : Hierarchy
        The levels.
    chunks : int or None
        Chunks of level 0; None to choose.
    threads : sequence of int
        Threads of each worker.
    scheduler : str
        Its name, for :func:`task_overhead`.
    cost : float
        Seconds of Phi per state update.
    row_bytes : int, default 0
        Bytes of a state.
    c_points : bool, default False
        Whether level 0 holds its C-points only. Then there are more chunks than threads where memory asks for it, and
        level 0 always has tasks of its own.
    hosts : int, default 1
        Machines that the workers are on.

    Examples
    --------
    >>> from daskmgrit.multigrid.hierarchy import build_hierarchy
    >>> h = build_hierarchy(1600)
    >>> for cost in (1e-6, 1e-4, 1e-2):
    ...     plan = plan_layout(h, None, [4, 4], "distributed", cost)
    ...     print([len(level) for level in plan.layout.levels])
    []
    [5, 5]
    [8, 8, 8, 8, 8, 5, 3]
    """
    overhead = task_overhead(scheduler, hosts)
    if chunks is None:
        best = _best_chunks(hierarchy, sum(threads), overhead, cost)
        # A chunk that is too large for one worker is worse than any overhead.
        least = math.ceil(hierarchy[0].steps * row_bytes / bytes_option("daskmgrit.chunk-bytes", 1))
        chunks = max(1, min(sum(threads), max(best, least)))
        if c_points:
            chunks = max(chunks, _least_c_chunks(hierarchy, row_bytes))
        chunks = min(chunks, most_chunks(hierarchy))
        alone = chunks > 1 and _alone(hierarchy, chunks + 1, sum(threads), overhead, cost)
        chunks += alone
    else:
        alone = _alone(hierarchy, chunks, sum(threads), overhead, cost)
    wanted = setting("daskmgrit.agglomerate")
    if wanted == "auto" and chunks > 1:
        # Transfer to the one worker and back, in seconds per coarse point: two states there, one back.
        share = 1 - 1 / len(threads)
        travel = 3 * row_bytes * share / float(dask.config.get("distributed.scheduler.bandwidth", 1e8))
        whole = cut(hierarchy, chunks, threads, alone=alone)
        layout = ChunkLayout(whole.levels[: _gathered(hierarchy, whole, overhead, cost, travel, row_bytes)])
    else:
        gathered = 0 if wanted == "auto" else int(wanted)
        layout = cut(hierarchy, chunks, threads, max(gathered, 1 if chunks > 1 or c_points else 0), alone)
    beside = setting("daskmgrit.beside")
    if beside == "auto":
        per_chunk = hierarchy[0].intervals / chunks * cost
        beside = bool(layout.levels) and 2 * chunks <= sum(threads) and per_chunk > 10 * overhead
    plan = ChunkPlan(layout, bool(beside), c_points=c_points)
    return replace(plan, apart=_settles_apart(hierarchy, plan, overhead, cost))


def _best_chunks(hierarchy: Hierarchy, threads: int, overhead: float, cost: float) -> int:
    """Return the number of chunks for which the stages of all levels take the least time."""
    size = hierarchy[0]
    intervals = math.ceil(size.steps / size.coarsening)
    each = (2 * size.coarsening + 1) / 3 * cost
    ideal = min(threads, intervals, max(1, int(math.sqrt(intervals * each / overhead))))
    # Chunks that are all but equal: a little longer or shorter than the ideal, or as long as C-points of coarser levels
    # are apart.
    longest = math.ceil(intervals / ideal)
    lengths = set(range(max(1, longest - 2), longest + 3))
    unit = 1
    for level in range(1, hierarchy.last):
        unit *= hierarchy[level].coarsening
        lengths |= {longest // unit * unit, math.ceil(longest / unit) * unit} if unit <= 2 * longest else set()
    counts = {math.ceil(intervals / length) for length in lengths if length} | {ideal}

    def stage(chunks: int) -> float:
        """Seconds of a stage on all levels, each in tasks of its own or, where that takes less, in one."""
        bounds, total = np.array(even_bounds(hierarchy, chunks)), 0.0
        for number, (phi, length, parts) in enumerate(chunk_lengths(hierarchy, bounds)):
            apart = phi * cost * length + parts * overhead
            together = phi * cost * hierarchy[number].intervals
            total += min(apart, together) if number else apart
        return total

    return min(sorted(chunks for chunks in counts if chunks <= threads), key=stage)


def _alone(hierarchy: Hierarchy, chunks: int, threads: int, overhead: float, cost: float) -> bool:
    """Whether one of `chunks` chunks should be the last C-point alone.

    Where m divides N that is an F-interval without F-points. In the last of equal chunks its Phi would make all stages
    longer; the first chunk, in which nothing arrives at point 0, has that much less to do. So both go to one thread.
    """
    size = hierarchy[0]
    if size.steps % size.coarsening or chunks < 2 or chunks > size.intervals:
        return False
    # F-intervals with F-points that the busiest thread has, with that many of a length.
    most, mixed = (
        math.ceil(count / threads) * math.ceil((size.intervals - 1) / count) for count in (chunks - 1, chunks)
    )
    return overhead < cost / 3 and most <= mixed


def _settles_apart(hierarchy: Hierarchy, plan: ChunkPlan, overhead: float, cost: float) -> bool:
    """Whether the unused Phi at the end usually cost more than tasks that settle residuals apart."""
    bounds = plan.layout.bounds(hierarchy)
    longest = max(b - a for a, b in itertools.pairwise(bounds))
    # Those of an F-relaxation, and where it is one task with the restriction those of the residual and coarse step.
    each = hierarchy[0].coarsening - 1 + 2 * (bool(plan.layout.levels) and plan.has_ghosts(hierarchy, 0))
    unused = longest * each * cost
    return unused > USUAL_CYCLES * (len(bounds) - 1) * overhead


def _gathered(
    hierarchy: Hierarchy, layout: ChunkLayout, overhead: float, cost: float, travel: float, row_bytes: int
) -> int:
    """First level that costs more to split than to gather."""
    # One worker holds a gathered level's values and right-hand sides, and as much again while it makes them.
    most = bytes_option("daskmgrit.chunk-bytes", 1) / 4
    for number, level in enumerate(layout.levels):
        size, parts = hierarchy[number], len(level)
        # Three stages (relax, restrict, correct), each of about half the level's points.
        together = 3 * size.intervals * cost + (size.steps + 1) * travel
        apart = 3 * (size.intervals * cost / parts + parts * overhead)
        if number and together <= apart and (size.steps + 1) * row_bytes <= most:
            return number
    return layout.gathered
