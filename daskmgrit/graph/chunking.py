"""The chunks of the levels along the step axis, and the worker that each chunk is planned on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from daskmgrit.multigrid.hierarchy import Hierarchy

__all__ = ["ChunkLayout", "ChunkedLevel", "chunk_lengths", "cut", "even_bounds", "most_chunks"]


@dataclass(frozen=True, slots=True)
class ChunkedLevel:
    """The chunks of one level.

    Attributes
    ----------
    bounds : tuple of int
        Chunk j holds the F-intervals ``bounds[j] … bounds[j+1]-1``.
    children : tuple of range
        Chunks of the next finer level that chunk j takes its points from (empty on level 0).
    parents : tuple of int
        Chunk of this level that chunk i of the next finer level gives its points to (empty on level 0).
    owners : tuple of int
        Number of the worker that chunk j is planned on.
    """

    bounds: tuple[int, ...]
    children: tuple[range, ...]
    parents: tuple[int, ...]
    owners: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.bounds) - 1


@dataclass(frozen=True, slots=True)
class ChunkLayout:
    """The chunked levels; from level ``len(levels)`` down a cycle runs within one task (agglomeration).

    With no chunked level the whole cycle is one task, on one chunk.
    """

    levels: tuple[ChunkedLevel, ...]

    @property
    def gathered(self) -> int:
        """First level that is not chunked."""
        return len(self.levels)

    def joined(self, level: int) -> bool:
        """Whether a level has the chunks of the next finer one, so that one task can correct a chunk of both."""
        return 0 < level < self.gathered and len(self.levels[level]) == len(self.levels[level - 1])

    def corrected_from(self, level: int) -> int:
        """Return the coarsest level that is corrected in one task with this one."""
        while self.joined(level + 1):
            level += 1
        return level

    def bounds(self, hierarchy: Hierarchy) -> tuple[int, ...]:
        """Chunk bounds of level 0, in F-intervals."""
        return self.levels[0].bounds if self.levels else (0, hierarchy[0].intervals)


def most_chunks(hierarchy: Hierarchy) -> int:
    """One F-interval per chunk: the most chunks that level 0 can have."""
    return hierarchy[0].intervals


def cut(
    hierarchy: Hierarchy, chunks: int, threads: Sequence[int], gathered: int | None = None, alone: bool = False
) -> ChunkLayout:
    """Cut the levels into chunks.

    Level 0 gets `chunks` chunks (:func:`even_bounds`). Where their bounds are C-points of a coarse level, too, a chunk
    of that needs points of one finer chunk only; where not, neighbouring chunks merge.

    Parameters
    ----------
    hierarchy : Hierarchy
        The levels.
    chunks : int
        Number of chunks on level 0, at most :func:`most_chunks`.
    threads : sequence of int
        Threads of each worker; each gets a run of chunks in proportion.
    gathered : int, optional
        First level to be run within one task. By default the first that is left with one chunk, or the
        coarsest.
    alone : bool, default False
        Whether the last chunk is the last C-point alone, on the worker of the first: those two together have as many
        Phi to do as each of the others. Only where m divides N: then that point is an F-interval without F-points.

    Examples
    --------
    >>> from daskmgrit.multigrid.hierarchy import build_hierarchy
    >>> layout = cut(build_hierarchy(100), 3, [1, 1])
    >>> [(level.bounds, level.owners) for level in layout.levels]
    [((0, 16, 32, 51), (0, 0, 1)), ((0, 8, 16, 26), (0, 0, 1)), ((0, 4, 8, 13), (0, 0, 1)), ((0, 2, 4, 7), (0, 0, 1))]
    """
    parts = chunks - alone
    bounds = even_bounds(hierarchy, parts, alone)
    owners = _deal(parts, threads)
    if alone:
        bounds.append(hierarchy[0].intervals)
        owners.append(owners[0])
    levels = [ChunkedLevel(tuple(bounds), tuple(range(0) for _ in owners), (), tuple(owners))]
    last = hierarchy.last if gathered is None else min(gathered, hierarchy.last)
    if gathered == 0:
        if chunks != 1:
            raise ValueError(f"a cycle within one task needs one chunk, not {chunks}")
        return ChunkLayout(())
    for level in range(1, last):
        m, finer = hierarchy[level].coarsening, levels[-1]
        starts = np.array(finer.bounds[:-1])
        # A bound of the finer level's intervals is a point of this one: it must be a C-point.
        kept = np.flatnonzero(starts % m == 0)
        if len(kept) == 1 and gathered is None:
            break
        ends = np.append(kept[1:], len(finer))
        levels.append(
            ChunkedLevel(
                (*(starts[kept] // m).tolist(), hierarchy[level].intervals),
                tuple(map(range, kept.tolist(), ends.tolist())),
                tuple(np.repeat(np.arange(len(kept)), ends - kept).tolist()),
                tuple(np.array(finer.owners)[kept].tolist()),
            )
        )
    return ChunkLayout(tuple(levels))


def even_bounds(hierarchy: Hierarchy, parts: int, alone: bool = False) -> list[int]:
    """Return the bounds of `parts` chunks of level 0, in F-intervals.

    They are multiples of a number of F-intervals: 1, which makes chunks equal, or the F-intervals that a C-point of a
    coarser level stands for, so that coarse levels are divided likewise. Of these it is the number for which the
    longest chunks of all levels take the least time together, whether or not those levels are cut later: chunks must
    not move when that is decided.

    Parameters
    ----------
    hierarchy : Hierarchy
        The levels.
    parts : int
        Number of chunks.
    alone : bool
        Whether the last C-point is left out.
    """
    intervals = hierarchy[0].intervals - alone
    if parts == 1:
        return [0, intervals]
    best, least, unit = None, math.inf, 1
    for level in range(1, hierarchy.last + 1):
        units = math.ceil(intervals / unit)
        if units < parts:
            break
        bounds = np.append(unit * (np.arange(parts) * units // parts), intervals)
        longest = sum(each * n for each, n, _ in chunk_lengths(hierarchy, bounds))
        if longest <= least:
            best, least = bounds, longest
        if level < hierarchy.last:
            unit *= hierarchy[level].coarsening
    assert best is not None
    return best.tolist()


def chunk_lengths(hierarchy: Hierarchy, bounds: np.ndarray) -> Iterator[tuple[float, float, int]]:
    """Yield, for each level but the coarsest: Phi of a stage per F-interval, F-intervals of the longest chunk, chunks.

    The stages of a cycle do (2m + 1)/3 Phi per F-interval on average.
    """
    for level in range(hierarchy.last):
        m = hierarchy[level].coarsening
        if level:
            # A bound of the finer level's intervals is a point of this one: it must be a C-point.
            starts = bounds[:-1]
            bounds = np.append(starts[starts % m == 0] // m, -(-bounds[-1] // m))
        yield (2 * m + 1) / 3, float(hierarchy[level].chunk_points(bounds).max()) / m, len(bounds) - 1


def _deal(chunks: int, threads: Sequence[int]) -> list[int]:
    """Deal chunks out to workers in runs, in proportion to their threads."""
    ends = np.cumsum(threads)
    owners: list[int] = np.searchsorted(ends, np.arange(chunks) * ends[-1] // chunks, side="right").tolist()
    return owners
